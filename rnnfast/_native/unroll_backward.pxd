from rnnfast._native.pack cimport Packed
from rnnfast._native.plan cimport Run


cdef size_t backward_sizes(Run* run, Packed packed, int threads, size_t* sizes) noexcept
cdef void backward_piece(Run* run, Py_ssize_t t, Py_ssize_t end) noexcept nogil
cdef void backward_sums(Run* run) noexcept nogil
cdef void backward_task(void* context, int thread, int threads) noexcept nogil
