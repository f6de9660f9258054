"""The time loop, forward and backward, for every cell; the GIL is released around all of it.

All buffers are compact: rows of a step side by side, longest sequences first (rows.pyx).

Forward, for each chunk of steps (small enough that its gates stay in cache): one input product for the whole chunk,
then for each step the recurrent product and the pointwise part, group of units by group of units. Backward: for each
step the pointwise part, then the product that carries the gradient one step back; afterwards one sum of outer products
for each weight, over all steps (gradients.pyx, or blas_gradients.pyx: see provider.py). How threads share the work:
plan.pyx.
"""

import numpy as np

from rnnfast._native.provider import get_gemm

cimport numpy as cnp
from libc.string cimport memcpy, memset

from rnnfast._native.blas_gradients cimport blas_gradients, by_blas
from rnnfast._native.gradients cimport (
    add_biases, input_gradient, set_outers, sum_by_index, table_gradient, weight_gradients
)
from rnnfast._native.kernels cimport alloc, barrier, parallel, release, rf_phase, rf_product, rf_step
from rnnfast._native.pack cimport Packed, packed_weights
from rnnfast._native.plan cimport GROUP, Run, meet, poll, row_share, set_run, share, split, step_of
from rnnfast._native.rows cimport Lengths, Rows, index_at, load_state, read_row, row_at, store_state, write_row

cnp.import_array()


# Forward


cdef void set_step(const Run* run, Py_ssize_t t, Py_ssize_t row, rf_step* s) noexcept nogil:
    """Point s at step t, whose gates begin at `row` of the gate buffer."""
    cdef Py_ssize_t line = run.ld * run.size
    cdef Py_ssize_t previous
    s.ld_gates = run.ld_gates
    s.ld_state = run.ld
    s.gates = run.gates + row * run.ld_gates * run.size
    if run.save:
        previous = 0 if t == 0 else run.B + run.off[t - 1]
        s.h_prev = run.h + previous * line
        s.h = run.h + (run.B + run.off[t]) * line
        s.c_prev = run.c + previous * line
        s.c = run.c + (run.B + run.off[t]) * line
        s.aux = run.aux + run.off[t] * line
    else:
        s.h_prev = run.h + (t & 1) * run.B * line
        s.h = run.h + ((t + 1) & 1) * run.B * line
        s.c_prev = run.c
        s.c = run.c
        s.aux = run.aux


