"""Long short-term memory with options, one step forward and backward.

With nothing else the equations are those of ``lstm.py``. Options change them so, in any combination::

    coupled       i = 1 - f; the weights have the blocks f g o (Greff et al. 2017, "LSTM: a search space odyssey")
    peephole      p_i * c is added within i, p_f * c within f and p_o * c' within o
                  (Gers and Schmidhuber 2000, "Recurrent nets that time and count")
    cell_clip     c' = min(max(f * c + i * g, -clip), clip); no gradient passes where it was cut
    layer_norm    the gates' arguments are gain_ih * LN(W_ih x) + b_ih + gain_hh * LN(W_hh h) + b_hh, LN over all of
                  them together, and h' = o * tanh(gain_ch * LN(c') + b_ch); the state is c' itself
                  (Ba, Kiros and Hinton 2016, "Layer normalization", equations 20 to 22)
    projection    h' = W_hr (o * tanh(c')) (Sak, Senior and Beaufays 2014, "Long short-term memory recurrent neural
                  network architectures for large scale acoustic modeling")

What chance does around a step is in ``options.py``.

Shapes: N rows, H units, P features of h (H without a projection), G gates (4, coupled 3). Gradients take the prefix d.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnfast.reference.normalization import gradient, normalise
from rnnfast.reference.rnn import Array, States, sigmoid


def forward(order: str, options: Any, a: Array, state: States, hr: Array, w: Mapping[str, Any]) -> tuple[States, Any]:
    """One step.

    Parameters
    ----------
    order : {"ifgo", "fgo"}
        The gates.
    options : Options
    a : (N, G*H)
        W_ih x + b_ih; with layer_norm, W_ih x.
    state : (h, c), shaped (N, P) and (N, H)
    hr : (N, P)
        h as the recurrent product sees it.
    w : mapping
        w_hh (G*H, P), b_hh (G*H,), w_peephole ((G-1)*H,) in the order of the gates, w_hr (P, H), and with layer_norm
        gain_ih, gain_hh and b_ih (G*H,), gain_ch and b_ch (H,).

    Returns
    -------
    (h', c'), and what `backward` needs; the first of it is hr
    """
    _, c = state
    n = c.shape[1]
    u = hr @ w["w_hh"].T
    norms = None
    if options.layer_norm:
        norms = normalise(a), normalise(u)
        u = norms[0][0] * w["gain_ih"] + norms[1][0] * w["gain_hh"] + (w["b_ih"] + w["b_hh"])
    else:
        u = a + (u + w["b_hh"])
    gate = {name: u[:, k * n : (k + 1) * n] for k, name in enumerate(order)}
    peep = _peepholes(order, w["w_peephole"], n) if options.peephole else {}
    f = sigmoid(gate["f"] + peep["f"] * c if peep else gate["f"])
    i = 1 - f
    if "i" in order:
        i = sigmoid(gate["i"] + peep["i"] * c if peep else gate["i"])
    g = np.tanh(gate["g"])
    raw = c_new = f * c + i * g
    if options.cell_clip:
        c_new = np.clip(raw, -options.cell_clip, options.cell_clip).astype(raw.dtype, copy=False)
    o = sigmoid(gate["o"] + peep["o"] * c_new if peep else gate["o"])
    norm_c, out = None, c_new
    if options.layer_norm:
        norm_c = normalise(c_new)
        out = norm_c[0] * w["gain_ch"] + w["b_ch"]
    tanh_c = np.tanh(out)
    m = o * tanh_c
    h_new = m @ w["w_hr"].T if options.proj_size else m
    return (h_new, c_new), (hr, c, i, f, g, o, raw, c_new, tanh_c, m, norms, norm_c)


def backward(
    order: str, options: Any, dstate: States, saved: Any, w: Mapping[str, Any]
) -> tuple[Array, Array, States, Array, dict[str, Array]]:
    """Gradients of one step.

    Parameters
    ----------
    order : {"ifgo", "fgo"}
    options : Options
    dstate : (dh', dc'), shaped (N, P) and (N, H)
    saved : what `forward` returned
    w : mapping, as there

    Returns
    -------
    da (N, G*H), gradient of the product W_hh hr, with b_hh where there is no layer_norm (N, G*H), the gradient of
    (h, c) past the product, that of hr, and those of w_hr, w_peephole, gains, and the biases with layer_norm, by name
    """
    dh, dc = dstate
    _, c, i, f, g, o, raw, c_new, tanh_c, m, norms, norm_c = saved
    n = c.shape[1]
    extra: dict[str, Array] = {}
    dm = dh
    if options.proj_size:
        extra["w_hr"] = dh.T @ m
        dm = dh @ w["w_hr"]
    d = {"o": dm * tanh_c * (o * (1 - o))}
    dout = dm * o * (1 - tanh_c * tanh_c)
    if options.layer_norm:
        extra["gain_ch"], extra["b_ch"] = (dout * norm_c[0]).sum(0), dout.sum(0)
        dout = gradient(dout * w["gain_ch"], *norm_c)
    dc = dc + dout
    peep = _peepholes(order, w["w_peephole"], n) if options.peephole else {}
    if peep:
        dc = dc + d["o"] * peep["o"]
    if options.cell_clip:
        dc = np.where(np.abs(raw) > options.cell_clip, 0, dc)
    d["g"] = dc * i * (1 - g * g)
    if "i" in order:
        d["i"] = dc * g * (i * (1 - i))
        d["f"] = dc * c * (f * (1 - f))
    else:
        d["f"] = dc * (c - g) * (f * (1 - f))
    dc = dc * f
    if peep:
        dc = dc + sum(d[name] * peep[name] for name in peep if name != "o")
        seen = {"i": c, "f": c, "o": c_new}
        extra["w_peephole"] = np.concatenate([(d[name] * seen[name]).sum(0) for name in peep])
    da = du = np.concatenate([d[name] for name in order], axis=1)
    if options.layer_norm:
        extra["b_ih"] = extra["b_hh"] = du.sum(0)
        extra["gain_ih"], extra["gain_hh"] = ((du * hat).sum(0) for hat, _ in norms)
        da, du = (gradient(du * w[gain], *norm) for gain, norm in zip(("gain_ih", "gain_hh"), norms, strict=True))
    return da, du, (np.zeros_like(dh), dc), du @ w["w_hh"], extra


def _peepholes(order: str, p: Array, n: int) -> dict[str, Array]:
    """Return the peepholes by gate."""
    return {name: p[k * n : (k + 1) * n] for k, name in enumerate(order.replace("g", ""))}
