cdef int gemm(int itemsize, bint trans_a, bint trans_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, double alpha,
              const void* a, Py_ssize_t lda, const void* b, Py_ssize_t ldb, double beta, void* c,
              Py_ssize_t ldc) except -1 nogil
