"""What threads do in an elementwise recurrence, in rounds of some milliseconds: sweeps, and products of gradients.

Forward goes through the rows in pieces: the pre-activations of a group of units over a piece of rows are made and swept
while they are in the second-level cache. Backward sweeps through what was saved; then come the products, piece by piece too.

Threads share groups of units or whole sequences, whichever divides better; neither needs another's results, so they
meet at the end of a round alone. Between rounds signals are looked at.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.string cimport memcpy, memset

from rnnfast._native.kernels cimport parallel, rf_outer, rf_product, rf_scan
from rnnfast._native.plan cimport share, share_tiles


cdef void divide(const Job* job, int thread, int threads, Py_ssize_t* group0, Py_ssize_t* group1, Py_ssize_t* row0,
                 Py_ssize_t* row1) noexcept nogil:
    """Give a thread some groups of units, or some sequences: of the two what leaves the threads more alike."""
    cdef Py_ssize_t by_units = (job.groups + threads - 1) // threads, by_rows = (job.B + threads - 1) // threads
    cdef Py_ssize_t j
    group0[0], group1[0], row0[0], row1[0] = 0, job.groups, 0, job.R
    if threads == 1:
        return
    if by_units * job.B <= by_rows * job.groups:
        share(job.groups, thread, threads, group0, group1)
        return
    # the boundary between two threads is the sequence nearest to an even share of the rows
    share(job.R, thread, threads, row0, row1)
    j = 0
    while job.first[j] < row0[0]:
        j += 1
    row0[0] = job.first[j]
    while job.first[j] < row1[0]:
        j += 1
    row1[0] = job.first[j]


cdef void rows_of_round(const Job* job, Py_ssize_t rows, Py_ssize_t round, Py_ssize_t* row0,
                        Py_ssize_t* row1) noexcept nogil:
    """Share rows out to rounds in whole pieces."""
    cdef Py_ssize_t first, last
    share((rows + PIECE - 1) // PIECE, round, job.rounds, &first, &last)
    row0[0], row1[0] = min(first * PIECE, rows), min(last * PIECE, rows)


cdef void project(const Job* job, Py_ssize_t row0, Py_ssize_t rows, Py_ssize_t group0, Py_ssize_t group1, char* gates,
                  Py_ssize_t ld) noexcept nogil:
    """Pre-activations of the groups' units, from column 0 of `gates` on, in rows of ld elements."""
    cdef Py_ssize_t at = group0 * GROUP * job.cell.slots * job.W * job.size, r, n
    cdef rf_product product
    if job.projected != NULL:
        n = (min(group1 * GROUP, job.P) - group0 * GROUP) * job.cell.slots * job.W * job.size
        for r in range(row0, row0 + rows):
            memcpy(gates, job.projected + job.index[r] * job.ld_gates * job.size + at, n)
            gates += ld * job.size
        return
    product = job.product
    product.ldc = ld
    job.ops.product(&product, rows, job.xs + row0 * job.ld_x * job.size, job.bias, gates - at,
                    group0 * job.cell.slots, min(group1 * job.cell.slots, product.panels))


cdef void hold(const Job* job, Py_ssize_t j, Py_ssize_t t, Py_ssize_t group, char* gates, char* mask) noexcept nogil:
    """Zoneout in one row: the forget gate of units that keep their state becomes 1."""
    cdef Py_ssize_t unit = group * GROUP * job.W, n = min(GROUP * job.W, job.H - group * GROUP * job.W)
    job.ops.dropout(n, (j * job.T + t) * job.H + unit, job.ones, mask, 1, job.threshold, job.seed)
    job.ops.hold(n, mask, job.cell.slots, gates + job.W * job.size)


