"""What may happen while a `Trainer` works: early stopping, checkpoints, a log, and what users add."""

from __future__ import annotations

import csv
import errno
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rnnfast.checks import (
    FloatArray,
    call_of,
    check_choice,
    check_flag,
    check_number,
    check_path,
    check_size,
    check_text,
)
from rnnfast.training.history import History

if TYPE_CHECKING:
    from rnnfast.trainer import Trainer


class Callback:
    """Base of all callbacks; every method does nothing unless overridden.

    Methods are called in the order in which the callbacks were given. A method may read everything of the trainer,
    change ``trainer.optimizer.lr`` where there is no schedule, and call ``trainer.stop(reason)``. An exception ends
    the fit and leaves the model as after the last whole update.
    """

    #: The name in the history that this callback watches, or None. Checked before training begins.
    monitor: str | None = None

    def __repr__(self) -> str:
        return call_of(self)

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first epoch of a fit."""

    def on_epoch_begin(self, trainer: Trainer, epoch: int) -> None:
        """Before the first batch of an epoch; epochs count from 0 over the trainer's life."""

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        """After an update; ``batch`` counts from 0 within the epoch, ``loss`` is this batch's."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        """After an epoch and its validation; ``values`` is what the history has just recorded."""

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """After the last epoch, however it came to be the last, unless by an error."""


class _Watch:
    """Tells whether a value is the best so far."""

    def __init__(self, mode: str, min_delta: float = 0.0) -> None:
        self.mode = check_choice("mode", mode, ("min", "max"))
        self.min_delta = check_number("min_delta", min_delta, 0)
        self.best = math.inf

    def better(self, value: float) -> bool:
        value = value if self.mode == "min" else -value
        if not value < self.best - self.min_delta:  # NaN is never better
            return False
        self.best = value
        return True


class EarlyStopping(Callback):
    """Stop when a watched value has not got better for a number of epochs.

    Parameters
    ----------
    monitor : str, default "val_loss"
        A name of the history.
    patience : int, default 5
        Epochs without progress after which training stops, at least 1.
    min_delta : float, default 0
        What a value must be better by to count as progress.
    mode : {"min", "max"}, default "min"
        Which way is better.
    restore_best : bool, default True
        Whether the model gets the parameters of its best epoch at the end of the fit, stopped early or not. After an
        interrupt it keeps those of the last update.

    Attributes
    ----------
    best_epoch : int or None
        The epoch with the best value in this fit.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "min",
        restore_best: bool = True,
    ) -> None:
        self.monitor = check_text("monitor", monitor)
        self.patience = check_size("patience", patience)
        self.restore_best = check_flag("restore_best", restore_best)
        self.mode, self.min_delta = mode, min_delta
        self._watch = _Watch(mode, min_delta)
        self.best_epoch: int | None = None
        self._waited = 0
        self._parameters: dict[str, FloatArray] = {}

    def on_fit_begin(self, trainer: Trainer) -> None:
        self._watch = _Watch(self.mode, self.min_delta)
        self.best_epoch, self._waited, self._parameters = None, 0, {}

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        if self._watch.better(values[str(self.monitor)]):
            self.best_epoch, self._waited = epoch, 0
            if self.restore_best:
                with trainer.averaged() as model:  # what was measured
                    self._parameters = model.state_dict()
            return
        self._waited += 1
        if self._waited >= self.patience:
            trainer.stop("early stopping")

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        if self._parameters and history.reason != "interrupted":
            trainer.set_parameters(self._parameters)
        self._parameters = {}


class Checkpoint(Callback):
    """Write checkpoints in training: ``trainer.resume`` goes on from one, ``load_model`` reads the model in it.

    Parameters
    ----------
    path : str or path-like
        Where to; ``{epoch}`` in it is replaced, so that files are kept apart. Else each replaces the one before. As
        for `save_checkpoint`; the folder must be there when the fit begins.
    monitor : str, optional
        A name of the history: write only when it is the best so far. None: write every time.
    every : int, default 1
        Epochs between two writings.
    mode : {"min", "max"}, default "min"
        Which way is better.
    every_batches : int, optional
        Write within the epoch too, after so many batches each time; not with ``monitor``. Training that goes on from
        such a file begins at the batch where it was.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str | None = None,
        every: int = 1,
        mode: str = "min",
        every_batches: int | None = None,
    ) -> None:
        self.path = check_path("path", path)
        self.monitor = None if monitor is None else check_text("monitor", monitor)
        self.every = check_size("every", every)
        self.mode = mode
        self._watch = _Watch(mode)
        self.every_batches = None if every_batches is None else check_size("every_batches", every_batches)
        if self.every_batches and monitor is not None:
            raise ValueError("every_batches and monitor cannot both be given: within an epoch nothing is measured")
        self._epoch = 0

    def on_fit_begin(self, trainer: Trainer) -> None:
        from rnnfast.io import container, spec

        folder = container.target_of(self.path.replace("{epoch}", "0")).parent
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "there is no such folder for checkpoints", os.fspath(folder))
        spec.describe(trainer.model)
        self._watch = _Watch(self.mode)

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        if (epoch + 1) % self.every:
            return
        if self.monitor is not None and not self._watch.better(values[self.monitor]):
            return
        self._write(trainer, epoch)

    def on_epoch_begin(self, trainer: Trainer, epoch: int) -> None:
        self._epoch = epoch

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        if self.every_batches and not (batch + 1) % self.every_batches:
            self._write(trainer, self._epoch)

    def _write(self, trainer: Trainer, epoch: int) -> None:
        from rnnfast.io import save_checkpoint

        path = self.path.replace("{epoch}", str(epoch))
        save_checkpoint(trainer.model, path, step=trainer.step, state=trainer.state_dict())


class CSVLogger(Callback):
    """Append a row per epoch to a CSV file: the epoch, then what the history records.

    Parameters
    ----------
    path : str or path-like
        The file. A file that is there already goes on if its header is that of this training.
    append : bool, default False
        Whether to go on with a file from before; else it is replaced at the start of the fit.

    Raises
    ------
    ValueError
        After the first epoch, if ``append`` and the file's header is another.
    """

    def __init__(self, path: str | os.PathLike[str], append: bool = False) -> None:
        self.path = check_path("path", path)
        self.append = check_flag("append", append)

    def on_fit_begin(self, trainer: Trainer) -> None:
        if not self.append:
            with open(self.path, "w", encoding="utf-8"):
                pass

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        header = ["epoch", *(name for name in values if name != "epoch")]
        with open(self.path, "a+", encoding="utf-8", newline="") as file:
            file.seek(0)
            first = next(csv.reader(file), None)
            if first is not None and first != header:
                raise ValueError(
                    f"{self.path} has the columns {', '.join(first)}; this training has {', '.join(header)}"
                )
            writer = csv.writer(file)
            if first is None:
                writer.writerow(header)
            writer.writerow([epoch, *(repr(float(values[name])) for name in header[1:])])
            file.flush()
