"""EncoderDecoder: a sequence from another of any length, with attention to what was read."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import (
    FloatArray,
    check_choice,
    check_dtype,
    check_flag,
    check_generator,
    check_lengths,
    check_seed,
    check_size,
)
from rnnfast.layers.attention import SCORES
from rnnfast.layers.base import Gradients, Layer, Pullback, pull
from rnnfast.models.bridge import Bridge
from rnnfast.models.decoder import Decoder, DecoderState
from rnnfast.models.encoder import Encoder, Sources
from rnnfast.models.parts import check_pair_lengths, split_pair

BRIDGES = ("dense", "copy", "zeros")


class EncoderDecoder(Layer):
    """Logits of the next token from a source sequence and the tokens before it.

    An encoder reads the source in one direction or both; a bridge makes the decoder's initial state of its final one;
    the decoder goes through the target with teacher forcing, attending to the encoder's steps.

    Parameters
    ----------
    source_size : int
        How many source tokens there are; with ``source="vectors"`` the features of a step.
    target_size : int
        V, how many target tokens there are.
    embedding_dim : int, default 128
        Features of a token, on both sides.
    hidden_size : int, default 256
        Units of each recurrent layer of the decoder.
    cell : {"lstm", "gru", "rnn"}, default "lstm"
        Kind of the recurrent layers.
    encoder_hidden_size : int, optional
        Units of each direction of the encoder; None: so many that both together are ``hidden_size``.
    encoder_layers, decoder_layers : int, default 1
        Recurrent layers.
    bidirectional : bool, default True
        Whether the encoder reads in both directions.
    attention : {"dot", "general", "additive"} or None, default "general"
        Scores of attention, as in `Attention`; None: the decoder knows of the source what the bridge tells it
        (Sutskever, Vinyals and Le 2014, "Sequence to sequence learning with neural networks").
    attention_size : int, optional
        Units of additive scores; None: ``hidden_size``.
    feeding : {"context", "output"} or None, default None
        What enters the decoder's next step beside the token. None: nothing, and all steps are computed at once.
        "context": the context, which attends by the state before the step, as in Bahdanau et al. 2015; "output": the
        features under the last logits, the input feeding of Luong et al. 2015. The latter two go step by step.
    source : {"tokens", "vectors"}, default "tokens"
        What is read: token numbers (N, S), or vectors (N, S, source_size) such as rows of images or frames of sound.
    bridge : {"dense", "copy", "zeros"}, default "dense"
        The decoder's initial state: a linear map of the encoder's final one for each layer, with a tanh for h; that
        state itself, both directions side by side, which must then be of ``hidden_size``; or zeros. The uppermost
        layers of both belong together.
    tied : bool, default False
        Whether the weights of the logits are the table of the decoder's embedding.
    dropout : float, default 0.0
        On embeddings, between recurrent layers and before the logits, in ``forward`` only.
    dtype : dtype, default float32
        float32 or float64.
    seed : int, numpy.random.Generator or None, default None
        For the initial parameters; None: fresh entropy.

    Notes
    -----
    ``x`` is a tuple of sources and target tokens (N, T), and so are ``lengths``. To train:
    ``trainer.fit((sources, targets_in), targets_out)`` with lists of sequences, or with arrays and
    ``lengths=(source_lengths, target_lengths)``; targets_in begin with a sign for the start, targets_out end with one
    for the end.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import EncoderDecoder, beam_search
    >>> model = EncoderDecoder(30, 20, embedding_dim=8, hidden_size=16, seed=0)
    >>> source = np.array([[4, 8, 15, 16], [23, 7, 0, 0]])
    >>> model((source, [[1, 2, 3], [1, 4, 5]]), lengths=([4, 2], [3, 3])).shape
    (2, 3, 20)
    >>> state = model.start(source, lengths=[4, 2])
    >>> best = beam_search(model, state, [1, 1], end=0, beam=3, max_length=10)
    >>> len(best), model.attention_weights(source, [[1, 2], [1, 4]], lengths=[4, 2]).shape
    (2, (2, 2, 4))
    """

    num_inputs: ClassVar[int] = 2

    def __init__(
        self,
        source_size: int,
        target_size: int,
        embedding_dim: int = 128,
        hidden_size: int = 256,
        *,
        cell: str = "lstm",
        encoder_hidden_size: int | None = None,
        encoder_layers: int = 1,
        decoder_layers: int = 1,
        bidirectional: bool = True,
        attention: str | None = "general",
        attention_size: int | None = None,
        feeding: str | None = None,
        source: str = "tokens",
        bridge: str = "dense",
        tied: bool = False,
        dropout: float = 0.0,
        dtype: Any = np.float32,
        seed: Any = None,
    ) -> None:
        self.source_size = check_size("source_size", source_size)
        embedding_dim, hidden_size = check_size("embedding_dim", embedding_dim), check_size("hidden_size", hidden_size)
        self.bidirectional = check_flag("bidirectional", bidirectional)
        if encoder_hidden_size is None:
            if bidirectional and hidden_size % 2:
                raise ValueError(f"hidden_size must be even unless encoder_hidden_size is given; got {hidden_size}")
            encoder_hidden_size = hidden_size // (2 if bidirectional else 1)
        self.source = check_choice("source", source, ("tokens", "vectors"))
        self.bridge_kind = check_choice("bridge", bridge, BRIDGES)
        if attention is not None:
            check_choice("attention", attention, SCORES)
        elif attention_size is not None:
            raise ValueError(f"attention_size needs attention; got {attention_size!r} with attention=None")
        self.cell, self.attention_size, self.feeding = cell, attention_size, feeding
        self.attention_kind = attention
        rng, dtype = check_seed(seed), check_dtype(dtype)
        self.decoder_layers = check_size("decoder_layers", decoder_layers)
        width = check_size("encoder_hidden_size", encoder_hidden_size) * (2 if bidirectional else 1)
        if bridge == "copy" and width != hidden_size:
            raise ValueError(
                f"bridge 'copy' needs an encoder of {hidden_size} units, all directions together, as the decoder has; "
                f"got {width}"
            )
        # The decoder first: it checks what both share.
        self.decoder = Decoder(
            check_size("target_size", target_size),
            embedding_dim,
            hidden_size,
            self.decoder_layers,
            cell,
            memory_size=0 if attention is None else width,
            attention=attention,
            attention_size=attention_size,
            feeding=feeding,
            tied=tied,
            dropout=dropout,
            dtype=dtype,
            rng=rng,
        )
        self.encoder = Encoder(
            self.source_size,
            embedding_dim if source == "tokens" else 0,
            encoder_hidden_size,
            check_size("encoder_layers", encoder_layers),
            self.bidirectional,
            cell,
            self.decoder.dropout,
            dtype,
            rng,
        )
        self.bridge = Bridge([width] * decoder_layers, self.decoder.recurrent, rng) if bridge == "dense" else None
        super().__init__()

    def children(self) -> dict[str, Layer]:
        """Return the parts by name."""
        bridge: dict[str, Layer] = {} if self.bridge is None else {"bridge": self.bridge}
        return {"encoder": self.encoder, **bridge, "decoder": self.decoder}

    def __call__(self, x: Any, *, lengths: Any = None) -> FloatArray:
        """Return the logits without saving anything for a backward pass; arguments as in `forward`."""
        source, target, source_lengths, target_lengths = self._checked(x, lengths)
        features, _ = self.decoder.read(target, self._start(source, source_lengths), target_lengths)
        return self.decoder.logits(features)

    def forward(
        self, x: Any, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[FloatArray, Pullback]:
        """Return ``(logits, pullback)``.

        Parameters
        ----------
        x : tuple of array_like (N, S) of int or (N, S, source_size), and (N, T) of int
            The source, and the target so far at each step. Must not be changed before the pullback is called.
        lengths : tuple of array_like (N,) of int or None, optional
            Valid steps of each source, and of each target.
        rng : numpy.random.Generator, optional
            For dropout; fresh entropy if None.

        Returns
        -------
        logits : ndarray (N, T, V)
            Of the token after each.
        pullback : callable
            ``dsource, None = pullback(dlogits, grads)``; dsource is None where tokens are read. See `Layer`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not of its kind, or a shape does not fit.
        IndexError
            If a token is not in its vocabulary.
        """
        source, target, source_lengths, target_lengths = self._checked(x, lengths)
        rng = check_generator(rng) or np.random.default_rng()
        (memory, final), encoder_pull = self.encoder.forward_run(source, source_lengths, rng)
        state, bridge_pull = self._forward_bridge(final)
        start = self.decoder.begin(len(target), state, None, memory, source_lengths, with_keys=False)
        (logits, _), decoder_pull = self.decoder.forward_all(target, start, target_lengths, rng)

        def backward(dy: Any, grads: Gradients) -> tuple[Any, None]:
            found = pull(decoder_pull, "decoder.", dy, grads)
            dfinal = self.encoder.zeros(final) if bridge_pull is None else bridge_pull(found.state, grads)
            return pull(encoder_pull, "encoder.", found.memory, grads, dstate=dfinal), None

        return logits, backward

    def start(self, source: Any, *, lengths: Any = None) -> DecoderState:
        """Return the state that decoding begins with.

        Parameters
        ----------
        source : array_like (N, S) of int or (N, S, source_size)
            What to read.
        lengths : array_like (N,) of int, optional
            Valid steps of each.
        """
        source = self.encoder.checked(source)
        return self._start(source, check_lengths(lengths, *source.shape[:2]))

    def step(self, tokens: NDArray[np.int64], state: DecoderState) -> tuple[FloatArray, DecoderState]:
        """Return the logits (N, V) of what follows ``tokens`` (N,), and the state after them."""
        return self.decoder.step(tokens, state)

    def reorder(self, state: DecoderState, index: NDArray[np.int64]) -> DecoderState:
        """Return the state whose row r is row ``index[r]`` of ``state``."""
        return self.decoder.reorder(state, index)

    def attention_weights(self, source: Any, target: Any, *, lengths: Any = None) -> FloatArray:
        """Return how much each step of the source counts when the target is read.

        Parameters
        ----------
        source, lengths
            As in `start`.
        target : array_like (N, T) of int
            The sign for the start, and the tokens.

        Returns
        -------
        ndarray (N, T, S)
            Row t is what the token after ``target[:, t]`` was chosen by.

        Raises
        ------
        ValueError
            If the model has no attention.
        """
        if self.attention_kind is None:
            raise ValueError("attention_weights needs a model with attention; this one has attention=None")
        return self.decoder.weights(target, self.start(source, lengths=lengths))

    def _start(self, source: Any, lengths: Any) -> DecoderState:
        memory, final = self.encoder.run(source, lengths)
        return self.decoder.begin(len(source), self._bridge(final), None, memory, lengths)

    def _bridge(self, final: Any) -> Any:
        """Return the decoder's initial state, None for zeros."""
        if self.bridge_kind == "zeros":
            return None
        sources = self.encoder.sources(final, self.decoder_layers)
        return _stacked(sources) if self.bridge is None else self.bridge.run(sources)

    def _forward_bridge(self, final: Any) -> tuple[Any, Any]:
        """Return `_bridge` and its pullback, ``dfinal = pullback(dstate, grads)``, None where there is none."""
        if self.bridge_kind == "zeros":
            return None, None
        sources = self.encoder.sources(final, self.decoder_layers)
        if self.bridge is None:
            names = list(sources[0])

            def copied(dstate: Any, grads: Gradients) -> Any:
                parts = dstate if isinstance(dstate, tuple) else (dstate,)
                dsources = [
                    {name: part[k] for name, part in zip(names, parts, strict=True)} for k in range(self.decoder_layers)
                ]
                return self.encoder.from_sources(final, dsources)

            return _stacked(sources), copied
        state, bridge_pull = self.bridge.forward_run(sources)

        def mapped(dstate: Any, grads: Gradients) -> Any:
            return self.encoder.from_sources(final, pull(bridge_pull, "bridge.", dstate, grads))

        return state, mapped

    def _checked(self, x: Any, lengths: Any) -> tuple[Any, NDArray[np.int64], Any, Any]:
        first, second = split_pair("x", x, "source and target")
        source, target = self.encoder.checked(first), self.decoder.checked(second)
        if len(source) != len(target):
            raise ValueError(f"x must have as many targets as sources, {len(source)}; got {len(target)}")
        return (source, target, *check_pair_lengths(lengths, (source.shape[:2], target.shape)))

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        decoder, recurrent = self.decoder, self.encoder.recurrent
        return {
            "source_size": self.source_size,
            "target_size": decoder.size,
            "embedding_dim": decoder.embedding_dim,
            "hidden_size": decoder.hidden_size,
            "cell": self.cell,
            "encoder_hidden_size": recurrent.hidden_size,
            "encoder_layers": recurrent.num_layers,
            "decoder_layers": self.decoder_layers,
            "bidirectional": self.bidirectional,
            "attention": self.attention_kind,
            "attention_size": self.attention_size,
            "feeding": self.feeding,
            "source": self.source,
            "bridge": self.bridge_kind,
            "tied": decoder.tied,
            "dropout": decoder.dropout,
            "dtype": decoder.dtype.name,
        }


def _stacked(sources: Sources) -> Any:
    """Return sources as a recurrent state."""
    parts = tuple(np.stack([each[name] for each in sources]) for name in sources[0])
    return parts if len(parts) > 1 else parts[0]