cdef void sweep(const Job* job, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t j, Py_ssize_t group, char* gates,
                Py_ssize_t ld, char* mask) noexcept nogil:
    """Go through rows row0..row1, the first of which is of sequence j, with one group of units."""
    cdef rf_scan s
    cdef Py_ssize_t panel0 = group * GROUP, panel1 = min(group * GROUP + GROUP, job.P)
    cdef Py_ssize_t row, end, steps, t, r, sign = -1 if job.descending else 1
    memset(&s, 0, sizeof(rf_scan))
    s.hidden, s.v, s.scale = job.H, job.v, job.scale
    s.gates_step, s.x_step, s.c_step = sign * ld, sign * job.ld_x, sign * job.ld
    s.y_step, s.dx_step = sign * (job.y_step // job.size), sign * job.ld
    row = row0
    while row < row1:
        while job.first[j + 1] <= row:
            j += 1
        end = min(row1, job.first[j + 1])
        if job.hold:
            for r in range(row, end):
                hold(job, j, r - job.first[j], group, gates + (r - row0) * ld * job.size, mask)
        steps = end - row
        r = end - 1 if job.descending else row
        t = r - job.first[j]
        s.gates = gates + (r - row0) * ld * job.size
        if job.cell.highway:
            s.x = job.xs + r * job.ld_x * job.size
            s.dx = job.dskip + r * job.ld * job.size
        if job.y != NULL:
            s.y = job.y + j * job.y_row + t * job.y_step
        s.c = job.c + r * job.ld * job.size
        s.state = job.state + j * job.ld * job.size
        s.dv = job.dv + j * job.cell.vectors * job.ld * job.size
        if job.phase == BACKWARD:
            job.cell.backward(&s, steps, panel0, panel1)
        elif job.save:
            job.cell.forward(&s, steps, panel0, panel1)
        else:
            job.cell.infer(&s, steps, panel0, panel1)
        row = end


cdef void sweep_task(const Job* job, int part, int parts) noexcept nogil:
    """Forward or backward, piece by piece, in the order of the steps."""
    cdef Py_ssize_t group0, group1, row0, row1, row, a, b, pieces, k, n, j, g, line = job.ld_gates * job.size
    cdef Py_ssize_t own = GROUP * job.cell.slots * job.W, slots = job.cell.slots * job.W * job.size
    cdef char* scratch = job.scratch + part * job.scratch_size
    cdef char* mask = scratch + (0 if job.save else PIECE * own * job.size)
    cdef char* gates
    divide(job, part, parts, &group0, &group1, &row0, &row1)
    k = job.rounds - 1 - job.round if job.descending else job.round
    rows_of_round(job, row1 - row0, k, &a, &b)
    row0, row1 = row0 + a, row0 + b
    pieces = (row1 - row0 + PIECE - 1) // PIECE
    j = 0
    for k in range(pieces):
        n = pieces - 1 - k if job.descending else k
        a = row0 + n * PIECE
        b = min(a + PIECE, row1)
        while job.first[j + 1] <= a:
            j += 1
        while job.first[j] > a:
            j -= 1
        for g in range(group0, group1):
            if not job.save:
                gates = scratch
                project(job, a, b - a, g, g + 1, gates, own)
                sweep(job, a, b, j, g, gates, own, mask)
                continue
            gates = job.gates + a * line + g * GROUP * slots
            if job.phase == FORWARD:
                project(job, a, b - a, g, g + 1, gates, job.ld_gates)
            sweep(job, a, b, j, g, gates, job.ld_gates, mask)


cdef void input_gradient(const Job* job, Py_ssize_t row, Py_ssize_t n, Py_ssize_t j, char* scratch) noexcept nogil:
    """dx of n <= PIECE rows, the first of which is of sequence j or a later one.

    Gradients of the pre-activations times the weights, added to what there is already.
    """
    cdef Py_ssize_t r
    cdef const char* init = NULL
    if job.dinit != NULL:
        init = job.dinit + row * job.product.ld_init * job.size
    job.ops.product(&job.product, n, job.gates + row * job.ld_gates * job.size, init, scratch, 0, job.product.panels)
    for r in range(row, row + n):
        while job.first[j + 1] <= r:
            j += 1
        memcpy(job.dx + j * job.dx_row + (r - job.first[j]) * job.dx_step, scratch + (r - row) * job.X * job.size,
               job.X * job.size)


cdef void gradients_task(const Job* job, int thread, int threads) noexcept nogil:
    """Products of gradients over the rows of this round: of the input by rows, of the weights by panels.

    Piece by piece, so that gates are read from memory once for all, and from the last to the first, as `outer` takes them.
    """
    cdef Py_ssize_t row0, row1, row, n, a, b, pieces, j = job.B
    cdef rf_outer outer = job.outer
    cdef char* scratch = job.scratch + thread * job.scratch_size
    rows_of_round(job, job.R, job.rounds - 1 - job.round, &row0, &row1)
    pieces = (row1 - row0 + PIECE - 1) // PIECE
    while pieces > 0:
        pieces -= 1
        row = row0 + pieces * PIECE
        n = min(PIECE, row1 - row)
        if job.dx != NULL:
            share(n, thread, threads, &a, &b)
            while job.first[j] > row + a:
                j -= 1
            input_gradient(job, row + a, b - a, j, scratch)
        share(job.ld_gates // job.W, thread, threads, &a, &b)
        if job.bias_sums != NULL and b > a:
            job.ops.column_sums(n, (b - a) * job.W, job.gates + (row * job.ld_gates + a * job.W) * job.size,
                                job.ld_gates, job.bias_sums + a * job.W * job.size)
        share_tiles(outer.m, thread, threads, &a, &b)
        if b > a:
            outer.fresh = job.outer.fresh and row + n == job.R
            outer.k = n
            outer.a = <const char*> job.outer.a + row * outer.lda * job.size
            outer.part[0].b = <const char*> job.outer.part[0].b + row * outer.part[0].ldb * job.size
            job.ops.outer(&outer, a, b, scratch)


cdef void sum_by_index_task(const Job* job, int thread, int threads) noexcept nogil:
    """Add up the gradients of the pre-activations by row of the table, each thread some of the columns."""
    cdef Py_ssize_t a, b, row, row0, row1
    share(job.ld_gates // job.W, thread, threads, &a, &b)
    a, b = a * job.W, b * job.W
    rows_of_round(job, job.R, job.round, &row0, &row1)
    for row in range(row0, row1):
        job.ops.add_rows(b - a, job.gates + (row * job.ld_gates + a) * job.size,
                         <char*> job.projected + (job.index[row] * job.ld_gates + a) * job.size)


cdef void task(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t row0, row1, a, b
    if job.phase == PROJECT:
        rows_of_round(job, job.R, job.round, &row0, &row1)
        share(row1 - row0, thread, threads, &a, &b)
        project(job, row0 + a, b - a, 0, job.groups, job.gates + (row0 + a) * job.ld_gates * job.size, job.ld_gates)
    elif job.phase == GRADIENTS:
        gradients_task(job, thread, threads)
    elif job.phase == SUM_BY_INDEX:
        sum_by_index_task(job, thread, threads)
    else:
        # a part goes on where its last round has left it, however many threads the pool gives this time
        a = thread
        while a < job.parts:
            sweep_task(job, <int> a, job.parts)
            a += threads


cdef int run(Job* job, int phase, double work, int threads) except -1:
    """Do a phase of that many floating-point operations in rounds of some milliseconds.

    For each phase `worth` is asked anew: it wakes sleeping threads for tasks that follow each other closely, and has to see
    each of them for that.
    """
    job.phase, job.parts = phase, threads
    job.rounds = 1 + <Py_ssize_t> (work / (1.5e9 * threads))
    for job.round in range(job.rounds):
        with nogil:
            parallel(task, job, threads)
        if job.round + 1 < job.rounds:
            PyErr_CheckSignals()
    return 0
