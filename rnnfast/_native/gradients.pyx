"""What follows the backward sweep: products over all steps that are no longer bound to their order."""

import numpy as np

cimport numpy as cnp
from libc.string cimport memset

from rnnfast._native.blas_gradients cimport by_blas
from rnnfast._native.kernels cimport barrier, claim, progress_of, rf_outer, rf_outer_part, wait_until, while_waiting
from rnnfast._native.pack cimport PROJECTION, Packed
from rnnfast._native.plan cimport (
    BLOCK, INPUTS, SIDE_BY_SIDE, STATES, Listed, Run, least_sum, poll, share, share_tiles, step_near, step_of
)
from rnnfast._native.rows cimport index_at, row_at, typenum_of, want_row, write_row

cnp.import_array()


cdef void sum_by_index(Run* run, int thread, int threads) noexcept nogil:
    """Add up the gradients of the pre-activations by row of the table, each thread some of the columns."""
    cdef Py_ssize_t row, t = 0, column0, column1, columns, at
    share(run.ld_gates // run.W, thread, threads, &column0, &column1)
    at = column0 * run.W * run.size
    columns = (column1 - column0) * run.W
    for row in range(run.V):
        memset(run.projected + row * run.ld_gates * run.size + at, 0, columns * run.size)
    for row in range(run.R):
        if row % 64 == 0:
            poll(run, thread)
            if run.stop:
                break
        t = step_of(run, row, t)
        run.ops.add_rows(columns, run.gates + row * run.ld_gates * run.size + at,
                         run.projected + index_at(&run.x, t, row - run.off[t]) * run.ld_gates * run.size + at)
    barrier(thread, threads)


cdef void table_gradient(Run* run, int thread, int threads) noexcept nogil:
    """Add the gradient of the table to dx, its rows shared out, once nothing can stop the run any more."""
    cdef Py_ssize_t row0, row1
    cdef char* to
    if run.dx.base == NULL or run.stop:
        return
    share(run.V, thread, threads, &row0, &row1)
    to = run.dx.base + row0 * run.X * run.size
    run.ops.product(&run.product[0], row1 - row0,
                    run.projected + (row0 * run.ld_gates + run.cell.x_first * run.W) * run.size, to, to, 0,
                    run.product[0].panels)


cdef void input_gradient_rows(Run* run, Py_ssize_t row, Py_ssize_t n, Py_ssize_t* t, char* scratch) noexcept nogil:
    """dx of n <= BLOCK rows = gradients of their pre-activations times the input weights; `t` is a step near by, IN and OUT."""
    cdef Py_ssize_t r, line = run.product[0].ldc * run.size
    cdef char* gates = run.gates + row * run.ld_gates * run.size + run.cell.x_first * run.W * run.size
    if run.direct_dx:
        run.ops.product(&run.product[0], n, gates, NULL, run.dx.base + run.dx.start[0] + row * line, 0,
                        run.product[0].panels)
        return
    for r in range(n):
        t[0] = step_near(run, row + r, t[0])
        want_row(row_at(&run.dx, t[0], row + r - run.off[t[0]]), run.X, &run.dx, run.size)
    run.ops.product(&run.product[0], n, gates, NULL, scratch, 0, run.product[0].panels)
    for r in range(n):
        t[0] = step_near(run, row + r, t[0])
        write_row(row_at(&run.dx, t[0], row + r - run.off[t[0]]), scratch + r * line, run.X, run.dx.stride, run.size)


cdef void input_gradient(Run* run, int thread, int threads) noexcept nogil:
    """dx of all rows, shared out, a block at a time."""
    cdef Py_ssize_t row0, row1, n, t = 0
    if run.dx.base == NULL or run.V or by_blas(run, 0):
        return
    share(run.R, thread, threads, &row0, &row1)
    while row0 < row1:
        poll(run, thread)
        if run.stop:
            return
        n = min(<Py_ssize_t> BLOCK, row1 - row0)
        input_gradient_rows(run, row0, n, &t, run.scratch + thread * run.scratch_size)
        row0 += n


cdef cnp.ndarray new_array(tuple shape, int typenum, bint zeros):
    cdef cnp.npy_intp dims[2]
    cdef int i, ndim = len(shape)
    for i in range(ndim):
        dims[i] = shape[i]
    if zeros:
        return <cnp.ndarray> cnp.PyArray_ZEROS(ndim, dims, typenum, 0)
    return <cnp.ndarray> cnp.PyArray_EMPTY(ndim, dims, typenum, 0)


cdef dict make_targets(Run* run, Packed packed, dict grads):
    """Return the arrays w_ih, w_hh and w_hr that the sums go to, and make vectors that are missing among the gradients.

    The caller's own, or new ones: where there are none, and where sums take so long that they may be interrupted, for
    then the caller's are to be as they were.
    """
    cdef bint direct = 2.0 * max(run.R, run.V) * run.ld_gates * (run.X + run.H) < 1e9
    cdef list names = []
    cdef int typenum = typenum_of(packed.itemsize)
    for kind, shape in packed.shapes.items():
        if len(<tuple> shape) == 2:
            names.append(kind)
            direct = direct and kind in grads and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray?> grads[kind])
        elif kind not in grads:
            grads[kind] = new_array(<tuple> shape, typenum, True)
    run.direct = direct
    if direct:
        return {kind: grads[kind] for kind in names}
    run.fresh = not run.blas and run.R > 0
    return {kind: new_array(<tuple> packed.shapes[kind], typenum, not run.fresh) for kind in names}


