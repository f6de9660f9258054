"""What is measured beside the loss.

A metric returns a sum and the weight it stands for, so that batches of different sizes add up to the value over all
data. In all of them ``mask`` (0 or 1, or weights; of the target's leading dimensions) and ``lengths`` (N,) leave out
what is padding.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import call_of, check_number
from rnnfast.layers.crf import Chain


class Metric:
    """Base of all metrics.

    Attributes
    ----------
    name : str
        What it is called in the history.
    """

    name: str

    def __repr__(self) -> str:
        return call_of(self)

    def __call__(self, pred: Any, target: Any, *, mask: Any = None, lengths: Any = None) -> tuple[float, float]:
        """Return the sum over the valid elements of one batch and their number (or summed weight)."""
        raise TypeError(f"{type(self).__name__} does not define a sum")

    def finish(self, total: float, weight: float) -> float:
        """Return the value that summed sums and weights stand for; NaN where nothing was valid."""
        return total / weight if weight else math.nan


class LossMetric(Metric):
    """A metric that is a function of the mean loss and so costs nothing."""

    def of_loss(self, loss: float) -> float:
        """Return the value for a mean loss."""
        raise TypeError(f"{type(self).__name__} does not define a value")


class Accuracy(Metric):
    """Share of the steps (or sequences) whose largest output is at the target's class.

    ``pred`` is (..., C), ``target`` the class indices, (...). Of a `Chain` the best path of tags is taken.
    """

    name = "accuracy"

    def __call__(self, pred: Any, target: Any, *, mask: Any = None, lengths: Any = None) -> tuple[float, float]:
        target = np.asarray(target)
        found = pred.path(lengths) if isinstance(pred, Chain) else np.asarray(pred).argmax(axis=-1)
        _check_shapes(pred, target, found.shape)
        return _weigh(found == target, mask, lengths)


class BinaryAccuracy(Metric):
    """Share of the outputs on the right side of ``threshold``; targets above 0.5 belong above it.

    Parameters
    ----------
    threshold : float, default 0
        0 for logits, 0.5 for probabilities.
    """

    name = "accuracy"

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = check_number("threshold", threshold)

    def __call__(self, pred: Any, target: Any, *, mask: Any = None, lengths: Any = None) -> tuple[float, float]:
        pred, target = np.asarray(pred), np.asarray(target)
        _check_shapes(pred, target, pred.shape)
        return _weigh((pred > self.threshold) == (target > 0.5), mask, lengths)


class MSE(Metric):
    """Mean of the squared differences over all elements."""

    name = "mse"

    def __call__(self, pred: Any, target: Any, *, mask: Any = None, lengths: Any = None) -> tuple[float, float]:
        pred, target = np.asarray(pred), np.asarray(target)
        _check_shapes(pred, target, pred.shape)
        return _weigh(np.square(np.subtract(pred, target, dtype=np.float64)), mask, lengths)


class RMSE(MSE):
    """Root of the mean of the squared differences over all elements."""

    name = "rmse"

    def finish(self, total: float, weight: float) -> float:
        return math.sqrt(super().finish(total, weight))


class MAE(Metric):
    """Mean of the absolute differences over all elements."""

    name = "mae"

    def __call__(self, pred: Any, target: Any, *, mask: Any = None, lengths: Any = None) -> tuple[float, float]:
        pred, target = np.asarray(pred), np.asarray(target)
        _check_shapes(pred, target, pred.shape)
        return _weigh(np.abs(np.subtract(pred, target, dtype=np.float64)), mask, lengths)


class Perplexity(LossMetric):
    """exp of a mean cross-entropy in nats."""

    name = "perplexity"

    def of_loss(self, loss: float) -> float:
        return perplexity(loss)


class BitsPerSymbol(LossMetric):
    """A mean cross-entropy in bits instead of nats."""

    name = "bits"

    def of_loss(self, loss: float) -> float:
        return bits_per_symbol(loss)


def perplexity(nats: float) -> float:
    """Return ``exp(nats)``: among how many equally likely symbols a model with this cross-entropy chooses."""
    return math.exp(nats) if nats < 709 else math.inf


def bits_per_symbol(nats: float) -> float:
    """Return a cross-entropy given in nats in bits."""
    return nats / math.log(2)


def edit_distance(a: Any, b: Any) -> int:
    """Return how many insertions, deletions and substitutions make one sequence the other (Levenshtein 1966).

    Parameters
    ----------
    a, b : sequence
        Of numbers, strings or whatever compares equal; a string is one of characters.
    """
    known: dict[Any, int] = {}
    left, right = (np.array([known.setdefault(item, len(known)) for item in sequence], np.int64) for sequence in (a, b))
    places = np.arange(len(right) + 1)
    row = places
    for k, item in enumerate(left, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (right != item))
        # what is inserted after place j costs one for each place: a running minimum of the cost less the place
        row = np.minimum.accumulate(np.concatenate([[k], best]) - places) + places
    return int(row[-1])


def valid_weights(shape: tuple[int, ...], mask: Any, lengths: Any) -> NDArray[np.float64] | None:
    """Return the weight of each step as (N,) or (N, T), or None where all count the same.

    Parameters
    ----------
    shape : tuple of int
        Of the target: (N, ...) or (N, T, ...).
    mask : array_like or None
        Of a leading part of ``shape``.
    lengths : array_like or None, (N,)
        Valid steps of each sequence; needs a time axis.
    """
    weights = None if mask is None else np.asarray(mask, dtype=np.float64)
    if weights is not None and weights.shape != shape[: weights.ndim]:
        raise ValueError(f"mask must have the target's leading dimensions {shape}; got {weights.shape}")
    if lengths is None:
        return weights
    if len(shape) < 2:
        raise ValueError(f"lengths needs a target with a time axis; got shape {shape}")
    valid = np.arange(shape[1]) < np.asarray(lengths)[:, None]
    if weights is None:
        return valid.astype(np.float64)
    return (
        weights * valid.reshape(valid.shape + (1,) * (weights.ndim - 2))
        if weights.ndim > 1
        else weights[:, None] * valid
    )


def _weigh(values: NDArray[Any], mask: Any, lengths: Any) -> tuple[float, float]:
    weights = valid_weights(values.shape, mask, lengths)
    if weights is None:
        return float(values.sum(dtype=np.float64)), float(values.size)
    spread = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))
    each = values.size // weights.size if weights.size else 0
    return float(
        np.where(spread != 0, values, 0).astype(np.float64).ravel() @ np.broadcast_to(spread, values.shape).ravel()
    ), float(weights.sum() * each)


def _check_shapes(pred: NDArray[Any] | Chain, target: NDArray[Any], expected: tuple[int, ...]) -> None:
    if target.shape != expected:
        raise ValueError(f"target must have shape {expected} for a pred of shape {pred.shape}; got {target.shape}")
