"""Elementwise recurrences: one input product and one sweep, forward and backward.

Rows stand sequence after sequence, so that memory of a batch (N, T, C) is used as it is. Here arguments become a job,
and its results theirs; what threads do in it is in scan_sweep.pyx.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memset

from rnnfast._native.kernels cimport alloc, release, rf_outer
from rnnfast._native.plan cimport NOW, SERIES, worth
from rnnfast._native.rows cimport typenum_of
from rnnfast._native.scan_pack cimport ScanPacked, scan_packed
from rnnfast._native.scan_sweep cimport (
    BACKWARD, FORWARD, GRADIENTS, GROUP, PIECE, PROJECT, SUM_BY_INDEX, Job, divide, run
)
from rnnfast.threads import get_num_threads
from rnnfast.window import fold, unfold

cnp.import_array()


cdef class Memory:
    """Blocks that live as long as this does."""

    def __cinit__(self):
        self.blocks = []

    def __dealloc__(self):
        for block in self.blocks:
            release(<void*> <size_t> block)

    cdef char* take(self, Py_ssize_t size) except NULL:
        cdef char* block = <char*> alloc(max(size, 64))
        if block == NULL:
            raise MemoryError
        self.blocks.append(<size_t> block)
        return block


cdef class Saved:
    """What forward keeps for backward: the slots and the state of each unit, step and row. Used up by one pass."""

    @property
    def shape(self):
        """N, T and I of an input that is an array, of a cell without a window."""
        return self.job.B, self.job.T, self.job.X


cdef char* data_of(cnp.ndarray array) noexcept:
    return <char*> cnp.PyArray_DATA(array)


cdef bint plain(cnp.ndarray array) noexcept:
    """Return whether features stand side by side and steps and sequences whole elements apart."""
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(array)
    return (cnp.PyArray_STRIDE(array, 2) == size and cnp.PyArray_STRIDE(array, 0) % size == 0
            and cnp.PyArray_STRIDE(array, 1) % size == 0)


cdef Py_ssize_t linear(cnp.ndarray x) noexcept:
    """Return how many elements compact rows of x (N, T, C) are apart, or 0 if they are not equally far."""
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(x), steps = cnp.PyArray_DIM(x, 1)
    if not plain(x):
        return 0
    if steps == 1:
        return cnp.PyArray_STRIDE(x, 0) // size if cnp.PyArray_DIM(x, 0) > 1 else cnp.PyArray_DIM(x, 2)
    if cnp.PyArray_DIM(x, 0) > 1 and cnp.PyArray_STRIDE(x, 0) != steps * cnp.PyArray_STRIDE(x, 1):
        return 0
    return cnp.PyArray_STRIDE(x, 1) // size


cdef cnp.ndarray zeros(Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t size):
    cdef cnp.npy_intp shape[2]
    shape[0], shape[1] = n0, n1
    return <cnp.ndarray> cnp.PyArray_ZEROS(2, shape, typenum_of(size), 0)


cdef cnp.ndarray padded(const Job* job, object values):
    """Return a state (N, H), or None for zeros, as a new array with rows of whole vectors."""
    cdef cnp.ndarray out = zeros(job.B, job.ld, job.size)
    if values is not None:
        out[:, :job.H] = values
    return out


cdef object unpadded(const Job* job, cnp.ndarray states):
    return states if job.ld == job.H else np.ascontiguousarray(states[:, :job.H])


def direction_forward(cell, x, weights, tuple state, lengths, bint reverse, cnp.ndarray out, bint save):
    """Run one direction of one layer over a batch; see rnnfast.reference.scan for what everything is."""
    cdef ScanPacked packed = scan_packed(weights)
    cdef Saved saved = Saved()
    cdef Job* job = &saved.job
    cdef Memory scratch = Memory()
    cdef int threads
    cdef double work
    cdef cnp.ndarray y = out if plain(out) else np.empty((<object> out).shape, out.dtype)
    cdef cnp.ndarray states
    cdef Py_ssize_t own
    noise = weights["noise"]
    memset(job, 0, sizeof(Job))
    saved.packed, saved.cell, saved.memory, saved.reverse, saved.keep = packed, cell, Memory(), reverse, []
    set_job(job, packed, cnp.PyArray_DIM(out, 0), cnp.PyArray_DIM(out, 1), lengths, saved)
    new_past = ()
    if isinstance(x, tuple) and (packed.cell.highway or len(state) > 1):
        set_table(saved, x)
        x = saved.table.take(x[1], axis=0)
    if len(state) > 1:
        saved.past = state[1].shape
        saved.window = x.shape
        x, past = unfold(x, state[1], lengths, reverse)
        new_past = (past,)
    if isinstance(x, tuple):
        set_table(saved, x)
        job.index = <const int64_t*> cnp.PyArray_DATA(saved.index)
    else:
        set_input(saved, x)
    job.save, job.descending, job.bias, job.v = save, reverse, packed.bias, packed.vectors
    job.scale = weights["cell"].scale if noise is None or save else 1 - noise[0]
    job.product = packed.product[0]
    job.product.lda, job.product.ld_init = job.ld_x, 0
    job.y, job.y_row, job.y_step = data_of(y), cnp.PyArray_STRIDE(y, 0), cnp.PyArray_STRIDE(y, 1)
    states = padded(job, state[0])
    job.state = data_of(states)
    own = GROUP * job.cell.slots * job.W * job.size
    work = 2.0 * job.ld_gates * (job.X if job.index == NULL else 16) * job.R
    if job.index != NULL:
        project_table(job, saved, scratch)
    threads = worth(work, NOW)
    job.scratch_size = (0 if save else PIECE * own) + GROUP * job.W * job.size
    job.scratch = scratch.take(threads * job.scratch_size)
    if noise is not None and save:
        ones = np.ones(GROUP * job.W, y.dtype)
        job.hold, job.ones = True, data_of(ones)
        job.threshold, job.seed = <uint32_t> min(4294967295, int(noise[0] * 4294967296.0)), noise[1]
    if save:
        job.gates = saved.memory.take(job.R * job.ld_gates * job.size)
        job.c = saved.memory.take(job.R * job.ld * job.size)
    run(job, FORWARD, work, threads)
    if y is not out:
        out[...] = y
    if saved.valid is not None:
        out[~saved.valid] = 0
    final = (unpadded(job, states), *new_past)
    return final, (saved if save else None)


cdef int set_job(Job* job, ScanPacked packed, Py_ssize_t batch, Py_ssize_t steps, object lengths, Saved saved) except -1:
    cdef cnp.npy_intp count = batch + 1
    cdef cnp.ndarray first = <cnp.ndarray> cnp.PyArray_EMPTY(1, &count, cnp.NPY_INTP, 0)
    cdef Py_ssize_t j
    job.ops, job.cell = packed.ops, packed.cell
    job.B, job.T, job.X, job.H, job.P, job.W = batch, steps, packed.inputs, packed.hidden, packed.panels, packed.width
    job.size = packed.itemsize
    job.groups = (job.P + GROUP - 1) // GROUP
    job.ld = job.P * job.W
    job.ld_gates = packed.columns
    saved.keep.append(first)
    job.first = <Py_ssize_t*> cnp.PyArray_DATA(first)
    for j in range(batch + 1):
        job.first[j] = j * steps
    if lengths is not None:
        np.cumsum(lengths, out=first[1:])
        saved.valid = np.arange(steps) < lengths[:, None]
    job.R = job.first[batch]
    return 0


cdef int set_input(Saved saved, object x) except -1:
    """Point the job at rows of x (N, T, X), copied unless they are equally far apart in memory."""
    cdef Job* job = &saved.job
    cdef cnp.ndarray rows = x
    job.ld_x = linear(rows) if saved.valid is None else 0
    if job.ld_x == 0:
        rows = np.ascontiguousarray(x) if saved.valid is None else x[saved.valid]
        job.ld_x = job.X
    saved.keep.append(rows)
    job.xs = data_of(rows)
    return 0


cdef int set_table(Saved saved, object x) except -1:
    """Keep a table and the indices of the valid steps."""
    saved.table = np.ascontiguousarray(x[0])
    saved.index = np.ascontiguousarray(x[1].reshape(-1) if saved.valid is None else x[1][saved.valid], dtype=np.int64)
    return 0


cdef int project_table(Job* job, Saved saved, Memory memory) except -1:
    """Take the input product of every row of the table once."""
    cdef Job part = job[0]
    cdef double work
    part.R = len(saved.table)
    part.xs, part.ld_x, part.index = data_of(saved.table), job.X, NULL
    part.product.lda = job.X
    part.gates = memory.take(part.R * job.ld_gates * job.size)
    work = 2.0 * part.R * job.ld_gates * job.X
    run(&part, PROJECT, work, worth(work, NOW))
    job.projected = part.gates
    return 0


def direction_backward(Saved saved, dy, dstate, dx, dict grads):
    """Run one direction of one layer backwards; see rnnfast.reference.scan for what everything is."""
    cdef Job* job = &saved.job
    cdef ScanPacked packed = saved.packed
    cdef Memory scratch = Memory()
    cdef int threads
    cdef cnp.ndarray given, dstates, dv
    if saved.used:
        raise RuntimeError("a pullback may be called once: it has consumed what forward saved")
    saved.used = True
    dtype = packed.w_ih.dtype
    for kind, shape in packed.shapes.items():
        if len(shape) == 1 and kind not in grads:
            grads[kind] = np.zeros(shape, dtype)
    job.hold, job.descending, job.y = False, not saved.reverse, NULL
    if dy is not None:
        given = dy if plain(dy) else np.ascontiguousarray(dy)
        job.y, job.y_row, job.y_step = data_of(given), cnp.PyArray_STRIDE(given, 0), cnp.PyArray_STRIDE(given, 1)
    dstates = padded(job, dstate[0])
    job.state = data_of(dstates)
    dv = zeros(job.B, job.cell.vectors * job.ld, job.size)
    job.dv = data_of(dv)
    if job.cell.highway:
        job.dskip = scratch.take(job.R * job.ld * job.size)
        job.dinit = job.dskip
    threads = worth(4.0 * job.R * job.ld_gates * job.X, NOW)
    run(job, BACKWARD, 100.0 * job.R * job.ld_gates, threads)
    dpast = input_and_weights(saved, dx, grads, scratch, dstate[1] if saved.past is not None else None)
    if job.cell.vectors:
        dv = dv.sum(axis=0)
        grads["w_c"] += packed.from_panels(data_of(dv), job.cell.vectors, tuple(range(job.cell.vectors)))
    saved.memory = None
    return (unpadded(job, dstates), *dpast)


cdef tuple input_and_weights(Saved saved, object dx, dict grads, Memory scratch, object dpast):
    """Add the gradients of weights and biases and fill or add to dx; return that of the inputs before the first."""
    cdef Job* job = &saved.job
    cdef ScanPacked packed = saved.packed
    cdef cnp.ndarray target, bias_sums, found = None
    cdef rf_outer* outer = &job.outer
    cdef int threads
    cdef double work
    cdef bint direct
    dtype = packed.w_ih.dtype
    by_table = job.index != NULL
    job.product = packed.product[1]
    if job.product.b == NULL:
        packed.make_product(1)
        job.product = packed.product[1]
    job.product.lda, job.product.ldc, job.product.ld_init = job.ld_gates, job.X, job.ld
    if by_table:
        sum_table(job, saved, scratch)
        found = dx
        job.dinit, job.product.ld_init = (NULL if dx is None else data_of(found)), job.X
    elif saved.past is not None or saved.table is not None or dx is not None and not plain(dx):
        found = np.zeros((job.B, job.T, job.X), dtype)
    else:
        found = dx
    if found is not None:
        job.dx = data_of(found)
        job.dx_row = 0 if by_table else cnp.PyArray_STRIDE(found, 0)
        job.dx_step = cnp.PyArray_STRIDE(found, 0 if by_table else 1)
    work = 4.0 * job.R * job.ld_gates * job.X
    # a pass of several rounds may be interrupted between them, and then the caller's gradients are to be as they were
    direct = work < 1e9 and "w_ih" in grads and grads["w_ih"].flags.c_contiguous
    outer.fresh = not direct and job.R > 0
    target = grads["w_ih"] if direct else (np.empty if outer.fresh else np.zeros)(packed.shapes["w_ih"], dtype)
    outer.m = outer.source.run = packed.columns
    outer.source.runs = 1
    outer.a, outer.lda, outer.rows_c = job.gates, job.ld_gates, packed.rows
    outer.parts = 1
    outer.part[0].n, outer.part[0].b, outer.part[0].ldb = job.X, job.xs, job.ld_x
    outer.part[0].c = data_of(target)
    if packed.has_bias:
        bias_sums = zeros(1, packed.columns, job.size)
        job.bias_sums = data_of(bias_sums)
    job.scratch_size = (max(job.ops.outer_scratch(packed.columns, job.X), PIECE * job.X) * job.size + 63) // 64 * 64
    threads = worth(work, NOW)
    job.scratch = scratch.take(threads * job.scratch_size)
    run(job, GRADIENTS, work, threads)
    if not direct and "w_ih" in grads:
        grads["w_ih"] += target
    elif not direct:
        grads["w_ih"] = target
    if packed.has_bias:
        grads["b_ih"] += packed.from_panels(job.bias_sums, job.cell.slots, packed.biased)
    return spread(saved, found, dx, dpast)


cdef int sum_table(Job* job, Saved saved, Memory memory) except -1:
    """Put the table and the sums of gradients for its rows in the place of all rows."""
    cdef Py_ssize_t rows = len(saved.table)
    cdef char* sums = memory.take(rows * job.ld_gates * job.size)
    cdef double work
    cdef cnp.ndarray first = np.array([0, rows], np.intp)
    memset(sums, 0, rows * job.ld_gates * job.size)
    job.projected = sums
    work = 20.0 * job.R * job.ld_gates
    run(job, SUM_BY_INDEX, work, worth(work, NOW))
    saved.keep.append(first)
    job.first, job.B, job.R = <Py_ssize_t*> cnp.PyArray_DATA(first), 1, rows
    job.gates, job.xs, job.ld_x = sums, data_of(saved.table), job.X
    return 0


cdef tuple spread(Saved saved, object found, object dx, object dpast):
    """Hand the gradient of what the product read on to the user's input; return that of the inputs before it."""
    earlier = ()
    if saved.job.index != NULL:
        return earlier
    if saved.past is not None:
        lengths = None if saved.valid is None else saved.valid.sum(axis=1)
        found, given = fold(found, saved.window, saved.past, dpast, lengths, saved.reverse)
        earlier = (given,)
    elif saved.valid is not None and found is not None:
        found[~saved.valid] = 0
    if saved.table is not None and dx is not None:
        np.add.at(dx, saved.index, found.reshape(-1, found.shape[2]) if saved.valid is None else found[saved.valid])
    elif dx is not None and dx is not found:
        dx[...] = found
    return earlier


