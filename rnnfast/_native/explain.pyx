"""What a call of one direction of one layer would do, from the functions that decide it when it runs."""

from rnnfast._native.pack cimport Packed, packed_weights
from rnnfast._native.plan cimport Run, split
from rnnfast._native.rows cimport Lengths
from rnnfast._native.unroll cimport forward_sizes, set_forward
from rnnfast._native.unroll_backward cimport backward_sizes


cdef Py_ssize_t panels_size(Packed packed, int which, bint backward) noexcept:
    """Return the bytes of one packed matrix."""
    cdef Py_ssize_t k = packed.inputs if which == 0 else packed.hidden
    cdef Py_ssize_t n
    if not backward:
        return packed.columns(which) * k * packed.itemsize
    n = k if which == 0 else packed.panels * packed.width
    return (n + packed.width - 1) // packed.width * packed.width * packed.columns(which) * packed.itemsize


cdef dict chosen(Run* run, double passes):
    """Return how the threads share the work."""
    cdef int threads = split(run, passes)
    if run.sharing > 1:
        shared = "units" if run.by_units else "rows"
    else:
        shared = "products over all steps" if threads > 1 else "one thread"
    return {"threads": threads, "shared": shared, "reason": run.reason.decode()}


def explain_direction(str cell, weights, Py_ssize_t batch, Py_ssize_t steps, lengths, bint training, bint gather):
    """Return what `rnnfast.layers.explain.Plan` holds of one direction, by name.

    Parameters
    ----------
    cell : str
    weights : Weights
    batch, steps : int
    lengths : (N,) int64 or None
    training : bool
        Whether gradients follow; what is said of threads is then said of the backward pass, the larger part.
    gather : bool
        Whether rows of the input must be collected, because steps do not lie together in memory.
    """
    cdef Packed packed = packed_weights(cell, weights)
    cdef Lengths rows = Lengths(batch, steps, lengths)
    cdef Run run
    cdef size_t forward[6]
    cdef size_t backward[6]
    cdef size_t kept = 0, swept = 0
    cdef int i
    set_forward(&run, packed, rows, training)
    found = chosen(&run, 2 if training else 1)
    run.gather = gather
    forward_sizes(&run, forward)
    for i in range(6):
        kept += forward[i]
    if training:
        swept = backward_sizes(&run, packed, found["threads"], backward)
    recurrent = sum([panels_size(packed, i, False) for i in range(1, 1 + packed.cell.phases)])
    found.update(
        isa=run.ops.isa.decode(), width=run.W, chunk=min(run.chunk, max(run.R, 1)),
        input_bytes=panels_size(packed, 0, False), recurrent_bytes=recurrent,
        backward_bytes=sum([panels_size(packed, i, True) for i in range(1 + packed.cell.phases)]),
        workspace_bytes=kept + swept, bytes_per_step=kept / run.R if training and run.R else 0.0,
    )
    return found
