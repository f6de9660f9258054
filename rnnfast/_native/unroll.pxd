from rnnfast._native.pack cimport Packed
from rnnfast._native.plan cimport Run
from rnnfast._native.rows cimport Lengths

cdef int set_forward(Run* run, Packed packed, Lengths rows, bint save) except -1
cdef void forward_sizes(const Run* run, size_t* sizes) noexcept
cdef size_t backward_sizes(Run* run, Packed packed, int threads, size_t* sizes) noexcept
cdef void forward_task(void* context, int thread, int threads) noexcept nogil
