"""The gradients of inputs and weights by BLAS, where provider.py chooses it.

The gate buffer has gates interleaved by vectors and padding at the end of a row, which no BLAS reads as a matrix. So a
block of rows at a time is copied slot by slot, (rows, slots, H), small enough to be still in cache when the products
read it; between two products signals are looked at. (A permuted copy of the weights instead would save the copying
for dx only, and multiply zeros where H is no multiple of the vector.)
"""

import numpy as np

from cpython.exc cimport PyErr_CheckSignals
from libc.limits cimport INT_MAX
from libc.string cimport memcpy

from rnnfast._native.blas cimport gemm
from rnnfast._native.kernels cimport alloc, release
from rnnfast._native.rows cimport row_at, write_row
from rnnfast._native.plan cimport step_of


cdef inline char* address(object array):
    cdef size_t found = array.__array_interface__["data"][0]
    return <char*> found


cdef Py_ssize_t block_rows(Py_ssize_t rows, double work) noexcept nogil:
    """How many rows to take at once, each worth `work` multiplications: enough for BLAS, at most tens of ms."""
    return min(rows, max(256, min(4096, <Py_ssize_t> (1e9 / max(work, 1)))))


cdef int blas_gradients(Run* run, Packed packed, object grads) except -1:
    """Write dx where run.dx says, and add to w_ih and w_hh of `grads`, once all has been computed."""
    cdef Py_ssize_t size = run.size, H = run.H, Q = run.Q, X = run.X, slots = run.cell.slots, ld = slots * H
    cdef Py_ssize_t n, row, r, t = 0, step, inputs, ld_source
    cdef Py_ssize_t most = block_rows(run.R, <double> ld * (2 * X + H))
    cdef char* block = NULL      # (most, slots, H) gradients of the pre-activations
    cdef char* before = NULL     # (most, ld) the states before, where they are not side by side
    cdef char* xs = NULL         # (most, X) likewise
    cdef char* dx = NULL         # (most, X) likewise
    cdef bint want_dx = run.dx.base != NULL and by_blas(run, 0)
    cdef bint direct_x = X <= run.ld_x <= INT_MAX or not by_blas(run, 0)
    cdef bint direct_dx = run.direct_dx and X <= run.product[0].ldc <= INT_MAX
    cdef char* source
    cdef char* target
    cdef char* d
    cdef int which, slot, slot0, gate, count
    dw = [np.zeros_like(packed.w_ih), np.zeros_like(packed.w_hh)]
    cdef char* w_ih = address(packed.w_ih)
    cdef char* sums[2]
    sums[0], sums[1] = address(dw[0]), address(dw[1])
    try:
        block = <char*> alloc(most * ld * size)
        before = <char*> alloc(most * run.ld_h * size if run.before != NULL else 0)
        xs = <char*> alloc(0 if direct_x else most * X * size)
        dx = <char*> alloc(most * X * size if want_dx and not direct_dx else 0)
        if block == NULL or before == NULL or xs == NULL or dx == NULL:
            raise MemoryError
        for row in range(0, run.R, max(most, 1)):
            n = min(most, run.R - row)
            with nogil:
                by_slots(run, row, n, block)
                if run.before != NULL:
                    for r in range(n):
                        memcpy(before + r * run.ld_h * size, run.h + run.before[row + r] * run.ld_h * size,
                               run.ld_h * size)
                if not direct_x:
                    for r in range(n):
                        memcpy(xs + r * X * size, run.xs + (row + r) * run.ld_x * size, X * size)
            for which in range(1 + packed.cell.phases):
                if not by_blas(run, which):
                    continue
                inputs = X if which == 0 else Q
                ld_source = run.ld_h
                if which == 0 and direct_x:
                    source, ld_source = run.xs + row * run.ld_x * size, run.ld_x
                elif which == 0:
                    source, ld_source = xs, X
                elif run.cell.phase[which - 1].from_aux:
                    source = run.aux + row * run.ld * size
                else:
                    source = run.h + row * run.ld_h * size if run.before == NULL else before
                slot = 0
                while slot < packed.count(which):  # slots side by side whose gates are side by side too
                    slot0, gate, count = slot, gate_of(run, which, slot), 0
                    while slot < packed.count(which) and gate_of(run, which, slot) == gate + count:
                        slot += 1
                        count += 1
                    d = block + (packed.first(which) + slot0) * H * size
                    target = sums[which > 0] + gate * H * inputs * size
                    with nogil:
                        gemm(size, True, False, count * H, inputs, n, 1, d, ld, source, ld_source, 1, target, inputs)
                    PyErr_CheckSignals()
                    if which == 0 and want_dx:
                        target = dx
                        step = X
                        if direct_dx:
                            step = run.product[0].ldc
                            target = run.dx.base + run.dx.start[0] + row * step * size
                        with nogil:
                            gemm(size, False, False, n, X, count * H, 1, d, ld, w_ih + gate * H * X * size, X,
                                 slot0 > 0, target, step)
                        PyErr_CheckSignals()
            if want_dx and not direct_dx:
                with nogil:
                    for r in range(row, row + n):
                        t = step_of(run, r, t)
                        write_row(row_at(&run.dx, t, r - run.off[t]), dx + (r - row) * X * size, X, run.dx.stride, size)
    finally:
        release(block)
        release(before)
        release(xs)
        release(dx)
    grads["w_ih"] += dw[0]
    grads["w_hh"] += dw[1]
    return 0


