"""The last few inputs of a sequence side by side: a convolution over time as one product.

Shapes: N rows, T steps, C features, K steps in a window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def unfold(x: Array, past: Array, lengths: NDArray[np.int64] | None, reverse: bool) -> tuple[Array, Array]:
    """Return for each step of x the inputs of the last K steps, and the last K-1 inputs of each row.

    Parameters
    ----------
    x : (N, T, C)
        Values past a row's length are not used.
    past : (N, K-1, C or more)
        The inputs before the first, oldest first; features past C are not used.
    lengths : (N,) int64 or None
        Valid steps of each row; None: all.
    reverse : bool
        Whether "before" is later in time: rows are read from their last valid step to their first.

    Returns
    -------
    (N, T, K*C), oldest first, zeros past a row's length; and what ``past`` is for the next call, in its shape
    """
    batch, steps, features = x.shape
    before = past.shape[1]
    line = np.zeros((batch, before + steps, features), x.dtype)  # in the order of reading
    line[:, :before] = past[:, :, :features]
    line[:, before:] = _turned(x, lengths, reverse)
    windows = np.concatenate([line[:, k : k + steps] for k in range(before + 1)], axis=2)
    count = np.full(batch, steps) if lengths is None else lengths
    kept = np.zeros_like(past)
    kept[:, :, :features] = line[np.arange(batch)[:, None], count[:, None] + np.arange(before)]
    return _turned(windows, lengths, reverse), kept


def fold(
    dwindows: Array,
    shape: tuple[int, int, int],
    past_shape: tuple[int, ...],
    dpast: Array | None,
    lengths: NDArray[np.int64] | None,
    reverse: bool,
) -> tuple[Array, Array]:
    """Return the gradients of x and of ``past`` from those of `unfold`'s results.

    Parameters
    ----------
    dwindows : (N, T, K*C)
    shape, past_shape : tuple of int
        Those of x and of past.
    dpast : (N, K-1, C or more) or None
        Gradient of the last inputs; None means zero.
    lengths, reverse
        As in `unfold`.
    """
    batch, steps, features = shape
    before = past_shape[1]
    parts = _turned(dwindows, lengths, reverse)
    line = np.zeros((batch, before + steps, features), dwindows.dtype)
    for k in range(before + 1):
        line[:, k : k + steps] += parts[:, :, k * features : (k + 1) * features]
    if dpast is not None:
        count = np.full(batch, steps) if lengths is None else lengths
        line[np.arange(batch)[:, None], count[:, None] + np.arange(before)] += dpast[:, :, :features]
    found = np.zeros(past_shape, dwindows.dtype)
    found[:, :, :features] = line[:, :before]
    return _turned(line[:, before:], lengths, reverse), found


def _turned(x: Array, lengths: NDArray[np.int64] | None, reverse: bool) -> Array:
    """Return x (N, T, C) in the order of reading, or back again, with zeros past each row's length."""
    steps = np.arange(x.shape[1])
    if lengths is None:
        return x[:, ::-1] if reverse else x
    valid = steps < lengths[:, None]
    order = np.where(valid, lengths[:, None] - 1 - steps if reverse else steps, 0)
    return np.where(valid[:, :, None], np.take_along_axis(x, order[:, :, None], axis=1) if x.shape[1] else x, 0)
