"""The stages of a stack of layers in a step, one after the other, for all rows or for some.

The rows that take part stand side by side in every buffer. States are kept by row, so in a step of some rows theirs are
copied out and back; what a row then has is no other than in a step of all.
"""

from libc.string cimport memcpy

from rnnfast._native.dense cimport task as dense_task
from rnnfast._native.kernels cimport parallel
from rnnfast._native.plan cimport share_out
from rnnfast._native.rows cimport collect, distribute
from rnnfast._native.scan_step cimport scan_step, scan_step_in
from rnnfast._native.unroll cimport forward_task


cdef void take_rows(Stage* stage, Py_ssize_t batch) noexcept nogil:
    """Set a stage to so many rows."""
    if stage.kind == RECURRENT:
        stage.run.B = stage.run.R = batch
    elif stage.kind == SCAN:
        stage.scan.B = stage.scan.R = batch
    elif stage.kind == DENSE:
        stage.work.rows = stage.work.row1 = batch


cdef Py_ssize_t part_of_run(const Run* run) noexcept nogil:
    """Return the bytes of `Stage.part` for one row: h before and after, c in one place or two."""
    return (2 * run.ld_h + (1 + run.two_c) * run.cell.has_c * run.ld) * run.size


cdef void recur(Stage* stage, const char* x, char* y) noexcept nogil:
    """Do the step; the run writes h to the second of its two places, and c too if it has two."""
    cdef Run* run = &stage.run
    run.xs = <char*> x
    run.y.base = y
    run.turn ^= 1
    if stage.threads == 1:
        forward_task(run, 0, 1)
    else:
        share_out(forward_task, run, run, 1, stage.threads)


cdef void recur_all(Stage* stage, const char* x, char* y) noexcept nogil:
    cdef Run* run = &stage.run
    cdef Py_ssize_t states = run.B * run.ld_h * run.size, others = run.B * run.ld * run.size
    recur(stage, x, y)
    memcpy(run.h, run.h + states, states)
    if run.two_c:
        memcpy(run.c, run.c + others, others)


cdef void recur_some(const Job* job, Stage* stage, const char* x, char* y) noexcept nogil:
    cdef Run* run = &stage.run
    cdef Py_ssize_t n = job.batch, line_h = run.ld_h * run.size, line = run.ld * run.size
    cdef char* h = run.h
    cdef char* c = run.c
    run.h, run.c = stage.part, stage.part + 2 * n * line_h
    collect(run.h, h, job.rows, n, line_h)
    if run.cell.has_c:
        collect(run.c, c, job.rows, n, line)
    recur(stage, x, y)
    distribute(h, run.h + n * line_h, job.rows, n, line_h)
    if run.cell.has_c:
        distribute(c, run.c + run.two_c * n * line, job.rows, n, line)
    run.h, run.c = h, c


cdef void activate(const Job* job, const Stage* stage, char* y) noexcept nogil:
    cdef Py_ssize_t n = job.batch * stage.outputs, i
    if stage.activation == c"t":
        stage.work.ops.tanh(n, y, y)
    elif stage.activation == c"s":
        stage.work.ops.sigmoid(n, y, y)
    elif stage.activation == c"r" and job.size == 4:
        for i in range(n):
            if (<float*> y)[i] < 0:
                (<float*> y)[i] = 0
    elif stage.activation == c"r":
        for i in range(n):
            if (<double*> y)[i] < 0:
                (<double*> y)[i] = 0


cdef void run_stages(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Stage* stage
    cdef const char* x = job.x
    cdef char* y
    cdef int i
    cdef Py_ssize_t j, line
    for i in range(job.count):
        stage = &job.stages[i]
        y = job.y if i == job.count - 1 else stage.kept
        if stage.kind == RECURRENT and job.rows != NULL:
            recur_some(job, stage, x, y)
        elif stage.kind == RECURRENT:
            recur_all(stage, x, y)
        elif stage.kind == SCAN and job.rows != NULL:
            scan_step_in(stage.scan, stage.inputs, stage.threads, job.rows, stage.part, x, y)
        elif stage.kind == SCAN:
            scan_step(stage.scan, stage.inputs, stage.threads, x, y)
        elif stage.kind == DENSE:
            stage.work.a, stage.work.c = x, y
            if stage.threads == 1:
                dense_task(&stage.work, 0, 1)
            else:
                parallel(dense_task, &stage.work, stage.threads)
            activate(job, stage, y)
        else:
            line = stage.outputs * job.size
            for j in range(job.batch):
                memcpy(y + j * line, stage.table + (<const int64_t*> x)[j] * line, line)
        x = y
