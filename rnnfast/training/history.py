"""What a training leaves on record."""

from __future__ import annotations

import math
from collections.abc import Mapping


class History(dict[str, list[float]]):
    """Values by epoch: ``history["loss"][3]`` is the loss of the fourth epoch of this fit.

    Attributes
    ----------
    reason : str
        Why training stopped: "completed", "time", "interrupted", what a callback gave to ``trainer.stop``, or "error";
        "running" until then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reason = "running"

    def __missing__(self, name: str) -> list[float]:
        raise KeyError(f"{name} is not on record; there are {', '.join(self)}")

    def add(self, values: Mapping[str, float]) -> None:
        """Append one epoch; what is missing, now or in earlier epochs, is NaN."""
        epochs = self.epochs
        for name in values:
            self.setdefault(name, [math.nan] * epochs)
        for name, column in self.items():
            column.append(values.get(name, math.nan))

    @property
    def epochs(self) -> int:
        """How many epochs are on record."""
        return max(map(len, self.values()), default=0)

    def __repr__(self) -> str:
        return f"History({super().__repr__()}, reason={self.reason!r})"
