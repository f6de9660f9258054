"""Losses: a number to make small, and its gradient.

``value = loss(pred, target)``; in training ``value, pullback = loss.forward(pred, target)`` and ``dpred =
pullback(scale)``, the gradient of ``scale * value``. The value is a mean over what counts: ``mask`` gives a weight to
each row or step (so this is where sample weights go), ``lengths`` a weight of 0 to the steps past a sequence's length,
and with both they are multiplied. Weights of classes belong to the loss: ``SoftmaxCrossEntropy(class_weight=...)``.
Where the weight is 0, predictions and targets may be anything. If all weights are 0 the value is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnfast.backend import implementation
from rnnfast.checks import (
    FloatArray,
    as_array,
    called_before,
    check_floating,
    check_lengths,
    check_number,
    check_real,
    check_size,
)
from rnnfast.metrics import valid_weights
from rnnfast.rows import flat, from_rows, is_time_major, to_rows

LossPullback = Callable[..., FloatArray]


class Loss:
    """Base of all losses; calls and pullbacks are as said at the top of this module.

    Attributes
    ----------
    per_step : bool
        Whether predictions (N, T, C) have a target for each step, or else one for each sequence, of a size of its own.
    """

    shapes: ClassVar[tuple[tuple[str, ...], ...]] = (("N",), ("N", "C"), ("N", "T", "C"))
    per_step: ClassVar[bool] = True

    def __call__(self, pred: Any, target: Any, *, mask: Any = None, lengths: Any = None) -> float:
        """Return the value alone; arguments and errors as in `forward`."""
        return self._run(pred, target, mask, lengths, False)[0]

    def forward(self, pred: Any, target: Any, *, mask: Any = None, lengths: Any = None) -> tuple[float, LossPullback]:
        """Return ``(value, pullback)``.

        Parameters
        ----------
        pred : array_like (N, C) or (N, T, C); (N,) too where the loss is of single numbers
            Predictions. float64 stays, all else becomes float32.
        target : array_like
            Class indices (or booleans, for two classes) of the shape of pred without its last axis, or numbers of the
            shape of pred.
        mask : array_like (N,) or (N, T), optional
            Which rows or steps count: booleans, or weights of at least 0.
        lengths : array_like (N,) of int, optional
            Valid steps of each sequence; for predictions (N, T, C).

        Returns
        -------
        value : float
        pullback : callable
            ``dpred = pullback(scale=1.0)``, of the shape and dtype of pred; it can be called once.

        Raises
        ------
        TypeError
            If an argument is not of a kind that can be read as such.
        ValueError
            If a shape does not fit, or a target, weight or length that counts is not allowed.
        IndexError
            If a class index that counts is out of range.
        """
        value, gradient = self._run(pred, target, mask, lengths, True)
        held: list[FloatArray | None] = [gradient]

        def pullback(scale: float = 1.0) -> FloatArray:
            scale = check_number("scale", scale)
            dpred, held[0] = held[0], None
            if dpred is None:
                raise called_before()
            if scale != 1.0:
                dpred *= dpred.dtype.type(scale)
            return dpred

        return value, pullback

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"

    def _run(self, pred: Any, target: Any, mask: Any, lengths: Any, gradient: bool) -> tuple[float, FloatArray | None]:
        """Return the value, and its gradient if wanted."""
        pred = check_floating("pred", pred, self.shapes)
        shape = pred.shape
        target = self._target(target, pred)
        weights = _weights(mask, lengths, pred)
        swapped = is_time_major(pred)
        if pred.ndim == 1:
            pred, target = pred[:, None], target[:, None]
        full = pred.shape
        rows = to_rows(pred, swapped)
        goal = to_rows(target, swapped) if target.ndim == pred.ndim else flat(target, swapped)
        if weights is not None:
            weights = flat(weights, swapped)
        self._check_goal(goal, weights, rows.shape[1])
        total = self._total(goal, weights) * self._terms(rows.shape[1])
        if total == 0.0:
            return 0.0, np.zeros(shape, pred.dtype) if gradient else None
        losses, drows = self._rows(rows, goal, weights, 1.0 / total, gradient)
        value = float(losses.sum() if weights is None else losses @ weights.astype(np.float64)) / total
        return value, None if drows is None else from_rows(drows, full, swapped).reshape(shape)

    def _target(self, target: Any, pred: FloatArray) -> NDArray[Any]:
        """Return the target as an array that fits pred, or raise."""
        return check_real("target", target, pred.dtype, pred.shape)

    def _check_goal(self, goal: NDArray[Any], weights: FloatArray | None, columns: int) -> None:
        """Raise if a target that counts is not allowed; goal is (R,) or (R, C)."""
        _check_each("target", goal, weights, -np.inf, np.inf)

    def _total(self, goal: NDArray[Any], weights: FloatArray | None) -> float:
        """Return the sum of the weights of all rows."""
        return float(len(goal)) if weights is None else float(weights.sum(dtype=np.float64))

    def _terms(self, columns: int) -> int:
        """Return over how many terms of a row the mean is taken."""
        return columns

    def _rows(
        self, rows: FloatArray, goal: NDArray[Any], weights: FloatArray | None, scale: float, gradient: bool
    ) -> tuple[NDArray[np.float64], FloatArray | None]:
        """Return the loss of each row, and the gradient of ``scale * sum_r weights_r * loss_r`` if wanted."""
        valid = True if weights is None else (weights > 0)[:, None]
        diff = np.subtract(rows, goal, where=valid, out=np.zeros_like(rows))
        losses = self._value(diff).sum(axis=1, dtype=np.float64)
        if not gradient:
            return losses, None
        drows = self._slope(diff)
        drows *= rows.dtype.type(scale) if weights is None else (rows.dtype.type(scale) * weights)[:, None]
        return losses, drows

    def _value(self, diff: FloatArray) -> FloatArray:
        """Return the loss of each difference between prediction and target."""
        raise NotImplementedError

    def _slope(self, diff: FloatArray) -> FloatArray:
        """Return its derivative, in an array of its own."""
        raise NotImplementedError


class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of class indices with the softmax of the predictions.

    For a row x of C numbers and the class t: ``loss = log sum_j exp(x_j) - (1 - e) x_t - e / C sum_j x_j``, with e the
    label smoothing (Szegedy et al. 2016, "Rethinking the inception architecture", section 7). The value is the
    weighted mean over rows or steps.

    Parameters
    ----------
    label_smoothing : float, default 0.0
        e, the share of the target that is spread evenly over all classes; 0..1.
    class_weight : array_like (C,), optional
        w, at least 0 and not all 0: what an error in a class counts, `balanced_class_weight` for one. The loss of a
        row is then ``(1 - e) w_t (-log p_t) + e / C sum_j w_j (-log p_j)``, p being the softmax, and the mean is
        weighted by w_t besides the mask, as in torch.nn.CrossEntropyLoss.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.losses import SoftmaxCrossEntropy
    >>> round(SoftmaxCrossEntropy()(np.zeros((3, 4)), [0, 1, 2]), 6)
    1.386294
    """

    shapes = (("N", "C"), ("N", "T", "C"))

    def __init__(self, label_smoothing: float = 0.0, class_weight: Any = None) -> None:
        self.label_smoothing = check_number("label_smoothing", label_smoothing, 0.0, 1.0)
        self.class_weight = None if class_weight is None else _factors("class_weight", class_weight, 1)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        weight = None if self.class_weight is None else self.class_weight.tolist()
        return {"label_smoothing": self.label_smoothing, "class_weight": weight}

    def weight(self, target: Any, *, mask: Any = None, lengths: Any = None) -> float:
        """Return the sum of the weights that the mean over these targets is taken with; arguments as in `forward`.

        Batches are put together by it: ``sum_k weight_k value_k / sum_k weight_k`` is the value over all of them.
        """
        goal = np.asarray(target)
        weights = valid_weights(goal.shape, mask, lengths)
        return self._total(goal.ravel(), None if weights is None else weights.ravel())

    def _target(self, target: Any, pred: FloatArray) -> NDArray[Any]:
        array = as_array("target", target)
        if array.size == 0:
            array = array.astype(np.int64)
        if array.dtype.kind not in "biu":
            raise TypeError(f"target must be integers, the class indices; got dtype {array.dtype}")
        if self.class_weight is not None and len(self.class_weight) != pred.shape[-1]:
            raise ValueError(
                f"class_weight must have {pred.shape[-1]} entries, one for each class of pred; "
                f"got {len(self.class_weight)}"
            )
        if array.shape != pred.shape[:-1]:
            raise ValueError(
                f"target must have shape {pred.shape[:-1]}, one class for each row of pred {pred.shape}; "
                f"got {array.shape}"
            )
        if pred.shape[-1] == 0:
            raise ValueError(f"pred must have at least one class; got shape {pred.shape}")
        return array.astype(np.int64, copy=False)

    def _check_goal(self, goal: NDArray[Any], weights: FloatArray | None, columns: int) -> None:
        bad = (goal < 0) | (goal >= columns)
        if weights is not None:
            bad &= weights > 0
        if bad.any():
            raise IndexError(f"target must lie in 0..{columns - 1}, the classes of pred; got {goal[bad.argmax()]}")

    def _terms(self, columns: int) -> int:
        return 1

    def _rows(
        self, rows: FloatArray, goal: NDArray[Any], weights: FloatArray | None, scale: float, gradient: bool
    ) -> tuple[NDArray[np.float64], FloatArray | None]:
        result: tuple[NDArray[np.float64], FloatArray | None]
        if self.class_weight is None:
            result = implementation("ops").softmax_cross_entropy(
                rows, goal, weights, scale, self.label_smoothing, gradient
            )
            return result
        factors = self._factors_of(goal, weights)
        if not self.label_smoothing:
            both = factors.astype(rows.dtype)
            both = both if weights is None else both * weights
            losses, drows = implementation("ops").softmax_cross_entropy(rows, goal, both, scale, 0.0, gradient)
            return losses * factors, drows
        return self._smoothed(rows, goal, weights, scale, gradient)

    def _total(self, goal: NDArray[Any], weights: FloatArray | None) -> float:
        if self.class_weight is None:
            return super()._total(goal, weights)
        factors = self._factors_of(goal, weights)
        return float(factors.sum() if weights is None else factors @ weights.astype(np.float64))

    def _factors_of(self, goal: NDArray[Any], weights: FloatArray | None) -> NDArray[np.float64]:
        """Return the weight of each row's class; of a row that does not count, whose class may be anything, 0."""
        assert self.class_weight is not None
        if weights is None:
            factors: NDArray[np.float64] = self.class_weight[goal]
            return factors
        counts = weights > 0
        return np.where(counts, self.class_weight[np.where(counts, goal, 0)], 0.0)

    def _smoothed(
        self, rows: FloatArray, goal: NDArray[Any], weights: FloatArray | None, scale: float, gradient: bool
    ) -> tuple[NDArray[np.float64], FloatArray | None]:
        """Return what `_rows` does where every class has its own share in the smoothing."""
        assert self.class_weight is not None
        counts = np.ones(len(rows), bool) if weights is None else weights > 0
        places, classes = np.flatnonzero(counts), goal[counts]
        x = rows[counts].astype(np.float64)
        x -= x.max(axis=1, keepdims=True)
        logs = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
        # share[r, j] is what -log p_j counts in row r
        share = np.tile(self.label_smoothing / rows.shape[1] * self.class_weight, (len(x), 1))
        share[np.arange(len(x)), classes] += (1 - self.label_smoothing) * self.class_weight[classes]
        losses = np.zeros(len(rows))
        losses[places] = -(share * logs).sum(axis=1)
        if not gradient:
            return losses, None
        slope = np.exp(logs) * share.sum(axis=1, keepdims=True) - share
        slope *= scale if weights is None else scale * weights[counts].astype(np.float64)[:, None]
        drows = np.zeros_like(rows)
        drows[places] = slope
        return losses, drows


