from libc.stdint cimport int64_t

from rnnfast._native.dense cimport Work
from rnnfast._native.kernels cimport rf_product
from rnnfast._native.plan cimport Run
from rnnfast._native.scan_sweep cimport Job as ScanJob

cdef enum:
    EMBEDDING
    RECURRENT
    DENSE
    SCAN


ctypedef struct Stage:
    int kind, threads
    Py_ssize_t inputs, outputs
    char* kept               # (B, outputs) what the next stage reads
    char* part               # states in a step of some rows alone, side by side; NULL before the first one
    Run run                  # RECURRENT
    const char* table        # EMBEDDING (inputs, outputs)
    Work work                # DENSE
    rf_product product
    int activation           # 0, or a letter: r t s
    ScanJob* scan            # SCAN


ctypedef struct Job:
    Stage* stages
    int count, size
    Py_ssize_t batch         # rows that take part
    const int64_t* rows      # (batch,) which, in the order of x; NULL: all
    const char* x            # (batch, I) or (batch,) int64
    char* y                  # (batch, C)


cdef void take_rows(Stage* stage, Py_ssize_t batch) noexcept nogil
cdef Py_ssize_t part_of_run(const Run* run) noexcept nogil
cdef void run_stages(void* context, int thread, int threads) noexcept nogil
