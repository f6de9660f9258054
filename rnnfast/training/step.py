"""One batch: forward, backward and, once enough are gathered, clipping and update; or forward alone.

Nothing changes until loss and gradients have proved finite, and an interrupt cannot divide the update from the count of
steps, so the model is usable whatever ends the training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast._native.interrupts import hold_interrupts
from rnnfast.clipping import all_finite, clip_by_value, global_norm, norm_scale
from rnnfast.layers.base import Layer
from rnnfast.layers.crf import Chain
from rnnfast.metrics import Metric
from rnnfast.optimizers import Optimizer
from rnnfast.training.average import Average
from rnnfast.training.faults import TrainingError, find_fault
from rnnfast.training.feeds import Batch, Feed
from rnnfast.training.gradients import GradientStore
from rnnfast.training.passes import PLAIN, Manner, forward
from rnnfast.training.report import Report


class Step:
    """What happens to every batch.

    Parameters
    ----------
    model, loss, optimizer, clip_norm, clip_value, accumulate
        As in ``Trainer``.
    average : Average or None
        Of the weights, taken in after every update.
    manner : Manner
        How forward passes are done; may be changed between batches.

    Attributes
    ----------
    count : int
        Updates done.
    """

    def __init__(
        self,
        model: Layer,
        loss: Any,
        optimizer: Optimizer,
        clip_norm: float | None,
        clip_value: float | None,
        accumulate: int = 1,
        average: Average | None = None,
        manner: Manner = PLAIN,
    ) -> None:
        self.model: Any = model
        self.loss, self.optimizer = loss, optimizer
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.accumulate, self.average, self.manner = accumulate, average, manner
        self.count = 0
        self._store: GradientStore | None = None
        self._batches, self._weight = 0, 0.0  # gathered for the next update

    @property
    def gathered(self) -> int:
        """Batches whose gradients wait for an update."""
        return self._batches

    def begin(self) -> None:
        """Forget gradients that were gathered for an update that did not come."""
        self._batches, self._weight = 0, 0.0

    def train(
        self, batch: Batch, state: Any, rng: np.random.Generator, epoch: int, index: int
    ) -> tuple[float, NDArray[Any] | Chain, Any]:
        """Add one batch's gradients and, if that makes as many as an update wants, update.

        Returns the loss before it, the outputs and the state to go on with.

        Raises
        ------
        TrainingError
            If the loss or a gradient is not finite; epoch and index are for its message.
        """
        store = self._store = self._store or GradientStore(self.model)
        drawn = rng.bit_generator.state
        pred, final, pullback = forward(self.model, batch, state, rng, self.manner)
        loss, loss_pullback = self.loss.forward(pred, batch.target, mask=batch.mask, lengths=batch.loss_lengths)
        if not self._batches:
            store.zero()
        # A mean over several batches is the sum of their sums, by the sum of their weights.
        weight = 1.0 if self.accumulate == 1 else self.weight(batch)
        if math.isfinite(loss):
            pullback(loss_pullback(weight), store.grads)
        if not math.isfinite(loss) or not all(all_finite(flat) for flat in store.flat.values()):
            self.begin()
            rng.bit_generator.state = drawn
            place = find_fault(self.model, self.loss, batch, state, rng, self.manner)
            what = "the gradient" if math.isfinite(loss) else "the loss"
            where = f"epoch {epoch + 1}, batch {index + 1}"  # as people count, and as the bar does
            raise TrainingError(f"{what} is not finite in {where}: {place}", epoch, index, place)
        self._batches += 1
        self._weight += weight
        if self._batches == self.accumulate:
            self.finish()
        return loss, pred, final

    def finish(self) -> None:
        """Update with the gradients that have been gathered, if there are any."""
        store = self._store
        if not self._batches or store is None:
            return
        scale = 1.0
        if self.accumulate > 1:
            scale = 1.0 / self._weight if self._weight else 0.0
        self.begin()
        if self.clip_value is not None:
            for flat in store.flat.values() if scale != 1.0 else ():
                flat *= flat.dtype.type(scale)
            scale = 1.0
            clip_by_value(store.flat, self.clip_value)
        if self.clip_norm is not None:
            scale *= norm_scale(global_norm(store.flat) * scale, self.clip_norm)
        with hold_interrupts():
            self.optimizer.update(self.model, store.grads, scale)
            if self.average is not None:
                self.average.update(self.model)
            self.count += 1

    def weight(self, batch: Batch) -> float:
        """Return what the mean over a batch stands for: the loss's own weights, if it has them, or the mask's."""
        own = getattr(self.loss, "weight", None)
        return batch.weight if own is None else float(own(batch.target, mask=batch.mask, lengths=batch.loss_lengths))

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
                loss = self.loss(pred, batch.target, mask=batch.mask, lengths=batch.loss_lengths)
                report.add(batch, loss, pred, self.weight(batch))
        return report.values()