class SigmoidCrossEntropy(Loss):
    """Cross-entropy of each target in 0..1 with the sigmoid of its prediction.

    ``loss = max(x, 0) - x t + log(1 + exp(-|x|))``, which is -t log s - (1 - t) log(1 - s) with s = sigmoid(x). The
    value is the weighted mean over rows or steps and over their elements.

    Parameters
    ----------
    pos_weight : float or array_like (C,), optional
        p, at least 0: what a miss of a positive target counts, for each output or for all; the loss is then
        ``-p t log s - (1 - t) log(1 - s)``, as in torch.nn.BCEWithLogitsLoss.
    """

    def __init__(self, pos_weight: Any = None) -> None:
        self.pos_weight = None if pos_weight is None else _factors("pos_weight", pos_weight, 0)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        return {"pos_weight": None if self.pos_weight is None else self.pos_weight.tolist()}

    def _target(self, target: Any, pred: FloatArray) -> NDArray[Any]:
        factors = self.pos_weight
        if factors is not None and factors.ndim and (pred.ndim < 2 or len(factors) != pred.shape[-1]):
            raise ValueError(f"pos_weight must fit the outputs, of shape {pred.shape}; got {len(factors)} entries")
        return super()._target(target, pred)

    def _check_goal(self, goal: NDArray[Any], weights: FloatArray | None, columns: int) -> None:
        _check_each("target", goal, weights, 0.0, 1.0)

    def _rows(
        self, rows: FloatArray, goal: NDArray[Any], weights: FloatArray | None, scale: float, gradient: bool
    ) -> tuple[NDArray[np.float64], FloatArray | None]:
        result: tuple[NDArray[np.float64], FloatArray | None]
        if self.pos_weight is None:
            result = implementation("ops").sigmoid_cross_entropy(rows, goal, weights, scale, gradient)
            return result
        valid = True if weights is None else (weights > 0)[:, None]
        x, t = (np.where(valid, a, 0.0).astype(np.float64) for a in (rows, goal))
        misses = 1.0 + (self.pos_weight - 1.0) * t
        log_not = np.logaddexp(0.0, -x)  # -log s
        losses = np.where(valid, (1.0 - t) * x + misses * log_not, 0.0).sum(axis=1)
        if not gradient:
            return losses, None
        slope = (1.0 - t) - misses * np.exp(-np.logaddexp(0.0, x))
        slope *= scale if weights is None else scale * weights.astype(np.float64)[:, None]
        return losses, slope.astype(rows.dtype)


