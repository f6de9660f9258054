"""Layer normalisation of rows, forward and backward; equations and arguments: `rnnfast.reference.normalization`.

Arrays become C-contiguous here if they are not. Kept for the backward pass are the caller's x and three numbers for each
row. Threads share blocks of rows; sums over rows are those of blocks, whose size follows from the shape alone, added up in
order, so that the number of threads changes no bit. Subnormal results become 0.
"""

import numpy as np

cimport numpy as cnp

from rnnfast._native.kernels cimport RF_NORM_KEPT, ops, parallel, rf_ops
from rnnfast._native.ops cimport share, threads_for

cnp.import_array()

cdef enum:
    BLOCK_ROWS = 64  # at most: the error of sums grows with it
    FEWEST_ROWS = 16  # a block's sums take as much memory as two rows
    BLOCK = 32768  # elements: large enough to share out


ctypedef struct Job:
    const rf_ops* ops
    Py_ssize_t rows, n, block, blocks
    const char* x
    const char* weight  # NULL: ones
    const char* bias    # NULL: zeros
    double eps
    char* y
    char* kept          # NULL: none
    const char* dy
    char* dx
    char* sums          # (blocks, 2, n)


cdef inline char* data(array) noexcept:
    return NULL if array is None else <char*> cnp.PyArray_DATA(<cnp.ndarray> array)


cdef void run_forward(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t first, count, size = job.ops.itemsize
    share(job.rows, 4, thread, threads, &first, &count)
    job.ops.layer_norm(count, job.n, job.x + first * job.n * size, job.weight, job.bias, job.eps,
                       job.y + first * job.n * size,
                       NULL if job.kept == NULL else job.kept + first * RF_NORM_KEPT * size)


cdef void run_backward(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t first, count, k, row, size = job.ops.itemsize
    share(job.blocks, 1, thread, threads, &first, &count)
    for k in range(first, first + count):
        row = k * job.block
        job.ops.layer_norm_back(min(job.block, job.rows - row), job.n, job.x + row * job.n * size,
                                job.kept + row * RF_NORM_KEPT * size, job.weight, job.dy + row * job.n * size,
                                job.dx + row * job.n * size, job.sums + k * 2 * job.n * size)


def layer_norm(x, weight, bias, double eps, bint save):
    dtype = x.dtype
    if dtype not in (np.float32, np.float64):  # a graph from a file may hold anything
        raise TypeError(f"x must be float32 or float64; got {dtype}")
    x = np.ascontiguousarray(x)
    weight = None if weight is None else np.ascontiguousarray(weight, dtype)
    bias = None if bias is None else np.ascontiguousarray(bias, dtype)
    y = np.empty_like(x)
    kept = np.empty((x.shape[0], RF_NORM_KEPT), dtype) if save else None
    cdef Job job
    job.ops = ops(x.itemsize)
    job.rows, job.n = x.shape
    job.x, job.weight, job.bias = data(x), data(weight), data(bias)
    job.eps = eps
    job.y, job.kept = data(y), data(kept)
    cdef int threads = threads_for(x.size)
    with nogil:
        parallel(run_forward, &job, threads)
    return y, ((x, kept) if save else None)


def layer_norm_gradients(dy, saved, weight):
    x, kept = saved
    dy = np.ascontiguousarray(dy, x.dtype)
    weight = None if weight is None else np.ascontiguousarray(weight, x.dtype)
    dx = np.empty_like(x)
    cdef Job job
    job.ops = ops(x.itemsize)
    job.rows, job.n = x.shape
    job.block = min(BLOCK_ROWS, max(FEWEST_ROWS, BLOCK // max(1, job.n)))
    job.blocks = (job.rows + job.block - 1) // job.block
    sums = np.empty((job.blocks, 2, job.n), x.dtype)
    total = sums[0] if job.blocks == 1 else np.zeros((2, job.n), x.dtype)
    job.x, job.kept, job.weight = data(x), data(kept), data(weight)
    job.dy, job.dx, job.sums = data(dy), data(dx), data(sums)
    cdef int threads = threads_for(x.size)
    cdef char* whole = data(total)
    with nogil:
        parallel(run_backward, &job, threads)
        if job.blocks > 1:
            job.ops.column_sums(job.blocks, 2 * job.n, job.sums, 2 * job.n, whole)
    return dx, total[0], total[1]
