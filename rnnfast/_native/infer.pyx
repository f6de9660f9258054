"""Inference through a stack of one-directional layers in one call, for arguments that need no conversion.

A server's calls are small and their price is what surrounds the arithmetic: this does the checks, the layers and the
states without returning to Python in between. The steps themselves are those of unroll.pyx.
"""

cimport numpy as cnp
from libc.string cimport memset

from rnnfast._native.kernels cimport alloc, release
from rnnfast._native.pack cimport Packed, packed_weights
from rnnfast._native.plan cimport NOW, RELEASE, Run, When, asked_anew, layers_at_once, share_out, split
from rnnfast._native.rows cimport Lengths, has_shape, is_array, make_lengths, read_row, release_rows, typenum_of, write_row
from rnnfast._native.stack cimport one_each, run_layers
from rnnfast._native.unroll cimport forward_sizes, forward_task, set_forward

cnp.import_array()


cdef void load(cnp.ndarray state, Py_ssize_t layer, char* to, const Run* run) noexcept:
    """Copy state[layer] (N, H) into padded rows."""
    cdef Py_ssize_t j
    cdef const char* source = cnp.PyArray_BYTES(state) + layer * cnp.PyArray_STRIDE(state, 0)
    for j in range(run.B):
        read_row(to, source + j * cnp.PyArray_STRIDE(state, 1), run.H, cnp.PyArray_STRIDE(state, 2), run.size)
        memset(to + run.H * run.size, 0, (run.ld - run.H) * run.size)
        to += run.ld * run.size


cdef void store(cnp.ndarray state, Py_ssize_t layer, const char* source, const Run* run) noexcept:
    """Copy padded rows into state[layer] (N, H) of a new array."""
    cdef Py_ssize_t j, line = run.H * run.size
    cdef char* to = cnp.PyArray_BYTES(state) + layer * run.B * line
    for j in range(run.B):
        write_row(to + j * line, source + j * run.ld * run.size, run.H, run.size, run.size)


cdef char* provide(Run* run, Py_ssize_t layer, cnp.ndarray h0, cnp.ndarray c0) except NULL:
    """Give a run that has been shared out its buffers, one block, which is returned, and its initial state."""
    cdef size_t sizes[6]
    cdef size_t total = 0
    cdef char* block
    cdef int i
    forward_sizes(run, sizes)
    for i in range(5):
        sizes[i] = (sizes[i] + 63) // 64 * 64
        total += sizes[i]
    block = <char*> alloc(total)
    if block == NULL:
        raise MemoryError
    run.gates = block
    run.h = run.gates + sizes[1]
    run.c = run.h + sizes[2]
    run.aux = run.c + sizes[3]
    if run.gather:
        run.xs = run.aux + sizes[4]
    run.product[0].lda = run.ld_x
    if h0 is None:
        memset(run.h, 0, run.B * run.ld * run.size)
        memset(run.c, 0, sizes[3])
    else:
        load(h0, layer, run.h, run)
        if run.cell.has_c:
            load(c0, layer, run.c, run)
    return block


cdef void keep_state(const Run* run, Py_ssize_t layer, cnp.ndarray h1, cnp.ndarray c1) noexcept:
    """Store the final state of a layer."""
    store(h1, layer, run.h + (run.T & 1) * run.B * run.ld * run.size, run)
    if run.cell.has_c:
        store(c1, layer, run.c, run)


cdef int run_layer(Run* run, Py_ssize_t layer, cnp.ndarray h0, cnp.ndarray c0, cnp.ndarray h1, cnp.ndarray c1,
                   When when) except -1:
    """Do all steps of one layer whose input and output are set."""
    cdef int threads = split(run, 1, when)
    cdef char* block = provide(run, layer, h0, c0)
    if 2.0 * run.R * run.ld_gates * (run.X + run.ld) < RELEASE:
        share_out(forward_task, run, run, 1, threads)
    else:
        with nogil:
            share_out(forward_task, run, run, 1, threads)
    keep_state(run, layer, h1, c1)
    release(block)
    return 0


