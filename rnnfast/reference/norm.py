"""Layer normalisation of rows.

Ba, Kiros and Hinton 2016, "Layer normalization"::

    xhat = (x - mean) / sqrt(variance + eps)        over the elements of a row

Gain and bias are the callers'. Shapes: N rows, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnfast.reference.rnn import Array

EPS = 1e-5


def normalise(x: Array, parts: Sequence[slice] = (slice(None),)) -> tuple[Array, Array]:
    """Return xhat (N, C), each part of the columns normalised for itself, and 1 / sqrt(variance + eps) as (N, C)."""
    xhat, scale = np.empty_like(x), np.empty_like(x)
    for part in parts:
        centred = x[:, part] - x[:, part].mean(axis=1, keepdims=True)
        scale[:, part] = 1 / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + x.dtype.type(EPS))
        xhat[:, part] = centred * scale[:, part]
    return xhat, scale


def gradient(dy: Array, xhat: Array, scale: Array, parts: Sequence[slice] = (slice(None),)) -> Array:
    """Return the gradient of x from that of xhat, all (N, C)."""
    dx = np.empty_like(dy)
    for part in parts:
        d, hat = dy[:, part], xhat[:, part]
        dx[:, part] = scale[:, part] * (d - d.mean(axis=1, keepdims=True) - hat * (d * hat).mean(axis=1, keepdims=True))
    return dx
