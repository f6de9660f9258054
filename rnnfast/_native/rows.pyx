"""Sequences sorted by length, and the way between a user's arrays and compact buffers.

Rows are sorted by length, longest first, so that the rows alive at step t are the first n[t]; in compact buffers row
(t, j) stands at off[t] + j, and a finished row costs nothing. A direction runs through its own steps 0..T-1; for the
reverse one, step s of row j is time length_j - 1 - s, so that an address is always base + start[j] + s * step.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from rnnfast._native.kernels cimport alloc, release

cnp.import_array()


cdef void read_row(char* to, const char* source, Py_ssize_t n, Py_ssize_t stride, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    if stride == size:
        memcpy(to, source, n * size)
    elif size == 4:
        for i in range(n):
            (<float*> to)[i] = (<const float*> (source + i * stride))[0]
    else:
        for i in range(n):
            (<double*> to)[i] = (<const double*> (source + i * stride))[0]


cdef void write_row(char* to, const char* source, Py_ssize_t n, Py_ssize_t stride, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    if stride == size:
        memcpy(to, source, n * size)
    elif size == 4:
        for i in range(n):
            (<float*> (to + i * stride))[0] = (<const float*> source)[i]
    else:
        for i in range(n):
            (<double*> (to + i * stride))[0] = (<const double*> source)[i]


cdef void zero_row(char* to, Py_ssize_t n, Py_ssize_t stride, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    if stride == size:
        memset(to, 0, n * size)
    else:
        for i in range(n):
            memset(to + i * stride, 0, size)


cdef bint is_array(object array, Py_ssize_t ndim, int typenum):
    """Return whether it is a plain array of that many dimensions and that type."""
    return (cnp.PyArray_CheckExact(array) and cnp.PyArray_NDIM(<cnp.ndarray> array) == ndim
            and cnp.PyArray_TYPE(<cnp.ndarray> array) == typenum and cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray> array))


cdef bint has_shape(object array, int typenum, Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t n2):
    """Return whether it is a plain array (n0, n1, n2) of that type."""
    return (is_array(array, 3, typenum) and cnp.PyArray_DIM(<cnp.ndarray> array, 0) == n0
            and cnp.PyArray_DIM(<cnp.ndarray> array, 1) == n1 and cnp.PyArray_DIM(<cnp.ndarray> array, 2) == n2)


cdef class Lengths:
    """Rows sorted by length: which are alive at each step and where they stand in compact buffers."""

    cdef int set(self, Py_ssize_t batch, Py_ssize_t steps, lengths) except -1:
        cdef Py_ssize_t t, j
        cdef Py_ssize_t[::1] sorted_lengths
        self.B = batch
        self.uniform = lengths is None
        self.T = steps if lengths is None else max(<Py_ssize_t> lengths.max(), 0) if batch else 0
        self.n = self.few
        if self.T > FEW:
            self.n = <Py_ssize_t*> alloc((2 * self.T + 1) * sizeof(Py_ssize_t))
            if self.n == NULL:
                raise MemoryError
        self.off = self.n + self.T
        if self.uniform:
            for t in range(self.T):
                self.n[t] = batch
        else:
            self.order = np.argsort(-lengths, kind="stable")
            self.lengths = np.ascontiguousarray(lengths[self.order], dtype=np.intp)
            sorted_lengths = self.lengths
            j = batch
            for t in range(self.T):
                while j > 0 and sorted_lengths[j - 1] <= t:
                    j -= 1
                self.n[t] = j
        self.off[0] = 0
        for t in range(self.T):
            self.off[t + 1] = self.off[t] + self.n[t]
        self.R = self.off[self.T]
        return 0

    def __dealloc__(self):
        if self.n != self.few:
            release(self.n)
        release(self.before)

    cdef int make_before(self) except -1:
        """List the state row that precedes each compact row, where these are not simply the same rows."""
        cdef Py_ssize_t t, j
        if self.uniform or self.before != NULL:
            return 0
        self.before = <Py_ssize_t*> alloc(self.R * sizeof(Py_ssize_t))
        if self.before == NULL:
            raise MemoryError
        for t in range(self.T):
            for j in range(self.n[t]):
                self.before[self.off[t] + j] = j if t == 0 else self.B + self.off[t - 1] + j
        return 0

    cdef int set_rows(self, Rows* rows, cnp.ndarray array, bint reverse) except -1:
        """Point `rows` at a user's array (N, T, C); the caller calls `release_rows` in the end."""
        cdef Py_ssize_t j
        cdef Py_ssize_t row_stride = cnp.PyArray_STRIDE(array, 0), step = cnp.PyArray_STRIDE(array, 1)
        cdef const Py_ssize_t[::1] order
        cdef const Py_ssize_t[::1] lengths
        rows.base = cnp.PyArray_BYTES(array)
        rows.stride = cnp.PyArray_STRIDE(array, 2)
        rows.count = cnp.PyArray_DIM(array, 2)
        rows.step = -step if reverse else step
        rows.start = rows.few
        if self.B > FEW:
            rows.start = <Py_ssize_t*> alloc(self.B * sizeof(Py_ssize_t))
            if rows.start == NULL:
                raise MemoryError
        if self.uniform:
            for j in range(self.B):
                rows.start[j] = j * row_stride + (step * (self.T - 1) if reverse and self.T else 0)
        else:
            order, lengths = self.order, self.lengths
            for j in range(self.B):
                rows.start[j] = order[j] * row_stride + (step * (lengths[j] - 1) if reverse else 0)
        return 0

    cdef Py_ssize_t linear(self, const Rows* rows, Py_ssize_t size) noexcept nogil:
        """Return the distance in elements between compact rows if all of them are equally far apart, else 0."""
        cdef Py_ssize_t distance, j
        if rows.stride != size and rows.count > 1 or not self.uniform or self.R == 0:
            return 0
        if self.B == 1:
            distance = rows.step if self.T > 1 else rows.count * size
        else:
            distance = rows.start[1] - rows.start[0]
            if self.T > 1 and rows.step != self.B * distance:
                return 0
        return distance // size if distance % size == 0 else 0

    cdef int zero_tails(self, cnp.ndarray array) except -1:
        """Put zeros behind the end of every sequence of a user's array (N, T, C)."""
        cdef Py_ssize_t j, t
        cdef Py_ssize_t steps = cnp.PyArray_DIM(array, 1), size = cnp.PyArray_ITEMSIZE(array)
        cdef Py_ssize_t row_stride = cnp.PyArray_STRIDE(array, 0), step = cnp.PyArray_STRIDE(array, 1)
        cdef Py_ssize_t stride = cnp.PyArray_STRIDE(array, 2), count = cnp.PyArray_DIM(array, 2)
        cdef char* address = cnp.PyArray_BYTES(array)
        cdef const Py_ssize_t[::1] order
        cdef const Py_ssize_t[::1] lengths
        if self.uniform:
            return 0
        order, lengths = self.order, self.lengths
        with nogil:
            for j in range(self.B):
                for t in range(lengths[j], steps):
                    zero_row(address + order[j] * row_stride + t * step, count, stride, size)
        return 0


