"""Last, Ends, MeanPool and MaxPool: one vector for a sequence, from its valid steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.backend import implementation
from rnnfast.checks import FloatArray, check_floating, check_lengths
from rnnfast.layers.base import Gradients, Layer, Pullback
from rnnfast.layers.once import Once

_Lengths = NDArray[np.int64] | None


class Pool(Layer):
    """What Last, Ends, MeanPool and MaxPool share: (N, T, C) becomes (N, C), and sequences of length 0 become zeros."""

    def __init__(self) -> None:
        super().__init__()

    @property
    def pools(self) -> bool:
        """True: the result has no time axis."""
        return True

    def __call__(self, x: Any, *, lengths: Any = None) -> FloatArray:
        """Return y without saving anything for a backward pass; arguments as in `forward`."""
        return self._run(*_checked(x, lengths))[0]

    def forward(
        self, x: Any, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[FloatArray, Pullback]:
        """Return ``(y, pullback)``.

        Parameters
        ----------
        x : array_like (N, T, C)
            float64 stays, all else becomes float32. Steps past a sequence's length may hold anything.
        lengths : array_like (N,) of int, optional
            Valid steps of each sequence, 0..T; None: all T.
        rng : numpy.random.Generator, optional
            Nothing is drawn.

        Returns
        -------
        y : ndarray (N, C)
        pullback : callable
            ``dx = pullback(dy, grads)``, zeros past a sequence's length; see `Layer`.

        Raises
        ------
        TypeError
            If an argument is not of a kind that can be read as such.
        ValueError
            If a shape or a length does not fit.
        """
        x, valid = _checked(x, lengths)
        y, back = self._run(x, valid)
        shape, dtype = x.shape, x.dtype

        def backward(dy: FloatArray, grads: Gradients) -> FloatArray:
            dx = np.zeros(shape, dtype)
            if dx.size:
                back(dy, dx)
            return dx

        return y, Once(self, y.shape, dtype, backward)

    def _run(self, x: FloatArray, lengths: _Lengths) -> tuple[FloatArray, Callable[[FloatArray, FloatArray], None]]:
        """Return y, and what fills a zeroed dx from dy."""
        raise NotImplementedError


class Last(Pool):
    """y[n] = x[n, lengths[n] - 1], the last valid step."""

    def _run(self, x: FloatArray, lengths: _Lengths) -> tuple[FloatArray, Callable[[FloatArray, FloatArray], None]]:
        batch, steps, _ = x.shape
        if lengths is None and steps:

            def back_to_last(dy: FloatArray, dx: FloatArray) -> None:
                dx[:, -1] = dy

            return x[:, -1].copy(), back_to_last
        ends = np.zeros(batch, np.int64) if lengths is None else lengths
        rows = np.flatnonzero(ends)
        places = ends[rows] - 1
        y = np.zeros((batch, x.shape[2]), x.dtype)
        y[rows] = x[rows, places]

        def back(dy: FloatArray, dx: FloatArray) -> None:
            dx[rows, places] = dy[rows]

        return y, back


class Ends(Pool):
    """y[n] = what both directions know at their ends: x[n, lengths[n] - 1, : C/2] and x[n, 0, C/2 :].

    After a bidirectional layer, whose output has both directions side by side: its forward direction has read the
    whole sequence at the last valid step, its reverse direction at the first. These are the final states h of its
    last layer: torch's ``torch.cat([h[-2], h[-1]], dim=1)``, Keras's Bidirectional with ``return_sequences=False``.
    """

    def _run(self, x: FloatArray, lengths: _Lengths) -> tuple[FloatArray, Callable[[FloatArray, FloatArray], None]]:
        batch, steps, columns = x.shape
        if columns % 2:
            raise ValueError(f"x must have an even number of columns, half of them for each direction; got {columns}")
        half = columns // 2
        ends = np.full(batch, steps) if lengths is None else lengths
        rows = np.flatnonzero(ends)
        last, first = ends[rows] - 1, np.zeros_like(rows)
        y = np.zeros((batch, columns), x.dtype)
        y[rows, :half] = x[rows, last, :half]
        y[rows, half:] = x[rows, first, half:]

        def back(dy: FloatArray, dx: FloatArray) -> None:
            dx[rows, last, :half] = dy[rows, :half]
            dx[rows, first, half:] = dy[rows, half:]

        return y, back


class MeanPool(Pool):
    """y[n] = the mean of x[n, t] over the valid steps t."""

    def _run(self, x: FloatArray, lengths: _Lengths) -> tuple[FloatArray, Callable[[FloatArray, FloatArray], None]]:
        batch, steps, _ = x.shape
        counts = np.full(batch, steps) if lengths is None else lengths
        share = (1.0 / np.maximum(counts, 1)).astype(x.dtype)[:, None]
        valid = None if lengths is None else (np.arange(steps) < counts[:, None])[:, :, None]
        y = (x if valid is None else np.where(valid, x, 0)).sum(axis=1) * share

        def back(dy: FloatArray, dx: FloatArray) -> None:
            np.copyto(dx, (dy * share)[:, None], where=True if valid is None else valid)

        return y, back


class MaxPool(Pool):
    """y[n, c] = the largest of x[n, t, c] over the valid steps t; the first of equals gets the gradient."""

    def _run(self, x: FloatArray, lengths: _Lengths) -> tuple[FloatArray, Callable[[FloatArray, FloatArray], None]]:
        y, steps = implementation("ops").max_pool(x, lengths)

        def back(dy: FloatArray, dx: FloatArray) -> None:
            rows, columns = np.nonzero(steps >= 0)
            dx[rows, steps[rows, columns], columns] = dy[rows, columns]

        return y, back


def _checked(x: Any, lengths: Any) -> tuple[FloatArray, _Lengths]:
    x = check_floating("x", x, (("N", "T", "C"),))
    return x, check_lengths(lengths, *x.shape[:2])
