"""What follows the backward sweep: products over all steps that are no longer bound to their order."""

import numpy as np

from libc.string cimport memset

from rnnfast._native.blas_gradients cimport by_blas
from rnnfast._native.kernels cimport barrier, rf_outer
from rnnfast._native.pack cimport Packed
from rnnfast._native.plan cimport Run, poll, share, step_of
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


cdef void weight_gradients(Run* run, int thread, int threads) noexcept nogil:
    """The sums of outer products, shared out by panels, and the sums for the biases.

    Where BLAS makes a sum, it has no panels here.
    """
    cdef Py_ssize_t p0, p1, k, columns0, columns1
    cdef Py_ssize_t segment
    cdef rf_outer part
    cdef int which
    # some tens of milliseconds between two looks at signals; whole blocks of the kernels below
    segment = 192 * min(max(<Py_ssize_t> (5e6 / (<double> run.ld_gates * (run.X + run.H))), 1), 20)
    k = 0
    while k == 0 or k < max(run.R, run.V):
        poll(run, thread)
        if run.stop:
            break
        for which in range(4):  # those that are not there have no panels
            # every thread a part of each weight; who gets the odd panel changes from weight to weight
            share(run.outer[which].panels, threads - 1 - thread if which & 1 else thread, threads, &p0, &p1)
            part = run.outer[which]
            part.k = min(segment, part.k - k)
            if p0 >= p1 or part.k <= 0 and k > 0:
                continue
            part.accumulate = k > 0
            if part.rows_a != NULL:
                part.rows_a += k
            else:
                part.a = <const char*> part.a + k * part.lda * run.size
            part.b = <const char*> part.b + k * part.ldb * run.size
            run.ops.outer(&part, p0, p1, run.scratch + thread * run.scratch_size)
        if run.bias_sums != NULL and k < run.R:
            share(run.ld_gates // run.W, thread, threads, &columns0, &columns1)
            run.ops.column_sums(min(segment, run.R - k), (columns1 - columns0) * run.W,
                                run.gates + (k * run.ld_gates + columns0 * run.W) * run.size, run.ld_gates,
                                run.bias_sums + columns0 * run.W * run.size)
        k += segment
    barrier(thread, threads)


cdef int add_gradients(Run* run, Packed packed, object grads) except -1:
    """Add the sums, which stand in panels, to the caller's arrays."""
    cdef int i
    cdef size_t address
    cdef Py_ssize_t columns
    for i in range(1 + packed.cell.phases):
        target = grads["w_ih" if i == 0 else "w_hh"]
        work = target if target.flags.c_contiguous else np.ascontiguousarray(target)
        address = work.__array_interface__["data"][0]
        with nogil:
            run.ops.unpack_add(run.sums[i], run.outer[i].m, packed.rows(i), packed.columns(i),
                               run.outer[i].vectors * run.W, <void*> address, 0, run.outer[i].panels)
        if work is not target:
            target[...] = work
    if run.bias_sums == NULL:
        return 0
    cdef unsigned char[::1] view = <unsigned char[:run.ld_gates * run.size]> <unsigned char*> run.bias_sums
    sums = np.asarray(view).view(packed.w_ih.dtype).reshape(packed.panels, packed.slots, packed.width)
    cdef Py_ssize_t[::1] listed
    for i in range(1 + packed.cell.phases):
        listed = <Py_ssize_t[:packed.columns(i)]> packed.rows(i)
        rows = np.asarray(listed)
        part = sums[:, packed.first(i):packed.first(i) + packed.count(i)].reshape(-1)
        grads["b_ih" if i == 0 else "b_hh"][rows[rows >= 0]] += part[rows >= 0]
    return 0
