"""What is timed: one list of cases, which feeds the command line and pytest-benchmark alike."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
TASKS = ("forward", "training")


@dataclass(frozen=True)
class Case:
    """One layer stack on one shape.

    Attributes
    ----------
    cell : {"RNN", "LSTM", "GRU"}
        The plain cells: tanh RNN, LSTM without peepholes, GRU with reset after the product.
    task : {"forward", "training"}
        Inference, or forward and the gradients of the input and of every parameter.
    steps, batch, input_size, hidden_size : int
        T, B, I and H.
    num_layers : int
        Stacked layers.
    bidirectional : bool
        Both directions, concatenated.
    dtype : {"float32", "float64"}
        Of the data and the arithmetic.
    """

    cell: str
    task: str
    steps: int
    batch: int
    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    dtype: str = "float32"

    @property
    def name(self) -> str:
        size = (
            f"H{self.hidden_size}" if self.input_size == self.hidden_size else f"I{self.input_size} H{self.hidden_size}"
        )
        words = [self.cell, self.task, f"T{self.steps}", f"B{self.batch}", size]
        words += [f"L{self.num_layers}"] if self.num_layers > 1 else []
        words += ["bi"] if self.bidirectional else []
        words += ["f64"] if self.dtype == "float64" else []
        return " ".join(words)

    @property
    def flops(self) -> int:
        """Floating-point operations in the matrix products; training counts each product three times."""
        directions = 2 if self.bidirectional else 1
        inputs = [self.input_size] + [self.hidden_size * directions] * (self.num_layers - 1)
        weights = sum(GATES[self.cell] * self.hidden_size * (i + self.hidden_size) * directions for i in inputs)
        return 2 * weights * self.steps * self.batch * (3 if self.task == "training" else 1)


@dataclass(frozen=True)
class Data:
    """The numbers of a case: parameters under torch's names, input (B, T, I), gradient of the output (B, T, D*H)."""

    weights: dict[str, NDArray[Any]] = field(repr=False)
    x: NDArray[Any] = field(repr=False)
    dy: NDArray[Any] = field(repr=False)


def make_data(case: Case, seed: int = 0) -> Data:
    """Return the data of a case, the same at every call; biases are nonzero, so that a swapped one shows."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(case.dtype)
    directions = ("", "_reverse") if case.bidirectional else ("",)
    hidden, rows = case.hidden_size, GATES[case.cell] * case.hidden_size
    bound = 1 / np.sqrt(hidden)
    weights = {}
    for layer in range(case.num_layers):
        width = case.input_size if layer == 0 else hidden * len(directions)
        for direction in directions:
            shapes = {"weight_ih": (rows, width), "weight_hh": (rows, hidden), "bias_ih": (rows,), "bias_hh": (rows,)}
            for kind, shape in shapes.items():
                weights[f"{kind}_l{layer}{direction}"] = rng.uniform(-bound, bound, shape).astype(dtype)
    x = rng.standard_normal((case.batch, case.steps, case.input_size)).astype(dtype)
    dy = rng.standard_normal((case.batch, case.steps, hidden * len(directions))).astype(dtype)
    return Data(weights, x, dy)


def _grid(shapes: list[tuple[int, int, int]], **options: Any) -> list[Case]:
    return [
        Case(cell, task, steps, batch, hidden, hidden, **options)
        for cell in GATES
        for steps, batch, hidden in shapes
        for task in TASKS
        if steps > 1 or task == "forward"  # a single step is a stream being served, never trained
    ]


# (steps, batch, hidden): a stream, a small and a middling model served, a small and a large one trained.
SHORT = _grid([(1, 1, 64), (100, 1, 64), (100, 1, 256), (50, 16, 128), (64, 64, 256)])
SHORT += _grid([(50, 16, 128)], dtype="float64")

FULL = SHORT + _grid([(1, 1, 16), (1, 1, 256), (100, 1, 16), (100, 1, 128), (100, 1, 512), (1000, 1, 64)])
FULL += _grid([(100, 4, 256), (100, 16, 64), (100, 16, 512), (100, 64, 512)])
FULL += [replace(case, num_layers=2) for case in _grid([(50, 16, 128)])]
FULL += [replace(case, bidirectional=True) for case in _grid([(50, 16, 128)])]
FULL += _grid([(100, 1, 64), (64, 64, 256)], dtype="float64")
