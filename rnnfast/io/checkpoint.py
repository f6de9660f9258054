"""Checkpoints: a model, the state of its optimiser and the place in the training, to go on from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from rnnfast import optimizers
from rnnfast.checks import check_size, kind_of
from rnnfast.io import container, tree
from rnnfast.io.errors import ModelFileError
from rnnfast.io.migration import migrated
from rnnfast.io.model import CHECKPOINT_FIELDS, check_fit, from_document, to_document
from rnnfast.layers.base import Layer, check_layer
from rnnfast.optimizers import Optimizer

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "SGD": optimizers.SGD,
    "RMSProp": optimizers.RMSProp,
    "Adagrad": optimizers.Adagrad,
    "Adam": optimizers.Adam,
    "AdamW": optimizers.AdamW,
}


class Checkpoint(NamedTuple):
    """What `load_checkpoint` returns.

    Attributes
    ----------
    model : Layer
        The model given to `load_checkpoint`, or a new one.
    optimizer : Optimizer or None
        The optimiser given to `load_checkpoint`, or a new one; None if the checkpoint has none.
    step : int
        The number saved along, such as the updates done.
    state : object
        Whatever was saved along.
    """

    model: Layer
    optimizer: Optimizer | None
    step: int
    state: Any


def save_checkpoint(
    model: Layer,
    path: str | os.PathLike[str],
    optimizer: Optimizer | None = None,
    step: int = 0,
    state: Any = None,
) -> Path:
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    model : Layer
        As for `save_model`.
    path : path
        As for `save_model`.
    optimizer : Optimizer, optional
        One of this package's; its settings and its state are saved.
    step : int, default 0
        Updates done, or any other count of at least 0.
    state : object, optional
        Anything made of dicts with string keys, lists, tuples (which come back as lists), arrays, strings, numbers,
        bools and None: for example the state of a random generator, ``rng.bit_generator.state``.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    OSError
        If the file cannot be written.
    TypeError, ValueError
        If an argument is not of its kind.
    """
    step = check_size("step", step, 0)
    own: dict[str, Any] = {}
    described = None
    if optimizer is not None:
        _check_optimizer(optimizer)
        inner = tree.split(optimizer.state_dict(), "optimizer", own)
        described = {"class": type(optimizer).__name__, "config": optimizer.config(), "state": inner}
    kept = tree.split(state, "state", own)
    document, arrays = to_document("checkpoint", model, None, optimizer=described, step=step, state=kept)
    return container.write(path, document, {**arrays, **own})


def load_checkpoint(
    path: str | os.PathLike[str], model: Layer | None = None, optimizer: Optimizer | None = None
) -> Checkpoint:
    """Return what `save_checkpoint` wrote; nothing in the file is executed.

    Parameters
    ----------
    path : path
        The file; a suffix left out is found.
    model : Layer, optional
        A model of the same shape, whose parameters are set. A new one is made if not given.
    optimizer : Optimizer, optional
        An optimiser of the same class, whose state is set (its learning rate too). A new one is made if not given.

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    OSError
        If the file cannot be read.
    ModelFileError
        If it is no valid checkpoint, or not one of such a model or optimiser; both are then as they were.
    """
    if model is not None:
        check_layer("model", model)
    if optimizer is not None:
        _check_optimizer(optimizer)
    document, arrays = container.read(path)
    try:
        document = migrated(document)
        found, _ = from_document("checkpoint", document, arrays, CHECKPOINT_FIELDS)
        step = document["step"]
        if type(step) is not int or step < 0:
            raise ModelFileError("its step must be an integer of at least 0")
        state = tree.join(document["state"], arrays)
        if model is not None:
            check_fit(model, found.parameters())
        restored = _restore(document["optimizer"], optimizer, arrays)
    except ModelFileError as error:
        raise ModelFileError(f"{os.fspath(path)}: {error}") from None
    if model is not None:
        model.load_state_dict(found.parameters())
    return Checkpoint(found if model is None else model, restored, step, state)


def _check_optimizer(optimizer: Any) -> None:
    """Raise ``TypeError`` unless this is an optimiser of a class that files know."""
    if type(optimizer) not in OPTIMIZERS.values():
        raise TypeError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got {kind_of(optimizer)}")


def _restore(described: Any, optimizer: Optimizer | None, arrays: container.Arrays) -> Optimizer | None:
    if described is None:
        if optimizer is not None:
            raise ModelFileError("it has no optimiser in it")
        return None
    if type(described) is not dict or set(described) != {"class", "config", "state"}:
        raise ModelFileError("its optimiser must have the fields class, config and state")
    name, config = described["class"], described["config"]
    if type(name) is not str or name not in OPTIMIZERS:
        raise ModelFileError(f"there is no optimiser called {name!r:.80}")
    if optimizer is not None and type(optimizer) is not OPTIMIZERS[name]:
        raise ModelFileError(f"its optimiser is {name}, not {type(optimizer).__name__}")
    try:
        made = OPTIMIZERS[name](**config) if optimizer is None else optimizer
        made.load_state_dict(tree.join(described["state"], arrays))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelFileError(f"its optimiser does not fit: {error}") from None
    return made
