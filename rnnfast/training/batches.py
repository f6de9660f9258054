"""Batches of whole sequences (or plain rows): shuffled, and of like lengths so that little is computed for padding."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_flag, check_lengths, check_real, check_size, told_of
from rnnfast.data.batching import bucket_by_length
from rnnfast.layers.crf import Chain
from rnnfast.metrics import valid_weights
from rnnfast.training.feeds import Batch, Data, check_data, extremes, shown, sizes_of, take, try_labels, try_loss


class Samples:
    """Inputs with their lengths, targets and masks, checked against each other.

    Parameters
    ----------
    model : Layer
        Tried on one step, to learn whether it keeps the time axis: if so the targets are one for each step.
    x, y, lengths, mask
        As in ``Trainer.fit``; y None where only predictions are wanted.
    names : tuple of str
        What the user calls x and y.
    aligned : bool
        Whether the loss wants a target for each step the model gives an output for; else it wants one for each
        sequence, of whatever size.
    weight : array_like (N,), optional
        ``sample_weight`` of ``Trainer.fit``.

    Attributes
    ----------
    per_step : bool
        Whether the model keeps the time axis.
    aligned : bool
        Whether there is a target for each step.
    lengths : ndarray of int64 (N,) or None
        Valid steps of each input.
    """

    def __init__(
        self,
        model: Any,
        x: Any,
        y: Any,
        lengths: Any,
        mask: Any,
        names: tuple[str, str] = ("x", "y"),
        aligned: bool = True,
        weight: Any = None,
    ) -> None:
        name_x, name_y = names
        self.x = check_data(name_x, x)
        self.timed, self.lengths = check_timed(name_x, self.x, lengths)
        with told_of(f"{name_x}, {shown(self.x)}, does not suit the model, here tried on a part"):
            self._pred = self._try(model)
        self.per_step = self.timed and len(self._pred.shape) > 2
        self.aligned = self.per_step and aligned
        self.mask = None if mask is None else self._matched("mask", mask)
        if self.mask is not None:
            self._check_mask()
        self.weight = None if weight is None else self._check_weight(weight)
        self._name_y = name_y
        self.y = None if y is None else self._matched(name_y, y, mask is None and lengths is None and weight is None)
        if self.per_step and self.lengths is not None and not self.lengths.any():
            raise ValueError(f"{name_x} must have at least one step; all lengths are 0")

    def __len__(self) -> int:
        return len(self.x)

    def check_targets(self, loss: Any) -> None:
        """Let the loss raise what it has to say of the targets, before any work."""
        assert self.y is not None
        if self.per_step and not self.aligned:
            with told_of(f"{self._name_y}, {shown(self.y)}, does not suit the loss, here tried on all that is in it"):
                try_labels(loss, self._pred, self.y)
            return
        valid: NDArray[np.bool_] | None = None
        if isinstance(self.y, np.ndarray):
            if isinstance(self.mask, np.ndarray):
                valid = self.mask > 0
            if self.per_step and self.lengths is not None:
                within = np.arange(self.y.shape[1]) < self.lengths[:, None]
                valid = within if valid is None else valid & within
            if self.weight is not None:
                counts = np.broadcast_to(self._beside_steps(self.weight) > 0, self.y.shape[: 1 + self.per_step])
                valid = counts if valid is None else valid & counts
        elif (
            self.mask is not None or self.weight is not None
        ):  # what a mask leaves out of a list may be anything: its batch will tell
            return
        with told_of(f"{self._name_y}, {shown(self.y)}, does not suit the loss, here tried on two targets"):
            try_loss(loss, self._pred, self.y, valid)

    def _try(self, model: Any) -> NDArray[Any] | Chain:
        """Return what the model makes of a part of the inputs."""
        out = model(part_of(self.x, self.lengths, self.timed), lengths=None)
        pred: NDArray[Any] | Chain = out[0] if model.stateful else out
        return pred

    def _check_weight(self, value: Any) -> NDArray[Any]:
        weight = check_real("sample_weight", value, np.dtype(np.float64), (len(self.x),))
        if not (np.isfinite(weight) & (weight >= 0)).all() or not weight.any():
            raise ValueError("sample_weight must be finite and at least 0, and not all 0")
        return weight

    def _beside_steps(self, weight: NDArray[Any]) -> NDArray[Any]:
        """Return weights of sequences in the shape that goes with those of their targets."""
        return weight[:, None] if self.aligned else weight

    def _check_mask(self) -> None:
        parts = [self.mask] if isinstance(self.mask, np.ndarray) else self.mask or []
        dims = 2 if self.aligned and isinstance(self.mask, np.ndarray) else 1
        if self.per_step and not self.aligned and isinstance(self.mask, list):
            raise ValueError("mask must have one weight for each sequence; got a list of sequences")
        for part in parts:
            if part.ndim != dims:
                raise ValueError(f"mask must have one weight for each target; got shape {part.shape}")
            if part.size and part.min() < 0:
                raise ValueError(f"mask must be at least 0; got {part.min()}")

    def _matched(self, name: str, value: Any, finite: bool = True) -> Data:
        """Return targets or mask that fit the inputs, or raise."""
        data = check_data(name, value, finite)
        if len(data) != len(self.x):
            raise ValueError(f"{name} must have as many entries as the input, {len(self.x)}; got {len(data)}")
        if not self.aligned:
            if isinstance(data, list) and not self.per_step:
                if len({len(item) for item in data}) > 1:
                    raise ValueError(f"{name} must have entries of one size: the model gives one output per sequence")
                data = np.stack(data)
            return data
        sizes = sizes_of(data)
        if sizes is not None:
            expected = self._steps() if self.lengths is None else self.lengths
            wrong = np.flatnonzero(sizes != expected)
            if len(wrong):
                i = int(wrong[0])
                want = int(np.broadcast_to(expected, sizes.shape)[i])
                raise ValueError(f"{name}[{i}] must have {want} steps, one for each of the input; got {sizes[i]}")
            return data
        assert isinstance(data, np.ndarray)
        steps = self._steps()
        if data.ndim < 2 or data.shape[1] != steps:
            raise ValueError(
                f"{name} must have shape ({len(self.x)}, {steps}, ...), one entry for each step, since the model gives "
                f"one output per step; got {data.shape}"
            )
        return data

    def _steps(self) -> int:
        if isinstance(self.x, np.ndarray):
            return int(self.x.shape[1])
        assert self.lengths is not None
        return int(self.lengths.max())

    @property
    def sizes(self) -> NDArray[np.int64] | None:
        """By what sequences are alike, for batches of like ones; None: all are."""
        return self.lengths

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Return some rows, cut to the longest of them."""
        lengths = None if self.lengths is None else self.lengths[rows]
        steps = None
        if self.timed:
            steps = self._steps() if lengths is None else max(1, int(lengths.max()))
            if lengths is not None and int(lengths.min()) == steps:
                lengths = None
        along = steps if self.aligned else None
        mask = None if self.mask is None else take(self.mask, rows, along)
        leading = (len(rows), steps) if self.aligned and steps else (len(rows),)
        if self.weight is not None:
            own = self._beside_steps(self.weight[rows])
            mask = np.broadcast_to(own, leading) if mask is None else mask * own
        weights = valid_weights(leading, mask, lengths if self.aligned else None)
        taken = len(rows) * (steps or 1) if lengths is None else int(lengths.sum())
        return Batch(
            x=take(self.x, rows, steps),
            target=self._targets(rows, along),
            lengths=lengths,
            mask=mask,
            per_step=self.per_step,
            weight=float(math.prod(leading)) if weights is None else float(weights.sum()),
            units=taken if self.per_step else len(rows),
            rows=rows,
        )

    def _targets(self, rows: NDArray[np.int64], steps: int | None) -> Any:
        if self.y is None:
            return None
        if isinstance(self.y, list) and not self.aligned:
            return [self.y[k] for k in rows]
        return take(self.y, rows, steps)

    def split(self, share: float) -> tuple[Samples, Samples]:
        """Return the first and the last part, the last being about ``share`` of all, both at least one row."""
        count = len(self)
        if count < 2:
            raise ValueError(f"validation_split needs at least 2 samples; got {count}")
        at = min(count - 1, max(1, count - round(share * count)))
        return self._part(slice(0, at)), self._part(slice(at, count))

    def _part(self, part: slice) -> Samples:
        other = object.__new__(type(self))
        other.timed, other.per_step, other.aligned = self.timed, self.per_step, self.aligned
        other._pred, other._name_y = self._pred, self._name_y
        other.x = self.x[part]
        other.y = None if self.y is None else self.y[part]
        other.mask = None if self.mask is None else self.mask[part]
        other.lengths = None if self.lengths is None else self.lengths[part]
        other.weight = None if self.weight is None else self.weight[part]
        return other


