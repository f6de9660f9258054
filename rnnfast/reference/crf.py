"""Linear-chain conditional random fields in NumPy.

Lafferty, McCallum and Pereira 2001, "Conditional random fields: probabilistic models for segmenting and labeling
sequence data". A path y of tags has the score ``start_y0 + sum_t x_t,yt + sum_t m_yt-1,yt + end_yT-1`` and the
probability e^score over the sum of that over all paths.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def sums(
    x: Floats, lengths: NDArray[np.int64], transitions: Floats, start: Floats, end: Floats, gradient: bool
) -> tuple[Floats, Floats | None, Floats | None]:
    """Return log of the sum of e^score over all paths of each sequence, and the shares of tags and transitions in it.

    alpha_tj = x_tj + log sum_i e^(alpha_t-1,i + m_ij), beta_ti = log sum_j e^(m_ij + x_t+1,j + beta_t+1,j), the shares
    e^(alpha_tj + beta_tj - log Z) and sum_t e^(alpha_t-1,i + m_ij + x_tj + beta_tj - log Z). They are the gradients of
    log Z by the emissions and the transitions.

    Parameters
    ----------
    x : (N, T, K)
        Emissions.
    lengths : (N,)
        Valid steps of each sequence.
    transitions : (K, K)
        m, from row to column.
    start, end : (K,)
    gradient : bool
        Whether the shares are wanted; else None takes their places.

    Returns
    -------
    log_z : (N,)
        0 for a sequence without steps.
    share : (N, T, K) or None
        Zeros past the lengths, and where log_z is not finite.
    pairs : (N, K, K) or None
    """
    batch, steps, tags = x.shape
    found = np.zeros(batch)
    share = np.zeros((batch, steps, tags)) if gradient else None
    pairs = np.zeros((batch, tags, tags)) if gradient else None
    for n, size in enumerate(lengths):
        if not size:
            continue
        alpha, beta = np.zeros((size, tags)), np.zeros((size, tags))
        alpha[0], beta[-1] = start + x[n, 0], end
        with np.errstate(invalid="ignore"):
            for t in range(1, size):
                alpha[t] = x[n, t] + np.logaddexp.reduce(alpha[t - 1][:, None] + transitions, axis=0)
                later = x[n, size - t] + beta[size - t]
                beta[size - t - 1] = np.logaddexp.reduce(transitions + later, axis=1)
            found[n] = np.logaddexp.reduce(alpha[-1] + end)
        if share is None or pairs is None or not np.isfinite(found[n]):
            continue
        share[n, :size] = np.exp(alpha + beta - found[n])
        for t in range(1, size):
            pairs[n] += np.exp(alpha[t - 1][:, None] + transitions + x[n, t] + beta[t] - found[n])
    return found, share, pairs


def best(
    x: Floats, lengths: NDArray[np.int64], transitions: Floats, start: Floats, end: Floats
) -> tuple[NDArray[np.int64], Floats]:
    """Return the path of the highest score of each sequence and that score (Viterbi 1967); arguments as of `sums`.

    Returns
    -------
    path : (N, T)
        Zeros past the lengths. Of equals the one of the lower tag, decided from the end.
    score : (N,)
        0 for a sequence without steps.
    """
    batch, steps, _ = x.shape
    path, score = np.zeros((batch, steps), np.int64), np.zeros(batch)
    for n, size in enumerate(lengths):
        if not size:
            continue
        now, came = start + x[n, 0], np.zeros((size, len(start)), np.int64)
        for t in range(1, size):
            reached = now[:, None] + transitions
            came[t] = reached.argmax(axis=0)
            now = reached.max(axis=0) + x[n, t]
        at = int((now + end).argmax())
        score[n] = (now + end)[at]
        for t in range(size - 1, -1, -1):
            path[n, t] = at
            at = int(came[t, at])
    return path, score
