"""What options do around the step of any cell: projection, zoneout, variational dropout, and vectors beside the weights.

A step of the loops in unroll.pyx and unroll_backward.pyx calls in here where `run.around` says so; plain cells never do.

    forward    product (of h as dropout lets it be seen), pointwise part, projection, zoneout, dropout for the next step
    backward   the same from the end: zoneout parts the gradient, a projection is undone, pointwise part, product

A thread that has some of the units has the features of h that its panels of the products give; where there is a
projection these are other shares, and a barrier stands between. What chance does is never stored: it follows from a seed
and from the row, step and unit (rnnfast/reference/options.py), so that the backward pass asks again.
"""

import numpy as np

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from rnnfast._native.kernels cimport barrier
from rnnfast._native.pack cimport PROJECTION
from rnnfast._native.plan cimport GROUP, share, step_of


cdef uint64_t threshold_of(double p):
    """Return the hash from which on an element is kept that is dropped with chance p."""
    return min(<uint64_t> 0xFFFFFFFF, <uint64_t> (p * 4294967296.0))


cdef int set_around(Run* run, Packed packed, Lengths rows, object options, object noise) except -1:
    """Set up the options of a run.

    Parameters
    ----------
    options : rnnfast.cells.Options
    noise : rnnfast.reference.options.Noise or None
        Seeds for zoneout of h and of c, and for variational dropout; None: inference.
    """
    cdef const Py_ssize_t[::1] order
    cdef int k
    run.options.peephole = options.peephole
    run.options.clip = options.cell_clip
    run.options.units, run.options.ld = run.H, run.ld
    run.options.vectors = packed.vectors
    run.options.rows = len(packed.kinds) + packed.cell.room
    if not rows.uniform and run.B:
        order = rows.order
        run.order = &order[0]
    for k, rate in enumerate(options.zoneout):
        run.zoned[k] = rate > 0
        run.zone[k].p = rate
        run.zone[k].threshold = threshold_of(rate)
        if noise is not None:
            run.zone[k].random = True
            run.zone[k].seed = noise[k]
    run.two_c = run.zoned[1] and not run.save
    if options.recurrent_dropout and noise is not None:
        run.dropped = True
        # as the reference rounds it: 1 / (1 - p) in double
        run.drop_scale = 1.0 / (1.0 - options.recurrent_dropout)
        run.drop_threshold = threshold_of(options.recurrent_dropout)
        run.drop_seed = noise[2]
    run.around = run.project or run.dropped or run.zoned[0] or run.zoned[1]
    return 0


cdef void around_sizes(const Run* run, size_t* sizes) noexcept:
    """Write the bytes of the forward buffers stats, m and seen."""
    cdef Py_ssize_t rows = run.R if run.save else run.B
    sizes[0] = rows * STATS * run.size if run.cell.norm else 0
    sizes[1] = rows * run.ld * run.size if run.project else 0
    sizes[2] = 2 * run.B * run.ld_h * run.size if run.dropped else 0


cdef void around_backward_sizes(const Run* run, size_t* sizes) noexcept:
    """Write the bytes of dm, projected_dh, carried (two), dseen and dvectors."""
    cdef Py_ssize_t line = run.ld * run.size, line_h = run.ld_h * run.size
    sizes[0] = run.B * line if run.project else 0
    sizes[1] = run.R * line_h if run.project else 0
    sizes[2] = run.B * line_h if run.zoned[0] else 0
    sizes[3] = run.B * line if run.zoned[1] else 0
    sizes[4] = run.B * line_h if run.dropped else 0
    sizes[5] = run.B * run.options.rows * line if run.cell.options else 0


cdef void set_around_step(const Run* run, Py_ssize_t t, rf_step* s) noexcept nogil:
    """Point s at what options have of step t."""
    cdef Py_ssize_t row = run.off[t] if run.save else 0
    s.options = &run.options
    s.stats = run.stats + row * STATS * run.size
    s.dvectors = run.dvectors
    if run.project:
        s.h = run.m + row * run.ld * run.size


cdef inline uint64_t place(const Run* run, Py_ssize_t j, Py_ssize_t element) noexcept nogil:
    """Return the number under which chance knows an element of sorted row j."""
    cdef uint64_t row = j if run.order == NULL else run.order[j]
    return (row << 32) + <uint64_t> element


cdef void see(const Run* run, const char* h, char* to, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t unit,
              Py_ssize_t units) noexcept nogil:
    """Write rows of h as variational dropout lets the recurrent products see them; `to` may be h."""
    cdef Py_ssize_t j, at
    for j in range(row0, row1):
        at = (j * run.ld_h + unit) * run.size
        run.ops.dropout(units, place(run, j, unit), h + at, to + at, run.drop_scale, run.drop_threshold, run.drop_seed)


