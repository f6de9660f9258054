"""Connectionist temporal classification: the loss of labels without places, and their decoding.

A network gives logits for C classes in each of T steps, one class being the blank. A path takes one class a step; it
spells what is left when repetitions are merged and blanks taken out: with "-" for the blank, "aa-ab-" spells "aab". The
probability of a labelling is the sum over all paths that spell it (Graves et al. 2006, "Connectionist temporal
classification: labelling unsegmented sequence data with recurrent neural networks").
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnfast.backend import implementation
from rnnfast.checks import (
    FloatArray,
    as_array,
    check_choice,
    check_flag,
    check_floating,
    check_lengths,
    check_real,
    check_size,
)
from rnnfast.losses import Loss

Labels = tuple[NDArray[np.int64], NDArray[np.int64]]


class CTCLoss(Loss):
    """-log of the probability of each sequence's labels, summed over all paths that spell them.

    It is called as every loss is, but targets belong to sequences, not to steps: ``pred`` is (N, T, C), logits (or
    log-probabilities, whose softmax is themselves), ``lengths`` (N,) says how many steps of each are valid, ``mask``
    (N,) weighs sequences, and ``target`` is a list of N sequences of integers (any may be empty), or an integer array
    (N, S) whose rows end at their first negative number (``pad_sequences(labels, value=-1)``).

    Parameters
    ----------
    blank : int, default 0
        The class that means no label.
    zero_infinity : bool, default False
        Whether a sequence whose labels no path can spell counts as a loss of 0 with a gradient of 0, as in torch; see
        the notes.
    reduction : {"mean", "sequence"}, default "mean"
        "mean", as in torch: the loss of each sequence is divided by its number of labels (at least 1), and the mean is
        taken over sequences. "sequence": the mean over sequences of undivided losses.

    Raises
    ------
    TypeError, ValueError
        If an option is not of its kind.

    Notes
    -----
    A path needs one step for each label, and one more for a blank between any two equal ones in a row; where there are
    fewer steps, the labels are impossible and the loss is infinite, the gradient NaN, and the trainer stops. Mostly
    that means that the network skips too many steps for its labels, or that a label is wrong; ``zero_infinity`` leaves
    such sequences out instead, silently, but they still count in the mean. Where a valid step of ``pred`` is NaN or
    +inf, the loss is NaN.

    Paths are summed in double precision logarithms whatever the dtype of ``pred``.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.ctc import CTCLoss
    >>> logits = np.zeros((1, 2, 3))           # two steps, three equally likely classes
    >>> round(CTCLoss()(logits, [[1]]), 6)     # 11, 01 and 10 spell 1: 3 of 9 paths
    1.098612
    """

    shapes = (("N", "T", "C"),)
    per_step: ClassVar[bool] = False

    def __init__(self, blank: int = 0, zero_infinity: bool = False, reduction: str = "mean") -> None:
        self.blank = check_size("blank", blank, 0)
        self.zero_infinity = check_flag("zero_infinity", zero_infinity)
        self.reduction = check_choice("reduction", reduction, ("mean", "sequence"))

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        return {"blank": self.blank, "zero_infinity": self.zero_infinity, "reduction": self.reduction}

    def each(self, pred: Any, target: Any, lengths: Any = None) -> NDArray[np.float64]:
        """Return the undivided loss of every sequence, (N,); arguments and errors as of the loss.

        With ``zero_infinity`` impossible ones are 0 here too.
        """
        logits, (labels, offsets), steps = self._checked(pred, target, lengths)
        found, _ = implementation("ctc").losses(
            logits, steps, labels, offsets, self.blank, np.ones(len(logits)), gradient=False
        )
        return self._finite(found)

    def _run(self, pred: Any, target: Any, mask: Any, lengths: Any, gradient: bool) -> tuple[float, FloatArray | None]:
        logits, (labels, offsets), steps = self._checked(pred, target, lengths)
        weights = np.ones(len(logits))
        if mask is not None:
            weights = check_real("mask", mask, np.dtype(np.float64), (len(logits),))
            bad = ~(np.isfinite(weights) & (weights >= 0))
            if bad.any():
                raise ValueError(f"mask must be finite and at least 0; got {weights[bad][0]}")
        total = float(weights.sum())
        if total == 0.0:
            return 0.0, np.zeros(logits.shape, logits.dtype) if gradient else None
        weights = weights / total
        if self.reduction == "mean":
            weights /= np.maximum(np.diff(offsets), 1)
        found, dx = implementation("ctc").losses(logits, steps, labels, offsets, self.blank, weights, gradient)
        if self.zero_infinity and dx is not None:
            dx[np.isinf(found)] = 0
        return float(self._finite(found) @ weights), dx

    def _finite(self, losses: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(np.isinf(losses), 0.0, losses) if self.zero_infinity else losses

    def _checked(self, pred: Any, target: Any, lengths: Any) -> tuple[FloatArray, Labels, NDArray[np.int64]]:
        """Return the logits, the labels one after the other with where each sequence's begin, and the lengths."""
        logits = check_floating("pred", pred, self.shapes)
        batch, steps, classes = logits.shape
        if self.blank >= classes:
            raise ValueError(f"blank must be a class of pred, 0..{classes - 1}; got {self.blank}")
        labels = check_labels(target, batch, classes, self.blank)
        valid = check_lengths(lengths, batch, steps)
        return logits, labels, np.full(batch, steps) if valid is None else valid


