"""What one run of a direction works on, and how threads share it.

Threads take either rows (no meeting point within a chunk; every thread reads all weights) or groups of units (each
keeps its part of the weights in its own cache; one barrier a product). Which, is decided in `split`. No choice of threads
or chunks changes a bit of the result: see csrc/gemm.inc.c.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from rnnfast._native.kernels cimport barrier, flush_subnormals, restore_subnormals
from rnnfast.threads import get_num_threads


cdef int set_run(Run* run, Packed packed, Lengths rows) except -1:
    memset(run, 0, sizeof(Run))
    run.ops, run.cell = packed.ops, packed.cell
    run.T, run.B, run.R = rows.T, rows.B, rows.R
    run.X, run.H, run.P, run.W, run.size = (packed.inputs, packed.hidden, packed.panels, packed.width,
                                            packed.itemsize)
    run.groups = (run.P + GROUP - 1) // GROUP
    run.ld = run.P * run.W
    run.ld_gates = run.ld * packed.slots
    run.Q, run.ld_h, run.project = packed.outputs, packed.ld_h, packed.projects()
    run.n, run.off = rows.n, rows.off
    run.bias = packed.bias
    run.checked = now()
    # weights larger than the first-level cache: finer turns, and alternating direction
    run.zigzag = run.ld_gates * run.ld * run.size > 32 * 1024
    run.grain = 2 if run.zigzag and packed.slots > 1 else GROUP
    if packed.cell.norm:
        run.grain = max(run.P, 1)  # whole rows
    # a chunk's gates take a part of the second-level cache
    run.chunk = max(1, 384 * 1024 // (run.ld_gates * run.size))
    return 0


cdef int split(Run* run, double passes) except -1:
    """Decide how many threads share the recurrence, by rows or by units; return how many the whole call is worth.

    The numbers are floating-point operations: 1e5 take about a microsecond, what a barrier or waking a thread costs.
    """
    cdef double step = 2.0 * run.B * run.ld_gates * run.ld
    cdef double apart = 2.0 * run.R * run.ld_gates * (run.X + (passes - 1) * run.ld)  # not bound to the sequence
    cdef Py_ssize_t weights = run.ld_gates * run.ld * run.size
    cdef int threads
    run.long_steps = step > 1e8
    run.by_units = False
    run.sharing = 1
    if run.T * step + apart < 4e6:
        run.reason = b"too little work for two threads"
        return 1
    threads = get_num_threads()
    if threads < 2:
        run.reason = b"one thread is all that is allowed"
        return threads
    if run.cell.norm and run.B < 2 * threads:
        run.reason = b"a normalisation takes whole rows, and they are few"
    elif run.B >= 4 * threads and (weights <= 768 * 1024 or run.B >= 16 * threads):
        run.reason = b"enough rows for every thread to take its own, with no barrier between steps"
        run.sharing = threads
    elif run.groups >= threads and step > 3e5 and not run.cell.norm:
        run.reason = b"few rows for such weights: every thread keeps its part of them in its cache"
        run.sharing = threads
        run.by_units = True
    elif run.B >= 2 * threads and step > 1e5:
        run.reason = b"too few units to share out, so rows are"
        run.sharing = threads
    else:
        run.reason = b"steps too small to share"
    return 1 if run.sharing == 1 and apart < 2e7 else threads


cdef void share(Py_ssize_t n, int part, int parts, Py_ssize_t* first, Py_ssize_t* last) noexcept nogil:
    first[0] = n * part // parts
    last[0] = n * (part + 1) // parts


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
    """Let Ctrl-C in about every 50 ms.

    From then on `run.stop` is not 0, and any thread may leave out work, but no barrier: that a thread may only do where
    `meet` tells it to.
    """
    cdef double t
    if thread == 0 and not run.stop:
        t = now()
        if t - run.checked > 0.05:
            run.checked = t
            check_signals(run)


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
