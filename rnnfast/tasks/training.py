"""One way to train the networks of the common tasks: AdamW, a cosine, clipping, early stopping on what is held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rnnfast.callbacks import Callback, EarlyStopping
from rnnfast.layers.base import Layer
from rnnfast.losses import Loss
from rnnfast.metrics import Metric
from rnnfast.optimizers import AdamW
from rnnfast.schedules import Cosine
from rnnfast.trainer import Trainer
from rnnfast.training.history import History


class Training(NamedTuple):
    """How to train.

    Attributes
    ----------
    epochs : int
        Passes over the data, at most.
    seconds : float or None
        Stop after that time.
    batch_size : int
        Sequences per update.
    lr, weight_decay : float
        Of AdamW; the rate rises over the first twentieth of the training and then falls with a cosine.
    clip_norm : float or None
        Largest norm of the gradients.
    patience : int
        Epochs without progress on what is held out after which training stops.
    seed : int
        For the order of batches and dropout.
    progress : bool
        Whether to show progress on stderr.
    callbacks : sequence of Callback
        Further callbacks.
    """

    epochs: int = 20
    seconds: float | None = None
    batch_size: int = 32
    lr: float = 0.01
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    patience: int = 10
    seed: int = 0
    progress: bool = False
    callbacks: Sequence[Callback] = ()

    def trainer(self, model: Layer, loss: Loss, metrics: Sequence[Metric] = ()) -> Trainer:
        """Return a trainer with these settings."""
        return Trainer(
            model,
            loss,
            AdamW(lr=self.lr, weight_decay=self.weight_decay),
            clip_norm=self.clip_norm,
            schedule=Cosine(warmup=0.05),
            metrics=metrics,
            seed=self.seed,
        )

    def fit(
        self, model: Layer, loss: Loss, x: Any, y: Any, held_out: Any = None, metrics: Sequence[Metric] = ()
    ) -> History:
        """Train on samples, stopping early and keeping the best epoch where something is held out.

        Parameters
        ----------
        model : Layer
            What is trained.
        loss : Loss
            What is made small.
        x, y, held_out
            As x, y and validation_data of ``Trainer.fit``.
        metrics : sequence of Metric
            What else is measured.
        """
        stopping = [] if held_out is None else [EarlyStopping(patience=self.patience)]
        return self.trainer(model, loss, metrics).fit(
            x,
            y,
            epochs=self.epochs,
            batch_size=self.batch_size,
            validation_data=held_out,
            max_seconds=self.seconds,
            callbacks=[*stopping, *self.callbacks],
            progress=self.progress,
        )
