"""What follows the backward sweep: products over all steps that are no longer bound to their order."""

import numpy as np

from rnnfast._native.kernels cimport barrier, rf_outer
from rnnfast._native.pack cimport Packed
from rnnfast._native.plan cimport Run, poll, share, step_of
from rnnfast._native.rows cimport row_at, write_row


cdef void input_gradient(Run* run, int thread, int threads) noexcept nogil:
    """dx = gradients of the pre-activations times the input weights, a block of rows at a time."""
    cdef Py_ssize_t row0, row1, row, r, n, t = 0, j
    cdef char* scratch
    cdef char* gates
    if run.dx.base == NULL or run.blas:
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
    """The sums of outer products, shared out by panels over all weights together, and the sums for the biases.

    Where BLAS makes the former, there are no panels here.
    """
    cdef Py_ssize_t total = 0, mine0, mine1, p0, p1, at, k, columns0, columns1
    cdef Py_ssize_t segment
    cdef rf_outer part
    cdef int which
    # some tens of milliseconds between two looks at signals; whole blocks of the kernels below
    segment = 192 * min(max(<Py_ssize_t> (5e6 / (<double> run.ld_gates * (run.X + run.H))), 1), 20)
    for which in range(1 + run.cell.phases):
        total += run.outer[which].panels
    share(total, thread, threads, &mine0, &mine1)
    k = 0
    while k == 0 or k < run.R:
        poll(run, thread)
        if run.stop:
            break
        at = 0
        for which in range(1 + run.cell.phases):
            p0 = max(mine0 - at, 0)
            p1 = min(mine1 - at, run.outer[which].panels)
            at += run.outer[which].panels
            if p0 >= p1:
                continue
            part = run.outer[which]
            part.k = min(segment, run.R - k)
            part.accumulate = k > 0
            if part.rows_a != NULL:
                part.rows_a += k
            else:
                part.a = <const char*> part.a + k * part.lda * run.size
            part.b = <const char*> part.b + k * part.ldb * run.size
            run.ops.outer(&part, p0, p1, run.scratch + thread * run.scratch_size)
        if run.bias_sums != NULL:
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
