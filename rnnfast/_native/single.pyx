"""Calls of a single layer in one direction, for arguments that need no conversion.

For training, for ragged batches, and of cells with options and elementwise recurrences all; other inference goes by
infer.pyx, which takes stacks too.

What surrounds the arithmetic of a small call costs more than it looks: after each call the sweeps have pushed Python out
of the caches. So this checks, allocates and calls the passes, those of passes.pyx or of scan.pyx,
with as little of it as may be.
"""

from libc.stdint cimport int64_t

cimport numpy as cnp

from rnnfast._native.pack cimport Packed, packed_weights
from rnnfast._native.passes cimport Saved, backward_pass, forward_pass
from rnnfast._native.rows cimport has_shape, is_array, typenum_of
from rnnfast._native.scan cimport Saved as ScanSaved
from rnnfast._native.scan import direction_backward as scan_backward, direction_forward as scan_forward
from rnnfast._native.scan_pack cimport ScanPacked, scan_packed

cnp.import_array()


cdef cnp.ndarray activations(Py_ssize_t batch, Py_ssize_t steps, Py_ssize_t width, int typenum, bint batch_first):
    """Return a new (N, T, C), or (T, N, C) unless ``batch_first``."""
    cdef cnp.npy_intp shape[3]
    shape[0], shape[1], shape[2] = batch if batch_first else steps, steps if batch_first else batch, width
    return <cnp.ndarray> cnp.PyArray_EMPTY(3, shape, typenum, 0)


cdef cnp.ndarray rows_first(cnp.ndarray array, bint batch_first):
    return array if batch_first else <cnp.ndarray> cnp.PyArray_SwapAxes(array, 0, 1)


cdef object of_one_layer(cnp.ndarray state):
    """Return a state (N, H) as (1, N, H)."""
    cdef cnp.npy_intp shape[3]
    cdef cnp.PyArray_Dims dims
    shape[0], shape[1], shape[2] = 1, cnp.PyArray_DIM(state, 0), cnp.PyArray_DIM(state, 1)
    dims.ptr, dims.len = shape, 3
    return cnp.PyArray_Newshape(state, &dims, cnp.NPY_CORDER)


cdef bint is_gradient(object array, int typenum, tuple shape) noexcept:
    """Whether it is a plain array of that type and shape that can be added to."""
    cdef int k, ndim = len(shape)
    if (not cnp.PyArray_CheckExact(array) or cnp.PyArray_TYPE(<cnp.ndarray> array) != typenum
            or not cnp.PyArray_ISBEHAVED(<cnp.ndarray> array) or cnp.PyArray_NDIM(<cnp.ndarray> array) != ndim):
        return False
    for k in range(ndim):
        if cnp.PyArray_DIM(<cnp.ndarray> array, k) != <Py_ssize_t> shape[k]:
            return False
    return True


cdef struct Sizes:
    int typenum
    Py_ssize_t inputs, outputs, hidden
    bint has_c


cdef Sizes sizes_of(object weights):
    """Return what packed weights of either loop say of arguments."""
    cdef Sizes found
    cdef Packed packed
    cdef ScanPacked scan
    if type(weights) is ScanPacked:
        scan = weights
        found.typenum, found.has_c = typenum_of(scan.itemsize), False
        found.inputs, found.outputs, found.hidden = scan.inputs, scan.hidden, scan.hidden
    else:
        packed = weights
        found.typenum, found.has_c = typenum_of(packed.itemsize), packed.cell.has_c
        found.inputs, found.outputs, found.hidden = packed.inputs, packed.outputs, packed.hidden
    return found


cdef bint are_lengths(object lengths, Py_ssize_t batch, Py_ssize_t steps, bint* whole) noexcept:
    """Whether it is an array (N,) of int64 in 0..T, and whether these are all T."""
    cdef const int64_t* values
    cdef Py_ssize_t j
    if (not cnp.PyArray_CheckExact(lengths) or cnp.PyArray_NDIM(<cnp.ndarray> lengths) != 1
            or cnp.PyArray_TYPE(<cnp.ndarray> lengths) != cnp.NPY_INT64
            or not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> lengths) or cnp.PyArray_DIM(<cnp.ndarray> lengths, 0) != batch):
        return False
    values = <const int64_t*> cnp.PyArray_DATA(<cnp.ndarray> lengths)
    whole[0] = True
    for j in range(batch):
        if values[j] < 0 or values[j] > steps:
            return False
        whole[0] = whole[0] and values[j] == steps
    return True


