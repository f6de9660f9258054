from rnnfast._native.pack cimport Packed
from rnnfast._native.plan cimport Run, When
from rnnfast._native.unroll cimport Saved


cdef class Backward:
    cdef Run run
    cdef Saved saved
    cdef object dx
    cdef dict grads, targets
    cdef list errors
    cdef char* work

    cdef int prepare(self, Saved saved) except -1
    cdef int provide(self, int threads, dy, dstate, dx, dict grads) except -1
    cdef tuple go(self, dy, dstate, dx, dict grads, When when)
    cdef tuple finish(self)
    cdef void free(self) noexcept


cdef size_t backward_sizes(Run* run, Packed packed, int threads, size_t* sizes) noexcept
cdef void backward_piece(Run* run, Py_ssize_t t, Py_ssize_t end) noexcept nogil
cdef void backward_sums(Run* run) noexcept nogil
cdef void backward_task(void* context, int thread, int threads) noexcept nogil
