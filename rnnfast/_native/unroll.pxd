from rnnfast._native.kernels cimport rf_step
from rnnfast._native.pack cimport Packed
from rnnfast._native.plan cimport Run
from rnnfast._native.rows cimport Lengths


cdef int set_forward(Run* run, Packed packed, Lengths rows, bint save) except -1
cdef void forward_sizes(const Run* run, size_t* sizes) noexcept
cdef void forward_task(void* context, int thread, int threads) noexcept nogil
cdef void forward_piece(Run* run, Py_ssize_t t, Py_ssize_t end) noexcept nogil
cdef void project_table(Run* run, int thread, int threads) noexcept nogil
cdef void set_step(const Run* run, Py_ssize_t t, Py_ssize_t row, rf_step* s) noexcept nogil
