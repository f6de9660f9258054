"""Gated recurrent units with options, and minimal gated units, one step forward and backward.

With nothing else the equations are those of ``gru.py``. The minimal gated unit (Zhou et al. 2016, "Minimal gated unit
for recurrent neural networks") has one gate f in the place of both: r = f and z = 1 - f, so that with blocks f n ::

    f  = sigmoid(W_if x + b_if + W_hf h + b_hf)
    n  = tanh(W_in x + b_in + W_hn (f * h) + b_hn)       (reset before; after: f * (W_hn h + b_hn))
    h' = f * n + (1 - f) * h

Options change them so, in any combination::

    peephole      p_r * h is added within r, p_z * h within z (p_f * h within f): gates see the raw state of their own
                  unit, whatever dropout and the normalisation do to the product
    layer_norm    LN of the products, gates together and the candidate for itself: r and z are sigmoids of
                  gain_ih * LN(W_ih x) + b_ih + gain_hh * LN(W_hh h) + b_hh, and n the tanh of
                  gain_in * LN(W_in x) + b_in + r * (gain_hn * LN(W_hn h) + b_hn)    (reset after), or
                  gain_in * LN(W_in x) + b_in + gain_hn * LN(W_hn (r * h)) + b_hn    (reset before)
                  (Ba, Kiros and Hinton 2016, "Layer normalization", section 6.2 and supplement)

What chance does around a step is in ``options.py``.

Shapes: N rows, H units, G gates (3, minimal 2). Gradients take the prefix d.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnfast.reference.normalization import gradient, normalise
from rnnfast.reference.rnn import Array, States, sigmoid


def forward(
    order: str, after: bool, options: Any, a: Array, state: States, hr: Array, w: Mapping[str, Any]
) -> tuple[States, Any]:
    """One step.

    Parameters
    ----------
    order : {"rzn", "fn"}
        The gates.
    after : bool
        Whether the reset gate acts after the product.
    options : Options
    a : (N, G*H)
        W_ih x + b_ih; with layer_norm, W_ih x.
    state : (h,) with h (N, H)
    hr : (N, H)
        h as the recurrent products see it.
    w : mapping
        w_hh (G*H, H), b_hh (G*H,), w_peephole ((G-1)*H,) and with layer_norm gain_ih, gain_hh and b_ih (G*H,).

    Returns
    -------
    (h',), and what `backward` needs; the first of it is what the products multiply
    """
    (h,) = state
    k = h.shape[1]
    s, c = _parts(order, k)
    u = hr @ (w["w_hh"] if after else w["w_hh"][s]).T
    norm_a = norm_u = None
    if options.layer_norm:
        norm_a, norm_u = normalise(a, (s, c)), normalise(u, (s, c) if after else (s,))
        a = norm_a[0] * w["gain_ih"] + w["b_ih"]
        u = norm_u[0] * w["gain_hh"][: u.shape[1]]
    u = u + w["b_hh"][: u.shape[1]]
    gates = a[:, s] + u[:, s]
    if options.peephole:
        gates = gates + w["w_peephole"] * np.tile(h, len(order) - 1)
    gates = sigmoid(gates)
    r, z = (gates, 1 - gates) if order == "fn" else (gates[:, :k], gates[:, k:])
    norm_n = None
    if after:
        multiplied: States = (hr,)
        un = u[:, c]
        n = np.tanh(a[:, c] + r * un)
    else:
        multiplied = (hr, r * hr)
        un = multiplied[1] @ w["w_hh"][c].T
        if options.layer_norm:
            norm_n = normalise(un)
            un = norm_n[0] * w["gain_hh"][c]
        un = un + w["b_hh"][c]
        n = np.tanh(a[:, c] + un)
    return ((1 - z) * n + z * h,), (*multiplied, h, hr, gates, r, z, n, un, norm_a, norm_u, norm_n)


def backward(
    order: str, after: bool, options: Any, dstate: States, saved: Any, w: Mapping[str, Any]
) -> tuple[Array, Array, States, Array, dict[str, Array]]:
    """Gradients of one step.

    Parameters
    ----------
    order, after, options
        As in `forward`.
    dstate : (dh',) with dh' (N, H)
    saved : what `forward` returned
    w : mapping, as there

    Returns
    -------
    da (N, G*H), gradient of the recurrent products, with b_hh where there is no layer_norm (N, G*H), the gradient of
    (h,) past the products, that of hr, and those of w_peephole, gains, and the biases with layer_norm, by name
    """
    (dh,) = dstate
    h, hr, gates, r, z, n, un, norm_a, norm_u, norm_n = saved[-10:]
    s, c = _parts(order, h.shape[1])
    extra: dict[str, Array] = {}
    dn = dh * (1 - z) * (1 - n * n)
    if after:
        dr, dun = dn * un, dn * r
    else:
        dun = dn
        if options.layer_norm:
            extra["gain_hn"], extra["b_hn"] = (dun * norm_n[0]).sum(0), dun.sum(0)
            dun = gradient(dun * w["gain_hh"][c], *norm_n)
        drh = dun @ w["w_hh"][c]
        dr = drh * hr
    dz = dh * (h - n)
    ds = dr - dz if order == "fn" else np.concatenate((dr, dz), axis=1)
    ds = ds * (gates * (1 - gates))
    direct = dh * z
    if options.peephole:
        seen = np.tile(h, len(order) - 1)
        extra["w_peephole"] = (ds * seen).sum(0)
        direct = direct + (ds * w["w_peephole"]).reshape(len(h), -1, h.shape[1]).sum(1)
    da = np.concatenate((ds, dn), axis=1)
    du = np.concatenate((ds, dun), axis=1)
    if options.layer_norm:
        extra["gain_ih"], extra["b_ih"] = (da * norm_a[0]).sum(0), da.sum(0)
        da = gradient(da * w["gain_ih"], norm_a[0], norm_a[1], (s, c))
        if after:
            extra["gain_hh"], extra["b_hh"] = (du * norm_u[0]).sum(0), du.sum(0)
            du = gradient(du * w["gain_hh"], norm_u[0], norm_u[1], (s, c))
        else:
            extra["gain_hh"] = np.concatenate(((ds * norm_u[0]).sum(0), extra.pop("gain_hn")))
            extra["b_hh"] = np.concatenate((ds.sum(0), extra.pop("b_hn")))
            du[:, s] = gradient(ds * w["gain_hh"][s], *norm_u)
    if after:
        return da, du, (direct,), du @ w["w_hh"], extra
    return da, du, (direct,), du[:, s] @ w["w_hh"][s] + drh * r, extra


def _parts(order: str, k: int) -> tuple[slice, slice]:
    """Return the columns of the gates and those of the candidate."""
    return slice(0, (len(order) - 1) * k), slice((len(order) - 1) * k, len(order) * k)
