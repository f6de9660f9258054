"""Gated recurrent units, one step forward and backward, in both variants.

Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder", equations 5 to 8 (reset before the
product), and torch.nn.GRU (reset after it, which joins the three recurrent products in one)::

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
    n = tanh(W_in x + b_in + r * (W_hn h + b_hn))        reset after
    n = tanh(W_in x + b_in + W_hn (r * h) + b_hn)        reset before
    h' = (1 - z) * n + z * h

Shapes: N rows, H hidden units; gates r z n. Gradients take the prefix d.
"""

from __future__ import annotations

import numpy as np

from rnnfast.reference.rnn import Array, States, sigmoid


def forward_after(a: Array, state: States, w_hh: Array, b_hh: Array) -> tuple[States, States]:
    """One step, reset after the product.

    Parameters
    ----------
    a : (N, 3*H)
        W_ih x + b_ih.
    state : (h,) with h (N, H)
    w_hh : (3*H, H)
    b_hh : (3*H,)

    Returns
    -------
    (h',), and what `backward_after` needs
    """
    (h,) = state
    k = h.shape[1]
    u = h @ w_hh.T + b_hh
    rz = sigmoid(a[:, : 2 * k] + u[:, : 2 * k])
    r, z = rz[:, :k], rz[:, k:]
    un = u[:, 2 * k :]
    n = np.tanh(a[:, 2 * k :] + r * un)
    return ((1 - z) * n + z * h,), (h, r, z, n, un)


def backward_after(dstate: States, saved: States, w_hh: Array) -> tuple[Array, Array, States]:
    """Gradients of one step, reset after the product.

    Parameters
    ----------
    dstate : (dh',) with dh' (N, H)
    saved : what `forward_after` returned
    w_hh : (3*H, H)

    Returns
    -------
    da (N, 3*H), gradient of the product W_hh h + b_hh (N, 3*H), and (dh,)
    """
    (dh,) = dstate
    h, r, z, n, un = saved
    dn = dh * (1 - z) * (1 - n * n)
    dr = dn * un * (r * (1 - r))
    dz = dh * (h - n) * (z * (1 - z))
    du = np.concatenate((dr, dz, dn * r), axis=1)
    return np.concatenate((dr, dz, dn), axis=1), du, (dh * z + du @ w_hh,)


def forward_before(a: Array, state: States, w_hh: Array, b_hh: Array) -> tuple[States, States]:
    """One step, reset before the product; shapes as in `forward_after`."""
    (h,) = state
    k = h.shape[1]
    rz = sigmoid(a[:, : 2 * k] + (h @ w_hh[: 2 * k].T + b_hh[: 2 * k]))
    r, z = rz[:, :k], rz[:, k:]
    rh = r * h
    n = np.tanh(a[:, 2 * k :] + (rh @ w_hh[2 * k :].T + b_hh[2 * k :]))
    return ((1 - z) * n + z * h,), (h, rh, r, z, n)


def backward_before(dstate: States, saved: States, w_hh: Array) -> tuple[Array, Array, States]:
    """Gradients of one step, reset before the product; shapes as in `backward_after`."""
    (dh,) = dstate
    h, _, r, z, n = saved
    k = h.shape[1]
    dn = dh * (1 - z) * (1 - n * n)
    drh = dn @ w_hh[2 * k :]
    dr = drh * h * (r * (1 - r))
    dz = dh * (h - n) * (z * (1 - z))
    du = np.concatenate((dr, dz, dn), axis=1)
    return du, du, (dh * z + drh * r + du[:, : 2 * k] @ w_hh[: 2 * k],)
