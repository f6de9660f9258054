"""The time loop, forward, for every cell; the GIL is released around all of it. (Backward: unroll_backward.pyx.)

All buffers are compact: rows of a step side by side, longest sequences first (rows.pyx).

For each chunk of steps (small enough that its gates stay in cache): one input product for the whole chunk, then for
each step the recurrent product and the pointwise part, group of units by group of units. Threads do so together, or
each for rows of its own without a look at the others; which, and how they share: plan.pyx.
"""

from libc.string cimport memcpy

from rnnfast._native.around cimport after_step, h_share, see, set_around_step
from rnnfast._native.kernels cimport barrier, post, rf_phase, rf_product, rf_step, rf_steps, wait_until
from rnnfast._native.pack cimport PROJECTION, Packed
from rnnfast._native.places cimport leave_places, take_places, with_places
from rnnfast._native.plan cimport (
    BLOCK, GROUP, HEAD, Run, begin, cells_at, meet, poll, row_share, set_run, share, state_at, step_of, steps_at_once,
    steps_together
)
from rnnfast._native.rows cimport Lengths, index_at, read_row, row_at, want_row, write_row


# The loop


cdef void set_step(const Run* run, Py_ssize_t t, Py_ssize_t row, rf_step* s) noexcept nogil:
    """Point s at step t, whose gates begin at `row` of the gate buffer."""
    s.ld_gates = run.ld_gates
    s.ld_state = run.ld
    s.gates = run.gates + row * run.ld_gates * run.size
    s.h_prev = state_at(run, t)
    s.h = state_at(run, t + 1)
    s.c_prev, s.c = cells_at(run, t), cells_at(run, t + 1)
    s.aux = run.aux + run.off[t] * run.ld * run.size if run.save else run.aux
    if run.cell.options or run.around:
        set_around_step(run, t, s)


cdef void project_panels(const Run* run, Py_ssize_t rows, const char* xs, char* gates, Py_ssize_t panel0,
                         Py_ssize_t panel1) noexcept nogil:
    """Pre-activations of some panels of units from the inputs alone, of rows whose gates begin at `gates`."""
    cdef Py_ssize_t part = panel0 * run.cell.slots * run.W * run.size
    if run.cell.slots == 1:
        panel0, panel1 = panel0 // GROUP, (panel1 + GROUP - 1) // GROUP
    run.ops.product(&run.product[0], rows, xs, run.bias, gates, panel0, panel1)
    if run.cell.x_slots < run.cell.slots:
        run.ops.fill_slots(rows, run.ld_gates, panel1 - panel0, run.cell.slots, run.cell.x_slots,
                           run.cell.slots - run.cell.x_slots, run.bias + part, gates + part)


