"""The networks of the common tasks: tokens or numbers in, recurrent layers, one answer per sequence or per step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnfast.checks import check_choice, check_size
from rnnfast.layers.base import Layer
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.pooling import Last, MaxPool, MeanPool
from rnnfast.layers.recurrent import GRU, LSTM, RNN, Recurrent
from rnnfast.layers.sequential import Sequential

RECURRENT: dict[str, Callable[..., Recurrent]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
POOLS: dict[str, type[Layer]] = {"last": Last, "mean": MeanPool, "max": MaxPool}


def build(
    inputs: int,
    outputs: int,
    *,
    cell: str = "lstm",
    hidden: int = 32,
    layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    pooling: str | None = None,
    embedding: int | None = None,
    dtype: Any = np.float32,
    seed: int = 0,
) -> Sequential:
    """Return a new network.

    Parameters
    ----------
    inputs : int
        Features of each step, or with ``embedding`` how many different tokens there are.
    outputs : int
        Numbers of an answer.
    cell : {"lstm", "gru", "rnn"}, default "lstm"
        Kind of the recurrent layers.
    hidden : int, default 32
        Units of each direction of each of them.
    layers : int, default 1
        How many there are, one on top of the other.
    bidirectional : bool, default False
        Whether they read in both directions.
    dropout : float, default 0
        Chance of each activation between recurrent layers, and before the answer, to be dropped in training.
    pooling : {"last", "mean", "max", "auto"} or None, default None
        How a sequence becomes one vector; "auto" is "last" in one direction and "mean" in two, where the last output
        of the backward direction has seen one step only. None: one answer per step.
    embedding : int, optional
        Numbers that stand for a token; None: the steps are numbers themselves.
    dtype : dtype, default float32
        Of the parameters.
    seed : int, default 0
        For the initial parameters.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind.
    """
    kind = RECURRENT[check_choice("cell", cell, tuple(RECURRENT))]
    check_size("hidden", hidden)
    check_size("layers", layers)
    if pooling is not None:
        check_choice("pooling", pooling, ("auto", *POOLS))
    seeds = [int(number) for number in np.random.SeedSequence(seed).generate_state(3)]
    parts: list[Layer] = []
    width = inputs
    if embedding is not None:
        parts.append(Embedding(inputs, embedding, init="uniform", dtype=dtype, seed=seeds[0]))
        width = embedding
    parts.append(
        kind(
            width,
            hidden,
            num_layers=layers,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,
            dtype=dtype,
            seed=seeds[1],
        )
    )
    if pooling is not None:
        parts.append(POOLS[("mean" if bidirectional else "last") if pooling == "auto" else pooling]())
    if dropout:
        parts.append(Dropout(dropout))
    parts.append(Dense(hidden * (2 if bidirectional else 1), outputs, dtype=dtype, seed=seeds[2]))
    return Sequential(*parts)
