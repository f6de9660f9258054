from rnnfast._native.pack cimport Packed
from rnnfast._native.plan cimport Run


cdef inline bint by_blas(const Run* run, int which) noexcept nogil:
    """Whether BLAS makes the gradients that belong to some weights; those of a table's rows are few enough to stay."""
    return run.blas and (which > 0 or run.V == 0)


cdef int blas_gradients(Run* run, Packed packed, object grads) except -1
cdef int blas_affine_gradients(object x, object dy, object weight, object dw, object dx) except -1
