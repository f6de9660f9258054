from rnnfast._native.kernels cimport rf_step
from rnnfast._native.pack cimport Packed
from rnnfast._native.plan cimport Run
from rnnfast._native.rows cimport Lengths

cdef enum:
    STATS = 4  # numbers that a normalising cell keeps of each row: NORM_STATS of csrc/cells/norm.inc.c

cdef int set_around(Run* run, Packed packed, Lengths rows, object options, object noise) except -1
cdef void around_sizes(const Run* run, size_t* sizes) noexcept
cdef void around_backward_sizes(const Run* run, size_t* sizes) noexcept
cdef void set_around_step(const Run* run, Py_ssize_t t, rf_step* s) noexcept nogil
cdef void see(const Run* run, const char* h, char* to, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t unit,
              Py_ssize_t units) noexcept nogil
cdef void h_share(const Run* run, Py_ssize_t group0, Py_ssize_t group1, int thread, int threads, Py_ssize_t* panel0,
                  Py_ssize_t* panel1) noexcept nogil
cdef void after_step(const Run* run, Py_ssize_t t, const rf_step* s, char* h, const char* h_prev, Py_ssize_t row0,
                     Py_ssize_t row1, Py_ssize_t unit, Py_ssize_t units, Py_ssize_t panel0, Py_ssize_t panel1,
                     int thread, int threads) noexcept nogil
cdef void before_backward(const Run* run, Py_ssize_t t, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t unit,
                          Py_ssize_t units, Py_ssize_t panel0, Py_ssize_t panel1, Py_ssize_t group0, Py_ssize_t group1,
                          int thread, int threads) noexcept nogil
cdef void after_backward(const Run* run, Py_ssize_t row0, Py_ssize_t row1, Py_ssize_t unit, Py_ssize_t units,
                         Py_ssize_t panel0, Py_ssize_t panel1) noexcept nogil
cdef void drop_saved(const Run* run, int thread, int threads) noexcept nogil
cdef int add_vectors(Run* run, Packed packed, object grads) except -1
