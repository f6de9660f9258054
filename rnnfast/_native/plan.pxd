from libc.stdint cimport uint32_t, uint64_t

from rnnfast._native.kernels cimport rf_cell, rf_ops, rf_options, rf_outer, rf_product, rf_task, rf_zone
from rnnfast._native.pack cimport Packed
from rnnfast._native.rows cimport Lengths, Rows

cdef enum:
    HEAD = 12  # rows at least that the thread which does the steps begins with
    HEIGHT = 6  # of tiles in sums of outer products: a multiple of that of every instruction set
    BLOCK = 128  # rows that products take through all weights before the next: that of csrc/gemm.inc.c
    GROUP = 4  # unit panels in a panel of a product that gives h, or whose cell has one gate
    # Operations, about 20 us, from which on a call gives the GIL away. That alone costs 0.04 us, but with another thread
    # at work in Python the way back costs a turn of up to 5 ms.
    RELEASE = 2000000


cdef enum Listed:
    SIDE_BY_SIDE  # rows of a buffer
    INPUTS        # rows of x
    STATES        # rows of h before each step


cdef enum When:
    NOW    # the call is about to begin
    SERIES # it is one of many that follow each other closely, or finds the other threads awake
    ASLEEP # it is about to begin, and the others have to be woken


ctypedef struct Run
ctypedef struct Run:
    const rf_ops* ops
    const rf_cell* cell
    Py_ssize_t T, B, R, X, H, P, W, size  # X: inputs (I is taken by complex.h)
    Py_ssize_t group, groups             # unit panels that are shared out together, and how many such groups there are
    Py_ssize_t ld, ld_gates              # units of a state row, elements of a gates row
    Py_ssize_t Q, ld_h                   # features of h, and of a row of it: H and ld, but where there is a projection
    Py_ssize_t* n                        # (T,) rows alive
    Py_ssize_t* off                      # (T+1,)
    Py_ssize_t* before                   # (R,) state row that precedes each row; NULL: the row itself
    bint save
    bint history                         # h keeps all steps; else backward finds them in what forward wrote to y
    Rows x, y                            # y: dy in backward
    Rows hs                              # backward: what forward wrote to y
    char* xs                             # (chunk, X) compact rows of x, or x itself; room for more where threads go apart
    Py_ssize_t ld_x
    bint gather                          # rows of x are not equally far apart
    # an input that is rows of a short table goes through the input weights once for each row of the table
    const char* table                    # (V, X)
    Py_ssize_t V                         # 0: there is no table, and x holds numbers instead of int64 indices
    char* projected                      # (V, S*ld) pre-activations in forward, sums of their gradients in backward
    char* gates                          # (R or chunk, S*ld), room for more where threads go apart
    char* h                              # (B+R, ld_h) with a history, else (2, B, ld_h), or (3, B, ld_h) when saving
    char* c                              # (B+R, ld) when saving, else (B, ld), or (2, B, ld) where zoneout mixes two
    char* aux                            # (R, ld) when saving, else (B, ld)
    const char* bias
    Py_ssize_t chunk                     # most rows in a chunk, of all threads or, where they go apart, of each
    rf_product product[4]
    bint zigzag                          # walk the weights forwards and backwards in turn,
    Py_ssize_t turn                      # the first step forwards, or backwards where this is odd
    Py_ssize_t grain                     # unit panels between two changes from product to pointwise part
    bint by_units
    bint apart                           # every thread has rows of its own from the first step to the last
    int sharing                          # threads that take part in the recurrence
    bint beside                          # of several, the others do what goes before or follows the steps meanwhile
    double passes                        # 1: forward, 2: backward
    double head                          # forward: share of the input product that is left to the one
    const char* reason                   # for this choice, in words
    double one, cost                     # seconds that it takes on one thread, and so, by the model
    const Run* leader                    # the direction beside this one, whose thread sees to signals; NULL: its own
    # backward only
    Rows dx
    bint direct_dx
    bint blas                            # the products after the sweep are blas_gradients.pyx's
    char* dh
    char* dc
    char* daux
    char* before_step                    # (B, ld_h) h before a step, and after it, where there is no history
    char* after_step
    rf_outer outer[4]                    # sums of gradients for the weights
    Listed listed[4][2]                  # what the rows of B are in each of their parts
    int outers
    bint direct                          # they go straight into the caller's arrays
    bint fresh                           # the arrays they go to hold nothing yet
    char* bias_sums
    char* scratch
    Py_ssize_t scratch_size
    # options: around.pyx
    rf_options options
    bint around                          # whether there is a projection, zoneout or variational dropout
    bint project, dropped
    bint zoned[2]
    Py_ssize_t two_c                     # 1: c has two places that take turns; else 0
    rf_zone zone[2]                      # of h and c
    double drop_scale                    # variational dropout
    uint32_t drop_threshold
    uint64_t drop_seed
    const Py_ssize_t* order              # the user's row of each sorted row; NULL: the same
    char* stats                          # (R or B, 4) of cells that normalise
    char* m                              # (R or B, ld) what a projection reads
    char* seen                           # (2, B, ld_h) h as the recurrent product sees it, dropped
    char* dm                             # (B, ld) gradient of m
    char* projected_dh                   # (R, ld_h) gradient of h as a projection has made it
    char* carried[2]                     # (B, ld_h), (B, ld) gradients that zoneout carries past a step
    char* dseen                          # (B, ld_h) gradient of what the recurrent product saw
    char* dvectors                       # (B, options.rows, ld)
    void* errors                         # a list, borrowed
    bint brief                           # over before anybody would wait for it: signals need no looking at
    bint long_steps                      # one step may take so long that it asks for signals on the way
    Py_ssize_t stop                      # the meeting after which all threads leave early, if there is one; 0: none
    Py_ssize_t meetings                  # that thread 0 has come to
    double checked


