"""Supervised pairs from a time series, and splitting in the order of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rnnfast.checks import as_array, check_indices, check_iterable, check_number, check_size


def sliding_windows(
    series: Any, window: int, horizon: int = 1, step: int = 1, target: int | Sequence[int] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cut a time series into windows and what follows each of them.

    Window n holds the rows ``n * step`` to ``n * step + window - 1``; its target holds the ``horizon`` rows after it.

    Parameters
    ----------
    series : array_like, shape (T,) or (T, C)
        One value or C values per time step, oldest first.
    window : int
        Steps in a window.
    horizon : int, default 1
        Steps to be forecast. With 0 the last window ends with the series itself and the targets are empty, which is
        what forecasting beyond the end needs.
    step : int, default 1
        Distance between the starts of neighbouring windows.
    target : int or sequence of int, optional
        The column or columns to be forecast, negative ones counted from the end; all of them if not given.

    Returns
    -------
    x : ndarray, shape (N, window, C)
        The windows, C = 1 for a series of shape (T,): a read-only view of the series, nothing is copied.
    y : ndarray, shape (N, horizon) or (N, horizon, K)
        The targets: without the last axis for a series of shape (T,) or an integer ``target``. A read-only view too,
        except that picking several columns copies those.

    Raises
    ------
    TypeError
        If the series is not numeric or a size is not an integer.
    ValueError
        If a size is too small, or the series is shorter than ``window + horizon``.
    IndexError
        If ``target`` is not a column.

    Examples
    --------
    >>> x, y = sliding_windows([1.0, 2.0, 3.0, 4.0], window=2)
    >>> x[..., 0].tolist(), y.tolist()
    ([[1.0, 2.0], [2.0, 3.0]], [[3.0], [4.0]])
    """
    array = as_array("series", series)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"series must hold real numbers; got dtype {array.dtype}")
    if array.ndim not in (1, 2):
        raise ValueError(f"series must have shape (T,) or (T, C); got {array.shape}")
    window = check_size("window", window)
    horizon = check_size("horizon", horizon, 0)
    step = check_size("step", step)
    if len(array) < window + horizon:
        raise ValueError(f"series must have at least window + horizon = {window + horizon} steps; got {len(array)}")
    columns = array[:, None] if array.ndim == 1 else array
    wanted = array if target is None else _pick(columns, target)
    count = (len(array) - window - horizon) // step + 1
    x = sliding_window_view(columns, window, axis=0)[::step][:count].swapaxes(1, 2)
    if not horizon:
        return x, np.empty((count, 0, *wanted.shape[1:]), array.dtype)
    y = np.moveaxis(sliding_window_view(wanted[window:], horizon, axis=0), -1, 1)[::step][:count]
    return x, y


def _pick(columns: NDArray[Any], target: int | Sequence[int]) -> NDArray[Any]:
    size = columns.shape[1]
    index = as_array("target", target)
    if index.dtype.kind in "iu":
        index = np.where(index < 0, index + size, index)
    checked = check_indices("target", index, size)
    if checked.ndim > 1 or not checked.size:
        raise ValueError(f"target must be a column or a list of columns; got {target!r}")
    picked: NDArray[Any] = columns[:, int(checked)] if checked.ndim == 0 else columns[:, checked]
    return picked


def split_chronologically(
    values: Any, fractions: Sequence[float] = (0.8, 0.2), gap: int = 0
) -> tuple[NDArray[Any], ...]:
    """Split along the first axis into successive parts, the earliest first; nothing is shuffled.

    Parameters
    ----------
    values : array_like, shape (T, ...)
        Rows in the order of time.
    fractions : sequence of float, default (0.8, 0.2)
        Positive shares that add up to 1, for example ``(0.7, 0.1, 0.2)``.
    gap : int, default 0
        Rows left out at the end of every part but the last. ``horizon - 1`` keeps the targets of `sliding_windows`
        in one part apart from those in the next.

    Returns
    -------
    tuple of ndarray
        One view per fraction. Part k ends at row ``floor(T * (fractions[0] + ... + fractions[k]))``, less the gap.

    Raises
    ------
    TypeError, ValueError
        If the fractions are not positive numbers that add up to 1, or a part would be empty.
    """
    array = as_array("values", values)
    if array.ndim == 0:
        raise ValueError("values must have a first axis to split; got a single number")
    check_iterable("fractions", fractions)
    shares = [check_number("fractions", share, 0, 1, above=True) for share in fractions]
    if abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"fractions must add up to 1; got {list(fractions)}")
    gap = check_size("gap", gap, 0)
    # The small constant keeps 0.1 + 0.2 and its like from falling one row short.
    ends = [int(len(array) * total + 1e-6) for total in np.cumsum(shares)]
    ends[-1] = len(array)
    starts = [0, *ends[:-1]]
    stops = [end - gap for end in ends[:-1]] + [ends[-1]]
    if any(stop <= start for start, stop in zip(starts, stops, strict=True)):
        raise ValueError(f"values has {len(array)} rows, too few for parts of {list(fractions)} with a gap of {gap}")
    return tuple(array[start:stop] for start, stop in zip(starts, stops, strict=True))
