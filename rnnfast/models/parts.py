"""What the models are put together from: recurrent stacks by name, states as tuples, rows of states."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.checks import FloatArray, check_choice, check_lengths
from rnnfast.layers.recurrent import GRU, LSTM, RNN, Recurrent

CELLS: dict[str, type[Recurrent]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


def make_recurrent(
    cell: str,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    dropout: float,
    dtype: Any,
    rng: np.random.Generator,
    bidirectional: bool = False,
) -> Any:
    """Return the recurrent stack of that name; dropout acts where there are several layers."""
    kind: Any = CELLS[check_choice("cell", cell, tuple(CELLS))]
    between = dropout if num_layers > 1 else 0.0
    return kind(
        input_size, hidden_size, num_layers, dropout=between, bidirectional=bidirectional, dtype=dtype, seed=rng
    )


def as_parts(state: Any) -> tuple[FloatArray, ...]:
    """Return a recurrent layer's state as a tuple of arrays, one or several."""
    return state if isinstance(state, tuple) else (state,)


def as_state(parts: tuple[FloatArray, ...]) -> Any:
    """Return a tuple of arrays as a recurrent layer's state: undo `as_parts`."""
    return parts if len(parts) > 1 else parts[0]


def zero_state(layer: Recurrent, batch: int) -> Any:
    """Return the state that a recurrent layer of one direction begins with."""
    shape = (layer.num_layers, batch, layer.hidden_size)
    return as_state(tuple(np.zeros(shape, layer.dtype) for _ in layer.cell.states))


def split_pair(name: str, value: Any, what: str) -> tuple[Any, Any]:
    """Return the two parts of an argument that must be a tuple of ``what``, or raise ``TypeError``."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        got = f"{len(value)} parts" if isinstance(value, (tuple, list)) else type(value).__name__
        raise TypeError(f"{name} must be a tuple of {what}; got {got}")
    return value[0], value[1]


def check_pair_lengths(lengths: Any, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[Any, Any]:
    """Return the lengths of both parts of a pair, each (N,) or None, or raise; shapes are (N, T) of each."""
    first, second = (None, None) if lengths is None else split_pair("lengths", lengths, "lengths of both parts of x")
    return check_lengths(first, *shapes[0]), check_lengths(second, *shapes[1])
