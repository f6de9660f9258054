"""LayerNorm: each row or step brought to mean 0 and variance 1, then scaled and shifted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnfast.backend import implementation
from rnnfast.checks import FloatArray, check_dtype, check_flag, check_floating, check_number, check_real, check_size
from rnnfast.layers.base import Gradients, Layer, Pullback, add_gradient
from rnnfast.layers.once import Once
from rnnfast.rows import from_rows, is_time_major, to_rows


class LayerNorm(Layer):
    """y = weight * (x - mean(x)) / sqrt(var(x) + eps) + bias over the last axis, for every row or step.

    Ba, Kiros and Hinton 2016, "Layer normalization"; arguments and parameters are those of torch.nn.LayerNorm over one
    axis. The variance is that of the population (divided by C).

    Parameters
    ----------
    normalized_shape : int or (int,)
        C, the features of x.
    eps : float, default 1e-5
        Added to the variance; above 0.
    elementwise_affine : bool, default True
        Whether there are a weight and a bias.
    bias : bool, default True
        Whether there is a bias beside the weight.
    dtype : dtype, default float32
        float32 or float64.

    Notes
    -----
    Parameters: ``weight`` (C,), ones at first, and ``bias`` (C,), zeros.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.layers.normalization import LayerNorm
    >>> LayerNorm(4)(np.array([[1.0, 2.0, 3.0, 4.0]])).round(3)
    array([[-1.342, -0.447,  0.447,  1.342]], dtype=float32)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
    ) -> None:
        if isinstance(normalized_shape, (tuple, list)):
            if len(normalized_shape) != 1:
                raise ValueError(f"normalized_shape must be of one axis, the last; got {tuple(normalized_shape)}")
            (normalized_shape,) = normalized_shape
        self.normalized_shape = check_size("normalized_shape", normalized_shape)
        self.eps = check_number("eps", eps, 0.0, above=True)
        self.elementwise_affine = check_flag("elementwise_affine", elementwise_affine)
        self.bias = check_flag("bias", bias)
        self.dtype = check_dtype(dtype)
        shape = (self.normalized_shape,)
        arrays: Gradients = {}
        if self.elementwise_affine:
            arrays["weight"] = np.ones(shape, self.dtype)
            if self.bias:
                arrays["bias"] = np.zeros(shape, self.dtype)
        super().__init__(arrays)

    def __call__(self, x: Any, *, lengths: Any = None) -> FloatArray:
        """Return y without saving anything for a backward pass; arguments as in `forward`."""
        x = self._checked(x)
        swapped = is_time_major(x)
        return from_rows(self._run(to_rows(x, swapped), False)[0], x.shape, swapped)

    def forward(
        self, x: Any, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[FloatArray, Pullback]:
        """Return ``(y, pullback)``.

        Parameters
        ----------
        x : array_like (N, C) or (N, T, C)
            Must not be changed before the pullback is called.
        lengths : array_like (N,) of int, optional
            Steps are normalised each for itself, valid or not: those past a length hold the bias when x is zero there.
        rng : numpy.random.Generator, optional
            Nothing is drawn.

        Returns
        -------
        y : ndarray, shape of x
        pullback : callable
            ``dx = pullback(dy, grads)``; see `Layer`.

        Raises
        ------
        TypeError
            If x does not hold real numbers.
        ValueError
            If its shape does not fit.
        """
        x = self._checked(x)
        swapped = is_time_major(x)
        y, saved = self._run(to_rows(x, swapped), True)
        gradients = implementation("normalization").layer_norm_gradients

        def backward(dy: FloatArray, grads: Gradients) -> FloatArray:
            weight = self.params.get("weight")
            dx, dweight, dbias = gradients(to_rows(dy, swapped), saved, weight)
            for name, total in (("weight", dweight), ("bias", dbias)):
                if name in self.params:
                    add_gradient(grads, name, total)
            return from_rows(dx, x.shape, swapped)

        return from_rows(y, x.shape, swapped), Once(self, x.shape, self.dtype, backward)

    def _run(self, rows: FloatArray, save: bool) -> Any:
        params = self.params
        return implementation("normalization").layer_norm(
            rows, params.get("weight"), params.get("bias"), self.eps, save
        )

    def _checked(self, x: Any) -> FloatArray:
        size = self.normalized_shape
        x = check_floating("x", x, (("N", size), ("N", "T", size)))
        return check_real("x", x, self.dtype, x.shape)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        return {
            "normalized_shape": self.normalized_shape,
            "eps": self.eps,
            "elementwise_affine": self.elementwise_affine,
            "bias": self.bias,
            "dtype": self.dtype.name,
        }
