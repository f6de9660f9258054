"""Weights of one direction of an elementwise recurrence, packed for the instruction set in force.

The input product fills whole rows of the gate buffer, (panels, slots, lanes), so its panels are four vectors wide whatever
the number of slots; four unit panels are `slots` of them.
"""

import numpy as np

cimport numpy as cnp
from libc.string cimport memcpy, memset

from rnnfast._native.kernels cimport alloc, ops, release, rf_ops, rf_product, rf_scan_cell
from rnnfast._native.panels cimport pack_columns, pack_rows, panels_of
from rnnfast._native.rows cimport typenum_of
from rnnfast.threads import get_num_threads

cnp.import_array()


cdef const rf_scan_cell* find_scan(const rf_ops* table, str name) except NULL:
    key = name.encode()
    cdef int i = 0
    cdef bytes found
    while table.scans[i] != NULL:
        found = table.scans[i].name
        if found == key:
            return table.scans[i]
        i += 1
    raise ValueError(f"no native cell named {name!r}")


cdef class ScanPacked:
    """One direction's weights as panels."""

    def __cinit__(self):
        self.rows = NULL
        self.bias = self.vectors = NULL
        memset(self.product, 0, sizeof(self.product))

    def __init__(self, cell, w_ih, w_c, b_ih):
        # w_ih (S*H, X), w_c (V*H,) or None, b_ih (len(cell.biased)*H,) or None; of one dtype
        self.ops = ops(w_ih.itemsize)
        self.cell = find_scan(self.ops, cell.name)
        self.w_ih = np.ascontiguousarray(w_ih)
        given = {"w_ih": w_ih, "w_c": w_c, "b_ih": b_ih}
        self.shapes = {kind: array.shape for kind, array in given.items() if array is not None}
        self.itemsize, self.width, self.slots = w_ih.itemsize, self.ops.width, self.cell.slots
        self.inputs, self.hidden = w_ih.shape[1], w_ih.shape[0] // self.slots
        self.panels = (self.hidden + self.width - 1) // self.width
        self.columns = self.panels * self.slots * self.width
        self.has_bias, self.biased = b_ih is not None, tuple(cell.biased)
        self.list_columns()
        self.bias = self.by_panels(self.slots, b_ih, self.biased)
        self.vectors = self.by_panels(self.cell.vectors, w_c, tuple(range(self.cell.vectors)))
        self.make_product(0)

    def __dealloc__(self):
        release(self.rows)
        release(self.bias)
        release(self.vectors)
        release(<void*> self.product[0].b)
        release(<void*> self.product[1].b)

    cdef int list_columns(self) except -1:
        """Write which row of w_ih each column of the gate buffer is."""
        cdef Py_ssize_t panel, slot, lane, unit, at = 0
        self.rows = <Py_ssize_t*> alloc(self.columns * sizeof(Py_ssize_t))
        if self.rows == NULL:
            raise MemoryError
        for panel in range(self.panels):
            for slot in range(self.slots):
                for lane in range(self.width):
                    unit = panel * self.width + lane
                    self.rows[at] = slot * self.hidden + unit if unit < self.hidden else -1
                    at += 1
        return 0

    cdef void copy_block(self, char* panels, Py_ssize_t count, Py_ssize_t place, char* units, bint back) noexcept:
        """Copy a block of all units to where it stands in (P, count, W), or back."""
        cdef Py_ssize_t line = self.width * self.itemsize, panel, bytes
        panels += place * line
        for panel in range(self.panels):
            bytes = min(self.width, self.hidden - panel * self.width) * self.itemsize
            if back:
                memcpy(units, panels, bytes)
            else:
                memcpy(panels, units, bytes)
            panels += count * line
            units += line

    cdef char* by_panels(self, Py_ssize_t count, values, tuple places) except NULL:
        """Return (P, count, W), zeros but for the blocks of `values`, (len(places)*H,) or None."""
        cdef size_t size = count * self.panels * self.width * self.itemsize, least = 1
        cdef char* data = <char*> alloc(max(size, least))
        cdef Py_ssize_t i
        cdef cnp.ndarray array
        if data == NULL:
            raise MemoryError
        memset(data, 0, size)
        if values is not None:
            array = np.ascontiguousarray(values)
            for i in range(len(places)):
                self.copy_block(data, count, places[i], cnp.PyArray_BYTES(array) + i * self.hidden * self.itemsize, False)
        return data

    cdef cnp.ndarray from_panels(self, char* data, Py_ssize_t count, tuple places):
        """Return the blocks of (P, count, W) at those places, (len(places)*H,)."""
        cdef cnp.npy_intp size = len(places) * self.hidden
        cdef cnp.ndarray found = <cnp.ndarray> cnp.PyArray_EMPTY(1, &size, typenum_of(self.itemsize), 0)
        cdef Py_ssize_t i
        for i in range(len(places)):
            self.copy_block(data, count, places[i], cnp.PyArray_BYTES(found) + i * self.hidden * self.itemsize, True)
        return found

    cdef int make_product(self, int backward) except -1:
        """Pack the weights, or their transpose, if they are not yet; two threads at once may each do it."""
        cdef Py_ssize_t n = self.inputs if backward else self.columns, k = self.columns if backward else self.inputs
        cdef rf_product s
        cdef char* data
        cdef const void* weight = cnp.PyArray_DATA(self.w_ih)
        cdef int threads = get_num_threads()
        if self.product[backward].b != NULL:
            return 0
        memset(&s, 0, sizeof(rf_product))
        panels_of(&s, n, self.width, 4, 4 * self.width)
        s.source.runs, s.source.run = 1, k
        data = <char*> alloc(((s.panels - 1) * 4 + s.last) * self.width * k * self.itemsize)
        if data == NULL:
            raise MemoryError
        with nogil:
            if backward:
                pack_rows(self.ops, weight, n, self.rows, k, data, threads)
            else:
                pack_columns(self.ops, weight, k, self.rows, n, 4 * self.width, data, threads)
        if self.product[backward].b != NULL:
            release(data)
            return 0
        s.b = data
        self.product[backward] = s
        return 0


cdef ScanPacked scan_packed(object weights):
    """Return the packed form of `weights`, from its cache where the instruction set is still the same."""
    w_ih = weights["w_ih"]
    cdef dict cache = weights.cache
    found = cache.get("packed")
    if found is None or (<ScanPacked> found).ops != ops(w_ih.itemsize):
        found = cache["packed"] = ScanPacked(weights["cell"], w_ih, weights["w_c"], weights["b_ih"])
    return <ScanPacked> found