cdef void h_share(const Run* run, Py_ssize_t group0, Py_ssize_t group1, int thread, int threads, Py_ssize_t* panel0,
                  Py_ssize_t* panel1) noexcept nogil:
    """Write which panels of four vectors of h are a thread's that has those groups of units."""
    cdef Py_ssize_t panels
    panel0[0], panel1[0] = group0, group1
    if run.project:
        panels = (run.ld_h // run.W + GROUP - 1) // GROUP
        if run.by_units:
            share(panels, thread, threads, panel0, panel1)
        else:
            panel0[0], panel1[0] = 0, panels


cdef void after_step(const Run* run, Py_ssize_t t, const rf_step* s, char* h, const char* h_prev, Py_ssize_t row0,
                     Py_ssize_t row1, Py_ssize_t unit, Py_ssize_t units, Py_ssize_t panel0, Py_ssize_t panel1,
                     int thread, int threads) noexcept nogil:
    """What follows the pointwise part; h and h_prev are the rows of step t, the units and panels this thread's."""
    cdef Py_ssize_t line = run.ld * run.size, line_h = run.ld_h * run.size, j
    cdef Py_ssize_t first = panel0 * GROUP * run.W, count = min(panel1 * GROUP * run.W, run.Q) - first
    if run.project:
        if run.by_units:
            barrier(thread, threads)
        if row1 > row0:
            run.ops.product(&run.product[PROJECTION], row1 - row0, <const char*> s.h + row0 * line, NULL,
                            h + row0 * line_h, panel0, panel1)
    if run.zoned[0] and count > 0:
        for j in range(row0, row1):
            run.ops.zoneout(&run.zone[0], count, place(run, j, t * run.Q + first), h_prev + j * line_h + first * run.size,
                            h + j * line_h + first * run.size)
    if run.zoned[1] and units > 0:
        for j in range(row0, row1):
            run.ops.zoneout(&run.zone[1], units, place(run, j, t * run.H + unit),
                            <const char*> s.c_prev + j * line + unit * run.size,
                            <char*> s.c + j * line + unit * run.size)
    if run.dropped and count > 0:
        see(run, h, run.seen + ((t + 1) & 1) * run.B * line_h, row0, row1, first, count)


cdef void before_backward(const Run* run, Py_ssize_t t, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t unit,
                          Py_ssize_t units, Py_ssize_t panel0, Py_ssize_t panel1, Py_ssize_t group0, Py_ssize_t group1,
                          int thread, int threads) noexcept nogil:
    """What precedes the pointwise part of step t, whose dh and dc stand in run.dh and run.dc."""
    cdef Py_ssize_t line = run.ld * run.size, line_h = run.ld_h * run.size, j, at, size
    cdef Py_ssize_t first = panel0 * GROUP * run.W, count = min(panel1 * GROUP * run.W, run.Q) - first
    cdef char* given
    if run.zoned[0] and count > 0:
        for j in range(row0, row1):
            at = j * line_h + first * run.size
            run.ops.zoneout_back(&run.zone[0], count, place(run, j, t * run.Q + first), run.dh + at,
                                 run.carried[0] + at)
    if run.zoned[1] and units > 0:
        for j in range(row0, row1):
            at = j * line + unit * run.size
            run.ops.zoneout_back(&run.zone[1], units, place(run, j, t * run.H + unit), run.dc + at,
                                 run.carried[1] + at)
    if run.project:
        given = run.projected_dh + run.off[t] * line_h
        size = (min(panel1 * GROUP * run.W, run.ld_h) - first) * run.size
        if size > 0:
            for j in range(row0, row1):
                at = j * line_h + first * run.size
                memcpy(given + at, run.dh + at, size)
                memset(run.dh + at, 0, size)
        if run.by_units:
            barrier(thread, threads)
        if row1 > row0:
            run.ops.product(&run.product[PROJECTION], row1 - row0, given + row0 * line_h, NULL, run.dm + row0 * line,
                            group0, group1)


cdef void after_backward(const Run* run, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t unit, Py_ssize_t units,
                         Py_ssize_t panel0, Py_ssize_t panel1) noexcept nogil:
    """Add what the products have left in dseen, and what zoneout has carried past the step."""
    cdef Py_ssize_t line = run.ld * run.size, line_h = run.ld_h * run.size, j, at
    cdef Py_ssize_t first = panel0 * GROUP * run.W, count = min(panel1 * GROUP * run.W, run.Q) - first
    if run.dropped and count > 0:
        see(run, run.dseen, run.dseen, row0, row1, first, count)
        for j in range(row0, row1):
            at = j * line_h + first * run.size
            run.ops.add_rows(count, run.dseen + at, run.dh + at)
    if run.zoned[0] and count > 0:
        for j in range(row0, row1):
            at = j * line_h + first * run.size
            run.ops.add_rows(count, run.carried[0] + at, run.dh + at)
    if run.zoned[1] and units > 0:
        for j in range(row0, row1):
            at = j * line + unit * run.size
            run.ops.add_rows(units, run.carried[1] + at, run.dc + at)


cdef void drop_saved(const Run* run, int thread, int threads) noexcept nogil:
    """Make of the saved states what the products saw, for the gradients of the weights; each thread some rows."""
    cdef Py_ssize_t row0, row1, row, t = 0, j, line = run.ld_h * run.size
    cdef char* h
    share(run.B + run.R, thread, threads, &row0, &row1)
    for row in range(row0, row1):
        j = row
        if row >= run.B:
            t = step_of(run, row - run.B, t)
            j = row - run.B - run.off[t]
        h = run.h + row * line
        run.ops.dropout(run.Q, place(run, j, 0), h, h, run.drop_scale, run.drop_threshold, run.drop_seed)


cdef int add_vectors(Run* run, Packed packed, object grads) except -1:
    """Add the gradients of vectors to the caller's arrays."""
    cdef Py_ssize_t count = len(packed.kinds), gates = packed.cell.gates
    cdef unsigned char[::1] view
    if count == 0 or run.B == 0:
        return 0
    view = <unsigned char[:run.B * run.options.rows * run.ld * run.size]> <unsigned char*> run.dvectors
    by_row = np.asarray(view).view(packed.w_ih.dtype).reshape(run.B, run.options.rows, run.ld)[:, :count, :run.H]
    total = by_row.sum(axis=0)
    if packed.cell.norm and packed.cell.has_c:  # both biases of a gate have one gradient there, which C sums up once
        total[4 * gates - 1:5 * gates - 1] = total[3 * gates - 1:4 * gates - 1]
    for row, (kind, k) in zip(total, packed.kinds):
        if grads.get(kind) is not None:
            grads[kind][k * run.H:(k + 1) * run.H] += row
    return 0
