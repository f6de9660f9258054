"""The part of a model that reads: a recurrent stack over tokens or vectors, and what it leaves to start a decoder."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.checks import FloatArray, check_indices, check_real
from rnnfast.layers.base import Gradients, Layer, Pullback, pull
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.embedding import Embedding
from rnnfast.models.parts import as_parts, as_state, make_recurrent

Sources = list[dict[str, FloatArray]]


class Encoder(Layer):
    """Embedding, unless vectors are read, and a recurrent stack.

    Parameters
    ----------
    size : int
        How many tokens there are, or features of a vector.
    embedding_dim : int
        Features of a token; 0: vectors are read.
    hidden_size, num_layers : int
        Units of each direction and the number of layers.
    bidirectional : bool
    cell : {"lstm", "gru", "rnn"}
    dropout : float
        On embeddings and between recurrent layers.
    dtype : dtype
    rng : numpy.random.Generator
        For the initial parameters.

    Attributes
    ----------
    width : int
        Features of what it makes of each step.
    """

    def __init__(
        self,
        size: int,
        embedding_dim: int,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        cell: str,
        dropout: float,
        dtype: Any,
        rng: np.random.Generator,
    ) -> None:
        self.size, self.dtype = size, dtype
        self.embedding = Embedding(size, embedding_dim, dtype=dtype, seed=rng) if embedding_dim else None
        self.recurrent = make_recurrent(
            cell, embedding_dim or size, hidden_size, num_layers, dropout, dtype, rng, bidirectional
        )
        self._directions = 2 if bidirectional else 1
        self.width = self._directions * hidden_size
        self._drop = Dropout(dropout)
        super().__init__()

    def children(self) -> dict[str, Layer]:
        """Return the parts by name."""
        return {**({} if self.embedding is None else {"embedding": self.embedding}), "recurrent": self.recurrent}

    def run(self, source: Any, lengths: Any) -> tuple[FloatArray, Any]:
        """Return what is made of each step (N, S, width), zeros past the lengths, and the final state."""
        x = source if self.embedding is None else self.embedding.lookup(source)
        memory, state = self.recurrent(x, lengths=lengths)
        return memory, state

    def forward_run(
        self, source: Any, lengths: Any, rng: np.random.Generator
    ) -> tuple[tuple[FloatArray, Any], Pullback]:
        """Return `run` and its pullback, ``dsource = pullback(dmemory, grads, dstate)``: None where tokens are read."""
        pulls: list[Pullback] = []
        x = source
        if self.embedding is not None:
            find = self.embedding.forward if self._drop.p else self.embedding.forward_lookup
            x, embedding_pull = find(source)
            pulls.append(embedding_pull)
            if self._drop.p:
                x, drop = self._drop.forward(x, rng=rng)
                pulls.append(drop)
        (memory, state), recurrent_pull = self.recurrent.forward(x, lengths=lengths, rng=rng)

        def backward(dmemory: Any, grads: Gradients, dstate: Any) -> Any:
            dx, _ = pull(recurrent_pull, "recurrent.", dmemory, grads, dstate=dstate)
            if not pulls:
                return dx
            if len(pulls) > 1:
                dx = pulls[1](dx, {})
            return pull(pulls[0], "embedding.", dx, grads)

        return (memory, state), backward

    def sources(self, state: Any, layers: int) -> Sources:
        """Return what starts each of so many decoder layers: the directions of an encoder layer's final state.

        The uppermost layers belong together; where the decoder is deeper, its lowest ones share the encoder's lowest.
        """
        parts = dict(zip(self.recurrent.cell.states, as_parts(state), strict=True))
        return [
            {name: np.concatenate(list(part[self._rows(k, layers)]), axis=1) for name, part in parts.items()}
            for k in range(layers)
        ]

    def from_sources(self, state: Any, dsources: Sources) -> Any:
        """Return the gradient of the final state from that of `sources`."""
        found = []
        for name, part in zip(self.recurrent.cell.states, as_parts(state), strict=True):
            dpart = np.zeros_like(part)
            for k, each in enumerate(dsources):
                pieces = np.split(each[name], self._directions, axis=1)
                dpart[self._rows(k, len(dsources))] += np.stack(pieces)
            found.append(dpart)
        return as_state(tuple(found))

    def zeros(self, state: Any) -> Any:
        """Return a gradient of zeros for the final state."""
        return as_state(tuple(np.zeros_like(part) for part in as_parts(state)))

    def checked(self, source: Any) -> Any:
        """Return the source as tokens (N, S) or vectors (N, S, size), or raise."""
        if self.embedding is None:
            return check_real("source", source, self.dtype, ("N", "S", self.size))
        return check_indices("source", source, self.size, 2)

    def _rows(self, layer: int, layers: int) -> slice:
        own = max(0, layer + self.recurrent.num_layers - layers)
        return slice(own * self._directions, (own + 1) * self._directions)
