"""Optimiser steps over many arrays in one call, and sums over gradients; twins of rnnfast/reference/optim.py.

One call updates all parameters and their state and never looks for signals, so it is whole or not at all. Large
models are cut into blocks shared out among threads; elements are independent, so the bits do not depend on that.
"""

cimport numpy as cnp
from libc.stdlib cimport free, malloc

from rnnfast._native cimport kernels

import numpy as np

from rnnfast.threads import get_num_threads

cnp.import_array()

cdef enum:
    BLOCK = 16384  # elements: long enough to hide the sharing out, short enough to share evenly
    WORTH_THREADS = 1048576  # elements: half a millisecond, below which there is too little to share out

RULES = {
    "sgd": kernels.RF_SGD,
    "momentum": kernels.RF_MOMENTUM,
    "nesterov": kernels.RF_NESTEROV,
    "rmsprop": kernels.RF_RMSPROP,
    "adagrad": kernels.RF_ADAGRAD,
    "adam": kernels.RF_ADAM,
}

ctypedef struct Tensor:
    Py_ssize_t size
    int itemsize
    char* p
    char* g
    char* s
    char* t

ctypedef struct Job:
    int rule
    Py_ssize_t count
    Tensor* tensors
    const kernels.rf_optim_step* steps


cdef void _work(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*>context
    cdef Tensor* x
    cdef Py_ssize_t i, start, offset, size, block = 0
    for i in range(job.count):
        x = &job.tensors[i]
        start = 0
        while start < x.size:
            if block % threads == thread:
                size = min(<Py_ssize_t>BLOCK, x.size - start)
                offset = start * x.itemsize
                kernels.ops(x.itemsize).optim[job.rule](
                    size,
                    x.p + offset,
                    x.g + offset,
                    x.s + offset if x.s != NULL else NULL,
                    x.t + offset if x.t != NULL else NULL,
                    &job.steps[i],
                )
            block += 1
            start += BLOCK


def update(str rule, list params, list grads, list slots, steps):
    """Update ``params`` and ``slots`` in place.

    Parameters
    ----------
    rule : str
        A key of ``RULES``.
    params : list of ndarray
        Float32 or float64, C-contiguous, writable.
    grads : list of ndarray
        One for each parameter, of its shape and dtype; copied where not contiguous.
    slots : list of list of ndarray
        The state: for each kind of state one array like each parameter.
    steps : ndarray, (len(params), 8), float64
        The constants of rf_optim_step for each parameter.
    """
    cdef Py_ssize_t i, count = len(params), total = 0
    cdef Job job
    job.rule = RULES[rule]
    cdef int wanted = 2 if rule == "adam" else 0 if rule == "sgd" else 1
    if len(slots) != wanted or any(len(arrays) != count for arrays in [grads, *slots]):
        raise ValueError(f"{rule} needs {wanted} kinds of state, and as many arrays of each as parameters")
    cdef cnp.ndarray constants = np.ascontiguousarray(steps, dtype=np.float64)
    if constants.ndim != 2 or constants.shape[0] != count or constants.shape[1] != 8:
        raise ValueError(f"steps must have shape ({count}, 8); got {steps.shape}")
    grads = [np.ascontiguousarray(g) for g in grads]
    for i in range(count):
        _check_written("params", params[i], params[i])
        _check("grads", grads[i], params[i])
        for arrays in slots:
            _check_written("slots", arrays[i], params[i])
    if count == 0:
        return
    job.count = count
    job.steps = <const kernels.rf_optim_step*>cnp.PyArray_DATA(constants)
    job.tensors = <Tensor*>malloc(count * sizeof(Tensor))
    if job.tensors == NULL:
        raise MemoryError
    for i in range(count):
        job.tensors[i].size = cnp.PyArray_SIZE(params[i])
        job.tensors[i].itemsize = cnp.PyArray_ITEMSIZE(params[i])
        job.tensors[i].p = cnp.PyArray_BYTES(params[i])
        job.tensors[i].g = cnp.PyArray_BYTES(grads[i])
        job.tensors[i].s = cnp.PyArray_BYTES(slots[0][i]) if wanted > 0 else NULL
        job.tensors[i].t = cnp.PyArray_BYTES(slots[1][i]) if wanted > 1 else NULL
        total += job.tensors[i].size
    cdef int threads = get_num_threads() if total >= WORTH_THREADS else 1
    with nogil:
        kernels.parallel(_work, &job, threads)
    free(job.tensors)


def sum_squares(x) -> float:
    """Return the sum of the squares of a float32 or float64 array, added up in double in a fixed order."""
    cdef cnp.ndarray array = _floats(x)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(array)
    cdef const void* data = cnp.PyArray_DATA(array)
    cdef const kernels.rf_ops* table = kernels.ops(cnp.PyArray_ITEMSIZE(array))
    cdef double total
    with nogil:
        total = table.sum_squares(n, data)
    return total


def all_finite(x) -> bool:
    """Return whether no element of a float32 or float64 array is NaN or infinite."""
    cdef cnp.ndarray array = _floats(x)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(array)
    cdef const void* data = cnp.PyArray_DATA(array)
    cdef const kernels.rf_ops* table = kernels.ops(cnp.PyArray_ITEMSIZE(array))
    cdef int found
    with nogil:
        found = table.all_finite(n, data)
    return bool(found)


cdef _floats(x):
    array = np.ascontiguousarray(x)
    if array.dtype != np.float32 and array.dtype != np.float64:
        raise TypeError(f"x must be float32 or float64; got {array.dtype}")
    return array


cdef _check(str name, cnp.ndarray array, cnp.ndarray like):
    if array.dtype != like.dtype or cnp.PyArray_SIZE(array) != cnp.PyArray_SIZE(like):
        raise ValueError(f"{name} must be like the parameters")


cdef _check_written(str name, cnp.ndarray array, cnp.ndarray like):
    if array.dtype != np.float32 and array.dtype != np.float64:
        raise TypeError(f"{name} must be float32 or float64; got {array.dtype}")
    if not (cnp.PyArray_IS_C_CONTIGUOUS(array) and cnp.PyArray_ISWRITEABLE(array)):
        raise ValueError(f"{name} must be C-contiguous and writable")
    _check(name, array, like)
