"""Tree-LSTM over many trees, forward and backward; see rnnfast.reference.tree for what everything is.

A thread takes some of the trees through all levels, from the leaves to the roots or back, and never waits for another:
its nodes of a level are rows side by side (forest.pyx), which go through the products together, a block at a time, while
their gates are in cache. How trees are shared out changes no bit, for a row's product does not depend on its neighbours,
and the weights' gradients are sums over all nodes in the order of their rows, taken afterwards.

Long calls are done in rounds of some milliseconds, between which signals are looked at: in each a part of the trees
makes its share of the way. Parts are fixed beforehand, for the pool may give fewer threads than asked for at any time.
"""

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.string cimport memcpy, memset

from rnnfast._native.blas_gradients cimport blas_affine_gradients
from rnnfast._native.dense cimport Panels, panels_for
from rnnfast._native.forest cimport Forest, Trees, row_at
from rnnfast._native.kernels cimport ops, parallel, ready, rf_ops, rf_outer
from rnnfast._native.plan cimport HEIGHT, NOW, RELEASE, WAKE, rate_of, share, start_time, stream_time, worth
from rnnfast._native.rows cimport typenum_of
from rnnfast._native.scan cimport Memory
from rnnfast._native.tree_sweep cimport (BACKWARD, BELOW, EACH, FORWARD, GRADIENTS, INPUT, PRODUCTS, ROWS, Job, Part,
                                         backward_block, forward_block, rows_of_block, scratch_bytes)

from rnnfast._native.forest import make_forest  # noqa: F401  # beside what takes it
from rnnfast._native.provider import get_gemm
from rnnfast.threads import get_num_threads

cnp.import_array()


# The weights' gradients, over all nodes


cdef Py_ssize_t column_at(double work, double each, Py_ssize_t tiles) noexcept nogil:
    """Return the tile that stands where so much work is done, of tiles that take `each`."""
    return max(<Py_ssize_t> 0, min(tiles, <Py_ssize_t> (work / each + 0.5)))


