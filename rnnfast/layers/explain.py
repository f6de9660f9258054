"""What a recurrent layer would do with a batch, in words and numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

from rnnfast import engine, limits
from rnnfast.backend import get_backend, load
from rnnfast.scans import ScanSpec


class Plan(NamedTuple):
    """What one direction of one layer does with a batch.

    Attributes
    ----------
    name : str
        "l0", "l0_reverse", "l1", ..., as in the names of the parameters.
    threads : int
        How many take part in one of many calls that follow each other closely. One that comes after a pause of more
        than 0.2 ms finds the others asleep, and may be faster without waiting for them: it then takes fewer.
    shared : str
        What they share out in the recurrence: "rows" of the batch, hidden "units", only the "products over all steps"
        before, beside and after it, the two "directions" of the layer, the "layers" of a stack, or, being "one thread",
        nothing.
    reason : str
        Why so.
    isa : str
        The instruction set.
    width : int
        Numbers in one of its vectors.
    chunk : int
        Rows, over all steps, whose input product is made at once, by all threads or by each for its own, so that what
        it leaves is still in cache.
    input_bytes, recurrent_bytes : int
        Packed weights.
    backward_bytes : int
        Packed copies of both for the backward pass, made when there is the first one.
    workspace_bytes : int
        Scratch memory of the call beyond input, output and state; with training, of both passes, as the
        packed kernels make the gradients (``RNNFAST_GEMM=blas`` takes more).
    bytes_per_step : float
        What the forward pass keeps for the backward one for each valid step and row; 0 without training.
    limit_seconds : float
        The least time this machine allows for it on that many threads, as `rnnfast.limits` estimates it from
        arithmetic, bandwidth, activations, latency and barriers, without the call from Python; of a direction beside
        another, or a layer beside others, on the one thread that it has.
    limit_by : str
        What takes the largest part of that: "arithmetic", "reading weights from L1" ("L2", "beyond L2"),
        "activations", "latency" or "barriers"; "nothing" where there are no steps.
    """

    name: str
    threads: int
    shared: str
    reason: str
    isa: str
    width: int
    chunk: int
    input_bytes: int
    recurrent_bytes: int
    backward_bytes: int
    workspace_bytes: int
    bytes_per_step: float
    limit_seconds: float
    limit_by: str


class Explanation:
    """How a recurrent layer would run a batch; prints as a table.

    Attributes
    ----------
    cell : str
        The kernel: a name in ``rnnfast.cells.CELLS``.
    dtype : str
        Of numbers.
    batch, steps : int
        N and T.
    training : bool
        Whether gradients follow.
    backend : str
        The backend in force; on "reference" NumPy decides about everything.
    layers : tuple of Plan
        One for each layer and direction; empty on the reference backend.
    """

    __slots__ = ("backend", "batch", "cell", "dtype", "layers", "steps", "training")

    def __init__(
        self, cell: str, dtype: str, batch: int, steps: int, training: bool, backend: str, layers: tuple[Plan, ...]
    ) -> None:
        self.cell = cell
        self.dtype = dtype
        self.batch = batch
        self.steps = steps
        self.training = training
        self.backend = backend
        self.layers = layers

    def __str__(self) -> str:
        work = "training" if self.training else "inference"
        lines = [f"{self.cell} {self.dtype}, {work} of {self.batch} x {self.steps} steps, {self.backend} backend"]
        for plan in self.layers:
            threads = "1 thread" if plan.threads == 1 else f"{plan.threads} threads, sharing {plan.shared}"
            rows: list[tuple[str, Any]] = [
                ("instructions", f"{plan.isa}, vectors of {plan.width}"),
                ("threads", f"{threads}: {plan.reason}"),
                ("chunk", f"{plan.chunk} rows"),
                ("packed weights", f"input {_bytes(plan.input_bytes)}, recurrent {_bytes(plan.recurrent_bytes)}"),
                ("workspace", _bytes(plan.workspace_bytes)),
                ("estimated limit", f"{_time(plan.limit_seconds)}, most of it {plan.limit_by}"),
            ]
            if self.training:
                rows.insert(4, ("  for backward", _bytes(plan.backward_bytes)))
                rows.insert(6, ("  kept", f"{plan.bytes_per_step:,.0f} bytes for each step and row"))
            lines += [plan.name, *(f"  {name:<16}{value}" for name, value in rows)]
        return "\n".join(lines)

    __repr__ = __str__


def explain(layer: Any, weights: Any, batch: int, steps: int, lengths: Any, training: bool) -> Explanation:
    """Return the explanation of a call of a recurrent layer; arguments as in its method, checked."""
    plans = []
    backend = get_backend()
    if backend == "native":
        where = "scan" if isinstance(layer.cell, ScanSpec) else "explain"
        native = load(f"rnnfast._native.{where}")
        company = 1
        between = batch * steps * layer.hidden_size * layer.dtype.itemsize
        module = engine.backend("native scan" if where == "scan" else "native")
        if not (training and layer.dropout) and engine.stacked(module, len(weights), len(weights[0]), between):
            own = [directions[0] for directions in weights]
            company = native.threads_for_stack(layer.cell, own, batch, steps, lengths, training)
        for k, directions in enumerate(weights):
            # memory of a batch-major input has a sequence's steps together, not a step's rows
            apart = k == 0 and layer.batch_first and batch > 1 and steps > 1
            for own, suffix in zip(directions, ("", "_reverse"), strict=False):
                found = native.explain_direction(
                    layer.cell.name if where == "scan" else layer.cell,
                    own,
                    batch,
                    steps,
                    lengths,
                    training,
                    apart or lengths is not None,
                    *((len(directions) == 2, company) if where == "explain" else ()),
                )
                threads = 1 if found["shared"] in {"directions", "layers"} else found["threads"]
                least = limits.estimate(
                    limits.get_limits(layer.dtype.itemsize),
                    limits.get_barrier(threads),
                    layer.cell,
                    own["w_ih"].shape[1],
                    layer.hidden_size,
                    batch,
                    steps,
                    lengths=lengths,
                    threads=threads,
                    training=training,
                )
                plans.append(Plan(name=f"l{k}{suffix}", **found, limit_seconds=least.seconds, limit_by=least.bound))
    return Explanation(layer.cell.name, layer.dtype.name, batch, steps, training, backend, tuple(plans))


def _time(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def _bytes(n: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    size, unit = float(n), "bytes"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