cdef int run_at_once(Run** runs, Py_ssize_t count, int threads, Py_ssize_t pieces, cnp.ndarray h0, cnp.ndarray c0,
                     cnp.ndarray h1, cnp.ndarray c1) except -1:
    """Do all steps of all layers, each following the one below it."""
    cdef Py_ssize_t k
    cdef bint brief
    cdef char** blocks = <char**> alloc(count * sizeof(void*))
    if blocks == NULL:
        raise MemoryError
    memset(blocks, 0, count * sizeof(void*))
    try:
        brief = one_each(runs, <int> count)
        for k in range(count):
            runs[k].brief = brief
            blocks[k] = provide(runs[k], k, h0, c0)
        run_layers(runs, <int> count, threads, pieces)
        for k in range(count):
            keep_state(runs[k], k, h1, c1)
    finally:
        for k in range(count):
            release(blocks[k])
        release(blocks)
    return 0


cdef int read_from(Run* run, Lengths rows, cnp.ndarray x) except -1:
    """Set the input of the lowest layer."""
    rows.set_rows(&run.x, x, False)
    run.ld_x = rows.linear(&run.x, run.size)
    run.gather = run.ld_x == 0
    if run.gather:
        run.ld_x = run.X
    else:
        run.xs = run.x.base
    return 0


cdef int infer_one(Packed packed, Lengths rows, cnp.ndarray x, cnp.ndarray out, cnp.ndarray h0, cnp.ndarray c0,
                   cnp.ndarray h1, cnp.ndarray c1) except -1:
    """Run a single layer."""
    cdef Run run
    errors = []
    set_forward(&run, packed, rows, False)
    run.errors = <void*> errors
    try:
        read_from(&run, rows, x)
        rows.set_rows(&run.y, out, False)
        run_layer(&run, 0, h0, c0, h1, c1, NOW)
    finally:
        release_rows(&run.x)
        release_rows(&run.y)
    if errors:
        raise errors[0]
    return 0


cdef class Layers:
    """The runs of several layers, and what lies between them."""
    cdef Run* runs
    cdef Run** each
    cdef char* between   # outputs of all layers but the last, (T, B, H), each its own or two taking turns
    cdef Py_ssize_t count
    cdef Lengths rows
    cdef list errors

    def __cinit__(self, Py_ssize_t count, Lengths rows):
        self.count, self.rows, self.errors = count, rows, []
        self.runs = <Run*> alloc(count * (sizeof(Run) + sizeof(Run*)))
        if self.runs == NULL:
            raise MemoryError
        self.each = <Run**> (self.runs + count)
        memset(self.runs, 0, count * sizeof(Run))

    def __dealloc__(self):
        cdef Py_ssize_t k
        for k in range(self.count if self.runs != NULL else 0):
            release_rows(&self.runs[k].x)
            release_rows(&self.runs[k].y)
        release(self.runs)
        release(self.between)

    cdef int connect(self, cnp.ndarray x, cnp.ndarray out, Py_ssize_t hidden, bint at_once) except -1:
        """Set where each layer reads and writes."""
        cdef Run* run = &self.runs[0]
        cdef Lengths rows = self.rows
        cdef Py_ssize_t k, j, line = hidden * run.size, part = rows.B * rows.T * line
        cdef Py_ssize_t places = self.count - 1 if at_once else min(self.count - 1, 2)
        self.between = <char*> alloc(max(<Py_ssize_t> 1, places * part))
        if self.between == NULL:
            raise MemoryError
        read_from(run, rows, x)
        for k in range(self.count):
            run = &self.runs[k]
            if k:
                run.xs = self.between + (k - 1) % places * part
            rows.set_rows(&run.y, out, False)
            if k < self.count - 1:
                run.y.base, run.y.stride, run.y.step = self.between + k % places * part, run.size, rows.B * line
                for j in range(rows.B):
                    run.y.start[j] = j * line
        return 0


