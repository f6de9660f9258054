"""The operators RNN, GRU and LSTM: by the kernels where they have what is asked for, else by the equations.

A direction whose activations are the usual ones runs through the engine's cells, with peepholes and coupled gates where
it has them, in the backend in force. Everything else (other activations, and clip, which bounds what goes into every
activation and so is not our cell_clip) is computed by `rnnfast.reference.operators`, exactly and slowly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast import engine
from rnnfast.backend import get_backend
from rnnfast.cells import CELLS, CellSpec, Options, find
from rnnfast.graph.gates import ONNX, PEEPHOLES, from_onnx, to_onnx
from rnnfast.graph.table import Array, Attributes, Result, operator
from rnnfast.reference import operators as reference

COUNTS = {"RNN": 1, "GRU": 2, "LSTM": 3}  # activations a direction
DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
_SHARED = ("activations", "activation_alpha", "activation_beta", "clip", "direction", "hidden_size", "layout")
ATTRIBUTES = {
    "RNN": _SHARED,
    "GRU": (*_SHARED, "linear_before_reset"),
    "LSTM": (*_SHARED, "input_forget"),
}


def options_of(op: str, attributes: Attributes) -> list[reference.Options]:
    """Return the options of each direction.

    Raises
    ------
    ValueError
        If the attributes name an unknown activation or direction, or too few of them.
    """
    direction = attributes.get("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise ValueError(f"direction of {op} must be forward, reverse or bidirectional; got {direction!r}")
    directions = 2 if direction == "bidirectional" else 1
    names = attributes.get("activations") or list(DEFAULTS[op]) * directions
    if len(names) != COUNTS[op] * directions:
        raise ValueError(f"activations of {op} must be {COUNTS[op] * directions}; got {len(names)}")
    known = {name.lower(): name for name in reference.ACTIVATIONS}
    queues = {kind: list(attributes.get(f"activation_{kind}") or []) for kind in ("alpha", "beta")}
    activations = []
    for given in names:
        if given.lower() not in known:
            raise ValueError(f"there is no activation {given!r} of {op}; there are {', '.join(known.values())}")
        name = known[given.lower()]
        constants = {}
        for kind, default in reference.ACTIVATIONS[name].defaults.items():
            constants[kind] = float(queues[kind].pop(0)) if queues[kind] else default
        activations.append(reference.Activation(name, **constants))
    if any(queues.values()):
        raise ValueError(f"{op} has more of activation_alpha or activation_beta than its activations take")
    clip = float(attributes.get("clip") or np.inf)
    if not clip > 0:
        raise ValueError(f"clip of {op} must be above 0; got {clip}")
    return [
        reference.Options(
            op,
            tuple(activations[k : k + COUNTS[op]]),
            clip,
            bool(attributes.get("input_forget")),
            bool(attributes.get("linear_before_reset")),
        )
        for k in range(0, len(activations), COUNTS[op])
    ]


def cell_of(options: reference.Options, peepholes: bool) -> CellSpec | None:
    """Return the cell that computes this, or None if there is none."""
    names = tuple(f.name for f in options.activations)
    if options.clip != np.inf:
        return None
    if options.op == "RNN":
        return CELLS.get(f"rnn_{names[0].lower()}")
    if names != DEFAULTS[options.op]:
        return None
    if options.op == "LSTM":
        return find("lstm_coupled" if options.input_forget else "lstm", Options(peephole=peepholes))
    return CELLS["gru" if options.linear_before_reset else "gru_reset_before"]


class _Native:
    """One direction by a cell of the engine."""

    def __init__(self, cell: CellSpec, op: str, weights: dict[str, Array | None], reverse: bool) -> None:
        self.cell, self.op, self.reverse = cell, op, reverse
        w, r = weights["W"], weights["R"]
        assert w is not None and r is not None
        b = np.zeros(2 * len(w), w.dtype) if weights["B"] is None else weights["B"]
        parts = {"w_ih": w, "w_hh": r, "b_ih": b[: len(w)], "b_hh": b[len(w) :]}
        own = {name: from_onnx(array, ONNX[op], cell.order) for name, array in parts.items()}
        if weights["P"] is not None:
            own["w_peephole"] = from_onnx(weights["P"], PEEPHOLES, cell.peepholes)
        self.own = engine.Weights(**own)

    def forward(self, x: Array, state: Any, lengths: Any, out: Array, save: bool) -> tuple[tuple[Array, ...], Any]:
        """Fill out (T, N, H); return the final state and what `backward` needs."""
        module = engine.backend(get_backend())
        final, record = module.direction_forward(
            self.cell,
            x.transpose(1, 0, 2),
            self.own,
            state,
            lengths,
            self.reverse,
            out.transpose(1, 0, 2),
            save,
        )
        return final, (module, record)

    def backward(self, saved: Any, dy: Array | None, dfinal: tuple[Array | None, ...], dx: Array) -> tuple[Any, Any]:
        """Fill dx (T, N, I); return the gradients of the weights by ONNX's names, and of the initial state."""
        module, record = saved
        grads: dict[str, Array] = {}
        dstate = module.direction_backward(
            record, None if dy is None else dy.transpose(1, 0, 2), dfinal, dx.transpose(1, 0, 2), grads
        )
        peepholes = grads.pop("w_peephole", None)
        theirs = {name: to_onnx(array, self.cell.order, ONNX[self.op]) for name, array in grads.items()}
        found = {"W": theirs["w_ih"], "R": theirs["w_hh"], "B": np.concatenate([theirs["b_ih"], theirs["b_hh"]])}
        if peepholes is not None:
            found["P"] = to_onnx(peepholes, self.cell.peepholes, PEEPHOLES)
        return found, dstate


