"""The Elman network, one step forward and backward.

Elman 1990, "Finding structure in time"; torch.nn.RNN has the same equation::

    h' = f(W_ih x + b_ih + W_hh h + b_hh)        f: tanh, relu or sigmoid

Shapes: N rows, H hidden units. Gradients take the prefix d.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
States = tuple[Array, ...]


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)); the overflow of exp at very negative x gives the right 0."""
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-x)))


def forward(f: str, a: Array, state: States, w_hh: Array, b_hh: Array) -> tuple[States, States]:
    """One step.

    Parameters
    ----------
    f : {"tanh", "relu", "sigmoid"}
    a : (N, H)
        W_ih x + b_ih.
    state : (h,) with h (N, H)
    w_hh : (H, H)
    b_hh : (H,)

    Returns
    -------
    (h',), and what `backward` needs
    """
    (h,) = state
    u = a + (h @ w_hh.T + b_hh)
    if f == "tanh":
        y = np.tanh(u)
    elif f == "relu":
        y = np.maximum(u, 0)
    else:
        y = sigmoid(u)
    return (y,), (h, y)


def backward(f: str, dstate: States, saved: States, w_hh: Array) -> tuple[Array, Array, States]:
    """Gradients of one step.

    Parameters
    ----------
    dstate : (dh',) with dh' (N, H)
    saved : what `forward` returned
    w_hh : (H, H)

    Returns
    -------
    da (N, H), gradient of the product W_hh h + b_hh (N, H), and (dh,)
    """
    (dy,) = dstate
    _, y = saved
    if f == "tanh":
        du = dy * (1 - y * y)
    elif f == "relu":
        du = dy * (y > 0)
    else:
        du = dy * (y * (1 - y))
    return du, du, (du @ w_hh,)
