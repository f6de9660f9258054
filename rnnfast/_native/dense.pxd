cimport numpy as cnp

from rnnfast._native.kernels cimport rf_ops, rf_outer, rf_product


cdef class Panels:
    cdef const rf_ops* ops
    cdef cnp.ndarray weight
    cdef Py_ssize_t* rows     # (N padded,) rows of the weight, -1 for padding
    cdef char* data[2]
    cdef rf_product product[2]

    cdef int make(self, int backward) except -1


ctypedef struct Work:
    const rf_ops* ops
    Py_ssize_t rows
    rf_product* product
    const char* a
    const char* init
    char* c
    rf_outer* outer
    char* scratch
    Py_ssize_t scratch_size
    const char* dy
    Py_ssize_t outputs, ld_dy
    char* db
    Py_ssize_t row0, row1     # what one piece goes through


cdef void task(void* context, int thread, int threads) noexcept nogil
cdef Panels panels_for(object weight, dict cache, const rf_ops* table)
