"""Losses: a number to make small, and its gradient.

``value = loss(pred, target)``; in training ``value, pullback = loss.forward(pred, target)`` and ``dpred =
pullback(scale)``, the gradient of ``scale * value``. The value is a mean over what counts: ``mask`` gives a weight to
each row or step, ``lengths`` a weight of 0 to the steps past a sequence's length, and with both they are multiplied.
Where the weight is 0, predictions and targets may be anything. If all weights are 0 the value is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnfast.backend import implementation
from rnnfast.checks import FloatArray, as_array, check_floating, check_lengths, check_number, check_real
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

    def __call__(self, pred: Any, target: Any, mask: Any = None, lengths: Any = None) -> float:
        """Return the value alone; arguments and errors as in `forward`."""
        return self._run(pred, target, mask, lengths, False)[0]

    def forward(self, pred: Any, target: Any, mask: Any = None, lengths: Any = None) -> tuple[float, LossPullback]:
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
                raise RuntimeError("this pullback was called before; it consumes what forward saved")
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
        total = float(len(rows)) if weights is None else float(weights.sum(dtype=np.float64))
        total *= self._terms(rows.shape[1])
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

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.losses import SoftmaxCrossEntropy
    >>> round(SoftmaxCrossEntropy()(np.zeros((3, 4)), [0, 1, 2]), 6)
    1.386294
    """

    shapes = (("N", "C"), ("N", "T", "C"))

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = check_number("label_smoothing", label_smoothing, 0.0, 1.0)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        return {"label_smoothing": self.label_smoothing}

    def _target(self, target: Any, pred: FloatArray) -> NDArray[Any]:
        array = as_array("target", target)
        if array.size == 0:
            array = array.astype(np.int64)
        if array.dtype.kind not in "biu":
            raise TypeError(f"target must be integers, the class indices; got dtype {array.dtype}")
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
        result: tuple[NDArray[np.float64], FloatArray | None] = implementation("ops").softmax_cross_entropy(
            rows, goal, weights, scale, self.label_smoothing, gradient
        )
        return result


class SigmoidCrossEntropy(Loss):
    """Cross-entropy of each target in 0..1 with the sigmoid of its prediction.

    ``loss = max(x, 0) - x t + log(1 + exp(-|x|))``, which is -t log s - (1 - t) log(1 - s) with s = sigmoid(x). The
    value is the weighted mean over rows or steps and over their elements.
    """

    def _check_goal(self, goal: NDArray[Any], weights: FloatArray | None, columns: int) -> None:
        _check_each("target", goal, weights, 0.0, 1.0)

    def _rows(
        self, rows: FloatArray, goal: NDArray[Any], weights: FloatArray | None, scale: float, gradient: bool
    ) -> tuple[NDArray[np.float64], FloatArray | None]:
        result: tuple[NDArray[np.float64], FloatArray | None] = implementation("ops").sigmoid_cross_entropy(
            rows, goal, weights, scale, gradient
        )
        return result


class MeanSquared(Loss):
    """Mean of (pred - target)^2 over rows or steps, weighted, and over their elements."""

    def _value(self, diff: FloatArray) -> FloatArray:
        return diff * diff

    def _slope(self, diff: FloatArray) -> FloatArray:
        return diff * 2


class MeanAbsolute(Loss):
    """Mean of |pred - target| over rows or steps, weighted, and over their elements; its slope at 0 is 0."""

    def _value(self, diff: FloatArray) -> FloatArray:
        return np.abs(diff)

    def _slope(self, diff: FloatArray) -> FloatArray:
        return np.sign(diff)


class Huber(Loss):
    """Mean of d^2 / 2 where |d| <= delta and delta (|d| - delta / 2) elsewhere, with d = pred - target.

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
