"""Prefix beam search in NumPy: the likeliest labellings under connectionist temporal classification (``ctc.py``)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Scorer = Callable[[tuple[int, ...]], NDArray[np.float64]]
Found = tuple[NDArray[np.int64], float, float]
Sums = dict[tuple[int, ...], tuple[float, float, float]]  # by labels: log p_b, log p_n, what the scorer said of them


def beam_search(
    y: NDArray[np.float64],
    lengths: NDArray[np.int64],
    blank: int,
    width: int,
    bonus: float,
    scorer: Scorer | None,
) -> list[list[Found]]:
    """Return the likeliest labellings of each sequence, as far as a search that keeps ``width`` of them can tell.

    Hannun et al. 2014, "First-pass large vocabulary continuous speech recognition using bi-directional recurrent DNNs",
    algorithm 1. For each labelling kept, p_b sums over the paths so far that spell it and end in a blank, p_n over
    those that end in its last label. A blank adds (p_b + p_n) y_blank to p_b; the last label again adds p_n y_k to p_n;
    and any label k appended adds (p_b + p_n) y_k to p_n of the longer labelling, of p_b alone where k is the last label
    already. Labellings are ranked by ``log(p_b + p_n) + bonus * length + the sum of what the scorer says of each``.

    Parameters
    ----------
    y : (N, T, C)
        Log-probabilities.
    lengths : (N,)
    blank : int
    width : int
        Labellings kept after each step; those before come first where ranks are equal.
    bonus : float
        Added for each label.
    scorer : callable or None
        From the labels so far, a tuple, to what to add for each class as the next, (C,).

    Returns
    -------
    list of list of (labels, rank, log p)
        By falling rank, at most ``width`` for each sequence.
    """
    return [_search(x[:steps], blank, width, bonus, scorer) for x, steps in zip(y, lengths, strict=True)]


def _search(y: NDArray[np.float64], blank: int, width: int, bonus: float, scorer: Scorer | None) -> list[Found]:
    never = -np.inf
    beams: Sums = {(): (0.0, never, 0.0)}
    for now in y:
        found: Sums = {}
        for labels, (ends_blank, ends_label, said) in beams.items():
            again = ends_label + now[labels[-1]] if labels else never
            found[labels] = float(np.logaddexp(ends_blank, ends_label) + now[blank]), float(again), said
        for labels, (ends_blank, ends_label, said) in beams.items():
            both = np.logaddexp(ends_blank, ends_label)
            says = None if scorer is None else scorer(labels)
            for k, chance in enumerate(now):
                if k == blank:
                    continue
                longer = (*labels, k)
                before = ends_blank if labels and labels[-1] == k else both
                b, n, whole = found.get(longer, (never, never, said + (0.0 if says is None else float(says[k]))))
                found[longer] = b, float(np.logaddexp(n, before + chance)), whole
        ranks = {labels: _rank(labels, *sums, bonus) for labels, sums in found.items()}
        ranked = sorted(ranks, key=lambda labels: -ranks[labels])[:width]
        beams = {labels: found[labels] for labels in ranked if ranks[labels] > never}
    return [
        (np.array(labels, np.int64), _rank(labels, b, n, said, bonus), float(np.logaddexp(b, n)))
        for labels, (b, n, said) in beams.items()
    ]


def _rank(labels: tuple[int, ...], ends_blank: float, ends_label: float, said: float, bonus: float) -> float:
    return float(np.logaddexp(ends_blank, ends_label)) + said + bonus * len(labels)
