# How rows and columns that have nothing to do with each other are shared out.

cdef int threads_for(Py_ssize_t elements) except -1
cdef void share(Py_ssize_t total, Py_ssize_t grain, int thread, int threads, Py_ssize_t* first,
                Py_ssize_t* count) noexcept nogil
