"""Minimal GRU, one step forward and backward.

Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024, "Were RNNs all we needed?", in its sequential form::

    z = sigmoid(a_z)       n = f(a_n)       h' = (1 - z) * h + z * n

f is the identity (section 3.1 of the paper), tanh, or "positive", the g of its appendix B: a + 1/2 where a is 0 or
more, else sigmoid(a), which keeps h positive.

Arguments, results and shapes are those of `rnnfast.reference.sru`, but that the state is h; a holds z n, and there is
no v.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.reference.rnn import Array, sigmoid


def activate(f: str, a: Array) -> Array:
    """Return f(a)."""
    if f == "tanh":
        return np.asarray(np.tanh(a))
    return np.where(a < 0, sigmoid(a), a + 0.5) if f == "positive" else a


def slope(f: str, y: Array) -> Array:
    """Return the derivative of f where its value is y."""
    if f == "tanh":
        return 1 - y * y
    return np.where(y < 0.5, y * (1 - y), 1) if f == "positive" else np.ones_like(y)


def forward(f: str, a: Array, h: Array, x: Array, v: Array, scale: float) -> tuple[Array, Array, Any]:
    """One step."""
    units = h.shape[1]
    z, n = sigmoid(a[:, :units]), activate(f, a[:, units:])
    new = (1 - z) * h + z * n
    return new, new, (h, z, n)


def backward(f: str, dy: Array, dh: Array, saved: Any, v: Array, scale: float) -> tuple[Array, Array, None, Array]:
    """Gradients of one step."""
    h, z, n = saved
    d = dh + dy
    da = np.concatenate((d * (n - h) * z * (1 - z), d * z * slope(f, n)), axis=1)
    return da, d * (1 - z), None, np.empty((0, *h.shape), h.dtype)
