"""What layers with an elementwise recurrence share: parameters and how a call reaches its cell."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from rnnfast import engine
from rnnfast.checks import FloatArray
from rnnfast.initializers import uniform, xavier_uniform
from rnnfast.layers.base import Gradients
from rnnfast.layers.recurrent.base import Recurrent
from rnnfast.scans import ScanSpec


class Scan(Recurrent):
    """What layers with an elementwise recurrence share; see `SRU`, `QRNN`, `MinGRU`, `MinLSTM` and `IndRNN`.

    Attributes
    ----------
    cell : ScanSpec
        The entry of ``rnnfast.scans.SCANS``.
    dtype : numpy.dtype
        float32 or float64.
    """

    cell: ScanSpec
    _vectors: ClassVar[str] = "weight_hh"  # what the weights that multiply the state unit by unit are called

    def _initial(self, rng: np.random.Generator) -> Gradients:
        """Return new parameters, and settle their names."""
        arrays: Gradients = {}
        suffixes = [f"_l{k}{d}" for k in range(self.num_layers) for d in ("", "_reverse")[: self._directions]]
        self._names = []
        for k, suffix in enumerate(suffixes):
            cell, hidden = self._cell(k), self.hidden_size
            names = {"w_ih": f"weight_ih{suffix}"}
            shapes: dict[str, tuple[int, ...]] = {"w_ih": (cell.gates * hidden, self._columns(k))}
            if cell.vectors:
                names["w_c"] = f"{self._vectors}{suffix}"
                shapes["w_c"] = (cell.vectors * hidden,)
            if self.bias:
                names["b_ih"] = f"bias_ih{suffix}"
                shapes["b_ih"] = (len(cell.biased) * hidden,)
            self._names.append(names)
            for kind, name in names.items():
                arrays[name] = self._start(kind, shapes[kind], cell, rng)
        return arrays

    def _start(self, kind: str, shape: tuple[int, ...], cell: ScanSpec, rng: np.random.Generator) -> FloatArray:
        """Return the initial values of one parameter."""
        if self.init == "torch":
            bound = 1.0 / math.sqrt(self.hidden_size)
            return uniform(shape, rng, self.dtype, -bound, bound)
        if kind == "w_ih":
            return xavier_uniform(shape, rng, self.dtype, gates=cell.gates)
        found = np.zeros(shape, self.dtype)
        if kind == "b_ih" and cell.forget:
            first = cell.biased.index(cell.order.index(cell.forget)) * self.hidden_size
            found[first : first + self.hidden_size] = 1.0
        return found

    def _inputs(self, k: int) -> int:
        """Return how many features direction k, counted over all layers, reads at each step."""
        return self.input_size if k < self._directions else self._directions * self.hidden_size

    def _columns(self, k: int) -> int:
        """Return the columns of its input weights."""
        return self._inputs(k)

    def _cell(self, k: int) -> ScanSpec:
        """Return its cell."""
        return self.cell

    def _arrays(self) -> list[engine.Weights]:
        """Return the weights of all directions of all layers."""
        flat = []
        for k, names in enumerate(self._names):
            own = engine.Weights(
                **{kind: self.params[names[kind]] if kind in names else None for kind in ("w_ih", "w_c", "b_ih")}
            )
            own.update(cell=self._cell(k), noise=self._noise())
            flat.append(own)
        return flat

    def _noise(self) -> tuple[float, int] | None:
        """Return the chance of zoneout and a seed; None where there is no such thing."""
        return None
