"""The speed of a training step on the native path and on the reference path, after proof that they agree."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from rnnfast.backend import use_backend
from rnnfast.demos.common import UserError
from rnnfast.layers.base import Gradients
from rnnfast.layers.sequential import Sequential

# Of the norm of a gradient. Both paths round in single precision, in another order.
TOLERANCE = 1e-3
ROUNDS = 5
# Seconds after which no further round begins.
ENOUGH = 4.0


class Speeds(NamedTuple):
    """Seconds of one training step, the fastest of several, by path; and the greatest relative difference."""

    native: float
    reference: float
    difference: float


def compare(model: Sequential, loss: Any, x: Any, y: Any) -> Speeds:
    """Time the same training step (loss and all gradients) on both paths, by turns.

    Parameters
    ----------
    model : Sequential
        A fresh one: where nothing is left to learn, gradients are mere rounding and cannot be compared.
    loss : Loss
        What is minimised.
    x, y : ndarray
        The batch.

    Raises
    ------
    UserError
        If their losses or gradients differ by more than rounding.
    """
    value, grads = _run("native", model, loss, x, y)[1:]
    wanted_value, wanted = _run("reference", model, loss, x, y)[1:]
    total = float(np.sqrt(sum(np.vdot(array, array) for array in wanted.values())))
    difference = abs(value - wanted_value) / abs(wanted_value)
    for name, array in wanted.items():
        # A gradient that is zero but for rounding is measured by the others.
        scale = max(float(np.linalg.norm(array)), 1e-3 * total)
        difference = max(difference, float(np.linalg.norm(grads[name] - array)) / scale)
    if not difference <= TOLERANCE:
        raise UserError(f"the native path and the reference path differ by {difference:.1e}: not timed")
    native = reference = np.inf
    started = time.perf_counter()
    for done in range(ROUNDS):
        if done and time.perf_counter() - started > ENOUGH:
            break
        # Twice each: threads that the other path left spinning disturb the first.
        reference = min(reference, *(_run("reference", model, loss, x, y)[0] for _ in range(2)))
        native = min(native, *(_run("native", model, loss, x, y)[0] for _ in range(2)))
    return Speeds(native, reference, difference)


def _run(backend: str, model: Sequential, loss: Any, x: Any, y: Any) -> tuple[float, float, Gradients]:
    """Return the seconds of a training step, its loss and its gradients."""
    with use_backend(backend):
        started = time.perf_counter()
        grads: Gradients = {}
        (out, _), pullback = model.forward(x)
        value, loss_pullback = loss.forward(out, y)
        pullback(loss_pullback(), grads)
        return time.perf_counter() - started, float(value), grads
