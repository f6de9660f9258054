cimport numpy as cnp

from rnnfast._native.kernels cimport rf_ops, rf_product, rf_scan_cell


cdef class ScanPacked:
    cdef const rf_ops* ops
    cdef const rf_scan_cell* cell
    cdef readonly Py_ssize_t inputs, hidden, panels, width, slots, columns, itemsize
    cdef readonly bint has_bias
    cdef readonly tuple biased    # which gates have a bias, in the order of b_ih
    cdef object w_ih
    cdef dict shapes              # of the weights that there are, by kind
    cdef Py_ssize_t* rows         # (P*S*W,) rows of w_ih by column of the gate buffer; -1 is padding
    cdef char* bias               # (P, S, W) what the pre-activations start from
    cdef char* vectors            # (P, V, W) weights of the state
    cdef rf_product product[2]    # forward and backward; lda, ldc, ld_init are the caller's to set

    cdef int list_columns(self) except -1
    cdef void copy_block(self, char* panels, Py_ssize_t count, Py_ssize_t place, char* units, bint back) noexcept
    cdef char* by_panels(self, Py_ssize_t count, values, tuple places) except NULL
    cdef cnp.ndarray from_panels(self, char* data, Py_ssize_t count, tuple places)
    cdef int make_product(self, int backward) except -1


cdef ScanPacked scan_packed(object weights)
