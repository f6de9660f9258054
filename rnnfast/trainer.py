"""The trainer: what users call. The loop of a fit, the step of a batch and the feeds are in ``training/``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.callbacks import Callback
from rnnfast.checks import check_flag, check_items, check_number, check_size, kind_of, told_of
from rnnfast.layers.base import Layer
from rnnfast.layers.chunks import check_chunkable
from rnnfast.layers.crf import Chain
from rnnfast.metrics import Metric
from rnnfast.optimizers import Optimizer
from rnnfast.schedules import Schedule, ScheduledSampling
from rnnfast.training.average import Average
from rnnfast.training.batches import BatchFeed, Samples
from rnnfast.training.faults import TrainingError, leaves
from rnnfast.training.feeds import Feed
from rnnfast.training.history import History
from rnnfast.training.loop import Loop
from rnnfast.training.pairs import samples_of
from rnnfast.training.passes import Manner
from rnnfast.training.place import Place, Resumed
from rnnfast.training.state import resume_from, set_state, state_of
from rnnfast.training.step import Step
from rnnfast.training.streams import ChunkFeed, StreamFeed, check_forwards, is_chunks
from rnnfast.training.windows import LookBack

__all__ = ["Trainer", "TrainingError"]


class Trainer:
    """Trains a model and measures it.

    Parameters
    ----------
    model : Layer
        Any layer; `Sequential` as a rule. Batch first.
    loss : callable
        A loss of ``rnnfast.losses``.
    optimizer : Optimizer
        Keeps its state here and nowhere else.
    clip_norm : float, optional
        Scale the gradients so that their norm over all parameters is at most this.
    clip_value : float, optional
        Cut each element of the gradients to plus or minus this, before the norm is taken.
    schedule : Schedule, optional
        Sets ``optimizer.lr`` before each update, from the rate the optimiser has now.
    metrics : sequence of Metric, default ()
        Measured in training and validation, under their names.
    accumulate : int, default 1
        Batches whose gradients make one update: as one batch of all their sequences, within rounding, in the memory
        of one. What is left at the end of an epoch makes an update too.
    ema : float, optional
        Decay, in [0, 1), of an exponential moving average of the weights, such as 0.999. Validation, `evaluate` and
        `predict` then use the averaged weights; the model keeps its own, see `averaged`.
    teacher : float or ScheduledSampling, default 1.0
        For models that are fed with their outputs (`Jordan`, `OutputFeedback`): how often, in training, with the
        target instead.
    checkpoint : bool or int, default False
        Gradient checkpointing over chunks of so many steps (True: as many as suit), for long
        sequences: see `checkpointed`.
    seed : int, default 0
        All randomness comes from it: the order of the batches and dropout. Epoch k of a trainer draws the same
        whatever went before, and the same seed gives the same result to the bit on the same machine (but for a
        schedule that follows ``max_seconds``, which follows the clock).

    Attributes
    ----------
    epoch : int
        Epochs begun over the life of the trainer.
    base_lr : float
        The optimiser's rate when the trainer was made, which the schedule starts from.
    one : Step
        What happens to every batch.
    average : Average or None
        The averaged weights, with ``ema``.
    unfinished : tuple of int and float
        Updates and seconds of a training that was interrupted, or saved before its end: schedules whose length is a
        fraction of the training go on from there with the next fit. Zeros after a fit that came to its end.
    history : History
        Of the running or last fit.
    stop_reason : str
        Not empty when the running fit is to end.
    place : Place or None
        Where within its epoch the running fit stands, or one that was interrupted.
    resumed : Resumed or None
        Where the next fit goes on, after `load_state_dict`.
    """

    def __init__(
        self,
        model: Layer,
        loss: Any,
        optimizer: Optimizer,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        schedule: Schedule | None = None,
        metrics: Sequence[Metric] = (),
        accumulate: int = 1,
        ema: float | None = None,
        teacher: float | ScheduledSampling = 1.0,
        checkpoint: bool | int = False,
        seed: int = 0,
    ) -> None:
        for name, value, kind in (("model", model, Layer), ("optimizer", optimizer, Optimizer)):
            if not isinstance(value, kind):
                raise TypeError(f"{name} must be of {kind.__name__}; got {kind_of(value)}")
        for name, layer in leaves(model):
            if not getattr(layer, "batch_first", True):
                raise ValueError(f"model must be batch first; {f'layer {name} is' if name else 'got'} {layer!r}")
        if not callable(loss) or not hasattr(loss, "forward") or isinstance(loss, type):
            raise TypeError(f"loss must be callable and have forward; got {kind_of(loss)}")
        if schedule is not None and not isinstance(schedule, Schedule):
            raise TypeError(f"schedule must be a Schedule; got {kind_of(schedule)}")
        self.model, self.loss, self.optimizer, self.schedule = model, loss, optimizer, schedule
        self.metrics = check_items("metrics", metrics, Metric)
        if len({"loss", *(metric.name for metric in self.metrics)}) <= len(self.metrics):
            raise ValueError(f"metrics must differ in name; got {', '.join(m.name for m in self.metrics)}")
        self.clip_norm = None if clip_norm is None else check_number("clip_norm", clip_norm, 0, above=True)
        self.clip_value = None if clip_value is None else check_number("clip_value", clip_value, 0, above=True)
        self.seed = check_size("seed", seed, 0)
        self.accumulate = check_size("accumulate", accumulate)
        self.average = None if ema is None else Average(model, ema)
        self.teacher = _check_teacher(model, teacher)
        manner = Manner(_check_checkpoint(model, checkpoint), self.teacher(0))
        self.one = Step(model, loss, optimizer, self.clip_norm, self.clip_value, self.accumulate, self.average, manner)
        self.epoch = 0
        self.unfinished = (0, 0.0)
        self.base_lr = optimizer.lr
        self.history = History()
        self.stop_reason = ""
        self.place: Place | None = None
        self.resumed: Resumed | None = None

    def __repr__(self) -> str:
        model, loss, optimizer = type(self.model).__name__, self.loss, self.optimizer
        return f"Trainer({model}, {loss!r}, {optimizer!r}, epoch={self.epoch}, step={self.step})"

    @property
    def step(self) -> int:
        """Updates done over the life of the trainer."""
        return self.one.count

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        lengths: Any = None,
        mask: Any = None,
        sample_weight: Any = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        bucket: bool = True,
        max_seconds: float | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
    ) -> History:
        """Train on samples: sequences, or plain rows where the model takes those.

        Parameters
        ----------
        x : array_like (N, T, C), (N, T) of int, (N, C), or list of N arrays (T_n, ...)
            The inputs. Lists are padded batch by batch. A tuple of two of them for a model that takes two, such as
            (sources, targets_in) for `EncoderDecoder`; the targets are then one for each step of the second.
        y : array_like or list
            The targets: one for each step where the model keeps the time axis, (N, T, ...) or a list of (T_n, ...);
            else one for each sequence, (N, ...). For a loss whose targets have no places in time, `CTCLoss`: a list
            of N sequences of labels, or (N, S) with negative numbers past each row's end.
        epochs : int, default 1
            Passes over the data.
        batch_size : int, default 32
            Sequences per update.
        lengths : array_like (N,) of int, optional
            Valid steps of each sequence, where x is an array. A tuple of two where x is one.
        mask : array_like or list, optional
            Weights of the targets (0: left out), of shape (N,), or (N, T) where targets are one for each step.
        sample_weight : array_like (N,), optional
            Weights of whole sequences, also where targets are one for each step; with a mask they are multiplied.
            They weigh losses and metrics. Weights of classes belong to the loss.
        validation_data : tuple, optional
            (x, y), (x, y, lengths) or (x, y, lengths, mask), measured after each epoch under names that begin ``val_``.
        validation_split : float, default 0
            In [0, 1): the share of the samples held out for validation, the last ones as they come. Not together
            with ``validation_data``.
        shuffle : bool, default True
            Whether the order is random and new in each epoch.
        bucket : bool, default True
            Whether shuffled batches are made of sequences of like lengths.
        max_seconds : float, optional
            Stop after the batch in which so much time has gone by since the call, validation included.
        callbacks : sequence of Callback, default ()
            Called in order.
        progress : bool, default True
            Whether to show progress on stderr.

        Returns
        -------
        History
            By epoch "epoch", "loss", the metrics, "lr", "seconds", "per_second" (tokens, steps or samples) and what
            validation gave; and why training stopped.

        Raises
        ------
        TypeError, ValueError, IndexError
            If an argument does not fit; nothing has changed then, except that a class index out of range shows when
            its batch comes.
        TrainingError
            If a loss or gradient is NaN or infinite. Parameters are as before that batch.
        """
        samples = self._samples((x, y, lengths, mask), ("x", "y"), sample_weight)
        share = check_number("validation_split", validation_split, 0, 1, below=True)
        if validation_data is not None and share:
            raise ValueError("validation_data and validation_split cannot both be given")
        held_out = None
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or not 2 <= len(validation_data) <= 4:
                raise TypeError(
                    "validation_data must be (x, y), (x, y, lengths) or (x, y, lengths, mask); "
                    f"got {type(validation_data).__name__}"
                )
            names = ("validation_data[0]", "validation_data[1]")
            held_out = self._samples((*validation_data, None, None)[:4], names)
        elif share:
            samples, held_out = samples.split(share)
        shuffle = check_flag("shuffle", shuffle)
        feed = BatchFeed(samples, batch_size, shuffle, check_flag("bucket", bucket) and shuffle)
        measured = None if held_out is None else BatchFeed(held_out, batch_size, shuffle=False)
        return Loop(self, feed, measured, epochs, max_seconds, callbacks, progress).run()

    def fit_stream(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        streams: int = 64,
        steps: int = 64,
        back: int | None = None,
        epochs: int = 1,
        validation_data: Any = None,
        validation_split: float = 0.0,
        max_seconds: float | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
    ) -> History:
        """Train by truncated back-propagation: the state is carried from chunk to chunk, gradients ``back`` steps.

        Parameters
        ----------
        inputs : array_like (L,) of int, (L, C), or iterable
            A long stream, cut into ``streams`` parallel ones (the n-th part of the array each; a remainder of fewer
            steps than streams at the end is left out). Or chunks (x, y) or (x, y, reset) of x (N, T) or (N, T, C) and
            y (N, T, ...): the state is carried until a true ``reset``, which says that it starts anew before this
            chunk. More than one epoch needs an iterable that starts anew.
        targets : array_like (L, ...), optional
            One for each step; by default the inputs one step on. Not with chunks.
        streams : int, default 64
            The size of a batch.
        steps : int, default 64
            k1, the steps between two updates: the longest chunk; chunks are made of equal size, give or take a step.
        back : int, optional
            k2, the steps that gradients go back, at least k1: before each update the ``back - steps`` steps before
            the chunk are run again, so that its errors reach as far. That is k2 / k1 times the work. None: no further
            than the chunk's beginning. At a stream's beginning there is less to go back through.
        epochs, max_seconds, callbacks, progress
            As in `fit`.
        validation_data : array_like, or tuple (inputs, targets), optional
            A stream to be measured after each epoch.
        validation_split : float, default 0
            In [0, 1): the share of the stream held out, at its end.

        Returns
        -------
        History
            As from `fit`.

        Raises
        ------
        TypeError, ValueError, IndexError, TrainingError
            As `fit`.

        References
        ----------
        Williams and Peng (1990), An efficient gradient-based algorithm for on-line training of recurrent networks.
        """
        share = check_number("validation_split", validation_split, 0, 1, below=True)
        if validation_data is not None and share:
            raise ValueError("validation_data and validation_split cannot both be given")
        if is_chunks(inputs) and share:
            raise ValueError("validation_split needs an array, not an iterator of chunks")
        if share:
            at = len(inputs) - round(share * len(inputs))
            tail = inputs[at:], None if targets is None else targets[at:]
            validation_data = tail if targets is not None else tail[0]
            inputs, targets = inputs[:at], None if targets is None else targets[:at]
        if back is not None and check_size("back", back) < check_size("steps", steps) and not is_chunks(inputs):
            raise ValueError(f"back must be at least steps, {steps}; got {back}")
        feed = self._stream(inputs, targets, streams, steps, check_size("epochs", epochs) == 1)
        if back is not None:
            if not self.model.stateful:
                raise ValueError(f"back needs a model with a state that gradients go back through; got {self.model!r}")
            feed = LookBack(feed, back)
        measured = None
        if validation_data is not None:
            pair = validation_data if isinstance(validation_data, tuple) else (validation_data, None)
            names = ("validation_data", "validation_data[1]")
            measured = self._stream(pair[0], pair[1], streams, steps, epochs == 1, names)
        return Loop(self, feed, measured, epochs, max_seconds, callbacks, progress).run()

    def evaluate(
        self,
        x: Any,
        y: Any,
        *,
        lengths: Any = None,
        mask: Any = None,
        sample_weight: Any = None,
        batch_size: int = 32,
    ) -> dict[str, float]:
        """Return the loss and the metrics over samples, by name; arguments as in `fit`."""
        samples = self._samples((x, y, lengths, mask), ("x", "y"), sample_weight)
        return self.measure(BatchFeed(samples, batch_size, shuffle=False))

    def evaluate_stream(
        self, inputs: Any, targets: Any = None, *, streams: int = 64, steps: int = 64
    ) -> dict[str, float]:
        """Return the loss and the metrics over a stream, by name; arguments as in `fit_stream`."""
        return self.measure(self._stream(inputs, targets, streams, steps, True))

    def predict(self, x: Any, *, lengths: Any = None, batch_size: int = 32) -> NDArray[Any] | list[NDArray[Any]]:
        """Return the model's outputs for samples, in their order.

        Parameters
        ----------
        x, lengths, batch_size
            As in `fit`.

        Returns
        -------
        ndarray or list of ndarray
            (N, ...) or, where the model keeps the time axis, (N, T, ...) with zeros past the lengths; for a list of
            sequences then a list of (T_n, ...). Of a model that ends in a `CRF` the best paths of tags, (N, T).
        """
        samples = samples_of(self.model, x, None, lengths, None)
        out: Any = None
        ragged = samples.per_step and not isinstance(samples.x, np.ndarray)
        parts: list[Any] = [None] * len(samples) if ragged else []
        with self.averaged():
            for batch in BatchFeed(samples, batch_size, shuffle=False).batches(None):
                found, _ = self.one.infer(batch, None)
                pred = found.path(batch.lengths) if isinstance(found, Chain) else found
                assert batch.rows is not None
                if ragged:
                    assert samples.lengths is not None
                    for row, k in zip(pred, batch.rows, strict=True):
                        parts[k] = row[: samples.lengths[k]].copy()
                    continue
                if out is None:
                    steps = samples.x.shape[1:2] if samples.per_step else ()  # type: ignore[union-attr]
                    out = np.zeros((len(samples), *steps, *pred.shape[1 + len(steps) :]), pred.dtype)
                if samples.per_step:
                    if batch.loss_lengths is not None:
                        within = np.arange(pred.shape[1]) < batch.loss_lengths[:, None]
                        pred = np.where(within.reshape(*within.shape, *(1,) * (pred.ndim - 2)), pred, 0)
                    out[batch.rows, : pred.shape[1]] = pred
                else:
                    out[batch.rows] = pred
        return parts if ragged else out

    def measure(self, feed: Feed) -> dict[str, float]:
        """Return the loss and the metrics over one pass of a feed, by name."""
        with self.averaged():
            return self.one.evaluate(feed, self.metrics)

    @contextmanager
    def averaged(self) -> Iterator[Layer]:
        """Give the model its averaged weights for a ``with`` block, where the trainer has ``ema``; else change nothing.

        Examples
        --------
        >>> with trainer.averaged() as model:           # doctest: +SKIP
        ...     save_model(model, "averaged")
        """
        if self.average is None:
            yield self.model
            return
        with self.average.swapped(self.model):
            yield self.model

    def set_parameters(self, parameters: dict[str, Any]) -> None:
        """Let the model have these parameters, by full name, and its average too, where there is one."""
        self.model.load_state_dict(parameters)
        if self.average is not None:
            self.average.set(self.model.parameters(), self.average.count)

    def stop(self, reason: str = "stopped") -> None:
        """End the running fit after the batch or epoch at hand; ``history.reason`` becomes ``reason``."""
        self.stop_reason = str(reason)

    def state_dict(self) -> dict[str, Any]:
        """Return all that another trainer of the same construction needs to go on from here, the model apart.

        Called after a batch, by a callback or after an interrupt, it holds the place within the epoch too.

        Returns
        -------
        dict
            Flat: counts, "optimizer/...", "schedule/..." and, with ``ema``, "ema/..." are arrays; "place" is a dict, or
            None between two epochs.
        """
        return state_of(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from where `state_dict` was called.

        Raises
        ------
        KeyError, TypeError, ValueError
            If an entry is missing, unknown or does not fit.
        """
        set_state(self, state_dict)

    def resume(self, path: str | os.PathLike[str]) -> None:
        """Go on from a file of the callback `Checkpoint`: the model, the optimiser, the schedule and the counts.

        The trainer must be made as the one that wrote the file was; the next `fit` then draws batches and dropout as
        that one would have, and a schedule over a fraction of the training goes on where it stood, over what was done
        and what the next fit does. With the same data and arguments and as many epochs as were left, it gives the same
        parameters to the bit; an epoch that was broken off counts as one, and begins after the last batch that made an
        update; its values in the history are those of the whole epoch. Without the callback,
        ``save_checkpoint(trainer.model, path, state=trainer.state_dict())`` writes such a file.

        Parameters
        ----------
        path : path
            The file; a suffix left out is found.

        Raises
        ------
        OSError
            If the file cannot be read.
        ModelFileError
            If it is no valid checkpoint.
        KeyError, TypeError, ValueError
            If what is in it does not fit the model or the trainer, which are then as they were.
        """
        resume_from(self, path)

    def _samples(self, data: tuple[Any, ...], names: tuple[str, str], weight: Any = None) -> Samples:
        x, y, lengths, mask = data
        if y is None:
            raise TypeError(f"{names[1]} must be the targets; got None")
        aligned = getattr(self.loss, "per_step", True)
        samples = samples_of(self.model, x, y, lengths, mask, names, aligned, weight)
        samples.check_targets(self.loss)
        return samples

    def _stream(
        self,
        inputs: Any,
        targets: Any,
        streams: int,
        steps: int,
        once: bool,
        names: tuple[str, str] = ("inputs", "targets"),
    ) -> Feed:
        if isinstance(inputs, str):
            raise TypeError(f"{names[0]} must hold numbers; got text: a vocabulary of rnnfast.data numbers its tokens")
        check_forwards(self.model)
        if not is_chunks(inputs):
            feed = StreamFeed(inputs, targets, streams, steps, names)
            feed.check(self.model, self.loss)
            return feed
        if targets is not None:
            raise ValueError(f"{names[1]} must be left out where {names[0]} yields chunks: they have their own")
        return ChunkFeed(inputs, once, names[0])


def _check_teacher(model: Layer, teacher: Any) -> Callable[[int], float]:
    """Return the teacher's share as a function of the updates done, or raise."""
    share = 0.0 if isinstance(teacher, ScheduledSampling) else check_number("teacher", teacher, 0, 1)
    if share < 1 and not model.takes_target:
        raise ValueError(f"teacher is for models that are fed with their outputs; got {model!r}")
    return teacher if isinstance(teacher, ScheduledSampling) else partial(_always, share)


def _always(share: float, step: int) -> float:
    return share


def _check_checkpoint(model: Layer, checkpoint: Any) -> int | None:
    """Return the steps of a chunk, 0 for as many as suit and None for no checkpointing, or raise."""
    if checkpoint is False:
        return None
    size = 0 if checkpoint is True else check_size("checkpoint", checkpoint)
    if model.takes_target:
        raise ValueError(f"checkpoint is not for models that are fed with their outputs; got {model!r}")
    with told_of("checkpoint does not suit the model"):
        check_chunkable(model)
    return size
