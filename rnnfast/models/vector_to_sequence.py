"""VectorToSequence: one to many, a sequence from a vector."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import FloatArray, check_choice, check_generator, check_real, check_seed, check_size
from rnnfast.layers.base import Gradients, Layer, Pullback, pull
from rnnfast.models.bridge import Bridge
from rnnfast.models.decoder import Decoder, DecoderState
from rnnfast.models.parts import check_pair_lengths, split_pair

USES = ("state", "input", "both")


class VectorToSequence(Layer):
    """Logits of the next token from a vector and the tokens before it.

    Parameters
    ----------
    vector_size : int
        Features of the vector.
    target_size : int
        V, how many tokens there are.
    embedding_dim : int, default 128
        Features of a token.
    hidden_size : int, default 256
        Units of each recurrent layer.
    num_layers : int, default 1
        Recurrent layers.
    cell : {"lstm", "gru", "rnn"}, default "lstm"
        Their kind.
    use : {"state", "input", "both"}, default "both"
        Where the vector goes: into the initial state, through a map for each layer (Vinyals et al. 2015, "Show and
        tell"); into every step, beside the embedding; or both.
    tied : bool, default False
        Whether the weights of the logits are the embedding's table.
    dropout : float, default 0.0
        On embeddings, between recurrent layers and before the logits, in ``forward`` only.
    dtype : dtype, default float32
        float32 or float64.
    seed : int, numpy.random.Generator or None, default None
        For the initial parameters; None: fresh entropy.

    Notes
    -----
    ``x`` is a tuple of vectors (N, vector_size) and tokens (N, T), and so are ``lengths``, whose first part is None. To
    train: ``trainer.fit((vectors, targets_in), targets_out, lengths=(None, target_lengths))``, where targets_in begin
    with a sign for the start and targets_out end with one for the end.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import VectorToSequence, beam_search
    >>> model = VectorToSequence(5, 12, embedding_dim=4, hidden_size=8, seed=0)
    >>> vectors = np.zeros((2, 5))
    >>> model((vectors, [[1, 2, 3], [1, 4, 5]])).shape
    (2, 3, 12)
    >>> found = beam_search(model, model.start(vectors), [1, 1], end=0, max_length=6)
    >>> len(found)
    2
    """

    num_inputs: ClassVar[int] = 2

    def __init__(
        self,
        vector_size: int,
        target_size: int,
        embedding_dim: int = 128,
        hidden_size: int = 256,
        num_layers: int = 1,
        *,
        cell: str = "lstm",
        use: str = "both",
        tied: bool = False,
        dropout: float = 0.0,
        dtype: Any = np.float32,
        seed: Any = None,
    ) -> None:
        self.vector_size = check_size("vector_size", vector_size)
        self.use = check_choice("use", use, USES)
        rng = check_seed(seed)
        self.decoder = Decoder(
            check_size("target_size", target_size),
            embedding_dim,
            hidden_size,
            num_layers,
            cell,
            extra_size=0 if use == "state" else self.vector_size,
            tied=tied,
            dropout=dropout,
            dtype=dtype,
            rng=rng,
        )
        self.cell = cell
        self.bridge = None
        if use != "input":
            self.bridge = Bridge([self.vector_size] * self.decoder.recurrent.num_layers, self.decoder.recurrent, rng)
        super().__init__()

    def children(self) -> dict[str, Layer]:
        """Return the parts by name."""
        return {**({} if self.bridge is None else {"bridge": self.bridge}), "decoder": self.decoder}

    def __call__(self, x: Any, *, lengths: Any = None) -> FloatArray:
        """Return the logits without saving anything for a backward pass; arguments as in `forward`."""
        vectors, tokens, valid = self._checked(x, lengths)
        return self.decoder.logits(self.decoder.read(tokens, self.start(vectors), valid)[0])

    def forward(
        self, x: Any, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[FloatArray, Pullback]:
        """Return ``(logits, pullback)``.

        Parameters
        ----------
        x : tuple of array_like (N, vector_size) and (N, T) of int
            Vectors, and the tokens so far at each step. Must not be changed before the pullback is called.
        lengths : tuple of None and array_like (N,) of int, optional
            Valid tokens of each sequence.
        rng : numpy.random.Generator, optional
            For dropout; fresh entropy if None.

        Returns
        -------
        logits : ndarray (N, T, V)
            Of the token after each.
        pullback : callable
            ``dvectors, None = pullback(dlogits, grads)``; see `Layer`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not of its kind, or a shape does not fit.
        IndexError
            If a token is not within 0..V-1.
        """
        vectors, tokens, valid = self._checked(x, lengths)
        rng = check_generator(rng) or np.random.default_rng()
        state, bridge_pull = None, None
        if self.bridge is not None:
            state, bridge_pull = self.bridge.forward_run(self._sources(vectors))
        start = self.decoder.begin(len(vectors), state, self._extra(vectors))
        (logits, _), decoder_pull = self.decoder.forward_all(tokens, start, valid, rng)

        def backward(dy: Any, grads: Gradients) -> tuple[FloatArray, None]:
            found = pull(decoder_pull, "decoder.", dy, grads)
            dvectors: FloatArray = np.zeros_like(vectors) if found.extra is None else found.extra
            if bridge_pull is not None:
                for parts in pull(bridge_pull, "bridge.", found.state, grads):
                    for part in parts.values():
                        dvectors = dvectors + part
            return dvectors, None

        return logits, backward

    def start(self, vectors: Any) -> DecoderState:
        """Return the state that decoding begins with, for vectors (N, vector_size)."""
        vectors = check_real("vectors", vectors, self.decoder.dtype, ("N", self.vector_size))
        state = None if self.bridge is None else self.bridge.run(self._sources(vectors))
        return self.decoder.begin(len(vectors), state, self._extra(vectors))

    def step(self, tokens: NDArray[np.int64], state: DecoderState) -> tuple[FloatArray, DecoderState]:
        """Return the logits (N, V) of what follows ``tokens`` (N,), and the state after them."""
        return self.decoder.step(tokens, state)

    def reorder(self, state: DecoderState, index: NDArray[np.int64]) -> DecoderState:
        """Return the state whose row r is row ``index[r]`` of ``state``."""
        return self.decoder.reorder(state, index)

    def _sources(self, vectors: FloatArray) -> list[dict[str, FloatArray]]:
        recurrent = self.decoder.recurrent
        return [dict.fromkeys(recurrent.cell.states, vectors) for _ in range(recurrent.num_layers)]

    def _extra(self, vectors: FloatArray) -> FloatArray | None:
        return None if self.use == "state" else vectors

    def _checked(self, x: Any, lengths: Any) -> tuple[FloatArray, NDArray[np.int64], Any]:
        first, second = split_pair("x", x, "vectors and tokens")
        vectors = check_real("x[0]", first, self.decoder.dtype, ("N", self.vector_size))
        tokens = self.decoder.checked(second)
        if len(tokens) != len(vectors):
            raise ValueError(f"x must have as many sequences of tokens as vectors, {len(vectors)}; got {len(tokens)}")
        if lengths is not None and split_pair("lengths", lengths, "None and lengths")[0] is not None:
            raise ValueError("lengths[0] must be None: vectors have no steps")
        return vectors, tokens, check_pair_lengths(lengths, (tokens.shape, tokens.shape))[1]

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        decoder = self.decoder
        return {
            "vector_size": self.vector_size,
            "target_size": decoder.size,
            "embedding_dim": decoder.embedding_dim,
            "hidden_size": decoder.hidden_size,
            "num_layers": decoder.recurrent.num_layers,
            "cell": self.cell,
            "use": self.use,
            "tied": decoder.tied,
            "dropout": decoder.dropout,
            "dtype": decoder.dtype.name,
        }
