"""Tagger: a tag for every word, from the word, its spelling, and the words on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.backend import implementation
from rnnfast.checks import (
    FloatArray,
    as_array,
    check_choice,
    check_dtype,
    check_flag,
    check_generator,
    check_indices,
    check_lengths,
    check_number,
    check_seed,
    check_size,
)
from rnnfast.layers.base import Gradients, Layer, Pullback, pull
from rnnfast.layers.crf import CRF, Chain
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.pooling import Ends
from rnnfast.layers.recurrent import GRU, LSTM, RNN
from rnnfast.layers.sequential import Sequential

CELLS: dict[str, Any] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


class Tagger(Layer):
    """Tables of words, a bidirectional layer over the characters of each word, and one over words for both together.

    The spelling tells of words that were not in the training data (Ling et al. 2015, "Finding function in form:
    compositional character models for open vocabulary word representation"). On top stands a `Dense` layer, and where
    neighbouring tags depend on each other a `CRF` (Lample et al. 2016, "Neural architectures for named entity
    recognition"). Each spelling in a batch is read once, however often its word comes.

    Parameters
    ----------
    num_words : int
        Rows of the table of words.
    num_tags : int
        K.
    num_characters : int or None, default None
        Rows of the table of characters, 0 being padding; None: words alone.
    word_dim, character_dim : int, default 64 and 32
        Columns of the tables.
    character_hidden, hidden_size : int, default 32 and 64
        Units in each direction of the layer over characters and of that over words.
    num_layers : int, default 1
        Layers over words.
    cell : {"lstm", "gru", "rnn"}, default "lstm"
        Of both.
    dropout : float, default 0
        Chance of an element of the input and of the output of the layer over words to become 0 in training.
    word_dropout : float, default 0
        Chance of a word to become ``unknown`` in training, so that spellings learn to do without.
    unknown : int, default 0
        The number of the word that stands for all unknown ones.
    crf : bool, default False
        Whether a `CRF` is on top: the model then returns a `Chain` and is trained with `CRFLoss`.
    dtype : dtype, default float32
        float32 or float64.
    seed : int, numpy.random.Generator or None, default None
        For the initial parameters; None: fresh entropy.

    Notes
    -----
    x is one integer array: (N, T) for words alone, (N, T, 1 + L) with characters, where column 0 is the word and the
    others are its characters up to the first 0 (`rnnfast.data.WordEncoder` makes such arrays of sentences). So a
    sentence is one array, and a list of sentences is what the trainer takes.

    Examples
    --------
    >>> from rnnfast.models import Tagger
    >>> tagger = Tagger(100, 5, num_characters=30, seed=0)
    >>> tagger([[[7, 3, 1, 2], [0, 9, 9, 0]]]).shape        # a word of three letters and an unknown one of two
    (1, 2, 5)
    """

    def __init__(
        self,
        num_words: int,
        num_tags: int,
        num_characters: int | None = None,
        *,
        word_dim: int = 64,
        character_dim: int = 32,
        character_hidden: int = 32,
        hidden_size: int = 64,
        num_layers: int = 1,
        cell: str = "lstm",
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        unknown: int = 0,
        crf: bool = False,
        dtype: Any = np.float32,
        seed: Any = None,
    ) -> None:
        self.num_words = check_size("num_words", num_words)
        self.num_tags = check_size("num_tags", num_tags)
        self.num_characters = None if num_characters is None else check_size("num_characters", num_characters, 2)
        self.word_dim = check_size("word_dim", word_dim)
        self.character_dim = check_size("character_dim", character_dim)
        self.character_hidden = check_size("character_hidden", character_hidden)
        self.hidden_size = check_size("hidden_size", hidden_size)
        self.num_layers = check_size("num_layers", num_layers)
        self.cell = check_choice("cell", cell, tuple(CELLS))
        self.dropout = check_number("dropout", dropout, 0.0, 1.0, below=True)
        self.word_dropout = check_number("word_dropout", word_dropout, 0.0, 1.0)
        self.unknown = check_size("unknown", unknown, 0)
        if self.unknown >= self.num_words:
            raise ValueError(f"unknown must lie in 0..{self.num_words - 1}, the words; got {self.unknown}")
        self.crf = check_flag("crf", crf)
        self.dtype = check_dtype(dtype)
        rng, kind = check_seed(seed), CELLS[cell]
        options: dict[str, Any] = {"dtype": self.dtype, "seed": rng}
        between = self.dropout if self.num_layers > 1 else 0.0
        self._words = Embedding(num_words, word_dim, **options)
        self._spelling: Sequential | None = None
        inputs = self.word_dim
        if self.num_characters is not None:
            self._spelling = Sequential(
                Embedding(self.num_characters, character_dim, **options),
                kind(character_dim, character_hidden, bidirectional=True, **options),
                Ends(),
            )
            inputs += 2 * self.character_hidden
        self._context = kind(inputs, hidden_size, num_layers, dropout=between, bidirectional=True, **options)
        self._dropout = Dropout(self.dropout)
        self._tags = Dense(2 * hidden_size, num_tags, **options)
        self._chain = CRF(num_tags, **options) if crf else None
        super().__init__()

    def children(self) -> dict[str, Layer]:
        """Return the layers by name."""
        found: dict[str, Layer] = {"words": self._words}
        if self._spelling is not None:
            found["spelling"] = self._spelling
        found.update(context=self._context, tags=self._tags)
        if self._chain is not None:
            found["crf"] = self._chain
        return found

    def __call__(self, x: Any, *, lengths: Any = None) -> Any:
        """Return what `forward` returns, without its pullback."""
        tokens, within, lengths = self._checked(x, lengths)
        parts = [self._words(tokens[:, 0])]
        if self._spelling is not None:
            spellings, sizes, places = _distinct(tokens[:, 1:])
            parts.append(self._spelling(spellings, lengths=sizes)[0][places])
        y, _ = self._context(_spread(np.concatenate(parts, axis=1), within), lengths=lengths)
        scores: Any = self._tags(y)
        return scores if self._chain is None else self._chain(scores, lengths=lengths)

    def forward(self, x: Any, *, lengths: Any = None, rng: np.random.Generator | None = None) -> tuple[Any, Pullback]:
        """Return ``(scores, pullback)``.

        Parameters
        ----------
        x : array_like of int, (N, T) or (N, T, 1 + L)
            Words, or words and their characters; see the notes of the class. Past the lengths it may be anything.
        lengths : array_like (N,) of int, optional
            Words of each sentence.
        rng : numpy.random.Generator, optional
            For dropout; fresh entropy if None.

        Returns
        -------
        scores : ndarray (N, T, num_tags), or a Chain of that shape
        pullback : callable
            ``pullback(dscores, grads)`` returns None: words have no gradient. See `Layer`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not of its kind or a shape does not fit.
        IndexError
            If a word or a character lies outside its table.
        """
        rng = check_generator(rng) or np.random.default_rng()
        tokens, within, lengths = self._checked(x, lengths)
        words = tokens[:, 0]
        if self.word_dropout:
            words = np.where(rng.random(len(words)) < self.word_dropout, self.unknown, words)
        part, pull_words = self._words.forward(words)
        parts, places, pull_spelling = [part], None, None
        if self._spelling is not None:
            spellings, sizes, places = _distinct(tokens[:, 1:])
            (read, _), pull_spelling = self._spelling.forward(spellings, lengths=sizes, rng=rng)
            parts.append(read[places])
        flat, pull_before = self._dropout.forward(np.concatenate(parts, axis=1), rng=rng)
        (y, _), pull_context = self._context.forward(_spread(flat, within), lengths=lengths, rng=rng)
        y, pull_after = self._dropout.forward(y, rng=rng)
        scores: Any
        scores, pull_tags = self._tags.forward(y)
        pull_chain: Pullback | None = None
        if self._chain is not None:
            scores, pull_chain = self._chain.forward(scores, lengths=lengths)
        scatter_add = implementation("ops").scatter_add

        def pullback(dscores: Any, grads: Gradients) -> None:
            if pull_chain is not None:
                dscores = pull(pull_chain, "crf.", dscores, grads)
            dy = pull_after(pull(pull_tags, "tags.", dscores, grads), {})
            dflat = pull_before(pull(pull_context, "context.", dy, grads)[within], {})
            if pull_spelling is not None:
                dread = np.zeros(read.shape, self.dtype)
                scatter_add(dread, places, dflat[:, self.word_dim :])
                pull(pull_spelling, "spelling.", dread, grads)
            pull(pull_words, "words.", dflat[:, : self.word_dim], grads)

        return scores, pullback

    def tag(self, x: Any, *, lengths: Any = None) -> NDArray[np.int64]:
        """Return the best path of tags (N, T), or without a `CRF` the best tag of each word; zeros past the lengths."""
        scores = self(x, lengths=lengths)
        if isinstance(scores, Chain):
            return scores.path(lengths)
        valid = check_lengths(lengths, *scores.shape[:2])
        tags: NDArray[np.int64] = scores.argmax(axis=2)
        return tags if valid is None else np.where(np.arange(scores.shape[1]) < valid[:, None], tags, 0)

    def _checked(self, x: Any, lengths: Any) -> tuple[NDArray[np.int64], NDArray[np.bool_], Any]:
        """Return the words that count as rows (M, 1 + L), where in (N, T) they stand, and the lengths."""
        x = as_array("x", x)
        if x.size == 0:
            x = x.astype(np.int64)
        if x.dtype.kind not in "iu":
            raise TypeError(f"x must hold integers, the numbers of words and characters; got dtype {x.dtype}")
        spelt = self.num_characters is not None
        if x.ndim != 2 + spelt or (spelt and x.shape[2] < 1):
            want = "(N, T, 1 + L), words and their characters" if spelt else "(N, T)"
            raise ValueError(f"x must have shape {want}; got {x.shape}")
        batch, steps = x.shape[:2]
        valid = check_lengths(lengths, batch, steps)
        within = np.ones((batch, steps), bool) if valid is None else np.arange(steps) < valid[:, None]
        tokens = x[within].reshape(int(within.sum()), x.shape[2] if spelt else 1)
        check_indices("x, the words,", tokens[:, 0], self.num_words)
        if self.num_characters is not None:
            check_indices("x, the characters,", tokens[:, 1:], self.num_characters)
        return tokens.astype(np.int64), within, valid

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {
            "num_words": self.num_words,
            "num_tags": self.num_tags,
            "num_characters": self.num_characters,
            "word_dim": self.word_dim,
            "character_dim": self.character_dim,
            "character_hidden": self.character_hidden,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "cell": self.cell,
            "dropout": self.dropout,
            "word_dropout": self.word_dropout,
            "unknown": self.unknown,
            "crf": self.crf,
            "dtype": self.dtype.name,
        }


def _distinct(spellings: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct rows (U, L) of spellings (M, L), the length of each, and which of them each row is, (M,)."""
    past = np.concatenate([spellings == 0, np.ones((len(spellings), 1), bool)], axis=1)
    sizes = past.argmax(axis=1)
    longest = int(sizes.max(initial=1))
    cut = np.where(np.arange(longest) < sizes[:, None], spellings[:, :longest], 0) if spellings.shape[1] else past * 0
    found: dict[bytes, int] = {}
    places = np.fromiter((found.setdefault(row.tobytes(), len(found)) for row in cut), np.int64, len(cut))
    first = np.zeros(len(found), np.int64)
    first[places[::-1]] = np.arange(len(cut))[::-1]
    return cut[first], sizes[first], places


def _spread(flat: FloatArray, within: NDArray[np.bool_]) -> FloatArray:
    """Return rows (M, C) at their places in (N, T, C), zeros elsewhere."""
    if within.all():
        return flat.reshape(*within.shape, flat.shape[1])
    out = np.zeros((*within.shape, flat.shape[1]), flat.dtype)
    out[within] = flat
    return out
