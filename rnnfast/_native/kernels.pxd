# The one binding of csrc/rnnfast.h; other modules reach the C side through what this one exports.

cdef extern from "rnnfast.h" nogil:
    ctypedef struct rf_ops:
        const char* isa
        int itemsize
        int width
        void (*exp)(Py_ssize_t n, const void* x, void* y) noexcept nogil
        void (*tanh)(Py_ssize_t n, const void* x, void* y) noexcept nogil
        void (*sigmoid)(Py_ssize_t n, const void* x, void* y) noexcept nogil

    ctypedef void (*rf_task)(void* context, int thread, int threads) noexcept nogil


cdef const rf_ops* ops(int itemsize) noexcept nogil
cdef void parallel(rf_task task, void* context, int threads) noexcept nogil
cdef void barrier(int thread, int threads) noexcept nogil
