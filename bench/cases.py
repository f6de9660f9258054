"""What is timed: one case is a stack of layers, a shape and a task."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
# Relatives of the plain cells: whose they are, and blocks of rows in the weights.
VARIANTS = {
    "peephole": ("LSTM", 4),
    "coupled": ("LSTM", 3),
    "projection": ("LSTM", 4),
    "layer norm": ("LSTM", 4),
    "minimal": ("GRU", 2),
}
TREES = {"TreeLSTM": "child_sum", "BinaryTreeLSTM": "binary"}
TASKS = ("forward", "training", "stream", "step")


class Elementwise(NamedTuple):
    """What a cell without a recurrent product has: blocks of H rows or numbers in each parameter, names of the last."""

    gates: int
    biased: int
    vectors: int = 0
    vector: str = ""
    native: str = ""  # in ``rnnfast.scans.SCANS``
    kink: bool = False  # whether the slope of an activation jumps at 0


ELEMENTWISE = {
    "SRU": Elementwise(3, 2, 2, "weight_c", "sru"),
    "QRNN": Elementwise(3, 3, native="qrnn"),
    "MinGRU": Elementwise(2, 2, native="mingru_positive", kink=True),
    "MinLSTM": Elementwise(3, 3, native="minlstm_positive", kink=True),
    "IndRNN": Elementwise(1, 1, 1, "weight_hh", "indrnn_relu", True),
}


@dataclass(frozen=True)
class Case:
    """One layer stack on one shape.

    Attributes
    ----------
    cell : str
        A name in `GATES`: without a variant the plain cells, which are tanh RNN, LSTM without peepholes and GRU with
        reset after the product; in `ELEMENTWISE`, with their defaults; or in `TREES`.
    task : {"forward", "training", "stream", "step"}
        Inference; forward and the gradients of the input and of every parameter; one step of a stream by the means made
        for it; one step by a plain call that hands the state on. Peers have one way for the last two.
    steps, batch, input_size, hidden_size : int
        T, B, I and H. Of trees: nodes of each, and how many trees.
    num_layers : int
        Stacked layers.
    bidirectional : bool
        Both directions, concatenated.
    dtype : {"float32", "float64"}
        Of the data and the arithmetic.
    ragged : bool
        Whether sequences have lengths of their own, uniform in 1..T; otherwise all have T.
    callers : int
        Python threads that call at once, each allowed one thread.
    variant : str
        A key of `VARIANTS`, or "" for the plain cell: LSTM with peepholes, with coupled input and forget gates, with a
        projection to half its units or with layer normalisation, and the minimal gated unit, a GRU with one gate.
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
    ragged: bool = False
    callers: int = 1
    variant: str = ""

    @property
    def width(self) -> int:
        """Features of each direction's output."""
        return self.hidden_size // 2 if self.variant == "projection" else self.hidden_size

    @property
    def name(self) -> str:
        size = (
            f"H{self.hidden_size}" if self.input_size == self.hidden_size else f"I{self.input_size} H{self.hidden_size}"
        )
        words = [
            self.cell,
            *([self.variant] if self.variant else []),
            self.task,
            f"T{self.steps}",
            f"B{self.batch}",
            size,
        ]
        words += [f"L{self.num_layers}"] if self.num_layers > 1 else []
        words += ["bi"] if self.bidirectional else []
        words += ["f64"] if self.dtype == "float64" else []
        words += ["ragged"] if self.ragged else []
        words += [f"callers{self.callers}"] if self.callers > 1 else []
        return " ".join(words)

    @property
    def one_step(self) -> bool:
        """Whether a run is one step that hands its state on to the next."""
        return self.task in {"stream", "step"}

    def thread_counts(self, asked: list[int]) -> list[int]:
        """Return on how many threads it is run, of the numbers asked for: several callers have one each."""
        return [threads for threads in asked if threads == 1 or self.callers == 1]

    @property
    def itemsize(self) -> int:
        """Bytes in a number."""
        return np.dtype(self.dtype).itemsize

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        """Valid steps of each sequence (B,), the same at every call; None where all have T."""
        if not self.ragged:
            return None
        return np.random.default_rng(1).integers(1, self.steps, self.batch, endpoint=True)

    @property
    def valid_steps(self) -> int:
        """Steps over all sequences."""
        lengths = self.lengths
        return self.steps * self.batch if lengths is None else int(lengths.sum())

    @property
    def parents(self) -> NDArray[np.int64] | None:
        """The trees: each node's parent (B, T), -1 for the root, the same at every call; None where there are none.

        Grown node by node, each below an earlier one that still has room, any of them as likely.
        """
        if self.cell not in TREES:
            return None
        rng = np.random.default_rng(2)
        most = 2 if TREES[self.cell] == "binary" else self.steps
        found = np.full((self.batch, self.steps), -1, np.int64)
        for row in found:
            room = [0] * most
            for node in range(1, self.steps):
                row[node] = room.pop(int(rng.integers(len(room)))) if most == 2 else rng.integers(node)
                room += [node] * 2 if most == 2 else []
        return found

    def gates(self, width: int) -> int:
        """Return how many blocks of H rows the input weights have in a layer that reads ``width`` features."""
        if self.variant:
            return VARIANTS[self.variant][1]
        if self.cell not in ELEMENTWISE:
            return GATES.get(self.cell, 4)
        return ELEMENTWISE[self.cell].gates + (self.cell == "SRU" and width != self.hidden_size)

    @property
    def flops(self) -> int:
        """Floating-point operations in the matrix products; training counts each product three times."""
        factor = 6 if self.task == "training" else 2
        hidden, parents = self.hidden_size, self.parents
        if parents is not None:
            edges = int((parents >= 0).sum())
            inner = sum(len(np.unique(row[row >= 0])) for row in parents)
            recurrent = 3 * inner + edges if TREES[self.cell] == "child_sum" else 10 * inner
            return factor * hidden * (4 * self.input_size * parents.size + recurrent * hidden)
        directions = 2 if self.bidirectional else 1
        inputs = [self.input_size] + [self.width * directions] * (self.num_layers - 1)
        recurrent = 0 if self.cell in ELEMENTWISE else self.width
        own = self.width * hidden if self.variant == "projection" else 0
        weights = sum((self.gates(i) * hidden * (i + recurrent) + own) * directions for i in inputs)
        return factor * weights * self.valid_steps


