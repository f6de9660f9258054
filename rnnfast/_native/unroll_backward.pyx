"""The time loop, backward, for every cell; the GIL is released around all of it.

For each step the pointwise part, then the product that carries the gradient one step back; afterwards one sum of outer
products for each weight, over all steps (gradients.pyx, or blas_gradients.pyx: see provider.py). Buffers are compact
as in unroll.pyx.
"""

from rnnfast._native.provider import get_gemm

cimport numpy as cnp
from libc.string cimport memcpy, memset

from rnnfast._native.around cimport (
    add_vectors, after_backward, around_backward_sizes, before_backward, drop_saved, h_share, see, set_around,
)
from rnnfast._native.blas_gradients cimport blas_gradients
from rnnfast._native.gradients cimport (
    add_biases, gradients_beside, input_gradient, input_gradient_rows, make_targets, segment_rows, set_outers, sum_by_index, table_gradient,
    weight_gradients
)
from rnnfast._native.kernels cimport (
    RF_READS_AFTER, RF_READS_BEFORE, alloc, barrier, parallel, post, release, rf_phase, rf_step, rf_steps_back,
    rf_want
)
from rnnfast._native.pack cimport PROJECTION, Packed
from rnnfast._native.plan cimport BLOCK, GROUP, NOW, Run, When, begin, meet, poll, row_share, set_run, share, split
from rnnfast._native.rows cimport Lengths, load_state, row_at, store_state
from rnnfast._native.unroll cimport Saved, set_step

cnp.import_array()


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
    return (run.B == 1 and run.cell.steps_back != NULL and run.P <= GROUP and not run.around and not run.history
            and run.hs.stride == run.size and (run.y.base == NULL or run.y.stride == run.size))


cdef void sweep_alone(Run* run, Py_ssize_t t, Py_ssize_t end) noexcept nogil:
    """Do steps t..end of a single row at once, the last of them first."""
    cdef rf_step first
    cdef rf_steps_back s
    set_step(run, t, t, &first)
    s.steps, s.hidden, s.ld_gates = end - t, run.H, run.ld_gates
    s.weights, s.source, s.gates = run.product[1].b, run.product[1].source, first.gates
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
    if run.beside and threads > 1:
        backward_beside(run, thread, threads)
        return
    begin(thread, threads)
    if run.by_units:
        share(run.groups, thread, sharing, &group0, &group1)
    elif apart:
        row_share(run, 0, run.T, thread, threads, &row0, &row1)
    while end > 0:
        first = end - 1
        while first > 0 and run.off[end] - run.off[first] <= run.chunk:
            first -= 1
        if not run.by_units and not apart:
            row_share(run, first, end, thread, sharing, &row0, &row1)
        if thread < sharing:
            sweep(run, first, end, row0, row1, group0, group1, thread, sharing)
        end = first
        if apart and end > 0:
            poll(run, thread)
            if not run.stop:
                continue
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
    for i in range(8):
        sizes[i] = (sizes[i] + 63) // 64 * 64
        total += sizes[i]
    return total


