"""The one BLAS wrapper, over ``scipy.linalg.cython_blas``.

The functions are taken from the module's capsules at the first use, not bound at compile time: so nothing of SciPy is
needed to build or loaded before it is used, `load_blas` can leave out the rest of ``scipy.linalg``, and a SciPy whose BLAS
takes other integers is refused by name instead of being called wrongly.
"""

import numpy as np

from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer
from libc.limits cimport INT_MAX

from rnnfast._native.load_blas import load_blas

ctypedef void (*sgemm_t)(char*, char*, int*, int*, int*, float*, float*, int*, float*, int*, float*, float*,
                         int*) noexcept nogil
ctypedef void (*dgemm_t)(char*, char*, int*, int*, int*, double*, double*, int*, double*, int*, double*, double*,
                         int*) noexcept nogil

cdef sgemm_t sgemm = NULL
cdef dgemm_t dgemm = NULL


cdef void* capsule_pointer(functions, str name) except NULL:
    capsule = functions[name]
    cdef const char* signature = PyCapsule_GetName(capsule)
    if not (<bytes> signature).startswith(b"void (char *, char *, int *, int *, int *, "):
        raise ImportError(f"this SciPy's BLAS does not take plain ints: {name} is {signature.decode()}")
    return PyCapsule_GetPointer(capsule, signature)


def load() -> None:
    """Find the functions, if that is not done yet; raise ImportError if this SciPy does not have them."""
    global sgemm, dgemm
    if dgemm == NULL:
        functions = load_blas().__pyx_capi__
        sgemm = <sgemm_t> capsule_pointer(functions, "sgemm")
        dgemm = <dgemm_t> capsule_pointer(functions, "dgemm")


cdef int check(const char* name, Py_ssize_t value, Py_ssize_t least) except -1 nogil:
    if value > INT_MAX:
        with gil:
            raise OverflowError(f"{name.decode()} must be at most {INT_MAX} for BLAS; got {value}")
    if value < least:
        with gil:
            raise ValueError(f"{name.decode()} must be at least {least}; got {value}")
    return 0


cdef int gemm(int itemsize, bint trans_a, bint trans_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, double alpha,
              const void* a, Py_ssize_t lda, const void* b, Py_ssize_t ldb, double beta, void* c,
              Py_ssize_t ldc) except -1 nogil:
    """C = alpha op(A) op(B) + beta C, row-major, with op(A) (m, k), op(B) (k, n), C (m, n) and op(X) = X or X^T.

    A leading dimension is the distance between rows in elements. Where beta is 0, C may hold anything. Raises
    OverflowError if a size is above INT_MAX, ValueError if one is too small, and ImportError as `load`.
    """
    check("m", m, 0)
    check("n", n, 0)
    check("k", k, 0)
    check("lda", lda, max(1, m if trans_a else k))
    check("ldb", ldb, max(1, k if trans_b else n))
    check("ldc", ldc, max(1, n))
    if m == 0 or n == 0:
        return 0
    if dgemm == NULL:
        with gil:
            load()
    # a row-major matrix is its transpose to column-major BLAS, and C^T = op(B)^T op(A)^T
    cdef int rows = <int> n, columns = <int> m, inner = <int> k
    cdef int ld_first = <int> ldb, ld_second = <int> lda, ld_out = <int> ldc
    cdef char first = c'T' if trans_b else c'N', second = c'T' if trans_a else c'N'
    cdef float alpha_s = <float> alpha, beta_s = <float> beta
    if itemsize == 4:
        sgemm(&first, &second, &rows, &columns, &inner, &alpha_s, <float*> b, &ld_first, <float*> a, &ld_second,
              &beta_s, <float*> c, &ld_out)
    else:
        dgemm(&first, &second, &rows, &columns, &inner, &alpha, <double*> b, &ld_first, <double*> a, &ld_second, &beta,
              <double*> c, &ld_out)
    return 0


cdef Py_ssize_t leading(str name, array, dtype) except -1:
    """Return the leading dimension of a matrix whose rows are contiguous, or raise."""
    if array.ndim != 2 or array.dtype != dtype:
        raise ValueError(f"{name} must be a matrix of {dtype}; got {array.ndim} dimensions of {array.dtype}")
    rows, columns = array.shape
    row, element = array.strides
    size = array.itemsize
    if columns > 1 and rows > 0 and element != size:
        raise ValueError(f"{name} must have contiguous rows; got strides {array.strides}")
    if rows < 2 or columns == 0:
        return max(1, columns)
    if row % size or row < columns * size:
        raise ValueError(f"{name} must have rows in order that do not overlap; got strides {array.strides}")
    return row // size


def gemm_arrays(a, b, out, bint trans_a=False, bint trans_b=False, double alpha=1.0, double beta=0.0):
    """Set ``out = alpha op(a) op(b) + beta out``, with op(x) = x or its transpose.

    Parameters
    ----------
    a : (M, K), or (K, M) if ``trans_a``
    b : (K, N), or (N, K) if ``trans_b``
    out : (M, N)
        All three float32 or all float64, with contiguous rows any distance apart; no overlap with a and b.

    Raises
    ------
    ValueError
        If a dtype, shape or stride does not fit.
    OverflowError
        If a size is above INT_MAX.
    """
    dtype = out.dtype
    if dtype != np.float32 and dtype != np.float64:
        raise ValueError(f"out must be float32 or float64; got {dtype}")
    if not out.flags.writeable:
        raise ValueError("out must be writable; got a read-only array")
    cdef Py_ssize_t lda = leading("a", a, dtype), ldb = leading("b", b, dtype), ldc = leading("out", out, dtype)
    m, k = a.shape[::-1] if trans_a else a.shape
    inner, n = b.shape[::-1] if trans_b else b.shape
    if inner != k or out.shape != (m, n):
        raise ValueError(f"shapes must be (M, K), (K, N) and (M, N); got {(m, k)}, {(inner, n)} and {out.shape}")
    if np.may_share_memory(a, out) or np.may_share_memory(b, out):
        raise ValueError("out must not overlap a or b; got arrays that share memory")
    cdef size_t at = a.__array_interface__["data"][0], bt = b.__array_interface__["data"][0]
    cdef size_t ct = out.__array_interface__["data"][0]
    cdef Py_ssize_t rows = m, columns = n, depth = k
    cdef int itemsize = dtype.itemsize
    with nogil:
        gemm(itemsize, trans_a, trans_b, rows, columns, depth, alpha, <const void*> at, lda, <const void*> bt, ldb, beta,
             <void*> ct, ldc)
