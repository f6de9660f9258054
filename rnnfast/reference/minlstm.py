"""Minimal LSTM, one step forward and backward.

Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024, "Were RNNs all we needed?", in its sequential form, the two gates
made to sum to 1::

    f, i = sigmoid(a_f), sigmoid(a_i)      n = g(a_n)      h' = f / (f + i) * h + i / (f + i) * n

g is the identity, tanh or "positive", as in `rnnfast.reference.mingru`.

Arguments, results and shapes are those of `rnnfast.reference.sru`, but that the state is h; a holds f i n, and there
is no v.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.reference.mingru import activate, slope
from rnnfast.reference.rnn import Array, sigmoid


def forward(g: str, a: Array, h: Array, x: Array, v: Array, scale: float) -> tuple[Array, Array, Any]:
    """One step."""
    units = h.shape[1]
    f, i, n = sigmoid(a[:, :units]), sigmoid(a[:, units : 2 * units]), activate(g, a[:, 2 * units :])
    keep = f / (f + i)
    new = keep * h + (1 - keep) * n
    return new, new, (h, f, i, n, keep)


def backward(g: str, dy: Array, dh: Array, saved: Any, v: Array, scale: float) -> tuple[Array, Array, None, Array]:
    """Gradients of one step."""
    h, f, i, n, keep = saved
    d = dh + dy
    dlog = d * (h - n) * keep * (1 - keep)  # by log f, and with the other sign by log i
    da = np.concatenate((dlog * (1 - f), -dlog * (1 - i), d * (1 - keep) * slope(g, n)), axis=1)
    return da, d * keep, None, np.empty((0, *h.shape), h.dtype)
