"""The time loop, backward, for every cell; the GIL is released around all of it.

For each step the pointwise part, then the product that carries the gradient one step back; afterwards one sum of outer
products for each weight, over all steps (gradients.pyx, or blas_gradients.pyx: see provider.py). Buffers are compact
as in unroll.pyx.
"""

from libc.string cimport memcpy

from rnnfast._native.around cimport after_backward, before_backward, drop_saved, h_share, see
from rnnfast._native.gradients cimport (
    gradients_beside, input_gradient, input_gradient_rows, segment_rows, sum_by_index, table_gradient, weight_gradients
)
from rnnfast._native.kernels cimport (
    RF_READS_AFTER, RF_READS_BEFORE, barrier, post, rf_phase, rf_step, rf_steps_back, rf_want
)
from rnnfast._native.pack cimport Packed
from rnnfast._native.places cimport leave_places, take_places, with_places
from rnnfast._native.plan cimport BLOCK, GROUP, Run, begin, meet, poll, row_share, share, steps_at_once
from rnnfast._native.rows cimport row_at
from rnnfast._native.unroll cimport set_step


# The loop


cdef void read_states(const Run* run, Py_ssize_t t, rf_step* s, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t unit,
                      Py_ssize_t units) noexcept nogil:
    """Fetch what the pointwise part reads of h from where forward wrote it for the caller."""
    cdef Py_ssize_t j, at, bytes = units * run.size
    cdef const char* h
    for j in range(row0, row1):
        at = j * run.ld_h * run.size + unit * run.size
        if run.cell.reads & RF_READS_AFTER:
            h = row_at(&run.hs, t, j) + unit * run.size
            memcpy(run.after_step + at, h, bytes)
            rf_want(h - run.hs.step, bytes)
        if run.cell.reads & RF_READS_BEFORE and t > 0:
            h = row_at(&run.hs, t - 1, j) + unit * run.size
            memcpy(run.before_step + at, h, bytes)
            rf_want(h - run.hs.step, bytes)
    s.h = run.after_step
    s.h_prev = run.before_step if t > 0 else run.h


cdef void backward_step(Run* run, Py_ssize_t t, rf_step* s, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t group0,
                        Py_ssize_t group1, int thread, int threads) noexcept nogil:
    cdef const rf_phase* phase
    cdef Py_ssize_t line_h = run.ld_h * run.size, gates_line = run.ld_gates * run.size
    cdef Py_ssize_t panel0 = group0 * GROUP, panel1 = min(group1 * GROUP, run.P)
    cdef Py_ssize_t part0 = group0, part1 = group1  # of the products that give gradients of h
    cdef Py_ssize_t unit, units, j, u, r, n, group
    cdef char* to
    cdef char* init
    cdef char* gates
    cdef const char* dy
    cdef int i
    if run.around:
        h_share(run, group0, group1, thread, threads, &part0, &part1)
    unit = part0 * GROUP * run.W
    units = min(part1 * GROUP * run.W, run.Q) - unit
    if run.y.base != NULL and units > 0:
        for j in range(row0, row1):
            to = run.dh + j * line_h + unit * run.size
            dy = row_at(&run.y, t, j) + unit * run.y.stride
            if run.y.stride == run.size:
                run.ops.add_rows(units, dy, to)
                rf_want(dy - run.y.step, units * run.size)
            elif run.size == 4:
                for u in range(units):
                    (<float*> to)[u] += (<const float*> (dy + u * run.y.stride))[0]
            else:
                for u in range(units):
                    (<double*> to)[u] += (<const double*> (dy + u * run.y.stride))[0]
    unit = panel0 * run.W
    units = min(panel1 * run.W, run.H) - unit
    if run.cell.reads and not run.history and units > 0:
        read_states(run, t, s, row0, row1, unit, units)
    if run.around:
        before_backward(run, t, row0, row1, unit, units, part0, part1, group0, group1, thread, threads)
    for i in range(run.cell.phases - 1, -1, -1):
        phase = &run.cell.phase[i]
        if run.dropped and i < run.cell.phases - 1:
            see(run, run.daux, run.daux, row0, row1, unit, units)
        phase.backward(s, row0, row1, panel0, panel1)
        if run.by_units:
            barrier(thread, threads)
        r = row0
        while r < row1:
            if run.long_steps:
                poll(run, thread)
                if run.stop:
                    break
            n = min(<Py_ssize_t> BLOCK, row1 - r)
            to = (run.daux if phase.from_aux else run.dseen if run.dropped else run.dh) + r * line_h
            gates = <char*> s.gates + r * gates_line + phase.first * run.W * run.size
            init = NULL if phase.from_aux or run.dropped else to
            if run.zigzag and t & 1:
                group = part1
                while group > part0:
                    run.ops.product(&run.product[i + 1], n, gates, init, to, max(group - 2, part0), group)
                    group -= 2
            else:
                run.ops.product(&run.product[i + 1], n, gates, init, to, part0, part1)
            r += n
    if run.around:
        after_backward(run, row0, row1, unit, units, part0, part1)


