cimport numpy as cnp

from rnnfast._native.pack cimport Packed
from rnnfast._native.plan cimport Run, When
from rnnfast._native.rows cimport Lengths


cdef class Saved:
    cdef Packed packed
    cdef Lengths rows
    cdef object x             # the user's array, or indices where there is a table
    cdef object y             # what h is read from, unless it has a history
    cdef cnp.ndarray table    # (V, X), or None
    cdef bint reverse, used
    cdef Py_ssize_t ld_x
    cdef bint gather, history
    cdef char* xs
    cdef char* gates
    cdef char* h
    cdef char* c
    cdef char* aux
    cdef char* stats
    cdef char* m
    cdef readonly object cell    # CellSpec
    cdef object noise            # the seeds of its random options

    cdef void free(self) noexcept


cdef class Forward:
    cdef Run run
    cdef Saved saved
    cdef list errors

    cdef int prepare(self, cell, x, weights, lengths, bint reverse, cnp.ndarray out, bint save, noise) except -1
    cdef int provide(self, tuple state) except -1
    cdef tuple go(self, tuple state, When when, int ndim)
    cdef tuple finish(self, int ndim)
    cdef void free(self) noexcept


cdef class Backward:
    cdef Run run
    cdef Saved saved
    cdef object dx
    cdef dict grads, targets
    cdef list errors
    cdef char* work

    cdef int prepare(self, Saved saved) except -1
    cdef int provide(self, int threads, dy, dstate, dx, dict grads) except -1
    cdef tuple go(self, dy, dstate, dx, dict grads, When when, bint want_state)
    cdef tuple finish(self, bint want_state)
    cdef void free(self) noexcept


cdef tuple forward_pass(cell, x, weights, tuple state, lengths, bint reverse, cnp.ndarray out, bint save, noise, int ndim)
cdef tuple backward_pass(Saved saved, dy, tuple dstate, dx, dict grads, bint want_state)
