"""Weights of one direction of an elementwise recurrence, packed for the instruction set in force.

The input product fills whole rows of the gate buffer, (panels, slots, lanes), so its panels are four vectors wide whatever
the number of slots; four unit panels are `slots` of them.
"""

from threading import Lock

import numpy as np

cimport numpy as cnp
from libc.string cimport memcpy, memset

from rnnfast._native.kernels cimport alloc, ops, release, rf_ops, rf_product, rf_scan_cell
from rnnfast._native.panels cimport pack_columns, pack_rows, panels_of
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


cdef char* copied(cnp.ndarray array) except NULL:
    """Return an aligned copy of a contiguous array; at least one byte."""
    cdef size_t size = cnp.PyArray_NBYTES(array)
    cdef size_t least = 1
    cdef char* data = <char*> alloc(max(size, least))
    if data == NULL:
        raise MemoryError
    memcpy(data, cnp.PyArray_BYTES(array), size)
    return data


cdef class ScanPacked:
    """One direction's weights as panels."""

    def __cinit__(self):
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
        self.lock = Lock()
        unit = np.arange(self.panels * self.width).reshape(self.panels, 1, self.width)
        rows = np.where(unit < self.hidden, unit + self.hidden * np.arange(self.slots)[:, None], -1)
        self.rows = np.ascontiguousarray(rows, np.intp).reshape(-1)
        bias = np.zeros((self.slots, self.hidden), w_ih.dtype)
        if b_ih is not None:
            bias[list(self.biased)] = b_ih.reshape(-1, self.hidden)
        self.bias = copied(self.by_panels(bias))
        w_c = np.zeros((0, self.hidden), w_ih.dtype) if w_c is None else w_c.reshape(-1, self.hidden)
        self.vectors = copied(self.by_panels(w_c))
        self.make_product(0)

    def __dealloc__(self):
        release(self.bias)
        release(self.vectors)
        release(<void*> self.product[0].b)
        release(<void*> self.product[1].b)

    def by_panels(self, values):
        """Return values (S, H) as (P, S, W) with zeros for padding."""
        padded = np.zeros((values.shape[0], self.panels * self.width), values.dtype)
        padded[:, :self.hidden] = values
        return np.ascontiguousarray(padded.reshape(values.shape[0], self.panels, self.width).transpose(1, 0, 2))

    def from_panels(self, sums):
        """Return (P, S, W) as (S, H)."""
        return sums.transpose(1, 0, 2).reshape(sums.shape[1], -1)[:, :self.hidden]

    cdef Py_ssize_t* list_rows(self) noexcept:
        return <Py_ssize_t*> cnp.PyArray_DATA(self.rows)

    cdef int make_product(self, int backward) except -1:
        """Pack the weights, or their transpose, if they are not yet."""
        cdef rf_product* s = &self.product[backward]
        cdef Py_ssize_t n = self.inputs if backward else self.columns, k = self.columns if backward else self.inputs
        cdef rf_product new
        cdef char* data
        cdef cnp.ndarray weight = self.w_ih
        cdef int threads = get_num_threads()
        with self.lock:
            if s.b != NULL:
                return 0
            memset(&new, 0, sizeof(rf_product))
            panels_of(&new, n, self.width, 4, 4 * self.width)
            new.source.runs, new.source.run = 1, k
            data = <char*> alloc(((new.panels - 1) * 4 + new.last) * self.width * k * self.itemsize)
            if data == NULL:
                raise MemoryError
            if backward:
                pack_rows(self.ops, cnp.PyArray_DATA(weight), n, self.list_rows(), k, data, threads)
            else:
                pack_columns(self.ops, cnp.PyArray_DATA(weight), k, self.list_rows(), n, 4 * self.width, data, threads)
            new.b = data
            s[0] = new
        return 0


cdef ScanPacked scan_packed(object weights):
    """Return the packed form of `weights`, from its cache where the instruction set is still the same."""
    w_ih = weights["w_ih"]
    cdef dict cache = weights.cache
    found = cache.get("packed")
    if found is None or (<ScanPacked> found).ops != ops(w_ih.itemsize):
        found = cache["packed"] = ScanPacked(weights["cell"], w_ih, weights["w_c"], weights["b_ih"])
    return <ScanPacked> found
