"""Optimiser steps over many arrays in one call, and sums over gradients; twins of rnnfast/reference/optim.py.

One call updates all parameters and their state and never looks for signals, so it is whole or not at all. Large
models are cut into blocks shared out among threads; elements are independent, so the bits do not depend on that.
"""

cimport numpy as cnp
from libc.stdlib cimport calloc, free

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
    cdef Py_ssize_t i, k, count = len(params), total = 0
    cdef int threads
    cdef Job job
    job.rule = RULES[rule]
    cdef int wanted = 2 if rule == "adam" else 0 if rule == "sgd" else 1
    cdef cnp.ndarray constants = np.ascontiguousarray(steps, dtype=np.float64)
    cdef cnp.ndarray param, array
    cdef Tensor* tensor
    cdef list held = []
    if len(slots) != wanted or len(grads) != count or any([len(arrays) != count for arrays in slots]):
        raise ValueError(f"{rule} needs {wanted} kinds of state, and as many arrays of each as parameters")
    if constants.ndim != 2 or constants.shape[0] != count or constants.shape[1] != 8:
        raise ValueError(f"steps must have shape ({count}, 8); got {steps.shape}")
    if count == 0:
        return
    job.count = count
    job.steps = <const kernels.rf_optim_step*>cnp.PyArray_DATA(constants)
    job.tensors = <Tensor*>calloc(count, sizeof(Tensor))
    if job.tensors == NULL:
        raise MemoryError
    try:
        for i in range(count):
            tensor = &job.tensors[i]
            param = params[i]
            _check_written("params", param, param)
            array = cnp.PyArray_GETCONTIGUOUS(grads[i])
            _check("grads", array, param)
            held.append(array)
            tensor.size, tensor.itemsize = cnp.PyArray_SIZE(param), cnp.PyArray_ITEMSIZE(param)
            tensor.p, tensor.g = cnp.PyArray_BYTES(param), cnp.PyArray_BYTES(array)
            for k in range(wanted):
                array = slots[k][i]
                _check_written("slots", array, param)
                if k == 0:
                    tensor.s = cnp.PyArray_BYTES(array)
                else:
                    tensor.t = cnp.PyArray_BYTES(array)
            total += tensor.size
        threads = get_num_threads() if total >= WORTH_THREADS else 1
        with nogil:
            kernels.parallel(_work, &job, threads)
    finally:
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


cdef int _check(str name, cnp.ndarray array, cnp.ndarray like) except -1:
    if (cnp.PyArray_TYPE(array) != cnp.PyArray_TYPE(like) or cnp.PyArray_SIZE(array) != cnp.PyArray_SIZE(like)
            or not cnp.PyArray_ISNOTSWAPPED(array)):
        raise ValueError(f"{name} must be like the parameters")
    return 0


cdef int _check_written(str name, cnp.ndarray array, cnp.ndarray like) except -1:
    if cnp.PyArray_TYPE(array) != cnp.NPY_FLOAT32 and cnp.PyArray_TYPE(array) != cnp.NPY_FLOAT64:
        raise TypeError(f"{name} must be float32 or float64; got {array.dtype}")
    if not (cnp.PyArray_IS_C_CONTIGUOUS(array) and cnp.PyArray_ISWRITEABLE(array)):
        raise ValueError(f"{name} must be C-contiguous and writable")
    return _check(name, array, like)
