"""Where numbers went wrong: a batch done again, layer by layer."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnfast.layers.base import Gradients, Layer, Pullback, add_gradient
from rnnfast.training.feeds import Batch
from rnnfast.training.passes import PLAIN, Manner, forward


class TrainingError(ArithmeticError):
    """A loss or gradient that is NaN or infinite.

    Attributes
    ----------
    epoch, batch : int
        Which epoch of the trainer and which batch of the epoch, counted from 0 as callbacks and the history do; the
        message counts from 1, as the progress does.
    place : str
        The layer, and what of it.
    """

    def __init__(self, message: str, epoch: int, batch: int, place: str) -> None:
        super().__init__(message)
        self.epoch, self.batch, self.place = epoch, batch, place

    def __reduce__(self) -> tuple[type[TrainingError], tuple[str, int, int, str]]:
        return type(self), (str(self), self.epoch, self.batch, self.place)  # so that a worker process can raise it


def find_fault(
    model: Any, loss: Any, batch: Batch, state: Any, rng: np.random.Generator, manner: Manner = PLAIN
) -> str:
    """Do a batch again and say where the first NaN or infinity came up.

    Parameters
    ----------
    model : Layer
        Left as it is: a copy is worked with.
    loss : callable
        The loss.
    batch : Batch
        The batch.
    state : any
        The state before it.
    rng : numpy.random.Generator
        As it was before the batch, so that dropout falls as it did.
    manner : Manner
        How the forward pass is done.

    Returns
    -------
    str
        The first layer in the order of calls whose output is not finite; if none, the loss; if that is finite too,
        the first layer in backward order whose gradient is not.
    """
    model = copy.deepcopy(model)
    found: list[str] = []
    for name, layer in leaves(model):
        _watch(layer, f"layer {name} ({type(layer).__name__})" if name else type(layer).__name__, found)
    with np.errstate(all="ignore"):
        # In one piece: chunks of gradient checkpointing are done in inference, where nothing watches.
        pred, _, pullback = forward(model, batch, state, rng, manner._replace(chunk=None))
        if found:
            return found[0]
        value, loss_pullback = loss.forward(pred, batch.target, mask=batch.mask, lengths=batch.loss_lengths)
        if not math.isfinite(value):
            return f"the loss ({type(loss).__name__}), of finite outputs"
        dpred = loss_pullback()
        if not np.isfinite(dpred).all():
            return f"the gradient of the loss ({type(loss).__name__})"
        pullback(dpred, {})
    return found[0] if found else "it does not come up when the batch is done again"


def leaves(layer: Layer, name: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield the layers that have no layers of their own, with their names as in those of parameters."""
    children = layer.children()
    if not children:
        yield name, layer
    for part, child in children.items():
        yield from leaves(child, f"{name}.{part}" if name else part)


def _watch(layer: Layer, name: str, found: list[str]) -> None:
    """Make a layer note in ``found`` when its output or a gradient is not finite."""
    inner = layer.forward

    def forward(*args: Any, **kwargs: Any) -> tuple[Any, Pullback]:
        out, pullback = inner(*args, **kwargs)
        if not _finite(out):
            wrong = [key for key, array in layer.params.items() if not np.isfinite(array).all()]
            found.append(f"the output of {name}" + (f", whose parameter {wrong[0]} is not finite" if wrong else ""))

        def watched(dout: Any, grads: Gradients, **kwargs: Any) -> Any:
            own: Gradients = {}
            result = pullback(dout, own, **kwargs)
            wrong = [key for key, array in own.items() if not np.isfinite(array).all()]
            if wrong:
                found.append(f"the gradient of {wrong[0]} in {name}")
            elif not _finite(result):
                found.append(f"the gradient of the input of {name}")
            for key, array in own.items():
                add_gradient(grads, key, array)
            return result

        return out, watched

    layer.forward = forward  # type: ignore[method-assign]


def _finite(value: Any) -> bool:
    """Return whether all arrays in nested tuples are finite; None is."""
    if isinstance(value, tuple):
        return all(map(_finite, value))
    return value is None or bool(np.isfinite(value).all())
