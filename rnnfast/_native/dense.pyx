"""Affine maps of many rows, y = x W^T + b, and their gradients, by the packed products of csrc/gemm.inc.c.

A row's bits do not depend on how many rows there are, as in the recurrence. The gradients may be BLAS's (provider.py).
Long calls go through their rows in pieces, which changes no bit, and look at signals in between.
"""

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.string cimport memset

from rnnfast._native.blas_gradients cimport blas_affine_gradients
from rnnfast._native.kernels cimport alloc, ops, parallel, release, rf_ops, rf_outer, rf_product
from rnnfast._native.panels cimport pack_columns, pack_rows, panels_of
from rnnfast._native.plan cimport NOW, share_tiles, worth
from rnnfast._native.provider import get_gemm
from rnnfast.threads import get_num_threads

cnp.import_array()

# Operations between two looks at signals: some tens of milliseconds, for sums over few rows go through all of a large
# matrix of gradients for each piece.
cdef double PIECE = 4e9


cdef class Panels:
    """The weights (N, K) of an affine map as panels, those of the backward product made when first asked for."""

    def __cinit__(self, cnp.ndarray weight):
        cdef Py_ssize_t outputs = cnp.PyArray_DIM(weight, 0), padded, i
        self.data[0] = self.data[1] = NULL
        self.ops = ops(cnp.PyArray_ITEMSIZE(weight))
        self.weight = weight
        padded = (outputs + self.ops.width - 1) // self.ops.width * self.ops.width
        self.rows = <Py_ssize_t*> alloc(padded * sizeof(Py_ssize_t))
        if self.rows == NULL:
            raise MemoryError
        for i in range(padded):
            self.rows[i] = i if i < outputs else -1

    def __dealloc__(self):
        release(self.rows)
        release(self.data[0])
        release(self.data[1])

    cdef int make(self, int backward) except -1:
        cdef Py_ssize_t outputs = cnp.PyArray_DIM(self.weight, 0), inputs = cnp.PyArray_DIM(self.weight, 1), n, k
        cdef Py_ssize_t width = self.ops.width, padded
        cdef rf_product* s = &self.product[backward]
        cdef char* data
        cdef const void* source = cnp.PyArray_DATA(self.weight)
        if self.data[backward] != NULL:
            return 0
        n, k = (inputs, outputs) if backward else (outputs, inputs)
        panels_of(s, n, width, 4, 4 * width)
        s.source.runs, s.source.run = 1, k
        padded = ((s.panels - 1) * 4 + s.last) * width
        data = <char*> alloc(padded * k * self.ops.itemsize)
        if data == NULL:
            raise MemoryError
        if backward:
            pack_rows(self.ops, source, inputs, self.rows, outputs, data, get_num_threads())
        else:
            pack_columns(self.ops, source, inputs, self.rows, padded, 4 * width, data, get_num_threads())
        s.b = data
        self.data[backward] = data
        return 0


cdef void task(void* context, int thread, int threads) noexcept nogil:
    cdef Work* w = <Work*> context
    cdef Py_ssize_t size = w.ops.itemsize
    cdef Py_ssize_t row0, row1, column0, column1, rows = w.row1 - w.row0
    cdef rf_outer outer
    if w.product != NULL:
        row0 = w.row0 + rows * thread // threads
        row1 = w.row0 + rows * (thread + 1) // threads
        w.ops.product(w.product, row1 - row0, w.a + row0 * w.product.lda * size, w.init,
                      w.c + row0 * w.product.ldc * size, 0, w.product.panels)
    if w.outer != NULL:
        outer = w.outer[0]
        outer.k = rows
        outer.fresh = outer.fresh and w.row0 == 0
        outer.a = <const char*> outer.a + w.row0 * outer.lda * size
        outer.part[0].b = <const char*> outer.part[0].b + w.row0 * outer.part[0].ldb * size
        share_tiles(outer.m, thread, threads, &column0, &column1)
        w.ops.outer(&outer, column0, column1, w.scratch + thread * w.scratch_size)
    if w.db != NULL and thread == threads - 1:
        w.ops.column_sums(rows, w.outputs, w.dy + w.row0 * w.ld_dy * size, w.ld_dy, w.db)


cdef Py_ssize_t piece_of(double work) noexcept nogil:
    """Return how many rows, `work` operations each, go between two looks at signals."""
    return 192 * max(<Py_ssize_t> 1, <Py_ssize_t> (PIECE / (192 * max(work, 1.0))))


cdef int run_pieces(Work* w, double work, int threads) except -1:
    """Run the task over all rows, `work` operations each, in pieces."""
    cdef Py_ssize_t piece = piece_of(work)
    while w.row1 < w.rows:
        w.row0, w.row1 = w.row1, min(w.rows, w.row1 + piece)
        with nogil:
            parallel(task, w, threads)
        if w.row1 < w.rows:
            PyErr_CheckSignals()
    return 0


