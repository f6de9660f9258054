"""One token at a time for every row, as it comes: greedy decoding and sampling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_size
from rnnfast.decoding.choose import check_options, choose, log_softmax
from rnnfast.decoding.steps import Hypothesis, Stepwise, as_stepwise, check_first, check_forbidden, check_logits


class Picked(NamedTuple):
    """The next token of every row that has not ended.

    Attributes
    ----------
    rows : ndarray of int64 (R,)
        Which rows these are, of the N decoded, in rising order.
    tokens : ndarray of int64 (R,)
        Their tokens; the end is among them when it comes, and the row is not seen again.
    log_probs : ndarray of float64 (R,)
        The model's log-probabilities of the tokens, whatever they were drawn from.
    """

    rows: NDArray[np.int64]
    tokens: NDArray[np.int64]
    log_probs: NDArray[np.float64]


def stream_tokens(
    model: Any,
    state: Any,
    first: Any,
    *,
    max_length: int,
    end: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    rng: np.random.Generator | None = None,
    forbidden: Iterable[int] = (),
) -> Iterator[Picked]:
    """Yield the next token of N sequences at once, each step as it is asked for.

    Parameters
    ----------
    model : Stepwise or Layer
        A model with ``step`` and ``reorder``, or a stateful layer of which a `Stepper` is made.
    state : any
        What the model starts from, of N rows: what its ``start`` returned.
    first : array_like (N,) of int
        The token before the first one drawn, such as the sign for the start.
    max_length : int
        The most tokens of a sequence, the end counted.
    end : int, optional
        The token that ends a sequence; without one all have ``max_length`` tokens.
    temperature, top_k, top_p, rng, forbidden
        As for `draw`.

    Yields
    ------
    Picked
        Of the rows that have not ended yet.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind; before the first token is drawn.
    IndexError
        If ``end`` or a forbidden token is none of the model's, when the first token is drawn.
    """
    steps, tokens = as_stepwise(model), check_first(first)
    max_length = check_size("max_length", max_length, 0)
    end = None if end is None else check_size("end", end, 0)
    check_options(temperature, top_k, top_p, rng)
    rng = rng or np.random.default_rng()
    return _stream(steps, state, tokens, max_length, end, temperature, top_k, top_p, rng, check_forbidden(forbidden))


def _stream(
    model: Stepwise,
    state: Any,
    tokens: NDArray[np.int64],
    max_length: int,
    end: int | None,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    rng: np.random.Generator,
    forbidden: list[int],
) -> Iterator[Picked]:
    rows = np.arange(len(tokens))
    for _ in range(max_length):
        if not len(rows):
            return
        logits, state = model.step(tokens, state)
        known, scores = check_logits(logits, len(rows), end, forbidden)
        tokens = choose(scores, temperature, top_k, top_p, rng)
        yield Picked(rows, tokens, log_softmax(known)[np.arange(len(rows)), tokens])
        if end is not None and (tokens == end).any():
            left = np.flatnonzero(tokens != end)
            rows, tokens, state = rows[left], tokens[left], model.reorder(state, left)


def sample_sequences(
    model: Any,
    state: Any,
    first: Any,
    *,
    max_length: int,
    end: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    rng: np.random.Generator | None = None,
    forbidden: Iterable[int] = (),
) -> list[Hypothesis]:
    """Return a sequence for each row, drawn at random.

    Parameters
    ----------
    model, state, first, max_length, end, temperature, top_k, top_p, rng, forbidden
        As for `stream_tokens`.

    Returns
    -------
    list of N Hypothesis
        The score is the log-probability.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `stream_tokens`.
    """
    picks = stream_tokens(
        model,
        state,
        first,
        max_length=max_length,
        end=end,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        rng=rng,
        forbidden=forbidden,
    )
    count = len(check_first(first))
    found: list[list[int]] = [[] for _ in range(count)]
    ended, log_probs = np.zeros(count, np.bool_), np.zeros(count)
    for rows, tokens, each in picks:
        log_probs[rows] += each
        for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
            if token == end:
                ended[row] = True
            else:
                found[row].append(token)
    return [
        Hypothesis(np.array(tokens, np.int64), float(p), float(p), bool(e))
        for tokens, p, e in zip(found, log_probs, ended, strict=True)
    ]


def greedy(
    model: Any, state: Any, first: Any, *, max_length: int, end: int | None = None, forbidden: Iterable[int] = ()
) -> list[Hypothesis]:
    """Return for each row the sequence of likeliest tokens, of equal ones the first.

    Parameters
    ----------
    model, state, first, max_length, end, forbidden
        As for `stream_tokens`.

    Returns
    -------
    list of N Hypothesis
        The score is the log-probability.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `stream_tokens`.
    """
    return sample_sequences(model, state, first, max_length=max_length, end=end, temperature=0.0, forbidden=forbidden)