cdef int set_run(Run* run, Packed packed, Lengths rows) except -1
cdef bint steps_together(const Run* run) noexcept nogil
cdef bint steps_at_once(const Run* run, bint back) noexcept nogil
cdef int split(Run* run, double passes, When when) except -1
cdef int layers_at_once(Run** runs, int count, double passes, When* when, Py_ssize_t* pieces) except -1
cdef bint side_by_side(Run* run, double passes, When* when) except -1
cdef void share_out(rf_task task, void* context, const Run* run, Py_ssize_t runs, int threads) noexcept nogil
cdef void alone(Run* run, bint brief) noexcept nogil
cdef When asked_anew(When when) noexcept
cdef double rate_of(const rf_ops* ops) noexcept nogil
cdef Py_ssize_t least_sum(const Run* run) noexcept nogil
cdef double WAKE
cdef double start_time(int threads) noexcept nogil
cdef int worth(double work, When when) except -1
cdef double stream_time(double weights) noexcept nogil
cdef double now() noexcept nogil
cdef void share(Py_ssize_t n, int part, int parts, Py_ssize_t* first, Py_ssize_t* last) noexcept nogil
cdef void share_tiles(Py_ssize_t n, int part, int parts, Py_ssize_t* first, Py_ssize_t* last) noexcept nogil
cdef void row_share(const Run* run, Py_ssize_t first, Py_ssize_t end, int thread, int threads, Py_ssize_t* row0,
                    Py_ssize_t* row1) noexcept nogil
cdef void poll(Run* run, int thread) noexcept nogil
cdef void begin(int thread, int threads) noexcept nogil
cdef bint meet(Run* run, int thread, int threads, Py_ssize_t* meetings) noexcept nogil


cdef inline char* state_at(const Run* run, Py_ssize_t t) noexcept nogil:
    """Return the rows of h before step t, in a forward pass or with a history."""
    cdef Py_ssize_t row
    if run.history:
        row = run.B + run.off[t - 1] if t else 0
    elif run.save:  # the first are kept, two others take turns
        row = run.B * (1 + (t - 1 & 1)) if t else 0
    else:
        row = run.B * (t & 1)
    return run.h + row * run.ld_h * run.size


cdef inline char* cells_at(const Run* run, Py_ssize_t t) noexcept nogil:
    """Return the rows of c before step t, of a cell that has them."""
    cdef Py_ssize_t row = (t & run.two_c) * run.B
    if run.save:
        row = run.B + run.off[t - 1] if t else 0
    return run.c + row * run.ld * run.size


cdef inline Py_ssize_t step_of(const Run* run, Py_ssize_t row, Py_ssize_t t) noexcept nogil:
    """Return the step that a compact row belongs to, looking from step t onwards."""
    while run.off[t + 1] <= row:
        t += 1
    return t


cdef inline Py_ssize_t step_near(const Run* run, Py_ssize_t row, Py_ssize_t t) noexcept nogil:
    """Return the step that a compact row belongs to, looking from step t in both directions."""
    while run.off[t] > row:
        t -= 1
    return step_of(run, row, t)
