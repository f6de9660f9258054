"""Arrays (..., C) as a matrix of rows, without a copy where memory is batch-major or time-major."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Lookup(NamedTuple):
    """Input of a recurrent layer as rows of a table: step (n, t) is ``table[indices[n, t]]``.

    Where the table is short, its rows pass through the input weights once each, not once for each step.

    Attributes
    ----------
    table : (V, I)
    indices : (N, T) int64
    """

    table: NDArray[Any]
    indices: NDArray[np.int64]


def is_time_major(x: NDArray[Any]) -> bool:
    """Return whether x (N, T, C) lies time-major in memory, and not batch-major too."""
    return x.ndim == 3 and not x.flags.c_contiguous and x.transpose(1, 0, 2).flags.c_contiguous


def to_rows(x: NDArray[Any], time_major: bool) -> NDArray[Any]:
    """Return x (C,), (N, C) or (N, T, C) as (R, C), its rows in the order said."""
    if time_major:
        x = x.swapaxes(0, 1)
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def from_rows(rows: NDArray[Any], shape: tuple[int, ...], time_major: bool) -> NDArray[Any]:
    """Return rows (R, C) with the leading sizes of ``shape``, undoing `to_rows`."""
    if time_major:
        return rows.reshape(shape[1], shape[0], rows.shape[-1]).swapaxes(0, 1)
    return rows.reshape(*shape[:-1], rows.shape[-1])


def flat(values: NDArray[Any], time_major: bool) -> NDArray[Any]:
    """Return values (N,) or (N, T), one for each row, in the order of `to_rows`."""
    return (values.T if time_major else values).reshape(-1)


def with_contiguous_rows(rows: NDArray[Any]) -> NDArray[Any]:
    """Return rows (R, C), copied unless the elements of a row stand side by side and rows whole elements apart."""
    apart, size = rows.strides, rows.itemsize
    return rows if apart[1] == size and apart[0] % size == 0 else np.ascontiguousarray(rows)