class _Exact:
    """One direction by the equations."""

    def __init__(self, options: reference.Options, weights: dict[str, Array | None], reverse: bool) -> None:
        self.options, self.weights, self.reverse = options, weights, reverse

    def forward(self, x: Array, state: Any, lengths: Any, out: Array, save: bool) -> tuple[tuple[Array, ...], Any]:
        """Fill out (T, N, H); return the final state and what `backward` needs."""
        y, final, saved = reference.forward(self.options, x, self.weights, state, lengths, self.reverse)
        out[...] = y
        return final, saved

    def backward(self, saved: Any, dy: Array | None, dfinal: tuple[Array | None, ...], dx: Array) -> tuple[Any, Any]:
        """Fill dx (T, N, I); return the gradients of the weights by ONNX's names, and of the initial state."""
        shape = (dx.shape[1], saved["weights"]["R"].shape[1])
        whole = tuple(np.zeros(shape, dx.dtype) if d is None else d for d in dfinal)
        grads, dx[...], dstate = reference.backward(saved, dy, whole)
        return grads, dstate


def _run(op: str, attributes: Attributes, inputs: list[Any]) -> Result:
    """Run RNN, GRU or LSTM."""
    names = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
    given = dict(zip(names, [*inputs, *[None] * len(names)], strict=False))
    x, lengths, batch_first = given["X"], given["sequence_lens"], attributes.get("layout") == 1
    if batch_first:
        x = x.transpose(1, 0, 2)
    steps, batch, _ = x.shape
    count = 2 if op == "LSTM" else 1
    directions, hidden = given["W"].shape[0], given["R"].shape[2]
    lengths = _lengths(op, lengths, batch, steps)
    initial = []
    for name in ("initial_h", "initial_c")[:count]:
        value = given[name]
        if value is None:
            value = np.zeros((directions, batch, hidden), x.dtype)
        elif batch_first:
            value = value.transpose(1, 0, 2)
        if value.shape != (directions, batch, hidden):
            raise ValueError(f"{name} of {op} must have shape {(directions, batch, hidden)}; got {value.shape}")
        initial.append(value)
    runners = attributes["cache"].get("runners")
    if runners is None:
        runners = attributes["cache"]["runners"] = _runners(op, attributes, given)
    y = np.empty((steps, directions, batch, hidden), x.dtype)
    finals = [np.empty((directions, batch, hidden), x.dtype) for _ in range(count)]
    records = []
    for k, runner in enumerate(runners):
        final, saved = runner.forward(x, tuple(s[k] for s in initial), lengths, y[:, k], attributes["save"])
        records.append(saved)
        for whole, part in zip(finals, final, strict=True):
            whole[k] = part
    outputs = (y, *finals)
    if batch_first:
        outputs = (y.transpose(2, 0, 1, 3), *(f.transpose(1, 0, 2) for f in finals))

    def back(d: list[Array | None]) -> list[Array | None]:
        dy, *dfinals = (*d, None, None)[: 1 + count]
        if batch_first:
            dy = None if dy is None else dy.transpose(1, 2, 0, 3)
            dfinals = [None if f is None else f.transpose(1, 0, 2) for f in dfinals]
        total: Any = None
        grads: list[dict[str, Array]] = []
        starts = []
        for k, runner in enumerate(runners):
            part = np.zeros(x.shape, x.dtype)
            own = None if dy is None else dy[:, k]
            found, dstart = runner.backward(records[k], own, tuple(None if f is None else f[k] for f in dfinals), part)
            total = part if total is None else total + part
            grads.append(found)
            starts.append(dstart)
        result: dict[str, Array | None] = {"X": total.transpose(1, 0, 2) if batch_first else total}
        for name in ("W", "R", "B", "P"):
            result[name] = np.stack([g[name] for g in grads]) if given[name] is not None else None
        for k, name in enumerate(("initial_h", "initial_c")[:count]):
            stacked = np.stack([start[k] for start in starts])
            result[name] = stacked.transpose(1, 0, 2) if batch_first else stacked
        return [result.get(name) for name in names[: len(inputs)]]

    return outputs, back


def _runners(op: str, attributes: Attributes, given: dict[str, Any]) -> list[_Native | _Exact]:
    options = options_of(op, attributes)
    if len(options) != given["W"].shape[0]:
        raise ValueError(f"W of {op} must have {len(options)} directions; got {given['W'].shape[0]}")
    found: list[_Native | _Exact] = []
    for k, own in enumerate(options):
        weights = {name: None if given[name] is None else given[name][k] for name in ("W", "R", "B", "P")}
        reverse = k == 1 or attributes.get("direction") == "reverse"
        cell = cell_of(own, weights["P"] is not None)
        found.append(_Exact(own, weights, reverse) if cell is None else _Native(cell, op, weights, reverse))
    return found


def _lengths(op: str, lengths: Any, batch: int, steps: int) -> Any:
    if lengths is None:
        return None
    if lengths.shape != (batch,) or (batch and (lengths.min() < 0 or lengths.max() > steps)):
        raise ValueError(f"sequence_lens of {op} must be {batch} numbers in 0..{steps}; got {lengths}")
    return None if (lengths == steps).all() else lengths.astype(np.int64)


for _op in COUNTS:
    operator(_op, ATTRIBUTES[_op], (3, 8 if _op == "LSTM" else 6))(
        lambda attributes, inputs, op=_op: _run(op, attributes, inputs)  # type: ignore[misc]
    )
