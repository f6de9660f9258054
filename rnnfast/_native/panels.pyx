"""Matrices cut into the panels of csrc/gemm.inc.c, and weights copied into them, by several threads where they are large.

Training packs all weights anew after every update, so that a large table takes as long to pack as to update.
"""

from rnnfast._native.kernels cimport parallel, rf_ops, rf_product

cdef enum:
    GRAIN = 65536  # elements below which a thread more is not worth waking


ctypedef struct Job:
    const rf_ops* ops
    bint by_rows
    const void* w
    const Py_ssize_t* rows
    void* to
    Py_ssize_t k, columns, panel_columns, panels


cdef void panels_of(rf_product* s, Py_ssize_t columns, Py_ssize_t width, int vectors, Py_ssize_t stride) noexcept nogil:
    """Cut `columns` into panels of `vectors` vectors, `stride` columns apart in a row of C."""
    cdef Py_ssize_t wide = vectors * width
    cdef Py_ssize_t rest
    s.panels = (columns + wide - 1) // wide
    s.panel_stride = stride
    s.vectors = vectors
    rest = columns - (s.panels - 1) * wide
    s.last = <int> ((rest + width - 1) // width)
    s.tail = <int> (rest - (s.last - 1) * width)


cdef void task(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t first = job.panels * thread // threads, last = job.panels * (thread + 1) // threads
    if job.by_rows:
        job.ops.pack_rows(job.w, job.columns, job.rows, job.k, job.to, first, last)
    else:
        job.ops.pack_columns(job.w, job.k, job.rows, job.columns, job.panel_columns, job.to, first, last)


cdef void run(Job* job, int threads) noexcept nogil:
    job.panels = (job.columns + job.panel_columns - 1) // job.panel_columns
    parallel(task, job, <int> max(1, min(<Py_ssize_t> threads, min(job.panels, job.k * job.columns // GRAIN))))


cdef void pack_columns(const rf_ops* ops, const void* w, Py_ssize_t k, const Py_ssize_t* rows, Py_ssize_t columns,
                       Py_ssize_t panel_columns, void* to, int threads) noexcept nogil:
    """Pack the transpose: columns are the listed rows of w (., k)."""
    cdef Job job
    job.ops, job.by_rows, job.w, job.rows, job.to = ops, False, w, rows, to
    job.k, job.columns, job.panel_columns = k, columns, panel_columns
    run(&job, threads)


cdef void pack_rows(const rf_ops* ops, const void* w, Py_ssize_t n, const Py_ssize_t* rows, Py_ssize_t k, void* to,
                    int threads) noexcept nogil:
    """Pack the listed rows, k of them, of w (., n)."""
    cdef Job job
    job.ops, job.by_rows, job.w, job.rows, job.to = ops, True, w, rows, to
    job.k, job.columns, job.panel_columns = k, n, 4 * ops.width
    run(&job, threads)
