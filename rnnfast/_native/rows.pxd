from libc.stdint cimport int64_t

cimport numpy as cnp

from rnnfast._native.kernels cimport rf_want


cdef enum:
    FEW = 8  # rows, or steps, for which no memory is asked


ctypedef struct Rows:
    # where the rows of an array (N, T, C) of the user's stand: base + start[j] + step * t, elements `stride` bytes apart
    char* base
    Py_ssize_t* start
    Py_ssize_t step
    Py_ssize_t stride
    Py_ssize_t count     # C
    Py_ssize_t few[FEW]  # what start points to where there are no more: a struct that is used is not copied

cdef inline int typenum_of(Py_ssize_t size) noexcept nogil:
    """Return NumPy's number of the floating-point type of that many bytes."""
    return cnp.NPY_FLOAT32 if size == 4 else cnp.NPY_FLOAT64


cdef inline char* row_at(const Rows* rows, Py_ssize_t t, Py_ssize_t j) noexcept nogil:
    return rows.base + rows.start[j] + rows.step * t

cdef inline void want_row(const char* at, Py_ssize_t n, const Rows* rows, Py_ssize_t size) noexcept nogil:
    """Ask for n elements of a row before they are wanted, if they lie together."""
    if rows.stride == size:
        rf_want(at, n * size)

cdef inline Py_ssize_t index_at(const Rows* rows, Py_ssize_t t, Py_ssize_t j) noexcept nogil:
    return <Py_ssize_t> (<const long long*> row_at(rows, t, j))[0]


cdef void read_row(char* to, const char* source, Py_ssize_t n, Py_ssize_t stride, Py_ssize_t size) noexcept nogil
cdef void write_row(char* to, const char* source, Py_ssize_t n, Py_ssize_t stride, Py_ssize_t size) noexcept nogil


cdef class Lengths:
    cdef Py_ssize_t T, B, R
    cdef bint uniform
    cdef object order, lengths   # (B,) the user's row of each sorted row, and its length
    cdef Py_ssize_t* n
    cdef Py_ssize_t* off
    cdef Py_ssize_t* before
    cdef Py_ssize_t few[2 * FEW + 1]  # what n and off point to where there are no more steps

    cdef int set(self, Py_ssize_t batch, Py_ssize_t steps, lengths) except -1
    cdef int make_before(self) except -1
    cdef int set_rows(self, Rows* rows, cnp.ndarray array, bint reverse) except -1
    cdef Py_ssize_t linear(self, const Rows* rows, Py_ssize_t size) noexcept nogil
    cdef int zero_tails(self, cnp.ndarray array) except -1


cdef void release_rows(Rows* rows) noexcept nogil
cdef Lengths make_lengths(Py_ssize_t batch, Py_ssize_t steps, object lengths)
cdef int load_state(Lengths rows, cnp.ndarray state, char* to, Py_ssize_t ld, Py_ssize_t size) except -1
cdef bint is_array(object array, Py_ssize_t ndim, int typenum)
cdef bint has_shape(object array, int typenum, Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t n2)
cdef object store_state(Lengths rows, const char* source, Py_ssize_t ld, Py_ssize_t hidden, Py_ssize_t size,
                        int ndim)
cdef void collect(char* to, const char* source, const int64_t* rows, Py_ssize_t n, Py_ssize_t line) noexcept nogil
cdef void distribute(char* to, const char* source, const int64_t* rows, Py_ssize_t n, Py_ssize_t line) noexcept nogil
cdef object store_rows(const Py_ssize_t[::1] rows, const char* source, Py_ssize_t ld, Py_ssize_t hidden,
                       Py_ssize_t size)
cdef int load_rows(const Py_ssize_t[::1] rows, cnp.ndarray state, char* to, Py_ssize_t ld) except -1