cdef void forward_step(Run* run, Py_ssize_t t, const rf_step* s, Py_ssize_t row0, Py_ssize_t row1,
                       Py_ssize_t group0, Py_ssize_t group1, bint joint, int thread, int threads) noexcept nogil:
    """Do a thread's part of a step; `joint`: the input product of its rows too, panel by panel."""
    cdef const rf_phase* phase
    cdef const rf_product* product
    cdef Py_ssize_t count, k, panel0, panel1, r0, r1, j
    cdef Py_ssize_t line = run.ld * run.size, line_h = run.ld_h * run.size, gates_line = run.ld_gates * run.size
    cdef Py_ssize_t source_line, part0 = group0, part1 = group1
    cdef Py_ssize_t first = group0 * run.group, last = min(group1 * run.group, run.P)
    cdef Py_ssize_t unit = first * run.W, units = min(last * run.W, run.H) - unit
    cdef char* h = state_at(run, t + 1)
    cdef char* gates
    cdef char* y
    cdef const char* source
    cdef int i
    for i in range(run.cell.phases):
        phase = &run.cell.phase[i]
        product = &run.product[i + 1]
        if phase.from_aux:
            source, source_line = <const char*> s.aux, line
        elif run.dropped:
            source, source_line = run.seen + (t & 1) * run.B * line_h, line_h
        else:
            source, source_line = <const char*> s.h_prev, line_h
        count = (last - first + run.grain - 1) // run.grain
        for k in range(count):
            # every other step walks the weights backwards, so that it begins with what is still in cache
            panel0 = first + (count - 1 - k if run.zigzag and (run.turn + t) & 1 else k) * run.grain
            panel1 = min(panel0 + run.grain, last)
            for r0 in range(row0, row1, 24):  # rows whose gates of one group stay in the first-level cache
                if run.long_steps:
                    poll(run, thread)
                    if run.stop:
                        break
                r1 = min(r0 + 24, row1)
                if joint and i == 0:
                    project_panels(run, r1 - r0, run.xs + r0 * run.ld_x * run.size, <char*> s.gates + r0 * gates_line,
                                   panel0, panel1)
                gates = <char*> s.gates + r0 * gates_line + phase.first * run.W * run.size
                if run.cell.slots == 1:
                    run.ops.product(product, r1 - r0, source + r0 * source_line, gates, gates, panel0 // GROUP,
                                    (panel1 + GROUP - 1) // GROUP)
                else:
                    run.ops.product(product, r1 - r0, source + r0 * source_line, gates, gates, panel0, panel1)
                if run.save:
                    phase.forward(s, r0, r1, panel0, panel1)
                else:
                    phase.infer(s, r0, r1, panel0, panel1)
        if run.dropped and i < run.cell.phases - 1:  # what the next product reads is dropped too
            see(run, <const char*> s.aux, <char*> s.aux, row0, row1, unit, units)
        if run.by_units:
            if i == run.cell.phases - 1:
                break
            barrier(thread, threads)
    if run.around:
        h_share(run, group0, group1, thread, threads, &part0, &part1)
        after_step(run, t, s, h, <const char*> s.h_prev, row0, row1, unit, units, part0, part1, thread, threads)
        unit = part0 * GROUP * run.W
        units = min(part1 * GROUP * run.W, run.Q) - unit
    if units > 0:
        for j in range(row0, row1):
            y = row_at(&run.y, t, j) + unit * run.y.stride
            write_row(y, h + j * line_h + unit * run.size, units, run.y.stride, run.size)
            want_row(y + run.y.step, units, &run.y, run.size)
    if run.by_units:
        barrier(thread, threads)


cdef void project(Run* run, Py_ssize_t rows, const char* xs, Py_ssize_t ld_x, char* gates, int thread) noexcept nogil:
    """Pre-activations of compact rows from their inputs alone."""
    cdef Py_ssize_t n
    while rows > 0:
        poll(run, thread)
        if run.stop:
            return
        n = min(<Py_ssize_t> BLOCK, rows)
        run.ops.product(&run.product[0], n, xs, run.bias, gates, 0, run.product[0].panels)
        if run.cell.x_slots < run.cell.slots:
            run.ops.fill_slots(n, run.ld_gates, run.P, run.cell.slots, run.cell.x_slots,
                               run.cell.slots - run.cell.x_slots, run.bias, gates)
        rows -= n
        xs += n * ld_x * run.size
        gates += n * run.ld_gates * run.size


cdef void project_inputs(Run* run, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t first, Py_ssize_t t, char* gates,
                         int thread) noexcept nogil:
    """The same for rows row0..row1, which begin at step t or later; `first` is the first row of the chunk."""
    cdef char* xs
    if run.gather:
        xs = run.xs + (row0 - first) * run.X * run.size
        gather_rows(run, row0, row1, t, xs)
    else:
        xs = run.xs + row0 * run.ld_x * run.size
    project(run, row1 - row0, xs, run.ld_x, gates, thread)


cdef void look_up(const Run* run, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t t, char* gates) noexcept nogil:
    """The same where the inputs are rows of a table, which has been projected."""
    cdef Py_ssize_t row, line = run.ld_gates * run.size
    for row in range(row0, row1):
        t = step_of(run, row, t)
        memcpy(gates, run.projected + index_at(&run.x, t, row - run.off[t]) * line, line)
        gates += line


cdef void sweep_row(Run* run, Py_ssize_t t, Py_ssize_t end, Py_ssize_t row, int thread, int threads) noexcept nogil:
    """Do a thread's part of steps t..end of a single row at once; their gates begin at `row` of the gate buffer."""
    cdef rf_step first
    cdef rf_steps s
    set_step(run, t, row, &first)
    s.steps, s.hidden, s.ld_gates = end - t, run.H, run.ld_gates
    s.product, s.gates = &run.product[1], first.gates
    s.ld_state = run.ld if run.save else 0
    s.h_prev, s.h[0], s.h[1] = first.h_prev, first.h, state_at(run, t + 2)
    s.c_prev, s.c = first.c_prev, first.c
    s.y, s.y_step = row_at(&run.y, t, 0), run.y.step
    s.turn = run.turn + t
    s.thread, s.threads, s.group, s.told = thread, threads, run.group * run.W, <unsigned long> t
    if threads == 1:
        run.cell.steps(&s)
    else:
        run.cell.steps_together(&s)


cdef bint goes_alone(const Run* run) noexcept nogil:
    """Return whether one thread does the steps by `sweep_row`: of a single row, of few units."""
    return steps_at_once(run, False) and run.y.stride == run.size and not run.history


cdef bint goes_together(const Run* run) noexcept nogil:
    """Return whether threads do so, each for units of its own."""
    return run.by_units and steps_together(run) and run.y.stride == run.size and not run.history


cdef void sweep(Run* run, Py_ssize_t t, Py_ssize_t end, Py_ssize_t base, Py_ssize_t row0, Py_ssize_t row1,
                Py_ssize_t group0, Py_ssize_t group1, int thread, int threads) noexcept nogil:
    """Do a thread's part of steps t..end; `base` is the row that the gate buffer begins with."""
    cdef rf_step s
    if goes_alone(run) if threads == 1 else goes_together(run):
        sweep_row(run, t, end, run.off[t] - base, thread, threads)
        return
    while t < end:
        set_step(run, t, run.off[t] - base, &s)
        forward_step(run, t, &s, min(row0, run.n[t]), min(row1, run.n[t]), group0, group1, False, thread, threads)
        t += 1


cdef Py_ssize_t end_of_chunk(const Run* run, Py_ssize_t t) noexcept nogil:
    cdef Py_ssize_t first = run.off[t]
    t += 1
    while t < run.T and run.off[t + 1] - first <= run.chunk:
        t += 1
    return t


cdef void forward_piece(Run* run, Py_ssize_t t, Py_ssize_t end) noexcept nogil:
    """Do steps t..end by one thread, chunk by chunk."""
    cdef Py_ssize_t first, until, base
    cdef char* gates
    while t < end and not run.stop:
        first, until = run.off[t], min(end, end_of_chunk(run, t))
        base = 0 if run.save else first
        gates = run.gates + (first - base) * run.ld_gates * run.size
        if run.V:
            look_up(run, first, run.off[until], t, gates)
        else:
            project_inputs(run, first, run.off[until], first, t, gates, 0)
        sweep(run, t, until, base, 0, run.B, 0, run.groups, 0, 1)
        t = until
        poll(run, 0)


cdef void project_table(Run* run, int thread, int threads) noexcept nogil:
    """Pre-activations of the rows of the table, shared out."""
    cdef Py_ssize_t row0, row1
    share(run.V, thread, threads, &row0, &row1)
    project(run, row1 - row0, run.table + row0 * run.X * run.size, run.X,
            run.projected + row0 * run.ld_gates * run.size, thread)
    barrier(thread, threads)


cdef void only_step(Run* run, Py_ssize_t group0, Py_ssize_t group1, int thread, int threads) noexcept nogil:
    """A call's only step: who makes a unit's gates reads its input weights as well, and nobody waits in between."""
    cdef Py_ssize_t row0 = 0, row1 = run.B, meetings = 0
    cdef rf_step s
    poll(run, thread)
    if not run.by_units:
        row_share(run, 0, 1, thread, threads, &row0, &row1)
    set_step(run, 0, 0, &s)
    forward_step(run, 0, &s, min(row0, run.n[0]), min(row1, run.n[0]), group0, group1, True, thread, threads)
    meet(run, thread, threads, &meetings)


cdef void forward_together(Run* run, int thread, int threads) noexcept nogil:
    """All steps: threads share out the input product of each chunk, then the recurrence, and wait for each other."""
    cdef Py_ssize_t t = 0, end, row0, row1, first, base, my_row0 = 0, my_row1, group0 = 0, group1 = run.groups
    cdef Py_ssize_t meetings = 0
    cdef bint takes_part = thread < run.sharing
    cdef char* gates
    my_row1 = run.B
    cdef int sharing = min(threads, run.sharing)  # the pool may have given fewer than asked for
    if run.by_units:
        share(run.groups, thread, sharing, &group0, &group1)
    # a single row of few units is faster by its sweep in a single step too
    if (run.T == 1 and sharing == threads and not run.V and not run.gather
            and not (threads == 1 and run.P <= GROUP and goes_alone(run))):
        only_step(run, group0, group1, thread, threads)
        return
    while t < run.T:
        first = run.off[t]
        end = end_of_chunk(run, t)
        base = 0 if run.save else first  # compact row that the gate buffer begins with
        # the input product of all rows of the chunk
        share(run.off[end] - first, thread, threads, &row0, &row1)
        row0 += first
        row1 += first
        if row1 > row0:
            gates = run.gates + (row0 - base) * run.ld_gates * run.size
            if run.V:
                look_up(run, row0, row1, t, gates)
            else:
                project_inputs(run, row0, row1, first, t, gates, thread)
        barrier(thread, threads)
        if not run.by_units:
            row_share(run, t, end, thread, sharing, &my_row0, &my_row1)
        if takes_part:
            sweep(run, t, end, base, my_row0, my_row1, group0, group1, thread, sharing)
        t = end
        if meet(run, thread, threads, &meetings):
            return


cdef void forward_beside(Run* run, int thread, int threads) noexcept nogil:
    """All steps by thread 0, the input product by the others, who keep ahead of it, and by itself at first."""
    cdef Py_ssize_t t = 0, end, until, first, base, rows, head, piece, row, ready, helpers = threads - 1
    cdef Py_ssize_t meetings = 0
    cdef char* gates
    while t < run.T:
        first, end = run.off[t], end_of_chunk(run, t)
        base = 0 if run.save else first
        gates = run.gates + (first - base) * run.ld_gates * run.size
        rows = run.off[end] - first
        head = min(rows, max(<Py_ssize_t> HEAD, <Py_ssize_t> (run.head * rows)))
        piece = max(24, min(96, rows // 16))
        if thread > 0:  # every thread each so many pieces; it tells up to which row
            row = head + (thread - 1) * piece
            while row < rows:
                ready = min(rows, row + piece)
                project_inputs(run, first + row, first + ready, first, t, gates + row * run.ld_gates * run.size, thread)
                post(thread, first + ready)
                row += helpers * piece
        else:
            project_inputs(run, first, first + head, first, t, gates, thread)
            ready = head
            while t < end and not run.stop:
                while ready < run.off[t + 1] - first:
                    row, ready = ready, min(rows, ready + piece)
                    wait_until(0, 1 + (row - head) // piece % helpers, first + ready)
                until = t + 1
                while until < end and run.off[until + 1] - first <= ready:
                    until += 1
                sweep(run, t, until, base, 0, run.B, 0, run.groups, 0, 1)
                t = until
                poll(run, thread)
        t = end
        if meet(run, thread, threads, &meetings):
            return


cdef inline Py_ssize_t spare_rows(const Run* run) noexcept nogil:
    """Return how many rows a thread that goes apart has in the chunk's buffers besides those of one step."""
    return max(0, min(run.chunk, (run.R - run.B) // run.sharing))


cdef void project_own(Run* run, Py_ssize_t first, Py_ssize_t end, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t at,
                      Py_ssize_t count, int thread) noexcept nogil:
    """Pre-activations from the inputs alone, of those of rows row0..row1 that are alive in steps first..end: `count`.

    Where gates are kept they go where they belong, else side by side from row `at` of the buffer on.
    """
    cdef const rf_product* product = &run.product[0]
    cdef Py_ssize_t line = run.ld_gates * run.size, line_x = run.ld_x * run.size, t, rows, done = 0, panel, step
    cdef char* own
    cdef char* xs
    cdef char* gates
    if run.V:
        for t in range(first, end):
            rows = min(row1, run.n[t]) - row0
            gates = run.gates + (run.off[t] + row0 if run.save else at + done) * line
            look_up(run, run.off[t] + row0, run.off[t] + row0 + rows, t, gates)
            done += rows
        return
    own = NULL
    if run.gather:
        own = xs = run.xs + at * line_x
        for t in range(first, end):
            rows = min(row1, run.n[t]) - row0
            gather_rows(run, run.off[t] + row0, run.off[t] + row0 + rows, t, xs)
            xs += rows * line_x
        if not run.save:
            project(run, count, own, run.ld_x, run.gates + at * line, thread)
            return
    # as many panels as a product takes at once
    step = max(2 if row1 - row0 <= 3 else 1, GROUP // product.vectors)
    panel = 0
    while panel < product.panels:
        poll(run, thread)
        if run.stop:
            return
        done = 0
        for t in range(first, end):
            rows = min(row1, run.n[t]) - row0
            xs = own + done * line_x if run.gather else run.xs + (run.off[t] + row0) * line_x
            gates = run.gates + (run.off[t] + row0 if run.save else at + done) * line
            run.ops.product(product, rows, xs, run.bias, gates, panel, min(panel + step, product.panels))
            if panel + step >= product.panels and run.cell.x_slots < run.cell.slots:
                run.ops.fill_slots(rows, run.ld_gates, run.P, run.cell.slots, run.cell.x_slots,
                                   run.cell.slots - run.cell.x_slots, run.bias, gates)
            done += rows
        panel += step


cdef void forward_apart(Run* run, int thread, int threads) noexcept nogil:
    """All steps of a thread's own rows, waiting for nobody."""
    cdef Py_ssize_t t = 0, end, row0, row1, rows, count, at
    cdef rf_step s
    cdef Run place
    cdef Run* own
    row_share(run, 0, run.T, thread, threads, &row0, &row1)
    own = take_places(run, &place, False, thread, row0, row1)
    while t < run.T and run.n[t] > row0 and not run.stop:
        count, end = 0, t
        while end < run.T and run.n[end] > row0:
            rows = min(row1, run.n[end]) - row0
            if count and count + rows > spare_rows(run):
                break
            count += rows
            end += 1
        poll(run, thread)
        at = thread * spare_rows(run) + row0
        project_own(run, t, end, row0, row1, at, count, thread)
        while t < end:
            rows = min(row1, run.n[t]) - row0
            set_step(own, t, run.off[t] if run.save else at - row0, &s)
            if own != run:  # else thread 0 would take from the others at every step what they look at
                own.stop = run.stop
            forward_step(own, t, &s, row0, row0 + rows, 0, run.groups, False, thread, threads)
            at += rows
            t += 1
    leave_places(run, own, False, row0, row1)


cdef void forward_task(void* context, int thread, int threads) noexcept nogil:
    cdef Run* run = <Run*> context
    begin(thread, threads)
    if run.V:
        project_table(run, thread, threads)
    if run.beside and threads > 1:
        forward_beside(run, thread, threads)
    elif run.apart and threads > 1:
        forward_apart(run, thread, threads)
    else:
        forward_together(run, thread, threads)


cdef void gather_rows(const Run* run, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t t, char* to) noexcept nogil:
    """Copy rows row0..row1 of x, the first of which is not before step t, to compact rows."""
    cdef Py_ssize_t row, j
    for row in range(row0, row1):
        t = step_of(run, row, t)
        read_row(to, row_at(&run.x, t, row - run.off[t]), run.X, run.x.stride, run.size)
        j = row - run.off[t] + 8
        if j < run.B:
            want_row(row_at(&run.x, t, j), run.X, &run.x, run.size)
        to += run.X * run.size


# Setting up


cdef int set_forward(Run* run, Packed packed, Lengths rows, bint save) except -1:
    """Set up a forward run but for its buffers and threads."""
    cdef int i
    set_run(run, packed, rows)
    run.save = save
    run.turn = packed.turn  # a call begins with what the one before it has left in cache
    packed.turn += run.T
    for i in range(1 + packed.cell.phases):
        run.product[i] = packed.forward[i]
        run.product[i].lda = run.ld_h
        run.product[i].ldc = run.product[i].ld_init = run.ld_gates
    if run.project:
        run.product[PROJECTION] = packed.forward[PROJECTION]
        run.product[PROJECTION].lda, run.product[PROJECTION].ldc = run.ld, run.ld_h
    run.product[0].lda = run.ld_x = run.X
    run.product[0].ld_init = 0
    return 0


cdef void forward_sizes(const Run* run, size_t* sizes) noexcept:
    """Write the bytes of the buffers xs, gates, h, c, aux and projected."""
    cdef Py_ssize_t line = run.ld * run.size
    cdef Py_ssize_t rows = min(run.R, max(run.chunk, run.B))
    cdef Py_ssize_t state_rows = run.B + run.R if run.save else run.B
    if run.apart:
        rows = max(rows, run.sharing * spare_rows(run) + run.B)
    sizes[0] = rows * run.X * run.size if run.gather else 0
    sizes[1] = (run.R if run.save else rows) * run.ld_gates * run.size
    sizes[2] = (state_rows if run.history else (3 if run.save else 2) * run.B) * run.ld_h * run.size
    sizes[3] = state_rows * (1 + run.two_c) * line if run.cell.has_c else 0
    sizes[4] = (run.R if run.save else run.B) * line if run.cell.has_aux else 0
    if not run.history:
        sizes[2] = with_places(run, sizes[2])
    if not run.save:
        sizes[3], sizes[4] = with_places(run, sizes[3]), with_places(run, sizes[4])
    sizes[5] = run.V * run.ld_gates * run.size
