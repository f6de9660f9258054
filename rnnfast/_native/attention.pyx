"""Scores of additive attention and their gradients; equations and arguments are in `rnnfast.reference.attention`.

Sequences are shared out to threads whole, and each has its own sum for the gradient of v, so that the number of threads
changes no bit. Long calls go through their sequences in pieces and look at signals in between.
"""

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t

from rnnfast._native.kernels cimport ops, parallel, rf_ops
from rnnfast.threads import get_num_threads

cnp.import_array()

cdef enum:
    GRAIN = 4096  # sums under a tanh below which a second thread is not worth waking
    PIECE = 100_000_000  # of them between two looks at signals: some 50 ms


ctypedef struct Job:
    const rf_ops* ops
    Py_ssize_t first, count, queries, steps, n
    const int64_t* lengths
    const char* q
    const char* k
    const char* v
    char* scores
    char* dq
    char* dk
    char* dv


cdef inline char* data(cnp.ndarray array) noexcept:
    return <char*> cnp.PyArray_DATA(array)


cdef void task(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t r, t, size = job.ops.itemsize
    cdef Py_ssize_t n = job.n * size
    cdef const char* q
    cdef const char* k
    cdef char* scores
    for r in range(job.first + job.count * thread // threads, job.first + job.count * (thread + 1) // threads):
        k = job.k + r * job.steps * n
        for t in range(r * job.queries, (r + 1) * job.queries):
            q, scores = job.q + t * n, job.scores + t * job.steps * size
            if job.dq == NULL:
                job.ops.additive_scores(job.lengths[r], job.n, q, k, job.v, scores)
            else:
                job.ops.additive_gradients(job.lengths[r], job.n, q, k, job.v, scores, job.dq + t * n,
                                           job.dk + r * job.steps * n, job.dv + r * n)


cdef int run(Job* job, Py_ssize_t batch) except -1:
    cdef Py_ssize_t work = max(1, job.queries * job.steps * job.n)
    cdef Py_ssize_t piece = max(1, PIECE // work)
    cdef int threads
    job.first = 0
    while job.first < batch:
        job.count = min(piece, batch - job.first)
        threads = min(<int> get_num_threads(), <int> min(job.count, max(1, job.count * work // GRAIN), 64))
        with nogil:
            parallel(task, job, threads)
        job.first += job.count
        if job.first < batch:
            PyErr_CheckSignals()
    return 0


def additive_scores(query, keys, v, lengths):
    query, keys, v = np.ascontiguousarray(query), np.ascontiguousarray(keys), np.ascontiguousarray(v)
    batch, queries, _ = query.shape
    steps = keys.shape[1]
    lengths = np.full(batch, steps, np.int64) if lengths is None else np.ascontiguousarray(lengths, np.int64)
    scores = np.zeros((batch, queries, steps), query.dtype)
    cdef Job job
    job.ops = ops(query.itemsize)
    job.queries, job.steps, job.n = queries, steps, query.shape[2]
    job.lengths = <const int64_t*> data(lengths)
    job.q, job.k, job.v, job.scores = data(query), data(keys), data(v), data(scores)
    job.dq = job.dk = job.dv = NULL
    run(&job, batch)
    return scores


def additive_gradients(query, keys, v, lengths, dscores):
    query, keys, v = np.ascontiguousarray(query), np.ascontiguousarray(keys), np.ascontiguousarray(v)
    dscores = np.ascontiguousarray(dscores)
    batch, queries, units = query.shape
    steps = keys.shape[1]
    lengths = np.full(batch, steps, np.int64) if lengths is None else np.ascontiguousarray(lengths, np.int64)
    dquery, dkeys, dv = np.zeros_like(query), np.zeros_like(keys), np.zeros((batch, units), query.dtype)
    cdef Job job
    job.ops = ops(query.itemsize)
    job.queries, job.steps, job.n = queries, steps, units
    job.lengths = <const int64_t*> data(lengths)
    job.q, job.k, job.v, job.scores = data(query), data(keys), data(v), data(dscores)
    job.dq, job.dk, job.dv = data(dquery), data(dkeys), data(dv)
    run(&job, batch)
    return dquery, dkeys, dv.sum(axis=0)
