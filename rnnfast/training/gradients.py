"""Storage of gradients that lives as long as the training: allocated once, zeroed for every batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.checks import FloatArray
from rnnfast.layers.base import Gradients, Layer

ALIGNMENT = 64  # bytes: a cache line and the widest vector


class GradientStore:
    """One flat buffer for each dtype of a layer's parameters.

    Attributes
    ----------
    grads : dict of str to ndarray
        The gradients by full parameter name: views of the buffers, each at the start of a cache line.
    flat : dict of str to ndarray
        The buffers by name of dtype. What lies between the views is zero.
    """

    def __init__(self, layer: Layer) -> None:
        self._lay_out(layer.parameters())

    def _lay_out(self, params: Gradients) -> None:
        """Make buffers for gradients of these parameters."""
        self.grads: Gradients = {}
        self.flat: Gradients = {}
        for dtype in sorted({p.dtype for p in params.values()}, key=str):
            unit = ALIGNMENT // dtype.itemsize
            sizes = {name: p.size for name, p in params.items() if p.dtype == dtype}
            padded = {name: -(-size // unit) * unit for name, size in sizes.items()}
            buffer = _aligned(sum(padded.values()), dtype)
            self.flat[dtype.name] = buffer
            start = 0
            for name, size in sizes.items():
                self.grads[name] = buffer[start : start + size].reshape(params[name].shape)
                start += padded[name]

    def zero(self) -> None:
        """Set every gradient to zero."""
        for buffer in self.flat.values():
            buffer.fill(0)

    def __getstate__(self) -> Gradients:
        return self.grads

    def __setstate__(self, grads: Gradients) -> None:
        self._lay_out(grads)  # copied one by one, gradients would be views of the buffers no more
        for name, gradient in grads.items():
            self.grads[name][...] = gradient


def _aligned(size: int, dtype: np.dtype[Any]) -> FloatArray:
    raw = np.zeros(size * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size * dtype.itemsize].view(dtype)