cdef int infer_stack(str cell, list layers, Lengths rows, cnp.ndarray x, cnp.ndarray out, cnp.ndarray h0, cnp.ndarray c0,
                     cnp.ndarray h1, cnp.ndarray c1) except -1:
    """Run several layers, at the same time where that is best."""
    cdef Py_ssize_t count = len(layers), k, pieces = 1
    cdef Layers stack = Layers(count, rows)
    cdef When when = NOW
    cdef int threads
    for k in range(count):
        set_forward(&stack.runs[k], packed_weights(cell, layers[k][0]), rows, False)
        stack.runs[k].errors = <void*> stack.errors
        stack.each[k] = &stack.runs[k]
    threads = layers_at_once(stack.each, <int> count, 1, &when, &pieces)
    stack.connect(x, out, cnp.PyArray_DIM(out, 2), threads > 1)
    if threads > 1:
        run_at_once(stack.each, count, threads, pieces, h0, c0, h1, c1)
    else:
        for k in range(count):
            run_layer(&stack.runs[k], k, h0, c0, h1, c1, when)
            when = asked_anew(when)
            if stack.errors:
                break
    if stack.errors:
        raise stack.errors[0]
    return 0


def infer(str cell, list layers, x, state, bint batch_first):
    """Run a stack of layers without lengths.

    Parameters
    ----------
    cell : str
    layers : list of [Weights]
        One direction each.
    x : (N, T, I), or (T, N, I) unless ``batch_first``
        Any strides.
    state : (L, N, H), a tuple of two for cells with a cell state, or None for zeros
    batch_first : bool

    Returns
    -------
    (y, state), or None if an argument is not an array of just the right kind, which is then for others to convert or
    refuse
    """
    cdef Packed packed = packed_weights(cell, layers[0][0])
    cdef int typenum = typenum_of(packed.itemsize)
    cdef Py_ssize_t count = len(layers), batch, steps, hidden = packed.hidden
    cdef cnp.npy_intp shape[3]
    cdef cnp.ndarray given, y, out, h0 = None, c0 = None, h1, c1 = None
    cdef Lengths rows
    cdef bint pair = packed.cell.has_c
    if not is_array(x, 3, typenum) or cnp.PyArray_DIM(<cnp.ndarray> x, 2) != packed.inputs:
        return None
    given = <cnp.ndarray> x if batch_first else <cnp.ndarray> cnp.PyArray_SwapAxes(<cnp.ndarray> x, 0, 1)
    batch, steps = cnp.PyArray_DIM(given, 0), cnp.PyArray_DIM(given, 1)
    if state is not None:
        if pair:
            if type(state) is not tuple or len(<tuple> state) != 2:
                return None
            if not has_shape((<tuple> state)[1], typenum, count, batch, hidden):
                return None
            c0 = <cnp.ndarray> (<tuple> state)[1]
            state = (<tuple> state)[0]
        if not has_shape(state, typenum, count, batch, hidden):
            return None
        h0 = <cnp.ndarray> state
    shape[0], shape[1], shape[2] = batch if batch_first else steps, steps if batch_first else batch, hidden
    y = <cnp.ndarray> cnp.PyArray_EMPTY(3, shape, typenum, 0)
    out = y if batch_first else <cnp.ndarray> cnp.PyArray_SwapAxes(y, 0, 1)
    shape[0], shape[1] = count, batch
    h1 = <cnp.ndarray> cnp.PyArray_EMPTY(3, shape, typenum, 0)
    if pair:
        c1 = <cnp.ndarray> cnp.PyArray_EMPTY(3, shape, typenum, 0)
    rows = make_lengths(batch, steps, None)
    if count == 1:
        infer_one(packed, rows, given, out, h0, c0, h1, c1)
    else:
        infer_stack(cell, layers, rows, given, out, h0, c0, h1, c1)
    return y, ((h1, c1) if pair else h1)
