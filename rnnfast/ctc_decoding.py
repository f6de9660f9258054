"""From a network's logits to labels, for networks trained with `rnnfast.ctc.CTCLoss`; what a path is, is said there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.backend import implementation
from rnnfast.checks import FloatArray, as_array, check_floating, check_lengths, check_number, check_size
from rnnfast.ctc import unpad
from rnnfast.metrics import Metric, edit_distance

LanguageModel = Callable[[tuple[int, ...]], Any]


class Labelling(NamedTuple):
    """What `ctc_beam_search` found.

    Attributes
    ----------
    labels : ndarray of int64 (S,)
    log_prob : float
        log of the probability of the labels given the logits, summed over the paths that the search has kept: at most
        the true one.
    score : float
        What it was ranked by.
    """

    labels: NDArray[np.int64]
    log_prob: float
    score: float


def ctc_greedy(logits: Any, *, lengths: Any = None, blank: int = 0) -> list[NDArray[np.int64]]:
    """Return what the likeliest path of each sequence spells (which is not always the likeliest labelling).

    Parameters
    ----------
    logits : array_like (N, T, C)
        Logits or log-probabilities.
    lengths : array_like (N,) of int, optional
        Valid steps of each sequence.
    blank : int, default 0
        The class that means no label.

    Returns
    -------
    list of N ndarray of int64

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind, or a valid logit is NaN.
    """
    logits, valid = _checked(logits, lengths, blank)
    path = logits.argmax(axis=2) if logits.size else np.zeros(logits.shape[:2], np.int64)
    new = np.ones(path.shape, bool)
    new[:, 1:] = path[:, 1:] != path[:, :-1]
    kept = new & (path != blank) & (np.arange(path.shape[1]) < valid[:, None])
    return [row[where] for row, where in zip(path, kept, strict=True)]


def ctc_beam_search(
    logits: Any,
    *,
    lengths: Any = None,
    blank: int = 0,
    beam: int = 10,
    n_best: int = 1,
    language_model: LanguageModel | None = None,
    lm_weight: float = 1.0,
    insertion_bonus: float = 0.0,
) -> list[list[Labelling]]:
    """Search the likeliest labellings of each sequence, summing over the paths of each.

    Labellings are ranked by ``log p(labels | logits) + lm_weight * log p_lm(labels) + insertion_bonus * S``, at every
    step, and as many as ``beam`` go on to the next. With a wide beam and no language model the first is the
    likeliest labelling.

    Parameters
    ----------
    logits : array_like (N, T, C)
        Logits or log-probabilities.
    lengths : array_like (N,) of int, optional
        Valid steps of each sequence.
    blank : int, default 0
        The class that means no label.
    beam : int, default 10
        Labellings kept after each step.
    n_best : int, default 1
        Labellings returned for each sequence, at most ``beam``.
    language_model : callable, optional
        ``language_model(labels)``, given a tuple of int, returns the log-probability of each class as the next label,
        (C,); what it says of the blank is not looked at, -inf forbids a label. It is asked once for each labelling
        while that is kept, so about ``T * beam`` times a sequence at most.
    lm_weight : float, default 1.0
        At least 0.
    insertion_bonus : float, default 0.0
        Added to the rank for each label; makes up for the language model's preference of short labellings.

    Returns
    -------
    list of N lists of Labelling
        The best first; fewer than ``n_best`` where there are no more, none where the language model forbids all.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind, a valid logit is NaN, or the language model returns something else.

    References
    ----------
    Hannun et al. 2014, "First-pass large vocabulary continuous speech recognition using bi-directional recurrent DNNs".

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.ctc_decoding import ctc_beam_search, ctc_greedy
    >>> logits = np.log([[[0.6, 0.4], [0.6, 0.4]]])     # the likeliest path has no label, but three of four have one
    >>> ctc_greedy(logits)[0].tolist(), ctc_beam_search(logits)[0][0].labels.tolist()
    ([], [1])
    """
    logits, valid = _checked(logits, lengths, blank)
    width = check_size("beam", beam)
    count = check_size("n_best", n_best)
    if count > width:
        raise ValueError(f"n_best must be at most beam, {width}; got {count}")
    weight = check_number("lm_weight", lm_weight, 0)
    bonus = check_number("insertion_bonus", insertion_bonus)
    if language_model is not None and not callable(language_model):
        raise TypeError(f"language_model must be callable; got {type(language_model).__name__}")
    scorer = None if language_model is None else _scorer(language_model, weight, logits.shape[2])
    y = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        y -= np.logaddexp.reduce(y, axis=2, keepdims=True)
    found = implementation("ctc_search").beam_search(y, valid, blank, width, bonus, scorer)
    return [[Labelling(labels, log_prob, score) for labels, score, log_prob in row[:count]] for row in found]


class LabelErrorRate(Metric):
    """Insertions, deletions and substitutions that make the greedy labelling the target, over the target's labels.

    ``pred`` is (N, T, C), ``target`` as `CTCLoss` takes it. Above 1 where more labels are wrong than there should be.

    Parameters
    ----------
    blank : int, default 0
        The class that means no label.
    """

    name = "label_error_rate"

    def __init__(self, blank: int = 0) -> None:
        self.blank = check_size("blank", blank, 0)

    def __call__(self, pred: Any, target: Any, *, mask: Any = None, lengths: Any = None) -> tuple[float, float]:
        found = ctc_greedy(pred, lengths=lengths, blank=self.blank)
        labels = unpad(target)
        if len(labels) != len(found):
            raise ValueError(
                f"target must have {len(found)} sequences of labels, one for each of pred; got {len(labels)}"
            )
        weights = np.ones(len(found)) if mask is None else np.asarray(mask, np.float64)
        edits = [edit_distance(a, b) for a, b in zip(found, labels, strict=True)]
        return float(weights @ edits), float(weights @ [len(row) for row in labels])


def _checked(logits: Any, lengths: Any, blank: Any) -> tuple[FloatArray, NDArray[np.int64]]:
    logits = check_floating("logits", logits, (("N", "T", "C"),))
    batch, steps, classes = logits.shape
    if check_size("blank", blank, 0) >= classes:
        raise ValueError(f"blank must be a class of logits, 0..{classes - 1}; got {blank}")
    found = check_lengths(lengths, batch, steps)
    valid = np.full(batch, steps) if found is None else found
    within = np.arange(steps) < valid[:, None]
    bad = within & ~np.isfinite(logits.max(axis=2, initial=-np.inf))  # the largest is NaN if any is
    if bad.any():
        row, step = np.argwhere(bad)[0]
        raise ValueError(
            f"logits must have a finite number in each step, and neither NaN nor +inf; logits[{row}, {step}] does not"
        )
    return logits, valid


def _scorer(model: LanguageModel, weight: float, classes: int) -> Callable[[tuple[int, ...]], NDArray[np.float64]]:
    """Return the language model with its weight and its results checked."""

    def score(labels: tuple[int, ...]) -> NDArray[np.float64]:
        said = as_array("language_model", model(labels))
        if said.shape != (classes,) or said.dtype.kind not in "iuf":
            raise ValueError(
                f"language_model must return {classes} real numbers, one for each class; got {said.dtype} of shape "
                f"{said.shape} for {labels}"
            )
        if np.isnan(said).any() or (said == np.inf).any():
            raise ValueError(f"language_model must return neither NaN nor +inf; it did for {labels}")
        return weight * said if weight else np.zeros(classes)

    return score
