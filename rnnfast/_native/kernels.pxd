# The one binding of csrc/rnnfast.h; other modules reach the C side through what this one exports.

cdef extern from "rnnfast.h" nogil:
    # optim.inc.c
    ctypedef struct rf_step:
        double scale
        double l2
        double shrink
        double rate
        double a
        double b
        double eps
        double root
    enum:
        RF_SGD
        RF_MOMENTUM
        RF_NESTEROV
        RF_RMSPROP
        RF_ADAGRAD
        RF_ADAM

    ctypedef struct rf_ops:
        const char* isa
        int itemsize
        int width
        void (*exp)(Py_ssize_t n, const void* x, void* y) noexcept nogil
        void (*tanh)(Py_ssize_t n, const void* x, void* y) noexcept nogil
        void (*sigmoid)(Py_ssize_t n, const void* x, void* y) noexcept nogil
        # optim.inc.c
        void (*optim[6])(Py_ssize_t n, void* p, const void* g, void* s, void* t, const rf_step* k) noexcept nogil
        double (*sum_squares)(Py_ssize_t n, const void* x) noexcept nogil
        int (*all_finite)(Py_ssize_t n, const void* x) noexcept nogil

    ctypedef void (*rf_task)(void* context, int thread, int threads) noexcept nogil


cdef const rf_ops* ops(int itemsize) noexcept nogil
cdef void parallel(rf_task task, void* context, int threads) noexcept nogil
cdef void barrier(int thread, int threads) noexcept nogil
