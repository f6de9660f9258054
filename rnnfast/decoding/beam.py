"""Beam search: the best sequences as wholes, among those that a beam of partial ones leads to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_number, check_size
from rnnfast.decoding.choose import log_softmax
from rnnfast.decoding.steps import Hypothesis, Stepwise, as_stepwise, check_first, check_forbidden, check_logits


def beam_search(
    model: Any,
    state: Any,
    first: Any,
    *,
    max_length: int,
    end: int | None = None,
    beam: int = 5,
    n_best: int = 1,
    length_penalty: float = 0.0,
    forbidden: Iterable[int] = (),
) -> list[list[Hypothesis]]:
    """Return the best sequences for each row.

    In each step every partial sequence is continued in all ways. Of the ``2 * beam`` best continuations those that end
    and stand among the first ``beam`` are finished, and the first ``beam`` of the others go on. A row is done when none
    that goes on can still come to be among the ``n_best``; and, once ``beam`` are finished, when none would be at its
    present length. With ``beam=1`` this is greedy decoding; with a beam as wide as there are sequences it finds the
    best of all.

    Parameters
    ----------
    model : Stepwise or Layer
        A model with ``step`` and ``reorder``, or a stateful layer of which a `Stepper` is made.
    state : any
        What the model starts from, of N rows: what its ``start`` returned.
    first : array_like (N,) of int
        The token before the first one chosen, such as the sign for the start.
    max_length : int
        The most tokens of a sequence, the end counted, at least 1. Those that have not ended by then count as they
        are.
    end : int, optional
        The token that ends a sequence; without one all have ``max_length`` tokens.
    beam : int, default 5
        How many partial sequences are kept for each row.
    n_best : int, default 1
        How many sequences to return for each row, at most ``beam``.
    length_penalty : float, default 0.0
        a, at least 0: sequences are ranked by ``log_prob / ((5 + length) / 6) ** a``, the length with the end (Wu et
        al. 2016, "Google's neural machine translation system", section 7). More of it makes for longer sequences.
    forbidden : iterable of int, default ()
        Tokens never chosen.

    Returns
    -------
    list of N lists of Hypothesis
        The best first; fewer than ``n_best`` where there are not as many sequences.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind.
    IndexError
        If ``end`` or a forbidden token is none of the model's.
    """
    steps, tokens = as_stepwise(model), check_first(first)
    max_length = check_size("max_length", max_length)
    end = None if end is None else check_size("end", end, 0)
    beam, n_best = check_size("beam", beam), check_size("n_best", n_best)
    if n_best > beam:
        raise ValueError(f"n_best must be at most beam, {beam}; got {n_best}")
    search = _Search(steps, max_length, end, beam, n_best, check_number("length_penalty", length_penalty, 0))
    return search.run(state, tokens, check_forbidden(forbidden))


class _Search:
    """The search for all rows.

    Shapes: R rows that are not done, K beams each, t tokens so far.
    """

    def __init__(
        self, model: Stepwise, max_length: int, end: int | None, beam: int, n_best: int, length_penalty: float
    ) -> None:
        self.model, self.max_length, self.end = model, max_length, end
        self.beam, self.n_best, self.length_penalty = beam, n_best, length_penalty

    def run(self, state: Any, first: NDArray[np.int64], forbidden: list[int]) -> list[list[Hypothesis]]:
        """Return the best of each row, best first."""
        finished: list[list[Hypothesis]] = [[] for _ in first]
        rows = np.arange(len(first))
        # To begin with a row has one sequence, the empty one; the beam widens with the first step.
        log_probs = np.zeros((len(rows), 1))
        history = np.zeros((len(rows), 1, 0), np.int64)
        tokens = first
        for length in range(1, self.max_length + 1):
            if not len(rows):
                break
            logits, state = self.model.step(tokens, state)
            known, _ = check_logits(logits, log_probs.size, self.end, forbidden)
            each = log_softmax(known)
            each[:, forbidden] = -np.inf
            log_probs, parents, chosen = self._best(log_probs, each)
            history = np.concatenate([history[np.arange(len(rows))[:, None], parents], chosen[:, :, None]], axis=2)
            width = len(known) // len(rows)
            log_probs, kept = self._retire(rows, finished, log_probs, chosen, history, length)
            best = log_probs[:, 0]
            open_rows = np.flatnonzero([self._goes_on(finished[r], b, length) for r, b in zip(rows, best, strict=True)])
            parents, history, chosen, log_probs = (
                np.take_along_axis(parents, kept, 1)[open_rows],
                history[open_rows[:, None], kept[open_rows]],
                np.take_along_axis(chosen, kept, 1)[open_rows],
                log_probs[open_rows],
            )
            tokens, rows = chosen.reshape(-1), rows[open_rows]
            if len(rows) and length < self.max_length:
                state = self.model.reorder(state, (open_rows[:, None] * width + parents).reshape(-1))
        for row, each_log_prob, each_history in zip(rows, log_probs, history, strict=True):
            for p, found in zip(each_log_prob, each_history, strict=True):
                if p > -np.inf:
                    finished[row].append(self._hypothesis(found, p, len(found), False))
        return [sorted(found, key=lambda h: -h.score)[: self.n_best] for found in finished]

    def _best(
        self, log_probs: NDArray[np.float64], each: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the best continuations (R, up to 2 K), best first: log-probabilities, parents and tokens."""
        rows, width = log_probs.shape
        vocabulary = each.shape[1]
        total = (log_probs[:, :, None] + each.reshape(rows, width, vocabulary)).reshape(rows, -1)
        count = min(2 * self.beam, total.shape[1])
        places = np.argpartition(-total, count - 1, axis=1)[:, :count]
        values = np.take_along_axis(total, places, 1)
        order = np.lexsort((places, -values))  # of equals the first, as argmax has it
        places = np.take_along_axis(places, order, 1)
        return np.take_along_axis(values, order, 1), places // vocabulary, places % vocabulary

    def _retire(
        self,
        rows: NDArray[np.int64],
        finished: list[list[Hypothesis]],
        log_probs: NDArray[np.float64],
        chosen: NDArray[np.int64],
        history: NDArray[np.int64],
        length: int,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Put ended sequences aside; return the log-probabilities of those that go on (R, K), and their places."""
        ended = np.zeros(chosen.shape, np.bool_) if self.end is None else chosen == self.end
        for r, k in np.argwhere(ended[:, : self.beam] & (log_probs[:, : self.beam] > -np.inf)):
            found = self._hypothesis(history[r, k, :-1], log_probs[r, k], length, True)
            finished[rows[r]].append(found)
        kept = np.argsort(ended, axis=1, kind="stable")[:, : self.beam]
        # What ended, or never was, goes on as a sequence that is beaten by every other.
        left = np.where(np.take_along_axis(ended, kept, 1), -np.inf, np.take_along_axis(log_probs, kept, 1))
        return left, kept

    def _goes_on(self, finished: list[Hypothesis], best: float, length: int) -> bool:
        """Return whether a row may still gain by going on from sequences of at most this log-probability."""
        if best == -np.inf:
            return False
        if len(finished) < self.n_best:
            return True
        worst = sorted((h.score for h in finished), reverse=True)[self.n_best - 1]
        # A log-probability never rises, and no penalty is larger than that of the greatest length.
        if best / self._penalty(self.max_length) <= worst:
            return False
        return len(finished) < self.beam or best / self._penalty(length) > worst

    def _penalty(self, length: int) -> float:
        return float(((5.0 + length) / 6.0) ** self.length_penalty)

    def _hypothesis(self, tokens: NDArray[np.int64], log_prob: float, length: int, ended: bool) -> Hypothesis:
        score = float(log_prob) / self._penalty(length)
        return Hypothesis(tokens.copy(), float(log_prob), score, ended)
