"""Dropout: some activations become zero in training, and none in inference."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.backend import implementation
from rnnfast.checks import FloatArray, check_floating, check_generator, check_number
from rnnfast.layers.base import Gradients, Layer, Pullback
from rnnfast.layers.once import Once

_SHAPES = (("N", "C"), ("N", "T", "C"))


class Dropout(Layer):
    """Each element becomes 0 with chance p in ``forward`` and is divided by 1 - p otherwise; calling changes nothing.

    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting". No mask is kept:
    which elements go follows from a seed and their places (see ``rnnfast.reference.ops.keep``), so the pullback asks
    again.

    Parameters
    ----------
    p : float, default 0.5
        Chance of an element to become 0; at least 0 and less than 1.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = check_number("p", p, 0.0, 1.0, below=True)
        super().__init__()

    def __call__(self, x: Any, *, lengths: Any = None) -> FloatArray:
        """Return x."""
        return check_floating("x", x, _SHAPES)

    def forward(
        self, x: Any, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[FloatArray, Pullback]:
        """Return ``(y, pullback)``.

        Parameters
        ----------
        x : array_like (N, C) or (N, T, C)
            float64 stays, all else becomes float32.
        lengths : array_like (N,) of int, optional
            Steps are treated alike, valid or not.
        rng : numpy.random.Generator, optional
            Source of the seed; fresh entropy if None.

        Returns
        -------
        y : ndarray, shape of x
        pullback : callable
            ``dx = pullback(dy, grads)``; see `Layer`.

        Raises
        ------
        TypeError
            If x does not hold real numbers, or rng is something else.
        ValueError
            If the shape does not fit.
        """
        x = check_floating("x", x, _SHAPES)
        rng = check_generator(rng) or np.random.default_rng()
        p = self.p
        if p == 0.0:
            return x, Once(self, x.shape, x.dtype, lambda dy, grads: dy)
        seed = int(rng.integers(2**64, dtype=np.uint64))
        dropout = implementation("ops").dropout

        def backward(dy: FloatArray, grads: Gradients) -> FloatArray:
            dx: FloatArray = dropout(dy, p, seed)
            return dx

        return dropout(x, p, seed), Once(self, x.shape, x.dtype, backward)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        return {"p": self.p}