cdef void rows_of_round(const Job* job, Py_ssize_t rows, Py_ssize_t round, Py_ssize_t* row0,
                        Py_ssize_t* row1) noexcept nogil:
    """Share rows out to rounds, in multiples of the blocks of 64 in which columns are summed up."""
    cdef Py_ssize_t blocks = (rows + 191) // 192
    row0[0] = min(rows, blocks * round // job.rounds * 192)
    row1[0] = min(rows, blocks * (round + 1) // job.rounds * 192)


cdef void gradients(const Job* job, int thread, int threads, char* scratch) noexcept nogil:
    """Add this round's rows to some columns of the sums, which all three share out among the threads together."""
    cdef double total = 0, before = 0, each
    cdef Py_ssize_t tiles, a, b, row0, row1
    cdef rf_outer outer
    cdef int i
    for i in range(PRODUCTS):
        total += <double> ((job.outer[i].m + HEIGHT - 1) // HEIGHT) * job.outer[i].k * job.outer[i].part[0].n
    for i in range(PRODUCTS):
        outer = job.outer[i]
        if outer.k == 0:
            continue
        rows_of_round(job, outer.k, job.rounds - 1 - job.round, &row0, &row1)  # outer begins with the last row
        tiles, each = (outer.m + HEIGHT - 1) // HEIGHT, <double> outer.k * outer.part[0].n
        a = column_at(total * thread / threads - before, each, tiles)
        b = column_at(total * (thread + 1) / threads - before, each, tiles)
        before += tiles * each
        if a == b or row0 == row1:
            continue
        outer.fresh = row1 == outer.k
        outer.k = row1 - row0
        outer.a = <const char*> outer.a + row0 * outer.lda * job.size
        if outer.part[0].rows_b == NULL:
            outer.part[0].b = <const char*> outer.part[0].b + row0 * outer.part[0].ldb * job.size
        else:
            outer.part[0].rows_b += row0
        job.ops.outer(&outer, a * HEIGHT, min(outer.m, b * HEIGHT), scratch)
    if job.db != NULL:
        rows_of_round(job, job.trees.rows, job.round, &row0, &row1)
        share((4 * job.H + 63) // 64, thread, threads, &a, &b)
        a, b = a * 64, min(4 * job.H, b * 64)
        if b > a:
            job.ops.column_sums(row1 - row0, b - a, job.gates + (row0 * 4 * job.H + a) * job.size, 4 * job.H,
                                job.db + a * job.size)


# Threads


cdef void go_on(const Job* job, Part* part, char* scratch) noexcept nogil:
    """Take a part of the trees through its share of this round."""
    cdef Py_ssize_t until = part.nodes * (job.round + 1) // job.rounds, n
    while part.done < until:
        while part.row == part.end:
            part.level += -1 if job.phase == BACKWARD else 1
            part.row = row_at(&job.trees, part.level, part.tree0)
            part.end = row_at(&job.trees, part.level, part.tree1)
        n = rows_of_block(job, part, until - part.done)
        if job.phase == BACKWARD:
            backward_block(job, part.row, n, scratch)
        else:
            forward_block(job, part.row, n, scratch)
        part.row += n
        part.done += n


cdef void task(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef char* scratch = job.scratch + thread * job.scratch_size
    cdef int k = thread
    if job.phase == GRADIENTS:
        gradients(job, thread, threads, scratch)
        return
    while k < job.parts:
        go_on(job, &job.part[k], scratch)
        k += threads


cdef int run(Job* job, int phase, double work, int threads) except -1:
    """Do a phase of that many operations in rounds of some milliseconds."""
    job.phase = phase
    job.rounds = 1 + <Py_ssize_t> (work / (1.5e9 * threads))
    job.round = 0
    if work < RELEASE:
        parallel(task, job, threads)
        return 0
    while job.round < job.rounds:
        with nogil:
            parallel(task, job, threads)
        job.round += 1
        if job.round < job.rounds:
            PyErr_CheckSignals()
    return 0


cdef Py_ssize_t boundary(const Trees* t, int part, int parts) noexcept nogil:
    """Return the first tree of a part, so that each has about as many nodes."""
    cdef Py_ssize_t low = 0, high = t.count, middle, nodes = t.rows * part // parts
    while low < high:  # the first before which there are as many nodes
        middle = (low + high) // 2
        if t.nodes[middle] < nodes:
            low = middle + 1
        else:
            high = middle
    if low > 0 and nodes - t.nodes[low - 1] < t.nodes[low] - nodes:
        low -= 1
    return low


cdef Py_ssize_t most_nodes(const Trees* t, int parts) noexcept nogil:
    """Return how many nodes the largest of so many parts has."""
    cdef Py_ssize_t most = 0
    cdef int k
    for k in range(parts):
        most = max(most, t.nodes[boundary(t, k + 1, parts)] - t.nodes[boundary(t, k, parts)])
    return most


cdef double operations(const Job* job, Py_ssize_t rows, Py_ssize_t edges) noexcept nogil:
    """Return the operations that so many nodes above the leaves take, with so many edges, beside those for their inputs."""
    cdef double above = 6.0 * rows * job.K
    return job.H * (above + (4.0 * rows * job.K if job.trees.binary else 2.0 * edges * job.H))


cdef double sweep_time(const Job* job, double part) noexcept nogil:
    """Return the seconds that a thread needs for that part of every level."""
    cdef const Py_ssize_t* level = job.trees.level
    cdef const Py_ssize_t* first = job.trees.first
    cdef double rate = rate_of(job.ops), inputs = 4.0 * job.H * job.X, seconds = 0, work
    cdef double weights = <double> job.H * job.K * (5 if job.trees.binary else 4)
    cdef Py_ssize_t k, rows
    for k in range(job.trees.levels):
        rows = level[k + 1] - level[k]
        work = 2 * rows * inputs + operations(job, rows, first[level[k + 1]] - first[level[k]]) * (k > 0)
        seconds += max(part * work / rate, stream_time((inputs + weights * (k > 0)) * job.size))
    return seconds


cdef int split(Job* job) except -1:
    """Decide how many threads a sweep is worth, by a model of arithmetic, of reading the weights, and of waking threads."""
    cdef double alone = sweep_time(job, 1), best = alone, cost, wake
    cdef int most, threads = 1, chosen = 1
    if alone < 4 * start_time(2):
        return 1
    most = <int> min(<Py_ssize_t> get_num_threads(), job.trees.count)
    wake = 0 if most < 2 or ready(most) else WAKE
    while threads < most:
        threads = min(2 * threads, most)
        cost = wake + start_time(threads) + sweep_time(job, <double> most_nodes(&job.trees, threads) / job.trees.rows)
        if cost < 0.9 * best:
            best, chosen = cost, threads
    return chosen


cdef int set_parts(Job* job, Memory memory, int parts) except -1:
    """Share the trees out, and stand every part before its first level."""
    cdef const Trees* t = &job.trees
    cdef int k
    job.parts = parts
    job.part = <Part*> memory.take(parts * sizeof(Part))
    memset(job.part, 0, parts * sizeof(Part))
    for k in range(parts):
        job.part[k].tree0, job.part[k].tree1 = boundary(t, k, parts), boundary(t, k + 1, parts)
        job.part[k].nodes = t.nodes[job.part[k].tree1] - t.nodes[job.part[k].tree0]
        job.part[k].level = t.levels if job.phase == BACKWARD else -1
    job.scratch_size = (scratch_bytes(job) + 63) // 64 * 64
    job.scratch = memory.take(parts * job.scratch_size)
    return 0


# What Python sees


cdef class Saved:
    """What forward keeps for backward: i o u f, f and c of all nodes. Used up by one pass."""

    cdef Job job
    cdef Forest forest
    cdef Memory memory
    cdef Panels input, below, each
    cdef cnp.ndarray x, y
    cdef object w_ih, w_hh, bias


cdef inline char* data(cnp.ndarray array) noexcept:
    return <char*> cnp.PyArray_DATA(array)


cdef cnp.ndarray filled(const Trees* t, shape, dtype):
    """Return a new array, of zeros where there are places without a node."""
    return (np.empty if t.rows == t.count * t.width else np.zeros)(shape, dtype)


cdef int set_products(Saved saved, bint backward) except -1:
    """Set up the products, of which those with the children are not needed where there are none."""
    cdef Job* job = &saved.job
    cdef int k
    saved.input.make(backward)
    job.product[INPUT] = saved.input.product[backward]
    if job.trees.edges:
        saved.below.make(backward)
        saved.each.make(backward)
        job.product[BELOW], job.product[EACH] = saved.below.product[backward], saved.each.product[backward]
    if backward:
        job.product[INPUT].lda = job.product[BELOW].lda = 4 * job.H
        job.product[INPUT].ldc = job.X
        job.product[BELOW].ldc = job.product[EACH].ldc = job.K
        job.product[EACH].lda = job.K
    else:
        job.product[INPUT].lda = job.X
        job.product[BELOW].lda = job.product[EACH].lda = job.K
        job.product[INPUT].ldc = job.product[BELOW].ldc = 4 * job.H
        job.product[EACH].ldc = job.K
    for k in range(PRODUCTS):
        job.product[k].ld_init = job.product[k].ldc
    if not backward:
        job.product[INPUT].ld_init = 0
    return 0


def forward(Forest forest, x, w_ih, w_hh, bias, dict cache, bint save):
    cdef Saved saved = Saved()
    cdef const Trees* t = &forest.trees
    cdef Job* job = &saved.job
    cdef Memory scratch = Memory()
    cdef Py_ssize_t inner = t.rows - t.leaves, three = 3 * (w_ih.shape[0] // 4), n, line
    cdef cnp.ndarray h, c
    cdef int threads
    cdef double work
    cdef const rf_ops* table = ops(w_ih.itemsize)
    memset(job, 0, sizeof(Job))
    job.ops, job.trees, job.size = table, forest.trees, w_ih.itemsize
    job.H, job.X, job.K = w_ih.shape[0] // 4, w_ih.shape[1], w_hh.shape[1]
    job.save = save
    line = job.H * job.size
    # a block's gates take a part of the second-level cache
    job.block = max(24, min(<Py_ssize_t> ROWS, 384 * 1024 // (4 * line)))
    saved.forest, saved.memory, saved.w_ih, saved.w_hh, saved.bias = forest, Memory(), w_ih, w_hh, bias
    saved.x = np.ascontiguousarray(x)
    saved.y = filled(t, (t.count, t.width, job.H), w_ih.dtype)
    h, c = (np.zeros((t.count, job.H), w_ih.dtype) for _ in range(2))
    if t.rows == 0:
        return saved.y, h, c, saved if save else None
    saved.input = panels_for(w_ih, cache.setdefault("input", {}), table)
    saved.below = panels_for(w_hh[:three], cache.setdefault("below", {}), table)
    saved.each = panels_for(w_hh[three:], cache.setdefault("each", {}), table)
    set_products(saved, False)
    job.x, job.y, job.bias = data(saved.x), data(saved.y), NULL if bias is None else data(bias)
    if save:
        job.gates = saved.memory.take(t.rows * 4 * line)
        job.below = saved.memory.take(inner * job.K * job.size)
        job.f = saved.memory.take((2 * inner if job.trees.binary else t.edges) * line)
    job.c = saved.memory.take(t.rows * line)
    job.phase = FORWARD
    threads = split(job)
    set_parts(job, scratch, threads)
    work = 8.0 * t.rows * job.H * job.X + operations(job, inner, t.edges)
    run(job, FORWARD, work, threads)
    for n in range(t.count):
        if t.roots[n] >= 0:
            memcpy(data(h) + n * line, job.y + t.place[t.roots[n]] * line, line)
            memcpy(data(c) + n * line, job.c + t.roots[n] * line, line)
    return saved.y, h, c, saved if save else None


cdef int set_outers(Saved saved, cnp.ndarray dw_ih, cnp.ndarray dw_hh) except -1:
    """Set up the sums over all nodes and edges that make the weights' gradients."""
    cdef Job* job = &saved.job
    cdef const Trees* t = &saved.job.trees
    cdef rf_outer* outer = job.outer
    cdef Py_ssize_t inner = t.rows - t.leaves
    cdef int i
    memset(outer, 0, PRODUCTS * sizeof(rf_outer))
    outer[INPUT].k, outer[INPUT].m, outer[INPUT].a, outer[INPUT].lda = t.rows, 4 * job.H, job.gates, 4 * job.H
    outer[INPUT].part[0].n, outer[INPUT].part[0].b, outer[INPUT].part[0].c = job.X, job.x, data(dw_ih)
    outer[INPUT].part[0].rows_b = t.place
    outer[BELOW].k, outer[BELOW].m, outer[BELOW].lda = inner, 3 * job.H, 4 * job.H
    outer[BELOW].a = job.gates + t.leaves * 4 * job.H * job.size
    outer[BELOW].part[0].n, outer[BELOW].part[0].b, outer[BELOW].part[0].c = job.K, job.below, data(dw_hh)
    outer[EACH].k, outer[EACH].m = (inner if job.trees.binary else t.edges), job.K
    outer[EACH].a, outer[EACH].lda = job.f, job.K
    outer[EACH].part[0].n, outer[EACH].part[0].b = job.K, job.below if job.trees.binary else job.y
    outer[EACH].part[0].rows_b = NULL if job.trees.binary else t.source
    outer[EACH].part[0].c = data(dw_hh) + 3 * job.H * job.K * job.size
    for i in range(PRODUCTS):
        outer[i].source.runs, outer[i].source.run = 1, outer[i].m
        outer[i].parts, outer[i].part[0].ldb = 1, outer[i].part[0].n
    return 0


cdef object rows_as_array(char* at, Py_ssize_t rows, Py_ssize_t columns, int kind):
    """Return native memory as an array that does not own it."""
    cdef cnp.npy_intp shape[2]
    shape[0], shape[1] = rows, columns
    return cnp.PyArray_SimpleNewFromData(2, shape, kind, at)


cdef int by_blas(Saved saved, dx, dw_ih, dw_hh) except -1:
    """Let BLAS make the gradients of inputs and weights, after the sweep."""
    cdef Job* job = &saved.job
    cdef const Trees* t = &saved.job.trees
    cdef Py_ssize_t inner = t.rows - t.leaves, three = 3 * job.H
    cdef int kind = typenum_of(job.size)
    gates = rows_as_array(job.gates, t.rows, 4 * job.H, kind)
    place = rows_as_array(<char*> t.place, 1, t.rows, cnp.NPY_INTP)[0]
    dx_rows = np.empty((t.rows, job.X), dx.dtype)
    blas_affine_gradients(saved.x.reshape(-1, job.X)[place], gates, saved.w_ih, dw_ih, dx_rows)
    dx.reshape(-1, job.X)[place] = dx_rows
    if inner == 0:
        return 0
    below = rows_as_array(job.below, inner, job.K, kind)
    blas_affine_gradients(below, gates[t.leaves:, :three], saved.w_hh[:three], dw_hh[:three], None)
    if not job.trees.binary:
        source = rows_as_array(<char*> t.source, 1, t.edges, cnp.NPY_INTP)[0]
        below = saved.y.reshape(-1, job.H)[source]
    f = rows_as_array(job.f, len(below), job.K, kind)
    blas_affine_gradients(below, f, saved.w_hh[three:], dw_hh[three:], None)
    return 0


def backward(Saved saved, dy, dh, dc):
    cdef Job* job = &saved.job
    cdef const Trees* t = &saved.job.trees
    cdef Memory scratch = Memory()
    cdef Py_ssize_t i, size
    cdef cnp.ndarray dx = filled(t, (<object> saved.x).shape, saved.w_ih.dtype)
    cdef cnp.ndarray dw_ih, dw_hh, given
    cdef int threads
    cdef double work
    blas = get_gemm() == "blas"
    empty = np.zeros if blas or t.rows == 0 else np.empty
    dw_ih = empty(saved.w_ih.shape, saved.w_ih.dtype)
    dw_hh = (empty if t.edges else np.zeros)(saved.w_hh.shape, saved.w_ih.dtype)
    db = None if saved.bias is None else np.zeros(saved.bias.shape, saved.w_ih.dtype)
    if t.rows == 0:
        return dx, dw_ih, dw_hh, db
    keep = [None if d is None else np.ascontiguousarray(d) for d in (dy, dh, dc)]
    job.dy, job.droot[0], job.droot[1] = (NULL if keep[0] is None else data(keep[0]),
                                          NULL if keep[1] is None else data(keep[1]),
                                          NULL if keep[2] is None else data(keep[2]))
    set_products(saved, True)
    job.dh = scratch.take(t.rows * job.H * job.size)
    job.dc = scratch.take(t.rows * job.H * job.size)
    job.dx = NULL if blas else data(dx)
    job.db = NULL if db is None else data(db)
    job.phase = BACKWARD
    threads = split(job)
    set_parts(job, scratch, threads)
    work = 8.0 * t.rows * job.H * job.X + operations(job, t.rows - t.leaves, t.edges)
    run(job, BACKWARD, work, threads)
    set_outers(saved, dw_ih, dw_hh)
    if blas:
        for i in range(PRODUCTS):
            job.outer[i].k = 0
        by_blas(saved, dx, dw_ih, dw_hh)
    threads = worth(work, NOW)
    size = 0
    for i in range(PRODUCTS):
        size = max(size, job.ops.outer_scratch(job.outer[i].m, job.outer[i].part[0].n))
    job.scratch_size = (size * job.size + 63) // 64 * 64
    job.scratch = scratch.take(threads * job.scratch_size)
    run(job, GRADIENTS, work, threads)
    saved.memory = None
    return dx, dw_ih, dw_hh, db