cdef bint goes_alone(const Run* run) noexcept nogil:
    """Return whether `sweep_alone` does the steps: of a single row, of few units, read where the caller has them."""
    return (steps_at_once(run, True) and not run.history and run.hs.stride == run.size
            and (run.y.base == NULL or run.y.stride == run.size))


cdef void sweep_alone(Run* run, Py_ssize_t t, Py_ssize_t end) noexcept nogil:
    """Do steps t..end of a single row at once, the last of them first."""
    cdef rf_step first
    cdef rf_steps_back s
    set_step(run, t, t, &first)
    s.steps, s.hidden, s.ld_gates = end - t, run.H, run.ld_gates
    s.product, s.gates = &run.product[1], first.gates
    s.h_prev = row_at(&run.hs, t - 1, 0) if t else run.h
    s.y, s.y_step = row_at(&run.hs, t, 0), run.hs.step
    s.dy = NULL
    if run.y.base != NULL:
        s.dy, s.dy_step = row_at(&run.y, t, 0), run.y.step
    s.c, s.dh, s.dc = first.c_prev, run.dh, run.dc
    run.cell.steps_back(&s)


cdef void sweep(Run* run, Py_ssize_t t, Py_ssize_t end, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t group0,
                Py_ssize_t group1, int thread, int threads) noexcept nogil:
    """Do a thread's part of steps t..end, the last of them first."""
    cdef rf_step s
    if threads == 1 and goes_alone(run):
        sweep_alone(run, t, end)
        return
    s.dh, s.dc, s.daux = run.dm if run.project else run.dh, run.dc, run.daux
    while end > t:
        end -= 1
        set_step(run, end, run.off[end], &s)
        backward_step(run, end, &s, min(row0, run.n[end]), min(row1, run.n[end]), group0, group1, thread, threads)


