"""ONNX's operators RNN, GRU and LSTM with all their attributes, one direction, forward and backward, as equations.

From the standard (opset 14), with its order of gates; f, g, h are the activations, each with its alpha and beta, and
every argument of one is first clipped to plus or minus ``clip`` where that is given::

    RNN   H' = f(W x + R H + Wb + Rb)

    GRU   z = f(Wz x + Rz H + Wbz + Rbz)              n = g(Wh x + Rh (r * H) + Rbh + Wbh)      linear_before_reset = 0
          r = f(Wr x + Rr H + Wbr + Rbr)              n = g(Wh x + r * (Rh H + Rbh) + Wbh)      linear_before_reset = 1
          H' = (1 - z) * n + z * H

    LSTM  i = f(Wi x + Ri H + Pi * C + Wbi + Rbi)     C' = F * C + i * c
          F = f(Wf x + Rf H + Pf * C + Wbf + Rbf)     F = 1 - i where input_forget = 1
          c = g(Wc x + Rc H + Wbc + Rbc)
          o = f(Wo x + Ro H + Po * C' + Wbo + Rbo)    H' = o * h(C')

Gates are ordered i o F c and z r n. Shapes: T steps, N rows, I inputs, H hidden units, G gates. Gradients take the
prefix d. These run where no faster cell has the attributes asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.reference.rnn import Array, sigmoid

Saved = dict[str, Any]


class Activation(NamedTuple):
    """A function of the standard with its constants; those that it does not use are 0."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, x: Array) -> Array:
        """Return f(x)."""
        return ACTIVATIONS[self.name].f(x, self.alpha, self.beta)

    def slope(self, x: Array, y: Array) -> Array:
        """Return f'(x), given y = f(x) too."""
        return ACTIVATIONS[self.name].slope(x, y, self.alpha, self.beta)


class Function(NamedTuple):
    """An entry of `ACTIVATIONS`: f(x, alpha, beta), f'(x, y, alpha, beta), and the defaults of the constants it has."""

    f: Callable[[Array, float, float], Array]
    slope: Callable[[Array, Array, float, float], Array]
    defaults: dict[str, float]


def _hard_sigmoid(x: Array, a: float, b: float) -> Array:
    return np.clip(a * x + b, 0, 1)


def _elu(x: Array, a: float, b: float) -> Array:
    return np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x)


ACTIVATIONS: dict[str, Function] = {
    "Tanh": Function(lambda x, a, b: np.tanh(x), lambda x, y, a, b: 1 - y * y, {}),
    "Sigmoid": Function(lambda x, a, b: sigmoid(x), lambda x, y, a, b: y * (1 - y), {}),
    "Relu": Function(lambda x, a, b: np.maximum(x, 0), lambda x, y, a, b: (x > 0).astype(x.dtype), {}),
    "Affine": Function(lambda x, a, b: a * x + b, lambda x, y, a, b: np.full_like(x, a), {"alpha": 1.0, "beta": 0.0}),
    "LeakyRelu": Function(
        lambda x, a, b: np.where(x < 0, a * x, x),
        lambda x, y, a, b: np.where(x < 0, a, 1).astype(x.dtype),
        {"alpha": 0.01},
    ),
    "ThresholdedRelu": Function(
        lambda x, a, b: np.where(x > a, x, 0), lambda x, y, a, b: (x > a).astype(x.dtype), {"alpha": 1.0}
    ),
    "ScaledTanh": Function(
        lambda x, a, b: a * np.tanh(b * x), lambda x, y, a, b: b * (a - y * y / a), {"alpha": 1.0, "beta": 1.0}
    ),
    "HardSigmoid": Function(
        _hard_sigmoid,
        lambda x, y, a, b: np.where((y > 0) & (y < 1), a, 0).astype(x.dtype),
        {"alpha": 0.2, "beta": 0.5},
    ),
    "Elu": Function(_elu, lambda x, y, a, b: np.where(x < 0, y + a, 1), {"alpha": 1.0}),
    "Softsign": Function(lambda x, a, b: x / (1 + np.abs(x)), lambda x, y, a, b: 1 / (1 + np.abs(x)) ** 2, {}),
    "Softplus": Function(lambda x, a, b: np.logaddexp(x, 0), lambda x, y, a, b: sigmoid(x), {}),
}


class Options(NamedTuple):
    """The attributes of an operator.

    Attributes
    ----------
    op : {"RNN", "GRU", "LSTM"}
    activations : tuple of Activation
        f for RNN, f and g for GRU, f, g and h for LSTM.
    clip : float
        Infinity: none.
    input_forget, linear_before_reset : bool
    """

    op: str
    activations: tuple[Activation, ...]
    clip: float = float("inf")
    input_forget: bool = False
    linear_before_reset: bool = False


