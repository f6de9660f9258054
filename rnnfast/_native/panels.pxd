from rnnfast._native.kernels cimport rf_ops, rf_product

cdef void panels_of(rf_product* s, Py_ssize_t columns, Py_ssize_t width, int vectors, Py_ssize_t stride) noexcept nogil
cdef void pack_columns(const rf_ops* ops, const void* w, Py_ssize_t k, const Py_ssize_t* rows, Py_ssize_t columns,
                       Py_ssize_t panel_columns, void* to, int threads) noexcept nogil
cdef void pack_rows(const rf_ops* ops, const void* w, Py_ssize_t n, const Py_ssize_t* rows, Py_ssize_t k, void* to,
                    int threads) noexcept nogil
