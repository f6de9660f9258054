"""One batch: forward, backward, clipping and update, or forward alone.

Nothing changes until loss and gradients have proved finite, and an interrupt cannot divide the update from the count of
steps, so the model is usable whatever ends the training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.clipping import all_finite, clip_by_value, global_norm, norm_scale
from rnnfast.interrupts import hold_interrupts
from rnnfast.layers.base import Layer
from rnnfast.layers.crf import Chain
from rnnfast.metrics import Metric
from rnnfast.optimizers import Optimizer
from rnnfast.training.faults import TrainingError, find_fault
from rnnfast.training.feeds import Batch, Feed
from rnnfast.training.gradients import GradientStore
from rnnfast.training.report import Report


class Step:
    """What happens to every batch.

    Parameters
    ----------
    model, loss, optimizer, clip_norm, clip_value
        As in ``Trainer``.

    Attributes
    ----------
    count : int
        Updates done.
    """

    def __init__(
        self, model: Layer, loss: Any, optimizer: Optimizer, clip_norm: float | None, clip_value: float | None
    ) -> None:
        self.model: Any = model
        self.loss, self.optimizer = loss, optimizer
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.count = 0
        self._store: GradientStore | None = None

    def train(
        self, batch: Batch, state: Any, rng: np.random.Generator, epoch: int, index: int
    ) -> tuple[float, NDArray[Any] | Chain, Any]:
        """Do one update; return the loss before it, the outputs and the state to go on with.

        Raises
        ------
        TrainingError
            If the loss or a gradient is not finite; epoch and index are for its message.
        """
        store = self._store = self._store or GradientStore(self.model)
        drawn = rng.bit_generator.state
        if self.model.stateful:
            (pred, final), pullback = self.model.forward(batch.x, state, lengths=batch.lengths, rng=rng)
        else:
            (pred, pullback), final = self.model.forward(batch.x, lengths=batch.lengths, rng=rng), None
        loss, loss_pullback = self.loss.forward(pred, batch.target, mask=batch.mask, lengths=batch.loss_lengths)
        store.zero()
        if math.isfinite(loss):
            pullback(loss_pullback(), store.grads)
        if not math.isfinite(loss) or not all(all_finite(flat) for flat in store.flat.values()):
            rng.bit_generator.state = drawn
            place = find_fault(self.model, self.loss, batch, state, rng)
            what = "the gradient" if math.isfinite(loss) else "the loss"
            raise TrainingError(f"{what} is not finite in epoch {epoch}, batch {index}: {place}", epoch, index, place)
        if self.clip_value is not None:
            clip_by_value(store.flat, self.clip_value)
        scale = 1.0 if self.clip_norm is None else norm_scale(global_norm(store.flat), self.clip_norm)
        with hold_interrupts():
            self.optimizer.update(self.model, store.grads, scale)
            self.count += 1
        return loss, pred, final

    def infer(self, batch: Batch, state: Any) -> tuple[NDArray[Any] | Chain, Any]:
        """Return the outputs and the state to go on with."""
        if self.model.stateful:
            pred, state = self.model(batch.x, state, lengths=batch.lengths)
            return pred, state
        return self.model(batch.x, lengths=batch.lengths), None

    def evaluate(self, feed: Feed, metrics: Sequence[Metric]) -> dict[str, float]:
        """Return the loss and the metrics over one pass, by name."""
        report = Report(metrics, feed.unit)
        state: Any = None
        for batch in feed.batches(None):
            if batch.weight:
                pred, state = self.infer(batch, None if batch.reset else state)
                report.add(batch, self.loss(pred, batch.target, mask=batch.mask, lengths=batch.loss_lengths), pred)
        return report.values()
