"""What a trainer is saved as: a flat dict of arrays, with its place within an epoch, and back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnfast.training.place import read_place

if TYPE_CHECKING:
    from rnnfast.trainer import Trainer

_OWN = ("step", "epoch", "base_lr", "done_updates", "done_seconds")


def state_of(trainer: Trainer) -> dict[str, Any]:
    """Return the state of a trainer; see `Trainer.state_dict`."""
    place = trainer.place if trainer.place is not None and trainer.place.step == trainer.step else None
    updates, seconds = trainer.unfinished
    # Within an epoch the running one is to be done again, but for the batches that were.
    values = (trainer.step, trainer.epoch if place is None else place.epoch, trainer.base_lr, updates, seconds)
    found: dict[str, Any] = {name: np.array(value) for name, value in zip(_OWN, values, strict=True)}
    found["place"] = None if place is None else place.state_dict()
    found.update({f"optimizer/{name}": array for name, array in trainer.optimizer.state_dict().items()})
    if trainer.schedule is not None:
        found.update({f"schedule/{name}": np.array(v) for name, v in trainer.schedule.state_dict().items()})
    if trainer.average is not None:
        found["ema_updates"] = np.array(trainer.average.count)
        found.update({f"ema/{name}": array.copy() for name, array in trainer.average.arrays.items()})
    return found


def set_state(trainer: Trainer, state_dict: dict[str, Any]) -> None:
    """Let a trainer go on from a state; see `Trainer.load_state_dict`."""
    resumed = read_place(state_dict.get("place"))
    parts: dict[str, dict[str, Any]] = {"": {}, "optimizer": {}, "schedule": {}, "ema": {}}
    for name, value in state_dict.items():
        if name == "place":
            continue
        head, slash, rest = name.partition("/")
        if (head if slash else "") not in parts:
            raise KeyError(f"state_dict: unknown entry {name}")
        parts[head if slash else ""][rest if slash else name] = value
    own = parts[""]
    averaged = own.pop("ema_updates", None)
    if set(own) != set(_OWN):
        raise KeyError(f"state_dict must have {', '.join(_OWN)}; got {sorted(own)}")
    for what, there, wanted in (
        ("the state of a schedule", bool(parts["schedule"]), trainer.schedule is not None),
        ("averaged weights", averaged is not None, trainer.average is not None),
    ):
        if there and not wanted:
            raise KeyError(f"state_dict has {what}, the trainer has none")
    if trainer.average is not None:
        if averaged is None:
            raise KeyError("state_dict has no averaged weights; the trainer, made with ema, wants them")
        trainer.average.set(parts["ema"], int(averaged))
    trainer.optimizer.load_state_dict(parts["optimizer"])
    if trainer.schedule is not None:
        trainer.schedule.load_state_dict({name: float(v) for name, v in parts["schedule"].items()})
    trainer.one.count, trainer.epoch = int(own["step"]), int(own["epoch"])
    trainer.base_lr = float(own["base_lr"])
    trainer.place, trainer.resumed = None, resumed
    trainer.unfinished = int(own["done_updates"]), float(own["done_seconds"])


def resume_from(trainer: Trainer, path: str | os.PathLike[str]) -> None:
    """Let a trainer and its model go on from a file; see `Trainer.resume`."""
    from rnnfast.io import load_checkpoint

    found = load_checkpoint(path)
    if not isinstance(found.state, dict):
        raise ValueError(f"{os.fspath(path)}: it has no state of a trainer; got {type(found.state).__name__}")
    before, kept = state_of(trainer), (trainer.epoch, trainer.place, trainer.resumed)
    try:
        set_state(trainer, found.state)
        trainer.model.load_state_dict(found.model.state_dict())
    except (KeyError, TypeError, ValueError):
        set_state(trainer, before)
        trainer.epoch, trainer.place, trainer.resumed = kept
        raise
