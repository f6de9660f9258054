from rnnfast._native.plan cimport Run


cdef size_t with_places(const Run* run, size_t size) noexcept nogil
cdef Run* take_places(Run* run, Run* own, bint back, int thread, Py_ssize_t row0, Py_ssize_t row1) noexcept nogil
cdef void leave_places(Run* run, Run* own, bint back, Py_ssize_t row0, Py_ssize_t row1) noexcept nogil
