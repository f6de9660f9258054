"""The part of every generative model that writes: from tokens so far to the logits of the next ones."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import FloatArray, check_choice, check_dtype, check_flag, check_indices, check_number, check_size
from rnnfast.layers.attention import Attention
from rnnfast.layers.base import Gradients, Layer, Pullback, pull
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.tied import Tied
from rnnfast.models import cores
from rnnfast.models.parts import make_recurrent, zero_state


class DecoderState(NamedTuple):
    """Where a decoder stands: a value, rows of which can be picked.

    Attributes
    ----------
    hidden
        State of the recurrent stack, arrays (layers, N, units).
    fed : ndarray (N, 1, F) or None
        The features of the last step, where they are fed.
    extra : ndarray (N, X) or None
        What enters every step.
    memory : Memory or None
        What is attended to.
    """

    hidden: Any
    fed: FloatArray | None
    extra: FloatArray | None
    memory: cores.Memory | None


class DecoderGradients(NamedTuple):
    """Gradients of what a decoder starts from; None where there is no such thing."""

    state: Any
    extra: FloatArray | None
    memory: FloatArray | None


class Decoder(Layer):
    """Embedding, recurrent stack, attention if there is a memory, logits.

    Parameters
    ----------
    size : int
        V, how many tokens there are.
    embedding_dim, hidden_size, num_layers : int
        E, H and the number of recurrent layers.
    cell : {"lstm", "gru", "rnn"}
        Their kind.
    extra_size : int
        Features of a vector that enters every step beside the embedding; 0: none.
    memory_size : int
        Features of the memory; 0: none.
    attention : {"dot", "general", "additive"} or None
        How the memory is attended to; None without one.
    attention_size : int or None
        Units of additive scores.
    feeding : {"context", "output"} or None
        What enters the next step; see `rnnfast.models.cores`.
    tied : bool
        Whether the weights of the logits are the embedding's table; features then have its size.
    dropout : float
        On embeddings, between recurrent layers and on features.
    dtype : dtype
    rng : numpy.random.Generator
        For the initial parameters.
    """

    def __init__(
        self,
        size: int,
        embedding_dim: int,
        hidden_size: int,
        num_layers: int,
        cell: str,
        *,
        extra_size: int = 0,
        memory_size: int = 0,
        attention: str | None = None,
        attention_size: int | None = None,
        feeding: str | None = None,
        tied: bool,
        dropout: float,
        dtype: Any,
        rng: np.random.Generator,
    ) -> None:
        self.size = check_size("size", size)
        self.embedding_dim = check_size("embedding_dim", embedding_dim)
        self.hidden_size = check_size("hidden_size", hidden_size)
        self.dtype = check_dtype(dtype)
        self.tied = check_flag("tied", tied)
        self.dropout = check_number("dropout", dropout, 0.0, 1.0, below=True)
        feeding = None if feeding is None else check_choice("feeding", feeding, cores.FEEDING)
        if feeding is not None and not memory_size:
            raise ValueError(f"feeding needs attention; got feeding={feeding!r} with attention=None")
        width = self.embedding_dim if self.tied else self.hidden_size
        inputs = self.embedding_dim + extra_size
        inputs += {None: 0, "context": memory_size, "output": width}[feeding]
        common: dict[str, Any] = {"dtype": self.dtype, "seed": rng}
        self.embedding = Embedding(self.size, self.embedding_dim, **common)
        self.recurrent = make_recurrent(
            cell, inputs, self.hidden_size, check_size("num_layers", num_layers), self.dropout, self.dtype, rng
        )
        self.attention = self.combine = None
        if memory_size:
            self.attention = Attention(self.hidden_size, memory_size, str(attention), attention_size, **common)
            self.combine = Dense(memory_size + self.hidden_size, width, activation="tanh", **common)
        elif width != self.hidden_size:
            self.combine = Dense(self.hidden_size, width, **common)
        self.output: Tied | Dense
        if self.tied:
            # Rows of length 4: as inputs large enough to be told apart, and with features of about 0.2, as they are
            # at first, logits of about 1.
            with self.embedding.update() as arrays:
                arrays["weight"] *= 4.0 / math.sqrt(self.embedding_dim)
            self.output = Tied(self.embedding)
        else:
            # Its weights go by the features alone: Glorot's, which go by the number of tokens too, would be so small
            # that attention and recurrence get little gradient at first. On sentences of 2,900 words that cost 0.35
            # nats after 120 updates.
            self.output = Dense(width, self.size, init="torch", **common)
        self._parts = cores.Parts(self.recurrent, self.attention, self.combine, feeding)
        self._drop = Dropout(self.dropout)
        super().__init__()

    def children(self) -> dict[str, Layer]:
        """Return the parts by name."""
        optional = {"attention": self.attention, "combine": self.combine}
        return {
            "embedding": self.embedding,
            "recurrent": self.recurrent,
            **{name: layer for name, layer in optional.items() if layer is not None},
            "output": self.output,
        }

    def begin(
        self,
        batch: int,
        state: Any = None,
        extra: Any = None,
        memory: Any = None,
        lengths: Any = None,
        with_keys: bool = True,
    ) -> DecoderState:
        """Return the state before the first step.

        Parameters
        ----------
        batch : int
            N.
        state : state of the recurrent stack, or None for zeros
        extra : ndarray (N, X) or None
        memory : ndarray (N, S, M) or None
        lengths : ndarray of int64 (N,) or None
            Valid steps of the memory.
        with_keys : bool, default True
            Whether the keys of the memory are wanted; `forward_all` makes its own.
        """
        fed = None
        if self._parts.feeding == "output":
            assert self.combine is not None
            fed = np.zeros((batch, 1, self.combine.out_features), self.dtype)
        found = None
        if self.attention is not None:
            found = cores.Memory(memory, self.attention.keys(memory) if with_keys else memory, lengths)
        return DecoderState(zero_state(self.recurrent, batch) if state is None else state, fed, extra, found)

    def step(self, tokens: NDArray[np.int64], state: DecoderState) -> tuple[FloatArray, DecoderState]:
        """Return the logits (N, V) of what follows ``tokens`` (N,), and the state after them."""
        x = self._inputs(self.embedding(tokens[:, None]), state.extra)
        features, hidden, fed = cores.step(self._parts, x, state.hidden, state.fed, state.memory)
        logits: FloatArray = self.output(self._finished(features))[:, 0]
        return logits, state._replace(hidden=hidden, fed=fed)

    def reorder(self, state: DecoderState, index: NDArray[np.int64]) -> DecoderState:
        """Return the state whose row r is row ``index[r]`` of ``state``."""
        hidden = state.hidden
        hidden = tuple(part[:, index] for part in hidden) if isinstance(hidden, tuple) else hidden[:, index]
        fed, extra = (None if part is None else part[index] for part in (state.fed, state.extra))
        memory = state.memory
        if memory is not None:
            steps = memory.steps[index]
            keys = steps if memory.keys is memory.steps else memory.keys[index]
            memory = cores.Memory(steps, keys, None if memory.lengths is None else memory.lengths[index])
        return DecoderState(hidden, fed, extra, memory)

    def read(self, tokens: Any, state: DecoderState, lengths: Any) -> tuple[FloatArray, DecoderState]:
        """Return the features (N, T, F) of tokens (N, T) under teacher forcing, and the state after them."""
        tokens = self.checked(tokens)
        if self._parts.feeding is None:
            plain = state.extra is None
            x = self.embedding.lookup(tokens) if plain else self._inputs(self.embedding(tokens), state.extra)
            features, hidden = cores.infer(self._parts, x, state.hidden, state.memory, lengths)
            return self._finished(features), state._replace(hidden=hidden)
        x = self._inputs(self.embedding(tokens), state.extra)
        features = np.empty((*tokens.shape, self._parts.combine.out_features), self.dtype)  # type: ignore[union-attr]
        for t in range(tokens.shape[1]):
            running = None if lengths is None else (lengths > t).astype(np.int64)
            found, hidden, fed = cores.step(
                self._parts, x[:, t : t + 1], state.hidden, state.fed, state.memory, running
            )
            features[:, t] = found[:, 0]
            state = state._replace(hidden=hidden, fed=fed)
        return self._finished(features), state

    def logits(self, features: FloatArray) -> FloatArray:
        """Return the logits (N, T, V) of features (N, T, F)."""
        return self.output(features)

    def weights(self, tokens: Any, state: DecoderState) -> FloatArray:
        """Return the attention (N, T, S) when tokens (N, T) are read, step by step."""
        tokens, found = self.checked(tokens), []
        memory, attention = state.memory, self.attention
        assert memory is not None and attention is not None
        for t in range(tokens.shape[1]):
            before = state.hidden
            _, state = self.step(tokens[:, t], state)
            hidden = before if self._parts.feeding == "context" else state.hidden
            query = (hidden[0] if isinstance(hidden, tuple) else hidden)[-1][:, None]
            found.append(attention.attend(query, memory.keys, memory.steps, memory.lengths)[1])
        return np.concatenate(found, axis=1) if found else np.zeros((*tokens.shape, memory.steps.shape[1]), self.dtype)

    def forward_all(
        self, tokens: Any, start: DecoderState, lengths: Any, rng: np.random.Generator
    ) -> tuple[tuple[FloatArray, Any], Pullback]:
        """Return ``((logits, state), pullback)`` of tokens (N, T) under teacher forcing.

        Parameters
        ----------
        tokens : array_like (N, T) of int
        start : DecoderState
            As from `begin`, but that the keys of its memory are made anew here.
        lengths : ndarray of int64 (N,) or None
            Valid tokens.
        rng : numpy.random.Generator
            For dropout.

        Returns
        -------
        logits : (N, T, V)
        state : of the recurrent stack
        pullback : callable
            ``gradients = pullback(dlogits, grads, dstate=None)``: a `DecoderGradients`; dlogits may be None.
        """
        tokens = self.checked(tokens)
        plain = start.extra is None and self._parts.feeding is None and not self.dropout
        x: Any
        x, embedding_pull = (self.embedding.forward_lookup if plain else self.embedding.forward)(tokens)
        drops: list[Pullback] = []
        if self.dropout:
            x, drop = self._drop.forward(x, rng=rng)
            drops.append(drop)
        memory, keys_pull = start.memory, None
        if memory is not None:
            assert self.attention is not None
            keys, keys_pull = self.attention.forward_keys(memory.steps)
            memory = memory._replace(keys=keys)
        inputs = x if plain else self._inputs(x, start.extra)
        features, final, core_pull = cores.forward(self._parts, inputs, start.hidden, memory, lengths, rng)
        project_pull = None
        if self.attention is None and self.combine is not None:
            features, project_pull = self.combine.forward(features)
        if self.dropout:
            features, drop = self._drop.forward(features, rng=rng)
            drops.append(drop)
        logits, output_pull = self.output.forward(features)
        width = self.embedding_dim

        def backward(dlogits: Any, grads: Gradients, dstate: Any = None) -> DecoderGradients:
            if dlogits is None:
                dlogits = np.zeros(logits.shape, self.dtype)
            dfeatures = self._pull_output(output_pull, dlogits, grads)
            if self.dropout:
                dfeatures = drops[1](dfeatures, {})
            if project_pull is not None:
                dfeatures = pull(project_pull, "combine.", dfeatures, grads)
            found = core_pull(dfeatures, grads, cores.zeros_like_state(final) if dstate is None else dstate)
            dx, dextra, dmemory = found.x, None, found.memory
            if start.extra is not None:
                dx, dextra = dx[:, :, :width], dx[:, :, width:].sum(axis=1)
            if self.dropout:
                dx = drops[0](dx, {})
            pull(embedding_pull, "embedding.", dx, grads)
            if keys_pull is not None:
                dmemory = dmemory + pull(keys_pull, "attention.", found.keys, grads)
            return DecoderGradients(found.state, dextra, dmemory)

        return (logits, final), backward

    def _pull_output(self, pullback: Pullback, dlogits: Any, grads: Gradients) -> FloatArray:
        """Go back through the logits; the gradient of a tied table is the embedding's."""
        if not self.tied:
            found: FloatArray = pull(pullback, "output.", dlogits, grads)
            return found
        names = {"weight": "embedding.weight", "bias": "output.bias"}
        own = {name: grads[full] for name, full in names.items() if full in grads}
        found = pullback(dlogits, own)
        for name, full in names.items():
            if full in grads and grads[full] is not own[name]:
                grads[full][...] = own[name]
            else:
                grads[full] = own[name]
        return found

    def _inputs(self, x: FloatArray, extra: FloatArray | None) -> FloatArray:
        """Return x (N, T, E) with the extra vector (N, X) beside each step."""
        if extra is None:
            return x
        spread = np.broadcast_to(extra[:, None], (*x.shape[:2], extra.shape[1]))
        return np.concatenate([x, spread], axis=2)

    def _finished(self, features: FloatArray) -> FloatArray:
        """Return features (N, T, F) from what a core gives."""
        if self.attention is None and self.combine is not None:
            return self.combine(features)
        return features

    def checked(self, tokens: Any) -> NDArray[np.int64]:
        """Return tokens (N, T) as int64, or raise."""
        return check_indices("target", tokens, self.size, 2)
