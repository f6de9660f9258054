"""Elementwise recurrences: one input product and one sweep, forward and backward.

Rows stand sequence after sequence, so that memory of a batch (N, T, C) is used as it is. Forward goes through them in
pieces: the pre-activations of a group of units over a piece of rows are made and swept while they are in the second-level
cache. Backward sweeps through what was saved, and then takes the products of gradients over all rows.

Threads share groups of units or whole sequences, whichever divides better; neither needs another's results, so they
meet at the end of a round alone. Between rounds, some milliseconds apart, signals are looked at.
"""

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.string cimport memcpy, memset

from rnnfast._native.kernels cimport alloc, parallel, release
from rnnfast._native.plan cimport NOW, SERIES, share, share_tiles, worth
from rnnfast._native.rows cimport typenum_of
from rnnfast._native.scan_pack cimport ScanPacked, scan_packed
from rnnfast.threads import get_num_threads
from rnnfast.window import fold, unfold

cnp.import_array()


cdef void divide(const Job* job, int thread, int threads, Py_ssize_t* group0, Py_ssize_t* group1, Py_ssize_t* row0,
                 Py_ssize_t* row1) noexcept nogil:
    """Give a thread some groups of units, or some sequences: of the two what leaves the threads more alike."""
    cdef Py_ssize_t by_units = (job.groups + threads - 1) // threads, by_rows = (job.B + threads - 1) // threads
    cdef Py_ssize_t j
    group0[0], group1[0], row0[0], row1[0] = 0, job.groups, 0, job.R
    if threads == 1:
        return
    if by_units * job.B <= by_rows * job.groups:
        share(job.groups, thread, threads, group0, group1)
        return
    # the boundary between two threads is the sequence nearest to an even share of the rows
    share(job.R, thread, threads, row0, row1)
    j = 0
    while job.first[j] < row0[0]:
        j += 1
    row0[0] = job.first[j]
    while job.first[j] < row1[0]:
        j += 1
    row1[0] = job.first[j]