cdef class Backward:
    """A backward pass over one direction: `prepare`, then `go`, or all that this does one by one, and at last `free`.

    `rnnfast.reference.recurrent` says what everything is.
    """

    cdef int prepare(self, Saved saved) except -1:
        """Take what the forward pass has left; no other backward pass may."""
        cdef Run* run = &self.run
        cdef Packed packed = saved.packed
        cdef Lengths rows = saved.rows
        cdef int i
        if saved.used:
            raise RuntimeError("a pullback may be called once: it has consumed what forward saved")
        saved.used = True
        self.saved = saved
        packed.make_backward()
        set_run(run, packed, rows)
        run.save = True
        set_around(run, packed, rows, saved.cell.options, saved.noise)
        self.errors = []
        run.errors = <void*> self.errors
        run.ld_x, run.gather, run.history = saved.ld_x, saved.gather, saved.history
        if run.history:
            rows.make_before()
            run.before = rows.before
        run.blas = get_gemm() == "blas"
        run.xs, run.gates, run.h, run.c, run.aux = saved.xs, saved.gates, saved.h, saved.c, saved.aux
        run.stats, run.m = saved.stats, saved.m
        if saved.table is not None:
            run.table, run.V = cnp.PyArray_BYTES(saved.table), cnp.PyArray_DIM(saved.table, 0)
        for i in range(1 + packed.cell.phases):
            run.product[i] = packed.backward[i]
            run.product[i].lda = run.ld_gates
            run.product[i].ldc = run.product[i].ld_init = run.ld_h
        if run.project:
            run.product[PROJECTION] = packed.backward[PROJECTION]
            run.product[PROJECTION].lda, run.product[PROJECTION].ldc = run.ld_h, run.ld
        return 0

    cdef int provide(self, int threads, dy, dstate, dx, dict grads) except -1:
        """Find the memory for it on so many threads, and load the gradients to start from."""
        cdef Run* run = &self.run
        cdef Saved saved = self.saved
        cdef Packed packed = saved.packed
        cdef Lengths rows = saved.rows
        cdef size_t sizes[8]
        cdef size_t more[6]
        cdef size_t total, all_more = 0
        cdef int i
        self.dx, self.grads = dx, grads
        total = backward_sizes(run, packed, threads, sizes)
        around_backward_sizes(run, more)
        for i in range(6):
            more[i] = (more[i] + 63) // 64 * 64
            all_more += more[i]
        self.work = <char*> alloc(total + all_more)
        if self.work == NULL:
            raise MemoryError
        run.dh = self.work
        run.dc = run.dh + sizes[0]
        run.daux = run.dc + sizes[1]
        run.bias_sums = run.daux + sizes[2]
        run.scratch = run.bias_sums + sizes[3]
        run.projected = run.scratch + sizes[4]
        run.before_step = run.projected + sizes[5]
        run.after_step = run.before_step + sizes[6]
        run.dm = self.work + total
        run.projected_dh = run.dm + more[0]
        run.carried[0] = run.projected_dh + more[1]
        run.carried[1] = run.carried[0] + more[2]
        run.dseen = run.carried[1] + more[3]
        run.dvectors = run.dseen + more[4]
        memset(run.before_step, 0, sizes[6] + sizes[7])  # what stands past the last unit is read
        memset(run.dvectors, 0, more[5])
        if packed.has_bias:
            memset(run.bias_sums, 0, sizes[3])
        else:
            run.bias_sums = NULL
        load_state(rows, dstate[0], run.dh, run.ld_h, run.size)
        if packed.cell.has_c:
            load_state(rows, dstate[1], run.dc, run.ld, run.size)
        if dy is not None:
            rows.set_rows(&run.y, dy, saved.reverse)
        rows.set_rows(&run.hs, saved.y, saved.reverse)
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
        self.targets = make_targets(run, packed, grads)
        set_outers(run, packed, self.targets)
        return 0

    cdef tuple go(self, dy, dstate, dx, dict grads, When when):
        """Share it out as it is best done by itself, do it, and return what `finish` does."""
        cdef int threads = split(&self.run, 2, when)
        self.provide(threads, dy, dstate, dx, grads)
        with nogil:
            parallel(backward_task, &self.run, threads)
        return self.finish()

    cdef tuple finish(self):
        """Hand the gradients over, and return that of the initial state."""
        cdef Run* run = &self.run
        cdef Packed packed = self.saved.packed
        cdef Lengths rows = self.saved.rows
        if self.errors:
            raise self.errors[0]
        if run.blas:
            blas_gradients(run, packed, self.targets)
        if self.dx is not None and not run.V:
            rows.zero_tails(self.dx)
        if not run.direct:
            for kind, target in self.targets.items():
                if kind in self.grads:
                    self.grads[kind] += target
                else:
                    self.grads[kind] = target
        add_biases(run, packed, self.grads)
        add_vectors(run, packed, self.grads)
        dh = store_state(rows, run.dh, run.ld_h, run.Q, run.size)
        if packed.cell.has_c:
            return dh, store_state(rows, run.dc, run.ld, run.H, run.size)
        return (dh,)

    cdef void free(self) noexcept:
        release(self.work)
        release(self.run.x.start)
        release(self.run.y.start)
        release(self.run.hs.start)
        release(self.run.dx.start)
        if self.saved is not None:
            self.saved.free()


def direction_backward(Saved saved, dy, dstate, dx, dict grads):
    """Run one direction of one layer backwards; see rnnfast.reference.recurrent for what everything is."""
    cdef Backward one = Backward()
    try:
        one.prepare(saved)
        return one.go(dy, dstate, dx, grads, NOW)
    finally:
        one.free()