class MeanSquared(Loss):
    """Mean of ``(pred - target)^2`` over rows or steps, weighted, and over their elements."""

    def _value(self, diff: FloatArray) -> FloatArray:
        return diff * diff

    def _slope(self, diff: FloatArray) -> FloatArray:
        return diff * 2


class MeanAbsolute(Loss):
    """Mean of ``|pred - target|`` over rows or steps, weighted, and over their elements; its slope at 0 is 0."""

    def _value(self, diff: FloatArray) -> FloatArray:
        return np.abs(diff)

    def _slope(self, diff: FloatArray) -> FloatArray:
        return np.sign(diff)


class Huber(Loss):
    """Mean of ``d^2 / 2`` where ``|d| <= delta`` and ``delta (|d| - delta / 2)`` elsewhere, with d = pred - target.

    Huber 1964, "Robust estimation of a location parameter". The mean is over rows or steps, weighted, and over their
    elements.

    Parameters
    ----------
    delta : float, default 1.0
        Where the square becomes a line; above 0.
    """

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = check_number("delta", delta, 0.0, above=True)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        return {"delta": self.delta}

    def _value(self, diff: FloatArray) -> FloatArray:
        size = np.abs(diff)
        inner = np.minimum(size, self.delta)
        return inner * (size - 0.5 * inner)

    def _slope(self, diff: FloatArray) -> FloatArray:
        return np.clip(diff, -self.delta, self.delta)


