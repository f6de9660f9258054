from rnnfast._native.plan cimport Run

cdef bint one_each(Run** runs, int count) noexcept
cdef void run_layers(Run** runs, int count, int threads, Py_ssize_t pieces) noexcept