cdef void backward_beside(Run* run, int thread, int threads) noexcept nogil:
    """The steps by thread 0, and what is not bound to their order by the others, as soon as it can be done, and by all."""
    cdef Py_ssize_t end = run.T, first, piece = max(16, min(segment_rows(run), run.R // 16))
    if thread == 0 and not run.direct:
        begin(thread, threads)
    while thread == 0 and end > 0:
        first = end - 1
        while first > 0 and run.off[end] - run.off[first - 1] <= piece:
            first -= 1
        sweep(run, first, end, 0, run.B, 0, run.groups, 0, 1)
        end = first
        if not run.direct:
            poll(run, thread)
            if run.stop:
                end = 0
        post(0, run.R - run.off[end])
    gradients_beside(run, thread, threads)


cdef void backward_task(void* context, int thread, int threads) noexcept nogil:
    cdef Run* run = <Run*> context
    cdef Py_ssize_t end = run.T, first, row0 = 0, row1 = run.B, group0 = 0, group1 = run.groups
    cdef Py_ssize_t meetings = 0
    cdef int sharing = min(threads, run.sharing)
    cdef bint apart = run.apart and threads > 1
    cdef Run place
    cdef Run* own = run
    if run.beside and threads > 1:
        backward_beside(run, thread, threads)
        return
    begin(thread, threads)
    if run.by_units:
        share(run.groups, thread, sharing, &group0, &group1)
    elif apart:
        row_share(run, 0, run.T, thread, threads, &row0, &row1)
        own = take_places(run, &place, True, thread, row0, row1)
    while end > 0:
        first = end - 1
        while first > 0 and run.off[end] - run.off[first] <= run.chunk:
            first -= 1
        if not run.by_units and not apart:
            row_share(run, first, end, thread, sharing, &row0, &row1)
        if thread < sharing:
            if own != run:
                own.stop = run.stop
            sweep(own, first, end, row0, row1, group0, group1, thread, sharing)
        end = first
        if apart and end > 0:
            poll(run, thread)
            if not run.stop:
                continue
        leave_places(run, own, True, row0, row1)
        if meet(run, thread, threads, &meetings):
            return
    if run.V:
        sum_by_index(run, thread, threads)
    input_gradient(run, thread, threads)
    if run.dropped:
        drop_saved(run, thread, threads)
    if meet(run, thread, threads, &meetings):
        return
    weight_gradients(run, thread, threads)
    if run.V:
        table_gradient(run, thread, threads)


cdef void backward_piece(Run* run, Py_ssize_t t, Py_ssize_t end) noexcept nogil:
    """Do steps t..end by one thread, and dx of their rows."""
    cdef Py_ssize_t row, rows, near = t
    sweep(run, t, end, 0, run.B, 0, run.groups, 0, 1)
    poll(run, 0)
    if run.dx.base == NULL or run.V:
        return
    row = run.off[t]
    while row < run.off[end] and not run.stop:
        rows = min(<Py_ssize_t> BLOCK, run.off[end] - row)
        input_gradient_rows(run, row, rows, &near, run.scratch)
        row += rows
        poll(run, 0)


cdef void backward_sums(Run* run) noexcept nogil:
    """What follows when one thread has done all pieces."""
    if run.V:
        sum_by_index(run, 0, 1)
    if run.dropped:
        drop_saved(run, 0, 1)
    weight_gradients(run, 0, 1)
    if run.V:
        table_gradient(run, 0, 1)


# Setting up


cdef size_t backward_sizes(Run* run, Packed packed, int threads, size_t* sizes) noexcept:
    """Write the bytes of dh, dc, daux, sums for biases, scratch of all threads, sums by index, h before and after a step.

    They are parts of one block, whose size is returned.
    """
    cdef Py_ssize_t line = run.ld * run.size
    cdef Py_ssize_t columns = run.Q if run.project else 0  # of the widest sum of outer products
    cdef size_t total = 0
    cdef int i
    for i in range(1 + packed.cell.phases):
        columns = max(columns, packed.depth(i))
    run.scratch_size = max(run.ops.outer_scratch(columns, max(run.X, run.H)), BLOCK * run.X) * run.size
    run.scratch_size = (run.scratch_size + 63) // 64 * 64
    run.scratch_size += 2 * segment_rows(run) * sizeof(Py_ssize_t)
    sizes[0] = run.B * run.ld_h * run.size
    sizes[1] = run.B * line if packed.cell.has_c else 0
    sizes[2] = run.B * line if packed.cell.has_aux else 0
    sizes[3] = run.ld_gates * run.size if packed.has_bias else 0
    sizes[4] = threads * run.scratch_size
    sizes[5] = run.V * run.ld_gates * run.size
    sizes[6] = run.B * run.ld_h * run.size if run.cell.reads & RF_READS_BEFORE else 0
    sizes[7] = run.B * run.ld_h * run.size if run.cell.reads & RF_READS_AFTER else 0
    for i in (0, 1, 2, 6, 7):
        sizes[i] = with_places(run, sizes[i])
    for i in range(8):
        sizes[i] = (sizes[i] + 63) // 64 * 64
        total += sizes[i]
    return total
