"""Batches for models of two inputs: what is given, and the target so far, for each step of which there is a target."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import told_of
from rnnfast.layers.base import Layer
from rnnfast.training.batches import Samples, check_timed, part_of
from rnnfast.training.feeds import Batch, check_data, shown, take


class Pairs(Samples):
    """`Samples` whose x is a tuple (given, target so far): the latter in all as x is there, the former beside it.

    Parameters
    ----------
    model : Layer
        Takes two inputs; tried on one step of each.
    x, y, lengths, mask
        As in ``Trainer.fit``; y None where only predictions are wanted.
    names, aligned, weight
        As in `Samples`.
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
        given, target = _both(name_x, x, f"the inputs of {type(model).__name__}")
        own = (None, None) if lengths is None else _both("lengths", lengths, "lengths of each input")
        self.given = check_data(f"{name_x}[0]", given)
        self._given_timed, self.given_lengths = check_timed(f"{name_x}[0]", self.given, own[0])
        part = part_of(self.given, self.given_lengths, self._given_timed)
        with told_of(f"{name_x}[0], {shown(self.given)}, does not suit the model, here tried on a part"):
            model((part, np.zeros((1, 1), np.int64)))
        super().__init__(_Given(model, part), target, y, own[1], mask, (f"{name_x}[1]", name_y), aligned, weight)
        if len(self.given) != len(self.x):
            raise ValueError(
                f"{name_x} must have as many entries in both of its parts; got {len(self.given)} and {len(self.x)}"
            )

    @property
    def sizes(self) -> NDArray[np.int64] | None:
        """The lengths of the targets first, among equal ones those of what is given."""
        if self.given_lengths is None or self.lengths is None:
            return self.lengths if self.given_lengths is None else self.given_lengths
        sizes: NDArray[np.int64] = self.lengths * (int(self.given_lengths.max()) + 1) + self.given_lengths
        return sizes

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Return some rows, each of the two inputs cut to the longest of them."""
        found = super().batch(rows)
        lengths = None if self.given_lengths is None else self.given_lengths[rows]
        steps = None
        if self._given_timed:
            whole = self.given.shape[1] if isinstance(self.given, np.ndarray) else 0
            steps = whole if lengths is None else max(1, int(lengths.max()))
        return found._replace(x=(take(self.given, rows, steps), found.x), lengths=(lengths, found.lengths))

    def _part(self, part: slice) -> Samples:
        other = super()._part(part)
        assert isinstance(other, Pairs)
        other.given, other._given_timed = self.given[part], self._given_timed
        other.given_lengths = None if self.given_lengths is None else self.given_lengths[part]
        return other


class _Given:
    """A model of two inputs with the first one fixed, one row of it."""

    stateful = False

    def __init__(self, model: Any, given: NDArray[Any]) -> None:
        self._model, self._given = model, given

    def __call__(self, x: Any, *, lengths: Any = None) -> Any:
        return self._model((self._given, x))


def samples_of(
    model: Layer,
    x: Any,
    y: Any,
    lengths: Any,
    mask: Any,
    names: tuple[str, str] = ("x", "y"),
    aligned: bool = True,
    weight: Any = None,
) -> Samples:
    """Return the samples for a model of one input or of two."""
    kind = Pairs if model.num_inputs == 2 else Samples
    return kind(model, x, y, lengths, mask, names, aligned, weight)


def _both(name: str, value: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(value, tuple) or len(value) != 2:
        got = f"{len(value)} of them" if isinstance(value, tuple) else type(value).__name__
        raise TypeError(f"{name} must be a tuple of two, {what}; got {got}")
    return value[0], value[1]
