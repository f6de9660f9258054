"""Layer normalisation of rows by NumPy, a block at a time; equations and arguments: `rnnfast.reference.normalization`.

Each row is read and written several times, so rows are taken in blocks that stay in the second-level cache, all work is
done in place, and sums over columns are matrix products, which NumPy hands to BLAS.
"""

from __future__ import annotations

import numpy as np

from rnnfast.checks import FloatArray

_BLOCK = 32768  # elements


def layer_norm(
    x: FloatArray, weight: FloatArray | None, bias: FloatArray | None, eps: float, save: bool
) -> tuple[FloatArray, tuple[FloatArray, FloatArray] | None]:
    """Return y (R, C), and what `layer_norm_gradients` needs (None unless ``save``)."""
    rows, columns = x.shape
    y = np.empty_like(x, order="C")
    n = np.empty_like(y) if save else y
    scales = np.empty((rows, 1), x.dtype)
    for part in _blocks(rows, columns):
        own, scale = n[part], scales[part]
        np.subtract(x[part], x[part].mean(axis=1, keepdims=True), out=own)
        np.einsum("rc,rc->r", own, own, out=scale[:, 0])
        scale /= columns
        scale += eps
        np.sqrt(scale, out=scale)
        np.reciprocal(scale, out=scale)
        own *= scale
        if weight is not None:
            np.multiply(own, weight, out=y[part])
        elif save:
            y[part] = own
        if bias is not None:
            y[part] += bias
    return y, ((n, scales) if save else None)


def layer_norm_gradients(
    dy: FloatArray, saved: tuple[FloatArray, FloatArray], weight: FloatArray | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return dx (R, C), dw (C,) and db (C,)."""
    n, scales = saved
    rows, columns = dy.shape
    dx = np.empty_like(n)
    dw, db = np.zeros(columns, dy.dtype), np.zeros(columns, dy.dtype)
    for part in _blocks(rows, columns):
        own, given, normal = dx[part], dy[part], n[part]
        dw += np.einsum("rc,rc->c", given, normal)
        db += given.sum(axis=0)
        if weight is None:
            own[...] = given
        else:
            np.multiply(given, weight, out=own)
        mean = own.mean(axis=1, keepdims=True)
        along = np.einsum("rc,rc->r", own, normal)[:, None] / columns
        own -= mean
        own -= normal * along
        own *= scales[part]
    return dx, dw, db


def _blocks(rows: int, columns: int) -> list[slice]:
    size = max(1, _BLOCK // max(1, columns))
    return [slice(first, first + size) for first in range(0, rows, size)]