def forward(
    options: Options,
    x: Array,
    weights: dict[str, Array | None],
    state: tuple[Array, ...],
    lengths: NDArray[np.int64] | None,
    reverse: bool,
) -> tuple[Array, tuple[Array, ...], Saved]:
    """Run one direction.

    Parameters
    ----------
    options : Options
    x : (T, N, I)
    weights : dict
        W (G*H, I), R (G*H, H), B (2*G*H,) or None, P (3*H,) or None.
    state : (H,) or (H, C), each (N, H)
    lengths : (N,) or None
    reverse : bool

    Returns
    -------
    Y (T, N, H), zeros past a row's length; the final state; and what `backward` needs
    """
    step = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}[options.op]
    w, r = weights["W"], weights["R"]
    assert w is not None and r is not None
    steps, batch, _ = x.shape
    y = np.zeros((steps, batch, r.shape[1]), x.dtype)
    half = w.shape[0]
    bias = np.zeros(2 * half, x.dtype) if weights["B"] is None else weights["B"]
    a = x @ w.T + bias[:half]
    order = list(reversed(range(steps)) if reverse else range(steps))
    kept: list[Saved] = []
    for t in order:
        live = np.ones((batch, 1), bool) if lengths is None else (t < lengths)[:, None]
        new, saved = step(options, a[t], state, r, bias[half:], weights["P"])
        y[t] = np.where(live, new[0], 0)
        kept.append({**saved, "state": state, "live": live})
        state = tuple(np.where(live, n, s) for n, s in zip(new, state, strict=True))
    return y, state, {"options": options, "x": x, "weights": weights, "order": order, "kept": kept}


def backward(
    saved: Saved, dy: Array | None, dstate: tuple[Array, ...]
) -> tuple[dict[str, Array], Array, tuple[Array, ...]]:
    """Gradients of `forward`.

    Parameters
    ----------
    saved : what `forward` returned
    dy : (T, N, H) or None for zero
    dstate : as the state

    Returns
    -------
    gradients by name of the weights, dx (T, N, I), and the gradient of the initial state
    """
    options, x, weights = saved["options"], saved["x"], saved["weights"]
    back = {"RNN": _rnn_back, "GRU": _gru_back, "LSTM": _lstm_back}[options.op]
    w, r = weights["W"], weights["R"]
    grads = {name: np.zeros_like(array) for name, array in weights.items() if array is not None}
    dr, dbias, dp = grads["R"], grads.get("B", np.zeros(2 * len(w), x.dtype)), grads.get("P")
    da = np.zeros((*x.shape[:2], len(w)), x.dtype)
    for t, kept in zip(reversed(saved["order"]), reversed(saved["kept"]), strict=True):
        live = kept["live"]
        dnew = dstate if dy is None else (dstate[0] + dy[t], *dstate[1:])
        dnew = tuple(np.where(live, d, 0) for d in dnew)
        da[t], dold = back(options, dnew, kept, r, weights["P"], dr, dbias[len(w) :], dp)
        dstate = tuple(np.where(live, d, through) for d, through in zip(dold, dstate, strict=True))
    rows = da.reshape(-1, len(w))
    grads["W"] += rows.T @ x.reshape(-1, x.shape[2])
    dbias[: len(w)] += rows.sum(axis=0)
    return grads, da @ w, dstate


def _clipped(options: Options, x: Array) -> Array:
    return np.clip(x, -options.clip, options.clip)


def _inner(options: Options, f: Activation, x: Array, y: Array) -> Array:
    """Return the derivative of f(clip(x)), given y = f(clip(x))."""
    return f.slope(_clipped(options, x), y) * (np.abs(x) <= options.clip)


def _rnn(options: Options, a: Array, state: Any, r: Array, rb: Array, p: Any) -> tuple[tuple[Array, ...], Saved]:
    (h,) = state
    u = a + (h @ r.T + rb)
    y = options.activations[0](_clipped(options, u))
    return (y,), {"u": u, "y": y}


def _rnn_back(
    options: Options, dnew: Any, kept: Saved, r: Array, p: Any, dr: Array, drb: Array, dp: Any
) -> tuple[Array, tuple[Array, ...]]:
    du = dnew[0] * _inner(options, options.activations[0], kept["u"], kept["y"])
    dr += du.T @ kept["state"][0]
    drb += du.sum(axis=0)
    return du, (du @ r,)


