from rnnfast._native.pack cimport Packed
from rnnfast._native.plan cimport Run

cdef size_t backward_sizes(Run* run, Packed packed, int threads, size_t* sizes) noexcept
