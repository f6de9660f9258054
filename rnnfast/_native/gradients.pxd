from rnnfast._native.pack cimport Packed
from rnnfast._native.plan cimport Run

cdef void sum_by_index(Run* run, int thread, int threads) noexcept nogil
cdef void input_gradient(Run* run, int thread, int threads) noexcept nogil
cdef void input_gradient_rows(Run* run, Py_ssize_t row, Py_ssize_t n, Py_ssize_t* t, char* scratch) noexcept nogil
cdef void table_gradient(Run* run, int thread, int threads) noexcept nogil
cdef Py_ssize_t segment_rows(const Run* run) noexcept nogil
cdef void gradients_beside(Run* run, int thread, int threads) noexcept nogil
cdef void weight_gradients(Run* run, int thread, int threads) noexcept nogil
cdef dict make_targets(Run* run, Packed packed, dict grads)
cdef int set_outers(Run* run, Packed packed, dict targets) except -1
cdef int add_biases(Run* run, Packed packed, object grads) except -1
