"""The time that a call of a recurrent layer cannot be shorter than on this machine, from a few things measured once.

With G gates, e bytes in a number, p threads, P operations a core does in a second, B rows alive in a step, and
w = G H^2 e / p bytes of recurrent weights that each core reads in every step:

    t_input      = 2 G H I B / (p P)
    t_stream(w)  = w / BW_L1 as far as it fits the first-level cache, what is more / BW_L2 as far as w fits 0.8 of
                   the second level, and what is more / BW_beyond: weights walked forwards and backwards in turn
                   find the end of the last walk still there. BW_L2 and BW_beyond are measured with two sizes each,
                   for a level does not serve all of them alike; between the two, seconds per byte go in a line
    t_recurrent  = max(2 G H^2 B / (p P), t_stream(w))      with a projection to Q features, (G + 1) H Q for G H^2
    t_activation = n H B t_act / p, n = 5 for LSTM, 3 for GRU, 1 for RNN
    a step       = t_input + max(t_recurrent + t_activation, t_latency) + t_barrier (p > 1)
    training     = 3 times the operations of the forward pass; the sweep backwards reads the weights once more

    elementwise    = t_input + max(n H B t_act / p, t_latency), with no barrier: a step of a cell in ``rnnfast.scans``
                   has no product, and only where a gate looks at the state does it wait for the step before

Input weights are read once a call at least, which matters for a single step. Threads may also share rows (every core
then reads all weights, and there is no barrier), each take one direction of a bidirectional layer, or stay out of it:
the limit is the least over all of these. It is a limit, not a forecast: it leaves out the way through Python, copies,
and gradients of the pointwise part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.backend import load
from rnnfast.caches import cache_sizes
from rnnfast.cells import CellSpec
from rnnfast.scans import ScanSpec

NEAR = 4  # times the first-level cache that the second level is measured with, beside half of itself
FAR = 2  # times the size that memory beyond the caches is measured with first
MOST = 64 << 20  # bytes that a measurement may take
KEPT = 0.8  # of the second-level cache that weights can use: inputs, gates and states want some too

USUAL_BARRIER = 2e-7  # seconds
DISTURBED = 5e-6  # seconds of a barrier from which on threads have waited for a CPU, not for each other


class Limits(NamedTuple):
    """What one core can do at most with one instruction set and element type.

    Attributes
    ----------
    isa : str
        The instruction set.
    itemsize : int
        Bytes in a number.
    flops : float
        Floating-point operations in a second; a multiply-add is two.
    l1_bytes, l2_bytes : int
        Sizes of a core's caches.
    l1_bandwidth, l2_bandwidth, beyond_bandwidth : float
        Bytes read in a second from each, and from what lies beyond.
    activation : float
        Seconds for tanh or sigmoid of one element, among many.
    latency : tuple of float
        Seconds of the shortest chain from one step to the next, with one activation in it (RNN) and with two.
    far_bytes, far_bandwidth : int, float
        Bytes read in a second from beyond the second level where it is so many that are read again and again;
        ``beyond_bandwidth`` is for half of them. 0: not measured, and taken to be as fast.
    near_bytes, near_bandwidth : int, float
        The same from the second level, where ``l2_bandwidth`` is for half of that cache.
    """

    isa: str
    itemsize: int
    flops: float
    l1_bytes: int
    l2_bytes: int
    l1_bandwidth: float
    l2_bandwidth: float
    beyond_bandwidth: float
    activation: float
    latency: tuple[float, float]
    far_bytes: int = 0
    far_bandwidth: float = 0.0
    near_bytes: int = 0
    near_bandwidth: float = 0.0

    def stream(self, size: float) -> tuple[float, str]:
        """Return the seconds of reading ``size`` bytes of weights in every step, and where the last come from."""
        first = self.l1_bytes
        second = max(first, KEPT * self.l2_bytes)
        if size <= first:
            return size / self.l1_bandwidth, "reading weights from L1"
        seconds = first / self.l1_bandwidth
        # where a level was measured once, both sizes have that rate
        near = (self.near_bytes, self.near_bandwidth) if self.near_bytes else (0, self.l2_bandwidth)
        each = _each(size, *near, self.l2_bytes / 2, self.l2_bandwidth)
        if size <= second:
            return seconds + (size - first) * each, "reading weights from L2"
        seconds += (second - first) * each
        far = (self.far_bytes, self.far_bandwidth) if self.far_bytes else (1, self.beyond_bandwidth)
        each = _each(size, self.far_bytes / FAR, self.beyond_bandwidth, *far)
        return seconds + (size - second) * each, "reading weights from beyond L2"


def _each(size: float, small: float, small_bandwidth: float, large: float, large_bandwidth: float) -> float:
    """Return the seconds for each of ``size`` bytes where two sizes have been measured."""
    part = min(max((size - small) / (large - small), 0.0), 1.0)
    return (1 - part) / small_bandwidth + part / large_bandwidth


class Estimate(NamedTuple):
    """The least time of a call.

    Attributes
    ----------
    seconds : float
        Of the whole call.
    bound : str
        What takes the largest part of it: "arithmetic", "reading weights from L1" (or "L2", "beyond L2"),
        "activations", "latency" or "barriers"; "nothing" where there are no steps.
    parts : dict of str to float
        The seconds of each.
    """

    seconds: float
    bound: str
    parts: dict[str, float]


_measured: dict[tuple[str, int], Limits] = {}
_barriers: dict[int, float] = {}


def measure(itemsize: int, seconds: float = 0.025) -> Limits:
    """Measure the limits of one core now, with the instruction set in force.

    Parameters
    ----------
    itemsize : {4, 8}
        Bytes in a number.
    seconds : float, default 0.025
        How long it may take, about; some ten milliseconds more go to memory beyond the caches.
    """
    native = load("rnnfast._native.limits")
    isa = load("rnnfast._native.kernels").get_isa()
    l1, l2 = cache_sizes()
    beyond = max(4 * l2, 8 << 20)
    far = FAR * beyond if FAR * beyond <= MOST else 0
    near = NEAR * l1 if NEAR * l1 < l2 // 2 else 0
    part = seconds / 9
    return Limits(
        isa=isa,
        itemsize=itemsize,
        flops=native.multiply_adds(itemsize, part),
        l1_bytes=l1,
        l2_bytes=l2,
        l1_bandwidth=native.read_bandwidth(itemsize, l1 // 2, part),
        l2_bandwidth=native.read_bandwidth(itemsize, l2 // 2, part),
        beyond_bandwidth=native.read_bandwidth(itemsize, beyond, 2 * part),
        activation=native.activation(itemsize, part),
        latency=(native.step_latency(itemsize, 1, part), native.step_latency(itemsize, 2, part)),
        far_bytes=far,
        far_bandwidth=native.read_bandwidth(itemsize, far, 3 * part) if far else 0.0,
        near_bytes=near,
        near_bandwidth=native.read_bandwidth(itemsize, near, part) if near else 0.0,
    )


def measure_barrier(threads: int, seconds: float = 0.01) -> float:
    """Return the seconds that ``threads`` threads take to meet once.

    Where other programs leave no CPU for one of them at any time, that cannot be seen: 200 ns then, which is usual.
    """
    found: float = load("rnnfast._native.limits").barrier_seconds(threads, seconds)
    return found if 0 < found < DISTURBED else USUAL_BARRIER


def get_limits(itemsize: int) -> Limits:
    """Return the limits of one core, measured at the first call for an instruction set and element type."""
    key = (load("rnnfast._native.kernels").get_isa(), itemsize)
    if key not in _measured:
        _measured[key] = measure(itemsize)
    return _measured[key]


def get_barrier(threads: int) -> float:
    """Return the seconds of a barrier, measured at the first call for a number of threads; 0 for one thread."""
    if threads < 2:
        return 0.0
    if threads not in _barriers:
        _barriers[threads] = measure_barrier(threads)
    return _barriers[threads]


def estimate(
    limits: Limits,
    barrier: float,
    cell: CellSpec | ScanSpec,
    input_size: int,
    hidden_size: int,
    batch: int,
    steps: int,
    *,
    lengths: NDArray[np.int64] | None = None,
    threads: int = 1,
    training: bool = False,
) -> Estimate:
    """Return the least time of one direction of one layer.

    Parameters
    ----------
    limits : Limits
        Of a core.
    barrier : float
        Seconds of a meeting of all threads; not looked at with one thread.
    cell : CellSpec or ScanSpec
        The cell: an entry of ``rnnfast.cells.CELLS`` or ``rnnfast.scans.SCANS``.
    input_size, hidden_size : int
        I and H.
    batch, steps : int
        N and T.
    lengths : (N,) int64, optional
        Valid steps of each sequence; None: all.
    threads : int, default 1
        p: how many may take part.
    training : bool, default False
        Whether all gradients follow.
    """
    alive = _alive(batch, steps, lengths)
    rows = sum(count * n for n, count in alive)
    recurrent = 0.0 if isinstance(cell, ScanSpec) else _recurrent_weights(cell, hidden_size)
    weights = cell.gates * hidden_size
    # what is not bound to the order of time, on one thread
    apart = 2.0 * (weights * input_size * (3 if training else 1) + recurrent * training) * rows / limits.flops
    reading, place = limits.stream(weights * input_size * limits.itemsize / threads)
    if isinstance(cell, ScanSpec):
        sweeps = [_chains(limits, cell, hidden_size, alive, threads)]
        beside = [0.0]
    else:
        ways = _ways(threads, batch)
        sweeps = [_sweeps(limits, barrier, cell, hidden_size, alive, way, training) for way in ways]
        # where one thread does the steps, the others may do the rest meanwhile
        beside = [_total(s) * (threads - 1) if w.threads == 1 else 0.0 for s, w in zip(sweeps, ways, strict=True)]
    for parts, done in zip(sweeps, beside, strict=True):
        if apart / threads >= reading or not rows:
            _add(parts, max(0.0, apart - done) / threads, "arithmetic")
        else:
            _add(parts, reading, place)
    return _whole(min(sweeps, key=_total))


def estimate_layers(
    limits: Limits,
    barrier: float,
    cell: CellSpec | ScanSpec,
    input_size: int,
    hidden_size: int,
    batch: int,
    steps: int,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    lengths: NDArray[np.int64] | None = None,
    threads: int = 1,
    training: bool = False,
) -> Estimate:
    """Return the least time of layers on top of each other; parameters as in `estimate`.

    The two directions of a layer follow each other with all threads, or run side by side with half of them each. Layers
    of one direction follow each other with all threads, or go side by side, shared out evenly, each on one.
    """
    parts: dict[str, float] = {}
    beside: dict[str, float] = {}  # the same of layers side by side
    for layer in range(num_layers):
        width = input_size if layer == 0 else cell.width(hidden_size) * (2 if bidirectional else 1)

        def one(p: int, width: int = width) -> Estimate:
            return estimate(
                limits,
                barrier,
                cell,
                width,
                hidden_size,
                batch,
                steps,
                lengths=lengths,
                threads=p,
                training=training,
            )

        whole = one(threads)
        scale = 2.0 if bidirectional else 1.0
        if bidirectional and threads > 1:
            half = one(threads // 2)
            if half.seconds < 2 * whole.seconds:
                whole, scale = half, 1.0
        for name, seconds in whole.parts.items():
            _add(parts, scale * seconds, name)
        for name, seconds in one(1).parts.items():
            _add(beside, seconds / min(threads, num_layers), name)
    least = _whole(parts)
    return least if bidirectional or num_layers == 1 else min(least, _whole(beside), key=lambda found: found.seconds)


class _Way(NamedTuple):
    """A way to share a sweep: threads at work, whether they split rows or units, and whether they meet."""

    threads: int
    by_rows: bool


def _ways(threads: int, batch: int) -> list[_Way]:
    ways = [_Way(1, False)]
    if threads > 1:
        ways.append(_Way(threads, False))
    if threads > 1 and batch > 1:
        ways.append(_Way(min(threads, batch), True))
    return ways


def _alive(batch: int, steps: int, lengths: NDArray[np.int64] | None) -> list[tuple[int, int]]:
    """Return (rows alive, number of steps with as many), for steps with any."""
    if lengths is None:
        return [(batch, steps)] if batch and steps else []
    ends, finished = np.unique(lengths, return_counts=True)
    found, rows, before = [], batch, 0
    for end, count in zip(ends.tolist(), finished.tolist(), strict=True):
        if end > before:
            found.append((rows, end - before))
        rows, before = rows - count, end
    return found


def _sweeps(
    limits: Limits,
    barrier: float,
    cell: CellSpec,
    hidden: int,
    alive: list[tuple[int, int]],
    way: _Way,
    training: bool,
) -> dict[str, float]:
    """Return the seconds of the recurrence, forwards and in training backwards, by what they are spent on."""
    parts: dict[str, float] = {}
    activations = cell.gates + len(cell.states) - 1
    latency = limits.latency[min(cell.gates, 2) - 1]
    matrix = _recurrent_weights(cell, hidden)
    size = matrix * limits.itemsize
    reading, place = limits.stream(size if way.by_rows else size / way.threads)
    for rows, count in alive:
        share = -(-rows // way.threads) if way.by_rows else rows / way.threads
        arithmetic = 2 * matrix * share / limits.flops
        product = (arithmetic, "arithmetic") if arithmetic >= reading else (reading, place)
        activation = activations * hidden * share * limits.activation
        if product[0] + activation >= latency:
            _add(parts, count * product[0], product[1])
            _add(parts, count * activation, "activations")
        else:
            _add(parts, count * latency, "latency")
        if training:
            _add(parts, count * product[0], product[1])
        if way.threads > 1 and not way.by_rows:
            _add(parts, count * barrier * (2 if training else 1), "barriers")
    return parts


def _recurrent_weights(cell: CellSpec, hidden: int) -> float:
    """Return the weights that each step multiplies with, those of a projection included."""
    width = cell.width(hidden)
    return float(cell.gates * hidden * width + (width * hidden if cell.options.proj_size else 0))


def _chains(
    limits: Limits, cell: ScanSpec, hidden: int, alive: list[tuple[int, int]], threads: int
) -> dict[str, float]:
    """Return the seconds of an elementwise recurrence, of which threads share the units or the rows."""
    rows, steps = (sum(n * count for n, count in alive), sum(count for _, count in alive))
    activations = cell.activations * hidden * rows * limits.activation / threads
    latency = steps * limits.latency[0] if cell.vectors and cell.activations else 0.0
    return {"activations": activations} if activations >= latency else {"latency": latency}


def _add(parts: dict[str, float], seconds: float, name: str) -> None:
    parts[name] = parts.get(name, 0.0) + seconds


def _total(parts: dict[str, float]) -> float:
    return sum(parts.values())


def _whole(parts: dict[str, float]) -> Estimate:
    seconds = _total(parts)
    bound = max(parts, key=lambda name: parts[name]) if seconds > 0 else "nothing"
    return Estimate(seconds, bound, parts)
