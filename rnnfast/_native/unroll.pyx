"""The time loop, forward and backward, for every cell; the GIL is released around all of it.

Rows are sorted by length, longest first, so that the rows alive at step t are the first n[t]; all buffers are compact:
row (t, j) stands at off[t] + j, and a finished row costs nothing. A direction runs through its own steps 0..T-1; for the
reverse one, step s of row j is time length_j - 1 - s, so that an address is always base[j] + s * step.

Forward, for each chunk of steps (small enough that its gates stay in cache): one input product for the whole chunk,
then for each step the recurrent product and the pointwise part, group of units by group of units. Backward: for each
step the pointwise part, then the product that carries the gradient one step back; afterwards one sum of outer products
for each weight, over all steps.

Threads take either rows (no meeting point within a chunk; every thread reads all weights) or groups of units (each
keeps its part of the weights in its own cache; one barrier a product). Which, is decided in `split`. No choice of threads
or chunks changes a bit of the result: see csrc/gemm.inc.c.
"""

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from rnnfast._native.kernels cimport (
    alloc, barrier, parallel, release, rf_cell, rf_ops, rf_outer, rf_phase, rf_product, rf_step
)
from rnnfast._native.pack cimport Packed, packed_weights
from rnnfast.threads import get_num_threads

cnp.import_array()

cdef enum:
    GROUP = 4  # unit panels in a group, the grain in which units are shared out


ctypedef struct Rows:
    # where the rows of an array (N, T, C) of the user's stand: base + start[j] + step * t, elements `stride` bytes apart
    char* base
    Py_ssize_t* start
    Py_ssize_t step
    Py_ssize_t stride
    Py_ssize_t count    # C


ctypedef struct Run:
    const rf_ops* ops
    const rf_cell* cell
    Py_ssize_t T, B, R, X, H, P, W, size  # X: inputs (I is taken by complex.h)
    Py_ssize_t groups, ld, ld_gates      # units of a state row, elements of a gates row
    Py_ssize_t* n                        # (T,) rows alive
    Py_ssize_t* off                      # (T+1,)
    Py_ssize_t* before                   # (R,) state row that precedes each row; NULL: the row itself
    bint save
    Rows x, y                            # y: dy in backward
    char* xs                             # (R or chunk, X) compact rows of x, or x itself
    Py_ssize_t ld_x
    bint gather
    char* gates                          # (R or chunk, S*ld)
    char* h                              # (B+R, ld) when saving, else (2, B, ld)
    char* c                              # (B+R, ld) when saving, else (B, ld)
    char* aux                            # (R, ld) when saving, else (B, ld)
    const char* bias
    Py_ssize_t chunk                     # most rows in a chunk
    rf_product product[3]
    bint by_units
    int sharing                          # threads that take part in the recurrence
    # backward only
    Rows dx
    bint direct_dx
    char* dh
    char* dc
    char* daux
    char* sums[3]
    char* bias_sums
    rf_outer outer[3]
    char* scratch
    Py_ssize_t scratch_size
    void* errors                         # a list, borrowed
    bint stop
    double checked


cdef double now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + 1e-9 * t.tv_nsec


cdef void check_signals(Run* run) noexcept with gil:
    try:
        PyErr_CheckSignals()
    except BaseException as error:  # KeyboardInterrupt, or whatever the program's own handler raises
        (<list> run.errors).append(error)
        run.stop = True


cdef inline void poll(Run* run, int thread) noexcept nogil:
    """Let Ctrl-C in about every 50 ms; the caller makes sure that all threads see `stop` at the same place."""
    cdef double t
    if thread == 0:
        t = now()
        if t - run.checked > 0.05:
            run.checked = t
            check_signals(run)


# Rows in and out


cdef inline char* row_at(const Rows* rows, Py_ssize_t t, Py_ssize_t j) noexcept nogil:
    return rows.base + rows.start[j] + rows.step * t


