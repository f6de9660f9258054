"""Dropout, losses over rows, embedding gradients and pooling; equations and arguments are in `rnnfast.reference.ops`.

Arrays become C-contiguous here if they are not. Work is shared out by rows or columns that have nothing to do with each
other, so that the number of threads changes no bit. Subnormal results become 0.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from rnnfast._native.kernels cimport ops, parallel, rf_ops
from rnnfast.threads import get_num_threads

cnp.import_array()

cdef enum:
    GRAIN = 32768  # elements below which a second thread is not worth waking


ctypedef struct Job:
    const rf_ops* ops
    Py_ssize_t rows, n, steps
    const char* x
    const char* targets
    char* weights        # NULL: ones
    const int64_t* indices
    double scale, smoothing
    double* losses
    char* out            # NULL: no gradient wanted
    int32_t* at
    uint64_t start, seed
    uint32_t threshold


cdef inline char* data(cnp.ndarray array) noexcept:
    return <char*> cnp.PyArray_DATA(array)


cdef int threads_for(Py_ssize_t elements) except -1:
    if elements < 2 * GRAIN:
        return 1
    return min(<int> get_num_threads(), <int> min(elements // GRAIN, 64))


cdef void share(Py_ssize_t total, Py_ssize_t grain, int thread, int threads, Py_ssize_t* first,
                Py_ssize_t* count) noexcept nogil:
    """Return this thread's part of `total`, cut at multiples of `grain`."""
    cdef Py_ssize_t grains = (total + grain - 1) // grain
    first[0] = min(total, grains * thread // threads * grain)
    count[0] = min(total, grains * (thread + 1) // threads * grain) - first[0]


cdef void run_dropout(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t first, count
    cdef int size = job.ops.itemsize
    share(job.n, 1024, thread, threads, &first, &count)
    job.ops.dropout(count, job.start + <uint64_t> first, job.x + first * size, job.out + first * size, job.scale,
                    job.threshold, job.seed)


def dropout(x, double p, seed, start=0):
    x = np.ascontiguousarray(x)
    out = np.empty_like(x)
    cdef Job job
    job.ops = ops(x.itemsize)
    job.n = x.size
    job.x, job.out = data(x), data(out)
    job.scale = 1.0 / (1.0 - p)
    job.threshold = <uint32_t> min(4294967295, int(p * 4294967296.0))
    job.seed, job.start = seed, start
    cdef int threads = threads_for(job.n)
    with nogil:
        parallel(run_dropout, &job, threads)
    return out


cdef void run_softmax(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t first, count
    cdef int size = job.ops.itemsize
    share(job.rows, 1, thread, threads, &first, &count)
    job.ops.softmax_xent(
        count, job.n, job.x + first * job.n * size, job.indices + first,
        NULL if job.weights == NULL else job.weights + first * size, job.scale, job.smoothing, job.losses + first,
        NULL if job.out == NULL else job.out + first * job.n * size)


cdef void run_sigmoid(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t first, count
    cdef int size = job.ops.itemsize
    share(job.rows, 1, thread, threads, &first, &count)
    job.ops.sigmoid_xent(
        count, job.n, job.x + first * job.n * size, job.targets + first * job.n * size,
        NULL if job.weights == NULL else job.weights + first * size, job.scale, job.losses + first,
        NULL if job.out == NULL else job.out + first * job.n * size)


def softmax_cross_entropy(x, targets, weights, double scale, double smoothing, bint gradient):
    x, targets = np.ascontiguousarray(x), np.ascontiguousarray(targets)
    cdef Job job
    job.indices = <const int64_t*> data(targets)
    job.smoothing = smoothing
    return run_loss(&job, run_softmax, x, weights, scale, gradient)


def sigmoid_cross_entropy(x, targets, weights, double scale, bint gradient):
    x, targets = np.ascontiguousarray(x), np.ascontiguousarray(targets)
    cdef Job job
    job.targets = data(targets)
    return run_loss(&job, run_sigmoid, x, weights, scale, gradient)


cdef object run_loss(Job* job, void (*task)(void*, int, int) noexcept nogil, x, weights, double scale, bint gradient):
    losses = np.empty(x.shape[0])
    dx = np.empty_like(x) if gradient else None
    if weights is not None:
        weights = np.ascontiguousarray(weights)
    job.ops = ops(x.itemsize)
    job.rows, job.n = x.shape
    job.x = data(x)
    job.weights = NULL if weights is None else data(weights)
    job.scale = scale
    job.losses = <double*> data(losses)
    job.out = NULL if dx is None else data(dx)
    cdef int threads = threads_for(4 * x.size)  # an exponential costs about four plain elements
    with nogil:
        parallel(task, job, threads)
    return losses, dx


cdef void run_scatter(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t first, count
    cdef int size = job.ops.itemsize
    share(job.n, 16, thread, threads, &first, &count)
    job.ops.scatter_add(job.rows, count, job.n, job.indices, job.x + first * size, job.out + first * size)


def scatter_add(out, rows, values):
    if not out.flags.c_contiguous:  # a caller's own buffer may be any view
        whole = np.ascontiguousarray(out)
        scatter_add(whole, rows, values)
        out[...] = whole
        return
    rows, values = np.ascontiguousarray(rows), np.ascontiguousarray(values)
    cdef Job job
    job.ops = ops(out.itemsize)
    job.rows, job.n = values.shape
    job.indices = <const int64_t*> data(rows)
    job.x, job.out = data(values), data(out)
    cdef int threads = threads_for(values.size)
    with nogil:
        parallel(run_scatter, &job, threads)


cdef void run_max(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t first, count, r
    cdef int size = job.ops.itemsize
    share(job.rows, 1, thread, threads, &first, &count)
    for r in range(first, first + count):
        if job.indices[r] > 0:
            job.ops.max_steps(job.indices[r], job.n, job.x + r * job.steps * job.n * size, job.out + r * job.n * size,
                              job.at + r * job.n)


def max_pool(x, lengths):
    x = np.ascontiguousarray(x)
    batch, steps, columns = x.shape
    lengths = np.full(batch, steps, np.int64) if lengths is None else np.ascontiguousarray(lengths)
    y, at = np.zeros((batch, columns), x.dtype), np.full((batch, columns), -1, np.int32)
    cdef Job job
    job.ops = ops(x.itemsize)
    job.rows, job.steps, job.n = batch, steps, columns
    job.indices = <const int64_t*> data(lengths)
    job.x, job.out, job.at = data(x), data(y), <int32_t*> data(at)
    cdef int threads = threads_for(x.size)
    with nogil:
        parallel(run_max, &job, threads)
    return y, at


cdef void run_tanh(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t first, count
    share(job.n, 1024, thread, threads, &first, &count)
    cdef char* part = job.out + first * job.ops.itemsize
    job.ops.tanh(count, part, part)


cdef void run_logistic(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t first, count
    share(job.n, 1024, thread, threads, &first, &count)
    cdef char* part = job.out + first * job.ops.itemsize
    job.ops.sigmoid(count, part, part)


def activate(str name, x):
    cdef Job job
    job.ops = ops(x.itemsize)
    job.n = x.size
    job.out = data(x)
    cdef int threads = threads_for(2 * job.n)
    if name == "tanh":
        with nogil:
            parallel(run_tanh, &job, threads)
    else:
        with nogil:
            parallel(run_logistic, &job, threads)
