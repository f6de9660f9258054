"""Scalers that learn an affine map per column, and can undo it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import as_array, check_number


class _AffineScaler:
    """``(x - offset) / scale`` per column, the last axis; offset and scale are float64, of shape (C,) or ()."""

    kind: ClassVar[str]
    offset: NDArray[np.float64] | None = None
    scale: NDArray[np.float64] | None = None

    def fit(self, x: Any) -> Self:
        """Learn the map from ``x`` and return this scaler.

        Parameters
        ----------
        x : array_like, shape (T,), (T, C) or (N, T, C)
            The training part only, or the test part leaks. NaN marks a missing value and is left out of the count. A
            column that never changes is only shifted, not scaled.

        Raises
        ------
        TypeError
            If the values are not real numbers.
        ValueError
            If a value is infinite or beyond 1e150, or a column has no value at all.
        """
        array = _floats("x", x)
        rows = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array
        rows = rows.astype(np.float64, copy=False)
        # Squares of larger values would overflow.
        if (np.abs(rows) > 1e150).any():
            raise ValueError("x must not hold infinite values, nor any beyond 1e150 either way")
        empty = np.isnan(rows).all(axis=0)
        if not len(rows) or empty.any():
            where = f" in column {int(np.argmax(empty))}" if rows.ndim == 2 and rows.shape[1] and len(rows) else ""
            raise ValueError(f"x has no value to learn from{where}")
        self.offset, self.scale = self._learn(rows)
        return self

    def _learn(self, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        raise NotImplementedError

    def transform(self, x: Any) -> NDArray[Any]:
        """Return ``x`` scaled; NaN stays NaN, float32 stays float32, other types become float64."""
        offset, scale, array = self._prepare(x)
        return ((array - offset) / scale).astype(array.dtype, copy=False)

    def fit_transform(self, x: Any) -> NDArray[Any]:
        """Return ``fit(x).transform(x)``."""
        return self.fit(x).transform(x)

    def inverse_transform(self, x: Any) -> NDArray[Any]:
        """Return ``x`` in the units it had before `transform`."""
        offset, scale, array = self._prepare(x)
        return (array * scale + offset).astype(array.dtype, copy=False)

    def column(self, index: int) -> Self:
        """Return the scaler of one column, for example to undo the scaling of a forecast of that column only.

        Raises
        ------
        IndexError
            If there is no such column.
        """
        offset, scale = self._fitted()
        if offset.ndim == 0 or not -len(offset) <= index < len(offset):
            raise IndexError(f"index must be one of {offset.size if offset.ndim else 0} columns; got {index}")
        part = type(self)()
        part.offset, part.scale = offset[index], scale[index]
        return part

    def state_dict(self) -> dict[str, Any]:
        """Return what was learnt as JSON values, for `from_state_dict`."""
        offset, scale = self._fitted()
        return {"kind": self.kind, "offset": offset.tolist(), "scale": scale.tolist()}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Return the scaler whose `state_dict` this is.

        Raises
        ------
        KeyError, TypeError, ValueError
            If fields are missing or unknown, or the numbers are no valid map.
        """
        if set(state) != {"kind", "offset", "scale"}:
            raise KeyError(f"state must have the fields kind, offset and scale; got {', '.join(map(str, state))}")
        if state["kind"] != cls.kind:
            raise ValueError(f"state must be that of a {cls.kind} scaler; got {state['kind']!r}")
        offset, scale = (_floats(name, state[name], (0, 1)).astype(np.float64) for name in ("offset", "scale"))
        valid = offset.shape == scale.shape and np.isfinite(offset).all() and np.isfinite(scale).all()
        if not valid or not (scale > 0).all():
            raise ValueError("state must hold finite offsets and as many positive scales")
        scaler = cls()
        scaler.offset, scaler.scale = offset, scale
        return scaler

    def _fitted(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.offset is None or self.scale is None:
            raise ValueError(f"{type(self).__name__} has learnt nothing yet: call fit first")
        return np.asarray(self.offset), np.asarray(self.scale)

    def _prepare(self, x: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]:
        offset, scale = self._fitted()
        array = _floats("x", x, (0, 1, 2, 3))
        if offset.ndim and (not array.ndim or array.shape[-1] != len(offset)):
            raise ValueError(f"x must have {len(offset)} columns along its last axis; got shape {array.shape}")
        return offset, scale, array

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'not fitted' if self.offset is None else 'fitted'})"


class Standardizer(_AffineScaler):
    """Scale every column to mean 0 and standard deviation 1 (the population's, divided by the count).

    A scaler fitted on shape (T,) applies one map to arrays of any shape.

    Examples
    --------
    >>> scaler = Standardizer().fit([1.0, 3.0])
    >>> scaler.transform([1.0, 2.0, 3.0]).tolist()
    [-1.0, 0.0, 1.0]
    """

    kind = "standard"

    def _learn(self, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        low, high = np.nanmin(rows, axis=0), np.nanmax(rows, axis=0)
        mean = np.nanmean(rows, axis=0)
        deviation = np.sqrt(np.nanmean((rows - mean) ** 2, axis=0))
        # Rounding would give a column that never changes a tiny deviation: tell it by its range.
        changes = (high > low) & (deviation > 0)
        return np.where(high > low, mean, low), np.where(changes, deviation, 1.0)


class MinMaxScaler(_AffineScaler):
    """Scale every column so that its least value becomes ``low`` and its greatest ``high``.

    Values outside what was seen in `fit` fall outside the range; nothing is clipped.

    Parameters
    ----------
    low, high : float, default 0 and 1
        The range to scale to, low < high.

    Raises
    ------
    TypeError, ValueError
        If the two are not finite numbers in rising order.
    """

    kind = "minmax"

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        self.low = check_number("low", low)
        self.high = check_number("high", high, self.low, above=True)

    def _learn(self, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        least, most = np.nanmin(rows, axis=0), np.nanmax(rows, axis=0)
        width = self.high - self.low
        scale = (most - least) / width
        scale = np.where(scale > 0, scale, 1.0)
        return np.asarray(least - self.low * scale), scale


def scaler_from_state_dict(state: Mapping[str, Any]) -> Standardizer | MinMaxScaler:
    """Return the scaler of either kind whose ``state_dict()`` this is.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is the state of no scaler.
    """
    for cls in (Standardizer, MinMaxScaler):
        if state.get("kind") == cls.kind:
            return cls.from_state_dict(state)
    raise ValueError(f"state must be that of a standard or minmax scaler; got kind {state.get('kind')!r}")


def _floats(name: str, value: Any, ranks: tuple[int, ...] = (1, 2, 3)) -> NDArray[Any]:
    array = as_array(name, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}")
    if array.ndim not in ranks:
        raise ValueError(f"{name} must have {' or '.join(map(str, ranks))} dimensions; got shape {array.shape}")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