cdef void read_row(char* to, const char* source, Py_ssize_t n, Py_ssize_t stride, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    if stride == size:
        memcpy(to, source, n * size)
    elif size == 4:
        for i in range(n):
            (<float*> to)[i] = (<const float*> (source + i * stride))[0]
    else:
        for i in range(n):
            (<double*> to)[i] = (<const double*> (source + i * stride))[0]


cdef void write_row(char* to, const char* source, Py_ssize_t n, Py_ssize_t stride, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    if stride == size:
        memcpy(to, source, n * size)
    elif size == 4:
        for i in range(n):
            (<float*> (to + i * stride))[0] = (<const float*> source)[i]
    else:
        for i in range(n):
            (<double*> (to + i * stride))[0] = (<const double*> source)[i]


cdef void zero_row(char* to, Py_ssize_t n, Py_ssize_t stride, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    if stride == size:
        memset(to, 0, n * size)
    else:
        for i in range(n):
            memset(to + i * stride, 0, size)


cdef Py_ssize_t step_of(const Run* run, Py_ssize_t row, Py_ssize_t t) noexcept nogil:
    """Return the step that a compact row belongs to, looking from step t onwards."""
    while run.off[t + 1] <= row:
        t += 1
    return t


cdef void gather_rows(const Run* run, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t t, char* to) noexcept nogil:
    """Copy rows row0..row1 of x, the first of which is not before step t, to compact rows."""
    cdef Py_ssize_t row
    for row in range(row0, row1):
        t = step_of(run, row, t)
        read_row(to, row_at(&run.x, t, row - run.off[t]), run.X, run.x.stride, run.size)
        to += run.X * run.size


cdef void share(Py_ssize_t n, int part, int parts, Py_ssize_t* first, Py_ssize_t* last) noexcept nogil:
    first[0] = n * part // parts
    last[0] = n * (part + 1) // parts


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


cdef void forward_step(const Run* run, Py_ssize_t t, const rf_step* s, Py_ssize_t row0, Py_ssize_t row1,
                       Py_ssize_t group0, Py_ssize_t group1, int thread, int threads) noexcept nogil:
    cdef const rf_phase* phase
    cdef const rf_product* product
    cdef Py_ssize_t group, panel0, panel1, r0, r1, j, unit
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
        for group in range(group0, group1):
            panel0 = group * GROUP
            panel1 = min(panel0 + GROUP, run.P)
            for r0 in range(row0, row1, 24):  # rows whose gates of one group stay in the first-level cache
                r1 = min(r0 + 24, row1)
                gates = <char*> s.gates + r0 * gates_line + phase.first * run.W * run.size
                if run.cell.slots == 1:
                    run.ops.product(product, r1 - r0, source + r0 * line, gates, gates, group, group + 1)
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


cdef void forward_task(void* context, int thread, int threads) noexcept nogil:
    cdef Run* run = <Run*> context
    cdef Py_ssize_t t = 0, end, row0, row1, first, base, my_row0 = 0, my_row1, group0 = 0, group1 = run.groups
    cdef rf_step s
    cdef bint takes_part = thread < run.sharing
    cdef char* xs
    cdef char* gates
    my_row1 = run.B
    cdef int sharing = min(threads, run.sharing)  # the pool may have given fewer than asked for
    if run.by_units:
        share(run.groups, thread, sharing, &group0, &group1)
    else:
        row_share(run, thread, sharing, &my_row0, &my_row1)
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
            if run.gather:
                xs = run.xs + (row0 - base) * run.X * run.size
                gather_rows(run, row0, row1, t, xs)
            else:
                xs = run.xs + row0 * run.ld_x * run.size
            gates = run.gates + (row0 - base) * run.ld_gates * run.size
            run.ops.product(&run.product[0], row1 - row0, xs, run.bias, gates, 0, run.product[0].panels)
            if run.cell.x_slots < run.cell.slots:
                run.ops.fill_slots(row1 - row0, run.P, run.cell.slots, run.cell.x_slots,
                                   run.cell.slots - run.cell.x_slots, run.bias, gates)
        barrier(thread, threads)
        if takes_part:
            while t < end:
                set_step(run, t, run.off[t] - base, &s)
                forward_step(run, t, &s, min(my_row0, run.n[t]), min(my_row1, run.n[t]), group0, group1, thread,
                             sharing)
                t += 1
        t = end
        poll(run, thread)
        barrier(thread, threads)
        if run.stop:
            return


cdef void row_share(const Run* run, int thread, int threads, Py_ssize_t* row0, Py_ssize_t* row1) noexcept nogil:
    """Share the rows out so that every thread has about as many steps to do; threads past the last get none."""
    cdef Py_ssize_t t, j, done = 0, length, part = 0
    row0[0] = row1[0] = run.B
    if thread >= threads:
        return
    if run.R == run.T * run.B:
        share(run.B, thread, threads, row0, row1)
        return
    t = run.T
    row0[0] = 0 if thread == 0 else run.B
    for j in range(run.B):
        while t > 0 and run.n[t - 1] <= j:
            t -= 1
        done += t  # t is the length of row j
        while part < threads - 1 and done * threads >= run.R * (part + 1):
            part += 1
            if part == thread:
                row0[0] = j + 1
            if part == thread + 1:
                row1[0] = j + 1


# Backward


cdef void backward_step(const Run* run, Py_ssize_t t, rf_step* s, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t group0,
                        Py_ssize_t group1, int thread, int threads) noexcept nogil:
    cdef const rf_phase* phase
    cdef Py_ssize_t line = run.ld * run.size, gates_line = run.ld_gates * run.size
    cdef Py_ssize_t panel0 = group0 * GROUP, panel1 = min(group1 * GROUP, run.P)
    cdef Py_ssize_t unit = panel0 * run.W, units = min(panel1 * run.W, run.H) - panel0 * run.W, j, u
    cdef char* to
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
        to = (run.daux if phase.from_aux else run.dh) + row0 * line
        run.ops.product(&run.product[i + 1], row1 - row0,
                        <char*> s.gates + row0 * gates_line + phase.first * run.W * run.size,
                        NULL if phase.from_aux else to, to, group0, group1)


cdef void backward_task(void* context, int thread, int threads) noexcept nogil:
    cdef Run* run = <Run*> context
    cdef Py_ssize_t t, row0 = 0, row1 = run.B, group0 = 0, group1 = run.groups, count = 0
    cdef int sharing = min(threads, run.sharing), which
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
            poll(run, thread)
            barrier(thread, threads)
            if run.stop:
                return
    barrier(thread, threads)
    input_gradient(run, thread, threads)
    weight_gradients(run, thread, threads)


cdef void input_gradient(Run* run, int thread, int threads) noexcept nogil:
    """dx = gradients of the pre-activations times the input weights, a block of rows at a time."""
    cdef Py_ssize_t row0, row1, row, r, n, t = 0, j
    cdef char* scratch
    cdef char* gates
    if run.dx.base == NULL:
        return
    share(run.R, thread, threads, &row0, &row1)
    scratch = run.scratch + thread * run.scratch_size
    for row in range(row0, row1, 96):
        if thread == 0:
            poll(run, thread)
        if run.stop:
            return
        n = min(96, row1 - row)
        gates = run.gates + row * run.ld_gates * run.size + run.cell.x_first * run.W * run.size
        if run.direct_dx:
            run.ops.product(&run.product[0], n, gates, NULL,
                            run.dx.base + run.dx.start[0] + row * run.product[0].ldc * run.size, 0,
                            run.product[0].panels)
            continue
        run.ops.product(&run.product[0], n, gates, NULL, scratch, 0, run.product[0].panels)
        for r in range(row, row + n):
            t = step_of(run, r, t)
            j = r - run.off[t]
            write_row(row_at(&run.dx, t, j), scratch + (r - row) * run.product[0].ldc * run.size, run.X,
                      run.dx.stride, run.size)


cdef void weight_gradients(Run* run, int thread, int threads) noexcept nogil:
    """The sums of outer products, shared out by panels over all weights together, and the sums for the biases."""
    cdef Py_ssize_t total = 0, mine0, mine1, p0, p1, at, k, columns0, columns1
    cdef Py_ssize_t segment = 4096
    cdef rf_outer part
    cdef int which
    for which in range(1 + run.cell.phases):
        total += run.outer[which].panels
    share(total, thread, threads, &mine0, &mine1)
    k = 0
    while k == 0 or k < run.R:
        at = 0
        for which in range(1 + run.cell.phases):
            p0 = max(mine0 - at, 0)
            p1 = min(mine1 - at, run.outer[which].panels)
            at += run.outer[which].panels
            if p0 >= p1:
                continue
            part = run.outer[which]
            part.k = min(segment, run.R - k)
            part.accumulate = k > 0
            if part.rows_a != NULL:
                part.rows_a += k
            else:
                part.a = <const char*> part.a + k * part.lda * run.size
            part.b = <const char*> part.b + k * part.ldb * run.size
            run.ops.outer(&part, p0, p1, run.scratch + thread * run.scratch_size)
        if run.bias_sums != NULL:
            share(run.ld_gates // run.W, thread, threads, &columns0, &columns1)
            run.ops.column_sums(min(segment, run.R - k), (columns1 - columns0) * run.W,
                                run.gates + (k * run.ld_gates + columns0 * run.W) * run.size, run.ld_gates,
                                run.bias_sums + columns0 * run.W * run.size)
        poll(run, thread)
        if run.stop:
            break
        k += segment
    barrier(thread, threads)


# Setting up


cdef class Lengths:
    """Rows sorted by length: which are alive at each step and where they stand in compact buffers."""

    cdef Py_ssize_t T, B, R
    cdef bint uniform
    cdef object order, lengths   # (B,) the user's row of each sorted row, and its length
    cdef Py_ssize_t* n
    cdef Py_ssize_t* off
    cdef Py_ssize_t* before

    def __cinit__(self, Py_ssize_t batch, Py_ssize_t steps, lengths):
        cdef Py_ssize_t t, j
        cdef Py_ssize_t[::1] sorted_lengths
        self.n = self.off = self.before = NULL
        self.B = batch
        self.uniform = lengths is None
        self.T = steps if lengths is None else max(<Py_ssize_t> lengths.max(), 0) if batch else 0
        self.n = <Py_ssize_t*> alloc((2 * self.T + 1) * sizeof(Py_ssize_t))
        if self.n == NULL:
            raise MemoryError
        self.off = self.n + self.T
        if self.uniform:
            for t in range(self.T):
                self.n[t] = batch
        else:
            self.order = np.argsort(-lengths, kind="stable")
            self.lengths = np.ascontiguousarray(lengths[self.order], dtype=np.intp)
            sorted_lengths = self.lengths
            j = batch
            for t in range(self.T):
                while j > 0 and sorted_lengths[j - 1] <= t:
                    j -= 1
                self.n[t] = j
        self.off[0] = 0
        for t in range(self.T):
            self.off[t + 1] = self.off[t] + self.n[t]
        self.R = self.off[self.T]

    def __dealloc__(self):
        release(self.n)
        release(self.before)

    cdef int make_before(self) except -1:
        """List the state row that precedes each compact row, where these are not simply the same rows."""
        cdef Py_ssize_t t, j
        if self.uniform or self.before != NULL:
            return 0
        self.before = <Py_ssize_t*> alloc(self.R * sizeof(Py_ssize_t))
        if self.before == NULL:
            raise MemoryError
        for t in range(self.T):
            for j in range(self.n[t]):
                self.before[self.off[t] + j] = j if t == 0 else self.B + self.off[t - 1] + j
        return 0

    cdef int set_rows(self, Rows* rows, cnp.ndarray array, bint reverse) except -1:
        """Point `rows` at a user's array (N, T, C); its starts are the caller's to free."""
        cdef Py_ssize_t j
        cdef Py_ssize_t row_stride = cnp.PyArray_STRIDE(array, 0), step = cnp.PyArray_STRIDE(array, 1)
        cdef const Py_ssize_t[::1] order
        cdef const Py_ssize_t[::1] lengths
        rows.base = cnp.PyArray_BYTES(array)
        rows.stride = cnp.PyArray_STRIDE(array, 2)
        rows.count = cnp.PyArray_DIM(array, 2)
        rows.step = -step if reverse else step
        rows.start = <Py_ssize_t*> alloc(self.B * sizeof(Py_ssize_t))
        if rows.start == NULL:
            raise MemoryError
        if self.uniform:
            for j in range(self.B):
                rows.start[j] = j * row_stride + (step * (self.T - 1) if reverse and self.T else 0)
        else:
            order, lengths = self.order, self.lengths
            for j in range(self.B):
                rows.start[j] = order[j] * row_stride + (step * (lengths[j] - 1) if reverse else 0)
        return 0

    cdef Py_ssize_t linear(self, const Rows* rows, Py_ssize_t size) noexcept nogil:
        """Return the distance in elements between compact rows if all of them are equally far apart, else 0."""
        cdef Py_ssize_t distance, j
        if rows.stride != size and rows.count > 1 or not self.uniform or self.R == 0:
            return 0
        if self.B == 1:
            distance = rows.step if self.T > 1 else rows.count * size
        else:
            distance = rows.start[1] - rows.start[0]
            if self.T > 1 and rows.step != self.B * distance:
                return 0
        return distance // size if distance % size == 0 else 0

    cdef int zero_tails(self, cnp.ndarray array) except -1:
        """Put zeros behind the end of every sequence of a user's array (N, T, C)."""
        cdef Py_ssize_t j, t
        cdef Py_ssize_t steps = cnp.PyArray_DIM(array, 1), size = cnp.PyArray_ITEMSIZE(array)
        cdef Py_ssize_t row_stride = cnp.PyArray_STRIDE(array, 0), step = cnp.PyArray_STRIDE(array, 1)
        cdef Py_ssize_t stride = cnp.PyArray_STRIDE(array, 2), count = cnp.PyArray_DIM(array, 2)
        cdef char* address = cnp.PyArray_BYTES(array)
        cdef const Py_ssize_t[::1] order
        cdef const Py_ssize_t[::1] lengths
        if self.uniform:
            return 0
        order, lengths = self.order, self.lengths
        with nogil:
            for j in range(self.B):
                for t in range(lengths[j], steps):
                    zero_row(address + order[j] * row_stride + t * step, count, stride, size)
        return 0


cdef int load_state(Lengths rows, cnp.ndarray state, char* to, Py_ssize_t ld) except -1:
    """Copy a state (N, H) into sorted, padded rows."""
    cdef Py_ssize_t hidden = cnp.PyArray_DIM(state, 1), size = cnp.PyArray_ITEMSIZE(state), j, user
    cdef Py_ssize_t row_stride = cnp.PyArray_STRIDE(state, 0), stride = cnp.PyArray_STRIDE(state, 1)
    cdef char* address = cnp.PyArray_BYTES(state)
    cdef const Py_ssize_t[::1] order
    if not rows.uniform:
        order = rows.order
    for j in range(rows.B):
        user = j if rows.uniform else order[j]
        read_row(to, address + user * row_stride, hidden, stride, size)
        memset(to + hidden * size, 0, (ld - hidden) * size)
        to += ld * size
    return 0


cdef object store_state(Lengths rows, const char* source, Py_ssize_t ld, Py_ssize_t hidden, Py_ssize_t size):
    """Return sorted rows as a new state (N, H) in the user's order."""
    cdef cnp.npy_intp shape[2]
    cdef Py_ssize_t j, user
    cdef const Py_ssize_t[::1] order
    shape[0], shape[1] = rows.B, hidden
    state = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT32 if size == 4 else cnp.NPY_FLOAT64, 0)
    cdef char* address = cnp.PyArray_BYTES(<cnp.ndarray> state)
    if not rows.uniform:
        order = rows.order
    for j in range(rows.B):
        user = j if rows.uniform else order[j]
        memcpy(address + user * hidden * size, source + j * ld * size, hidden * size)
    return state


cdef class Saved:
    """What forward keeps for backward: 4 to 6 numbers for each unit, step and row. Used up by one backward pass."""

    cdef Packed packed
    cdef Lengths rows
    cdef object x             # keeps the user's array alive where xs points into it
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


cdef int split(Run* run, double passes) except -1:
    """Decide how many threads share the recurrence, by rows or by units; return how many the whole call is worth.

    The numbers are floating-point operations: 1e5 take about a microsecond, what a barrier or waking a thread costs.
    """
    cdef double step = 2.0 * run.B * run.ld_gates * run.ld
    cdef double apart = 2.0 * run.R * run.ld_gates * (run.X + (passes - 1) * run.ld)  # not bound to the sequence
    cdef Py_ssize_t weights = run.ld_gates * run.ld * run.size
    cdef int threads
    run.by_units = False
    run.sharing = 1
    if run.T * step + apart < 4e6:
        return 1
    threads = get_num_threads()
    if threads < 2:
        return threads
    if run.B >= 4 * threads and (weights <= 768 * 1024 or run.B >= 16 * threads):
        run.sharing = threads
    elif run.groups >= threads and step > 3e5:
        run.sharing = threads
        run.by_units = True
    elif run.B >= 2 * threads and step > 1e5:
        run.sharing = threads
    return 1 if run.sharing == 1 and apart < 2e7 else threads


cdef int set_run(Run* run, Packed packed, Lengths rows) except -1:
    memset(run, 0, sizeof(Run))
    run.ops, run.cell = packed.ops, packed.cell
    run.T, run.B, run.R = rows.T, rows.B, rows.R
    run.X, run.H, run.P, run.W, run.size = (packed.inputs, packed.hidden, packed.panels, packed.width,
                                            packed.itemsize)
    run.groups = (run.P + GROUP - 1) // GROUP
    run.ld = run.P * run.W
    run.ld_gates = run.ld * packed.slots
    run.n, run.off = rows.n, rows.off
    run.bias = packed.bias
    run.checked = now()
    # a chunk's gates take a part of the second-level cache
    run.chunk = max(1, 384 * 1024 // (run.ld_gates * run.size))
    return 0


def direction_forward(cell, cnp.ndarray x, weights, tuple state, lengths, bint reverse, cnp.ndarray out, bint save):
    """Run one direction of one layer over a batch; see rnnfast.reference.recurrent for what everything is."""
    cdef Packed packed = packed_weights(cell.name, weights)
    cdef Lengths rows = Lengths(cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), lengths)
    cdef Run run
    cdef Saved saved = None
    cdef Py_ssize_t line, j, gate_rows, state_rows
    cdef int threads, i
    set_run(&run, packed, rows)
    line = run.ld * run.size
    run.save = save
    errors = []
    run.errors = <void*> errors
    for i in range(1 + packed.cell.phases):
        run.product[i] = packed.forward[i]
        run.product[i].lda = run.ld
        run.product[i].ldc = run.product[i].ld_init = run.ld_gates
    threads = split(&run, 1)
    saved = Saved()
    saved.packed, saved.rows, saved.reverse = packed, rows, reverse
    try:
        rows.set_rows(&run.x, x, reverse)
        rows.set_rows(&run.y, out, reverse)
        run.ld_x = rows.linear(&run.x, run.size)
        run.gather = run.ld_x == 0
        gate_rows = run.R if save else min(run.R, max(run.chunk, run.B))
        state_rows = run.B + run.R if save else run.B
        if run.gather:
            run.ld_x = run.X
            saved.gather = True
            saved.xs = <char*> alloc(gate_rows * run.X * run.size)
        elif run.R:
            saved.x = x
            saved.xs = run.x.base + run.x.start[0]
        saved.ld_x = run.ld_x
        saved.gates = <char*> alloc(gate_rows * run.ld_gates * run.size)
        saved.h = <char*> alloc((state_rows if save else 2 * run.B) * line)
        if packed.cell.has_c:
            saved.c = <char*> alloc(state_rows * line)
        if packed.cell.has_aux:
            saved.aux = <char*> alloc((run.R if save else run.B) * line)
        if (saved.gather and saved.xs == NULL or saved.gates == NULL or saved.h == NULL
                or packed.cell.has_c and saved.c == NULL or packed.cell.has_aux and saved.aux == NULL):
            raise MemoryError
        run.xs, run.gates, run.h, run.c, run.aux = saved.xs, saved.gates, saved.h, saved.c, saved.aux
        run.product[0].lda = run.ld_x
        run.product[0].ld_init = 0
        run.product[0].panel_stride = packed.forward[0].panel_stride
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


def direction_backward(Saved saved, dy, dstate, dx, grads):
    """Run one direction of one layer backwards; see rnnfast.reference.recurrent for what everything is."""
    cdef Packed packed = saved.packed
    cdef Lengths rows = saved.rows
    cdef Run run
    cdef Py_ssize_t line, columns
    cdef int threads, i
    cdef char* work = NULL
    cdef size_t sizes[8]
    cdef size_t total = 0
    cdef rf_outer* outer
    if saved.used:
        raise RuntimeError("a pullback may be called once: it has consumed what forward saved")
    saved.used = True
    packed.make_backward()
    rows.make_before()
    set_run(&run, packed, rows)
    line = run.ld * run.size
    run.save = True
    errors = []
    run.errors = <void*> errors
    run.before = rows.before
    run.xs, run.gates, run.h, run.c, run.aux = saved.xs, saved.gates, saved.h, saved.c, saved.aux
    threads = split(&run, 2)
    for i in range(1 + packed.cell.phases):
        run.product[i] = packed.backward[i]
        run.product[i].lda = run.ld_gates
        run.product[i].ldc = run.product[i].ld_init = run.ld
    run.scratch_size = max(run.ops.outer_scratch(max(run.X, run.H)), 96 * run.X) * run.size
    run.scratch_size = (run.scratch_size + 63) // 64 * 64
    # one block: dh, dc, daux, sums by weight, sums for biases, scratch by thread
    sizes[0] = run.B * line
    sizes[1] = run.B * line if packed.cell.has_c else 0
    sizes[2] = run.B * line if packed.cell.has_aux else 0
    for i in range(3):
        sizes[3 + i] = 0
        if i <= packed.cell.phases:
            sizes[3 + i] = packed.columns(i) * (run.X if i == 0 else run.H) * run.size
    sizes[6] = run.ld_gates * run.size if packed.has_bias else 0
    sizes[7] = threads * run.scratch_size
    for i in range(8):
        sizes[i] = (sizes[i] + 63) // 64 * 64
        total += sizes[i]
    try:
        work = <char*> alloc(total)
        if work == NULL:
            raise MemoryError
        run.dh = work
        run.dc = run.dh + sizes[0]
        run.daux = run.dc + sizes[1]
        run.sums[0] = run.daux + sizes[2]
        run.sums[1] = run.sums[0] + sizes[3]
        run.sums[2] = run.sums[1] + sizes[4]
        run.bias_sums = run.sums[2] + sizes[5]
        run.scratch = run.bias_sums + sizes[6]
        if packed.has_bias:
            memset(run.bias_sums, 0, sizes[6])
        else:
            run.bias_sums = NULL
        load_gradient(rows, dstate[0], run.dh, run.ld, run.size)
        if packed.cell.has_c:
            load_gradient(rows, dstate[1], run.dc, run.ld, run.size)
        if dy is not None:
            rows.set_rows(&run.y, dy, saved.reverse)
        if dx is not None:
            rows.set_rows(&run.dx, dx, saved.reverse)
            run.product[0].ldc = rows.linear(&run.dx, run.size)
            run.direct_dx = run.product[0].ldc != 0
            if not run.direct_dx:
                run.product[0].ldc = run.X
        for i in range(1 + packed.cell.phases):
            outer = &run.outer[i]
            outer.m = run.X if i == 0 else run.H
            outer.b = run.gates + packed.first(i) * run.W * run.size
            outer.ldb = run.ld_gates
            outer.panels, outer.panel_stride = packed.forward[i].panels, packed.forward[i].panel_stride
            outer.vectors, outer.last = packed.forward[i].vectors, packed.forward[i].last
            outer.tail = packed.forward[i].tail
            outer.c = run.sums[i]
            if i == 0:
                outer.a, outer.lda = saved.xs, saved.ld_x
            elif packed.cell.phase[i - 1].from_aux:
                outer.a, outer.lda = run.aux, run.ld
            else:
                outer.a, outer.lda, outer.rows_a = run.h, run.ld, run.before
        with nogil:
            parallel(backward_task, &run, threads)
        if errors:
            raise errors[0]
        if dx is not None:
            rows.zero_tails(dx)
        add_gradients(&run, packed, grads)
        dh = store_state(rows, run.dh, run.ld, run.H, run.size)
        if packed.cell.has_c:
            return dh, store_state(rows, run.dc, run.ld, run.H, run.size)
        return (dh,)
    finally:
        release(work)
        release(run.y.start)
        release(run.dx.start)
        saved.free()


cdef int load_gradient(Lengths rows, object gradient, char* to, Py_ssize_t ld, Py_ssize_t size) except -1:
    if gradient is None:
        memset(to, 0, rows.B * ld * size)
        return 0
    return load_state(rows, gradient, to, ld)


cdef int add_gradients(Run* run, Packed packed, object grads) except -1:
    """Add the sums, which stand in panels, to the caller's arrays."""
    cdef int i
    cdef size_t address
    cdef Py_ssize_t columns
    for i in range(1 + packed.cell.phases):
        target = grads["w_ih" if i == 0 else "w_hh"]
        work = target if target.flags.c_contiguous else np.ascontiguousarray(target)
        address = work.__array_interface__["data"][0]
        with nogil:
            run.ops.unpack_add(run.sums[i], run.outer[i].m, packed.rows(i), packed.columns(i),
                               run.outer[i].vectors * run.W, <void*> address, 0, run.outer[i].panels)
        if work is not target:
            target[...] = work
    if run.bias_sums == NULL:
        return 0
    cdef unsigned char[::1] view = <unsigned char[:run.ld_gates * run.size]> <unsigned char*> run.bias_sums
    sums = np.asarray(view).view(packed.w_ih.dtype).reshape(packed.panels, packed.slots, packed.width)
    cdef Py_ssize_t[::1] listed
    for i in range(1 + packed.cell.phases):
        listed = <Py_ssize_t[:packed.columns(i)]> packed.rows(i)
        rows = np.asarray(listed)
        part = sums[:, packed.first(i):packed.first(i) + packed.count(i)].reshape(-1)
        grads["b_ih" if i == 0 else "b_hh"][rows[rows >= 0]] += part[rows >= 0]
    return 0
