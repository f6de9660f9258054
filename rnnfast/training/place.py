"""Where within an epoch a fit stands, so that a checkpoint can be gone on from after any batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Place(NamedTuple):
    """What is needed beside the counts of the trainer to go on after a batch.

    Attributes
    ----------
    step : int
        Updates done in all, to tell whether this place is still that of the model.
    epoch : int
        The running epoch.
    batches : int
        Batches of it that are done with.
    updates : int
        Updates that they made.
    length : int
        Batches of an epoch, 0 if that is not known.
    noise : dict
        The state of the generator that dropout draws from.
    state : object
        The state that is carried to the next batch.
    report : list of float
        Sums over the epoch so far, as `Report.sums` returns them.
    """

    step: int
    epoch: int
    batches: int
    updates: int
    length: int
    noise: dict[str, Any]
    state: Any
    report: list[float]

    def state_dict(self) -> dict[str, Any]:
        """Return the place as nested dicts, lists, arrays and numbers; the trainer has its step and epoch."""
        return {name: getattr(self, name) for name in Resumed._fields}


class Resumed(NamedTuple):
    """A place that was read back; see `Place`."""

    batches: int
    updates: int
    length: int
    noise: dict[str, Any]
    state: Any
    report: list[float]


def read_place(value: Any) -> Resumed | None:
    """Return what `Place.state_dict` gave, checked, or None for None.

    Raises
    ------
    TypeError, ValueError
        If it is something else.
    """
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != set(Resumed._fields):
        raise ValueError(f"place must have {', '.join(Resumed._fields)}; got {value!r:.200}")
    counts = {}
    for name in ("batches", "updates", "length"):
        counts[name] = int(value[name])
        if counts[name] < 0:
            raise ValueError(f"place: {name} must be at least 0; got {counts[name]}")
    noise, report = value["noise"], value["report"]
    if not isinstance(noise, dict) or not isinstance(report, list):
        raise ValueError(f"place: noise must be a dict and report a list; got {noise!r:.80} and {report!r:.80}")
    np.random.default_rng(0).bit_generator.state = noise  # raises what does not fit
    sums = [float(number) for number in report]
    return Resumed(**counts, noise=noise, state=_as_tuples(value["state"]), report=sums)


def _as_tuples(state: Any) -> Any:
    """Return a state whose tuples have become lists in a file as it was."""
    return tuple(_as_tuples(part) for part in state) if isinstance(state, (list, tuple)) else state
