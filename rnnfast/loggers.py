"""Callbacks that keep a record of training: JSON lines and TensorBoard; `CSVLogger` is in ``rnnfast.callbacks``."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnfast.callbacks import Callback
from rnnfast.checks import check_flag, check_path, check_size
from rnnfast.training.history import History

if TYPE_CHECKING:
    from rnnfast.trainer import Trainer


class JSONLLogger(Callback):
    """Append a line of JSON per epoch, and at choice per so many updates, to a file.

    A line is ``{"event": "epoch", "epoch": 0, "step": 100, "loss": ...}`` with what the history records, or ``{"event":
    "batch", "epoch": 0, "step": 10, "loss": ..., "lr": ...}``. The last line of a fit is ``{"event": "end", "epoch":
    ..., "step": ..., "reason": ...}``. Numbers that JSON does not have (NaN, infinities) are null.

    Parameters
    ----------
    path : str or path-like
        The file.
    append : bool, default False
        Whether to go on with a file from before; else it is replaced at the start of the fit.
    every : int, default 0
        Updates between two lines of batches; 0: none.

    Raises
    ------
    OSError
        When the fit begins, if the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], append: bool = False, every: int = 0) -> None:
        self.path = check_path("path", path)
        self.append = check_flag("append", append)
        self.every = check_size("every", every, 0)

    def on_fit_begin(self, trainer: Trainer) -> None:
        with open(self.path, "a" if self.append else "w", encoding="utf-8"):
            pass

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        if self.every and trainer.step % self.every == 0:
            values = {"epoch": trainer.epoch - 1, "step": trainer.step, "loss": loss, "lr": trainer.optimizer.lr}
            self._write({"event": "batch", **values})

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        self._write({"event": "epoch", **values, "epoch": epoch, "step": trainer.step})

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        self._write({"event": "end", "epoch": trainer.epoch - 1, "step": trainer.step, "reason": history.reason})

    def _write(self, line: dict[str, Any]) -> None:
        plain = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in line.items()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(plain, ensure_ascii=False, default=float) + "\n")


class TensorBoardLogger(Callback):
    """Write what the history records to event files that TensorBoard shows.

    Values of training and validation of one name share a chart: "loss/train" and "loss/val". The steps of the charts
    are updates.

    Parameters
    ----------
    folder : str or path-like
        Where the event files go; made if it is not there. One folder for each run.
    every : int, default 0
        Updates between two values of the loss of a batch, "loss/batch"; 0: none.
    histograms : bool, default False
        Whether to write the distribution of each parameter after each epoch.

    Raises
    ------
    ImportError
        If the package tensorboardX is not there.
    """

    def __init__(self, folder: str | os.PathLike[str], every: int = 0, histograms: bool = False) -> None:
        self.folder = check_path("folder", folder)
        self.every = check_size("every", every, 0)
        self.histograms = check_flag("histograms", histograms)
        self._writer: Any = None
        _writer_class()  # what is missing is told before training

    def on_fit_begin(self, trainer: Trainer) -> None:
        self._close()
        self._writer = _writer_class()(self.folder)

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        if self.every and trainer.step % self.every == 0:
            self._writer.add_scalar("loss/batch", loss, trainer.step)

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if name == "epoch":
                continue
            part = "val" if name.startswith("val_") else "train"
            alone = name in ("lr", "seconds", "per_second")
            tag = f"training/{name}" if alone else f"{name.removeprefix('val_')}/{part}"
            self._writer.add_scalar(tag, float(value), trainer.step)
        if self.histograms:
            for name, array in trainer.model.parameters().items():
                self._writer.add_histogram(name.replace(".", "/"), np.asarray(array), trainer.step)
        self._writer.flush()

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        self._writer.add_text("training/stopped", history.reason, trainer.step)
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ImportError("TensorBoardLogger needs tensorboardX: pip install 'rnnfast[tensorboard]'") from None
    return SummaryWriter
