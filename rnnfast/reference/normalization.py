"""Layer normalisation of rows, forward and backward, as equations.

Ba, Kiros and Hinton 2016, "Layer normalization", equation 4, over the C elements of each row::

    n = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps)        y = w * n + b

Shapes: R rows, C columns. Gradients take the prefix d.
"""

from __future__ import annotations

import numpy as np

from rnnfast.checks import FloatArray


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
    y (R, C), and n (R, C) with the scale 1 / sqrt(variance + eps) of each row (R, 1) (None unless ``save``)
    """
    centred = x - x.mean(axis=1, keepdims=True)
    scale = 1 / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + x.dtype.type(eps))
    n = centred * scale
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
    dn = dy if weight is None else dy * weight
    mean = dn.mean(axis=1, keepdims=True)
    along = (dn * n).mean(axis=1, keepdims=True)
    return scale * (dn - mean - n * along), (dy * n).sum(axis=0), dy.sum(axis=0)
