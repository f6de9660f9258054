"""What one run of a direction works on, and how threads share it.

Threads take either rows (every thread reads all weights) or groups of units (each keeps its part of the weights in its
own cache; one barrier a product, or none where all steps of a single row are made at once). Where rows can be shared out
evenly once for all steps, no thread waits for another before the sweep's end; else they meet in every chunk. Which, is
decided in `split`. No choice of threads or chunks changes a bit of the result: see csrc/gemm.inc.c.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport uint64_t
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from rnnfast._native.kernels cimport (
    barrier, flush_subnormals, parallel, parallel_or_alone, ready, restore_subnormals, rf_ops, rf_task, while_waiting
)
from rnnfast.caches import cache_sizes
from rnnfast.threads import get_num_threads


cdef int set_run(Run* run, Packed packed, Lengths rows) except -1:
    cdef int i
    memset(run, 0, sizeof(Run))
    run.ops, run.cell = packed.ops, packed.cell
    run.T, run.B, run.R = rows.T, rows.B, rows.R
    run.X, run.H, run.P, run.W, run.size = (packed.inputs, packed.hidden, packed.panels, packed.width,
                                            packed.itemsize)
    set_group(run, GROUP)
    run.ld = run.P * run.W
    run.ld_gates = run.ld * packed.slots
    run.Q, run.ld_h, run.project = packed.outputs, packed.ld_h, packed.projects()
    run.n, run.off = rows.n, rows.off
    run.bias = packed.bias
    run.checked = now()
    # weights larger than the first-level cache: finer turns, and alternating direction
    run.zigzag = run.ld_gates * run.ld * run.size > 32 * 1024
    run.grain = GROUP
    if run.zigzag and packed.slots > 1:
        # of large panels one, if rows come to them in turns: two would drive each other out of the second-level cache
        run.grain = 1 if run.B > 24 and run.ld_h * packed.slots * run.W * run.size > 128 * 1024 else 2
        for i in range(run.cell.phases):  # as many as make four vectors of a product
            run.grain = max(run.grain, GROUP // run.cell.phase[i].slots)
    if packed.cell.norm:
        run.grain = max(run.P, 1)  # whole rows
    # a chunk's gates take a part of the second-level cache, but for weights so large that reading them once more for
    # every few rows costs more than that they do not
    run.chunk = max(1, 384 * 1024 // (run.ld_gates * run.size))
    if run.ld_gates * run.X * run.size > 6 << 20:
        run.chunk = max(run.chunk, <Py_ssize_t> BLOCK)
    return 0


cdef void set_group(Run* run, Py_ssize_t panels) noexcept nogil:
    run.group = panels
    run.groups = (run.P + panels - 1) // panels


# The cost model. Its numbers are round ones for a core of a current server; what counts is how they compare.

cdef double L1, L2
L1, L2 = cache_sizes()         # bytes of weights that stay in the first-level cache
L2 *= 0.8                      # and in the second-level cache, beside the rest
cdef double STEP = 0.1e-6      # seconds that a step takes, however small
cdef double OF_MANY = 0.03e-6  # and where the steps of a single row are made at once
cdef double BARRIER = 0.1e-6   # seconds that a meeting costs, with the states that change hands at it
cdef double MEETING = 0.04e-6  # and more for every thread
cdef double TOLD = 0.04e-6     # and where they need not meet but tell each other, for every thread
cdef double START = 1e-6       # to have other threads begin and end
cdef double HAND = 0.25e-6     # and more for every thread
cdef double WAKE = 150e-6      # and more for those that sleep
cdef double MARGIN = 0.85      # of the time on fewer threads that more may take: another program can keep them waiting
cdef double NEARLY = 0.95      # the same where they would fall asleep meanwhile, but are wanted soon
cdef double SLEEPY = 100e-6    # seconds in which they may do so
cdef double LEAST_PIECE = 5e-6 # in a piece of a stack's steps, after which the layer above goes on
cdef double PIECES = 1e-6      # and more where work changes hands all along
cdef double BESIDE = 0.95      # of the time of other ways to share that work beside the steps may take: pieces are small


cdef double rate_of(const rf_ops* ops) noexcept nogil:
    """Operations a second in products: vectors of 32 bytes and more run at the rate of the tuned kernels."""
    return (110e9 if ops.width * ops.itemsize >= 32 else 20e9) * 4 / ops.itemsize


cdef double start_time(int threads) noexcept nogil:
    return START + HAND * threads


cdef int worth(double work, When when) except -1:
    """Return how many threads so many operations are worth where any number can share them, with no meeting."""
    cdef int threads = 1 if work < 4e6 else get_num_threads()
    if threads > 1 and when == NOW and work < 4e7 and not ready(threads):
        return 1
    return threads


cdef double stream_time(double weights) noexcept nogil:
    """Seconds in which one core reads so many bytes of weights, as it does again at every step."""
    return min(weights, L1) / 200e9 + max(min(weights, L2) - L1, 0) / 98e9 + max(weights - L2, 0) / 40e9


cdef double recurrent_size(const Run* run) noexcept nogil:
    """Elements of the weights that every step multiplies with."""
    cdef Py_ssize_t slots = run.project  # a projection has as many weights as a gate
    cdef int i
    for i in range(run.cell.phases):
        slots += run.cell.phase[i].slots
    return <double> slots * run.ld * run.Q


cdef bint steps_at_once(const Run* run, bint back) noexcept nogil:
    """Return whether one thread goes through the steps by `rf_cell.steps` or `steps_back`: of a single row of few units."""
    return run.B == 1 and not run.around and run.P <= (run.cell.steps_back_panels if back else run.cell.steps_panels)


cdef bint steps_together(const Run* run) noexcept nogil:
    """Return whether threads that share the units go through the steps by `rf_cell.steps_together`: of a single row."""
    return run.B == 1 and not run.around and run.cell.steps_together != NULL and run.product[1].chains == 1


cdef double sweep_time(const Run* run, int threads, bint by_units, double rate) noexcept nogil:
    """Seconds that the recurrence takes on so many threads."""
    cdef double weights = recurrent_size(run), part = 1, rows = run.R, work
    if by_units:
        part = <double> min(run.P, (run.groups + threads - 1) // threads * run.group) / run.P
    else:  # whole rows: some threads may have one more than others
        rows = rows / run.B * ((run.B + threads - 1) // threads)
    work = max(2.0 * rows * weights * part / rate, run.T * stream_time(part * weights * run.size))
    if by_units and steps_together(run) and run.passes == 1:
        return work + run.T * (OF_MANY + TOLD * threads)
    work += run.T * (OF_MANY if threads == 1 and steps_at_once(run, run.passes > 1) else STEP)
    if by_units:
        work += run.T * (run.cell.phases + run.project) * (BARRIER + MEETING * threads)
    return work


cdef const char* reasons[3]
reasons[0] = b"steps too small to share, but not what goes before and after them"
reasons[1] = b"enough rows for every thread to take its own, with no barrier between steps"
reasons[2] = b"few rows for such weights: every thread keeps its part of them in its cache"
cdef const char* apart_reason = b"enough rows for every thread to take its own from the first step to the last"


cdef bint can_go_beside(const Run* run) noexcept nogil:
    """Return whether the other threads can work while one goes through the steps."""
    return not run.V and not run.around and not run.blas


cdef Py_ssize_t least_sum(const Run* run) noexcept nogil:
    """Return for how many rows at least the sums of outer products are worth fetching and storing once more."""
    return max(16, min(64, run.ld_gates * (run.X + run.Q) * run.size // 8192))


cdef double beside_time(const Run* run, int threads, double alone, double others) noexcept nogil:
    """Seconds where one thread does the steps: it waits for the first input product, or others for the last steps."""
    cdef double least = others * HEAD / run.R
    if run.passes > 1:  # two thirds of all that follows are sums
        least = others * 2 / 3 * least_sum(run) / run.R / (threads - 1)
    return max(alone + least, (alone + others) / threads)


cdef int choose(Run* run, double alone, double others, double rate, double wake) except -1:
    """Choose the cheapest number of threads and way to share by the model, where it takes `wake` to have them begin."""
    cdef double best = alone + others, rest, margin = MARGIN
    cdef double costs[3]
    cdef Py_ssize_t groups = 1 if run.cell.norm else run.groups  # a normalisation takes whole rows
    cdef int most = get_num_threads(), threads = 1, chosen = 1, way, i
    run.by_units = run.beside = False
    run.sharing = 1
    run.reason = b"too little work for two threads" if most > 1 else b"one thread is all that is allowed"
    if run.save and run.passes == 1 and best > SLEEPY:  # the backward pass follows
        margin = NEARLY
    while threads < most:
        threads = min(2 * threads, most)
        rest = wake + start_time(threads) + others / threads
        costs[0] = alone + rest
        if can_go_beside(run):
            costs[0] = wake + start_time(threads) + PIECES + beside_time(run, threads, alone, others) / BESIDE
        costs[1] = sweep_time(run, threads, False, rate) + rest if threads <= run.B else costs[0]
        costs[2] = sweep_time(run, threads, True, rate) + rest if threads <= groups else costs[0]
        way = 0
        for i in range(1, 3):
            if costs[i] < costs[way]:
                way = i
        if costs[way] < margin * best:
            best, chosen, run.by_units = costs[way], threads, way == 2
            run.sharing = threads if way else 1
            run.beside = way == 0 and can_go_beside(run)
            run.head = max(0.0, 1.0 / threads - alone * (threads - 1) / (others * threads)) if others > 0 else 0
            run.reason = reasons[way]
    run.cost = best
    return chosen


cdef bint can_part(const Run* run, int threads) noexcept nogil:
    """Return whether threads can keep their rows from the first step to the last and all have about as much to do.

    So they do not wait for each other on the way, where each wait lasts until the slowest has come: on CPUs that others
    use as well, another one every time.
    """
    if run.R == run.T * run.B:
        if run.save and run.R <= run.chunk:
            return False  # nothing to wait for on the way, and one input product of many rows is the faster one
        return (run.B + threads - 1) // threads * threads * 15 <= run.B * 16
    return run.T * threads * 3 <= run.R  # no row is more than a third of a share


cdef int split(Run* run, double passes, When when) except -1:
    """Decide how many threads the call is worth, and how they share the recurrence, by rows or by units.

    Of all numbers of threads and both ways (and that one thread does the recurrence, and all what is not bound to
    the order of time) the cheapest by the model above. Measured on two cores; for more it is the model's word.
    """
    cdef double rate = rate_of(run.ops)
    # not bound to the order of time; backward: gradients of the inputs, and of both weights
    cdef double others = 2.0 * run.R * (passes * run.cell.x_slots * run.ld * run.X + (passes - 1) * recurrent_size(run)) / rate
    cdef double alone
    cdef int chosen
    run.long_steps = 2.0 * run.B * recurrent_size(run) > 1e8
    run.passes = passes
    run.brief = run.by_units = run.apart = run.beside = False
    run.sharing = 1
    run.reason = b"too little work for two threads"
    run.one = run.cost = 0
    if passes == 1 and run.cell.slots > 1 and not run.around:
        set_group(run, max(1, 64 // (run.W * run.size)))  # no two threads write to one line of h
    if run.B == 0 or run.T == 0:
        return 1
    alone = sweep_time(run, 1, False, rate)
    run.one = run.cost = alone + others
    run.brief = alone + others < 5e-3
    if alone + others < 4 * start_time(2):
        return 1
    chosen = choose(run, alone, others, rate, 0)
    if chosen > 1 and (when == ASLEEP or when == NOW and not ready(chosen)):
        # the backward pass, twice the work, has a part in what it costs to wake them
        chosen = choose(run, alone, others, rate, WAKE / 3 if run.save and passes == 1 else WAKE)
    if chosen > 1 and not run.by_units and run.sharing == chosen and can_part(run, chosen):
        run.apart, run.reason = True, apart_reason
    return chosen


cdef bint side_by_side(Run* run, double passes, When* when) except -1:
    """Decide whether the two directions of a layer, of which `run` is one, are best done at once, each by one thread.

    They then wait for nobody, and each thread reads the weights of one direction alone. `when` may become more definite.
    """
    cdef double together, margin = NEARLY if run.save and passes == 1 else MARGIN
    if get_num_threads() < 2:
        return False
    split(run, passes, SERIES)
    together = run.one + start_time(2)
    if 2 * run.one < 4 * start_time(2) or together > 2 * run.cost:
        return False
    if when[0] == NOW:
        when[0] = SERIES if ready(2) else ASLEEP
    if when[0] == ASLEEP:
        together += WAKE / 3 if run.save and passes == 1 else WAKE
    return together < margin * 2 * run.one


cdef int layers_at_once(Run** runs, int count, double passes, When* when, Py_ssize_t* pieces) except -1:
    """Decide how many threads a stack of layers is best shared out to, some layers to each: 1 if one after the other is best.

    Each layer follows the one below it piece by piece. `pieces`: how many pieces the steps make, OUT; `when` may become more
    definite.
    """
    cdef double in_turn = 0, one = 0, longest, time, best = 0, margin = NEARLY if runs[0].save and passes == 1 else MARGIN
    cdef int most = min(get_num_threads(), count), threads = 1, chosen = 1, thread, k
    cdef Py_ssize_t first, last, n
    # see engine.stacked; BLAS takes gradients of inputs over all steps
    if most < 2 or runs[0].T < 8 or count * runs[0].R * runs[0].ld_h * runs[0].size > 64 << 20 or runs[0].blas:
        return 1
    for k in range(count):
        split(runs[k], passes, SERIES)
        in_turn += runs[k].cost
        one += runs[k].one
    if one < 4 * start_time(2):
        return 1
    while threads < most:
        threads = min(2 * threads, most)
        longest = 0
        for thread in range(threads):
            share(count, thread, threads, &first, &last)
            time = 0
            for k in range(<int> first, <int> last):
                time += runs[k].one
            longest = max(longest, time)
        # as many as keep 6 rows and some microseconds in a piece
        n = max(2, min(min(runs[0].T, runs[0].R // 6), <Py_ssize_t> (longest / LEAST_PIECE)))
        time = longest * (1 + (threads - 1) / <double> n) + start_time(threads) + n * BARRIER
        if chosen == 1 or time < best:
            best, chosen, pieces[0] = time, threads, n
    if best > in_turn:
        return 1
    if when[0] == NOW:
        when[0] = SERIES if ready(chosen) else ASLEEP
    if when[0] == ASLEEP:
        best += WAKE / 3 if runs[0].save and passes == 1 else WAKE
    return chosen if best < margin * one else 1


cdef double LONGEST = 3e-3  # seconds up to which a call is short: longer ones meet too seldom to lose much, and trials cost more


cdef uint64_t kind_of(const Run* run, int threads) noexcept nogil:
    """Return a number for the calls that trials take for alike: steps up to twice as many, all else the same but the values."""
    cdef Py_ssize_t[11] what
    cdef Py_ssize_t steps = run.R // run.B
    cdef uint64_t kind = 0
    cdef int i
    what[:] = [<Py_ssize_t> run.ops, <Py_ssize_t> run.cell, run.B, 0, run.X, run.H, run.Q, run.V, threads, run.sharing,
               <Py_ssize_t> (run.passes * 32) + run.save + 2 * run.by_units + 4 * run.beside + 8 * run.apart + 16 * run.around]
    while steps > 1:
        steps //= 2
        what[3] += 1
    for i in range(11):
        kind = (kind ^ <uint64_t> what[i]) * <uint64_t> 0x9E3779B97F4A7C15  # 2^64 by the golden ratio
        kind ^= kind >> 29
    return kind + (kind == 0)


cdef void share_out(rf_task task, void* context, const Run* run, Py_ssize_t runs, int threads) noexcept nogil:
    """Do a task of so many runs like this one on `threads` threads, or alone where trials say so."""
    cdef double seconds = run.one * runs
    if threads > 1 and 0 < seconds < LONGEST:
        parallel_or_alone(task, context, threads, kind_of(run, threads) + runs - 1, 1e6 * seconds)
    else:
        parallel(task, context, threads)


cdef void alone(Run* run, bint brief) noexcept nogil:
    """Have one thread do everything."""
    run.by_units = run.apart = run.beside = False
    run.sharing = 1
    run.brief = brief


cdef When asked_anew(When when) noexcept:
    """Return `when` for the next of several tasks: threads that slept are asked again, for whoever asks often wakes them."""
    return NOW if when == ASLEEP else when


cdef void share(Py_ssize_t n, int part, int parts, Py_ssize_t* first, Py_ssize_t* last) noexcept nogil:
    first[0] = n * part // parts
    last[0] = n * (part + 1) // parts


cdef void share_tiles(Py_ssize_t n, int part, int parts, Py_ssize_t* first, Py_ssize_t* last) noexcept nogil:
    """Share out n columns of a sum of outer products, so that everybody has whole tiles."""
    share((n + HEIGHT - 1) // HEIGHT, part, parts, first, last)
    first[0], last[0] = min(n, first[0] * HEIGHT), min(n, last[0] * HEIGHT)


cdef void row_share(const Run* run, Py_ssize_t first, Py_ssize_t end, int thread, int threads, Py_ssize_t* row0,
                    Py_ssize_t* row1) noexcept nogil:
    """Share the rows out so that every thread has about as much to do in steps first..end; threads past the last get none.

    Anew for every chunk where all meet in it: else whoever has the long rows would wait for the short ones at first, and
    the others for the long ones in the end.
    """
    cdef Py_ssize_t t = end, j, steps, done = 0, part = 0, whole = run.off[end] - run.off[first]
    row0[0] = row1[0] = run.B
    if thread >= threads:
        return
    if run.R == run.T * run.B:
        share(run.B, thread, threads, row0, row1)
        return
    row0[0] = 0 if thread == 0 else run.B
    for j in range(run.B):
        while t > first and run.n[t - 1] <= j:
            t -= 1
        steps = t - first  # that row j makes
        done += steps
        # cut where it comes nearest: the next row makes about as many steps
        while part < threads - 1 and (2 * done + steps) * threads >= 2 * whole * (part + 1):
            part += 1
            if part == thread:
                row0[0] = j + 1
            if part == thread + 1:
                row1[0] = j + 1


cdef double now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + 1e-9 * t.tv_nsec


cdef void check_signals(Run* run) noexcept with gil:
    restore_subnormals(0)  # a handler is the program's own code
    try:
        PyErr_CheckSignals()
    except BaseException as error:  # KeyboardInterrupt, or whatever the handler raises
        (<list> run.errors).append(error)
        run.stop = run.meetings + 1
    flush_subnormals()


cdef void poll(Run* run, int thread) noexcept nogil:
    """Let Ctrl-C in about every 50 ms, in thread 0.

    From then on `run.stop` is not 0, and any thread may leave out work, but no barrier: that a thread may only do where
    `meet` tells it to.
    """
    cdef double t
    if thread == 0 and not run.stop and not run.brief:
        if run.leader != NULL:
            if run.leader.stop:
                run.stop = run.meetings + 1
            return
        t = now()
        if t - run.checked > 0.05:
            run.checked = t
            check_signals(run)


cdef void look(void* context) noexcept nogil:
    poll(<Run*> context, 0)


cdef void begin(int thread, int threads) noexcept nogil:
    """Have Ctrl-C come in also while thread 0 waits for others."""
    if thread == 0 and threads > 1:
        while_waiting(look)


cdef bint meet(Run* run, int thread, int threads, Py_ssize_t* meetings) noexcept nogil:
    """Wait for the other threads, and tell all of them or none to leave.

    The number makes that sure: thread 0 may set `stop` for the next meeting before another thread has looked here.
    """
    poll(run, thread)
    meetings[0] += 1
    if thread == 0:
        run.meetings = meetings[0]
    barrier(thread, threads)
    return run.stop and run.stop <= meetings[0]