def explain_direction(str cell, weights, Py_ssize_t batch, Py_ssize_t steps, lengths, bint training, bint gather) -> dict:
    """Return what `rnnfast.layers.explain.Plan` holds of one direction, by name.

    Parameters
    ----------
    cell : str
        Not used: the weights know theirs.
    weights : Weights
    batch, steps : int
    lengths : (N,) int64 or None
    training : bool
        Whether gradients follow.
    gather : bool
        Not used: memory of a batch (N, T, C) is read as it is, and that of a ragged one collected.
    """
    cdef ScanPacked packed = scan_packed(weights)
    cdef Saved saved = Saved()
    cdef Job* job = &saved.job
    cdef int threads
    cdef Py_ssize_t group0, group1, row0, row1, kept, scratch, most
    saved.keep = []
    set_job(job, packed, batch, steps, lengths, saved)
    threads = worth((4.0 if training else 2.0) * job.R * job.ld_gates * job.X, SERIES)
    divide(job, 0, threads, &group0, &group1, &row0, &row1)
    shared, reason = "one thread", "one thread is all that is allowed"
    if threads > 1 and row1 == job.R:
        shared, reason = "units", "every thread takes groups of units through all steps, with no barrier between them"
    elif threads > 1:
        shared, reason = "rows", "every thread takes sequences through all steps, for units divide less evenly"
    elif get_num_threads() > 1:
        reason = "too little work for two threads"
    kept = job.R * (job.ld_gates + job.ld) * job.size
    scratch = threads * PIECE * GROUP * job.cell.slots * job.W * job.size
    if training:
        most = max(job.ops.outer_scratch(packed.columns, job.X), PIECE * job.X)
        scratch = (threads * most + (job.R * job.ld if job.cell.highway else 0)) * job.size
    return {
        "threads": threads, "shared": shared, "reason": reason, "isa": job.ops.isa.decode(), "width": job.W,
        "chunk": min(PIECE, max(job.R, 1)), "input_bytes": packed.columns * job.X * job.size, "recurrent_bytes": 0,
        "backward_bytes": (job.X + job.W - 1) // job.W * job.W * packed.columns * job.size,
        "workspace_bytes": scratch + (kept if training else 0),
        "bytes_per_step": <double> kept / job.R if training and job.R else 0.0,
    }
