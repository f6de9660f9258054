"""Choosing the next token of every row: the likeliest, or drawn at random from all or some of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import as_array, check_generator, check_number, check_size
from rnnfast.decoding.steps import check_forbidden, check_logits


def log_softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``scores - log sum exp(scores)`` over the last axis; ``-inf`` may be among them."""
    shifted: NDArray[np.float64] = scores - scores.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def draw(
    logits: Any,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    rng: np.random.Generator | None = None,
    forbidden: Iterable[int] = (),
) -> NDArray[np.int64]:
    """Draw an index for each row with probability ``softmax(logits / temperature)``.

    Parameters
    ----------
    logits : array_like (N, V)
        Unnormalised log-probabilities. ``-inf`` is never drawn.
    temperature : float, default 1.0
        Below 1 the likely become likelier; 0 takes the largest logit, the first of equal ones.
    top_k : int, optional
        Draw among so many of the largest logits only; of equal ones the earlier.
    top_p : float, optional
        In (0, 1]: draw among the fewest indices, the likeliest first, whose probabilities sum to at least this
        (Holtzman et al. 2020, "The curious case of neural text degeneration"). Taken after temperature and ``top_k``.
    rng : numpy.random.Generator, optional
        Source of randomness; fresh entropy if not given.
    forbidden : iterable of int, default ()
        Indices never drawn.

    Returns
    -------
    ndarray of int64 (N,)

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ValueError
        If a number is out of range, there is no logit to draw from, or one is NaN or ``+inf``.
    IndexError
        If a forbidden index is not within 0..V-1.
    """
    values = as_array("logits", logits)
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise TypeError(f"logits must be real numbers of shape (N, V); got {values.dtype} of shape {values.shape}")
    check_options(temperature, top_k, top_p, rng)
    _, scores = check_logits(values, len(values), None, check_forbidden(forbidden))
    return choose(scores, temperature, top_k, top_p, rng or np.random.default_rng())


def check_options(temperature: Any, top_k: Any, top_p: Any, rng: Any) -> None:
    """Raise what `draw` raises for these."""
    check_number("temperature", temperature, 0)
    if top_k is not None:
        check_size("top_k", top_k)
    if top_p is not None:
        check_number("top_p", top_p, 0, 1, above=True)
    check_generator(rng)


def choose(
    scores: NDArray[np.float64],
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw as `draw` does from checked scores (N, V)."""
    if temperature == 0:
        best: NDArray[np.int64] = np.argmax(scores, axis=1)
        return best
    rows = np.arange(len(scores))[:, None]
    scores = scores - scores.max(axis=1, keepdims=True)
    if top_k is not None and top_k < scores.shape[1]:
        scores[rows, np.argsort(-scores, axis=1, kind="stable")[:, top_k:]] = -np.inf
    if top_p is not None and top_p < 1.0:
        order = np.argsort(-scores, axis=1, kind="stable")
        with np.errstate(over="ignore"):  # a temperature near 0 sends all but the largest to -inf
            probabilities = np.exp(log_softmax(scores[rows, order] / temperature))
        # An index goes if those before it sum to enough.
        gone = np.cumsum(probabilities, axis=1) - probabilities >= top_p
        gone[:, 0] = False
        gone_rows, places = np.nonzero(gone)
        scores[gone_rows, order[gone_rows, places]] = -np.inf
    # Adding Gumbel noise and taking the largest draws from the softmax; no temperature is too small for it.
    drawn: NDArray[np.int64] = np.argmax(scores + temperature * rng.gumbel(size=scores.shape), axis=1)
    return drawn
