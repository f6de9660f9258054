"""What the gates of a recurrent layer do at every step, for looking into it.

The fast path keeps gates only as long as it needs them, so they are computed anew here, step by step in NumPy, from the
equations in ``reference/``; that the outputs are those of the layer is checked every time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_flag, check_size
from rnnfast.layers.recurrent import GRU, LSTM, RNN
from rnnfast.reference.rnn import sigmoid

Values = dict[str, NDArray[Any]]
# From a = W_ih x + b_ih (N, G*H), the states before, W_hh and b_hh to the states after and the gates by letter.
Step = Callable[[NDArray[Any], Values, NDArray[Any], NDArray[Any]], tuple[Values, Values]]

# Options whose meaning the equations below have, or that act in training only.
KNOWN = {
    "input_size",
    "hidden_size",
    "num_layers",
    "bias",
    "batch_first",
    "dropout",
    "bidirectional",
    "nonlinearity",
    "reset_after",
    "dtype",
    "init",
    "recurrent_dropout",
    "weight_drop",
    "chrono",
}
NONLINEARITIES: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": sigmoid,
}


def gate_activations(
    layer: Any, x: Any, state: Any = None, *, lengths: Any = None, index: int = 0, reverse: bool = False
) -> Values:
    """Return the gates and states of one direction of one layer at every step.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        The layer, or a stack of them.
    x : array_like
        As the layer takes it.
    state : optional
        The initial state, as the layer takes it.
    lengths : array_like (N,) of int, optional
        Valid steps of each sequence.
    index : int, default 0
        Which layer of a stack.
    reverse : bool, default False
        Whether to look into the direction that reads from the end.

    Returns
    -------
    dict of str to ndarray (N, T, H)
        LSTM: "i", "f", "g", "o" and the states "h" and "c". GRU: "r", "z", "n" and "h". RNN: "h". NaN past a sequence's
        length. Entry t belongs to step t of x, in either direction.

    Raises
    ------
    TypeError
        If it is no such layer.
    ValueError
        If ``index`` or ``reverse`` is not there, an argument does not fit the layer, or the layer has an option that
        these equations do not know.
    """
    if not isinstance(layer, (RNN, LSTM, GRU)):
        raise TypeError(f"layer must be an RNN, LSTM or GRU; got {type(layer).__name__}")
    index = check_size("index", index, 0)
    if index >= layer.num_layers:
        raise ValueError(f"index must be less than num_layers = {layer.num_layers}; got {index}")
    if check_flag("reverse", reverse) and not layer.bidirectional:
        raise ValueError("reverse needs a bidirectional layer")
    unknown = sorted(set(layer.config()) - KNOWN)
    if unknown:
        raise ValueError(f"layer has an option whose equations are not known here: {unknown[0]}; got {layer!r}")
    y, _ = layer(x, state, lengths=lengths)  # raises what there is to say of the arguments
    y = y if layer.batch_first else y.transpose(1, 0, 2)
    batch, steps = y.shape[:2]
    dtype = layer.dtype
    current = np.asarray(x[...] if isinstance(x, np.ndarray) else x, dtype)
    current = current if layer.batch_first else current.transpose(1, 0, 2)
    valid = np.arange(steps) < (np.full(batch, steps) if lengths is None else np.asarray(lengths))[:, None]
    directions = 2 if layer.bidirectional else 1
    names = layer.cell.states
    parts = (None,) * len(names) if state is None else state if len(names) > 1 else (state,)
    found: Values = {}
    for k in range(layer.num_layers):
        outputs = []
        for d in range(directions):
            shape = (batch, layer.hidden_size)
            initial = {
                name: np.zeros(shape, dtype) if part is None else np.asarray(part, dtype)[k * directions + d]
                for name, part in zip(names, parts, strict=True)
            }
            suffix = f"_l{k}" + ("_reverse" if d else "")
            values = _direction(layer, suffix, current, initial, valid, bool(d))
            if k == index and bool(d) == reverse:
                found = values
            outputs.append(np.where(valid[..., None], values["h"], 0))
        current = np.concatenate(outputs, axis=2)
    tolerance = 1e-4 if dtype == np.float32 else 1e-9
    if not np.allclose(current, y, rtol=tolerance, atol=tolerance):
        raise ValueError(f"layer has an option whose equations are not known here: {layer!r}")
    return {name: np.where(valid[..., None], array, np.nan) for name, array in found.items()}


def _direction(
    layer: Any, suffix: str, x: NDArray[Any], initial: Values, valid: NDArray[np.bool_], reverse: bool
) -> Values:
    """Return gates and states (N, T, H) of one direction of one layer; x is (N, T, I)."""
    weights = {kind: layer.params.get(kind + suffix) for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    w_ih, w_hh = weights["weight_ih"], weights["weight_hh"]
    zeros = np.zeros(len(w_hh), w_hh.dtype)
    b_ih, b_hh = (zeros if weights[name] is None else weights[name] for name in ("bias_ih", "bias_hh"))
    step = _step(layer)
    state = dict(initial)
    kept: dict[int, Values] = {}
    for t in reversed(range(x.shape[1])) if reverse else range(x.shape[1]):
        after, gates = step(x[:, t] @ w_ih.T + b_ih, state, w_hh, b_hh)
        live = valid[:, t, None]
        state = {name: np.where(live, after[name], state[name]) for name in state}
        kept[t] = {**gates, **state}
    if not kept:  # no step: the names alone
        after, gates = step(np.zeros((len(x), len(w_hh)), w_hh.dtype), state, w_hh, b_hh)
        return {name: array[:, None][:, :0] for name, array in {**gates, **after}.items()}
    return {name: np.stack([kept[t][name] for t in range(len(kept))], axis=1) for name in kept[0]}


def _step(layer: Any) -> Step:
    if isinstance(layer, LSTM):
        return _lstm
    if isinstance(layer, RNN):
        f = NONLINEARITIES[layer.cell.nonlinearity or "tanh"]
        return lambda a, state, w, b: ({"h": f(a + state["h"] @ w.T + b)}, {})
    return _gru_after if layer.reset_after else _gru_before


def _lstm(a: NDArray[Any], state: Values, w: NDArray[Any], b: NDArray[Any]) -> tuple[Values, Values]:
    i, f, g, o = np.split(a + state["h"] @ w.T + b, 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * state["c"] + i * g
    return {"h": o * np.tanh(c), "c": c}, {"i": i, "f": f, "g": g, "o": o}


def _gru_after(a: NDArray[Any], state: Values, w: NDArray[Any], b: NDArray[Any]) -> tuple[Values, Values]:
    (ar, az, an), (ur, uz, un) = np.split(a, 3, axis=1), np.split(state["h"] @ w.T + b, 3, axis=1)
    r, z = sigmoid(ar + ur), sigmoid(az + uz)
    n = np.tanh(an + r * un)
    return {"h": (1 - z) * n + z * state["h"]}, {"r": r, "z": z, "n": n}


def _gru_before(a: NDArray[Any], state: Values, w: NDArray[Any], b: NDArray[Any]) -> tuple[Values, Values]:
    (ar, az, an), (wr, wz, wn), (br, bz, bn) = np.split(a, 3, axis=1), np.split(w, 3), np.split(b, 3)
    h = state["h"]
    r, z = sigmoid(ar + h @ wr.T + br), sigmoid(az + h @ wz.T + bz)
    n = np.tanh(an + (r * h) @ wn.T + bn)
    return {"h": (1 - z) * n + z * h}, {"r": r, "z": z, "n": n}
