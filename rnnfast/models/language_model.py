"""LanguageModel: the next token from all before it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import FloatArray, check_generator, check_lengths, check_seed
from rnnfast.decoding.steps import reorder_recurrent, split_prompt
from rnnfast.layers.base import Gradients, Layer, Pullback, pull
from rnnfast.models.decoder import Decoder


class LanguageModel(Layer):
    """Logits of the next token: embedding, recurrent stack, output weights that may be the embedding's.

    Parameters
    ----------
    size : int
        V, how many tokens there are.
    embedding_dim : int, default 256
        Features of a token.
    hidden_size : int, default 256
        Units of each recurrent layer.
    num_layers : int, default 1
        Recurrent layers.
    cell : {"lstm", "gru", "rnn"}, default "lstm"
        Their kind.
    tied : bool, default True
        Whether the weights of the logits are the embedding's table (Press and Wolf 2017). Where ``embedding_dim`` and
        ``hidden_size`` differ a linear map leads from one to the other.
    dropout : float, default 0.0
        On embeddings, between recurrent layers and before the logits, in ``forward`` only (Zaremba, Sutskever and
        Vinyals 2014, "Recurrent neural network regularization").
    dtype : dtype, default float32
        float32 or float64.
    seed : int, numpy.random.Generator or None, default None
        For the initial parameters; None: fresh entropy.

    Notes
    -----
    It is trained by ``Trainer.fit`` on sequences or by ``Trainer.fit_stream`` on one long text, and decoded by
    ``rnnfast.decoding`` and ``rnnfast.generate``.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import LanguageModel, greedy
    >>> model = LanguageModel(20, embedding_dim=8, hidden_size=16, seed=0)
    >>> logits, state = model(np.array([[3, 1, 4], [1, 5, 9]]))
    >>> logits.shape
    (2, 3, 20)
    >>> state, first = model.start([[3, 1, 4]])
    >>> len(greedy(model, state, first, max_length=5)[0].tokens)
    5
    """

    stateful: ClassVar[bool] = True

    def __init__(
        self,
        size: int,
        embedding_dim: int = 256,
        hidden_size: int = 256,
        num_layers: int = 1,
        *,
        cell: str = "lstm",
        tied: bool = True,
        dropout: float = 0.0,
        dtype: Any = np.float32,
        seed: Any = None,
    ) -> None:
        self.decoder = Decoder(
            size,
            embedding_dim,
            hidden_size,
            num_layers,
            cell,
            tied=tied,
            dropout=dropout,
            dtype=dtype,
            rng=check_seed(seed),
        )
        self.cell = cell
        super().__init__()

    def children(self) -> dict[str, Layer]:
        """Return the decoder."""
        return {"decoder": self.decoder}

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None) -> tuple[FloatArray, Any]:
        """Return ``(logits, state)`` without saving anything for a backward pass; arguments as in `forward`."""
        features, state = self._read(x, state, lengths)
        return self.decoder.logits(features), state

    def forward(
        self, x: Any, state: Any = None, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[tuple[FloatArray, Any], Pullback]:
        """Return ``((logits, state), pullback)``.

        Parameters
        ----------
        x : array_like (N, T) of int
            Tokens. Must not be changed before the pullback is called.
        state : optional
            The recurrent stack's, arrays (layers, N, hidden_size); None: zeros.
        lengths : array_like (N,) of int, optional
            Valid tokens of each sequence.
        rng : numpy.random.Generator, optional
            For dropout; fresh entropy if None.

        Returns
        -------
        logits : ndarray (N, T, V)
            Of the token after each.
        state : as the argument
        pullback : callable
            ``None = pullback(dlogits, grads)`` or ``None, dstate = pullback(dlogits, grads, dstate=dstate)``: tokens
            have no gradient. See `Layer`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not of its kind, or a shape does not fit.
        IndexError
            If a token is not within 0..V-1.
        """
        tokens = self.decoder.checked(x)
        valid = check_lengths(lengths, *tokens.shape)
        rng = check_generator(rng) or np.random.default_rng()
        (logits, final), decoder_pull = self.decoder.forward_all(
            tokens, self.decoder.begin(len(tokens), state), valid, rng
        )

        def backward(dy: Any, grads: Gradients, dstate: Any = None) -> Any:
            found = pull(decoder_pull, "decoder.", dy, grads, dstate=dstate)
            return None if dstate is None else (None, found.state)

        return (logits, final), backward

    def start(self, prompt: Any, *, lengths: Any = None) -> tuple[Any, NDArray[np.int64]]:
        """Return the state before the last token of each prompt, and that token, which decoding begins with.

        Parameters
        ----------
        prompt : array_like (N, T) of int
            What the model reads first, at least one token in each row, such as the sign for the start.
        lengths : array_like (N,) of int, optional
            Valid tokens of each, 1..T; None: all T.
        """
        tokens, rest, first = split_prompt(prompt, lengths)
        _, state = self._read(tokens[:, : int(rest.max(initial=0))], None, rest)
        return state, first

    def step(self, tokens: NDArray[np.int64], state: Any) -> tuple[FloatArray, Any]:
        """Return the logits (N, V) of what follows ``tokens`` (N,), and the state after them."""
        logits, found = self.decoder.step(tokens, self.decoder.begin(len(tokens), state))
        return logits, found.hidden

    def reorder(self, state: Any, index: NDArray[np.int64]) -> Any:
        """Return the state whose row r is row ``index[r]`` of ``state``."""
        return reorder_recurrent(state, index)

    def _read(self, x: Any, state: Any, lengths: Any) -> tuple[FloatArray, Any]:
        """Return the features of tokens, and the state after them."""
        tokens = self.decoder.checked(x)
        valid = check_lengths(lengths, *tokens.shape)
        features, found = self.decoder.read(tokens, self.decoder.begin(len(tokens), state), valid)
        return features, found.hidden

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        decoder = self.decoder
        return {
            "size": decoder.size,
            "embedding_dim": decoder.embedding_dim,
            "hidden_size": decoder.hidden_size,
            "num_layers": decoder.recurrent.num_layers,
            "cell": self.cell,
            "tied": decoder.tied,
            "dropout": decoder.dropout,
            "dtype": decoder.dtype.name,
        }