@dataclass(frozen=True)
class Data:
    """The numbers of a case.

    Parameters under torch's names (or rnnfast's), input (B, T, I), gradient of the output (B, T, D*H), zero past the
    end of a sequence, and lengths (B,) and parents (B, T) or None.
    """

    weights: dict[str, NDArray[Any]] = field(repr=False)
    x: NDArray[Any] = field(repr=False)
    dy: NDArray[Any] = field(repr=False)
    lengths: NDArray[np.int64] | None = None
    parents: NDArray[np.int64] | None = None


def make_data(case: Case, seed: int = 0) -> Data:
    """Return the data of a case, the same at every call; biases are nonzero, so that a swapped one shows."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(case.dtype)
    directions = ("", "_reverse") if case.bidirectional else ("",)
    hidden = case.hidden_size
    bound = 1 / np.sqrt(hidden)
    weights = {}
    for layer in range(case.num_layers):
        width = case.input_size if layer == 0 else case.width * len(directions)
        for direction in directions:
            suffix = "" if case.cell in TREES else f"_l{layer}{direction}"
            for kind, shape in _shapes(case, width).items():
                weights[kind + suffix] = rng.uniform(-bound, bound, shape).astype(dtype)
    x = rng.standard_normal((case.batch, case.steps, case.input_size)).astype(dtype)
    dy = rng.standard_normal((case.batch, case.steps, case.width * len(directions))).astype(dtype)
    lengths = case.lengths
    if lengths is not None:
        dy[np.arange(case.steps) >= lengths[:, None]] = 0
    if case.cell in ELEMENTWISE and ELEMENTWISE[case.cell].kink:
        _keep_off_kinks(x, weights, rng)
    return Data(weights, x, dy, lengths, case.parents)


def _keep_off_kinks(x: NDArray[Any], weights: dict[str, NDArray[Any]], rng: np.random.Generator) -> None:
    """Draw the inputs anew that bring a sum of the first layer within 1e-5 of 0.

    There rounding decides on which side of the jump in slope the sum is, and gradients tell nothing of who is right.
    """
    w, b, u = (weights.get(kind + "_l0") for kind in ("weight_ih", "bias_ih", "weight_hh"))
    assert w is not None
    columns = w.T.astype(float)
    h = np.zeros((x.shape[0], w.shape[0]))
    for t in range(x.shape[1]):
        while True:
            sums = x[:, t] @ columns + b + (0 if u is None else u * h)
            near = (abs(sums) < 1e-5).any(1)
            if not near.any():
                break
            x[near, t] = rng.standard_normal((int(near.sum()), x.shape[2]))
        h = np.maximum(sums, 0)


def _shapes(case: Case, width: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters of one direction of a layer that reads ``width`` features."""
    hidden, rows = case.hidden_size, case.gates(width) * case.hidden_size
    if case.cell in TREES:
        recurrent = (4 * hidden, hidden) if TREES[case.cell] == "child_sum" else (5 * hidden, 2 * hidden)
        return {"weight_ih": (rows, width), "weight_hh": recurrent, "bias": (rows,)}
    if case.cell in ELEMENTWISE:
        own = ELEMENTWISE[case.cell]
        found: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "bias_ih": (own.biased * hidden,)}
        return {**found, **({own.vector: (own.vectors * hidden,)} if own.vector else {})}
    more: dict[str, dict[str, tuple[int, ...]]] = {
        "peephole": {"weight_peephole": (3 * hidden,)},
        "projection": {"weight_hr": (case.width, hidden)},
        "layer norm": {"gain_ih": (rows,), "gain_hh": (rows,), "gain_ch": (hidden,), "bias_ch": (hidden,)},
    }
    shapes = {"weight_ih": (rows, width), "weight_hh": (rows, case.width), "bias_ih": (rows,), "bias_hh": (rows,)}
    return shapes | more.get(case.variant, {})


def in_double(case: Case, data: Data) -> tuple[Case, Data]:
    """Return the case and the very same numbers in float64, for one caller."""
    weights = {name: array.astype(np.float64) for name, array in data.weights.items()}
    double = Data(weights, data.x.astype(np.float64), data.dy.astype(np.float64), data.lengths, data.parents)
    return replace(case, dtype="float64", callers=1), double
