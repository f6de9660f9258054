"""The pullback of stateless layers: checks what comes in, and runs once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnfast.checks import FloatArray, called_before, check_real, parameters_changed
from rnnfast.layers.base import Gradients, Layer, check_gradients


class Once:
    """A backward pass that can be called once, and only while the layer's parameters stand as in the forward pass.

    Parameters
    ----------
    layer : Layer
    shape : tuple of int
        Shape of the output.
    dtype : numpy.dtype
        Its dtype.
    backward : callable
        ``backward(dy, grads)`` for a checked dy; it adds into ``grads`` and returns dx.
    """

    __slots__ = ("_backward", "_dtype", "_layer", "_shape", "_version")

    def __init__(
        self,
        layer: Layer,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        backward: Callable[[FloatArray, Gradients], Any],
    ) -> None:
        self._layer = layer
        self._version = layer.params.version
        self._shape = shape
        self._dtype = dtype
        self._backward: Callable[[FloatArray, Gradients], Any] | None = backward

    def __call__(self, dy: Any, grads: Gradients) -> Any:
        """Add the gradients of the parameters into ``grads`` and return the gradient of the input.

        Raises
        ------
        TypeError, ValueError
            If ``dy`` is not real or not of the output's shape, or an entry of ``grads`` does not fit its parameter
            or cannot be written to.
        RuntimeError
            If it was called before, or the parameters have changed since the forward pass.
        """
        backward = self._backward
        if backward is None:
            raise called_before()
        params = self._layer.params
        if params.version != self._version:
            raise parameters_changed()
        dy = check_real("dy", dy, self._dtype, self._shape)
        check_gradients(grads, params)
        self._backward = None
        return backward(dy, grads)