def check_labels(target: Any, batch: int, classes: int, blank: int) -> Labels:
    """Return a batch's labels as (labels (L,), offsets (batch + 1,)), or raise.

    Raises
    ------
    TypeError
        If they are not integers.
    ValueError
        If there are not ``batch`` sequences, a shape does not fit, or a label is the blank.
    IndexError
        If a label is no class.
    """
    rows = unpad(target)
    if len(rows) != batch:
        raise ValueError(f"target must have {batch} sequences of labels, one for each of pred; got {len(rows)}")
    offsets = np.zeros(batch + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    labels = np.concatenate([*rows, np.zeros(0, np.int64)])
    for bad, error, rule in (
        ((labels < 0) | (labels >= classes), IndexError, f"lie in 0..{classes - 1}, the classes of pred"),
        (labels == blank, ValueError, f"not hold the blank, {blank}"),
    ):
        if bad.any():
            place = int(bad.argmax())
            row = int(np.searchsorted(offsets, place, "right")) - 1
            raise error(f"target[{row}] must {rule}; got {labels[place]}")
    return labels, offsets


def unpad(target: Any) -> list[NDArray[np.int64]]:
    """Return labels as a list of arrays: a list of sequences as it is, an array (N, S) up to each row's first negative.

    Raises
    ------
    TypeError
        If they are not integers.
    ValueError
        If a sequence has more than one dimension, or an array not two.
    """
    if isinstance(target, np.ndarray) and target.dtype != object:
        if target.dtype.kind not in "iu":
            raise TypeError(f"target must hold integers, the classes of the labels; got dtype {target.dtype}")
        if target.ndim != 2:
            raise ValueError(f"target must be a list of sequences or have shape (N, S); got {target.shape}")
        past = np.concatenate([target < 0, np.ones((len(target), 1), bool)], axis=1)
        return [row[:end].astype(np.int64) for row, end in zip(target, past.argmax(axis=1), strict=True)]
    if not isinstance(target, (list, tuple, np.ndarray)):
        raise TypeError(f"target must be a list of sequences of labels; got {type(target).__name__}")
    rows = []
    for n, row in enumerate(target):
        array = as_array(f"target[{n}]", row)
        if array.ndim != 1:
            raise ValueError(f"target[{n}] must be a sequence of labels, of shape (S,); got shape {array.shape}")
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(f"target[{n}] must hold integers, the classes of the labels; got dtype {array.dtype}")
        rows.append(array.astype(np.int64))
    return rows