def check_timed(name: str, data: Data, lengths: Any) -> tuple[bool, NDArray[np.int64] | None]:
    """Return whether inputs have a time axis, and their lengths (None: all steps), or raise ``ValueError``."""
    sizes = sizes_of(data)
    if not isinstance(data, np.ndarray):
        if lengths is not None:
            raise ValueError(f"lengths must be left out where {name} is a list: its sequences have their own")
        return True, sizes
    timed = data.ndim == 3 or (data.ndim == 2 and data.dtype.kind in "biu")
    if lengths is not None:
        if not timed:
            raise ValueError(f"lengths needs a {name} with a time axis; got shape {data.shape}")
        sizes = check_lengths(lengths, len(data), data.shape[1])
    return timed, sizes


def part_of(data: Data, lengths: NDArray[np.int64] | None, timed: bool) -> NDArray[Any]:
    """Return one step of the longest sequence, or the least and the greatest index, to try a model on."""
    row = np.array([0 if lengths is None else int(lengths.argmax())])
    steps = 1 if timed and (lengths is None or lengths.any()) else None
    ends = extremes(data) if timed else None
    return take(data, row, steps) if ends is None else ends[None]


class BatchFeed:
    """Batches of `Samples`.

    Parameters
    ----------
    samples : Samples
        What to cut up.
    batch_size : int
        Rows in a batch; the last may have fewer.
    shuffle : bool
        Whether the order is random, given a generator.
    bucket : bool
        Whether batches are made of sequences of like lengths: drawn at random within pools of many batches, or sorted
        by length where the order is not random.
    """

    def __init__(self, samples: Samples, batch_size: int, shuffle: bool = True, bucket: bool = True) -> None:
        self.samples = samples
        self.batch_size = check_size("batch_size", batch_size)
        self.shuffle = check_flag("shuffle", shuffle)
        self.bucket = check_flag("bucket", bucket)
        integer = (samples.x if isinstance(samples.x, np.ndarray) else samples.x[0]).dtype.kind in "biu"
        self.unit = "tokens" if samples.per_step and integer else "steps" if samples.per_step else "samples"

    def __len__(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    def rows(self, rng: np.random.Generator | None) -> list[NDArray[np.int64]]:
        """Return the rows of each batch of one pass; every row is in one batch."""
        rng = rng if self.shuffle else None
        count, sizes = len(self.samples), self.samples.sizes
        if self.bucket and sizes is not None:
            return bucket_by_length(sizes, self.batch_size, rng)
        order = np.arange(count) if rng is None else rng.permutation(count)
        return [order[k : k + self.batch_size] for k in range(0, count, self.batch_size)]

    def batches(self, rng: np.random.Generator | None) -> Iterator[Batch]:
        for rows in self.rows(rng):
            yield self.samples.batch(rows)
