"""Looking into a network in training: gradients through time, gates, activations, updates."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np

from rnnfast.checks import check_flag, check_seed, check_size, kind_of, told_of
from rnnfast.diagnostics.gates import activity, saturation
from rnnfast.diagnostics.jacobians import gradient_norms, recurrence
from rnnfast.diagnostics.levels import levels
from rnnfast.diagnostics.record import Seen, record
from rnnfast.diagnostics.report import Diagnosis, LayerReport, LevelReport, ParameterReport, advise
from rnnfast.layers.base import Gradients, Layer
from rnnfast.optimizers import Optimizer

__all__ = ["Diagnosis", "LayerReport", "LevelReport", "ParameterReport", "diagnose"]


def diagnose(
    model: Layer,
    batch: Any,
    loss: Any,
    *,
    state: Any = None,
    optimizer: Optimizer | None = None,
    steps: int = 200,
    seed: int = 0,
    show: bool = True,
) -> Diagnosis:
    """Look into a model at one batch; print a short verdict with advice, and return the numbers.

    For each level and direction of recurrent layers: the norm of the gradient at every step, what the product of the
    step Jacobians does to a gradient (its norm, the gain for each step, the spectral radius of single steps), and the
    share of saturated gates; for each layer the statistics of its outputs and its dead units; for each parameter the
    norms of weight, gradient and update. Model and optimiser are left as they are.

    Parameters
    ----------
    model : Layer
        Batch first.
    batch : tuple
        (x, y), (x, y, lengths) or (x, y, lengths, mask), arrays as the model and the loss take them. Some dozens of
        sequences are enough.
    loss : callable
        A loss of ``rnnfast.losses``.
    state : optional
        The model's initial state; None: zeros.
    optimizer : Optimizer, optional
        The one that trains the model, with its state, for the size of the next update (without clipping).
    steps : int, default 200
        The last steps of the longest sequence over which Jacobians are multiplied.
    seed : int, default 0
        For dropout, and for the directions with which Jacobians of states above 256 numbers are estimated; smaller
        ones are computed whole.
    show : bool, default True
        Whether to print.

    Returns
    -------
    Diagnosis
        Numbers for plots, and ``advice``.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; what model and loss raise besides.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import RNN, Dense, Last, MeanSquared, Sequential, diagnose
    >>> model = Sequential(RNN(2, 16, seed=0), Last(), Dense(16, 1, seed=1))
    >>> x = np.random.default_rng(0).standard_normal((8, 100, 2))
    >>> found = diagnose(model, (x, x[:, 0, :1]), MeanSquared(), show=False)
    >>> found.levels[0].verdict, found.levels[0].gradient_norms.shape
    ('vanishing', (100,))
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model must be of Layer; got {kind_of(model)}")
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be of Optimizer; got {kind_of(optimizer)}")
    if not isinstance(batch, (tuple, list)) or not 2 <= len(batch) <= 4:
        raise TypeError(f"batch must be (x, y), (x, y, lengths) or (x, y, lengths, mask); got {kind_of(batch)}")
    if not callable(loss) or not hasattr(loss, "forward") or isinstance(loss, type):
        raise TypeError(f"loss must be callable and have forward; got {kind_of(loss)}")
    steps, show = check_size("steps", steps), check_flag("show", show)
    x, y, lengths, mask = (*batch, None, None)[:4]
    rng = check_seed(seed)
    with np.errstate(over="ignore", invalid="ignore"):
        with told_of("batch does not suit the model or the loss"):
            value, grads, seen = record(model, loss, x, y, state, lengths, mask, rng)
        found = Diagnosis(
            loss=value,
            gradient_norm=math.sqrt(sum(float(np.vdot(g, g)) for g in grads.values())),
            levels=[report for one in seen if one.layer.stateful for report in _levels(one, steps, seed)],
            layers=[_layer(one) for one in seen],
            parameters=_parameters(model, grads, optimizer),
            advice=[],
        )
    found = replace(found, advice=advise(found))
    if show:
        print(found)
    return found


def _levels(seen: Seen, steps: int, seed: int) -> list[LevelReport]:
    reports = []
    for level in levels(seen):
        norms, gates = gradient_norms(level), saturation(level)
        found = recurrence(level, steps, seed)
        more = {} if found is None else found._asdict()
        reports.append(LevelReport(level.name, norms, gates, **more))
    return reports


def _layer(seen: Seen) -> LayerReport:
    assert seen.y is not None
    mean, std, largest, zeros, dead = activity(seen.y, seen.lengths)
    kind = type(seen.layer).__name__
    return LayerReport(seen.name, kind, mean, std, largest, zeros, seen.y.shape[-1], dead)


def _parameters(model: Layer, grads: Gradients, optimizer: Optimizer | None) -> dict[str, ParameterReport]:
    """Return the norms of weights, gradients and updates, the last by a step taken in copies."""
    before = model.parameters()
    after: Gradients = {}
    if optimizer is not None and all(np.isfinite(g).all() for g in grads.values()):
        twin = copy.deepcopy(model)
        copy.deepcopy(optimizer).update(twin, grads)
        after = twin.parameters()
    found = {}
    for name, weight in before.items():
        update = _norm(after[name] - weight) if name in after else math.nan
        gradient = _norm(grads[name]) if name in grads else 0.0
        found[name] = ParameterReport(_norm(weight), gradient, update)
    return found


def _norm(array: Any) -> float:
    return float(np.linalg.norm(np.asarray(array, np.float64)))
