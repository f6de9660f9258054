"""The binding of csrc/rnnfast.h: which instruction set is in force, and its table of kernels for other modules."""

import os

import numpy as np

cdef extern from "rnnfast.h" nogil:
    const rf_ops* rf_ops_find(const char* isa, int itemsize)
    const char* const* rf_isa_names()
    void rf_memory_init()
    void rf_pool_init()
    void* rf_alloc(size_t size)
    void rf_free(void* memory)
    void rf_release()
    ctypedef struct rf_memory:
        size_t asked
        size_t live, peak
    void rf_memory_use(rf_memory* use, int restart)
    void rf_parallel(rf_task task, void* context, int threads)
    void rf_parallel_or_alone(rf_task task, void* context, int threads, uint64_t kind, double expected)
    void rf_barrier(int thread, int threads)
    void rf_post(int thread, unsigned long progress)
    unsigned long rf_progress(int other)
    void rf_await(int thread, int other, unsigned long progress)
    unsigned long rf_claim()
    void rf_while_waiting(rf_look look)
    void rf_waits_on_purpose()
    int rf_ready(int threads)
    void rf_assume_ready(int always)
    unsigned rf_flush_subnormals()
    void rf_restore_subnormals(unsigned saved)

cdef const rf_ops* _f32 = NULL
cdef const rf_ops* _f64 = NULL


cdef const rf_ops* ops(int itemsize) noexcept nogil:
    return _f32 if itemsize == 4 else _f64


cdef void* alloc(size_t size) noexcept nogil:
    return rf_alloc(size)


cdef void release(void* memory) noexcept nogil:
    rf_free(memory)


cdef void parallel(rf_task task, void* context, int threads) noexcept nogil:
    rf_parallel(task, context, threads)


cdef void parallel_or_alone(rf_task task, void* context, int threads, uint64_t kind, double expected) noexcept nogil:
    rf_parallel_or_alone(task, context, threads, kind, expected)


cdef void barrier(int thread, int threads) noexcept nogil:
    rf_barrier(thread, threads)


cdef void post(int thread, unsigned long progress) noexcept nogil:
    rf_post(thread, progress)


cdef unsigned long progress_of(int other) noexcept nogil:
    return rf_progress(other)


cdef void wait_until(int thread, int other, unsigned long progress) noexcept nogil:
    rf_await(thread, other, progress)


cdef unsigned long claim() noexcept nogil:
    return rf_claim()


cdef void while_waiting(rf_look look) noexcept nogil:
    rf_while_waiting(look)


cdef void waits_on_purpose() noexcept nogil:
    rf_waits_on_purpose()


cdef bint ready(int threads) noexcept nogil:
    return rf_ready(threads)


cdef unsigned flush_subnormals() noexcept nogil:
    return rf_flush_subnormals()


cdef void restore_subnormals(unsigned saved) noexcept nogil:
    rf_restore_subnormals(saved)


def assume_ready(always: bool) -> None:
    """Take workers for awake, so that the threads of a call follow from its shape alone (for tests)."""
    rf_assume_ready(always)


def release_memory() -> None:
    """Give the workspace blocks kept for later calls back to the system."""
    rf_release()


def memory_use(restart: bool = False) -> tuple:
    """Return how many blocks were ever asked for, and the bytes of those in use, now and at most (for tests).

    With ``restart`` the last of them begins anew.
    """
    cdef rf_memory use
    rf_memory_use(&use, restart)
    return use.asked, use.live, use.peak


def isas() -> list:
    """Return the instruction sets that were built and that this CPU runs, best first."""
    cdef const char* const* names = rf_isa_names()
    found = []
    cdef int i = 0
    while names[i] != NULL:
        found.append(names[i].decode())
        i += 1
    return found


def get_isa() -> str:
    """Return the name of the instruction set in force."""
    return _f32.isa.decode()


def set_isa(name: str) -> None:
    """Put another instruction set in force for the whole process (for tests and benchmarks)."""
    global _f32, _f64
    available = isas()
    if name not in available:
        raise ValueError(f"RNNFAST_ISA must be one of {', '.join(available)} on this machine; got {name!r}")
    key = name.encode()
    _f32 = rf_ops_find(key, 4)
    _f64 = rf_ops_find(key, 8)


def width(int itemsize) -> int:
    """Return how many elements of that many bytes a vector of the instruction set in force holds."""
    return ops(itemsize).width


def apply(name: str, x, out=None):
    """Return exp, tanh or sigmoid of every element of a float32 or float64 array.

    ``out``, a contiguous array of x's shape and type, receives the result; it may be ``x`` itself.
    """
    array = np.ascontiguousarray(x)
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"x must be float32 or float64; got {array.dtype}")
    if out is None:
        out = np.empty_like(array)
    elif out.dtype != array.dtype or out.shape != array.shape:
        raise ValueError(f"out must be {array.dtype} of shape {array.shape}; got {out.dtype} of shape {out.shape}")
    elif not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError("out must be contiguous and writeable")
    cdef const rf_ops* table = ops(array.itemsize)
    cdef Py_ssize_t n = array.size
    cdef size_t source = array.ctypes.data, target = out.ctypes.data
    if name == "exp":
        table.exp(n, <const void*>source, <void*>target)
    elif name == "tanh":
        table.tanh(n, <const void*>source, <void*>target)
    elif name == "sigmoid":
        table.sigmoid(n, <const void*>source, <void*>target)
    else:
        raise ValueError(f"name must be exp, tanh or sigmoid; got {name!r}")
    return out


rf_memory_init()
rf_pool_init()
set_isa(os.environ.get("RNNFAST_ISA") or isas()[0])
