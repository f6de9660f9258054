"""Forecasts of several steps at once from a window of a series, with exogenous columns and conformal intervals.

The network reads a window of all columns and answers with the change of the target columns from their last value, for
every step of the horizon. Columns that are known ahead (a calendar, planned prices) are read a second time, shifted by
the horizon, so that the last steps of a window carry what is known of the steps to be forecast.

Shapes: T steps of a series, C columns, Q of them targets, K known ahead, W the window, H the horizon, N windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_number, check_real, check_size
from rnnfast.data.scaling import Standardizer
from rnnfast.data.windows import sliding_windows
from rnnfast.layers.base import Layer
from rnnfast.losses import Huber, Loss
from rnnfast.tasks.conformal import half_widths
from rnnfast.tasks.networks import build
from rnnfast.tasks.training import Training

LEVELS = np.arange(1, 100) / 100  # coverages whose widths are kept in files


class Frame(NamedTuple):
    """What a forecast is made of.

    Attributes
    ----------
    window : int
        Steps that are read.
    horizon : int
        Steps that are forecast.
    targets : tuple of int
        The columns that are forecast.
    known : tuple of int
        The columns whose values are known ahead.
    """

    window: int
    horizon: int
    targets: tuple[int, ...]
    known: tuple[int, ...] = ()

    def checked(self, columns: int) -> Frame:
        """Return it with valid numbers for series of so many columns, or raise."""
        window, horizon = check_size("window", self.window), check_size("horizon", self.horizon)
        for name, places in (("target", self.targets), ("known", self.known)):
            for place in places:
                if not 0 <= place < columns:
                    raise IndexError(f"{name} must name columns 0..{columns - 1}; got {place}")
            if len(set(places)) < len(places):
                raise ValueError(f"{name} must name each column once; got {list(places)}")
        if not self.targets:
            raise ValueError("target must name at least one column; got none")
        both = set(self.targets) & set(self.known)
        if both:
            raise ValueError(f"known must not name a target; got column {min(both)}")
        if self.known and window < horizon:
            raise ValueError(f"window must be at least the horizon, {horizon}, where columns are known; got {window}")
        return Frame(window, horizon, tuple(self.targets), tuple(self.known))


class SeriesForecaster:
    """A trained forecaster: the network, how it reads a series, and how wide its errors were.

    Parameters
    ----------
    model : Layer
        From (N, W, C + K) to (N, H * Q).
    frame : Frame
        What it forecasts from what.
    scaler : Standardizer
        Of all C columns.
    errors : ndarray (N, H, Q), optional
        Truth less forecast on the calibration part, in the units of the series.
    widths : ndarray (99, H, Q), optional
        Instead of the errors: half the widths of intervals for coverages of 1 to 99 %.
    """

    def __init__(
        self,
        model: Layer,
        frame: Frame,
        scaler: Standardizer,
        errors: NDArray[np.float64] | None = None,
        widths: NDArray[np.float64] | None = None,
    ) -> None:
        self.model, self.frame, self.scaler = model, frame, scaler
        self.errors, self.widths = errors, widths

    @property
    def columns(self) -> int:
        """C, the columns of a series."""
        return len(np.atleast_1d(np.asarray(self.scaler.offset)))

    @classmethod
    def fit(
        cls,
        series: Sequence[Any],
        frame: Frame,
        training: Training,
        *,
        stride: int = 1,
        validation: float = 0.0,
        calibration: float = 0.2,
        dtype: Any = np.float32,
        loss: Loss | None = None,
        seed: int = 0,
        network: Mapping[str, Any] | None = None,
    ) -> tuple[SeriesForecaster, Any]:
        """Train one on series and return it with the history of the training.

        Parameters
        ----------
        series : sequence of array_like (T, C)
            Oldest step first.
        frame : Frame
            What to forecast from what.
        training : Training
            How to train.
        stride : int, default 1
            Distance between the starts of neighbouring windows in training.
        validation : float, default 0
            Share of the windows of each series, before those of the calibration, to stop early by.
        calibration : float, default 0.2
            Share of the windows of each series, its last ones, kept out of the training for the intervals; 0: none.
        dtype : dtype, default float32
            Of the computation.
        loss : Loss, optional
            Of standardised changes; by default that of Huber.
        seed : int, default 0
            For the initial parameters.
        network : mapping, optional
            Further arguments of ``rnnfast.tasks.networks.build``.

        Raises
        ------
        TypeError, ValueError, IndexError
            If an argument does not fit or the series are too short.
        """
        parts = [_as_series(f"series[{k}]", item, None) for k, item in enumerate(series)]
        if not parts or len({part.shape[1] for part in parts}) > 1:
            raise ValueError("series must hold at least one series, and all must have the same columns")
        frame = frame.checked(parts[0].shape[1])
        shares = [
            check_number(n, v, 0, 1, below=True) for n, v in (("validation", validation), ("calibration", calibration))
        ]
        if sum(shares) >= 1:
            raise ValueError(f"validation and calibration must leave something to train on; got {shares}")
        cuts = [_cuts(len(part), frame, *shares) for part in parts]
        learnt = [part[: cut[0] + frame.window + frame.horizon - 1] for part, cut in zip(parts, cuts, strict=True)]
        own = cls(
            build(
                parts[0].shape[1] + len(frame.known),
                frame.horizon * len(frame.targets),
                pooling="auto",
                dtype=dtype,
                seed=seed,
                **(network or {}),
            ),
            frame,
            Standardizer().fit(np.concatenate(learnt)),
        )
        trio = [own._pairs(part, cut, stride) for part, cut in zip(parts, cuts, strict=True)]
        train, held, kept = (
            tuple(np.concatenate([item[k][side] for item in trio]).astype(dtype) for side in (0, 1)) for k in range(3)
        )
        x, y = train
        history = training.fit(own.model, loss or Huber(), x, y, held if len(held[0]) else None)
        if len(kept[0]):
            scale = np.asarray(own.scaler.scale)[list(frame.targets)]
            wrong = kept[1].astype(np.float64) - own._run(kept[0])
            own.errors = wrong.reshape(len(wrong), frame.horizon, len(frame.targets)) * scale
        return own, history

    def predict(self, series: Any, future: Any = None) -> NDArray[np.float64]:
        """Return the forecast of the steps after a series.

        Parameters
        ----------
        series : array_like (T, C)
            At least the window; only its end is read.
        future : array_like (H, K), optional
            What is known of the steps to be forecast; needed if and only if columns are known ahead.

        Returns
        -------
        ndarray (H, Q)

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit.
        """
        frame = self.frame
        values = _as_series("series", series, self.columns)
        if len(values) < frame.window:
            raise ValueError(f"series must have at least window = {frame.window} steps; got {len(values)}")
        if (future is None) != (not frame.known):
            raise ValueError(
                f"future must be given, ({frame.horizon}, {len(frame.known)}), as columns are known ahead"
                if frame.known
                else "future must be left out, as no column is known ahead"
            )
        extended = np.concatenate([values[-frame.window :], np.zeros((frame.horizon, self.columns))])
        if frame.known:
            ahead = check_real("future", future, np.dtype(np.float64), (frame.horizon, len(frame.known)))
            if not np.isfinite(ahead).all():
                raise ValueError("future must be finite")
            extended[frame.window :, list(frame.known)] = ahead
        scaled = self.scaler.transform(extended)
        x, _ = self._windows(scaled)
        return np.asarray(self._unscaled(x, self._run(x))[0])

    def backtest(self, series: Any, stride: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what came after each window of a series and its forecast, both (N, H, Q).

        Raises
        ------
        TypeError, ValueError
            If the series does not fit or is shorter than window and horizon together.
        """
        values = _as_series("series", series, self.columns)
        x, changes = self._windows(self.scaler.transform(values))
        x, changes = x[::stride], changes[::stride]
        return self._unscaled(x, changes), self._unscaled(x, self._run(x))

    def half_widths(self, coverage: float) -> NDArray[np.float64]:
        """Return half the widths of intervals of that coverage, (H, Q); to the next whole per cent after loading.

        Raises
        ------
        ValueError
            If it was trained without calibration, or the coverage is out of range.
        """
        coverage = check_number("coverage", coverage, 0, 1, above=True, below=True)
        if self.errors is not None:
            return half_widths(self.errors, coverage)
        if self.widths is None:
            raise ValueError("there are no intervals: it was trained without a calibration part")
        at = int(np.searchsorted(LEVELS, coverage - 1e-9))
        return np.asarray(self.widths[at]) if at < len(LEVELS) else np.full(self.widths.shape[1:], np.inf)

    def state_dict(self) -> dict[str, Any]:
        """Return all but the network as JSON values, for `from_state_dict`."""
        widths = self.widths
        if self.errors is not None:
            widths = np.array([half_widths(self.errors, level) for level in LEVELS])
        return {
            "frame": {name: list(v) if isinstance(v, tuple) else v for name, v in self.frame._asdict().items()},
            "scaler": self.scaler.state_dict(),
            # JSON has no infinity: null stands for it.
            "widths": None if widths is None else _nested(widths.tolist()),
        }

    @classmethod
    def from_state_dict(cls, model: Layer, state: Mapping[str, Any]) -> SeriesForecaster:
        """Return the forecaster whose `state_dict` this is.

        Raises
        ------
        KeyError, TypeError, ValueError
            If fields are missing or do not fit.
        """
        given: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in state["frame"].items()}
        frame = Frame(**given)
        scaler = Standardizer.from_state_dict(state["scaler"])
        frame = frame.checked(int(np.size(np.asarray(scaler.offset))))
        widths = state["widths"]
        if widths is not None:
            widths = np.array(
                [[[np.inf if v is None else float(v) for v in row] for row in level] for level in widths], np.float64
            )
            expected = (len(LEVELS), frame.horizon, len(frame.targets))
            if widths.shape != expected:
                raise ValueError(f"widths must have shape {expected}; got {widths.shape}")
        return cls(model, frame, scaler, None, widths)

    def _windows(self, scaled: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return windows (N, W, C + K) of a scaled series and the changes that follow them, (N, H * Q)."""
        frame = self.frame
        x, y = sliding_windows(scaled, frame.window, frame.horizon, target=list(frame.targets))
        changes = y - x[:, -1:, list(frame.targets)]
        if frame.known:
            ahead, _ = sliding_windows(scaled[frame.horizon :][:, list(frame.known)], frame.window, 0)
            x = np.concatenate([x, ahead[: len(x)]], axis=2)
        return x, changes.reshape(len(x), -1)

    def _pairs(self, part: NDArray[Any], cut: tuple[int, int, int], stride: int) -> list[tuple[Any, Any]]:
        """Return windows and changes for training, validation and calibration."""
        x, changes = self._windows(self.scaler.transform(part))
        first, second, third = cut
        gap = self.frame.horizon - 1  # so that no target is in two parts
        validation = slice(min(first + gap, second), second)
        calibration = slice(min(second + gap, third), third)
        return [
            (x[part], changes[part])
            for part in (slice(0, first, check_size("stride", stride)), validation, calibration)
        ]

    def _run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the scaled changes (N, H * Q) that the network forecasts."""
        dtype = next(iter(self.model.parameters().values())).dtype
        parts = []
        for start in range(0, len(x), 256):
            out = self.model(np.ascontiguousarray(x[start : start + 256], dtype))
            parts.append(out[0] if self.model.stateful else out)
        return np.concatenate(parts).astype(np.float64)

    def _unscaled(self, x: NDArray[Any], changes: NDArray[Any]) -> NDArray[np.float64]:
        """Return values (N, H, Q) in the units of the series."""
        frame = self.frame
        places = list(frame.targets)
        values = changes.reshape(len(x), frame.horizon, len(places)) + x[:, -1:, places]
        offset, scale = np.asarray(self.scaler.offset), np.asarray(self.scaler.scale)
        return np.asarray(values * scale[places] + offset[places], np.float64)


def _cuts(steps: int, frame: Frame, validation: float, calibration: float) -> tuple[int, int, int]:
    """Return where the windows for training, validation and calibration of a series end."""
    count = steps - frame.window - frame.horizon + 1
    least = frame.window + frame.horizon
    if count < 1:
        raise ValueError(f"series must have at least window + horizon = {least} steps; got {steps}")
    second = count - round(calibration * count)
    first = second - round(validation * count)
    if first < 1 or (calibration and count - second < frame.horizon) or (validation and second - first < frame.horizon):
        raise ValueError(
            f"series of {steps} steps is too short for a window of {frame.window}, a horizon of {frame.horizon} and "
            f"parts held out (validation {validation:g}, calibration {calibration:g})"
        )
    return first, second, count


def _as_series(name: str, value: Any, columns: int | None) -> NDArray[np.float64]:
    """Return a finite float64 array (T, C), or raise."""
    array = check_real(name, value, np.dtype(np.float64), ("T", "C" if columns is None else columns))
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(f"{name} must be finite; got {array[row, column]} in step {row}, column {column}")
    return array


def _nested(values: Any) -> Any:
    """Return nested lists with None for what is infinite."""
    if isinstance(values, list):
        return [_nested(value) for value in values]
    return values if np.isfinite(values) else None
