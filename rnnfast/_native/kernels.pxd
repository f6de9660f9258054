# The one binding of csrc/rnnfast.h; other modules reach the C side through what this one exports.

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef extern from "rnnfast.h" nogil:
    void rf_want(const void* at, Py_ssize_t bytes)

    # optim.inc.c
    ctypedef struct rf_optim_step:
        double scale
        double l2
        double shrink
        double rate
        double a
        double b
        double eps
        double root
    enum:
        RF_READS_BEFORE
        RF_READS_AFTER

    enum:
        RF_SGD
        RF_MOMENTUM
        RF_NESTEROV
        RF_RMSPROP
        RF_ADAGRAD
        RF_ADAM

    enum:
        RF_NORM_KEPT

    const double RF_CTC_NEVER

    ctypedef struct rf_runs:
        Py_ssize_t runs, run, stride
        Py_ssize_t more, more_run, more_stride, more_at

    ctypedef struct rf_product:
        rf_runs source "from"
        Py_ssize_t panels, panel_stride
        int vectors, last
        int tail, units, chains, halves
        Py_ssize_t lda, ldc, ld_init
        const void* b

    ctypedef struct rf_outer_part:
        Py_ssize_t n
        const void* b
        Py_ssize_t ldb
        const Py_ssize_t* rows_b
        void* c

    ctypedef struct rf_outer:
        Py_ssize_t k, m
        const void* a
        Py_ssize_t lda
        rf_runs source "from"
        const Py_ssize_t* rows_c
        int fresh
        int parts
        rf_outer_part part[2]

    ctypedef struct rf_options:
        int peephole
        double clip
        Py_ssize_t units, ld, rows
        const void* vectors

    ctypedef struct rf_zone:
        double p
        int random
        uint32_t threshold
        uint64_t seed

    ctypedef struct rf_step:
        Py_ssize_t ld_gates, ld_state
        void* gates
        const void* h_prev
        void* h
        const void* c_prev
        void* c
        void* aux
        void* dh
        void* dc
        void* daux
        const rf_options* options
        void* stats
        void* dvectors

    ctypedef void (*rf_pointwise)(const rf_step* step, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t panel0,
                                  Py_ssize_t panel1) noexcept nogil

    ctypedef struct rf_steps:
        Py_ssize_t steps, hidden, ld_gates
        const rf_product* product
        void* gates
        Py_ssize_t ld_state
        const void* h_prev
        void* h[2]
        const void* c_prev
        void* c
        char* y
        Py_ssize_t y_step, turn
        int thread, threads
        Py_ssize_t group
        unsigned long told

    ctypedef struct rf_steps_back:
        Py_ssize_t steps, hidden, ld_gates
        const rf_product* product
        void* gates
        const void* h_prev
        const char* y
        Py_ssize_t y_step
        const char* dy
        Py_ssize_t dy_step
        const void* c
        void* dh
        void* dc

    ctypedef struct rf_phase:
        int from_aux
        int first, slots
        int gates[4]
        rf_pointwise forward, infer, backward

    ctypedef struct rf_cell:
        const char* name
        int slots
        int gates
        int has_c, has_aux
        int x_first, x_slots
        int x_gates[4]
        int reads, options, norm, room
        int phases
        rf_phase phase[2]
        int steps_panels, steps_back_panels
        void (*steps)(const rf_steps* s) noexcept nogil
        void (*steps_together)(const rf_steps* s) noexcept nogil
        void (*steps_back)(const rf_steps_back* s) noexcept nogil

    ctypedef struct rf_scan:
        Py_ssize_t hidden
        Py_ssize_t gates_step, x_step, y_step, c_step, dx_step
        void* gates
        const void* x
        void* y
        void* c
        void* dx
        void* state
        const void* v
        void* dv
        double scale

    ctypedef void (*rf_sweep)(const rf_scan* s, Py_ssize_t steps, Py_ssize_t panel0, Py_ssize_t panel1) noexcept nogil

    ctypedef struct rf_scan_cell:
        const char* name
        int slots
        int vectors
        int highway
        rf_sweep forward, infer, backward

    ctypedef struct rf_tree:
        Py_ssize_t hidden
        const Py_ssize_t* first
        const Py_ssize_t* child
        const Py_ssize_t* slot
        void* a
        void* f
        void* h
        void* c
        const void* c_all
        const void* dh
        void* dc
        void* dc_all

    ctypedef struct rf_ops:
        const char* isa
        int itemsize
        int width
        const rf_cell* const* cells
        const rf_scan_cell* const* scans

        # gemm.inc.c
        void (*product)(const rf_product* s, Py_ssize_t rows, const void* a, const void* init, void* c,
                        Py_ssize_t panel0, Py_ssize_t panel1) noexcept nogil
        void (*set_chains)(rf_product* s) noexcept nogil
        Py_ssize_t (*outer_scratch)(Py_ssize_t m, Py_ssize_t n) noexcept nogil
        void (*outer)(const rf_outer* s, Py_ssize_t q0, Py_ssize_t q1, void* scratch) noexcept nogil
        void (*add_rows)(Py_ssize_t n, const void* x, void* y) noexcept nogil
        void (*column_sums)(Py_ssize_t rows, Py_ssize_t n, const void* x, Py_ssize_t ldx, void* sums) noexcept nogil

        # pack.inc.c
        void (*pack_columns)(const void* w, Py_ssize_t k, const Py_ssize_t* rows, Py_ssize_t columns,
                             Py_ssize_t panel_columns, void* to, Py_ssize_t panel0, Py_ssize_t panel1) noexcept nogil
        void (*pack_rows)(const void* w, Py_ssize_t n, const Py_ssize_t* rows, Py_ssize_t k, void* to,
                          Py_ssize_t panel0, Py_ssize_t panel1) noexcept nogil
        void (*add_columns)(const void* sums, const Py_ssize_t* rows, Py_ssize_t columns, Py_ssize_t run,
                            Py_ssize_t run_stride, void* db) noexcept nogil
        void (*fill_slots)(Py_ssize_t rows, Py_ssize_t ld, Py_ssize_t panels, int slots, int first, int count,
                           const void* source, void* gates) noexcept nogil

        # scan.inc.c
        void (*hold)(Py_ssize_t n, const void* kept, int slots, void* gates) noexcept nogil

        # tree.inc.c
        void (*tree_forward)(const rf_tree* s, Py_ssize_t row0, Py_ssize_t row1) noexcept nogil
        void (*tree_backward)(const rf_tree* s, Py_ssize_t row0, Py_ssize_t row1) noexcept nogil

        # elementwise.inc.c
        # ops.inc.c
        void (*softmax_xent)(Py_ssize_t rows, Py_ssize_t n, const void* x, const int64_t* targets, const void* weights,
                             double scale, double smoothing, double* losses, void* dx) noexcept nogil
        void (*sigmoid_xent)(Py_ssize_t rows, Py_ssize_t n, const void* x, const void* targets, const void* weights,
                             double scale, double* losses, void* dx) noexcept nogil
        void (*dropout)(Py_ssize_t n, uint64_t start, const void* x, void* y, double scale, uint32_t threshold,
                        uint64_t seed) noexcept nogil
        void (*zoneout)(const rf_zone* z, Py_ssize_t n, uint64_t start, const void* before, void* now) noexcept nogil
        void (*zoneout_back)(const rf_zone* z, Py_ssize_t n, uint64_t start, void* d, void* carried) noexcept nogil
        void (*scatter_add)(Py_ssize_t rows, Py_ssize_t n, Py_ssize_t ld, const int64_t* to, const void* x,
                            void* y) noexcept nogil
        void (*max_steps)(Py_ssize_t steps, Py_ssize_t n, const void* x, void* y, int32_t* at) noexcept nogil
        # norm.inc.c
        void (*layer_norm)(Py_ssize_t rows, Py_ssize_t n, const void* x, const void* weight, const void* bias,
                           double eps, void* y, void* kept) noexcept nogil
        void (*layer_norm_back)(Py_ssize_t rows, Py_ssize_t n, const void* x, const void* kept, const void* weight,
                                const void* dy, void* dx, void* sums) noexcept nogil
        # attention.inc.c
        void (*additive_scores)(Py_ssize_t steps, Py_ssize_t n, const void* q, const void* k, const void* v,
                                void* scores) noexcept nogil
        void (*additive_gradients)(Py_ssize_t steps, Py_ssize_t n, const void* q, const void* k, const void* v,
                                   const void* ds, void* dq, void* dk, void* dv) noexcept nogil
        # ctc.inc.c
        int (*ctc_read)(Py_ssize_t steps, Py_ssize_t n, const void* x, Py_ssize_t count, const int64_t* labels,
                        Py_ssize_t blank, Py_ssize_t ld, double* y, double* yb, void* dx) noexcept nogil
        void (*ctc_slope)(Py_ssize_t steps, Py_ssize_t n, Py_ssize_t count, const int64_t* labels, Py_ssize_t blank,
                          Py_ssize_t ld, const double* g, const double* gb, double weight, void* dx) noexcept nogil
        Py_ssize_t (*ctc_scratch)(Py_ssize_t steps, Py_ssize_t ld, int gradient) noexcept nogil
        double (*ctc_paths)(Py_ssize_t steps, Py_ssize_t count, Py_ssize_t ld, double* y, double* yb,
                            const double* skip, int gradient, double* scratch) noexcept nogil
        # crf.inc.c
        Py_ssize_t (*crf_scratch)(Py_ssize_t steps, Py_ssize_t tags, int gradient) noexcept nogil
        double (*crf_paths)(Py_ssize_t steps, Py_ssize_t tags, const double* x, const double* m, const double* start,
                            const double* end, const double* forth, const double* back, double level, double* share,
                            double* pairs, double* scratch) noexcept nogil
        void (*exp)(Py_ssize_t n, const void* x, void* y) noexcept nogil
        void (*tanh)(Py_ssize_t n, const void* x, void* y) noexcept nogil
        void (*sigmoid)(Py_ssize_t n, const void* x, void* y) noexcept nogil
        # optim.inc.c
        void (*optim[6])(Py_ssize_t n, void* p, const void* g, void* s, void* t, const rf_optim_step* k) noexcept nogil
        double (*sum_squares)(Py_ssize_t n, const void* x) noexcept nogil
        int (*all_finite)(Py_ssize_t n, const void* x) noexcept nogil
        # limits.inc.c
        double (*multiply_adds)(Py_ssize_t rounds, void* values) noexcept nogil
        double (*read_through)(Py_ssize_t passes, Py_ssize_t n, const void* x, void* sums) noexcept nogil
        double (*step_chain)(Py_ssize_t steps, int activations, void* values) noexcept nogil

    ctypedef void (*rf_task)(void* context, int thread, int threads) noexcept nogil
    ctypedef void (*rf_look)(void* context) noexcept nogil


cdef const rf_ops* ops(int itemsize) noexcept nogil
cdef void* alloc(size_t size) noexcept nogil
cdef void release(void* memory) noexcept nogil
cdef void parallel(rf_task task, void* context, int threads) noexcept nogil
cdef void parallel_or_alone(rf_task task, void* context, int threads, uint64_t kind, double expected) noexcept nogil
cdef void barrier(int thread, int threads) noexcept nogil
cdef void post(int thread, unsigned long progress) noexcept nogil
cdef unsigned long progress_of(int other) noexcept nogil
cdef void wait_until(int thread, int other, unsigned long progress) noexcept nogil
cdef unsigned long claim() noexcept nogil
cdef void while_waiting(rf_look look) noexcept nogil
cdef void waits_on_purpose() noexcept nogil
cdef bint ready(int threads) noexcept nogil
cdef unsigned flush_subnormals() noexcept nogil
cdef void restore_subnormals(unsigned saved) noexcept nogil
