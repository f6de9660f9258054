"""Dropout, losses over rows and embedding, as NumPy equations; `rnnfast._native.ops` has the same functions in C.

Shapes: R rows, C columns, V entries of an embedding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import FloatArray

_WORD = 2**32
_BLOCK = 2**16


def keep(n: int, p: float, seed: int, start: int = 0) -> NDArray[np.bool_]:
    """Return which of the elements ``start .. start + n - 1`` dropout keeps, shape (n,).

    Parameters
    ----------
    n : int
        How many.
    p : float
        Chance to be dropped, at least 0 and less than 1.
    seed : int
        0 .. 2**64 - 1.
    start : int, default 0
        Number of the first.

    Notes
    -----
    Nothing is drawn in turn: element i is kept iff hash32(i, seed) >= p * 2**32, so that a backward pass can ask again
    and any thread can begin anywhere. The seed and the high word of i give two 32-bit keys through the finaliser of
    SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"). The low word of i is
    then mixed with the keys by three multiplications and four shifts, with the constants that C. Wellons'
    "hash-prospector" search names triple32 (17 ed5ad4bb 11 ac4c1b51 15 31848bab 14). Such a mix needs only 32-bit
    products, which every instruction set has for whole vectors. Two multiplications do not suffice: masks then agree
    with themselves 4096 places on more often than chance allows.
    """
    out = np.empty(n, np.bool_)
    threshold = np.uint32(min(_WORD - 1, int(p * _WORD)))
    done = 0
    while done < n:
        i = start + done
        count = min(n - done, _WORD - i % _WORD, _BLOCK)
        low, high = _keys(seed, i // _WORD)
        x = np.arange(i % _WORD, i % _WORD + count, dtype=np.uint64).astype(np.uint32)
        x += np.uint32(low)
        x ^= x >> np.uint32(17)
        x *= np.uint32(0xED5AD4BB)
        x ^= x >> np.uint32(11)
        x += np.uint32(high)
        x *= np.uint32(0xAC4C1B51)
        x ^= x >> np.uint32(15)
        x *= np.uint32(0x31848BAB)
        x ^= x >> np.uint32(14)
        np.greater_equal(x, threshold, out=out[done : done + count])
        done += count
    return out


def _keys(seed: int, high_word: int) -> tuple[int, int]:
    """Return the two 32-bit keys of a seed and the high word of an element's number: SplitMix64's output function."""
    mask = 2**64 - 1
    z = (seed + 0x9E3779B97F4A7C15 * (high_word + 1)) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    z ^= z >> 31
    return z % _WORD, z // _WORD


def dropout(x: FloatArray, p: float, seed: int, start: int = 0) -> FloatArray:
    """Return x / (1 - p) where `keep` says so for its elements in C order, and 0 elsewhere, in a new array.

    Applied to the gradient of the result with the same ``p``, ``seed`` and ``start`` it is its own backward pass.
    """
    kept = keep(x.size, p, seed, start).reshape(x.shape)
    out: FloatArray = np.where(kept, x * x.dtype.type(1.0 / (1.0 - p)), x.dtype.type(0))
    return out


def softmax_cross_entropy(
    x: FloatArray,
    targets: NDArray[np.int64],
    weights: FloatArray | None,
    scale: float,
    smoothing: float,
    gradient: bool,
) -> tuple[NDArray[np.float64], FloatArray | None]:
    """Return the loss of every row and the gradient of ``scale * sum_r weights_r * loss_r``.

    loss_r = log sum_j exp(x_rj) - (1 - e) * x_rt - e / C * sum_j x_rj,
    dx_rj = scale * weights_r * (softmax(x_r)_j - (1 - e) * [j = t] - e / C), with t = targets_r and e = smoothing.

    Parameters
    ----------
    x : (R, C)
    targets : (R,), each in 0..C-1 where the weight is not 0
    weights : (R,) of the dtype of x, or None for ones
        A row of weight 0 is not looked at: its loss and gradient are 0.
    scale, smoothing : float
    gradient : bool
        Whether the gradient is wanted; else None takes its place.

    Returns
    -------
    losses : (R,) float64, before weights and scale
    dx : (R, C) or None
    """
    rows, classes = x.shape
    live = np.arange(rows) if weights is None else np.flatnonzero(weights)
    x, targets = x[live], targets[live]
    own = np.arange(len(live)), targets
    top = x.max(axis=1, keepdims=True, initial=-np.inf)
    with np.errstate(invalid="ignore"):  # infinities give NaN, as they should
        e = np.exp(x - top)
        total = e.sum(axis=1)
        each = np.log(total) + top[:, 0] - (1.0 - smoothing) * x[own]
        if smoothing:
            each = each - smoothing / classes * x.sum(axis=1)
    losses = np.zeros(rows)
    losses[live] = each
    if not gradient:
        return losses, None
    w = x.dtype.type(scale) * (np.ones(rows, x.dtype) if weights is None else weights)[live]
    part = e * (w / total)[:, None] - (w * x.dtype.type(smoothing / classes))[:, None]
    part[own] -= w * x.dtype.type(1.0 - smoothing)
    dx = np.zeros((rows, classes), x.dtype)
    dx[live] = part
    return losses, dx


def sigmoid_cross_entropy(
    x: FloatArray, targets: FloatArray, weights: FloatArray | None, scale: float, gradient: bool
) -> tuple[NDArray[np.float64], FloatArray | None]:
    """Return the loss of every row, summed over its columns, and the gradient of ``scale * sum_r weights_r * loss_r``.

    loss_r = sum_j max(x_rj, 0) - x_rj * t_rj + log(1 + exp(-|x_rj|)), dx_rj = scale * weights_r * (sigmoid(x_rj) -
    t_rj), with t = targets (R, C); the other arguments and results are those of `softmax_cross_entropy`.
    """
    rows = len(x)
    live = np.arange(rows) if weights is None else np.flatnonzero(weights)
    t, x = targets[live], x[live]
    e = np.exp(-np.abs(x))
    losses = np.zeros(rows)
    losses[live] = (np.maximum(x, 0) - x * t + np.log1p(e)).sum(axis=1)
    if not gradient:
        return losses, None
    w = x.dtype.type(scale) * (np.ones(rows, x.dtype) if weights is None else weights)[live]
    dx = np.zeros(targets.shape, x.dtype)
    dx[live] = w[:, None] * (np.where(x < 0, e, 1) / (1 + e) - t)
    return losses, dx


def scatter_add(out: FloatArray, rows: NDArray[np.int64], values: FloatArray) -> None:
    """Add ``values[r]`` to ``out[rows[r]]`` for r = 0, 1, ... in this order.

    Parameters
    ----------
    out : (V, C)
        Changed in place.
    rows : (R,), each in 0..V-1
    values : (R, C)
    """
    np.add.at(out, rows, values)


def max_pool(x: FloatArray, lengths: NDArray[np.int64] | None) -> tuple[FloatArray, NDArray[np.int32]]:
    """Return the largest value of each column over the valid steps, and the step where it first stands.

    Parameters
    ----------
    x : (N, T, C)
    lengths : (N,) or None
        Valid steps of each row; a row without any gives 0 and step -1. NaN counts as the largest.

    Returns
    -------
    y : (N, C)
    steps : (N, C) int32
    """
    batch, time, columns = x.shape
    if time == 0 or batch == 0:
        return np.zeros((batch, columns), x.dtype), np.full((batch, columns), -1, np.int32)
    if lengths is not None:
        x = np.where((np.arange(time) < lengths[:, None])[:, :, None], x, -np.inf)
    steps = x.argmax(axis=1)
    y = np.take_along_axis(x, steps[:, None], axis=1)[:, 0]
    steps = steps.astype(np.int32)
    if lengths is not None:
        y[lengths == 0] = 0
        steps[lengths == 0] = -1
    return y, steps


def activate(name: str, x: FloatArray) -> None:
    """Replace every element of x by its tanh or sigmoid, in place."""
    if name == "tanh":
        np.tanh(x, out=x)
        return
    e = np.exp(-np.abs(x))
    np.divide(np.where(x < 0, e, x.dtype.type(1)), 1 + e, out=x)
