"""Filling the gaps of a time series."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import as_array, check_choice, check_number

METHODS = ("forward", "linear", "mean", "constant")


def fill_missing(series: Any, method: str = "forward", value: float | None = None) -> NDArray[Any]:
    """Return a copy of a time series with its missing values (NaN) filled, each column for itself.

    Parameters
    ----------
    series : array_like, shape (T,) or (T, C)
        Values, oldest first; NaN marks a missing one.
    method : {"forward", "linear", "mean", "constant"}, default "forward"
        "forward" repeats the last value before the gap; a gap at the start takes the first value after it.
        "linear" draws a straight line across the gap; gaps at either end repeat the nearest value.
        "mean" takes the mean of the column. It sees the future, so fill the parts of a split one by one.
        "constant" takes ``value``.
    value : float, optional
        What "constant" fills in; given with that method only.

    Returns
    -------
    ndarray
        The shape of ``series``; float32 stays float32, other types become float64.

    Raises
    ------
    TypeError
        If the series is not numeric.
    ValueError
        If the shape is wrong, a value is infinite, a column has no value at all (except with "constant"), or
        ``value`` does not go with ``method``.

    Examples
    --------
    >>> from numpy import nan
    >>> fill_missing([nan, 1.0, nan, 3.0], "linear").tolist()
    [1.0, 1.0, 2.0, 3.0]
    """
    check_choice("method", method, METHODS)
    if (value is None) == (method == "constant"):
        raise ValueError(f"value must be given with method 'constant' and with no other; got {method!r} and {value!r}")
    constant = None if value is None else check_number("value", value)
    array = as_array("series", series)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"series must hold real numbers; got dtype {array.dtype}")
    if array.ndim not in (1, 2):
        raise ValueError(f"series must have shape (T,) or (T, C); got {array.shape}")
    filled = array.astype(array.dtype if array.dtype in (np.float32, np.float64) else np.float64)
    if np.isinf(filled).any():
        raise ValueError("series must not hold infinite values; mark missing ones with NaN")
    if constant is not None:
        filled[np.isnan(filled)] = constant
        return filled
    columns = filled[:, None] if filled.ndim == 1 else filled
    gaps = np.isnan(columns)
    empty = gaps.all(axis=0)
    if len(columns) and empty.any():
        where = f" in column {int(np.argmax(empty))}" if filled.ndim == 2 else ""
        raise ValueError(f"series has no value to fill gaps from{where}")
    for k in np.flatnonzero(gaps.any(axis=0)):
        columns[:, k] = _fill_column(columns[:, k], gaps[:, k], method)
    return filled


def _fill_column(column: NDArray[Any], gap: NDArray[np.bool_], method: str) -> NDArray[Any]:
    steps = np.arange(len(column))
    known = np.flatnonzero(~gap)
    if method == "forward":
        last = np.maximum.accumulate(np.where(gap, known[0], steps))
        return np.asarray(column[np.maximum(last, known[0])])
    if method == "linear":
        return np.where(gap, np.interp(steps, known, column[known].astype(np.float64)), column)
    return np.where(gap, column[known].mean(dtype=np.float64), column)
