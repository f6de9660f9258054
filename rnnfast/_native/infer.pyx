"""Inference through a stack of one-directional layers in one call, for arguments that need no conversion.

A server's calls are small and their price is what surrounds the arithmetic: this does the checks, the layers and the
states without returning to Python in between. The steps themselves are those of unroll.pyx.
"""

cimport numpy as cnp
from libc.string cimport memset

from rnnfast._native.kernels cimport alloc, parallel, release
from rnnfast._native.pack cimport Packed, packed_weights
from rnnfast._native.plan cimport NOW, RELEASE, Run, split
from rnnfast._native.rows cimport Lengths, has_shape, is_array, read_row, typenum_of, write_row
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


cdef int run_layer(Run* run, Lengths rows, Packed packed, Py_ssize_t layer, cnp.ndarray h0, cnp.ndarray c0,
                   cnp.ndarray h1, cnp.ndarray c1) except -1:
    """Do all steps of one layer whose input and output are set."""
    cdef size_t sizes[6]
    cdef size_t total = 0
    cdef char* block
    cdef int i, threads = split(run, 1, NOW)
    cdef Py_ssize_t line = run.ld * run.size
    errors = []
    run.errors = <void*> errors
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
        memset(run.h, 0, run.B * line)
        memset(run.c, 0, sizes[3])
    else:
        load(h0, layer, run.h, run)
        if run.cell.has_c:
            load(c0, layer, run.c, run)
    if 2.0 * run.R * run.ld_gates * (run.X + run.ld) < RELEASE:
        parallel(forward_task, run, threads)
    else:
        with nogil:
            parallel(forward_task, run, threads)
    store(h1, layer, run.h + (run.T & 1) * run.B * line, run)
    if run.cell.has_c:
        store(c1, layer, run.c, run)
    release(block)
    if errors:
        raise errors[0]
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
    cdef Py_ssize_t count = len(layers), batch, steps, layer, j, hidden = packed.hidden, size = packed.itemsize
    cdef cnp.npy_intp shape[3]
    cdef cnp.ndarray given, y, out, h0 = None, c0 = None, h1, c1 = None
    cdef Lengths rows
    cdef Run run
    cdef char* between[2]
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
    rows = Lengths(batch, steps, None)
    between[0] = between[1] = NULL  # outputs of the layers below, (T, B, H), two taking turns
    try:
        for layer in range(count):
            if layer:
                packed = packed_weights(cell, layers[layer][0])
            set_forward(&run, packed, rows, False)
            try:
                if layer:
                    run.xs = between[(layer - 1) & 1]
                else:
                    rows.set_rows(&run.x, given, False)
                    run.ld_x = rows.linear(&run.x, size)
                    run.gather = run.ld_x == 0
                    if run.gather:
                        run.ld_x = run.X
                    else:
                        run.xs = run.x.base
                rows.set_rows(&run.y, out, False)
                if layer < count - 1:
                    if between[layer & 1] == NULL:
                        between[layer & 1] = <char*> alloc(max(1, batch * steps * hidden * size))
                        if between[layer & 1] == NULL:
                            raise MemoryError
                    run.y.base, run.y.stride, run.y.step = between[layer & 1], size, batch * hidden * size
                    for j in range(batch):
                        run.y.start[j] = j * hidden * size
                run_layer(&run, rows, packed, layer, h0, c0, h1, c1)
            finally:
                release(run.x.start)
                release(run.y.start)
    finally:
        release(between[0])
        release(between[1])
    return y, ((h1, c1) if pair else h1)
