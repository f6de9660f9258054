"""The loop of one fit: epochs of batches, validation, schedule, callbacks and progress around the step."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnfast.callbacks import Callback
from rnnfast.checks import check_flag, check_items, check_number, check_size
from rnnfast.log import logger
from rnnfast.schedules import Moment, Schedule
from rnnfast.training.feeds import Feed
from rnnfast.training.history import History
from rnnfast.training.place import Place, Resumed
from rnnfast.training.progress import make_progress
from rnnfast.training.report import Report

if TYPE_CHECKING:
    from rnnfast.trainer import Trainer


class Loop:
    """One fit of a trainer.

    Parameters
    ----------
    trainer : Trainer
        Whose step, schedule, metrics and counts are used.
    feed : Feed
        What to train on.
    measured : Feed or None
        What to validate on.
    epochs, max_seconds, callbacks, progress
        As in ``Trainer.fit``.
    """

    def __init__(
        self,
        trainer: Trainer,
        feed: Feed,
        measured: Feed | None,
        epochs: int,
        max_seconds: float | None,
        callbacks: Sequence[Callback],
        progress: bool,
    ) -> None:
        self.trainer, self.feed, self.measured = trainer, feed, measured
        self.epochs = check_size("epochs", epochs)
        self.limit = math.inf if max_seconds is None else check_number("max_seconds", max_seconds, 0, above=True)
        self.callbacks = check_items("callbacks", callbacks, Callback)
        self._check_monitors()
        self.started, self.first = time.perf_counter(), trainer.step
        self.before = trainer.unfinished
        self.begun = trainer.epoch
        self.resumed: Resumed | None = trainer.resumed
        self.ahead = 0 if self.resumed is None else self.resumed.updates  # of its first epoch, done before
        self._check_length()
        if self.resumed is None:
            self._set_rate(trainer.epoch)
        self.history = History()
        self.progress = check_flag("progress", progress)
        self.bar = make_progress(self.progress)

    def run(self) -> History:
        """Train; whatever ends it is on record in the history."""
        trainer = self.trainer
        trainer.history, trainer.stop_reason = self.history, ""
        trainer.resumed = trainer.place = None
        logger.info("training begins: %s epochs of %s batches", self.epochs, len(self.feed) or "so many")
        try:
            for callback in self.callbacks:
                callback.on_fit_begin(trainer)
            for epoch in range(self.epochs):
                self.bar.begin_epoch(f"epoch {trainer.epoch + 1}/{self.begun + self.epochs}", len(self.feed))
                self._epoch(epoch == self.epochs - 1)
                if trainer.stop_reason:
                    break
            self.history.reason = trainer.stop_reason or "completed"
        except KeyboardInterrupt:
            self.history.reason = "interrupted"
            self.bar.close()
            if self.progress:
                print("interrupted: the model is as after the last update", file=sys.stderr)
        except BaseException:
            self.history.reason = "error"
            raise
        finally:
            self.bar.close()
            logger.info("training ended after %d epochs: %s", self.history.epochs, self.history.reason)
        for callback in self.callbacks:
            callback.on_fit_end(trainer, self.history)
        return self.history

    def _epoch(self, last: bool) -> None:
        trainer, report = self.trainer, Report(self.trainer.metrics, self.feed.unit, self.started + self.limit)
        epoch, trainer.epoch = trainer.epoch, trainer.epoch + 1
        resumed, self.resumed = self.resumed, None
        if resumed is not None:
            report.restore(resumed.report)
        for callback in self.callbacks:
            callback.on_epoch_begin(trainer, epoch)
        try:
            self._batches(epoch, report, resumed)
            values = self._values(epoch, report)
            if self.measured is not None:
                found = trainer.measure(self.measured)
                values.update({f"val_{name}": value for name, value in found.items()})
        except KeyboardInterrupt:
            if report.batches:
                self.history.add(self._values(epoch, report))
            raise
        trainer.place = None
        self.history.add(values)
        self.bar.end_epoch(report.summary(values))
        if logger.isEnabledFor(logging.INFO):
            logger.info("epoch %d: %s", epoch, report.summary(values))
        if trainer.schedule is not None:
            trainer.schedule.observe(values)
        if last or trainer.stop_reason:
            trainer.unfinished = (0, 0.0)
        for callback in self.callbacks:
            callback.on_epoch_end(trainer, epoch, values)

    def _batches(self, epoch: int, report: Report, resumed: Resumed | None) -> None:
        """Train on one pass, or as much of it as there is time for, or what is left of one that was broken off."""
        trainer = self.trainer
        order, noise = (np.random.default_rng([trainer.seed, epoch, purpose]) for purpose in (0, 1))
        state: Any = None
        done, first = 0, trainer.step
        if resumed is not None:
            done, state, first = resumed.batches, resumed.state, trainer.step - resumed.updates
            noise.bit_generator.state = resumed.noise
        trainer.one.begin()

        def note(batches: int) -> None:
            """Let a checkpoint go on from here, where all gradients have become updates."""
            updates, drawn = trainer.step - first, dict(noise.bit_generator.state)
            trainer.unfinished = self._done()
            trainer.place = Place(trainer.step, epoch, batches, updates, len(self.feed), drawn, state, report.sums())

        note(done)
        for index, batch in enumerate(self.feed.batches(order)):
            if not batch.weight or index < done:
                continue
            self._set_rate(epoch)
            loss, pred, state = trainer.one.train(batch, None if batch.reset else state, noise, epoch, index)
            report.add(batch, loss, pred, trainer.one.weight(batch))
            if not trainer.one.gathered:
                note(index + 1)
            if self.bar.due():
                self.bar.advance(*report.line(len(self.feed)))
            else:
                self.bar.advance("", None)
            for callback in self.callbacks:
                callback.on_batch_end(trainer, index, loss)
            if report.out_of_time():
                trainer.stop_reason = trainer.stop_reason or "time"
            if trainer.stop_reason:
                break
        if trainer.one.gathered:
            trainer.one.finish()
            note(index + 1)
        if not report.batches:
            raise ValueError("there is nothing to train on: no batch has a valid target")

    def _values(self, epoch: int, report: Report) -> dict[str, float]:
        return {"epoch": epoch, **report.values(), "lr": self.trainer.optimizer.lr, **report.speed()}

    def _set_rate(self, epoch: int) -> None:
        """Set the optimiser's rate and the teacher's share as their schedules say."""
        trainer = self.trainer
        trainer.one.manner = trainer.one.manner._replace(teacher=trainer.teacher(trainer.step))
        if trainer.schedule is not None:
            moment = Moment(trainer.step, epoch, self._fraction())
            trainer.optimizer.lr = trainer.schedule(trainer.base_lr, moment)

    def _fraction(self) -> float | None:
        """Return how much of the training is done, by updates or by time, whichever is more; None if unknown.

        The training is this fit and what it goes on with: the done part of one that was saved or interrupted.
        """
        each = -(-len(self.feed) // self.trainer.accumulate)
        total = self.epochs * each - self.ahead if each else 0
        if not total and self.limit == math.inf:
            return None
        updates, seconds = self._done()
        by_updates = updates / (self.before[0] + total) if total else 0.0
        return min(1.0, max(by_updates, seconds / (self.before[1] + self.limit)))

    def _done(self) -> tuple[int, float]:
        """Return the updates and seconds of the training so far."""
        updates, seconds = self.before
        return updates + self.trainer.step - self.first, seconds + time.perf_counter() - self.started

    def _check_length(self) -> None:
        """Raise if the fit goes on within an epoch of other data."""
        resumed = self.resumed
        if resumed is not None and resumed.length != len(self.feed):
            raise ValueError(
                f"the checkpoint was written within an epoch of {resumed.length} batches, to go on with the same data; "
                f"this makes {len(self.feed)}"
            )

    def _check_monitors(self) -> None:
        trainer, validated = self.trainer, self.measured is not None
        names = ["loss", *(metric.name for metric in trainer.metrics)]
        known = [*names, "lr", "seconds", *(f"val_{name}" for name in names if validated)]
        watchers: list[Callback | Schedule] = [*self.callbacks, *([trainer.schedule] if trainer.schedule else [])]
        for watcher in watchers:
            if watcher.monitor is not None and watcher.monitor not in known:
                raise ValueError(
                    f"monitor of {type(watcher).__name__} must be one of {', '.join(known)}; got {watcher.monitor!r}"
                    + ("" if validated else " (there is no validation)")
                )
