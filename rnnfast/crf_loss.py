"""The loss of a tagger that ends in a conditional random field."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.backend import implementation
from rnnfast.checks import as_array, called_before, check_number, check_real
from rnnfast.layers.crf import Chain
from rnnfast.losses import Loss, LossPullback


class CRFLoss(Loss):
    """-log of the probability of each sequence's path of tags, for the `Chain` that the layer `CRF` returns.

    The value is the sum over sequences over the number of their steps, each sequence times its weight; so it compares
    with `SoftmaxCrossEntropy`. Sums over paths are double precision logarithms whatever the dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.crf_loss import CRFLoss
    >>> from rnnfast.layers.crf import CRF
    >>> chain = CRF(3, init="zeros")(np.zeros((1, 4, 3)))
    >>> round(CRFLoss()(chain, [[0, 2, 1, 1]]), 6)          # 81 paths of 4 steps, equally likely
    1.098612
    """

    def __call__(self, pred: Any, target: Any, *, mask: Any = None, lengths: Any = None) -> float:
        """Return the value alone; arguments and errors as in `forward`."""
        return self._summed(pred, target, mask, lengths, False)[0]

    def forward(self, pred: Any, target: Any, *, mask: Any = None, lengths: Any = None) -> tuple[float, LossPullback]:
        """Return ``(value, pullback)``.

        Parameters
        ----------
        pred : Chain
            With emissions (N, T, K).
        target : array_like (N, T) of int
            The tags; past the lengths they may be anything.
        mask : array_like (N,) or (N, T), optional
            The weight of each sequence, at least 0; as (N, T) it must be the same in all valid steps of a sequence,
            because a path is one whole.
        lengths : array_like (N,) of int, optional
            Valid steps of each sequence.

        Returns
        -------
        value : float
        pullback : callable
            ``dchain = pullback(scale=1.0)``, a `Chain`; it can be called once.

        Raises
        ------
        TypeError
            If an argument is not of a kind that can be read as such.
        ValueError
            If a shape does not fit, or a weight or length is not allowed.
        IndexError
            If a tag that counts is out of range.
        """
        value, gradient = self._summed(pred, target, mask, lengths, True)
        held = [gradient]

        def pullback(scale: float = 1.0) -> Any:
            scale = check_number("scale", scale)
            if not held:
                raise called_before()
            parts = held.pop()
            assert parts is not None
            return parts if scale == 1.0 else Chain(*(part * part.dtype.type(scale) for part in parts))

        return value, pullback

    def _summed(self, pred: Any, target: Any, mask: Any, lengths: Any, gradient: bool) -> tuple[float, Chain | None]:
        if not isinstance(pred, Chain):
            raise TypeError(f"pred must be a Chain, as the layer CRF returns it; got {type(pred).__name__}")
        x, valid, m, start, end = pred.prepared(lengths)
        batch, steps, tags = x.shape
        within = np.arange(steps) < valid[:, None]
        weights = _weights(mask, batch, within)
        y = _tags(target, tags, within & (weights > 0)[:, None])
        total = float(weights @ valid)
        if total == 0.0:
            return 0.0, Chain(*(np.zeros(part.shape, part.dtype) for part in pred)) if gradient else None
        found, share, pairs = implementation("crf").sums(x, valid, m, start, end, gradient)
        weights = np.where(valid > 0, weights, 0.0) / total

        rows = np.flatnonzero((valid > 0) & (weights > 0))
        first, last = y[rows, 0], y[rows, valid[rows] - 1]
        moves = within[:, 1:]
        score = np.where(within, np.take_along_axis(x, y[:, :, None], axis=2)[:, :, 0], 0.0).sum(axis=1)
        score += np.where(moves, m[y[:, :-1], y[:, 1:]], 0.0).sum(axis=1)
        score[rows] += start[first] + end[last]
        value = float(weights[rows] @ (found[rows] - score[rows]))
        if share is None or pairs is None:
            return value, None

        # the shares less what the path itself has of them, each sequence times its weight
        share *= weights[:, None, None]
        n, t = np.nonzero(within)
        share[n, t, y[n, t]] -= weights[n]
        dm = np.tensordot(weights, pairs, axes=1)
        n, t = np.nonzero(moves)
        np.subtract.at(dm, (y[n, t], y[n, t + 1]), weights[n])
        dstart, dend = share[rows, 0].sum(axis=0), share[rows, valid[rows] - 1].sum(axis=0)
        kinds = (part.dtype for part in pred)
        return value, Chain(*(part.astype(kind) for part, kind in zip((share, dm, dstart, dend), kinds, strict=True)))


def _weights(mask: Any, batch: int, within: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the weight of each sequence."""
    if mask is None:
        return np.ones(batch)
    array = as_array("mask", mask)
    weights: NDArray[np.float64] = check_real(
        "mask", array, np.dtype(np.float64), (batch, *within.shape[1 : array.ndim])
    )
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        raise ValueError(f"mask must be finite and at least 0; got {weights[bad][0]}")
    if weights.ndim == 1:
        return weights
    own = weights[:, :1]
    if (within & (weights != own)).any():
        row = int((within & (weights != own)).any(axis=1).argmax())
        raise ValueError(
            f"mask must weigh all valid steps of a sequence alike, whose path is one whole; mask[{row}] does not"
        )
    return np.where(within.any(axis=1), own.sum(axis=1), 0.0)


def _tags(target: Any, tags: int, counts: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the tags, 0 where they do not count, or raise."""
    array = as_array("target", target)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "biu":
        raise TypeError(f"target must be integers, the tags; got dtype {array.dtype}")
    if array.shape != counts.shape:
        raise ValueError(f"target must have shape {counts.shape}, one tag for each step of pred; got {array.shape}")
    bad = counts & ((array < 0) | (array >= tags))
    if bad.any():
        raise IndexError(f"target must lie in 0..{tags - 1}, the tags of pred; got {array[bad][0]}")
    return np.where(counts, array, 0).astype(np.int64)
