"""Short measurements of what this machine can do at most, with the instruction set in force.

Each repeats a probe of some 20 microseconds (to go through many bytes takes longer) for about `seconds` and keeps the best
run: whoever disturbs it can only make it slower, and so short a run is likely to be left alone at least once.
"""

import numpy as np

cimport numpy as cnp

from rnnfast._native.kernels cimport barrier, ops, parallel, rf_ops, waits_on_purpose
from rnnfast._native.plan cimport now

cnp.import_array()

cdef enum:
    MEETINGS = 16  # in one run of the barrier probe: over before either thread is likely to be put aside
    LEAST_RUNS = 3
cdef double RUN = 20e-6  # seconds, about


ctypedef struct Probe:
    const rf_ops* ops
    Py_ssize_t n          # elements of x
    Py_ssize_t rounds
    int activations
    const char* x
    char* values
    double seconds        # barrier: what thread 0 has seen, 0 where it was alone
    double* begun         # work at once: when each thread began
    double rate           # and what all did in a second, 0 where there were fewer


ctypedef double (*work)(Probe* probe) noexcept nogil


cdef double multiply_adds_run(Probe* probe) noexcept nogil:
    return probe.ops.multiply_adds(probe.rounds, probe.values)


cdef double read_run(Probe* probe) noexcept nogil:
    return probe.ops.read_through(probe.rounds, probe.n, probe.x, probe.values)


cdef double activation_run(Probe* probe) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(probe.rounds):
        probe.ops.tanh(probe.n, probe.x, probe.values)
        probe.ops.sigmoid(probe.n, probe.x, probe.values)
    return 2.0 * probe.rounds * probe.n


cdef double chain_run(Probe* probe) noexcept nogil:
    return probe.ops.step_chain(probe.rounds, probe.activations, probe.values)


cdef double best_rate(work run, Probe* probe, double seconds) noexcept nogil:
    """Return the most work done in a second, over runs that are made long enough to be timed.

    A few count at least: one that was put aside may have been long for that reason alone.
    """
    cdef double start = now(), before, taken, done, best = 0
    cdef int counted = 0
    probe.rounds = 1
    while True:
        before = now()
        done = run(probe)
        taken = now() - before
        if taken < RUN and probe.rounds < 1 << 24:
            probe.rounds *= 2
            continue
        best = max(best, done / taken)
        counted += 1
        if counted >= LEAST_RUNS and now() - start > seconds:
            return best