def forward(cell, weights, x, state, lengths, bint batch_first, bint save):
    """Run one direction and, where it is to be saved, keep what `backward` needs.

    Parameters
    ----------
    cell : CellSpec or ScanSpec
        Without options that draw random numbers, and without a window.
    weights : Weights
    x : (N, T, I), or (T, N, I) unless ``batch_first``
        Any strides.
    state : (1, N, H), a tuple of two for cells with a cell state, or None for zeros
    lengths : (N,) of int64, or None
    batch_first, save : bool

    Returns
    -------
    ((y, state), saved), or None if an argument is not an array of just the right kind
    """
    cdef bint scans = weights.get("cell") is not None
    cdef Sizes own = sizes_of(scan_packed(weights) if scans else packed_weights(cell.kernel, weights))
    cdef Py_ssize_t batch, steps
    cdef bint whole = False
    cdef cnp.ndarray given, y, out
    cdef tuple initial, found, final
    if not is_array(x, 3, own.typenum) or cnp.PyArray_DIM(<cnp.ndarray> x, 2) != own.inputs:
        return None
    given = rows_first(x, batch_first)
    batch, steps = cnp.PyArray_DIM(given, 0), cnp.PyArray_DIM(given, 1)
    if state is None:
        initial = (None, None) if own.has_c else (None,)
    elif own.has_c:
        if (type(state) is not tuple or len(<tuple> state) != 2
                or not has_shape((<tuple> state)[0], own.typenum, 1, batch, own.outputs)
                or not has_shape((<tuple> state)[1], own.typenum, 1, batch, own.hidden)):
            return None
        initial = ((<tuple> state)[0][0], (<tuple> state)[1][0])
    else:
        if not has_shape(state, own.typenum, 1, batch, own.outputs):
            return None
        initial = (state[0],)
    if lengths is not None:
        if not are_lengths(lengths, batch, steps, &whole):
            return None
        lengths = None if whole else lengths
    y = activations(batch, steps, own.outputs, own.typenum, batch_first)
    out = rows_first(y, batch_first)
    if scans:
        found = scan_forward(cell, given, weights, initial, lengths, False, out, save)
        final = (of_one_layer((<tuple> found[0])[0]),)
    else:
        found = forward_pass(cell, given, weights, initial, lengths, False, out, save, None, 3)
        final = found[0]
    if save:
        cnp.PyArray_CLEARFLAGS(y, cnp.NPY_ARRAY_WRITEABLE)  # backward reads it
    return (y, final if own.has_c else final[0]), found[1]


def backward(saved, dy, grads, dict names, bint batch_first):
    """Make the gradients of what `forward` has saved, those of the final state being zero.

    Parameters
    ----------
    saved : Saved
        Of either loop. Used up, unless None is returned.
    dy : (N, T, H), or (T, N, H) unless ``batch_first``
    grads : dict
        Gradients by name, added to where there are some.
    names : dict
        Their names by kind of weight.

    Returns
    -------
    dx, as x, or None if an argument is not just of the right kind
    """
    cdef bint scans = type(saved) is ScanSaved
    cdef object packed = (<ScanSaved> saved).packed if scans else (<Saved?> saved).packed
    cdef dict shapes = (<ScanPacked> packed).shapes if scans else (<Packed> packed).shapes
    cdef Sizes own = sizes_of(packed)
    cdef dict made = {}
    cdef Py_ssize_t batch, steps
    cdef cnp.ndarray dx
    if scans:
        batch, steps = (<ScanSaved> saved).job.B, (<ScanSaved> saved).job.T
    else:
        batch, steps = (<Saved> saved).rows.B, cnp.PyArray_DIM(<cnp.ndarray> (<Saved> saved).x, 1)
    if type(grads) is not dict or not has_shape(dy, own.typenum, batch if batch_first else steps,
                                                steps if batch_first else batch, own.outputs):
        return None
    for kind, name in names.items() if grads else ():
        there = (<dict> grads).get(name)
        if there is None:
            continue
        if not is_gradient(there, own.typenum, <tuple> shapes[kind]):
            return None
        made[kind] = there
    dx = activations(batch, steps, own.inputs, own.typenum, batch_first)
    if scans:
        scan_backward(saved, rows_first(dy, batch_first), (None, None), rows_first(dx, batch_first), made)
    else:
        backward_pass(saved, rows_first(dy, batch_first), (None, None), rows_first(dx, batch_first), made, False)
    for kind, name in names.items():
        (<dict> grads)[name] = made[kind]
    return dx