LOSSES: dict[str, type[Loss]] = {
    loss.__name__: loss for loss in (SoftmaxCrossEntropy, SigmoidCrossEntropy, MeanSquared, MeanAbsolute, Huber)
}


def balanced_class_weight(target: Any, classes: int | None = None, mask: Any = None) -> NDArray[np.float64]:
    """Return weights with which every class counts as much as any other, for ``SoftmaxCrossEntropy(class_weight=...)``.

    The weight of a class is ``total / (occurring * count)``, with as many occurring classes as have a target that
    counts; the mean weight over the targets is 1. A class that does not occur gets 0.

    Parameters
    ----------
    target : array_like of int, or list of them
        Class indices, as for the loss; lists are sequences.
    classes : int, optional
        How many classes there are; None: the largest index and one.
    mask : array_like, or list of them, optional
        Weights of the targets, as for the loss.

    Raises
    ------
    TypeError
        If the targets are not integers.
    ValueError
        If there is no target, or an index is negative or not below ``classes``.

    Examples
    --------
    >>> from rnnfast.losses import balanced_class_weight
    >>> balanced_class_weight([0, 0, 0, 1])
    array([0.66666667, 2.        ])
    """
    goal = _flattened("target", target)
    if goal.dtype.kind not in "biu":
        raise TypeError(f"target must be integers, the class indices; got dtype {goal.dtype}")
    if not goal.size:
        raise ValueError("target must not be empty")
    size = int(goal.max()) + 1 if classes is None else check_size("classes", classes)
    if goal.min() < 0 or goal.max() >= size:
        wrong = goal.min() if goal.min() < 0 else goal.max()
        raise ValueError(f"target must lie in 0..{size - 1}, the classes; got {wrong}")
    weights = None if mask is None else _flattened("mask", mask)
    if weights is not None and weights.dtype.kind not in "biuf":
        raise TypeError(f"mask must hold real numbers; got dtype {weights.dtype}")
    if weights is not None and weights.shape != goal.shape:
        raise ValueError(f"mask must have a weight for each of {goal.size} targets; got {weights.size}")
    counts = np.bincount(goal.astype(np.int64), weights, size)
    seen = counts > 0
    found: NDArray[np.float64] = np.divide(counts.sum(), seen.sum() * counts, out=np.zeros(size), where=seen)
    return found


