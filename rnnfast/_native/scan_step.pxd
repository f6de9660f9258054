from libc.stdint cimport int64_t

cimport numpy as cnp

from rnnfast._native.scan cimport Memory
from rnnfast._native.scan_pack cimport ScanPacked
from rnnfast._native.scan_sweep cimport Job


cdef class ScanStep:
    cdef Job job
    cdef ScanPacked packed
    cdef Memory memory
    cdef cnp.ndarray first, states, window
    cdef readonly Py_ssize_t inputs   # features of a step; the product reads those of the whole window
    cdef readonly double work         # operations of a step of all rows
    cdef Py_ssize_t batch
    cdef int most
    cdef tuple past                   # shape of the inputs before a step, or None

    cdef int threads(self) except -1
    cdef Py_ssize_t part_size(self) noexcept


cdef void scan_step(Job* job, Py_ssize_t inputs, int threads, const char* x, char* y) noexcept nogil
cdef void scan_step_in(Job* job, Py_ssize_t inputs, int threads, const int64_t* rows, char* part, const char* x,
                       char* y) noexcept nogil
