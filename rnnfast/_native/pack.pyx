"""Weights of one direction of one layer, packed for the instruction set in force and kept until they change.

Which = 0 stands for the input weights, 1 and 2 for the recurrent weights of the cell's first and second phase, 3 for
those of a projection.
"""

import numpy as np

cimport numpy as cnp
from cython cimport floating
from libc.string cimport memset

from rnnfast._native.kernels cimport alloc, ops, release, rf_cell, rf_ops, rf_product, rf_runs
from rnnfast._native.panels cimport pack_columns, pack_rows, panels_of
from rnnfast.threads import get_num_threads

cnp.import_array()

cdef enum:
    MOST_LANES = 16  # of a vector
    WHOLE = 2  # panels up to which a cell that has `steps` wants all of them whole


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


cdef class Packed:
    """One direction's weights as panels."""

    def __cinit__(self):
        memset(self.forward_data, 0, sizeof(self.forward_data))
        memset(self.backward_data, 0, sizeof(self.backward_data))
        self.x_rows = self.p_rows = NULL
        self.h_rows[0] = self.h_rows[1] = NULL
        memset(self.dense, 0, sizeof(self.dense))
        self.bias = self.vectors = NULL

    def __init__(self, str cell, weights):
        # rnnfast.cells.CellSpec.shapes names the weights; all C-contiguous, of one dtype
        w_ih, w_hh, w_hr = weights["w_ih"], weights["w_hh"], weights.get("w_hr")
        self.ops = ops(w_ih.itemsize)
        self.cell = find_cell(self.ops, cell)
        self.w_ih, self.w_hh = np.ascontiguousarray(w_ih), np.ascontiguousarray(w_hh)
        self.itemsize = w_ih.itemsize
        self.width = self.ops.width
        self.hidden, self.outputs = w_hh.shape[0] // self.cell.gates, w_hh.shape[1]
        self.shapes = {kind: array.shape for kind, array in weights.items() if array is not None}
        self.w_hr = None if w_hr is None else np.ascontiguousarray(w_hr)
        self.inputs = w_ih.shape[1]
        self.slots = self.cell.slots
        self.panels = (self.hidden + self.width - 1) // self.width
        self.ld_h = (self.outputs + self.width - 1) // self.width * self.width
        # biases that follow a normalisation are vectors
        self.has_bias = weights["b_ih"] is not None and not self.cell.norm
        cdef int which
        for which in range(1 + self.cell.phases):
            self.make_rows(which)
        self.make_bias(weights["b_ih"], weights["b_hh"])
        for which in range(1 + self.cell.phases):
            self.make_forward(which)
        if self.projects():
            self.make_projection()
        self.make_vectors(weights)

    def __dealloc__(self):
        cdef int i
        release(self.bias)
        release(self.vectors)
        release(self.x_rows)
        release(self.p_rows)
        release(self.h_rows[0])
        release(self.h_rows[1])
        for i in range(4):
            release(self.dense[i])
            release(self.forward_data[i])
            release(self.backward_data[i])

    cdef int first(self, int which) noexcept nogil:
        """Return the first gate slot that a product covers."""
        return self.cell.x_first if which == 0 else self.cell.phase[which - 1].first

    cdef int count(self, int which) noexcept nogil:
        """Return how many gate slots it covers."""
        return self.cell.x_slots if which == 0 else self.cell.phase[which - 1].slots

    cdef Py_ssize_t columns(self, int which) noexcept nogil:
        return self.ld_h if which == PROJECTION else self.panels * self.count(which) * self.width

    cdef bint projects(self) noexcept nogil:
        return self.outputs != self.hidden

    cdef Py_ssize_t* rows(self, int which) noexcept nogil:
        if which == PROJECTION:
            return self.p_rows
        return self.x_rows if which == 0 else self.h_rows[which - 1]

    cdef Py_ssize_t depth(self, int which) noexcept nogil:
        """Return how many of the columns are not padding."""
        return self.outputs if which == PROJECTION else self.count(which) * self.hidden

    cdef rf_runs gates(self, int which) noexcept nogil:
        """Return where those stand in a row of the gate buffer, from the first slot on; `dense` is in their order."""
        cdef rf_runs found
        cdef Py_ssize_t count = self.count(which) if which < PROJECTION else 1
        cdef Py_ssize_t whole = self.hidden // self.width
        memset(&found, 0, sizeof(rf_runs))
        if which == PROJECTION or self.slots == 1:
            found.runs, found.run = 1, self.depth(which)
            return found
        found.runs, found.run, found.stride = whole, count * self.width, self.slots * self.width
        if count == self.slots:
            found.runs, found.run = min(whole, 1), whole * found.run
        if whole < self.panels:
            found.more, found.more_run, found.more_stride = count, self.hidden - whole * self.width, self.width
            found.more_at = whole * self.slots * self.width
        return found

    cdef int make_dense(self, int which) except -1:
        """List the rows of a product's weights without the padding."""
        cdef Py_ssize_t i, at = 0
        cdef Py_ssize_t* rows = self.rows(which)
        self.dense[which] = <Py_ssize_t*> alloc(self.depth(which) * sizeof(Py_ssize_t))
        if self.dense[which] == NULL:
            raise MemoryError
        for i in range(self.columns(which)):
            if rows[i] >= 0:
                self.dense[which][at] = rows[i]
                at += 1
        return 0

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
        self.make_dense(which)

    cdef int make_bias(self, b_ih, b_hh) except -1:
        cdef size_t size = self.panels * self.slots * self.width * self.itemsize
        cdef cnp.ndarray array
        cdef int which
        self.bias = <char*> alloc(size)
        if self.bias == NULL:
            raise MemoryError
        memset(self.bias, 0, size)
        if not self.has_bias:
            return 0
        for which in range(1 + self.cell.phases):
            array = np.ascontiguousarray(b_ih if which == 0 else b_hh)
            if self.itemsize == 4:
                self.add_bias(which, <const float*> cnp.PyArray_DATA(array), <float*> self.bias)
            else:
                self.add_bias(which, <const double*> cnp.PyArray_DATA(array), <double*> self.bias)
        return 0

    cdef void add_bias(self, int which, const floating* values, floating* table) noexcept nogil:
        """Add the biases of a product's gates to what stands in the places of their slots."""
        cdef const Py_ssize_t* rows = self.rows(which)
        cdef Py_ssize_t run = self.count(which) * self.width, panel, i
        table += self.first(which) * self.width
        for panel in range(self.panels):
            for i in range(run):
                if rows[i] >= 0:
                    table[i] += values[rows[i]]
            rows += run
            table += self.slots * self.width

    def make_projection(self):
        cdef Py_ssize_t unit
        self.p_rows = <Py_ssize_t*> alloc(self.ld_h * sizeof(Py_ssize_t))
        if self.p_rows == NULL:
            raise MemoryError
        for unit in range(self.ld_h):
            self.p_rows[unit] = unit if unit < self.outputs else -1
        self.make_dense(PROJECTION)
        self.make_forward(PROJECTION)

    def make_vectors(self, weights):
        """Write the vectors in the order of csrc/cells/norm.inc.c; those that are not there are zeros."""
        cdef int gates = self.cell.gates, k
        self.kinds = []
        if not self.cell.options:
            return
        self.kinds += [("w_peephole", k) for k in range(gates - 1)]
        if self.cell.norm:
            self.kinds += [(kind, k) for kind in ("gain_ih", "gain_hh", "b_ih", "b_hh") for k in range(gates)]
            if self.cell.has_c:
                self.kinds += [("gain_ch", 0), ("b_ch", 0)]
        table = np.zeros((len(self.kinds), self.panels * self.width), self.w_ih.dtype)
        for row, (kind, k) in zip(table, self.kinds):
            if weights.get(kind) is not None:
                row[:self.hidden] = weights[kind][k * self.hidden:(k + 1) * self.hidden]
        cdef size_t size = table.nbytes
        self.vectors = <char*> alloc(size)
        if self.vectors == NULL:
            raise MemoryError
        cdef unsigned char[::1] target = <unsigned char[:size]> <unsigned char*> self.vectors
        np.asarray(target)[:] = table.reshape(-1).view(np.uint8)

    def make_forward(self, int which):
        cdef Py_ssize_t k = self.inputs if which == 0 else self.hidden if which == PROJECTION else self.outputs
        cdef int count = 0 if which == PROJECTION else self.count(which)
        cdef rf_product* s = &self.forward[which]
        # a cell of one slot has its units side by side in the gate buffer, so that four vectors make a panel
        if self.slots == 1 or which == PROJECTION:
            panels_of(s, self.columns(which), self.width, 4, 4 * self.width)
        else:
            panels_of(s, self.columns(which), self.width, count, self.slots * self.width)
            self.narrow(s, which)
        s.source.runs, s.source.run = 1, k
        if which > 0:
            self.ops.set_chains(s)
        cdef size_t size = ((s.panels - 1) * s.vectors + s.last) * self.width * k * self.itemsize
        self.forward_data[which] = <char*> alloc(size)
        if self.forward_data[which] == NULL:
            raise MemoryError
        s.b = self.forward_data[which]
        cdef const void* source = cnp.PyArray_DATA(self.weight(which))
        cdef int threads = get_num_threads()
        cdef Py_ssize_t whole = self.columns(which)
        cdef Py_ssize_t last[4 * MOST_LANES]
        cdef Py_ssize_t j
        if s.units:  # the list of rows without the padding between its slots
            whole = (s.panels - 1) * s.vectors * self.width
            for j in range(s.last * self.width):
                last[j] = -1
                if j < s.units * s.vectors:
                    last[j] = self.rows(which)[whole + j // s.units * self.width + j % s.units]
        with nogil:
            pack_columns(self.ops, source, k, self.rows(which), whole, s.vectors * self.width,
                         self.forward_data[which], threads)
            if s.units:
                pack_columns(self.ops, source, k, last, s.last * self.width, s.last * self.width,
                             self.forward_data[which] + whole * k * self.itemsize, 1)

    cdef void narrow(self, rf_product* s, int which) noexcept nogil:
        """Make the last panel narrow where that saves vectors, unless the cell sweeps through whole panels itself."""
        cdef Py_ssize_t units = self.hidden - (self.panels - 1) * self.width
        cdef Py_ssize_t vectors = (units * s.vectors + self.width - 1) // self.width
        if self.panels > (WHOLE if self.cell.steps_panels else 0) and vectors < s.vectors:
            s.units, s.last = <int> units, <int> vectors

    cdef cnp.ndarray weight(self, int which):
        return self.w_ih if which == 0 else self.w_hr if which == PROJECTION else self.w_hh

    cdef int make_backward(self) except -1:
        """Pack the transposed weights too, if they are not yet.

        Two threads that want them at once may each pack them, and one finds that the other was faster: a lock would stay
        locked for ever in a child that is forked while another thread packs.
        """
        if self.backward_data[PROJECTION if self.projects() else self.cell.phases] == NULL:
            self.pack_backward()
        return 0

    cdef int pack_backward(self) except -1:
        cdef int which
        cdef Py_ssize_t k, n
        cdef rf_product s
        cdef char* data
        cdef const void* source
        cdef int threads = get_num_threads()
        for which in range(PROJECTION + 1):
            if (self.backward_data[which] != NULL or self.cell.phases < which < PROJECTION
                    or which == PROJECTION and not self.projects()):
                continue
            n = self.inputs if which == 0 else self.hidden if which == PROJECTION else self.outputs
            k = self.depth(which)
            memset(&s, 0, sizeof(rf_product))
            # gradients of states are padded to whole vectors, those of inputs end at the last column
            panels_of(&s, n if which == 0 else (n + self.width - 1) // self.width * self.width, self.width, 4,
                      4 * self.width)
            s.source = self.gates(which)
            if which > 0:
                self.ops.set_chains(&s)
            data = <char*> alloc(((s.panels - 1) * 4 + s.last) * self.width * k * self.itemsize)
            if data == NULL:
                raise MemoryError
            source = cnp.PyArray_DATA(self.weight(which))
            with nogil:
                pack_rows(self.ops, source, n, self.dense[which], k, data, threads)
            if self.backward_data[which] != NULL:
                release(data)
                continue
            s.b = data
            self.backward[which] = s
            self.backward_data[which] = data
        return 0


cdef Packed packed_weights(str cell, object weights):
    """Return the packed form of `weights`, from its cache where the instruction set is still the same."""
    w_ih = weights["w_ih"]
    cdef const rf_ops* table = ops(w_ih.itemsize)
    cdef dict cache = weights.cache
    found = cache.get("packed")
    if found is None or (<Packed> found).ops != table:
        found = cache["packed"] = Packed(cell, weights)
    return <Packed> found
