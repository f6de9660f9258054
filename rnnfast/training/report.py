"""Means over the batches of a pass, its speed, and how both are told."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rnnfast.metrics import LossMetric, Metric
from rnnfast.training.feeds import Batch


class Report:
    """Adds up one pass.

    Parameters
    ----------
    metrics : sequence of Metric
        What to measure beside the loss.
    unit : str
        What the speed counts.
    deadline : float, default infinity
        When to stop, by ``time.perf_counter``.
    """

    def __init__(self, metrics: Sequence[Metric], unit: str, deadline: float = math.inf) -> None:
        self._metrics, self._unit = metrics, unit
        self._started = time.perf_counter()
        self._deadline = deadline
        self._loss = self._weight = 0.0
        self._sums = [[0.0, 0.0] for _ in metrics]
        self._units = self._before = 0  # all, and those before `restore`
        self.batches = 0

    def add(self, batch: Batch, loss: float, pred: Any, weight: float) -> None:
        """Take in one batch, whose loss is a mean over ``weight``."""
        self.batches += 1
        self._units += batch.units
        self._loss += loss * weight
        self._weight += weight
        for metric, sums in zip(self._metrics, self._sums, strict=True):
            if not isinstance(metric, LossMetric):
                total, count = metric(pred, batch.target, mask=batch.mask, lengths=batch.loss_lengths)
                sums[0] += total
                sums[1] += count

    def sums(self) -> list[float]:
        """Return all sums so far, for `restore`."""
        flat = [value for pair in self._sums for value in pair]
        return [float(self.batches), float(self._units), self._loss, self._weight, *flat]

    def restore(self, sums: Sequence[float]) -> None:
        """Go on from what `sums` returned; the speed is that from now on.

        Raises
        ------
        ValueError
            If it was of other metrics.
        """
        if len(sums) != 4 + 2 * len(self._sums):
            raise ValueError(f"the metrics must be as many as before, {(len(sums) - 4) // 2}; got {len(self._sums)}")
        self.batches, self._before, self._loss, self._weight = int(sums[0]), int(sums[1]), sums[2], sums[3]
        self._units = self._before
        self._sums = [list(sums[k : k + 2]) for k in range(4, len(sums), 2)]

    def values(self) -> dict[str, float]:
        """Return the loss and the metrics so far, by name."""
        loss = self._loss / self._weight if self._weight else math.nan
        found = {"loss": loss}
        for metric, (total, weight) in zip(self._metrics, self._sums, strict=True):
            of_loss = isinstance(metric, LossMetric)
            found[metric.name] = metric.of_loss(loss) if of_loss else metric.finish(total, weight)  # type: ignore[attr-defined]
        return found

    def speed(self) -> dict[str, float]:
        """Return the seconds of this pass and the units per second."""
        seconds = time.perf_counter() - self._started
        return {"seconds": seconds, "per_second": (self._units - self._before) / seconds if seconds else math.nan}

    def out_of_time(self) -> bool:
        """Return whether the fit has taken its time."""
        return time.perf_counter() >= self._deadline

    def line(self, batches: int) -> tuple[str, float | None]:
        """Return how it stands, and the seconds left if the number of batches in the pass or a limit is known."""
        speed = self.speed()
        left = speed["seconds"] * (batches - self.batches) / self.batches if batches else math.inf
        left = min(left, self._deadline - time.perf_counter())
        text = f"{self._spell(self.values())}, {speed['per_second']:,.0f} {self._unit}/s"
        return text, left if math.isfinite(left) else None

    def summary(self, values: Mapping[str, float]) -> str:
        """Return one epoch in a line."""
        told = {name: value for name, value in values.items() if name not in ("epoch", "lr", "seconds", "per_second")}
        return f"{self._spell(told)}, {values['per_second']:,.0f} {self._unit}/s, {values['seconds']:.1f} s"

    def _spell(self, values: Mapping[str, float]) -> str:
        return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
