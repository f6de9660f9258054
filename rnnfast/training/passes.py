"""A model's forward pass over a batch and its pullback, whatever the model takes and however the batch is cut."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.layers.base import Gradients
from rnnfast.layers.chunks import checkpointed
from rnnfast.layers.states import zeros_like
from rnnfast.training.feeds import Batch

Backward = Callable[[NDArray[Any], Gradients], None]


class Manner(NamedTuple):
    """How a forward pass is done.

    Attributes
    ----------
    chunk : int or None
        Steps of a chunk of gradient checkpointing; 0: as many as `checkpointed` chooses; None: no checkpointing.
    teacher : float
        The teacher's share, for models that are fed with their outputs.
    """

    chunk: int | None = None
    teacher: float = 1.0


PLAIN = Manner()


def forward(
    model: Any, batch: Batch, state: Any, rng: np.random.Generator, manner: Manner
) -> tuple[NDArray[Any], Any, Backward]:
    """Return the outputs for a batch, the state to go on with, and ``backward(dpred, grads)``."""
    if batch.past is None:
        (pred, final), pullback = _run(model, batch.x, state, batch.lengths, rng, batch.target, manner)

        def backward(dpred: NDArray[Any], grads: Gradients) -> None:
            pullback(dpred, grads)

        return pred, final, backward
    return _windowed(model, batch, state, rng, manner)


def _windowed(
    model: Any, batch: Batch, state: Any, rng: np.random.Generator, manner: Manner
) -> tuple[NDArray[Any], Any, Backward]:
    """Do the past and the chunk, cut where the loss begins and where the state is kept."""
    past = batch.past
    assert past is not None
    lead, keep = past.x.shape[1], past.keep
    x, target = np.concatenate([past.x, batch.x], axis=1), np.concatenate([past.target, batch.target], axis=1)
    cuts = sorted({0, lead, x.shape[1], *(() if keep is None else (keep,))})
    kept = state
    preds: list[NDArray[Any]] = []
    parts: list[tuple[int, int, Any]] = []
    for start, stop in pairwise(cuts):
        (pred, state), pullback = _run(model, x[:, start:stop], state, None, rng, target[:, start:stop], manner)
        parts.append((start, stop, pullback))
        if start >= lead:
            preds.append(pred)
        if stop == keep:
            kept = state
    final = state

    def backward(dpred: NDArray[Any], grads: Gradients) -> None:
        dstate = zeros_like(final)
        for start, stop, pullback in reversed(parts):
            dy = dpred[:, start - lead : stop - lead] if start >= lead else None
            _, dstate = pullback(dy, grads, dstate=dstate)

    return preds[0] if len(preds) == 1 else np.concatenate(preds, axis=1), kept, backward


def _run(
    model: Any, x: Any, state: Any, lengths: Any, rng: np.random.Generator, target: Any, manner: Manner
) -> tuple[tuple[Any, Any], Any]:
    if not model.stateful:
        pred, pullback = model.forward(x, lengths=lengths, rng=rng)
        return (pred, None), pullback
    if manner.chunk is not None:
        found: tuple[tuple[Any, Any], Any] = checkpointed(
            model, x, state, lengths=lengths, rng=rng, chunk=manner.chunk or None
        )
        return found
    more = {"target": target, "teacher": manner.teacher} if model.takes_target else {}
    found = model.forward(x, state, lengths=lengths, rng=rng, **more)
    return found
