cimport numpy as cnp
from cython cimport floating

from rnnfast._native.kernels cimport rf_cell, rf_ops, rf_product, rf_runs


cdef class Packed:
    cdef const rf_ops* ops
    cdef const rf_cell* cell
    cdef readonly Py_ssize_t inputs, hidden, panels, width, slots, itemsize
    cdef readonly Py_ssize_t outputs, ld_h  # features of h (hidden but for a projection), and those of its padded rows
    cdef readonly bint has_bias
    cdef object w_ih, w_hh, w_hr
    cdef dict shapes              # of the weights that there are, by kind
    cdef list kinds               # of the vectors: kind of weight and which block of it
    cdef Py_ssize_t* x_rows       # (panels*x_slots*width,) rows of w_ih by gate-buffer column; -1 is padding
    cdef Py_ssize_t* h_rows[2]    # the same for w_hh, by phase
    cdef Py_ssize_t* p_rows       # (ld_h,) the same for w_hr
    cdef Py_ssize_t* dense[4]     # all of these without the padding
    cdef char* bias               # (panels, slots, width) what the pre-activations start from
    cdef char* vectors            # (len(kinds), panels*width) vectors of options
    cdef char* forward_data[4]    # packed input weights, recurrent weights by phase; the last: of a projection
    cdef char* backward_data[4]   # the same, transposed; NULL until first asked for
    cdef rf_product forward[4]    # products that read them; lda, ldc, ld_init are the caller's to set
    cdef rf_product backward[4]
    cdef Py_ssize_t turn          # steps taken with it, or about so many: two calls at a time may count as one

    cdef Py_ssize_t columns(self, int which) noexcept nogil
    cdef int first(self, int which) noexcept nogil
    cdef int count(self, int which) noexcept nogil
    cdef Py_ssize_t* rows(self, int which) noexcept nogil
    cdef Py_ssize_t depth(self, int which) noexcept nogil
    cdef rf_runs gates(self, int which) noexcept nogil
    cdef int make_dense(self, int which) except -1
    cdef int make_bias(self, b_ih, b_hh) except -1
    cdef void add_bias(self, int which, const floating* values, floating* table) noexcept nogil
    cdef bint projects(self) noexcept nogil
    cdef cnp.ndarray weight(self, int which)
    cdef void narrow(self, rf_product* s, int which) noexcept nogil
    cdef int make_backward(self) except -1
    cdef int pack_backward(self) except -1


cdef enum:
    PROJECTION = 3


cdef Packed packed_weights(str cell, object weights)
