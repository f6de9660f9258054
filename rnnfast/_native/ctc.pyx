"""Connectionist temporal classification; equations and arguments are in `rnnfast.reference.ctc`.

Sequences are shared out to threads one by one and have nothing to do with each other, so that the number of threads
changes no bit. Each thread has one block of scratch, for the longest sequence.
"""

import numpy as np

cimport numpy as cnp
from libc.math cimport INFINITY, NAN, isfinite
from libc.stdint cimport int64_t
from libc.string cimport memset

from rnnfast._native.kernels cimport RF_CTC_NEVER, alloc, ops, parallel, release, rf_ops
from rnnfast.threads import get_num_threads

cnp.import_array()

cdef enum:
    GRAIN = 32768  # elements below which a second thread is not worth waking


ctypedef struct Job:
    const rf_ops* ops
    const rf_ops* paths        # the table of double
    Py_ssize_t batch, steps, n, blank
    const char* x
    const int64_t* lengths
    const int64_t* labels
    const int64_t* offsets
    const double* weights
    double* losses
    char* out                  # NULL: no gradient wanted
    char* scratch              # a block for each thread
    Py_ssize_t block           # bytes


cdef inline char* data(cnp.ndarray array) noexcept:
    return <char*> cnp.PyArray_DATA(array)


cdef inline Py_ssize_t padded(Py_ssize_t count, int width) noexcept nogil:
    """Return the states in a row: see csrc/ctc.inc.c."""
    return (count + 2 + width - 1) // width * width


cdef Py_ssize_t scratch_of(const rf_ops* paths, Py_ssize_t steps, Py_ssize_t count, bint gradient) noexcept nogil:
    """Return how many doubles one sequence needs: y, yb, skip, and those of the sums."""
    cdef Py_ssize_t ld = padded(count, paths.width)
    return steps * (ld + 1) + ld + paths.width + paths.ctc_scratch(steps, ld, gradient)


cdef void one(Job* job, Py_ssize_t row, double* scratch) noexcept nogil:
    cdef const rf_ops* table = job.ops
    cdef Py_ssize_t steps = job.lengths[row], first = job.offsets[row], count = job.offsets[row + 1] - first, k
    cdef Py_ssize_t ld = padded(count, job.paths.width), size = table.itemsize * job.n
    cdef const int64_t* labels = job.labels + first
    cdef char* dx = NULL if job.out == NULL else job.out + row * job.steps * size
    cdef double weight = job.weights[row], total
    cdef double* y = scratch
    cdef double* yb = y + steps * ld
    cdef double* skip = yb + steps
    job.losses[row] = 0
    if dx != NULL:
        memset(dx + steps * size, 0, (job.steps - steps) * size)
    if weight == 0:
        if dx != NULL:
            memset(dx, 0, steps * size)
        return
    if steps == 0:
        job.losses[row] = 0 if count == 0 else INFINITY
        return
    if not table.ctc_read(steps, job.n, job.x + row * job.steps * size, count, labels, job.blank, ld, y, yb, dx):
        job.losses[row] = NAN
    else:
        for k in range(ld + job.paths.width):
            skip[k] = 0 if 0 < k < count and labels[k] != labels[k - 1] else RF_CTC_NEVER
        total = job.paths.ctc_paths(steps, count, ld, y, yb, skip, dx != NULL, skip + ld + job.paths.width)
        job.losses[row] = -total
    if dx == NULL:
        return
    if isfinite(job.losses[row]):
        table.ctc_slope(steps, job.n, count, labels, job.blank, ld, y, yb, weight, dx)
    elif table.itemsize == 4:
        for k in range(steps * job.n):
            (<float*> dx)[k] = <float> NAN
    else:
        for k in range(steps * job.n):
            (<double*> dx)[k] = NAN


cdef void run(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t row = thread
    while row < job.batch:
        one(job, row, <double*> (job.scratch + thread * job.block))
        row += threads


def losses(x, lengths, labels, offsets, blank, weights, bint gradient):
    x = np.ascontiguousarray(x)
    lengths, labels, offsets = (np.ascontiguousarray(a, np.int64) for a in (lengths, labels, offsets))
    weights = np.ascontiguousarray(weights, np.float64)
    result = np.zeros(len(x))
    dx = np.empty_like(x) if gradient else None
    cdef Job job
    job.ops, job.paths = ops(x.itemsize), ops(8)
    job.batch, job.steps, job.n = x.shape
    job.blank = blank
    job.x, job.weights = data(x), <const double*> data(weights)
    job.lengths, job.labels = <const int64_t*> data(lengths), <const int64_t*> data(labels)
    job.offsets = <const int64_t*> data(offsets)
    job.losses = <double*> data(result)
    job.out = NULL if dx is None else data(dx)
    if not job.batch:
        return result, dx
    cdef Py_ssize_t row, count, most = 0, work = 0
    for row in range(job.batch):
        count = job.offsets[row + 1] - job.offsets[row]
        most = max(most, scratch_of(job.paths, job.lengths[row], count, gradient))
        work += job.lengths[row] * (4 * job.n + 16 * (count + 1))
    cdef int threads = 1
    if work >= 2 * GRAIN:
        threads = min(<int> get_num_threads(), <int> min(work // GRAIN, job.batch))
    job.block = (most * sizeof(double) + 63) // 64 * 64
    job.scratch = <char*> alloc(max(1, job.block * threads))
    if job.scratch == NULL:
        raise MemoryError
    try:
        with nogil:
            parallel(run, &job, threads)
    finally:
        release(job.scratch)
    return result, dx
