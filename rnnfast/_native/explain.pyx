"""What a call of one direction of one layer would do, from the functions that decide it when it runs."""

from rnnfast._native.provider import get_gemm

from rnnfast._native.around cimport around_backward_sizes, around_sizes, set_around
from rnnfast._native.kernels cimport alloc, release, rf_product
from rnnfast._native.pack cimport PROJECTION, Packed, packed_weights
from rnnfast._native.plan cimport SERIES, Run, When, alone, layers_at_once, side_by_side, split
from rnnfast._native.rows cimport Lengths, make_lengths
from rnnfast._native.unroll cimport forward_sizes, set_forward
from rnnfast._native.unroll_backward cimport backward_sizes


cdef Py_ssize_t panels_size(Packed packed, int which, bint backward) noexcept:
    """Return the bytes of one packed matrix."""
    cdef Py_ssize_t k = packed.inputs if which == 0 else packed.hidden if which == PROJECTION else packed.outputs
    cdef rf_product* s = &packed.forward[which]
    if not backward:
        return ((s.panels - 1) * s.vectors + s.last) * packed.width * k * packed.itemsize
    return (k + packed.width - 1) // packed.width * packed.width * packed.depth(which) * packed.itemsize


cdef tuple chosen(Run* run, double passes, bint both, int company):
    """Return how the threads share the work, of one of two directions if `both`, or of a stack that so many threads share.

    And how many of them are at work on this direction.
    """
    cdef When when = SERIES
    cdef int threads
    if company > 1:
        split(run, passes, when)
        alone(run, run.brief)
        reason = "each thread has some of the layers, and follows the one below it"
        return {"threads": company, "shared": "layers", "reason": reason}, 1
    if both and side_by_side(run, passes, &when):
        alone(run, run.brief)
        reason = "each direction has a thread of its own, which waits for nobody"
        return {"threads": 2, "shared": "directions", "reason": reason}, 1
    threads = split(run, passes, SERIES)
    if run.sharing > 1:
        shared = "units" if run.by_units else "rows"
    else:
        shared = "products over all steps" if threads > 1 else "one thread"
    return {"threads": threads, "shared": shared, "reason": run.reason.decode()}, threads


def explain_direction(cell, weights, Py_ssize_t batch, Py_ssize_t steps, lengths, bint training, bint gather,
                      bint both, int company):
    """Return what `rnnfast.layers.explain.Plan` holds of one direction, by name.

    Parameters
    ----------
    cell : rnnfast.cells.CellSpec
    weights : Weights
    batch, steps : int
    lengths : (N,) int64 or None
    training : bool
        Whether gradients follow; what is said of threads is then said of the backward pass, the larger part.
    gather : bool
        Whether rows of the input must be collected, because steps do not lie together in memory.
    both : bool
        Whether the layer has two directions, of which this is one.
    company : int
        What `threads_for_stack` has found for the stack that the layer is in.
    """
    cdef Packed packed = packed_weights(cell.kernel, weights)
    cdef Lengths rows = make_lengths(batch, steps, lengths)
    cdef Run run
    cdef size_t forward[6]
    cdef size_t backward[8]
    cdef size_t more[3]
    cdef size_t more_backward[6]
    cdef size_t kept = 0, swept = 0, passing = 0
    cdef int i
    set_forward(&run, packed, rows, training)
    set_around(&run, packed, rows, cell.options, (0, 0, 0, 0) if training else None)
    run.blas = training and get_gemm() == "blas"
    found, own = chosen(&run, 2 if training else 1, both, company)
    run.gather = gather
    forward_sizes(&run, forward)
    around_sizes(&run, more)
    for i in range(1, 6):
        kept += forward[i]
    kept += more[0] + more[1]
    passing = forward[0] + more[2]
    if training:
        swept = backward_sizes(&run, packed, own, backward)
        around_backward_sizes(&run, more_backward)
        for i in range(6):
            swept += (more_backward[i] + 63) // 64 * 64
    weights_there = [*range(1 + packed.cell.phases), *([PROJECTION] if run.project else [])]
    recurrent = sum([panels_size(packed, i, False) for i in weights_there[1:]])
    found.update(
        isa=run.ops.isa.decode(), width=run.W, chunk=min(run.chunk, max(run.R, 1)),
        input_bytes=panels_size(packed, 0, False), recurrent_bytes=recurrent,
        backward_bytes=sum([panels_size(packed, i, True) for i in weights_there]),
        workspace_bytes=kept + max(swept, passing), bytes_per_step=kept / run.R if training and run.R else 0.0,
    )
    return found


def threads_for_stack(cell, weights, Py_ssize_t batch, Py_ssize_t steps, lengths, bint training):
    """Return how many threads share the layers of a stack among them; 1: layers are done one after the other.

    Parameters are those of `explain_direction`, but the weights, which are one for each layer.
    """
    cdef Lengths rows = make_lengths(batch, steps, lengths)
    cdef int count = len(weights), threads, k
    cdef Py_ssize_t pieces = 1
    cdef When when = SERIES
    cdef Run* runs = <Run*> alloc(count * (sizeof(Run) + sizeof(Run*)))
    cdef Run** each = <Run**> (runs + count)
    if runs == NULL:
        raise MemoryError
    try:
        for k in range(count):
            set_forward(&runs[k], packed_weights(cell.kernel, weights[k]), rows, training)
            set_around(&runs[k], packed_weights(cell.kernel, weights[k]), rows, cell.options,
                       (0, 0, 0, 0) if training else None)
            runs[k].blas = training and get_gemm() == "blas"
            each[k] = &runs[k]
        return layers_at_once(each, count, 2 if training else 1, &when, &pieces)
    finally:
        release(runs)
