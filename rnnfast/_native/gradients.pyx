"""What follows the backward sweep: products over all steps that are no longer bound to their order."""

import numpy as np

cimport numpy as cnp
from libc.string cimport memset

from rnnfast._native.blas_gradients cimport by_blas
from rnnfast._native.kernels cimport barrier, rf_outer, rf_outer_part
from rnnfast._native.pack cimport PROJECTION, Packed
from rnnfast._native.plan cimport INPUTS, SIDE_BY_SIDE, STATES, Listed, Run, poll, share, step_of
from rnnfast._native.rows cimport index_at, row_at, write_row


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


cdef void input_gradient(Run* run, int thread, int threads) noexcept nogil:
    """dx = gradients of the pre-activations times the input weights, a block of rows at a time."""
    cdef Py_ssize_t row0, row1, row, r, n, t = 0, j
    cdef char* scratch
    cdef char* gates
    if run.dx.base == NULL or run.V or by_blas(run, 0):
        return
    share(run.R, thread, threads, &row0, &row1)
    scratch = run.scratch + thread * run.scratch_size
    for row in range(row0, row1, 96):
        poll(run, thread)
        if run.stop:
            return
        n = min(96, row1 - row)
        gates = run.gates + row * run.ld_gates * run.size + run.cell.x_first * run.W * run.size
        if run.direct_dx:
            run.ops.product(&run.product[0], n, gates, NULL,
                            run.dx.base + run.dx.start[0] + row * run.product[0].ldc * run.size, 0,
                            run.product[0].panels)
            continue
        run.ops.product(&run.product[0], n, gates, NULL, scratch, 0, run.product[0].panels)
        for r in range(row, row + n):
            t = step_of(run, r, t)
            j = r - run.off[t]
            write_row(row_at(&run.dx, t, j), scratch + (r - row) * run.product[0].ldc * run.size, run.X,
                      run.dx.stride, run.size)


cdef dict make_targets(Run* run, Packed packed, dict grads):
    """Return the arrays w_ih, w_hh and w_hr that the sums go to, and make vectors that are missing among the gradients.

    The caller's own, or new ones: where there are none, and where sums take so long that they may be interrupted, for
    then the caller's are to be as they were.
    """
    cdef bint direct = 2.0 * max(run.R, run.V) * run.ld_gates * (run.X + run.H) < 1e9
    cdef list names = []
    dtype = packed.w_ih.dtype
    for kind, shape in packed.shapes.items():
        if len(shape) == 2:
            names.append(kind)
            direct = direct and kind in grads and grads[kind].flags.c_contiguous
        elif kind not in grads:
            grads[kind] = np.zeros(shape, dtype)
    run.direct = direct
    if direct:
        return {kind: grads[kind] for kind in names}
    run.fresh = not run.blas and run.R > 0
    return {kind: (np.empty if run.fresh else np.zeros)(packed.shapes[kind], dtype) for kind in names}


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
            outer.lda, outer.rows_c = run.ld_gates, packed.dense_rows(i)
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
    """Return of how many rows the gates stay in the second-level cache from one sum to the next, in whole blocks."""
    return 96 * max(<Py_ssize_t> 1, 384 * 1024 // (96 * run.ld_gates * run.size))


cdef Py_ssize_t list_rows(const Run* run, Listed what, Py_ssize_t row0, Py_ssize_t count, Py_ssize_t t,
                          Py_ssize_t* offsets) noexcept nogil:
    """List where the rows of x, or of h before them, are, in elements from the base; return the step of the first."""
    cdef const char* found
    cdef Py_ssize_t i, j, first = step_of(run, row0, t)
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


cdef void weight_gradients(Run* run, int thread, int threads) noexcept nogil:
    """The sums of outer products and those for the biases, shared out by gate columns.

    What BLAS makes is not among them. Nobody stops on the way where the sums are the caller's own arrays.
    """
    cdef Py_ssize_t q0, q1, k, columns0, columns1, segment, segments, most, t = 0
    cdef Py_ssize_t* offsets[2]
    cdef rf_outer whole, piece
    cdef int i, j
    segment = segment_rows(run)
    offsets[0] = <Py_ssize_t*> (run.scratch + (thread + 1) * run.scratch_size) - segment
    offsets[1] = offsets[0] - segment
    share(run.ld_gates // run.W, thread, threads, &columns0, &columns1)
    most = max(run.R, run.V)
    segments = max(1, (most + segment - 1) // segment)
    segment = (most + segments - 1) // segments
    k = -segment
    while k + segment < most:
        k += segment
        if not run.direct:
            poll(run, thread)
            if run.stop:
                break
        for i in range(run.outers):
            whole = run.outer[i]
            piece = whole
            piece.fresh = run.fresh and k == 0
            piece.k = min(segment, whole.k - k)
            if piece.k <= 0:
                continue
            piece.a = <const char*> whole.a + k * whole.lda * run.size
            for j in range(whole.parts):
                if run.listed[i][j] != SIDE_BY_SIDE:
                    piece.part[j].rows_b = offsets[j]
                    t = list_rows(run, run.listed[i][j], k, piece.k, t, offsets[j])
                elif whole.part[j].rows_b != NULL:
                    piece.part[j].rows_b = whole.part[j].rows_b + k
                else:
                    piece.part[j].b = <const char*> whole.part[j].b + k * whole.part[j].ldb * run.size
            # whole tiles for every thread, 48 being a multiple of their height and of a vector
            share((whole.m + 47) // 48, thread, threads, &q0, &q1)
            run.ops.outer(&piece, 48 * q0, min(48 * q1, whole.m), run.scratch + thread * run.scratch_size)
        if run.bias_sums != NULL and k < run.R:
            run.ops.column_sums(min(segment, run.R - k), (columns1 - columns0) * run.W,
                                run.gates + (k * run.ld_gates + columns0 * run.W) * run.size, run.ld_gates,
                                run.bias_sums + columns0 * run.W * run.size)
    barrier(thread, threads)


cdef int add_biases(Run* run, Packed packed, object grads) except -1:
    """Add the sums for the biases to the caller's arrays."""
    cdef int i
    if run.bias_sums == NULL:
        return 0
    for i in range(1 + packed.cell.phases):
        target = grads["b_ih" if i == 0 else "b_hh"]
        work = target if target.flags.c_contiguous else np.ascontiguousarray(target)
        run.ops.add_columns(run.bias_sums + packed.first(i) * run.W * run.size, packed.rows(i), packed.columns(i),
                            packed.count(i) * run.W, packed.slots * run.W, cnp.PyArray_DATA(<cnp.ndarray> work))
        if work is not target:
            target[...] = work
    return 0
