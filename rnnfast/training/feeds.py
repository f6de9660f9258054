"""What training and evaluation are fed with: the batch, and the protocol of what yields them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import as_array, check_finite
from rnnfast.layers.crf import Chain


class Past(NamedTuple):
    """The steps before a chunk that its gradients go back through.

    Attributes
    ----------
    x : ndarray (N, K, ...)
        Inputs, K of them, from the step that the state at hand belongs to.
    target : ndarray (N, K, ...)
        Their targets, which this chunk's loss leaves out.
    keep : int or None
        After how many steps, counted from the first of the past, stands the state to go on with; None: not known.
    """

    x: NDArray[Any]
    target: NDArray[Any]
    keep: int | None


class Batch(NamedTuple):
    """What one step works on.

    Attributes
    ----------
    x : ndarray (N, T, ...) or (N, C), or tuple of two
        Input of the model.
    target : ndarray or list of ndarray
        Of the loss; None for prediction. A list where each sequence has a target of its own size.
    lengths : ndarray of int64 (N,) or None, or tuple of two
        Valid steps, for the model; the last of two are the targets'.
    mask : ndarray or None
        For loss and metrics.
    per_step : bool
        Whether there is an output for each step, so that the loss gets the lengths too.
    weight : float
        Valid targets: the weight of this batch's mean in the mean over all.
    units : int
        Steps or samples worked through, for the speed.
    reset : bool
        Whether the state starts anew; else it goes on from the batch before.
    rows : ndarray of int64 or None
        Which samples these are.
    past : Past or None
        The steps before it that are run again.
    """

    x: Any
    target: Any
    lengths: Any
    mask: Any
    per_step: bool
    weight: float
    units: int
    reset: bool = True
    rows: NDArray[np.int64] | None = None
    past: Past | None = None

    @property
    def loss_lengths(self) -> NDArray[np.int64] | None:
        """The lengths as loss and metrics want them."""
        lengths: NDArray[np.int64] | None = self.lengths[-1] if isinstance(self.lengths, tuple) else self.lengths
        return lengths if self.per_step else None


class Feed(Protocol):
    """A source of batches, one pass at a time."""

    unit: str  # what Batch.units counts

    def __len__(self) -> int:
        """Return the number of batches in a pass, 0 if that is not known."""

    def batches(self, rng: np.random.Generator | None) -> Iterator[Batch]:
        """Yield the batches of one pass, in an order drawn from ``rng`` (as they come if None)."""


Data = NDArray[Any] | list[NDArray[Any]]


def check_data(name: str, value: Any, finite: bool = True) -> Data:
    """Return ``value`` as one array, or as a list of arrays where it is a list of sequences.

    Where not all that is there counts, ``finite=False`` lets NaN and infinities pass.

    Raises
    ------
    TypeError
        If it is a single value, or does not hold real numbers.
    ValueError
        If it is empty, not finite, or its sequences differ in more than their length.
    """
    if not isinstance(value, (list, tuple)) or not any(np.ndim(item) for item in value[:1]):
        array = as_array(name, value)
        if array.dtype.kind == "O" and array.ndim == 1 and any(np.ndim(item) for item in array[:1]):
            return check_data(name, list(array), finite)
        if array.ndim == 0:
            raise TypeError(f"{name} must be an array or a list of sequences; got {type(value).__name__}")
        if not len(array):
            raise ValueError(f"{name} must not be empty; got shape {array.shape}")
        return _check_numbers(name, array, finite)
    items = [_check_numbers(f"{name}[{i}]", as_array(f"{name}[{i}]", item), finite) for i, item in enumerate(value)]
    shape = next((item.shape[1:] for item in items if item.size), items[0].shape[1:])
    integers = all(item.dtype.kind in "biu" for item in items if item.size)
    dtype = np.result_type(*{item.dtype for item in items if item.size} or {items[0].dtype})
    for i, item in enumerate(items):
        if item.ndim == 0 or (item.size and item.shape[1:] != shape):
            raise ValueError(f"{name}[{i}] must have shape (T, {', '.join(map(str, shape))}); got {item.shape}")
        if not item.size and (item.dtype.kind == "f") == integers:
            item = item.astype(dtype)
        items[i] = item.reshape(len(item), *shape)
    return items


def _check_numbers(name: str, array: NDArray[Any], finite: bool) -> NDArray[Any]:
    if array.dtype.kind not in "biuf":
        words = array.dtype.kind == "U" or (array.size and all(isinstance(item, str) for item in array.flat))
        hint = ": np.unique(labels, return_inverse=True) numbers labels, a vocabulary of rnnfast.data numbers text"
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}{hint if words else ''}")
    if finite:
        check_finite(name, array)
    return array


def sizes_of(data: Data) -> NDArray[np.int64] | None:
    """Return the length of each sequence of a list, None for an array."""
    return None if isinstance(data, np.ndarray) else np.array([len(item) for item in data], np.int64)


def shown(data: Data) -> str:
    """Return in words what came: the shape of an array, the number of sequences in a list."""
    return f"of shape {data.shape}" if isinstance(data, np.ndarray) else f"a list of {len(data)} sequences"


def take(data: Data, rows: NDArray[np.int64], steps: int | None) -> NDArray[Any]:
    """Return some rows as one array, cut or filled up with zeros to ``steps`` (None: rows have no time axis)."""
    if isinstance(data, np.ndarray):
        return data[rows] if steps is None else data[:, :steps][rows]
    first = data[0]
    longest = max(len(data[k]) for k in rows) if steps is None else steps
    dtype = np.result_type(*{data[k].dtype for k in rows})
    out = np.zeros((len(rows), longest, *first.shape[1:]), dtype)
    for row, k in zip(out, rows, strict=True):
        valid = data[k][:longest]
        row[: len(valid)] = valid
    return out


def extremes(data: Data) -> NDArray[Any] | None:
    """Return the least and the greatest of indices, None for data that is not integers of one dimension a row."""
    parts = [part for part in data if part.size] if isinstance(data, list) else [data]
    if not parts or parts[0].dtype.kind not in "biu" or parts[0].ndim != (1 if isinstance(data, list) else 2):
        return None
    return np.array([min(part.min() for part in parts), max(part.max() for part in parts)])


def try_loss(loss: Any, pred: NDArray[Any] | Chain, target: Data, valid: NDArray[np.bool_] | None) -> None:
    """Let the loss judge the least and the greatest target before any work, so that it raises what it has to.

    Parameters
    ----------
    loss : callable
        The loss.
    pred : ndarray (1, 1, C) or (1, C), or Chain of one step
        An output of the model: with a time axis or without.
    target : ndarray (N, T, ...) or (N, ...), or list of (T_n, ...)
        All targets.
    valid : ndarray of bool or None
        Which steps or rows of an array count; None: all.
    """
    steps = 1 if len(pred.shape) > 2 else 0
    parts = [part for part in target if part.size] if isinstance(target, list) else [target]
    if valid is not None:
        parts = [part[valid] for part in parts]
    parts = [part for part in parts if part.size]
    if parts:
        inner = target[0].shape[1:] if isinstance(target, list) else target.shape[1 + steps :]
        ends = np.array([min(part.min() for part in parts), max(part.max() for part in parts)])
        trial = np.broadcast_to(ends.reshape(2, *(1 for _ in inner)), (2, *inner))
        zeros = np.zeros((2, *pred.shape[1 + steps :]), pred.dtype)
        zeros, trial = (zeros[None], trial[None]) if steps else (zeros, trial)
        loss(pred._replace(emissions=zeros) if isinstance(pred, Chain) else zeros, trial)


def try_labels(loss: Any, pred: NDArray[Any] | Chain, target: Data) -> None:
    """Let a loss of targets of any size judge every value that comes in them, in one target.

    Parameters
    ----------
    loss : callable
        The loss.
    pred : ndarray (1, 1, C)
        An output of the model.
    target : ndarray (N, S) or list of (S_n,)
        All targets.
    """
    trial: Any = target[:1]
    if isinstance(target, list):
        if all(part.ndim == 1 for part in target):
            trial = [np.unique(np.concatenate(target))]
    elif target.ndim == 2:
        trial = np.unique(target)[None, ::-1]  # falling, for a negative number ends a row
    loss(np.zeros(pred.shape, pred.dtype), trial)
