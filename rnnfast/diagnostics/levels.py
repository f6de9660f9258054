"""Recurrent layers taken apart: every layer of a stack and every direction for itself, read forwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import FloatArray
from rnnfast.diagnostics.record import Seen
from rnnfast.layers.states import map_state

_NAME = re.compile(r"(.*)_l(\d+)(_reverse)?")


class Level(NamedTuple):
    """One direction of one layer of a stack.

    Attributes
    ----------
    name : str
        As in the names of parameters: "0 l1_reverse" is layer 0's second level, reading backwards.
    layer : Layer
        A layer of its own with these parameters, of one level, reading forwards.
    x : ndarray (N, T, C)
        Its input, in the order in which it reads.
    y : ndarray (N, T, H)
        Its output, in that order.
    dy : ndarray (N, T, H)
        The gradient of its output.
    state : nested tuple of ndarray (1, N, H), or None
        What it begins with.
    lengths : ndarray (N,)
        Valid steps.
    """

    name: str
    layer: Any
    x: FloatArray
    y: FloatArray
    dy: FloatArray
    state: Any
    lengths: NDArray[np.int64]


def levels(seen: Seen) -> list[Level]:
    """Return the levels of a recurrent layer from the lowest; that of what is not a stack is itself.

    Dropout between the levels is left out, and so is what a cell's options leave to chance.
    """
    layer: Any = seen.layer
    if not getattr(layer, "batch_first", True):
        raise ValueError(f"model must be batch first; {layer!r} is not")
    x = np.asarray(seen.x)
    lengths = np.full(len(x), x.shape[1]) if seen.lengths is None else np.asarray(seen.lengths, np.int64)
    assert seen.y is not None
    dy = np.zeros_like(seen.y) if seen.dy is None else seen.dy
    depth, directions = getattr(layer, "num_layers", 1), 2 if getattr(layer, "bidirectional", False) else 1
    if depth == directions == 1:
        options = getattr(getattr(layer, "cell", None), "options", None)
        if options is not None and options.random:
            layer = _single(layer, 0, 0)
        return [Level(f"{seen.name} l0".strip(), layer, x, seen.y, dy, seen.state, lengths)]

    back = _reversal(x.shape[1], lengths)
    made: list[list[tuple[Any, FloatArray, FloatArray, Any, Any]]] = []
    for k in range(depth):
        row = []
        for d in range(directions):
            single = _single(layer, k, d)
            own = np.take_along_axis(x, back[..., None], 1) if d else x
            place = slice(k * directions + d, k * directions + d + 1)
            state = map_state(_rows(place), seen.state)
            (y, _), pullback = single.forward(own, state, lengths=lengths)
            row.append((single, own, y, state, pullback))
        outs = [np.take_along_axis(y, back[..., None], 1) if d else y for d, (_, _, y, _, _) in enumerate(row)]
        x = np.concatenate(outs, axis=2)
        made.append(row)
    found: list[Level] = []
    for k in reversed(range(depth)):
        parts = np.split(dy, directions, axis=2)
        dy = 0  # type: ignore[assignment]
        for d in reversed(range(directions)):
            single, own, y, state, pullback = made[k][d]
            part = np.take_along_axis(parts[d], back[..., None], 1) if d else parts[d]
            name = f"{seen.name} l{k}{'_reverse' if d else ''}".strip()
            found.append(Level(name, single, own, y, part, state, lengths))
            dx = pullback(part, {})
            dy = dy + (np.take_along_axis(dx, back[..., None], 1) if d else dx)
    return found[::-1]


def _rows(place: slice) -> Callable[[FloatArray], FloatArray]:
    return lambda array: array[place]


def _single(layer: Any, level: int, direction: int) -> Any:
    """Return one level and direction of a stack as a layer of its own."""
    params = {}
    for name, array in layer.params.items():
        match = _NAME.fullmatch(name)
        if match and int(match[2]) == level and bool(match[3]) == bool(direction):
            params[f"{match[1]}_l0"] = array
    config = {**layer.config(), "num_layers": 1, "bidirectional": False, "dropout": 0.0}
    for name in ("zoneout", "recurrent_dropout", "weight_drop"):
        config.pop(name, None)  # a bundle of directions goes through one and the same step
    config["input_size"] = params["weight_ih_l0"].shape[1]
    single = type(layer)(**config)
    single.load_state_dict(params)
    return single


def _reversal(steps: int, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each row the places of its steps from the last valid one to the first, the rest as they are."""
    places = np.arange(steps)
    return np.where(places < lengths[:, None], lengths[:, None] - 1 - places, places)
