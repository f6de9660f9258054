"""One level of many trees, the pointwise part; see rnnfast.reference.tree for what everything is."""

cimport numpy as cnp
from libc.string cimport memset

from rnnfast._native.kernels cimport ops, parallel, rf_ops, rf_tree
from rnnfast.threads import get_num_threads

cnp.import_array()


ctypedef struct Job:
    const rf_ops* ops
    rf_tree tree
    Py_ssize_t rows
    bint backward


cdef void task(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t row0 = job.rows * thread // threads, row1 = job.rows * (thread + 1) // threads
    if job.backward:
        job.ops.tree_backward(&job.tree, row0, row1)
    else:
        job.ops.tree_forward(&job.tree, row0, row1)


cdef int run(Job* job) except -1:
    cdef int threads = 1 if job.rows * job.tree.hidden < 20000 else get_num_threads()
    with nogil:
        parallel(task, job, threads)
    return 0


cdef char* at(cnp.ndarray array, Py_ssize_t row) noexcept:
    return <char*> cnp.PyArray_DATA(array) + row * cnp.PyArray_STRIDE(array, 0)


cdef void set_level(Job* job, cnp.ndarray first, cnp.ndarray child, cnp.ndarray slot, cnp.ndarray a, cnp.ndarray f,
                    cnp.ndarray c, Py_ssize_t row) noexcept:
    memset(job, 0, sizeof(Job))
    job.ops = ops(cnp.PyArray_ITEMSIZE(a))
    job.rows = cnp.PyArray_DIM(first, 0) - 1
    job.tree.hidden = cnp.PyArray_DIM(c, 1)
    job.tree.first = <const Py_ssize_t*> cnp.PyArray_DATA(first)
    job.tree.child = <const Py_ssize_t*> cnp.PyArray_DATA(child)
    job.tree.slot = <const Py_ssize_t*> cnp.PyArray_DATA(slot)
    job.tree.a, job.tree.f = at(a, row), at(f, 0)
    job.tree.c, job.tree.c_all = at(c, row), at(c, 0)


def level_forward(cnp.ndarray first, cnp.ndarray child, cnp.ndarray slot, cnp.ndarray a, g, cnp.ndarray f, cnp.ndarray h,
                  cnp.ndarray c, Py_ssize_t row) -> None:
    cdef Job job
    set_level(&job, first, child, slot, a, f, c, row)
    job.tree.g = NULL if g is None else at(g, 0)
    job.tree.h = at(h, row)
    run(&job)


def level_backward(cnp.ndarray first, cnp.ndarray child, cnp.ndarray slot, cnp.ndarray a, cnp.ndarray f, cnp.ndarray c,
                   cnp.ndarray dh, cnp.ndarray dc, Py_ssize_t row) -> None:
    cdef Job job
    set_level(&job, first, child, slot, a, f, c, row)
    job.backward = True
    job.tree.dh, job.tree.dc, job.tree.dc_all = at(dh, row), at(dc, row), at(dc, 0)
    run(&job)