def _gru(options: Options, a: Array, state: Any, r: Array, rb: Array, p: Any) -> tuple[tuple[Array, ...], Saved]:
    (h,) = state
    k = h.shape[1]
    f, g = options.activations
    u = a[:, : 2 * k] + (h @ r[: 2 * k].T + rb[: 2 * k])
    zr = f(_clipped(options, u))
    z, reset = zr[:, :k], zr[:, k:]
    operand = h if options.linear_before_reset else reset * h
    product = operand @ r[2 * k :].T + rb[2 * k :]
    v = a[:, 2 * k :] + (reset * product if options.linear_before_reset else product)
    n = g(_clipped(options, v))
    return ((1 - z) * n + z * h,), {"u": u, "zr": zr, "v": v, "n": n, "operand": operand, "product": product}


def _gru_back(
    options: Options, dnew: Any, kept: Saved, r: Array, p: Any, dr: Array, drb: Array, dp: Any
) -> tuple[Array, tuple[Array, ...]]:
    (h,), (dh,) = kept["state"], dnew
    k = h.shape[1]
    f, g = options.activations
    z, reset, n = kept["zr"][:, :k], kept["zr"][:, k:], kept["n"]
    dv = dh * (1 - z) * _inner(options, g, kept["v"], n)
    dproduct = dv * reset if options.linear_before_reset else dv
    doperand = dproduct @ r[2 * k :]
    dreset = dv * kept["product"] if options.linear_before_reset else doperand * h
    du = np.concatenate((dh * (h - n), dreset), axis=1) * _inner(options, f, kept["u"], kept["zr"])
    dr[: 2 * k] += du.T @ h
    dr[2 * k :] += dproduct.T @ kept["operand"]
    drb += np.concatenate((du, dproduct), axis=1).sum(axis=0)
    dold = dh * z + (doperand if options.linear_before_reset else doperand * reset) + du @ r[: 2 * k]
    return np.concatenate((du, dv), axis=1), (dold,)


def _lstm(options: Options, a: Array, state: Any, r: Array, rb: Array, p: Any) -> tuple[tuple[Array, ...], Saved]:
    h, c = state
    k = h.shape[1]
    f, g, top = options.activations
    pi, po, pf = (np.zeros(k, a.dtype),) * 3 if p is None else np.split(p, 3)
    u = a + (h @ r.T + rb)
    u[:, :k] += pi * c
    u[:, 2 * k : 3 * k] += pf * c
    i = f(_clipped(options, u[:, :k]))
    forget = 1 - i if options.input_forget else f(_clipped(options, u[:, 2 * k : 3 * k]))
    cell = g(_clipped(options, u[:, 3 * k :]))
    new = forget * c + i * cell
    u[:, k : 2 * k] += po * new
    o = f(_clipped(options, u[:, k : 2 * k]))
    out = top(_clipped(options, new))
    return (o * out, new), {"u": u, "i": i, "o": o, "forget": forget, "cell": cell, "new": new, "out": out}


def _lstm_back(
    options: Options, dnew: Any, kept: Saved, r: Array, p: Any, dr: Array, drb: Array, dp: Any
) -> tuple[Array, tuple[Array, ...]]:
    (h, c), (dh, dc) = kept["state"], dnew
    k = h.shape[1]
    f, g, top = options.activations
    pi, po, pf = (np.zeros(k, h.dtype),) * 3 if p is None else np.split(p, 3)
    u, i, o, forget, cell, new = (kept[name] for name in ("u", "i", "o", "forget", "cell", "new"))
    du_o = dh * kept["out"] * _inner(options, f, u[:, k : 2 * k], o)
    dc = dc + dh * o * _inner(options, top, new, kept["out"]) + du_o * po
    di = dc * cell
    if options.input_forget:
        di = di - dc * c
        du_f = np.zeros_like(di)
    else:
        du_f = dc * c * _inner(options, f, u[:, 2 * k : 3 * k], forget)
    du_i = di * _inner(options, f, u[:, :k], i)
    du_c = dc * i * _inner(options, g, u[:, 3 * k :], cell)
    du = np.concatenate((du_i, du_o, du_f, du_c), axis=1)
    dr += du.T @ h
    drb += du.sum(axis=0)
    if dp is not None:
        dp += np.concatenate(((du_i * c).sum(axis=0), (du_o * new).sum(axis=0), (du_f * c).sum(axis=0)))
    return du, (du @ r, dc * forget + du_i * pi + du_f * pf)