cdef int set_outers(Run* run, Packed packed, dict targets) except -1:
    """Set up the sums of outer products that add to the arrays w_ih, w_hh and w_hr of `targets`, or write them.

    Where two weights multiply the same gate slots, one sum serves both.
    """
    cdef rf_outer* outer
    cdef rf_outer_part* part
    cdef Listed* listed
    cdef int i
    for i in range(1 + packed.cell.phases):
        if by_blas(run, i):
            continue
        # phase 0 may go with the inputs, unless BLAS makes their sum or it is over the rows of a table
        if (i == 1 and run.outers == 1 and not run.V and packed.first(1) == packed.first(0)
                and packed.count(1) == packed.count(0)):
            outer = &run.outer[0]
            outer.parts = 2
        else:
            outer = &run.outer[run.outers]
            run.outers += 1
            outer.parts = 1
            outer.k, outer.m, outer.source = run.R, packed.depth(i), packed.gates(i)
            outer.a = run.gates + packed.first(i) * run.W * run.size
            if i == 0 and run.V:
                outer.k = run.V
                outer.a = run.projected + packed.first(0) * run.W * run.size
            outer.lda, outer.rows_c = run.ld_gates, packed.dense[i]
        part = &outer.part[outer.parts - 1]
        listed = &run.listed[outer - &run.outer[0]][outer.parts - 1]
        part.c = cnp.PyArray_DATA(<cnp.ndarray> targets["w_ih" if i == 0 else "w_hh"])
        part.n = run.X if i == 0 else run.Q
        if i == 0 and run.V:
            part.b, part.ldb = run.table, run.X
        elif i == 0 and run.gather:
            part.b, part.ldb, listed[0] = run.x.base, 1, INPUTS
        elif i == 0:
            part.b, part.ldb = run.xs, run.ld_x
        elif packed.cell.phase[i - 1].from_aux:
            part.b, part.ldb = run.aux, run.ld
        elif run.history:
            part.b, part.ldb, part.rows_b = run.h, run.ld_h, run.before
        else:
            part.b, part.ldb, listed[0] = run.hs.base, 1, STATES
    if run.project:
        outer = &run.outer[run.outers]
        run.outers += 1
        outer.parts = 1
        outer.k, outer.m, outer.source = run.R, run.Q, packed.gates(PROJECTION)
        outer.a, outer.lda = run.projected_dh, run.ld_h
        outer.part[0].c, outer.part[0].n = cnp.PyArray_DATA(<cnp.ndarray> targets["w_hr"]), run.H
        outer.part[0].b, outer.part[0].ldb = run.m, run.ld
    return 0


