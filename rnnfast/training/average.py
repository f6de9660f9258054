"""The exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from rnnfast._native.interrupts import hold_interrupts
from rnnfast.checks import check_number
from rnnfast.layers.base import Gradients, Layer


class Average:
    """A running mean of parameters: ``a = d a + (1 - d) p`` at update t from 0, ``d = min(decay, t / (t + 10))``.

    The first updates weigh more than the decay says, so that early parameters are soon forgotten; the initial ones do
    not count at all.

    Parameters
    ----------
    model : Layer
        Whose parameters to average.
    decay : float
        In [0, 1); the mean is over about ``1 / (1 - decay)`` updates.

    Attributes
    ----------
    arrays : dict of str to ndarray
        The averages by full name.
    count : int
        Updates seen.
    """

    def __init__(self, model: Layer, decay: float) -> None:
        self.decay = check_number("ema", decay, 0, 1, below=True)
        self.arrays: Gradients = model.state_dict()
        self.count = 0

    def update(self, model: Layer) -> None:
        """Take in the parameters as they now are."""
        share = 1.0 - min(self.decay, self.count / (self.count + 10.0))
        self.count += 1
        for name, param in model.parameters().items():
            average = self.arrays[name]
            average += average.dtype.type(share) * (param - average)

    @contextmanager
    def swapped(self, model: Layer) -> Iterator[None]:
        """Let the model have the averages, if there are any yet, while the block runs."""
        if not self.count:
            yield
            return
        own = model.state_dict()
        with hold_interrupts():
            model.load_state_dict(self.arrays)
        try:
            yield
        finally:
            with hold_interrupts():
                model.load_state_dict(own)

    def set(self, arrays: Mapping[str, Any], count: int) -> None:
        """Take over averages by full name, all of them or, on an error, none."""
        if set(arrays) != set(self.arrays):
            missing, unknown = sorted(set(self.arrays) - set(arrays)), sorted(set(arrays) - set(self.arrays))
            raise KeyError(f"averaged weights do not fit: missing {missing or 'none'}, unknown {unknown or 'none'}")
        for name, own in self.arrays.items():
            if np.shape(arrays[name]) != own.shape:
                raise ValueError(f"averaged {name} must have shape {own.shape}; got {np.shape(arrays[name])}")
        for name, own in self.arrays.items():
            np.copyto(own, arrays[name])
        self.count = count