cdef int gate_of(const Run* run, int which, int slot) noexcept nogil:
    return run.cell.x_gates[slot] if which == 0 else run.cell.phase[which - 1].gates[slot]


cdef void by_slots(const Run* run, Py_ssize_t row0, Py_ssize_t rows, char* to) noexcept nogil:
    """Copy rows of the gate buffer, (panels, slots, lanes), to (slots, H)."""
    cdef Py_ssize_t r, p, slot, vector = run.W * run.size, line = run.H * run.size, n
    cdef const char* source
    for r in range(rows):
        source = run.gates + (row0 + r) * run.ld_gates * run.size
        for p in range(run.P):
            n = min(vector, line - p * vector)
            for slot in range(run.cell.slots):
                memcpy(to + slot * line + p * vector, source, n)
                source += vector
        to += run.cell.slots * line


cdef Py_ssize_t leading(object array) except -1:
    """Return how far apart contiguous rows are, or 0 where they overlap or run backwards, which BLAS refuses."""
    rows, columns = array.shape
    apart = array.strides[0] // array.itemsize
    if rows < 2:
        return columns
    return apart if columns <= apart <= INT_MAX else 0


cdef int blas_affine_gradients(object x, object dy, object weight, object dw, object dx) except -1:
    """dx = dy W (dx may be None), dw += dy^T x, for x (R, K), dy (R, N) with contiguous rows, weight and dw (N, K)."""
    cdef Py_ssize_t size = weight.itemsize, outputs = weight.shape[0], inputs = weight.shape[1], rows = x.shape[0]
    cdef Py_ssize_t ld_x = leading(x), ld_dy = leading(dy), row, n
    if ld_x == 0:
        x, ld_x = x.copy(), inputs
    if ld_dy == 0:
        dy, ld_dy = dy.copy(), outputs
    cdef Py_ssize_t most = block_rows(rows, <double> outputs * inputs)
    total = np.zeros_like(weight)
    cdef char* xs = address(x)
    cdef char* ds = address(dy)
    cdef char* w = address(weight)
    cdef char* sums = address(total)
    cdef char* to = NULL if dx is None else address(dx)
    for row in range(0, rows, max(most, 1)):
        n = min(most, rows - row)
        with nogil:
            gemm(size, True, False, outputs, inputs, n, 1, ds + row * ld_dy * size, ld_dy, xs + row * ld_x * size, ld_x,
                 1, sums, inputs)
        PyErr_CheckSignals()
        if to != NULL:
            with nogil:
                gemm(size, False, False, n, inputs, outputs, 1, ds + row * ld_dy * size, ld_dy, w, inputs, 0,
                     to + row * inputs * size, inputs)
            PyErr_CheckSignals()
    dw += total
    return 0
