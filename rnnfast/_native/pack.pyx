"""Weights of one direction of one layer, packed for the instruction set in force and kept until they change.

Which = 0 stands for the input weights, 1 and 2 for the recurrent weights of the cell's first and second phase.
"""

from threading import Lock

import numpy as np

from libc.string cimport memset

from rnnfast._native.kernels cimport alloc, ops, release, rf_cell, rf_ops, rf_product


cdef const rf_cell* find_cell(const rf_ops* table, str name) except NULL:
    key = name.encode()
    cdef const char* wanted = key
    cdef int i = 0
    cdef bytes found
    while table.cells[i] != NULL:
        found = table.cells[i].name
        if found == key:
            return table.cells[i]
        i += 1
    raise ValueError(f"no native cell named {name!r}")


cdef void panels_of(rf_product* s, Py_ssize_t columns, Py_ssize_t width, int vectors, Py_ssize_t stride) noexcept nogil:
    """Cut `columns` into panels of `vectors` vectors, `stride` columns apart in a row of C."""
    cdef Py_ssize_t wide = vectors * width
    cdef Py_ssize_t rest
    s.panels = (columns + wide - 1) // wide
    s.panel_stride = stride
    s.vectors = vectors
    rest = columns - (s.panels - 1) * wide
    s.last = <int> ((rest + width - 1) // width)
    s.tail = <int> (rest - (s.last - 1) * width)


cdef class Packed:
    """One direction's weights as panels."""

    def __cinit__(self):
        memset(self.forward_data, 0, sizeof(self.forward_data))
        memset(self.backward_data, 0, sizeof(self.backward_data))
        self.x_rows = NULL
        self.h_rows[0] = self.h_rows[1] = NULL
        self.bias = NULL

    def __init__(self, str cell, w_ih, w_hh, b_ih, b_hh):
        # w_ih (G*H, I), w_hh (G*H, H), b_ih and b_hh (G*H,) or None; all C-contiguous, of one dtype
        self.ops = ops(w_ih.itemsize)
        self.cell = find_cell(self.ops, cell)
        self.w_ih, self.w_hh = np.ascontiguousarray(w_ih), np.ascontiguousarray(w_hh)
        self.itemsize = w_ih.itemsize
        self.width = self.ops.width
        self.hidden = w_hh.shape[1]
        self.inputs = w_ih.shape[1]
        self.slots = self.cell.slots
        self.panels = (self.hidden + self.width - 1) // self.width
        self.has_bias = b_ih is not None
        self.lock = Lock()
        cdef int which
        for which in range(1 + self.cell.phases):
            self.make_rows(which)
        self.make_bias(b_ih, b_hh)
        for which in range(1 + self.cell.phases):
            self.make_forward(which)

    def __dealloc__(self):
        cdef int i
        release(self.bias)
        release(self.x_rows)
        release(self.h_rows[0])
        release(self.h_rows[1])
        for i in range(3):
            release(self.forward_data[i])
            release(self.backward_data[i])

    cdef int first(self, int which) noexcept nogil:
        """Return the first gate slot that a product covers."""
        return self.cell.x_first if which == 0 else self.cell.phase[which - 1].first

    cdef int count(self, int which) noexcept nogil:
        """Return how many gate slots it covers."""
        return self.cell.x_slots if which == 0 else self.cell.phase[which - 1].slots

    cdef Py_ssize_t columns(self, int which) noexcept nogil:
        return self.panels * self.count(which) * self.width

    cdef Py_ssize_t* rows(self, int which) noexcept nogil:
        return self.x_rows if which == 0 else self.h_rows[which - 1]

    def make_rows(self, int which):
        cdef Py_ssize_t* rows = <Py_ssize_t*> alloc(self.columns(which) * sizeof(Py_ssize_t))
        if rows == NULL:
            raise MemoryError
        if which == 0:
            self.x_rows = rows
        else:
            self.h_rows[which - 1] = rows
        cdef Py_ssize_t p, lane, unit, at = 0
        cdef int slot, gate
        for p in range(self.panels):
            for slot in range(self.count(which)):
                gate = self.cell.x_gates[slot] if which == 0 else self.cell.phase[which - 1].gates[slot]
                for lane in range(self.width):
                    unit = p * self.width + lane
                    rows[at] = gate * self.hidden + unit if unit < self.hidden else -1
                    at += 1

    def make_bias(self, b_ih, b_hh):
        table = np.zeros((self.panels, self.slots, self.width), self.w_ih.dtype)
        cdef int which, slots, first
        cdef Py_ssize_t at
        cdef Py_ssize_t[::1] view
        if self.has_bias:
            for which in range(1 + self.cell.phases):
                first, slots = self.first(which), self.count(which)
                view = <Py_ssize_t[:self.columns(which)]> self.rows(which)
                rows = np.asarray(view).reshape(self.panels, slots, self.width)
                values = np.where(rows >= 0, np.asarray(b_ih if which == 0 else b_hh)[np.maximum(rows, 0)], 0)
                table[:, first:first + slots] += values
        cdef size_t size = table.nbytes
        self.bias = <char*> alloc(size)
        if self.bias == NULL:
            raise MemoryError
        cdef unsigned char[::1] target
        if size:
            target = <unsigned char[:size]> <unsigned char*> self.bias
            np.asarray(target)[:] = table.reshape(-1).view(np.uint8)

    def make_forward(self, int which):
        cdef Py_ssize_t k = self.inputs if which == 0 else self.hidden
        cdef int count = self.count(which)
        cdef rf_product* s = &self.forward[which]
        # a cell of one slot has its units side by side in the gate buffer, so that four vectors make a panel
        if self.slots == 1:
            panels_of(s, self.columns(which), self.width, 4, 4 * self.width)
        else:
            panels_of(s, self.columns(which), self.width, count, self.slots * self.width)
        s.runs, s.run, s.run_stride = 1, k, 0
        cdef size_t size = self.columns(which) * k * self.itemsize
        self.forward_data[which] = <char*> alloc(size)
        if self.forward_data[which] == NULL:
            raise MemoryError
        s.b = self.forward_data[which]
        array = self.w_ih if which == 0 else self.w_hh
        cdef size_t source = array.ctypes.data
        with nogil:
            self.ops.pack_columns(<const void*> source, k, self.rows(which), self.columns(which),
                                  s.vectors * self.width, self.forward_data[which], 0, s.panels)

    cdef int make_backward(self) except -1:
        """Pack the transposed weights too, if they are not yet."""
        if self.backward_data[self.cell.phases] == NULL:
            with self.lock:
                self.pack_backward()
        return 0

    cdef int pack_backward(self) except -1:
        cdef int which, count
        cdef Py_ssize_t k, n
        cdef rf_product* s
        cdef char* data
        cdef size_t source
        for which in range(1 + self.cell.phases):
            if self.backward_data[which] != NULL:
                continue
            n = self.inputs if which == 0 else self.hidden
            count = self.count(which)
            k = self.columns(which)
            s = &self.backward[which]
            # gradients of states are padded to whole vectors, those of inputs end at the last column
            panels_of(s, n if which == 0 else self.panels * self.width, self.width, 4, 4 * self.width)
            if count == self.slots:
                s.runs, s.run, s.run_stride = 1, k, 0
            else:
                s.runs, s.run, s.run_stride = self.panels, count * self.width, self.slots * self.width
            data = <char*> alloc(((s.panels - 1) * 4 + s.last) * self.width * k * self.itemsize)
            if data == NULL:
                raise MemoryError
            array = self.w_ih if which == 0 else self.w_hh
            source = array.ctypes.data
            with nogil:
                self.ops.pack_rows(<const void*> source, n, self.rows(which), k, data, 0, s.panels)
            s.b = data
            self.backward_data[which] = data
        return 0


cdef Packed packed_weights(str cell, object weights):
    """Return the packed form of `weights`, from its cache where the instruction set is still the same."""
    w_ih = weights["w_ih"]
    cdef const rf_ops* table = ops(w_ih.itemsize)
    cdef dict cache = weights.cache
    found = cache.get("packed")
    if found is None or (<Packed> found).ops != table:
        found = cache["packed"] = Packed(cell, w_ih, weights["w_hh"], weights["b_ih"], weights["b_hh"])
    return <Packed> found