cdef void rows_of_round(const Job* job, Py_ssize_t rows, Py_ssize_t round, Py_ssize_t* row0,
                        Py_ssize_t* row1) noexcept nogil:
    """Share rows out to rounds in whole pieces."""
    cdef Py_ssize_t first, last
    share((rows + PIECE - 1) // PIECE, round, job.rounds, &first, &last)
    row0[0], row1[0] = min(first * PIECE, rows), min(last * PIECE, rows)


cdef void project(const Job* job, Py_ssize_t row0, Py_ssize_t rows, Py_ssize_t group0, Py_ssize_t group1, char* gates,
                  Py_ssize_t ld) noexcept nogil:
    """Pre-activations of the groups' units, from column 0 of `gates` on, in rows of ld elements."""
    cdef Py_ssize_t at = group0 * GROUP * job.cell.slots * job.W * job.size, r, n
    cdef rf_product product
    if job.projected != NULL:
        n = (min(group1 * GROUP, job.P) - group0 * GROUP) * job.cell.slots * job.W * job.size
        for r in range(row0, row0 + rows):
            memcpy(gates, job.projected + job.index[r] * job.ld_gates * job.size + at, n)
            gates += ld * job.size
        return
    product = job.product
    product.ldc = ld
    job.ops.product(&product, rows, job.xs + row0 * job.ld_x * job.size, job.bias, gates - at,
                    group0 * job.cell.slots, min(group1 * job.cell.slots, product.panels))


cdef void hold(const Job* job, Py_ssize_t j, Py_ssize_t t, Py_ssize_t group, char* gates, char* mask) noexcept nogil:
    """Zoneout in one row: the forget gate of units that keep their state becomes 1."""
    cdef Py_ssize_t unit = group * GROUP * job.W, n = min(GROUP * job.W, job.H - group * GROUP * job.W)
    job.ops.dropout(n, (j * job.T + t) * job.H + unit, job.ones, mask, 1, job.threshold, job.seed)
    job.ops.hold(n, mask, job.cell.slots, gates + job.W * job.size)


cdef void sweep(const Job* job, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t j, Py_ssize_t group, char* gates,
                Py_ssize_t ld, char* mask) noexcept nogil:
    """Go through rows row0..row1, the first of which is of sequence j, with one group of units."""
    cdef rf_scan s
    cdef Py_ssize_t panel0 = group * GROUP, panel1 = min(group * GROUP + GROUP, job.P)
    cdef Py_ssize_t row, end, steps, t, r, sign = -1 if job.descending else 1
    memset(&s, 0, sizeof(rf_scan))
    s.hidden, s.v, s.scale = job.H, job.v, job.scale
    s.gates_step, s.x_step, s.c_step = sign * ld, sign * job.ld_x, sign * job.ld
    s.y_step, s.dx_step = sign * (job.y_step // job.size), sign * job.ld
    row = row0
    while row < row1:
        while job.first[j + 1] <= row:
            j += 1
        end = min(row1, job.first[j + 1])
        if job.hold:
            for r in range(row, end):
                hold(job, j, r - job.first[j], group, gates + (r - row0) * ld * job.size, mask)
        steps = end - row
        r = end - 1 if job.descending else row
        t = r - job.first[j]
        s.gates = gates + (r - row0) * ld * job.size
        if job.cell.highway:
            s.x = job.xs + r * job.ld_x * job.size
            s.dx = job.dskip + r * job.ld * job.size
        if job.y != NULL:
            s.y = job.y + j * job.y_row + t * job.y_step
        s.c = job.c + r * job.ld * job.size
        s.state = job.state + j * job.ld * job.size
        s.dv = job.dv + j * job.cell.vectors * job.ld * job.size
        if job.phase == BACKWARD:
            job.cell.backward(&s, steps, panel0, panel1)
        elif job.save:
            job.cell.forward(&s, steps, panel0, panel1)
        else:
            job.cell.infer(&s, steps, panel0, panel1)
        row = end


cdef void sweep_task(const Job* job, int part, int parts) noexcept nogil:
    """Forward or backward, piece by piece, in the order of the steps."""
    cdef Py_ssize_t group0, group1, row0, row1, row, a, b, pieces, k, n, j, g, line = job.ld_gates * job.size
    cdef Py_ssize_t own = GROUP * job.cell.slots * job.W, slots = job.cell.slots * job.W * job.size
    cdef char* scratch = job.scratch + part * job.scratch_size
    cdef char* mask = scratch + (0 if job.save else PIECE * own * job.size)
    cdef char* gates
    divide(job, part, parts, &group0, &group1, &row0, &row1)
    k = job.rounds - 1 - job.round if job.descending else job.round
    rows_of_round(job, row1 - row0, k, &a, &b)
    row0, row1 = row0 + a, row0 + b
    pieces = (row1 - row0 + PIECE - 1) // PIECE
    j = 0
    for k in range(pieces):
        n = pieces - 1 - k if job.descending else k
        a = row0 + n * PIECE
        b = min(a + PIECE, row1)
        while job.first[j + 1] <= a:
            j += 1
        while job.first[j] > a:
            j -= 1
        for g in range(group0, group1):
            if not job.save:
                gates = scratch
                project(job, a, b - a, g, g + 1, gates, own)
                sweep(job, a, b, j, g, gates, own, mask)
                continue
            gates = job.gates + a * line + g * GROUP * slots
            if job.phase == FORWARD:
                project(job, a, b - a, g, g + 1, gates, job.ld_gates)
            sweep(job, a, b, j, g, gates, job.ld_gates, mask)


cdef void input_gradient(const Job* job, Py_ssize_t row, Py_ssize_t n, Py_ssize_t j, char* scratch) noexcept nogil:
    """dx of n <= PIECE rows, the first of which is of sequence j or a later one.

    Gradients of the pre-activations times the weights, added to what there is already.
    """
    cdef Py_ssize_t r
    cdef const char* init = NULL
    if job.dinit != NULL:
        init = job.dinit + row * job.product.ld_init * job.size
    job.ops.product(&job.product, n, job.gates + row * job.ld_gates * job.size, init, scratch, 0, job.product.panels)
    for r in range(row, row + n):
        while job.first[j + 1] <= r:
            j += 1
        memcpy(job.dx + j * job.dx_row + (r - job.first[j]) * job.dx_step, scratch + (r - row) * job.X * job.size,
               job.X * job.size)


cdef void gradients_task(const Job* job, int thread, int threads) noexcept nogil:
    """Products of gradients over the rows of this round: of the input by rows, of the weights by panels.

    Piece by piece, so that gates are read from memory once for all, and from the last to the first, as `outer` takes them.
    """
    cdef Py_ssize_t row0, row1, row, n, a, b, pieces, j = job.B
    cdef rf_outer outer = job.outer
    cdef char* scratch = job.scratch + thread * job.scratch_size
    rows_of_round(job, job.R, job.rounds - 1 - job.round, &row0, &row1)
    pieces = (row1 - row0 + PIECE - 1) // PIECE
    while pieces > 0:
        pieces -= 1
        row = row0 + pieces * PIECE
        n = min(PIECE, row1 - row)
        if job.dx != NULL:
            share(n, thread, threads, &a, &b)
            while job.first[j] > row + a:
                j -= 1
            input_gradient(job, row + a, b - a, j, scratch)
        share(job.ld_gates // job.W, thread, threads, &a, &b)
        if job.bias_sums != NULL and b > a:
            job.ops.column_sums(n, (b - a) * job.W, job.gates + (row * job.ld_gates + a * job.W) * job.size,
                                job.ld_gates, job.bias_sums + a * job.W * job.size)
        share_tiles(outer.m, thread, threads, &a, &b)
        if b > a:
            outer.fresh = job.outer.fresh and row + n == job.R
            outer.k = n
            outer.a = <const char*> job.outer.a + row * outer.lda * job.size
            outer.part[0].b = <const char*> job.outer.part[0].b + row * outer.part[0].ldb * job.size
            job.ops.outer(&outer, a, b, scratch)


cdef void sum_by_index_task(const Job* job, int thread, int threads) noexcept nogil:
    """Add up the gradients of the pre-activations by row of the table, each thread some of the columns."""
    cdef Py_ssize_t a, b, row, row0, row1
    share(job.ld_gates // job.W, thread, threads, &a, &b)
    a, b = a * job.W, b * job.W
    rows_of_round(job, job.R, job.round, &row0, &row1)
    for row in range(row0, row1):
        job.ops.add_rows(b - a, job.gates + (row * job.ld_gates + a) * job.size,
                         <char*> job.projected + (job.index[row] * job.ld_gates + a) * job.size)


cdef void task(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t row0, row1, a, b
    if job.phase == PROJECT:
        rows_of_round(job, job.R, job.round, &row0, &row1)
        share(row1 - row0, thread, threads, &a, &b)
        project(job, row0 + a, b - a, 0, job.groups, job.gates + (row0 + a) * job.ld_gates * job.size, job.ld_gates)
    elif job.phase == GRADIENTS:
        gradients_task(job, thread, threads)
    elif job.phase == SUM_BY_INDEX:
        sum_by_index_task(job, thread, threads)
    else:
        # a part goes on where its last round has left it, however many threads the pool gives this time
        a = thread
        while a < job.parts:
            sweep_task(job, <int> a, job.parts)
            a += threads


cdef int run(Job* job, int phase, double work, int threads) except -1:
    """Do a phase of that many floating-point operations in rounds of some milliseconds.

    For each phase `worth` is asked anew: it wakes sleeping threads for tasks that follow each other closely, and has to see
    each of them for that.
    """
    job.phase, job.parts = phase, threads
    job.rounds = 1 + <Py_ssize_t> (work / (1.5e9 * threads))
    for job.round in range(job.rounds):
        with nogil:
            parallel(task, job, threads)
        if job.round + 1 < job.rounds:
            PyErr_CheckSignals()
    return 0


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