cdef Py_ssize_t segment_rows(const Run* run) noexcept nogil:
    """Return of how many rows at most the gates stay in the second-level cache from one sum to the next."""
    return max(<Py_ssize_t> 96, 384 * 1024 // (run.ld_gates * run.size))


cdef Py_ssize_t list_rows(const Run* run, Listed what, Py_ssize_t row0, Py_ssize_t count, Py_ssize_t t,
                          Py_ssize_t* offsets) noexcept nogil:
    """List where the rows of x, or of h before them, are, in elements from the base; return the step of the first."""
    cdef const char* found
    cdef Py_ssize_t i, j, first = step_near(run, row0, t)
    t = first
    for i in range(count):
        t = step_of(run, row0 + i, t)
        j = row0 + i - run.off[t]
        if what == INPUTS:
            offsets[i] = (row_at(&run.x, t, j) - run.x.base) // run.size
            continue
        found = row_at(&run.hs, t - 1, j) if t else run.h + j * run.ld_h * run.size
        offsets[i] = (found - run.hs.base) // run.size
    return first


cdef void sum_rows(Run* run, Py_ssize_t row0, Py_ssize_t count, Py_ssize_t* t, int thread, int part,
                   int parts) noexcept nogil:
    """Add the outer products of some rows to the sums, those for part `part` of the gate columns.

    All rows from row0 + count on have been added before. `t` is a step near by, IN and OUT.
    """
    cdef Py_ssize_t q0, q1
    cdef Py_ssize_t* offsets[2]
    cdef rf_outer whole, piece
    cdef int i, j
    offsets[0] = <Py_ssize_t*> (run.scratch + (thread + 1) * run.scratch_size) - segment_rows(run)
    offsets[1] = offsets[0] - segment_rows(run)
    for i in range(run.outers):
        whole = run.outer[i]
        piece = whole
        piece.k = min(count, whole.k - row0)
        share_tiles(whole.m, part, parts, &q0, &q1)
        if piece.k <= 0 or q0 == q1:
            continue
        piece.fresh = run.fresh and row0 + piece.k == whole.k
        piece.a = <const char*> whole.a + row0 * whole.lda * run.size
        for j in range(whole.parts):
            if run.listed[i][j] != SIDE_BY_SIDE:
                piece.part[j].rows_b = offsets[j]
                t[0] = list_rows(run, run.listed[i][j], row0, piece.k, t[0], offsets[j])
            elif whole.part[j].rows_b != NULL:
                piece.part[j].rows_b = whole.part[j].rows_b + row0
            else:
                piece.part[j].b = <const char*> whole.part[j].b + row0 * whole.part[j].ldb * run.size
        run.ops.outer(&piece, q0, q1, run.scratch + thread * run.scratch_size)


cdef Py_ssize_t segments(const Run* run, Py_ssize_t* size) noexcept nogil:
    """Return in how many pieces, as even as may be, the sums take their rows, and how many rows are in each."""
    cdef Py_ssize_t rows = max(run.R, run.V), most = segment_rows(run), count = (rows + most - 1) // most
    size[0] = (rows + count - 1) // max(count, 1)
    return count


cdef void sum_biases(Run* run, Py_ssize_t row0, Py_ssize_t count, int thread, int threads) noexcept nogil:
    """Add the rows of a segment to the sums for the biases, each thread some of the columns."""
    cdef Py_ssize_t columns0, columns1
    if run.bias_sums == NULL or row0 >= run.R:
        return
    share(run.ld_gates // run.W, thread, threads, &columns0, &columns1)
    run.ops.column_sums(min(count, run.R - row0), (columns1 - columns0) * run.W,
                        run.gates + (row0 * run.ld_gates + columns0 * run.W) * run.size, run.ld_gates,
                        run.bias_sums + columns0 * run.W * run.size)


cdef void weight_gradients(Run* run, int thread, int threads) noexcept nogil:
    """The sums of outer products and those for the biases, shared out by gate columns, from the last row to the first.

    What BLAS makes is not among them. Nobody stops on the way where the sums are the caller's own arrays.
    """
    cdef Py_ssize_t size, i, t = run.T - 1
    if thread == 0 and threads > 1 and run.direct:
        while_waiting(NULL)
    for i in range(segments(run, &size) - 1, -1, -1):
        if not run.direct:
            poll(run, thread)
            if run.stop:
                break
        sum_rows(run, i * size, min(size, max(run.R, run.V) - i * size), &t, thread, thread, threads)
        sum_biases(run, i * size, size, thread, threads)
    barrier(thread, threads)


cdef void gradients_beside(Run* run, int thread, int threads) noexcept nogil:
    """The same and dx, where thread 0 does the sweep: the others sum up the rows that it leaves behind.

    It tells by `post` how many these are, and comes here when it is done. Who has nothing to sum up makes dx of rows
    that it claims, and so do all in the end. The bits are those of above, for every sum takes its rows in the same order.
    """
    cdef Py_ssize_t done = 0, least = least_sum(run), swept, row1, count, size, i, mine = -1, blocks = 0
    cdef Py_ssize_t block = max(24, min(96, run.R // (4 * threads))), t = run.T - 1, tx = run.T - 1
    cdef char* scratch = run.scratch + thread * run.scratch_size
    if run.dx.base != NULL:
        blocks = (run.R + block - 1) // block
    while thread > 0 and done < run.R:
        swept = <Py_ssize_t> progress_of(0)
        if swept < min(done + least, run.R):
            if mine < 0:
                mine = <Py_ssize_t> claim()
            if mine < blocks and (mine + 1) * block <= swept:
                input_gradient_rows(run, run.R - (mine + 1) * block, block, &tx, scratch)
                mine = -1
            else:
                wait_until(thread, 0, swept + 1)
            continue
        while done < swept and not run.stop:
            row1 = run.R - done
            count = min(swept - done, segment_rows(run))
            sum_rows(run, row1 - count, count, &t, thread, thread - 1, threads - 1)
            done += count
        if run.stop:
            return
    for i in range(segments(run, &size) - 1, -1, -1):
        sum_biases(run, i * size, size, thread, threads)
    if mine < 0:
        mine = <Py_ssize_t> claim()
    while mine < blocks:
        if not run.direct:
            poll(run, thread)
            if run.stop:
                return
        row1 = run.R - mine * block
        count = min(block, row1)
        input_gradient_rows(run, row1 - count, count, &tx, scratch)
        mine = <Py_ssize_t> claim()


cdef int add_biases(Run* run, Packed packed, object grads) except -1:
    """Add the sums for the biases to the caller's arrays."""
    cdef int i
    if run.bias_sums == NULL:
        return 0
    for i in range(1 + packed.cell.phases):
        target = grads["b_ih" if i == 0 else "b_hh"]
        work = target if cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray?> target) else np.ascontiguousarray(target)
        run.ops.add_columns(run.bias_sums + packed.first(i) * run.W * run.size, packed.rows(i), packed.columns(i),
                            packed.count(i) * run.W, packed.slots * run.W, cnp.PyArray_DATA(<cnp.ndarray> work))
        if work is not target:
            target[...] = work
    return 0
