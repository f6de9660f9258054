"""Training calls of a single layer in one direction, for arguments that need no conversion.

What surrounds the arithmetic of a small call costs more than it looks: after each call the sweeps have pushed Python out
of the caches. So this checks, allocates and calls the passes, those of unroll.pyx and unroll_backward.pyx, with as little
of it as may be.
"""

cimport numpy as cnp

from rnnfast._native.pack cimport Packed, packed_weights
from rnnfast._native.rows cimport has_shape, is_array
from rnnfast._native.unroll cimport Saved
from rnnfast._native.unroll import direction_forward
from rnnfast._native.unroll_backward import direction_backward

cnp.import_array()


cdef cnp.ndarray activations(Py_ssize_t batch, Py_ssize_t steps, Py_ssize_t width, int typenum, bint batch_first):
    """Return a new (N, T, C), or (T, N, C) unless ``batch_first``."""
    cdef cnp.npy_intp shape[3]
    shape[0], shape[1], shape[2] = batch if batch_first else steps, steps if batch_first else batch, width
    return <cnp.ndarray> cnp.PyArray_EMPTY(3, shape, typenum, 0)


cdef cnp.ndarray rows_first(cnp.ndarray array, bint batch_first):
    return array if batch_first else <cnp.ndarray> cnp.PyArray_SwapAxes(array, 0, 1)


def forward(cell, weights, x, state, bint batch_first):
    """Run one direction and keep what `backward` needs.

    Parameters
    ----------
    cell : CellSpec
        Without options that draw random numbers.
    weights : Weights
    x : (N, T, I), or (T, N, I) unless ``batch_first``
        Any strides.
    state : (1, N, H), a tuple of two for cells with a cell state, or None for zeros

    Returns
    -------
    ((y, state), saved), or None if an argument is not an array of just the right kind
    """
    cdef Packed packed = packed_weights(cell.kernel, weights)
    cdef int typenum = cnp.NPY_FLOAT32 if packed.itemsize == 4 else cnp.NPY_FLOAT64
    cdef Py_ssize_t batch, steps
    cdef cnp.ndarray given, y
    cdef tuple initial
    if not is_array(x, 3, typenum) or cnp.PyArray_DIM(<cnp.ndarray> x, 2) != packed.inputs:
        return None
    given = rows_first(x, batch_first)
    batch, steps = cnp.PyArray_DIM(given, 0), cnp.PyArray_DIM(given, 1)
    if state is None:
        initial = (None, None)
    elif packed.cell.has_c:
        if (type(state) is not tuple or len(<tuple> state) != 2
                or not has_shape((<tuple> state)[0], typenum, 1, batch, packed.outputs)
                or not has_shape((<tuple> state)[1], typenum, 1, batch, packed.hidden)):
            return None
        initial = ((<tuple> state)[0][0], (<tuple> state)[1][0])
    else:
        if not has_shape(state, typenum, 1, batch, packed.outputs):
            return None
        initial = (state[0],)
    y = activations(batch, steps, packed.outputs, typenum, batch_first)
    final, saved = direction_forward(cell, given, weights, initial, None, False, rows_first(y, batch_first), True)
    cnp.PyArray_CLEARFLAGS(y, cnp.NPY_ARRAY_WRITEABLE)  # backward reads it
    if packed.cell.has_c:
        return (y, (final[0][None], final[1][None])), saved
    return (y, final[0][None]), saved


def backward(Saved saved, dy, grads, dict names, bint batch_first):
    """Make the gradients of what `forward` has saved, those of the final state being zero.

    Parameters
    ----------
    saved : Saved
        Used up, unless None is returned.
    dy : (N, T, H), or (T, N, H) unless ``batch_first``
    grads : dict
        Gradients by name, added to where there are some.
    names : dict
        Their names by kind of weight.

    Returns
    -------
    dx, as x, or None if an argument is not just of the right kind
    """
    cdef Packed packed = saved.packed
    cdef int typenum = cnp.NPY_FLOAT32 if packed.itemsize == 4 else cnp.NPY_FLOAT64
    cdef Py_ssize_t batch = saved.rows.B, steps = cnp.PyArray_DIM(<cnp.ndarray> saved.y, 1)
    cdef dict own = {}
    cdef cnp.ndarray dx
    if type(grads) is not dict or not has_shape(dy, typenum, batch if batch_first else steps,
                                                steps if batch_first else batch, packed.outputs):
        return None
    for kind, name in names.items() if grads else ():
        there = (<dict> grads).get(name)
        if there is None:
            continue
        if (not cnp.PyArray_CheckExact(there) or cnp.PyArray_TYPE(<cnp.ndarray> there) != typenum
                or not cnp.PyArray_ISBEHAVED(<cnp.ndarray> there) or there.shape != packed.shapes[kind]):
            return None
        own[kind] = there
    dx = activations(batch, steps, packed.inputs, typenum, batch_first)
    direction_backward(saved, rows_first(dy, batch_first), (None, None), rows_first(dx, batch_first), own)
    for kind, name in names.items():
        (<dict> grads)[name] = own[kind]
    return dx