cdef cnp.ndarray aligned(Py_ssize_t size, double value, int itemsize):
    """Return an array of `size` bytes at least, beginning on a cache line, full of one value."""
    kind = np.float32 if itemsize == 4 else np.float64
    whole = np.full(size // itemsize + 64 // itemsize, value, kind)
    return whole[-(<size_t> whole.ctypes.data) % 64 // itemsize:]


cdef Probe new_probe(int itemsize):
    cdef Probe probe
    probe.ops = ops(itemsize)
    probe.n = 0
    probe.rounds = probe.activations = 1
    probe.x = probe.values = NULL
    probe.seconds = 0
    probe.rate = 0
    probe.begun = NULL
    return probe


def multiply_adds(int itemsize, double seconds) -> float:
    """Return the most floating-point operations in a second on one core, a multiply-add being two."""
    cdef Probe probe = new_probe(itemsize)
    cdef cnp.ndarray values = aligned(128 * itemsize, 0.5, itemsize)
    cdef double best
    probe.values = cnp.PyArray_BYTES(values)
    with nogil:
        best = best_rate(multiply_adds_run, &probe, seconds)
    return best


def read_bandwidth(int itemsize, Py_ssize_t size, double seconds) -> float:
    """Return the most bytes read in a second on one core, going through `size` bytes again and again."""
    cdef Probe probe = new_probe(itemsize)
    cdef Py_ssize_t grain = 8 * probe.ops.width
    cdef cnp.ndarray values = aligned(128 * itemsize, 0, itemsize)
    cdef cnp.ndarray x = aligned(size + grain * itemsize, 1, itemsize)
    cdef double best
    probe.n = max(1, size // itemsize // grain) * grain
    probe.x, probe.values = cnp.PyArray_BYTES(x), cnp.PyArray_BYTES(values)
    with nogil:
        best = best_rate(read_run, &probe, seconds)
    return best


def activation(int itemsize, double seconds) -> float:
    """Return the seconds that tanh and sigmoid of one element take, on average of both, in long rows."""
    cdef Probe probe = new_probe(itemsize)
    x = np.linspace(-6, 6, 4096 // itemsize, dtype=np.float32 if itemsize == 4 else np.float64)
    cdef cnp.ndarray source = aligned(4096, 0, itemsize), values = aligned(4096, 0, itemsize)
    cdef double best
    source[:x.size] = x
    probe.n = x.size
    probe.x, probe.values = cnp.PyArray_BYTES(source), cnp.PyArray_BYTES(values)
    with nogil:
        best = best_rate(activation_run, &probe, seconds)
    return 1 / best


def step_latency(int itemsize, int activations, double seconds) -> float:
    """Return the seconds of a step that does nothing but what must be done one after the other."""
    cdef Probe probe = new_probe(itemsize)
    cdef cnp.ndarray values = aligned(17 * 16 * itemsize, 0.03, itemsize)
    cdef double best
    probe.activations = activations
    probe.values = cnp.PyArray_BYTES(values)
    with nogil:
        best = best_rate(chain_run, &probe, seconds)
    return 1 / best


cdef void meet_often(void* context, int thread, int threads) noexcept nogil:
    cdef Probe* probe = <Probe*> context
    cdef double start = 0
    cdef int i
    if thread == 0:
        waits_on_purpose()
    barrier(thread, threads)  # all are here
    if thread == 0:
        start = now()
    for i in range(MEETINGS):
        barrier(thread, threads)
    if thread == 0:
        probe.seconds = now() - start if threads == probe.activations else 0


def barrier_seconds(int threads, double seconds) -> float:
    """Return the seconds of one meeting of `threads` threads; 0 if they could not be had."""
    cdef Probe probe = new_probe(4)
    cdef double start = now(), best = 0
    probe.activations = threads
    with nogil:
        while now() - start < seconds:
            parallel(meet_often, &probe, threads)
            if probe.seconds > 0 and (best == 0 or probe.seconds < best):
                best = probe.seconds
    return best / MEETINGS


cdef enum:
    OWN = 128  # elements of `values` for each thread: whole cache lines


cdef void work_at_once(void* context, int thread, int threads) noexcept nogil:
    cdef Probe* probe = <Probe*> context
    cdef double first, done
    cdef int i
    if thread == 0:
        waits_on_purpose()
    barrier(thread, threads)  # all are here
    probe.begun[thread] = now()
    done = probe.ops.multiply_adds(probe.rounds, probe.values + thread * OWN * probe.ops.itemsize)
    barrier(thread, threads)  # all are done
    if thread == 0:
        first = probe.begun[0]
        for i in range(1, threads):
            first = min(first, probe.begun[i])
        probe.rate = threads * done / (now() - first) if threads == probe.activations else 0


def cores_at_once(int threads, double seconds) -> float:
    """Return how many cores' worth of multiply-adds `threads` threads do at once; 0 if they could not be had.

    Two CPUs of a virtual machine may be one core: then two threads do what one does.
    """
    cdef Probe probe = new_probe(4)
    cdef cnp.ndarray values = aligned(threads * OWN * 4, 0.5, 4), begun = np.empty(threads)
    cdef double start, alone, best = 0
    probe.activations = threads
    probe.values = cnp.PyArray_BYTES(values)
    probe.begun = <double*> cnp.PyArray_DATA(begun)
    with nogil:
        alone = best_rate(multiply_adds_run, &probe, seconds / 2)  # it settles how long a run is, too
        start = now()
        while now() - start < seconds / 2:
            parallel(work_at_once, &probe, threads)
            best = max(best, probe.rate)
    return min(best / alone, <double> threads)
