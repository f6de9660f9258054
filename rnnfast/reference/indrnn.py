"""Independently recurrent network, one step forward and backward.

Li, Li, Cook, Zhu and Gao 2018, "Independently recurrent neural network (IndRNN): building a longer and deeper RNN"::

    h' = f(W x + b + u * h)        f: relu or tanh

Arguments, results and shapes are those of `rnnfast.reference.sru`, but that the state is h, and v (1, H) is u.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.reference.rnn import Array


def forward(f: str, a: Array, h: Array, x: Array, v: Array, scale: float) -> tuple[Array, Array, Any]:
    """One step."""
    new = np.asarray(np.tanh(a + v[0] * h) if f == "tanh" else np.maximum(a + v[0] * h, 0))
    return new, new, (h, new)


def backward(f: str, dy: Array, dh: Array, saved: Any, v: Array, scale: float) -> tuple[Array, Array, None, Array]:
    """Gradients of one step."""
    h, y = saved
    da = (dh + dy) * (1 - y * y if f == "tanh" else y > 0)
    return da, da * v[0], None, (da * h)[None]