cdef void forward_step(Run* run, Py_ssize_t t, const rf_step* s, Py_ssize_t row0, Py_ssize_t row1,
                       Py_ssize_t group0, Py_ssize_t group1, int thread, int threads) noexcept nogil:
    cdef const rf_phase* phase
    cdef const rf_product* product
    cdef Py_ssize_t count, k, panel0, panel1, r0, r1, j, unit
    cdef Py_ssize_t line = run.ld * run.size, gates_line = run.ld_gates * run.size
    cdef char* gates
    cdef const char* source
    cdef int i
    for i in range(run.cell.phases):
        phase = &run.cell.phase[i]
        product = &run.product[i + 1]
        if phase.from_aux:
            source = <const char*> s.aux
        else:
            source = <const char*> s.h_prev
        count = (min(group1 * GROUP, run.P) - group0 * GROUP + run.grain - 1) // run.grain
        for k in range(count):
            # every other step walks the weights backwards, so that it begins with what is still in cache
            panel0 = group0 * GROUP + (count - 1 - k if run.zigzag and t & 1 else k) * run.grain
            panel1 = min(panel0 + run.grain, run.P)
            for r0 in range(row0, row1, 24):  # rows whose gates of one group stay in the first-level cache
                if run.long_steps:
                    poll(run, thread)
                    if run.stop:
                        break
                r1 = min(r0 + 24, row1)
                gates = <char*> s.gates + r0 * gates_line + phase.first * run.W * run.size
                if run.cell.slots == 1:
                    run.ops.product(product, r1 - r0, source + r0 * line, gates, gates, panel0 // GROUP,
                                    (panel1 + GROUP - 1) // GROUP)
                else:
                    run.ops.product(product, r1 - r0, source + r0 * line, gates, gates, panel0, panel1)
                if run.save:
                    phase.forward(s, r0, r1, panel0, panel1)
                else:
                    phase.infer(s, r0, r1, panel0, panel1)
        if run.by_units:
            if i == run.cell.phases - 1:
                break
            barrier(thread, threads)
    unit = group0 * GROUP * run.W
    cdef Py_ssize_t units = min(group1 * GROUP * run.W, run.H) - unit
    if units > 0:
        for j in range(row0, row1):
            write_row(row_at(&run.y, t, j) + unit * run.y.stride, <char*> s.h + j * line + unit * run.size, units,
                      run.y.stride, run.size)
    if run.by_units:
        barrier(thread, threads)


cdef void project(Run* run, Py_ssize_t rows, const char* xs, Py_ssize_t ld_x, char* gates, int thread) noexcept nogil:
    """Pre-activations of compact rows from their inputs alone."""
    cdef Py_ssize_t n
    while rows > 0:
        poll(run, thread)
        if run.stop:
            return
        n = min(96, rows)
        run.ops.product(&run.product[0], n, xs, run.bias, gates, 0, run.product[0].panels)
        if run.cell.x_slots < run.cell.slots:
            run.ops.fill_slots(n, run.P, run.cell.slots, run.cell.x_slots, run.cell.slots - run.cell.x_slots, run.bias,
                               gates)
        rows -= n
        xs += n * ld_x * run.size
        gates += n * run.ld_gates * run.size


cdef void project_inputs(Run* run, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t base, Py_ssize_t t, char* gates,
                         int thread) noexcept nogil:
    """The same for rows row0..row1, which begin at step t or later; `base` is the first row of the gate buffer."""
    cdef char* xs
    if run.gather:
        xs = run.xs + (row0 - base) * run.X * run.size
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


cdef void forward_task(void* context, int thread, int threads) noexcept nogil:
    cdef Run* run = <Run*> context
    cdef Py_ssize_t t = 0, end, row0, row1, first, base, my_row0 = 0, my_row1, group0 = 0, group1 = run.groups
    cdef Py_ssize_t meetings = 0
    cdef rf_step s
    cdef bint takes_part = thread < run.sharing
    cdef char* gates
    my_row1 = run.B
    cdef int sharing = min(threads, run.sharing)  # the pool may have given fewer than asked for
    if run.by_units:
        share(run.groups, thread, sharing, &group0, &group1)
    else:
        row_share(run, thread, sharing, &my_row0, &my_row1)
    if run.V:
        share(run.V, thread, threads, &row0, &row1)
        project(run, row1 - row0, run.table + row0 * run.X * run.size, run.X,
                run.projected + row0 * run.ld_gates * run.size, thread)
        barrier(thread, threads)
    while t < run.T:
        first = run.off[t]
        end = t + 1
        while end < run.T and run.off[end + 1] - first <= run.chunk:
            end += 1
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
                project_inputs(run, row0, row1, base, t, gates, thread)
        barrier(thread, threads)
        if takes_part:
            while t < end:
                set_step(run, t, run.off[t] - base, &s)
                forward_step(run, t, &s, min(my_row0, run.n[t]), min(my_row1, run.n[t]), group0, group1, thread,
                             sharing)
                t += 1
        t = end
        if meet(run, thread, threads, &meetings):
            return


cdef void gather_rows(const Run* run, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t t, char* to) noexcept nogil:
    """Copy rows row0..row1 of x, the first of which is not before step t, to compact rows."""
    cdef Py_ssize_t row
    for row in range(row0, row1):
        t = step_of(run, row, t)
        read_row(to, row_at(&run.x, t, row - run.off[t]), run.X, run.x.stride, run.size)
        to += run.X * run.size


# Backward


cdef void backward_step(Run* run, Py_ssize_t t, rf_step* s, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t group0,
                        Py_ssize_t group1, int thread, int threads) noexcept nogil:
    cdef const rf_phase* phase
    cdef Py_ssize_t line = run.ld * run.size, gates_line = run.ld_gates * run.size
    cdef Py_ssize_t panel0 = group0 * GROUP, panel1 = min(group1 * GROUP, run.P)
    cdef Py_ssize_t unit = panel0 * run.W, units = min(panel1 * run.W, run.H) - panel0 * run.W, j, u, r, n
    cdef Py_ssize_t group
    cdef char* to
    cdef char* init
    cdef char* gates
    cdef const char* dy
    cdef int i
    if run.y.base != NULL and units > 0:
        for j in range(row0, row1):
            to = run.dh + j * line + unit * run.size
            dy = row_at(&run.y, t, j) + unit * run.y.stride
            if run.y.stride == run.size:
                run.ops.add_rows(units, dy, to)
            elif run.size == 4:
                for u in range(units):
                    (<float*> to)[u] += (<const float*> (dy + u * run.y.stride))[0]
            else:
                for u in range(units):
                    (<double*> to)[u] += (<const double*> (dy + u * run.y.stride))[0]
    for i in range(run.cell.phases - 1, -1, -1):
        phase = &run.cell.phase[i]
        phase.backward(s, row0, row1, panel0, panel1)
        if run.by_units:
            barrier(thread, threads)
        for r in range(row0, row1, 96):
            if run.long_steps:
                poll(run, thread)
                if run.stop:
                    break
            n = min(96, row1 - r)
            to = (run.daux if phase.from_aux else run.dh) + r * line
            gates = <char*> s.gates + r * gates_line + phase.first * run.W * run.size
            init = NULL if phase.from_aux else to
            if run.zigzag and t & 1:
                group = group1
                while group > group0:
                    run.ops.product(&run.product[i + 1], n, gates, init, to, max(group - 2, group0), group)
                    group -= 2
            else:
                run.ops.product(&run.product[i + 1], n, gates, init, to, group0, group1)


cdef void backward_task(void* context, int thread, int threads) noexcept nogil:
    cdef Run* run = <Run*> context
    cdef Py_ssize_t t, row0 = 0, row1 = run.B, group0 = 0, group1 = run.groups, count = 0
    cdef Py_ssize_t meetings = 0
    cdef int sharing = min(threads, run.sharing)
    cdef rf_step s
    if run.by_units:
        share(run.groups, thread, sharing, &group0, &group1)
    else:
        row_share(run, thread, sharing, &row0, &row1)
    s.dh, s.dc, s.daux = run.dh, run.dc, run.daux
    for t in range(run.T - 1, -1, -1):
        if thread < sharing:
            set_step(run, t, run.off[t], &s)
            backward_step(run, t, &s, min(row0, run.n[t]), min(row1, run.n[t]), group0, group1, thread, sharing)
        count += run.n[t]
        if count > run.chunk:
            count = 0
            if meet(run, thread, threads, &meetings):
                return
    if meet(run, thread, threads, &meetings):
        return
    if run.V:
        sum_by_index(run, thread, threads)
    input_gradient(run, thread, threads)
    if meet(run, thread, threads, &meetings):
        return
    weight_gradients(run, thread, threads)
    if run.V:
        table_gradient(run, thread, threads)


# Setting up


cdef class Saved:
    """What forward keeps for backward: 4 to 6 numbers for each unit, step and row. Used up by one backward pass."""

    cdef Packed packed
    cdef Lengths rows
    cdef object x             # keeps the user's array alive where xs points into it; indices where there is a table
    cdef cnp.ndarray table    # (V, X), or None
    cdef bint reverse, used
    cdef Py_ssize_t ld_x
    cdef bint gather
    cdef char* xs
    cdef char* gates
    cdef char* h
    cdef char* c
    cdef char* aux

    def __cinit__(self):
        self.xs = self.gates = self.h = self.c = self.aux = NULL

    def __dealloc__(self):
        self.free()

    cdef void free(self) noexcept:
        if self.gather:
            release(self.xs)
        release(self.gates)
        release(self.h)
        release(self.c)
        release(self.aux)
        self.xs = self.gates = self.h = self.c = self.aux = NULL


cdef int set_forward(Run* run, Packed packed, Lengths rows, bint save) except -1:
    """Set up a forward run but for its buffers and threads."""
    cdef int i
    set_run(run, packed, rows)
    run.save = save
    for i in range(1 + packed.cell.phases):
        run.product[i] = packed.forward[i]
        run.product[i].lda = run.ld
        run.product[i].ldc = run.product[i].ld_init = run.ld_gates
    run.product[0].lda = run.ld_x = run.X
    run.product[0].ld_init = 0
    return 0


cdef void forward_sizes(const Run* run, size_t* sizes) noexcept:
    """Write the bytes of the buffers xs, gates, h, c, aux and projected."""
    cdef Py_ssize_t line = run.ld * run.size
    cdef Py_ssize_t gate_rows = run.R if run.save else min(run.R, max(run.chunk, run.B))
    cdef Py_ssize_t state_rows = run.B + run.R if run.save else run.B
    sizes[0] = gate_rows * run.X * run.size if run.gather else 0
    sizes[1] = gate_rows * run.ld_gates * run.size
    sizes[2] = (state_rows if run.save else 2 * run.B) * line
    sizes[3] = state_rows * line if run.cell.has_c else 0
    sizes[4] = (run.R if run.save else run.B) * line if run.cell.has_aux else 0
    sizes[5] = run.V * run.ld_gates * run.size


def direction_forward(cell, x, weights, tuple state, lengths, bint reverse, cnp.ndarray out, bint save):
    """Run one direction of one layer over a batch; see rnnfast.reference.recurrent for what everything is."""
    cdef Packed packed = packed_weights(cell.name, weights)
    cdef Lengths rows = Lengths(cnp.PyArray_DIM(out, 0), cnp.PyArray_DIM(out, 1), lengths)
    cdef cnp.ndarray table = None
    cdef Run run
    cdef Saved saved = None
    cdef int threads
    cdef size_t sizes[6]
    set_forward(&run, packed, rows, save)
    errors = []
    run.errors = <void*> errors
    if isinstance(x, tuple):
        table = np.ascontiguousarray(x[0])
        x = x[1][:, :, None]
        run.table, run.V = cnp.PyArray_BYTES(table), cnp.PyArray_DIM(table, 0)
    threads = split(&run, 1)
    saved = Saved()
    saved.packed, saved.rows, saved.reverse = packed, rows, reverse
    try:
        rows.set_rows(&run.x, x, reverse)
        rows.set_rows(&run.y, out, reverse)
        run.ld_x = run.X if run.V else rows.linear(&run.x, run.size)
        run.gather = run.ld_x == 0
        forward_sizes(&run, sizes)
        if run.V:
            saved.x, saved.table = x, table
            run.projected = <char*> alloc(sizes[5])
            if run.projected == NULL:
                raise MemoryError
        elif run.gather:
            run.ld_x = run.X
            saved.gather = True
            saved.xs = <char*> alloc(sizes[0])
        elif run.R:
            saved.x = x
            saved.xs = run.x.base + run.x.start[0]
        saved.ld_x = run.ld_x
        saved.gates = <char*> alloc(sizes[1])
        saved.h = <char*> alloc(sizes[2])
        if packed.cell.has_c:
            saved.c = <char*> alloc(sizes[3])
        if packed.cell.has_aux:
            saved.aux = <char*> alloc(sizes[4])
        if (saved.gather and saved.xs == NULL or saved.gates == NULL or saved.h == NULL
                or packed.cell.has_c and saved.c == NULL or packed.cell.has_aux and saved.aux == NULL):
            raise MemoryError
        run.xs, run.gates, run.h, run.c, run.aux = saved.xs, saved.gates, saved.h, saved.c, saved.aux
        run.product[0].lda = run.ld_x
        load_state(rows, state[0], run.h, run.ld)
        if packed.cell.has_c:
            load_state(rows, state[1], run.c, run.ld)
        with nogil:
            parallel(forward_task, &run, threads)
        if errors:
            raise errors[0]
        rows.zero_tails(out)
        final = final_states(&run, rows)
    finally:
        release(run.x.start)
        release(run.y.start)
        release(run.projected)
    return final, (saved if save else None)


cdef tuple final_states(Run* run, Lengths rows):
    """Collect each row's last state from where its last step has left it."""
    cdef Py_ssize_t j, t = run.T, line = run.ld * run.size
    cdef char* last = <char*> alloc(2 * run.B * line)
    cdef Py_ssize_t at
    if last == NULL:
        raise MemoryError
    try:
        for j in range(run.B):
            while t > 0 and run.n[t - 1] <= j:
                t -= 1
            # t steps were made by row j
            if run.save:
                at = j if t == 0 else run.B + run.off[t - 1] + j
                memcpy(last + j * line, run.h + at * line, line)
                if run.cell.has_c:
                    memcpy(last + (run.B + j) * line, run.c + at * line, line)
            else:
                memcpy(last + j * line, run.h + ((t & 1) * run.B + j) * line, line)
                if run.cell.has_c:
                    memcpy(last + (run.B + j) * line, run.c + j * line, line)
        h = store_state(rows, last, run.ld, run.H, run.size)
        if run.cell.has_c:
            return h, store_state(rows, last + run.B * line, run.ld, run.H, run.size)
        return (h,)
    finally:
        release(last)


cdef size_t backward_sizes(Run* run, Packed packed, int threads, size_t* sizes) noexcept:
    """Write the bytes of dh, dc, daux, sums for biases, scratch of all threads, sums by index.

    They are parts of one block, whose size is returned.
    """
    cdef Py_ssize_t line = run.ld * run.size
    cdef size_t total = 0
    cdef int i
    run.scratch_size = max(run.ops.outer_scratch(run.ld_gates, max(run.X, run.H)), 96 * run.X) * run.size
    run.scratch_size = (run.scratch_size + 63) // 64 * 64
    sizes[0] = run.B * line
    sizes[1] = run.B * line if packed.cell.has_c else 0
    sizes[2] = run.B * line if packed.cell.has_aux else 0
    sizes[3] = run.ld_gates * run.size if packed.has_bias else 0
    sizes[4] = threads * run.scratch_size
    sizes[5] = run.V * run.ld_gates * run.size
    for i in range(6):
        sizes[i] = (sizes[i] + 63) // 64 * 64
        total += sizes[i]
    return total


def direction_backward(Saved saved, dy, dstate, dx, grads):
    """Run one direction of one layer backwards; see rnnfast.reference.recurrent for what everything is."""
    cdef Packed packed = saved.packed
    cdef Lengths rows = saved.rows
    cdef Run run
    cdef int threads, i
    cdef char* work = NULL
    cdef size_t sizes[6]
    cdef size_t total
    if saved.used:
        raise RuntimeError("a pullback may be called once: it has consumed what forward saved")
    saved.used = True
    packed.make_backward()
    rows.make_before()
    set_run(&run, packed, rows)
    run.save = True
    errors = []
    run.errors = <void*> errors
    run.before = rows.before
    run.blas = get_gemm() == "blas"
    run.xs, run.gates, run.h, run.c, run.aux = saved.xs, saved.gates, saved.h, saved.c, saved.aux
    run.ld_x = saved.ld_x
    if saved.table is not None:
        run.table, run.V = cnp.PyArray_BYTES(saved.table), cnp.PyArray_DIM(saved.table, 0)
    threads = split(&run, 2)
    for i in range(1 + packed.cell.phases):
        run.product[i] = packed.backward[i]
        run.product[i].lda = run.ld_gates
        run.product[i].ldc = run.product[i].ld_init = run.ld
    total = backward_sizes(&run, packed, threads, sizes)
    try:
        work = <char*> alloc(total)
        if work == NULL:
            raise MemoryError
        run.dh = work
        run.dc = run.dh + sizes[0]
        run.daux = run.dc + sizes[1]
        run.bias_sums = run.daux + sizes[2]
        run.scratch = run.bias_sums + sizes[3]
        run.projected = run.scratch + sizes[4]
        if packed.has_bias:
            memset(run.bias_sums, 0, sizes[3])
        else:
            run.bias_sums = NULL
        load_gradient(rows, dstate[0], run.dh, run.ld, run.size)
        if packed.cell.has_c:
            load_gradient(rows, dstate[1], run.dc, run.ld, run.size)
        if dy is not None:
            rows.set_rows(&run.y, dy, saved.reverse)
        if run.V:
            rows.set_rows(&run.x, saved.x, saved.reverse)
        if run.V and dx is not None:
            run.dx.base = cnp.PyArray_BYTES(<cnp.ndarray> dx)
            run.product[0].ldc = run.product[0].ld_init = run.X
        elif dx is not None:
            rows.set_rows(&run.dx, dx, saved.reverse)
            run.product[0].ldc = rows.linear(&run.dx, run.size)
            run.direct_dx = run.product[0].ldc != 0
            if not run.direct_dx:
                run.product[0].ldc = run.X
        # sums that take long may be interrupted, and then the caller's arrays are to be as they were
        run.direct = (2.0 * max(run.R, run.V) * run.ld_gates * (run.X + run.H) < 1e9
                      and grads["w_ih"].flags.c_contiguous and grads["w_hh"].flags.c_contiguous)
        targets = {name: grads[name] if run.direct else np.zeros_like(grads[name], order="C") for name in ("w_ih", "w_hh")}
        set_outers(&run, packed, targets)
        with nogil:
            parallel(backward_task, &run, threads)
        if errors:
            raise errors[0]
        if run.blas:
            blas_gradients(&run, packed, grads)
        if dx is not None and not run.V:
            rows.zero_tails(dx)
        if not run.direct:
            for name in targets:
                grads[name] += targets[name]
        add_biases(&run, packed, grads)
        dh = store_state(rows, run.dh, run.ld, run.H, run.size)
        if packed.cell.has_c:
            return dh, store_state(rows, run.dc, run.ld, run.H, run.size)
        return (dh,)
    finally:
        release(work)
        release(run.x.start)
        release(run.y.start)
        release(run.dx.start)
        saved.free()


cdef int load_gradient(Lengths rows, object gradient, char* to, Py_ssize_t ld, Py_ssize_t size) except -1:
    if gradient is None:
        memset(to, 0, rows.B * ld * size)
        return 0
    return load_state(rows, gradient, to, ld)
