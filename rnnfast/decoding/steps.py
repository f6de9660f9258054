"""What decoding needs to know of a model: its next logits, and its state for other rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import FloatArray, as_array, check_indices, check_lengths, check_size, kind_of
from rnnfast.layers.base import Layer


@runtime_checkable
class Stepwise(Protocol):
    """A generative model, one token at a time. What starts it, and so where a first state comes from, is its own."""

    def step(self, tokens: NDArray[np.int64], state: Any) -> tuple[FloatArray, Any]:
        """Return the logits (N, V) of what follows ``tokens`` (N,), and the state after them."""

    def reorder(self, state: Any, index: NDArray[np.int64]) -> Any:
        """Return the state whose row r is row ``index[r]`` of ``state``; rows may come often, once or never."""


class Hypothesis(NamedTuple):
    """A sequence that was found.

    Attributes
    ----------
    tokens : ndarray of int64 (T,)
        What comes after the first token; the end is not among it.
    log_prob : float
        The sum of the model's log-probabilities of the tokens and of the end, if it came.
    score : float
        What it was ranked by: ``log_prob``, divided by the length penalty in a beam search.
    ended : bool
        Whether the end came, rather than ``max_length``.
    """

    tokens: NDArray[np.int64]
    log_prob: float
    score: float
    ended: bool


class Stepper:
    """A stateful layer as `Stepwise`.

    Parameters
    ----------
    model : Layer
        Takes numbers (N, T) and a state, returns logits (N, T, V) and the state, arrays of which are (layers, N,
        units), as ``Sequential(Embedding(...), LSTM(...), Dense(...))`` does.

    Raises
    ------
    TypeError
        If the model carries no state.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import GRU, Dense, Embedding, Sequential
    >>> from rnnfast.decoding import Stepper, greedy
    >>> model = Sequential(Embedding(9, 4, seed=0), GRU(4, 8, seed=1), Dense(8, 9, seed=2))
    >>> steps = Stepper(model)
    >>> prompt = np.array([[1, 2, 3], [4, 5, 0]])
    >>> state, first = steps.start(prompt, lengths=[3, 2])
    >>> [len(found.tokens) for found in greedy(steps, state, first, max_length=5)]
    [5, 5]
    """

    def __init__(self, model: Layer) -> None:
        if not isinstance(model, Layer) or not model.stateful:
            raise TypeError(f"model must carry a state, as a Sequential does; got {kind_of(model)}")
        self.model: Any = model

    def __repr__(self) -> str:
        return f"Stepper({self.model!r})"

    def start(self, prompt: Any, *, lengths: Any = None) -> tuple[Any, NDArray[np.int64]]:
        """Return the state before the last token of each prompt, and that token, which decoding begins with.

        Parameters
        ----------
        prompt : array_like (N, T) of int
            What the model reads first, at least one token in each row.
        lengths : array_like (N,) of int, optional
            Valid tokens of each, 1..T; None: all T.

        Raises
        ------
        TypeError, ValueError
            If an argument is not of its kind.
        """
        tokens, rest, first = split_prompt(prompt, lengths)
        if not rest.any():
            return None, first
        _, state = self.model(tokens[:, : int(rest.max())], lengths=rest)
        return state, first

    def step(self, tokens: NDArray[np.int64], state: Any) -> tuple[FloatArray, Any]:
        """Return the logits (N, V) of what follows ``tokens`` (N,), and the state after them."""
        logits, state = self.model(tokens[:, None], state)
        return logits[:, 0], state

    def reorder(self, state: Any, index: NDArray[np.int64]) -> Any:
        """Return the state whose row r is row ``index[r]`` of ``state``."""
        return reorder_recurrent(state, index)


def split_prompt(prompt: Any, lengths: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return prompts (N, T), the number of tokens before the last of each (N,), and the last ones (N,), or raise."""
    tokens = as_array("prompt", prompt)
    if tokens.ndim != 2 or not tokens.shape[1] or tokens.dtype.kind not in "iu":
        raise ValueError(
            f"prompt must be integers of shape (N, T), at least one in each row; got {tokens.dtype} of {tokens.shape}"
        )
    batch, steps = tokens.shape
    valid = check_lengths(lengths, batch, steps)
    rest = np.full(batch, steps - 1) if valid is None else valid - 1
    if (rest < 0).any():
        raise ValueError("lengths must be at least 1: a prompt needs a token to go on from; got 0")
    return tokens.astype(np.int64), rest, tokens[np.arange(batch), rest].astype(np.int64)


def reorder_recurrent(state: Any, index: NDArray[np.int64]) -> Any:
    """Return nested tuples of arrays (layers, N, units) with the rows said; None, for zeros, stays."""
    if isinstance(state, tuple):
        return tuple(reorder_recurrent(part, index) for part in state)
    return None if state is None else state[:, index]


def as_stepwise(model: Any) -> Stepwise:
    """Return the model if it is `Stepwise`, a `Stepper` of it if it is a stateful layer, or raise ``TypeError``."""
    return model if isinstance(model, Stepwise) and not isinstance(model, type) else Stepper(model)


def check_first(first: Any) -> NDArray[np.int64]:
    """Return the first tokens as int64 (N,), or raise."""
    tokens = as_array("first", first)
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu" or (tokens.size and tokens.min() < 0):
        raise ValueError(
            f"first must be the numbers of N tokens, of shape (N,) and at least 0; got {tokens.dtype} of {tokens.shape}"
        )
    return tokens.astype(np.int64)


def check_forbidden(forbidden: Any) -> list[int]:
    """Return numbers that must not be chosen as a list, or raise ``TypeError``."""
    if isinstance(forbidden, (str, bytes)) or not isinstance(forbidden, Iterable):
        raise TypeError(f"forbidden must be integers; got {kind_of(forbidden)}")
    return [check_size("forbidden", number, 0) for number in forbidden]


def check_logits(
    logits: Any, rows: int, end: int | None, forbidden: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return logits as float64 (N, V), and the same with ``-inf`` where forbidden, or raise.

    Raises
    ------
    IndexError
        If ``end`` or a forbidden number is not within 0..V-1.
    ValueError
        If the shape does not fit, there is nothing to choose from, or a logit is NaN or ``+inf``.
    """
    known = np.asarray(logits, np.float64)
    if known.ndim != 2 or len(known) != rows:
        raise ValueError(f"logits must have shape ({rows}, V); got {known.shape}")
    check_indices("forbidden", forbidden, known.shape[1], 1)
    if end is not None:
        check_indices("end", end, known.shape[1], 0)
    scores = known
    if forbidden:
        scores = known.copy()
        scores[:, forbidden] = -np.inf
    top = scores.max(axis=1, initial=-np.inf)
    if not np.isfinite(top).all():  # the largest of NaNs is NaN
        raise ValueError("logits must hold at least one finite number, and neither NaN nor +inf")
    return known, scores
