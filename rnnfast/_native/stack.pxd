from rnnfast._native.plan cimport Run

cdef void run_layers(Run** runs, int count, int threads, Py_ssize_t pieces) noexcept
