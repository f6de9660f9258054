"""Long short-term memory, one step forward and backward.

Hochreiter and Schmidhuber 1997 with the forget gate of Gers, Schmidhuber and Cummins 2000; torch.nn.LSTM has the same
equations and gate order::

    i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)       c' = f * c + i * g
    f = sigmoid(W_if x + b_if + W_hf h + b_hf)       h' = o * tanh(c')
    g = tanh   (W_ig x + b_ig + W_hg h + b_hg)
    o = sigmoid(W_io x + b_io + W_ho h + b_ho)

Shapes: N rows, H hidden units. Gradients take the prefix d.
"""

from __future__ import annotations

import numpy as np

from rnnfast.reference.rnn import Array, States, sigmoid


def forward(a: Array, state: States, w_hh: Array, b_hh: Array) -> tuple[States, States]:
    """One step.

    Parameters
    ----------
    a : (N, 4*H)
        W_ih x + b_ih, gates i f g o.
    state : (h, c), each (N, H)
    w_hh : (4*H, H)
    b_hh : (4*H,)

    Returns
    -------
    (h', c'), and what `backward` needs
    """
    h, c = state
    n = h.shape[1]
    u = a + (h @ w_hh.T + b_hh)
    i_f = sigmoid(u[:, : 2 * n])
    i, f = i_f[:, :n], i_f[:, n:]
    g = np.tanh(u[:, 2 * n : 3 * n])
    o = sigmoid(u[:, 3 * n :])
    c_new = f * c + i * g
    tanh_c = np.tanh(c_new)
    return (o * tanh_c, c_new), (h, c, i, f, g, o, tanh_c)


def backward(dstate: States, saved: States, w_hh: Array) -> tuple[Array, Array, States]:
    """Gradients of one step.

    Parameters
    ----------
    dstate : (dh', dc'), each (N, H)
    saved : what `forward` returned
    w_hh : (4*H, H)

    Returns
    -------
    da (N, 4*H), gradient of the product W_hh h + b_hh (N, 4*H), and (dh, dc)
    """
    dh, dc = dstate
    _, c, i, f, g, o, tanh_c = saved
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    du = np.concatenate(
        (
            dc * g * (i * (1 - i)),
            dc * c * (f * (1 - f)),
            dc * i * (1 - g * g),
            dh * tanh_c * (o * (1 - o)),
        ),
        axis=1,
    )
    return du, du, (du @ w_hh, dc * f)
