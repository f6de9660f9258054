"""The speed of a training step on the native path and on the reference path, after proof that they agree."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from rnnfast.backend import use_backend
from rnnfast.demos.common import UserError
from rnnfast.layers.base import Gradients
from rnnfast.layers.sequential import Sequential

# Of the norm of each gradient. Both paths round in single precision, in another order.
TOLERANCE = 1e-3


class Speeds(NamedTuple):
    """Seconds of one training step, the fastest of several, by path; and the greatest relative difference."""

    native: float
    reference: float
    difference: float


def compare(model: Sequential, loss: Any, x: Any, y: Any, rounds: int = 3) -> Speeds:
    """Time the same training step (loss and all gradients) on both paths, by turns.

    Raises
    ------
    UserError
        If their losses or gradients differ by more than rounding.
    """
    values, grads = {}, {}
    for name in ("reference", "native"):
        with use_backend(name):
            values[name], grads[name] = _step(model, loss, x, y)
    difference = abs(values["native"] - values["reference"]) / abs(values["reference"])
    for name, wanted in grads["reference"].items():
        norm = float(np.linalg.norm(wanted))
        difference = max(difference, float(np.linalg.norm(grads["native"][name] - wanted)) / max(norm, 1e-30))
    if not difference <= TOLERANCE:
        raise UserError(f"the native path and the reference path differ by {difference:.1e}: not timed")
    best = {"native": np.inf, "reference": np.inf}
    for _ in range(rounds):
        for name in ("reference", "native", "native"):
            with use_backend(name):
                started = time.perf_counter()
                _step(model, loss, x, y)
                best[name] = min(best[name], time.perf_counter() - started)
    return Speeds(best["native"], best["reference"], difference)


def _step(model: Sequential, loss: Any, x: Any, y: Any) -> tuple[float, Gradients]:
    grads: Gradients = {}
    (out, _), pullback = model.forward(x)
    value, loss_pullback = loss.forward(out, y)
    pullback(loss_pullback(), grads)
    return float(value), grads
