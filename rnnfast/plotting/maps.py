"""Values over two axes as colours: confusion matrices, gates over the input, attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import as_array, check_flag
from rnnfast.plotting import style

MOST_NUMBERS = 16  # rows and columns above which numbers in cells would be too small
MOST_TOKENS = 60
_TURNED = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"}


def plot_confusion(
    truth: Any,
    predicted: Any,
    labels: Sequence[Any] | None = None,
    *,
    names: Sequence[str] | None = None,
    share: bool = False,
    ax: Any = None,
) -> Any:
    """Draw how often each label was taken for each.

    Parameters
    ----------
    truth, predicted : array_like (N,)
        Labels of any kind.
    labels : sequence, optional
        The labels in the order of the rows; by default all that come, sorted. Others are left out.
    names : sequence of str, optional
        What to write for the labels; the labels themselves by default.
    share : bool, default False
        Whether cells are shares of their row (of a true label) instead of counts. Colours are shares either way.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the sizes differ, there is nothing to count, or a label comes twice.
    """
    true, guess = as_array("truth", truth), as_array("predicted", predicted)
    if true.ndim != 1 or true.shape != guess.shape or not len(true):
        raise ValueError(
            f"truth and predicted must have one shape (N,), N at least 1; got {true.shape} and {guess.shape}"
        )
    check_flag("share", share)
    known = np.union1d(true, guess).tolist() if labels is None else list(labels)
    places = {label: k for k, label in enumerate(known)}
    if len(places) < len(known):
        raise ValueError("labels must differ")
    if places.keys().isdisjoint(true.tolist()):
        raise ValueError(
            f"labels must be such as truth has, {true.tolist()[0]!r} for one; got {known!r:.200}; names= is for names"
        )
    texts = [str(label) for label in (known if names is None else names)]
    if len(texts) != len(known):
        raise ValueError(f"names must have {len(known)} entries, one for each label; got {len(texts)}")
    counts = np.zeros((len(known), len(known)), np.int64)
    for a, b in zip(true.tolist(), guess.tolist(), strict=True):
        if a in places and b in places:
            counts[places[a], places[b]] += 1
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(12.0, max(3.6, 0.62 * len(known) + 1.6))
    ax = style.axes(ax, (size + 0.8, size))
    image = ax.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    _bar(ax, image, "share of the true label")
    turned = max(map(len, texts)) > 3
    ax.set_xticks(range(len(known)), texts, rotation=45 if turned else 0, ha="right" if turned else "center")
    ax.set_yticks(range(len(known)), texts)
    ax.tick_params(length=0)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    ax.spines[:].set_visible(False)
    if len(known) <= MOST_NUMBERS:
        small = 10 if len(known) <= 10 else 7.5
        for row, column in np.ndindex(counts.shape):
            text = f"{shares[row, column]:.2f}".removeprefix("0") if share else f"{counts[row, column]:,}"
            ground = image.cmap(image.norm(shares[row, column]))
            ax.text(column, row, text, ha="center", va="center", color=style.on(ground), fontsize=small)
    return ax


def plot_gates(
    activations: Any, tokens: Sequence[str] | None = None, *, name: str = "gate", units: Any = None, ax: Any = None
) -> Any:
    """Draw a gate (or state) of a layer over its input: a row for each unit, a column for each step.

    Parameters
    ----------
    activations : array_like (T, H)
        Of one sequence, such as ``gate_activations(layer, x)["f"][0]``. Values within 0..1 get colours for that span,
        others for -m..m, with m their largest size.
    tokens : sequence of str, optional
        What the steps are, T of them: characters or words.
    name : str, default "gate"
        What is drawn, for the scale.
    units : array_like of int, optional
        The units to draw; all by default.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError, IndexError
        If the values are not numbers of two axes, or tokens or units do not fit.
    """
    values = _table("activations", activations).T
    numbers = np.arange(len(values))
    if units is not None:
        numbers = np.atleast_1d(as_array("units", units))
        values = values[numbers]
    steps = values.shape[1]
    ax = style.axes(ax, (min(16.0, max(5.0, 0.17 * steps + 1.6)), min(8.0, max(2.4, 0.12 * len(values) + 1.4))))
    finite = values[np.isfinite(values)]
    signed = bool(finite.size and finite.min() < 0)
    most = float(np.abs(finite).max(initial=0.0)) or 1.0
    low, high = (-most, most) if signed else (0.0, max(1.0, most))
    image = ax.imshow(
        values, aspect="auto", cmap="PuOr" if signed else "viridis", vmin=low, vmax=high, interpolation="nearest"
    )
    _bar(ax, image, name)
    _steps(ax, tokens, steps)
    places = np.arange(0, len(numbers), _stride(len(numbers)))
    ax.set_yticks(places, [str(numbers[k]) for k in places])
    ax.set_ylabel("unit")
    ax.spines[:].set_visible(False)
    return ax


def plot_attention(
    weights: Any, source: Sequence[str] | None = None, target: Sequence[str] | None = None, *, ax: Any = None
) -> Any:
    """Draw what each step of an output attended to: a row for each target step, a column for each source step.

    Parameters
    ----------
    weights : array_like (T_target, T_source)
        Attention of one pair of sequences; rows add up to 1 as a rule.
    source, target : sequence of str, optional
        What the steps are.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If the weights are not numbers of two axes, or the tokens are not as many.
    """
    values = _table("weights", weights)
    rows, columns = values.shape
    ax = style.axes(ax, (min(14.0, max(4.2, 0.34 * columns + 2.2)), min(12.0, max(3.4, 0.3 * rows + 1.6))))
    most = float(np.nanmax(values, initial=0.0)) or 1.0
    image = ax.imshow(values, aspect="auto", cmap="viridis", vmin=0, vmax=max(most, 1e-12), interpolation="nearest")
    _bar(ax, image, "attention weight")
    for axis, tokens, size, name in (("x", source, columns, "source"), ("y", target, rows, "target")):
        if tokens is not None:
            words = _words(name, tokens, size)
            shown = range(0, size, -(-size // MOST_TOKENS))
            turn = _TURNED if axis == "x" and max(map(len, words)) > 2 else {}
            getattr(ax, f"set_{axis}ticks")(list(shown), [words[k] for k in shown], **turn)
        getattr(ax, f"set_{axis}label")(name if tokens is not None else f"{name} step")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def _steps(ax: Any, tokens: Sequence[str] | None, steps: int) -> None:
    """Label the steps below a map."""
    if tokens is None:
        ax.set_xlabel("time step")
        return
    words = _words("tokens", tokens, steps)
    long = max(map(len, words), default=0) > 2
    if long and steps > MOST_TOKENS:
        shown: Sequence[int] = range(0, steps, -(-steps // MOST_TOKENS))
    else:
        shown = range(steps)
    turn = _TURNED if long else {}
    size = None if long or steps <= 50 else max(4.5, 450 / steps)
    ax.set_xticks(list(shown), [words[k] for k in shown], fontsize=size, **turn)
    ax.tick_params(axis="x", length=0)
    ax.set_xlabel("input")


def _stride(count: int) -> int:
    """Return the round step, 1, 2, 5, 10, ..., at which at most 16 of the numbers 0..count-1 are written."""
    ten = 1
    while count > 160 * ten:
        ten *= 10
    return ten * next(factor for factor in (1, 2, 5, 10) if count <= 16 * factor * ten)


def _words(name: str, tokens: Sequence[str], size: int) -> list[str]:
    """Return tokens as labels, white space made visible."""
    words = [
        {" ": "\N{OPEN BOX}", "\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"}.get(str(t), str(t)) for t in tokens
    ]
    if len(words) != size:
        raise ValueError(f"{name} must have {size} entries, one for each step; got {len(words)}")
    return [word.replace("$", r"\$") for word in words]


def _bar(ax: Any, image: Any, label: str) -> None:
    """Draw the scale of the colours."""
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.02, aspect=40)
    bar.set_label(label)
    bar.outline.set_visible(False)


def _table(name: str, value: Any) -> NDArray[np.float64]:
    array = as_array(name, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}")
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{name} must have two axes and at least one value; got shape {array.shape}")
    return array.astype(np.float64)
