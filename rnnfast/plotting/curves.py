"""Values along a line: training by epoch, a forecast by time, gradients by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import as_array, check_flag
from rnnfast.diagnostics import Diagnosis
from rnnfast.plotting import style


def plot_training(
    history: Mapping[str, Sequence[float]], name: str = "loss", *, log: bool = False, ax: Any = None
) -> Any:
    """Draw a value by epoch, in training and in validation, and mark the best epoch of validation.

    Parameters
    ----------
    history : History, or mapping of str to sequence of float
        What ``Trainer.fit`` returned, or values by epoch under such names.
    name : str, default "loss"
        What to draw; ``val_`` and this name is drawn too if it is there.
    log : bool, default False
        Whether the axis of values is logarithmic.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    KeyError
        If nothing is on record under that name.
    """
    if name not in history and f"val_{name}" not in history:
        raise KeyError(f"{name} is not on record; there are {', '.join(history)}")
    ax = style.axes(ax, (6.4, 4.0))
    first, second = style.colours(ax)[:2]
    held: NDArray[Any] | None = None
    for key, label, colour in ((name, "training", first), (f"val_{name}", "validation", second)):
        if key in history:
            values = np.asarray(history[key], np.float64)
            marker = "o" if len(values) < 3 else None
            ax.plot(np.arange(1, len(values) + 1), values, color=colour, label=label, linewidth=1.8, marker=marker)
            held = values if key.startswith("val_") else held
    if held is not None and np.isfinite(held).any():
        rising = any(word in name for word in ("accuracy", "f1", "r2", "bleu"))
        best = int(np.nanargmax(held) if rising else np.nanargmin(held))
        label = f"best: {held[best]:.4g} in epoch {best + 1}"
        ax.plot([best + 1], [held[best]], "o", color=second, markersize=7, fillstyle="none", label=label)
    if check_flag("log", log):
        ax.set_yscale("log")
    ax.set_xlabel("epoch")
    ax.set_ylabel(name.replace("_", " "))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlim(0.5, max(len(history[key]) for key in (name, f"val_{name}") if key in history) + 0.5)
    style.tidy(ax)
    style.legend(ax)
    return ax


def plot_forecast(
    history: Any,
    forecast: Any,
    lower: Any = None,
    upper: Any = None,
    *,
    truth: Any = None,
    times: Any = None,
    coverage: float | None = None,
    unit: str = "",
    ax: Any = None,
) -> Any:
    """Draw what was, what is forecast with its intervals, and what came.

    Parameters
    ----------
    history : array_like (T,)
        The series up to the forecast.
    forecast : array_like (H,)
        The steps after it.
    lower, upper : array_like (H,), optional
        Ends of the intervals; both or neither.
    truth : array_like (H,), optional
        What came.
    times : array_like (T + H,), optional
        Where the steps stand on the axis of time: numbers or dates. By default 1 - T up to H, so that the forecast
        begins at 1.
    coverage : float, optional
        Of the intervals, for the legend: 0.9 is "90 % interval".
    unit : str, default ""
        Of the values, for the label of their axis.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the sizes do not fit together.
    """
    past, ahead = (_line(name, value) for name, value in (("history", history), ("forecast", forecast)))
    if (lower is None) != (upper is None):
        raise ValueError("lower and upper must be given together")
    steps, horizon = len(past), len(ahead)
    for name, value in (("lower", lower), ("upper", upper), ("truth", truth)):
        if value is not None and len(_line(name, value)) != horizon:
            raise ValueError(f"{name} must have as many steps as the forecast, {horizon}; got {len(value)}")
    where = np.arange(1 - steps, horizon + 1) if times is None else np.asarray(times)
    if where.shape != (steps + horizon,):
        raise ValueError(f"times must have shape ({steps + horizon},), history and forecast; got {where.shape}")
    ax = style.axes(ax, (7.2, 4.0))
    first, second, third = style.colours(ax)[:3]
    if lower is not None:
        label = "interval" if coverage is None else f"{coverage:.0%} interval".replace("%", " %")
        ax.fill_between(where[steps:], lower, upper, color=second, alpha=0.28, linewidth=0, label=label)
    ax.plot(where[:steps], past, color=first, linewidth=1.6, label="history")
    if truth is not None:
        ax.plot(where[steps - 1 :], [past[-1], *truth], color=third, linewidth=1.6, linestyle="--", label="actual")
    line = ax.plot(where[steps - 1 :], [past[-1], *ahead], color=second, linewidth=2.0, label="forecast")[0]
    if horizon < 20:
        line.set(marker="o", markersize=4, markevery=range(1, horizon + 1))
    ax.set_xlabel("steps from now" if times is None else "time")
    ax.set_ylabel(unit or "value")
    style.tidy(ax)
    style.legend_above(ax)
    if times is not None and where.dtype.kind in "MO":
        ax.tick_params(axis="x", rotation=30)
    return ax


def plot_gradient_norms(norms: Any, *, times: Any = None, label: str = "norm of the gradient", ax: Any = None) -> Any:
    """Draw how large gradients are at each step of a sequence: whether they vanish or explode on the way back.

    Parameters
    ----------
    norms : array_like (T,), mapping of str to array_like (T,), or Diagnosis
        Norms by step, or several such by name, or what `diagnose` returned: a line for each level and direction.
    times : array_like (T,), optional
        The steps; 0 to T - 1 by default.
    label : str
        Of the axis of norms.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If a norm is negative or there are none.
    """
    if isinstance(norms, Diagnosis):
        norms = {level.name: level.gradient_norms for level in norms.levels}
    lines = {str(name): value for name, value in norms.items()} if isinstance(norms, Mapping) else {"": norms}
    if not lines:
        raise ValueError("norms must hold at least one line; got none")
    checked = {name: _line(f"norms[{name!r}]" if name else "norms", value) for name, value in lines.items()}
    for name, values in checked.items():
        if (values < 0).any():
            raise ValueError(f"norms must be at least 0; got {values.min():g}" + (f" in {name!r}" if name else ""))
    ax = style.axes(ax, (6.4, 4.0))
    palette, strokes = style.colours(ax), ("-", "--", "-.", ":")
    positive = any((values > 0).any() for values in checked.values())
    for k, (name, values) in enumerate(checked.items()):
        steps = np.arange(len(values)) if times is None else np.asarray(times)
        # A logarithm has no place for 0.
        shown = np.where(values > 0, values, np.nan) if positive else values
        stroke = strokes[k // len(palette) % len(strokes)]
        ax.plot(steps, shown, color=palette[k % len(palette)], linestyle=stroke, linewidth=1.8, label=name or None)
    if positive:
        ax.set_yscale("log")
    ax.set_xlabel("time step")
    ax.set_ylabel(label)
    style.tidy(ax)
    style.legend(ax)
    return ax


def _line(name: str, value: Any) -> NDArray[np.float64]:
    """Return numbers (T,), at least one."""
    array = as_array(name, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}")
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name} must have shape (T,), at least one step; got {array.shape}")
    return array.astype(np.float64)
