"""Layers on top of each other at once: each thread has some of them, and follows the one below it piece by piece.

`layers_at_once` in plan.pyx says when. A layer that reads all steps before it does its first, as one of two directions, cannot
be among them.
"""

from rnnfast._native.kernels cimport parallel, post, wait_until, while_waiting
from rnnfast._native.plan cimport Run, alone, poll, share
from rnnfast._native.unroll cimport forward_piece, project_table


ctypedef struct Stack:
    Run** runs
    int count
    Py_ssize_t pieces


cdef void look(void* context) noexcept nogil:
    poll((<Stack*> context).runs[0], 0)


cdef void forward_layers(void* context, int thread, int threads) noexcept nogil:
    """The layers of a thread; it tells how many steps its last one has done."""
    cdef Stack* stack = <Stack*> context
    cdef Py_ssize_t steps = stack.runs[0].T, first, last, piece, t, end, k
    share(stack.count, thread, threads, &first, &last)
    if thread == 0 and threads > 1:
        while_waiting(look)
    if thread == 0 and stack.runs[0].V:
        project_table(stack.runs[0], 0, 1)
    for piece in range(stack.pieces):
        share(steps, <int> piece, <int> stack.pieces, &t, &end)
        if thread > 0:
            wait_until(thread, thread - 1, end)
        for k in range(first, last):
            forward_piece(stack.runs[k], t, end)
        if thread == 0:
            poll(stack.runs[0], 0)
        if stack.runs[0].stop:
            break
        post(thread, end)
    post(thread, steps)  # nobody waits for who has stopped


cdef void run_layers(Run** runs, int count, int threads, Py_ssize_t pieces) noexcept:
    """Run all steps of layers whose buffers are there; only the first looks at signals."""
    cdef Stack stack
    cdef int k
    stack.runs, stack.count, stack.pieces = runs, count, pieces
    for k in range(1, count):
        runs[k].leader = runs[0]
    with nogil:
        parallel(forward_layers, &stack, threads)
