"""One layer of an elementwise recurrence, one time step at a time: the sweep of scan.pyx over sequences of one step."""

import numpy as np

cimport numpy as cnp
from libc.string cimport memcpy, memmove, memset

from rnnfast._native.kernels cimport parallel
from rnnfast._native.rows cimport collect, distribute
from rnnfast._native.plan cimport NOW, SERIES, worth
from rnnfast._native.scan cimport Saved, set_job
from rnnfast._native.scan_pack cimport scan_packed
from rnnfast._native.scan_sweep cimport FORWARD, GROUP, PIECE, task

cnp.import_array()


cdef class ScanStep:
    """One layer fed a step at a time, its state and all buffers kept between calls.

    A step is of the first ``job.B`` rows, or of as many as `scan_step_in` is told.

    Parameters
    ----------
    weights : Weights
    batch : int
    past : tuple of int or None
        Shape of the inputs before a step, (N, K-1, F), where the gates see K of them.
    """

    def __cinit__(self):
        memset(&self.job, 0, sizeof(Job))

    def __init__(self, weights, Py_ssize_t batch, tuple past):
        cdef ScanPacked packed = scan_packed(weights)
        cdef Job* job = &self.job
        cdef Saved saved = Saved()
        cdef Py_ssize_t own
        saved.keep = []
        set_job(job, packed, batch, 1, None, saved)
        self.packed, self.memory, self.past, self.first = packed, Memory(), past, saved.keep[0]
        self.batch = batch
        self.inputs = packed.inputs // (1 if past is None else past[1] + 1)
        dtype = np.float32 if packed.itemsize == 4 else np.float64
        self.states, self.window = np.zeros((batch, job.ld), dtype), np.zeros((batch, packed.inputs), dtype)
        job.state = cnp.PyArray_BYTES(self.states)
        job.xs, job.ld_x = cnp.PyArray_BYTES(self.window), packed.inputs
        job.bias, job.v = packed.bias, packed.vectors
        noise = weights["noise"]
        job.scale = weights["cell"].scale if noise is None else 1 - noise[0]
        job.product = packed.product[0]
        job.product.lda, job.product.ld_init = job.ld_x, 0
        job.y_row = job.y_step = job.H * job.size
        job.phase, job.parts, job.rounds = FORWARD, 1, 1
        self.work = 2.0 * batch * job.ld_gates * job.X
        self.most = worth(self.work, SERIES)
        own = GROUP * job.cell.slots * job.W * job.size
        job.scratch_size = (PIECE * own + 63) // 64 * 64
        job.scratch = self.memory.take(self.most * job.scratch_size)

    cdef int threads(self) except -1:
        return min(self.most, worth(self.work * self.job.B / self.batch, NOW))

    cdef Py_ssize_t part_size(self) noexcept:
        """Return the bytes that `scan_step_in` needs for all rows."""
        return self.batch * (self.job.ld + (0 if self.past is None else self.job.X)) * self.job.size

    def get(self, rows) -> tuple:
        """Return copies of the states of those rows."""
        h = np.ascontiguousarray(self.states[rows, :self.job.H])
        if self.past is None:
            return (h,)
        past = np.zeros((len(rows), *self.past[1:]), h.dtype)
        past[:, :, :self.inputs] = self.window[rows, self.inputs:].reshape(len(rows), self.past[1], self.inputs)
        return h, past

    def put(self, tuple states, rows) -> None:
        """Copy states of those rows in."""
        self.states[rows, :self.job.H] = states[0]
        if self.past is not None:
            past = states[1][:, :, :self.inputs]
            self.window[rows, self.inputs:] = past.reshape(len(rows), self.past[1] * self.inputs)

    def clear(self, rows) -> None:
        """Set the states of those rows to zero."""
        self.states[rows] = 0
        self.window[rows] = 0

    def buffers(self) -> list:
        """Return the addresses of all that a step works in."""
        return [<size_t> self.job.state, <size_t> cnp.PyArray_BYTES(self.window), <size_t> self.job.scratch]


cdef inline void move_on(char* window, Py_ssize_t wide, const char* x, Py_ssize_t line) noexcept nogil:
    """Let the oldest input leave a row's window and x enter."""
    memmove(window, window + line, wide - line)
    memcpy(window + wide - line, x, line)


cdef void sweep(Job* job, int threads, char* y) noexcept nogil:
    job.y = y
    if threads == 1:
        task(job, 0, 1)
    else:
        parallel(task, job, threads)


cdef void scan_step(Job* job, Py_ssize_t inputs, int threads, const char* x, char* y) noexcept nogil:
    """Take a step from x (N, inputs) to y (N, H), both contiguous."""
    cdef Py_ssize_t j, line = inputs * job.size, wide = job.X * job.size
    if wide > line:
        for j in range(job.B):
            move_on(<char*> job.xs + j * wide, wide, x + j * line, line)
    else:
        job.xs = x
    sweep(job, threads, y)


cdef void scan_step_in(Job* job, Py_ssize_t inputs, int threads, const int64_t* rows, char* part, const char* x,
                       char* y) noexcept nogil:
    """Let some rows take a step: their states are copied out to `part`, side by side, and back."""
    cdef Py_ssize_t j, line = inputs * job.size, wide = job.X * job.size, state = job.ld * job.size
    cdef char* states = job.state
    cdef char* windows = <char*> job.xs
    cdef char* sides = part + job.B * state
    if wide > line:
        for j in range(job.B):
            move_on(windows + rows[j] * wide, wide, x + j * line, line)
        collect(sides, windows, rows, job.B, wide)
        job.xs = sides
    else:
        job.xs = x
    job.state = part
    collect(part, states, rows, job.B, state)
    sweep(job, threads, y)
    distribute(states, part, rows, job.B, state)
    job.state, job.xs = states, windows