cdef Panels panels_for(object weight, dict cache, const rf_ops* table):
    found = cache.get(table.isa)
    if found is None:
        found = cache.setdefault(table.isa, Panels(weight))
    return <Panels> found


cdef cnp.ndarray empty(Py_ssize_t rows, Py_ssize_t columns, cnp.ndarray like):
    cdef cnp.npy_intp shape[2]
    shape[0], shape[1] = rows, columns
    return <cnp.ndarray> cnp.PyArray_EMPTY(2, shape, cnp.PyArray_TYPE(like), 0)


def affine(cnp.ndarray x not None, cnp.ndarray weight not None, bias, dict cache):
    """Return y (R, N) of x (R, K), weight (N, K) and bias (N,) or None.

    ``x`` has contiguous rows; ``cache`` keeps the packed weights and must be a new dict when the weights change.
    """
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(weight), rows = cnp.PyArray_DIM(x, 0)
    cdef Py_ssize_t outputs = cnp.PyArray_DIM(weight, 0)
    cdef double work = 2.0 * outputs * cnp.PyArray_DIM(weight, 1)
    cdef Panels panels = panels_for(weight, cache, ops(size))
    cdef rf_product product
    cdef Work w
    cdef cnp.ndarray y = empty(rows, outputs, weight)
    if cnp.PyArray_SIZE(y) == 0:
        return y
    panels.make(0)
    product = panels.product[0]
    product.lda = cnp.PyArray_STRIDE(x, 0) // size
    product.ldc = outputs
    product.ld_init = 0
    memset(&w, 0, sizeof(Work))
    w.ops, w.rows, w.product = panels.ops, rows, &product
    w.a, w.c = cnp.PyArray_BYTES(x), cnp.PyArray_BYTES(y)
    if bias is not None:
        w.init = cnp.PyArray_BYTES(<cnp.ndarray> bias)
    run_pieces(&w, work, worth(rows * work, NOW))
    return y


def affine_gradients(cnp.ndarray x not None, cnp.ndarray dy not None, cnp.ndarray weight not None, dict cache,
                     cnp.ndarray dw not None, db, bint want_dx):
    """Add the gradients to dw (N, K) and db (N,) or None, and return dx (R, K), or None if it is not wanted.

    ``x`` (R, K) and ``dy`` (R, N) have contiguous rows, dw and db are contiguous.
    """
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(weight), rows = cnp.PyArray_DIM(x, 0)
    cdef Py_ssize_t outputs = cnp.PyArray_DIM(weight, 0), inputs = cnp.PyArray_DIM(weight, 1)
    cdef Panels panels = panels_for(weight, cache, ops(size))
    cdef rf_product product
    cdef rf_outer outer
    cdef Work w
    cdef cnp.ndarray dx = empty(rows, inputs, weight) if want_dx else None
    cdef cnp.ndarray sums, total
    cdef double work = 4.0 * outputs * inputs
    cdef int threads
    if rows == 0:
        return dx
    blas = get_gemm() == "blas"
    memset(&w, 0, sizeof(Work))
    w.ops, w.rows = panels.ops, rows
    w.ld_dy, w.outputs, w.dy = cnp.PyArray_STRIDE(dy, 0) // size, outputs, cnp.PyArray_BYTES(dy)
    if db is not None:
        sums = np.zeros(outputs, weight.dtype)
        w.db = cnp.PyArray_BYTES(sums)
    if blas:
        run_pieces(&w, outputs, worth(rows * outputs, NOW))
        blas_affine_gradients(x, dy, weight, dw, dx)
        if db is not None:
            db += sums
        return dx
    if want_dx:
        panels.make(1)
        product = panels.product[1]
        product.lda, product.ldc, product.ld_init = w.ld_dy, inputs, 0
        w.product, w.a, w.c = &product, w.dy, cnp.PyArray_BYTES(dx)
    # a call of several pieces may be interrupted between them, and then dw is to be as it was
    total = dw if rows <= piece_of(work) else empty(outputs, inputs, weight)
    memset(&outer, 0, sizeof(rf_outer))
    outer.m = outer.source.run = outputs
    outer.source.runs = 1
    outer.a, outer.lda = w.dy, w.ld_dy
    outer.fresh = total is not dw
    outer.parts = 1
    outer.part[0].n = inputs
    outer.part[0].b, outer.part[0].ldb = cnp.PyArray_BYTES(x), cnp.PyArray_STRIDE(x, 0) // size
    outer.part[0].c = cnp.PyArray_BYTES(total)
    w.outer = &outer
    threads = worth(rows * work, NOW)
    w.scratch_size = (panels.ops.outer_scratch(outputs, inputs) * size + 63) // 64 * 64
    w.scratch = <char*> alloc(threads * w.scratch_size)
    if w.scratch == NULL:
        raise MemoryError
    try:
        run_pieces(&w, work, threads)
    finally:
        release(w.scratch)
    if total is not dw:
        dw += total
    if db is not None:
        db += sums
    return dx
