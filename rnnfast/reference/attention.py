"""Scores of additive attention and their gradients, as NumPy equations; `rnnfast._native.attention` has them in C.

Shapes: N sequences, T queries, S steps of memory, A units.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import FloatArray


def additive_scores(
    query: FloatArray, keys: FloatArray, v: FloatArray, lengths: NDArray[np.int64] | None
) -> FloatArray:
    """Return score_nts = sum_a v_a tanh(query_nta + keys_nsa).

    Parameters
    ----------
    query : (N, T, A)
    keys : (N, S, A)
    v : (A,)
    lengths : (N,) or None
        Valid steps of each memory: the score of a step past them is 0. None: all S.

    Returns
    -------
    (N, T, S)
    """
    scores: FloatArray = np.tanh(query[:, :, None] + keys[:, None]) @ v
    if lengths is not None:
        scores[~_valid(lengths, scores)] = 0
    return scores


def additive_gradients(
    query: FloatArray, keys: FloatArray, v: FloatArray, lengths: NDArray[np.int64] | None, dscores: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the gradients of query, keys and v from that of `additive_scores`' result.

    With t = tanh(query + keys): dv_a = sum dscore t_a, and the gradient of the argument is dscore v_a (1 - t_a^2).
    """
    if lengths is not None:
        dscores = np.where(_valid(lengths, dscores), dscores, 0)
    t = np.tanh(query[:, :, None] + keys[:, None])
    dv = np.einsum("nts,ntsa->a", dscores, t)
    dsum = dscores[..., None] * v * (1 - t * t)
    return dsum.sum(axis=2), dsum.sum(axis=1), dv


def _valid(lengths: NDArray[np.int64], scores: FloatArray) -> NDArray[np.bool_]:
    valid: NDArray[np.bool_] = np.arange(scores.shape[2]) < lengths[:, None, None]
    return np.broadcast_to(valid, scores.shape)
