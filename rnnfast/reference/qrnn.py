"""Quasi-recurrent network, the pooling: one step forward and backward.

Bradbury, Merity, Xiong and Socher 2016, "Quasi-recurrent neural networks", fo-pooling and f-pooling::

    z, f, o = tanh(a_z), sigmoid(a_f), sigmoid(a_o)
    c' = f * c + (1 - f) * z           h' = o * c'    (without an output gate: h' = c')

where a is a convolution of the inputs over the last steps. With zoneout, the f of some units is 1 for a step;
f becomes 1 - scale * (1 - f) at inference, scale being the share of units that go on.

Arguments, results and shapes are those of `rnnfast.reference.sru`; a holds z f o or z f, and there is no v.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.reference.rnn import Array, sigmoid


def forward(a: Array, c: Array, x: Array, v: Array, scale: float) -> tuple[Array, Array, Any]:
    """One step."""
    n = c.shape[1]
    z, f = np.tanh(a[:, :n]), 1 - scale * (1 - sigmoid(a[:, n : 2 * n]))
    o = sigmoid(a[:, 2 * n :]) if a.shape[1] > 2 * n else None
    c_new = f * c + (1 - f) * z
    return c_new if o is None else o * c_new, c_new, (c, z, f, o, c_new)


def backward(dh: Array, dc: Array, saved: Any, v: Array, scale: float) -> tuple[Array, Array, None, Array]:
    """Gradients of one step."""
    c, z, f, o, c_new = saved
    dc = dc + (dh if o is None else dh * o)
    da = [dc * (1 - f) * (1 - z * z), dc * (c - z) * f * (1 - f)]
    if o is not None:
        da.append(dh * c_new * o * (1 - o))
    return np.concatenate(da, axis=1), dc * f, None, np.empty((0, *c.shape), c.dtype)
