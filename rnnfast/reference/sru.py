"""Simple recurrent units, one step forward and backward.

Lei, Zhang, Wang, Dai and Artzi 2018, "Simple recurrent units for highly parallelizable recurrence", equations 1 to 4::

    f = sigmoid(W_f x + v_f * c + b_f)       c' = f * c + (1 - f) * (W x)
    r = sigmoid(W_r x + v_r * c + b_r)       h' = r * c' + (1 - r) * (scale * s)

The highway carries s = x where x has as many features as there are units, else s = W_s x ("projected").

Shapes: N rows, H hidden units, G gates. Gradients take the prefix d.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.reference.rnn import Array, sigmoid


def forward(projected: bool, a: Array, c: Array, x: Array, v: Array, scale: float) -> tuple[Array, Array, Any]:
    """One step.

    Parameters
    ----------
    projected : bool
    a : (N, G*H)
        The input product and its biases: x f r, and s if projected.
    c : (N, H)
        The state.
    x : (N, I)
        The input; I = H unless projected.
    v : (2, H)
        v_f, v_r.
    scale : float

    Returns
    -------
    h', c', and what `backward` needs
    """
    n = c.shape[1]
    new = a[:, :n]
    f = sigmoid(a[:, n : 2 * n] + v[0] * c)
    r = sigmoid(a[:, 2 * n : 3 * n] + v[1] * c)
    s = scale * (a[:, 3 * n :] if projected else x)
    c_new = f * c + (1 - f) * new
    return r * c_new + (1 - r) * s, c_new, (c, new, f, r, s, c_new)


def backward(
    projected: bool, dh: Array, dc: Array, saved: Any, v: Array, scale: float
) -> tuple[Array, Array, Array | None, Array]:
    """Gradients of one step.

    Parameters
    ----------
    projected : bool
    dh, dc : (N, H)
        Of h' and of c'.
    saved : what `forward` returned
    v, scale
        As in `forward`.

    Returns
    -------
    da (N, G*H), dc (N, H), dx (N, H) past the input product or None, and the gradient of v, (2, N, H)
    """
    c, new, f, r, s, c_new = saved
    da_r = dh * (c_new - s) * r * (1 - r)
    dc = dc + dh * r
    da_f = dc * (c - new) * f * (1 - f)
    ds = scale * dh * (1 - r)
    da = [dc * (1 - f), da_f, da_r, *([ds] if projected else [])]
    dv = np.stack((da_f * c, da_r * c))
    return np.concatenate(da, axis=1), dc * f + da_f * v[0] + da_r * v[1], None if projected else ds, dv
