"""Linear-chain conditional random fields; equations and arguments are in `rnnfast.reference.crf`.

Sequences are shared out to threads one by one. The share of transitions is kept by sequence and summed in their order,
so that the number of threads changes no bit.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t

from rnnfast._native.kernels cimport alloc, ops, parallel, release, rf_ops
from rnnfast.threads import get_num_threads

cnp.import_array()

cdef enum:
    GRAIN = 32768  # elements below which a second thread is not worth waking


ctypedef struct Job:
    const rf_ops* ops
    Py_ssize_t batch, steps, tags
    const double* x
    const double* m
    const double* start
    const double* end
    const double* forth
    const double* back
    double level
    const int64_t* lengths
    double* found           # (N)
    double* share           # (N, T, K), NULL: not wanted
    double* pairs           # (N, K, K)
    int64_t* path           # (N, T)
    char* scratch
    Py_ssize_t block


cdef inline const double* floats(cnp.ndarray array) noexcept:
    return <const double*> cnp.PyArray_DATA(array)


cdef void run_sums(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t n = thread, K = job.tags
    cdef double* scratch = <double*> (job.scratch + thread * job.block)
    while n < job.batch:
        if job.lengths[n] > 0:
            job.found[n] = job.ops.crf_paths(
                job.lengths[n], K, job.x + n * job.steps * K, job.m, job.start, job.end, job.forth, job.back, job.level,
                NULL if job.share == NULL else job.share + n * job.steps * K,
                NULL if job.share == NULL else job.pairs + n * K * K, scratch)
        n += threads


cdef void run_best(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t n = thread, K = job.tags, t, i, j, at
    cdef double* now = <double*> (job.scratch + thread * job.block)
    cdef double* next = now + K
    cdef int32_t* came = <int32_t*> (next + K)
    cdef const double* x
    cdef int64_t* path
    cdef double best, value
    while n < job.batch:
        x, path = job.x + n * job.steps * K, job.path + n * job.steps
        if job.lengths[n] > 0:
            for j in range(K):
                now[j] = job.start[j] + x[j]
            for t in range(1, job.lengths[n]):
                for j in range(K):
                    best, at = now[0] + job.m[j], 0
                    for i in range(1, K):
                        value = now[i] + job.m[i * K + j]
                        if value > best:
                            best, at = value, i
                    next[j] = best + x[t * K + j]
                    came[t * K + j] = <int32_t> at
                now, next = next, now
            best, at = now[0] + job.end[0], 0
            for j in range(1, K):
                if now[j] + job.end[j] > best:
                    best, at = now[j] + job.end[j], j
            job.found[n] = best
            for t in range(job.lengths[n] - 1, -1, -1):
                path[t] = at
                if t:
                    at = came[t * K + at]
        n += threads


cdef object run_all(Job* job, void (*task)(void*, int, int) noexcept nogil, Py_ssize_t bytes_each):
    """Run a task over all sequences, with a block of scratch for each thread."""
    cdef Py_ssize_t n, work = 0
    for n in range(job.batch):
        work += job.lengths[n] * job.tags * (8 + job.tags)
    cdef int threads = 1
    if work >= 2 * GRAIN:
        threads = min(<int> get_num_threads(), <int> min(work // GRAIN, job.batch))
    job.block = (bytes_each + 63) // 64 * 64
    job.scratch = <char*> alloc(max(1, job.block * threads))
    if job.scratch == NULL:
        raise MemoryError
    try:
        with nogil:
            parallel(task, job, threads)
    finally:
        release(job.scratch)


cdef Py_ssize_t prepare(Job* job, x, lengths, transitions, start, end) except -1:
    """Fill in what both tasks need and return the longest length."""
    job.ops = ops(8)
    job.batch, job.steps, job.tags = x.shape
    job.x, job.m = floats(x), floats(transitions)
    job.start, job.end = floats(start), floats(end)
    job.lengths = <const int64_t*> cnp.PyArray_DATA(lengths)
    return int(lengths.max()) if len(lengths) else 0


def sums(x, lengths, transitions, start, end, bint gradient):
    lengths = np.ascontiguousarray(lengths, np.int64)
    x, transitions, start, end = (np.ascontiguousarray(a, np.float64) for a in (x, transitions, start, end))
    cdef Job job
    cdef Py_ssize_t longest = prepare(&job, x, lengths, transitions, start, end), K = job.tags
    cdef Py_ssize_t ld = (K + job.ops.width - 1) // job.ops.width * job.ops.width
    top = transitions.max()
    job.level = top if np.isfinite(top) else 0.0
    packed = np.zeros((2, K, ld))
    with np.errstate(all="ignore"):
        packed[0, :, :K] = np.exp(transitions - job.level)
    packed[1, :, :K] = packed[0, :, :K].T
    job.forth = floats(packed)
    job.back = job.forth + K * ld
    found, share, pairs = np.zeros(len(x)), None, None
    job.found, job.share, job.pairs = <double*> floats(found), NULL, NULL
    if gradient:
        share, pairs = np.zeros(x.shape), np.zeros((len(x), K, K))
        job.share, job.pairs = <double*> floats(share), <double*> floats(pairs)
    run_all(&job, run_sums, job.ops.crf_scratch(longest, K, gradient) * sizeof(double))
    return found, share, pairs


def best(x, lengths, transitions, start, end):
    lengths = np.ascontiguousarray(lengths, np.int64)
    x, transitions, start, end = (np.ascontiguousarray(a, np.float64) for a in (x, transitions, start, end))
    cdef Job job
    cdef Py_ssize_t longest = prepare(&job, x, lengths, transitions, start, end)
    found, path = np.zeros(len(x)), np.zeros(x.shape[:2], np.int64)
    job.found, job.path = <double*> floats(found), <int64_t*> cnp.PyArray_DATA(path)
    run_all(&job, run_best, 2 * job.tags * sizeof(double) + longest * job.tags * sizeof(int32_t))
    return path, found
