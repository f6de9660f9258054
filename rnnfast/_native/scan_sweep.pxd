from libc.stdint cimport int64_t, uint32_t, uint64_t

from rnnfast._native.kernels cimport rf_ops, rf_outer, rf_product, rf_scan_cell

cdef enum:
    # what a round is for
    FORWARD
    BACKWARD
    PROJECT
    SUM_BY_INDEX
    GRADIENTS

cdef enum:
    GROUP = 4     # unit panels that are swept together: SCAN_PANELS of csrc/scan.inc.c
    PIECE = 96    # rows of an input product, whose pre-activations are swept while they are in cache


ctypedef struct Job:
    const rf_ops* ops
    const rf_scan_cell* cell
    Py_ssize_t B, T, R, X, H, P, W, size, groups
    Py_ssize_t ld, ld_gates        # elements of a row of states and of pre-activations
    Py_ssize_t* first              # (B+1,) compact row at which each sequence begins
    bint descending                # steps are walked from the last to the first
    bint save
    const char* xs                 # rows of the input, ld_x elements apart
    Py_ssize_t ld_x
    rf_product product
    const char* bias
    const char* projected          # (table rows, S*ld) the input product of a table, or NULL
    const int64_t* index           # (R,) where each row stands in it
    char* gates                    # (R, S*ld) when saving
    char* c                        # (R, ld) when saving
    char* state                    # (B, ld)
    char* y                        # (B, T, H); dy in backward, NULL for zeros
    Py_ssize_t y_row, y_step       # bytes
    const char* v
    double scale
    uint32_t threshold             # of zoneout
    uint64_t seed
    bint hold
    const char* ones               # (ld,)
    char* scratch                  # of each thread
    Py_ssize_t scratch_size
    # backward only
    char* dskip                    # (R, ld)
    const char* dinit              # (R, ...) what the gradient of the input starts from, or NULL
    char* dv                       # (B, V*ld)
    char* dx
    Py_ssize_t dx_row, dx_step     # bytes
    rf_outer outer
    char* bias_sums
    # what one round goes through
    int phase
    int parts                      # in which the sweep was shared out, one for each thread that was asked for
    Py_ssize_t round, rounds


cdef void divide(const Job* job, int thread, int threads, Py_ssize_t* group0, Py_ssize_t* group1, Py_ssize_t* row0,
                 Py_ssize_t* row1) noexcept nogil
cdef void task(void* context, int thread, int threads) noexcept nogil
cdef int run(Job* job, int phase, double work, int threads) except -1
