"""Layer normalisation of rows, forward and backward: of a layer, and within the cells that have it.

Ba, Kiros and Hinton 2016, "Layer normalization", equation 4, over the C elements of each row::

    n = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps)        y = w * n + b

Shapes: R rows, C columns. Gradients take the prefix d.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnfast.checks import FloatArray

EPS = 1e-5  # of cells


def normalise(
    x: FloatArray, parts: Sequence[slice] = (slice(None),), eps: float = EPS
) -> tuple[FloatArray, FloatArray]:
    """Return n (R, C), each part of the columns normalised for itself, and 1 / sqrt(variance + eps) as (R, C)."""
    n, scale = np.empty_like(x), np.empty_like(x)
    for part in parts:
        centred = x[:, part] - x[:, part].mean(axis=1, keepdims=True)
        scale[:, part] = 1 / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + x.dtype.type(eps))
        n[:, part] = centred * scale[:, part]
    return n, scale


def gradient(dn: FloatArray, n: FloatArray, scale: FloatArray, parts: Sequence[slice] = (slice(None),)) -> FloatArray:
    """Return the gradient of x from that of n, all (R, C)."""
    dx = np.empty_like(dn)
    for part in parts:
        d, own = dn[:, part], n[:, part]
        dx[:, part] = scale[:, part] * (d - d.mean(axis=1, keepdims=True) - own * (d * own).mean(axis=1, keepdims=True))
    return dx


def layer_norm(
    x: FloatArray, weight: FloatArray | None, bias: FloatArray | None, eps: float, save: bool
) -> tuple[FloatArray, tuple[FloatArray, FloatArray] | None]:
    """Normalise rows.

    Parameters
    ----------
    x : (R, C)
    weight, bias : (C,) or None for ones and zeros
    eps : float
    save : bool
        Whether `layer_norm_gradients` will follow.

    Returns
    -------
    y (R, C), and what `normalise` returns (None unless ``save``)
    """
    n, scale = normalise(x, eps=eps)
    y = n if weight is None else n * weight
    return (y.copy() if bias is None else y + bias), ((n, scale) if save else None)


def layer_norm_gradients(
    dy: FloatArray, saved: tuple[FloatArray, FloatArray], weight: FloatArray | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gradients of `layer_norm`.

    Parameters
    ----------
    dy : (R, C)
    saved : what `layer_norm` returned
    weight : (C,) or None

    Returns
    -------
    dx (R, C), dw (C,) and db (C,)
    """
    n, scale = saved
    dx = gradient(dy if weight is None else dy * weight, n, scale)
    return dx, (dy * n).sum(axis=0), dy.sum(axis=0)
