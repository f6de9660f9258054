"""Where within an epoch a fit stands, so that a checkpoint can be gone on from after any batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rnnfast.training.report import Report


class Place(NamedTuple):
    """What is needed beside the counts of the trainer to go on after a batch.

    Attributes
    ----------
    step : int
        Updates done in all, to tell whether this place is still that of the model.
    batches : int
        Batches of the running epoch that are done with; 0 between two epochs.
    length : int
        Batches of an epoch, 0 if that is not known.
    epoch : int
        The running epoch, or the next.
    first_step, first_epoch : int
        Where the fit began, which schedules reckon from.
    noise : dict or None
        The state of the generator that dropout draws from; None between two epochs.
    state : object
        The state that is carried to the next batch.
    report : Report or None
        Sums over the epoch so far; None between two epochs.
    """

    step: int
    batches: int
    length: int
    epoch: int
    first_step: int
    first_epoch: int
    noise: dict[str, Any] | None = None
    state: Any = None
    report: Report | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the place as nested dicts, lists, arrays and numbers."""
        return {
            "batches": self.batches,
            "length": self.length,
            "first_step": self.first_step,
            "first_epoch": self.first_epoch,
            "noise": self.noise,
            "state": self.state,
            "report": None if self.report is None else self.report.sums(),
        }


class Resumed(NamedTuple):
    """A place that was read back; see `Place`."""

    batches: int
    length: int
    first_step: int
    first_epoch: int
    noise: dict[str, Any] | None
    state: Any
    report: list[float] | None


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
    for name in ("batches", "length", "first_step", "first_epoch"):
        counts[name] = int(value[name])
        if counts[name] < 0:
            raise ValueError(f"place: {name} must be at least 0; got {counts[name]}")
    noise, report = value["noise"], value["report"]
    if counts["batches"] and (noise is None or report is None):
        raise ValueError("place: within an epoch there must be noise and report")
    if noise is not None:
        np.random.default_rng(0).bit_generator.state = noise  # raises what does not fit
    if report is not None:
        report = [float(number) for number in report]
    return Resumed(**counts, noise=noise, state=_as_tuples(value["state"]), report=report)


def _as_tuples(state: Any) -> Any:
    """Return a state whose tuples have become lists in a file as it was."""
    return tuple(_as_tuples(part) for part in state) if isinstance(state, (list, tuple)) else state
