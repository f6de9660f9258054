"""Activation: a function of each element, or softmax over the last axis, as a layer of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.backend import implementation
from rnnfast.checks import FloatArray, check_choice, check_floating
from rnnfast.layers.base import Gradients, Layer, Pullback
from rnnfast.layers.once import Once

KINDS = ("relu", "tanh", "sigmoid", "softmax", "log_softmax")
_SHAPES = (("N", "C"), ("N", "T", "C"))


class Activation(Layer):
    """y = f(x), for every row of (N, C) or every step of (N, T, C).

    A `Dense` layer has an activation of its own, and losses of class indices take scores without softmax; this layer
    is for models that come from elsewhere, and for those that shall return probabilities.

    Parameters
    ----------
    kind : {"relu", "tanh", "sigmoid", "softmax", "log_softmax"}
        f. softmax, ``exp(x_c) / sum_k exp(x_k)``, and its logarithm are over the last axis.

    Examples
    --------
    >>> from rnnfast.layers.activation import Activation
    >>> Activation("softmax")([[0.0, 0.0]])
    array([[0.5, 0.5]], dtype=float32)
    """

    def __init__(self, kind: str) -> None:
        self.kind = check_choice("kind", kind, KINDS)
        super().__init__()

    def __call__(self, x: Any, *, lengths: Any = None) -> FloatArray:
        """Return y without saving anything for a backward pass; arguments as in `forward`."""
        return self._run(check_floating("x", x, _SHAPES))

    def forward(
        self, x: Any, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[FloatArray, Pullback]:
        """Return ``(y, pullback)``.

        Parameters
        ----------
        x : array_like (N, C) or (N, T, C)
            float64 stays, all else becomes float32.
        lengths : array_like (N,) of int, optional
            Steps are computed each for itself, valid or not.
        rng : numpy.random.Generator, optional
            Nothing is drawn.

        Returns
        -------
        y : ndarray, shape of x
            It cannot be written to: the pullback reads it.
        pullback : callable
            ``dx = pullback(dy, grads)``; see `Layer`.

        Raises
        ------
        TypeError
            If x does not hold real numbers.
        ValueError
            If its shape does not fit.
        """
        x = check_floating("x", x, _SHAPES)
        y = self._run(x)
        y.flags.writeable = False
        return y, Once(self, y.shape, y.dtype, lambda dy, grads: self._slope(y, dy, grads))

    def _run(self, x: FloatArray) -> FloatArray:
        if self.kind == "relu":
            return np.maximum(x, 0)
        if self.kind in ("tanh", "sigmoid"):
            y: FloatArray = np.array(x, order="C")
            implementation("ops").activate(self.kind, y)
            return y
        y = x - x.max(axis=-1, keepdims=True, initial=-np.inf)
        if self.kind == "softmax":
            np.exp(y, out=y)
            y /= y.sum(axis=-1, keepdims=True)
        else:
            y -= np.log(np.exp(y).sum(axis=-1, keepdims=True))
        return y

    def _slope(self, y: FloatArray, dy: FloatArray, grads: Gradients) -> FloatArray:
        """Return the gradient of x from the result and its gradient."""
        dx: FloatArray
        if self.kind == "relu":
            dx = dy * (y > 0)
        elif self.kind == "tanh":
            dx = dy * (1 - y * y)
        elif self.kind == "sigmoid":
            dx = dy * (y * (1 - y))
        elif self.kind == "softmax":
            dx = y * (dy - (dy * y).sum(axis=-1, keepdims=True))
        else:
            dx = dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)
        return dx

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        return {"kind": self.kind}