cdef void release_rows(Rows* rows) noexcept nogil:
    """Free what `Lengths.set_rows` has asked for."""
    if rows.start != rows.few:
        release(rows.start)
    rows.start = NULL


cdef Lengths make_lengths(Py_ssize_t batch, Py_ssize_t steps, object lengths):
    """Sort so many rows by their lengths (N,) of at most `steps`; None: all have that one."""
    cdef Lengths rows = Lengths.__new__(Lengths)
    rows.set(batch, steps, lengths)
    return rows


cdef int load_state(Lengths rows, cnp.ndarray state, char* to, Py_ssize_t ld, Py_ssize_t size) except -1:
    """Copy a state (N, H) into sorted, padded rows; None: zeros."""
    cdef Py_ssize_t hidden, row_stride, stride, j, user
    cdef char* address
    cdef const Py_ssize_t[::1] order
    if state is None:
        memset(to, 0, rows.B * ld * size)
        return 0
    hidden, row_stride = cnp.PyArray_DIM(state, 1), cnp.PyArray_STRIDE(state, 0)
    stride, address = cnp.PyArray_STRIDE(state, 1), cnp.PyArray_BYTES(state)
    if not rows.uniform:
        order = rows.order
    for j in range(rows.B):
        user = j if rows.uniform else order[j]
        read_row(to, address + user * row_stride, hidden, stride, size)
        memset(to + hidden * size, 0, (ld - hidden) * size)
        to += ld * size
    return 0


cdef object store_state(Lengths rows, const char* source, Py_ssize_t ld, Py_ssize_t hidden, Py_ssize_t size, int ndim):
    """Return sorted rows as a new state (N, H) in the user's order, or (1, N, H) of 3 dimensions."""
    cdef cnp.npy_intp shape[3]
    cdef Py_ssize_t j, user
    cdef const Py_ssize_t[::1] order
    shape[0], shape[1], shape[2] = 1, rows.B, hidden
    state = cnp.PyArray_EMPTY(ndim, shape + 3 - ndim, typenum_of(size), 0)
    cdef char* address = cnp.PyArray_BYTES(<cnp.ndarray> state)
    if not rows.uniform:
        order = rows.order
    for j in range(rows.B):
        user = j if rows.uniform else order[j]
        memcpy(address + user * hidden * size, source + j * ld * size, hidden * size)
    return state


# Some rows of a buffer, by their numbers


cdef void collect(char* to, const char* source, const int64_t* rows, Py_ssize_t n, Py_ssize_t line) noexcept nogil:
    """Copy n rows of `line` bytes, wherever they stand, side by side."""
    cdef Py_ssize_t k
    for k in range(n):
        memcpy(to + k * line, source + rows[k] * line, line)


cdef void distribute(char* to, const char* source, const int64_t* rows, Py_ssize_t n, Py_ssize_t line) noexcept nogil:
    """Copy them back."""
    cdef Py_ssize_t k
    for k in range(n):
        memcpy(to + rows[k] * line, source + k * line, line)


cdef object store_rows(const Py_ssize_t[::1] rows, const char* source, Py_ssize_t ld, Py_ssize_t hidden,
                       Py_ssize_t size):
    """Return some padded rows as a new state (rows, H)."""
    cdef cnp.npy_intp shape[2]
    cdef Py_ssize_t k
    shape[0], shape[1] = rows.shape[0], hidden
    state = cnp.PyArray_EMPTY(2, shape, typenum_of(size), 0)
    cdef char* to = cnp.PyArray_BYTES(<cnp.ndarray> state)
    for k in range(rows.shape[0]):
        memcpy(to + k * hidden * size, source + rows[k] * ld * size, hidden * size)
    return state


cdef int load_rows(const Py_ssize_t[::1] rows, cnp.ndarray state, char* to, Py_ssize_t ld) except -1:
    """Copy a state (rows, H) of any strides into some padded rows."""
    cdef Py_ssize_t hidden = cnp.PyArray_DIM(state, 1), size = cnp.PyArray_ITEMSIZE(state), k
    cdef char* line
    for k in range(rows.shape[0]):
        line = to + rows[k] * ld * size
        read_row(line, cnp.PyArray_BYTES(state) + k * cnp.PyArray_STRIDE(state, 0), hidden,
                 cnp.PyArray_STRIDE(state, 1), size)
        memset(line + hidden * size, 0, (ld - hidden) * size)
    return 0
