"""Connectionist temporal classification in NumPy: the loss and its gradient.

Graves et al. 2006, "Connectionist temporal classification: labelling unsegmented sequence data with recurrent neural
networks". A path has a class or the blank in each step; it spells what is left when repetitions are merged and blanks
taken out. The probability of a labelling is the sum over all paths that spell it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import FloatArray

Found = list[tuple[NDArray[np.int64], float, float]]


def losses(
    x: FloatArray,
    lengths: NDArray[np.int64],
    labels: NDArray[np.int64],
    offsets: NDArray[np.int64],
    blank: int,
    weights: NDArray[np.float64],
    gradient: bool,
) -> tuple[NDArray[np.float64], FloatArray | None]:
    """Return -log p of each sequence's labels, and the gradient of ``sum_n weights_n * losses_n``.

    The states are z = (blank, l_1, blank, l_2, ..., blank), with y_tk = log softmax(x_t)_k:

    alpha_ts = y_t,z_s + log(e^alpha_t-1,s + e^alpha_t-1,s-1 + [z_s a label other than z_s-2] e^alpha_t-1,s-2),
    beta likewise from the end and without the step's own y, loss = -log sum_s e^(alpha_Ts + beta_Ts),
    dx_tk = weight * (softmax(x_t)_k - sum over the states s of class k of e^(alpha_ts + beta_ts + loss)).

    Parameters
    ----------
    x : (N, T, C)
    lengths : (N,)
        Valid steps of each sequence.
    labels : (L,)
        Of all sequences, one after the other; the n-th has ``labels[offsets[n]:offsets[n + 1]]``.
    offsets : (N + 1,)
    blank : int
    weights : (N,)
        A sequence of weight 0 is not looked at: its loss and gradient are 0.
    gradient : bool
        Whether the gradient is wanted; else None takes its place.

    Returns
    -------
    losses : (N,) float64
        Before weights. Infinite where no path of that many steps spells the labels; NaN where x is not finite.
    dx : (N, T, C) or None
        NaN in the valid steps of a sequence whose loss is not finite.
    """
    found = np.zeros(len(x))
    dx = np.zeros(x.shape, x.dtype) if gradient else None
    for n in np.flatnonzero(weights):
        steps = int(lengths[n])
        own = labels[offsets[n] : offsets[n + 1]]
        if not steps:
            found[n] = np.inf if len(own) else 0.0
            continue
        found[n], slope = _one(x[n, :steps].astype(np.float64), own, blank)
        if dx is not None:
            dx[n, :steps] = slope * weights[n] if np.isfinite(found[n]) else np.nan
    return found, dx


def _one(x: NDArray[np.float64], labels: NDArray[np.int64], blank: int) -> tuple[float, NDArray[np.float64]]:
    """Return the loss of x (T, C), T at least 1, and its gradient."""
    with np.errstate(invalid="ignore"):
        y = x - np.logaddexp.reduce(x, axis=1, keepdims=True)
    if np.isnan(y).any():
        return np.nan, x
    steps, states = len(x), 2 * len(labels) + 1
    z = np.full(states, blank)
    z[1::2] = labels
    jumps = np.zeros(states, bool)  # whether state s may follow state s - 2
    jumps[2:] = (z[2:] != blank) & (z[2:] != z[:-2])
    alpha = np.full((steps, states), -np.inf)
    beta = np.full((steps, states), -np.inf)
    alpha[0, :2] = y[0, z[:2]]
    beta[-1, -2:] = 0.0
    for t in range(1, steps):
        alpha[t] = y[t, z] + _from_before(alpha[t - 1], jumps)
        later = (beta[steps - t] + y[steps - t, z])[::-1]
        beta[steps - t - 1] = _from_before(later, np.r_[False, False, jumps[:1:-1]])[::-1]
    total = np.logaddexp.reduce(alpha[-1, -2:])
    if not np.isfinite(total):
        return np.inf, x
    share = np.exp(alpha + beta - total)
    slope = np.exp(y)
    for s, k in enumerate(z):
        slope[:, k] -= share[:, s]
    return -float(total), slope


def _from_before(a: NDArray[np.float64], jumps: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return what reaches each state from itself, the one before and, where it jumps, the one before that."""
    reached = a.copy()
    reached[1:] = np.logaddexp(reached[1:], a[:-1])
    reached[2:] = np.logaddexp(reached[2:], np.where(jumps[2:], a[:-2], -np.inf))
    return reached
