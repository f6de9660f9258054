"""Chunks of long streams, for truncated back-propagation: the state is carried from chunk to chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import as_array, check_finite, check_size, told_of
from rnnfast.layers.base import Layer
from rnnfast.training.feeds import Batch, Data, check_data, extremes, try_loss


class StreamFeed:
    """One long array, cut into parallel streams of equal length and those into chunks.

    Parameters
    ----------
    inputs : array_like (L,) of int, or (L, C)
        The stream.
    targets : array_like (L, ...), optional
        One for each step; by default the inputs one step on.
    streams : int
        How many run side by side: the size of a batch. Stream n takes the n-th part of the array; what is left
        over at the end, fewer steps than streams, is not used.
    steps : int
        The longest chunk. The streams are cut into as few chunks as possible, all of the same size give or take one.
    names : tuple of str
        What the user calls inputs and targets.
    """

    def __init__(
        self, inputs: Any, targets: Any, streams: int, steps: int, names: tuple[str, str] = ("inputs", "targets")
    ) -> None:
        self._names = name_x, name_y = names
        streams, steps = check_size("streams", streams), check_size("steps", steps)
        x = _whole(name_x, check_data(name_x, inputs))
        if x.ndim > 2 or (x.ndim == 1 and x.dtype.kind == "f"):
            raise ValueError(f"{name_x} must have shape (L,) of integers or (L, C); got {x.shape} of {x.dtype}")
        if targets is None:
            x, y = x[:-1], x[1:]
        else:
            y = _whole(name_y, check_data(name_y, targets))
            if len(y) != len(x):
                raise ValueError(f"{name_y} must have one entry for each step, {len(x)}; got {len(y)}")
        length = len(x) // streams
        if not length:
            raise ValueError(f"{name_x} must have at least one step for each of {streams} streams; got {len(x)} in all")
        self._x = x[: streams * length].reshape(streams, length, *x.shape[1:])
        self._y = y[: streams * length].reshape(streams, length, *y.shape[1:])
        chunks = -(-length // steps)
        self._bounds = [length * k // chunks for k in range(chunks + 1)]
        self.unit = "tokens" if x.dtype.kind in "biu" and x.ndim == 1 else "steps"

    def check(self, model: Any, loss: Any) -> None:
        """Try the model on one step, or the least and the greatest index; let the loss judge the targets."""
        ends = extremes(self._x) if self._x.ndim == 2 else None
        name_x, name_y = self._names
        with told_of(f"{name_x} does not suit the model, here tried on a part"):
            out = model(self._x[:1, :1] if ends is None else ends[None])
        pred = out[0] if model.stateful else out
        if pred.ndim < 3:
            raise ValueError(f"model must keep the time axis to be trained on a stream; its output is {pred.shape}")
        with told_of(f"{name_y} does not suit the loss, here tried on two targets"):
            try_loss(loss, pred, self._y, None)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def batches(self, rng: np.random.Generator | None) -> Iterator[Batch]:
        for start, stop in zip(self._bounds, self._bounds[1:], strict=False):
            yield _chunk(self._x[:, start:stop], self._y[:, start:stop], reset=start == 0)


class ChunkFeed:
    """Chunks as an iterator of the user's makes them: (x, y) or (x, y, reset).

    Parameters
    ----------
    chunks : iterable
        x is (N, T) of int or (N, T, C), y (N, T, ...); T may change from chunk to chunk, N only with a reset. A true
        ``reset`` says that the state starts anew before this chunk, as it does before the first.
    once : bool
        Whether one pass is all that is wanted, so that an iterator will do.
    name : str
        What the user calls the chunks.
    """

    unit = "steps"

    def __init__(self, chunks: Iterable[Any], once: bool, name: str = "inputs") -> None:
        if not once and iter(chunks) is chunks:
            raise ValueError(f"{name} is an iterator, which gives out after one epoch; give something that starts anew")
        self._chunks, self._name = chunks, name

    def __len__(self) -> int:
        return len(self._chunks) if isinstance(self._chunks, Sized) else 0

    def batches(self, rng: np.random.Generator | None) -> Iterator[Batch]:
        rows = -1
        for k, chunk in enumerate(self._chunks):
            name = f"{self._name}: chunk {k}"
            if not isinstance(chunk, (tuple, list)) or len(chunk) not in (2, 3):
                raise TypeError(f"{name} must be (x, y) or (x, y, reset); got {type(chunk).__name__}")
            x, y = (_checked(f"{name} {part}", value) for part, value in zip("xy", chunk, strict=False))
            reset = rows < 0 or (len(chunk) == 3 and bool(chunk[2]))
            if x.shape[:2] != y.shape[:2]:
                raise ValueError(f"{name} must have y of shape {x.shape[:2]}, as x; got {y.shape[:2]}")
            if not reset and len(x) != rows:
                raise ValueError(f"{name} must have {rows} rows as the one before, or a reset; got {len(x)}")
            rows = len(x)
            yield _chunk(x, y, reset)


def is_chunks(inputs: Any) -> bool:
    """Return whether ``inputs`` yields chunks rather than being one array."""
    if isinstance(inputs, (list, tuple)):
        return bool(inputs) and isinstance(inputs[0], tuple)
    return isinstance(inputs, Iterable) and not hasattr(inputs, "__array__")


def check_forwards(model: Layer, name: str = "") -> None:
    """Raise ``ValueError`` if a layer reads backwards: it sees what comes, and its state cannot be carried on."""
    if getattr(model, "bidirectional", False):
        what = f"layer {name} ({type(model).__name__})" if name else type(model).__name__
        raise ValueError(f"model must read forwards only to be trained on a stream; {what} is bidirectional")
    for part, child in model.children().items():
        check_forwards(child, f"{name}.{part}" if name else part)


def _whole(name: str, data: Data) -> NDArray[Any]:
    """Return a list of steps as one array, or raise ``ValueError``."""
    if isinstance(data, np.ndarray):
        return data
    if len({step.shape for step in data}) > 1:
        raise ValueError(f"{name} must have steps of one shape; got {data[0].shape} and others")
    return np.stack(data)


def _checked(name: str, value: Any) -> NDArray[Any]:
    array = as_array(name, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}")
    if array.ndim < 2 or not array.shape[0] or not array.shape[1]:
        raise ValueError(f"{name} must have shape (N, T, ...) with at least one step; got {array.shape}")
    check_finite(name, array)
    return array


def _chunk(x: NDArray[Any], y: NDArray[Any], reset: bool) -> Batch:
    units = x.shape[0] * x.shape[1]
    return Batch(x, y, None, None, per_step=True, weight=float(units), units=units, reset=reset)
