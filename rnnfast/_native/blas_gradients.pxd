from rnnfast._native.pack cimport Packed
from rnnfast._native.plan cimport Run

cdef int blas_gradients(Run* run, Packed packed, object grads) except -1
cdef int blas_affine_gradients(object x, object dy, object weight, object dw, object dx) except -1