def _flattened(name: str, value: Any) -> NDArray[Any]:
    """Return an array, or the arrays of a list one after the other, as one row."""
    if isinstance(value, (list, tuple)) and any(np.ndim(item) for item in value[:1]):
        return np.concatenate([as_array(name, item).ravel() for item in value])
    return as_array(name, value).ravel()


def _factors(name: str, value: Any, least_ndim: int) -> NDArray[np.float64]:
    """Return weights of classes or outputs as numbers of at least 0, not all 0, or raise."""
    array = as_array(name, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}")
    array = array.astype(np.float64)
    if not least_ndim <= array.ndim <= 1:
        raise ValueError(f"{name} must have shape (C,){'' if least_ndim else ' or be a number'}; got {array.shape}")
    if not (np.isfinite(array) & (array >= 0)).all() or not array.any():
        raise ValueError(f"{name} must be finite and at least 0, and not all 0; got {value!r:.80}")
    return array


def _weights(mask: Any, lengths: Any, pred: FloatArray) -> FloatArray | None:
    """Return the weight of each row or step, (N,) or (N, T) of the dtype of pred, or None for ones."""
    weights = None
    shape = pred.shape[: max(1, pred.ndim - 1)]
    if mask is not None:
        weights = check_real("mask", mask, pred.dtype, shape)
        bad = ~(np.isfinite(weights) & (weights >= 0))
        if bad.any():
            raise ValueError(f"mask must be finite and at least 0; got {weights[bad][0]}")
    if lengths is not None:
        if pred.ndim != 3:
            raise ValueError(f"lengths needs predictions (N, T, C); got {pred.shape}")
        valid = check_lengths(lengths, *shape)
        if valid is not None:
            steps = (np.arange(shape[1]) < valid[:, None]).astype(pred.dtype)
            weights = steps if weights is None else weights * steps
    return weights


def _check_each(name: str, values: FloatArray, weights: FloatArray | None, low: float, high: float) -> None:
    """Raise unless all values (R, C) in rows of positive weight are finite and within low..high."""
    bad = ~(np.isfinite(values) & (values >= low) & (values <= high))
    if weights is not None:
        bad &= (weights > 0)[:, None]
    if bad.any():
        span = "finite" if high == np.inf else f"in {low:g}..{high:g}"
        raise ValueError(f"{name} must be {span}; got {values[bad][0]}")
