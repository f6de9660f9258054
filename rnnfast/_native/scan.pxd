cimport numpy as cnp

from rnnfast._native.scan_pack cimport ScanPacked
from rnnfast._native.scan_sweep cimport Job


cdef class Memory:
    cdef list blocks

    cdef char* take(self, Py_ssize_t size) except NULL


cdef class Saved:
    cdef Job job
    cdef ScanPacked packed
    cdef readonly object cell      # ScanSpec
    cdef Memory memory
    cdef list keep                 # arrays that the job points into
    cdef object valid              # (N, T) bool, or None where all steps are
    cdef cnp.ndarray table, index  # where the input was rows of a table
    cdef object past               # shape of the inputs before the first, or None
    cdef object window
    cdef bint reverse, used


cdef int set_job(Job* job, ScanPacked packed, Py_ssize_t batch, Py_ssize_t steps, object lengths, Saved saved) except -1
