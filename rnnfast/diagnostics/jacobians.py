"""Gradients through time: how large they are at each step, and what the recurrence alone does to them.

The Jacobian of a step is J_t = ds_t / ds_{t-1}, s being the whole state (h, and c where there is one). A gradient that
comes from step T to step t has been through J_T ... J_{t+1}. Rows of that product are gradients: a step's pullback is
called with a bundle of directions side by side as the rows of a batch, first the unit vectors, then what came back.

Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import FloatArray
from rnnfast.diagnostics.levels import Level
from rnnfast.layers.states import map_state, state_leaves, zeros_like

EXACT = 256  # the largest state whose Jacobians are computed whole
PROBES = 32  # random directions where it is larger
RADII = 8  # steps of which the spectral radius is computed


class Recurrence(NamedTuple):
    """What the Jacobians of a level do; see `LevelReport` for the fields."""

    exact: bool
    steps: int
    radius: NDArray[np.float64]
    norm: NDArray[np.float64]
    gain: NDArray[np.float64]
    product_norm_log10: float
    growth: float


def gradient_norms(level: Level) -> NDArray[np.float64]:
    """Return the norm of dL/dh_t over the batch, for each step t; outputs and all later steps taken together."""
    batch, steps, _ = level.x.shape
    state, pullbacks = level.state, []
    for t in range(steps):
        live = (level.lengths > t).astype(np.int64)
        (_, state), pullback = level.layer.forward(level.x[:, t : t + 1], state, lengths=live)
        pullbacks.append(pullback)
    norms = np.zeros(steps)
    dstate = zeros_like(state)
    for t in reversed(range(steps)):
        valid = level.lengths > t
        # What arrives from later steps, beside what the output of this step gets.
        first = state_leaves(dstate)[0][1] if state_leaves(dstate) else np.zeros((1, batch, 1))
        later = first[0] if first.ndim == 3 else first
        own = level.dy[:, t]
        total = later + own if later.shape == own.shape else own
        norms[t] = np.linalg.norm(total[valid].astype(np.float64))
        _, dstate = pullbacks.pop()(level.dy[:, t : t + 1], {}, dstate=dstate)
    return norms


def recurrence(level: Level, limit: int, seed: int = 0) -> Recurrence | None:
    """Return what the Jacobians do along one sequence, the longest, over its last ``limit`` steps.

    None where there is no step or no state, or the state is not one of arrays (1, N, size).
    """
    row = int(level.lengths.argmax())
    end = int(level.lengths[row])
    states = _states(level, row, end)
    if states is None or not end:
        return None
    sizes = [part.shape[2] for _, part in state_leaves(states[0])]
    size = sum(sizes)
    exact = size <= EXACT
    rng = np.random.default_rng(seed)
    bundle = np.eye(size) if exact else np.linalg.qr(rng.standard_normal((size, min(PROBES, size))))[0].T
    begin = max(0, end - limit)
    steps = end - begin
    gain = np.zeros(steps + 1)  # log of the root mean square gain, by steps gone back
    log, dead = 0.0, False
    scale = np.sqrt(len(bundle))
    for k, t in enumerate(reversed(range(begin, end)), 1):
        bundle = _back(level, row, t, states[t], bundle, sizes)
        size_now = float(np.linalg.norm(bundle)) / scale
        if not np.isfinite(size_now) or size_now == 0.0:
            gain[k:] = np.inf if size_now else -np.inf
            dead = True
            break
        bundle /= size_now
        log += np.log(size_now)
        gain[k] = log
    top = -np.inf if dead else (log + np.log(np.linalg.norm(bundle, 2))) / np.log(10)
    if dead and gain[-1] == np.inf:
        top = np.inf
    looked = np.unique(np.linspace(begin, end - 1, min(RADII, steps)).astype(int))
    radius, norm = np.zeros(len(looked)), np.zeros(len(looked))
    for i, t in enumerate(looked):
        radius[i], norm[i] = _step(level, row, int(t), states[t], sizes, rng)
    with np.errstate(over="ignore"):
        growth = float(np.exp(gain[-1] / steps))
    return Recurrence(exact, steps, radius, norm, gain / np.log(10), float(top), growth)


def _states(level: Level, row: int, end: int) -> list[Any] | None:
    """Return the states of one sequence before every step and after the last."""
    state = map_state(lambda s: s[:, row : row + 1], level.state)
    if state is None:
        _, final = level.layer(level.x[row : row + 1, :1])
        state = zeros_like(final)
    if any(part.ndim != 3 for _, part in state_leaves(state)) or not state_leaves(state):
        return None
    found = [state]
    for t in range(end):
        _, state = level.layer(level.x[row : row + 1, t : t + 1], state)
        found.append(state)
    return found


def _back(level: Level, row: int, t: int, state: Any, bundle: FloatArray, sizes: list[int]) -> FloatArray:
    """Return ``bundle @ J_t``: each row of it taken back through step t."""
    count = len(bundle)
    x = np.repeat(level.x[row : row + 1, t : t + 1], count, axis=0)
    many = map_state(lambda s: np.repeat(s, count, axis=1), state)
    (_, after), pullback = level.layer.forward(x, many)
    parts = iter(np.split(bundle, np.cumsum(sizes)[:-1], axis=1))
    dstate = map_state(lambda s: next(parts)[None].astype(s.dtype), after)
    _, dbefore = pullback(None, {}, dstate=dstate)
    return np.concatenate([part[0] for _, part in state_leaves(dbefore)], axis=1).astype(np.float64)


def _step(
    level: Level, row: int, t: int, state: Any, sizes: list[int], rng: np.random.Generator
) -> tuple[float, float]:
    """Return the spectral radius of J_t and its norm: of the whole matrix, or of what a subspace shows of it."""
    size = sum(sizes)
    if size <= EXACT:
        jacobian = _back(level, row, t, state, np.eye(size), sizes)
        if not np.isfinite(jacobian).all():
            return np.inf, np.inf
        return float(np.abs(np.linalg.eigvals(jacobian)).max()), float(np.linalg.norm(jacobian, 2))
    # Subspace iteration on the pullback: the span of Q J^n turns to the largest eigenvalues.
    basis = np.linalg.qr(rng.standard_normal((size, PROBES)))[0]
    for _ in range(30):
        basis = np.linalg.qr(_back(level, row, t, state, basis.T, sizes).T)[0]
    image = _back(level, row, t, state, basis.T, sizes)
    return float(np.abs(np.linalg.eigvals(image @ basis)).max()), float(np.linalg.norm(image, 2))
