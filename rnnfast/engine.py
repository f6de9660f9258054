"""Stacks of recurrent layers: layers, directions, dropout between layers, lengths and states, for every backend.

A backend is a module with ``direction_forward`` and ``direction_backward`` as in ``reference/recurrent.py``; this file
allocates what they fill. Activations between layers are shaped (N, T, D*H) but lie time-major in memory, so that a
step's rows are together; each direction writes its half of the last axis in place.

Dropout keeps no masks: whether an element is kept follows from a seed and its place, so the backward pass repeats it.

Shapes: N rows, T steps, I inputs, H hidden units, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.backend import get_backend, implementation, load
from rnnfast.cells import CellSpec
from rnnfast.checks import FloatArray
from rnnfast.reference.options import Noise
from rnnfast.rows import Lookup
from rnnfast.scans import ScanSpec

States = tuple[FloatArray, ...]

_MODULES = {
    "native": "rnnfast._native.recurrent",
    "native infer": "rnnfast._native.infer",
    "native single": "rnnfast._native.single",
    "reference": "rnnfast.reference.recurrent",
    "native scan": "rnnfast._native.scan",
    "reference scan": "rnnfast.reference.scan",
}
_loaded: dict[str, ModuleType] = {}


class Weights(dict[str, Any]):
    """The weights of one direction of one layer: w_ih, w_hh, b_ih and b_hh (None without biases), and of options.

    `CellSpec.shapes` names them. Made anew for each version of the parameters.

    Attributes
    ----------
    cache : dict
        Where a backend keeps its packed copies of them.
    """

    __slots__ = ("cache",)

    def __init__(self, **arrays: FloatArray | None) -> None:
        super().__init__(arrays)
        self.cache: dict[str, Any] = {}


class Saved:
    """What `forward` leaves for `backward`, which consumes it."""

    __slots__ = ("backend", "cell", "directions", "dropout", "noise", "ops", "records", "seeds", "shape", "table")

    def __init__(
        self,
        backend: ModuleType,
        ops: Any,
        cell: CellSpec | ScanSpec,
        shape: tuple[int, int, int],
        table: tuple[int, int] | None,
        directions: int,
        dropout: float,
        seeds: Sequence[int],
        noise: Sequence[Noise],
        records: list[Any],
    ) -> None:
        self.backend = backend
        self.ops = ops  # the backend's module of that name, where there is dropout
        self.cell = cell
        self.shape = shape  # N, T, I of the first layer
        self.table = table  # V, I where the input was a `Lookup`
        self.directions = directions
        self.dropout = dropout
        self.seeds = seeds  # one for each gap between layers; empty: no dropout
        self.noise = noise  # L*D of them, or none
        self.records = records  # L*D of them


def backend(name: str) -> ModuleType:
    """Return the module of that backend; it is imported when first used."""
    module = _loaded.get(name)
    if module is None:
        module = _loaded[name] = load(_MODULES[name])
    return module


def forward(
    cell: CellSpec | ScanSpec,
    weights: Sequence[Sequence[Weights]],
    x: FloatArray | Lookup,
    state: States,
    lengths: NDArray[np.int64] | None,
    save: bool,
    time_major: bool = False,
    dropout: float = 0.0,
    seeds: Sequence[int] = (),
    noise: Sequence[Noise] = (),
) -> tuple[FloatArray, States, Saved | None]:
    """Run a stack of layers; all arguments have been checked.

    Parameters
    ----------
    cell : CellSpec or ScanSpec
    weights : L sequences of D `Weights`
    x : (N, T, I), or Lookup
        Any strides.
    state : tuple of (L*D, N, H)
        The initial state, one array for each of the cell's states.
    lengths : (N,) int64 or None
        Valid steps of each row; None: all.
    save : bool
        Whether `backward` will follow.
    time_major : bool, default False
        How the memory of the result lies; its shape is (N, T, D*H) either way.
    dropout : float, default 0.0
        Chance of an activation between two layers to be dropped.
    seeds : sequence of L-1 int, default ()
        What decides which are; empty: none are dropped.
    noise : sequence of L*D Noise, default ()
        The seeds of the cell's random options; empty: inference.

    Returns
    -------
    y (N, T, D*H), final state as ``state`` in new arrays, and what `backward` needs (None unless ``save``)
    """
    module = backend(f"{get_backend()} scan" if isinstance(cell, ScanSpec) else get_backend())
    ops: Any = implementation("ops") if seeds or noise else None  # for dropout alone
    table = x.table.shape if isinstance(x, Lookup) else None
    batch, steps = x.indices.shape if isinstance(x, Lookup) else x.shape[:2]
    inputs = x.table.shape[1] if isinstance(x, Lookup) else x.shape[2]
    hidden, dtype = state[0].shape[2], state[0].dtype
    directions = len(weights[0])
    single = len(weights) == directions == 1
    initial = [tuple([s[k] for s in state]) for k in range(len(weights) * directions)]
    own = [each for pair in weights for each in pair]
    if noise:
        drop = cell.options.weight_drop
        own = [_thinned(ops, each, drop, seed.weight) for each, seed in zip(own, noise, strict=True)]
    found: list[Any] = []
    y: FloatArray
    if not seeds and stacked(module, len(weights), directions, batch * steps * hidden * dtype.itemsize):
        last = len(weights) - 1
        outs = [_activations(batch, steps, hidden, dtype, k < last or time_major) for k in range(last + 1)]
        found = module.stack_forward(cell, x, own, initial, lengths, outs, save, noise or (None,) * len(own))
        y = outs[-1]
    for layer in range(0 if found else len(weights)):
        if layer and seeds:
            x = _dropped(ops, x, dropout, seeds[layer - 1])  # type: ignore[arg-type]
        last = layer == len(weights) - 1
        y = _activations(batch, steps, directions * hidden, dtype, not last or time_major)
        outs = [y] if directions == 1 else [y[:, :, :hidden], y[:, :, hidden:]]
        here = slice(layer * directions, (layer + 1) * directions)
        if directions == 2 and hasattr(module, "both_forward"):
            drawn = noise[here] or (None, None)
            found += module.both_forward(cell, x, own[here], initial[here], lengths, outs, save, drawn)
        else:
            for d, k in enumerate(range(here.start, here.stop)):
                drawn = noise[k : k + 1]
                out = outs[d]
                found.append(module.direction_forward(cell, x, own[k], initial[k], lengths, d == 1, out, save, *drawn))
        x = y
    if single:
        finals = tuple([f[None] for f in found[0][0]])
    else:
        finals = tuple(np.empty_like(s, order="C") for s in state)
        for k, (final, _) in enumerate(found):
            for f, target in zip(final, finals, strict=True):
                target[k] = f
    records = [record for _, record in found]
    if not save:
        return y, finals, None
    y.flags.writeable = False  # backward reads it, for most cells
    shape = batch, steps, inputs
    return y, finals, Saved(module, ops, cell, shape, table, directions, dropout, seeds, noise, records)


def backward(
    saved: Any,
    dy: FloatArray | None,
    dstate: tuple[FloatArray | None, ...],
    grads: Sequence[dict[str, FloatArray]],
    dtype: np.dtype[Any],
    hidden: int,
    time_major: bool = False,
    want_state: bool = True,
) -> tuple[FloatArray, States]:
    """Gradients of `forward`; all arguments have been checked.

    Parameters
    ----------
    saved
        What `forward`, or `rnnfast.direct`, returned; its records are released on the way.
    dy : (N, T, D*H) or None
        Gradient of the output; None means zero.
    dstate : tuple of (L*D, N, H) or None
        Gradient of the final state; None means zero.
    grads : L*D dicts
        The weights of each direction of each layer by kind: added into those that are there, others are made.
    dtype : numpy.dtype
    hidden : int
        H.
    time_major : bool, default False
        How the memory of the result lies.
    want_state : bool, default True
        Whether the gradient of the initial state is wanted.

    Returns
    -------
    dx (N, T, I), or (V, I) where the input was a `Lookup`, and the gradient of the initial state, tuple of (L*D, N, H),
    or () where it is not wanted
    """
    if not isinstance(saved, Saved):
        module = backend("native scan" if isinstance(saved.cell, ScanSpec) else "native")
        saved = Saved(module, None, saved.cell, saved.shape, None, 1, 0.0, (), (), [saved])
    batch, steps, inputs = saved.shape
    directions = saved.directions
    layers = len(saved.records) // directions
    output = saved.cell.width(hidden)
    found: list[States] = [()] * (layers * directions)
    drop = saved.cell.options.weight_drop if saved.noise else 0
    whole = [each.pop("w_hh", None) if drop else None for each in grads]
    dfinal = [tuple(None if s is None else s[k] for s in dstate) for k in range(len(found))]
    records, saved.records = saved.records, []
    dx: FloatArray

    def fresh(layer: int) -> FloatArray:
        """Return an array for the gradient of what a layer reads."""
        if layer == 0 and saved.table is not None:
            return np.zeros(saved.table, dtype)
        width = directions * output if layer else inputs
        return _activations(batch, steps, width, dtype, bool(layer) or time_major)

    together = not saved.seeds and stacked(saved.backend, layers, directions, batch * steps * output * dtype.itemsize)
    if together:
        dxs = [fresh(layer) for layer in range(layers)]
        found = saved.backend.stack_backward(records, dy, dfinal, dxs, grads)
        dx = dxs[0]
    for layer in reversed(range(0 if together else layers)):
        dx = fresh(layer)
        here = slice(layer * directions, (layer + 1) * directions)
        own, records[here] = records[here], [None] * directions
        dys = [None if dy is None else dy[:, :, d * output : (d + 1) * output] for d in range(directions)]
        # gradients of a table are added up in place
        parts = [np.empty_like(dx) if d and (layer or saved.table is None) else dx for d in range(directions)]
        if directions == 2 and hasattr(saved.backend, "both_backward"):
            found[here] = saved.backend.both_backward(own, dys, dfinal[here], parts, grads[here])
        else:
            for d, k in enumerate(range(here.start, here.stop)):
                found[k] = saved.backend.direction_backward(own[d], dys[d], dfinal[k], parts[d], grads[k])
        for part in parts[1:]:
            if part is not dx:
                dx += part
        if layer and saved.seeds:
            dx = _dropped(saved.ops, dx, saved.dropout, saved.seeds[layer - 1])
        dy = dx
    for k, given in enumerate(whole if drop else ()):
        thin = saved.ops.dropout(grads[k]["w_hh"], drop, saved.noise[k].weight)
        grads[k]["w_hh"] = thin if given is None else np.add(given, thin, out=given)
    return dx, tuple(np.stack(each) for each in zip(*found, strict=True)) if want_state else ()


def stacked(module: Any, layers: int, directions: int, size: int) -> bool:
    """Return whether a stack is left to the backend as a whole, which may do layers at the same time.

    What lies between layers, of `size` bytes each, is then in memory all at once. Only for small batches does that pay.
    """
    return layers > 1 and directions == 1 and hasattr(module, "stack_forward") and layers * size <= 1 << 26


def _thinned(ops: Any, weights: Weights, p: float, seed: int) -> Weights:
    """Return the weights for one forward pass: recurrent ones dropped with chance p, the others scaled up."""
    if not p:
        return weights
    return Weights(**{**weights, "w_hh": ops.dropout(weights["w_hh"], p, seed)})


def _activations(batch: int, steps: int, width: int, dtype: np.dtype[Any], time_major: bool) -> FloatArray:
    """Return a new (N, T, C) array that lies time-major or batch-major in memory."""
    if time_major:
        return np.empty((steps, batch, width), dtype).transpose(1, 0, 2)
    return np.empty((batch, steps, width), dtype)


def _dropped(ops: Any, x: FloatArray, p: float, seed: int) -> FloatArray:
    """Return x (N, T, C), time-major in memory, with dropout over that memory."""
    dropped: FloatArray = ops.dropout(x.transpose(1, 0, 2), p, seed)
    return dropped.transpose(1, 0, 2)
