"""Layers on top of each other at once: each thread has some of them, and follows its neighbour piece by piece.

`layers_at_once` in plan.pyx says when. A layer that reads all steps before it does its first, as one of two directions, cannot
be among them.
"""

from rnnfast._native.kernels cimport alloc, post, release, wait_until, while_waiting
from rnnfast._native.passes cimport Backward, Forward
from rnnfast._native.plan cimport NOW, Run, When, alone, asked_anew, layers_at_once, poll, share, share_out
from rnnfast._native.unroll cimport forward_piece, project_table
from rnnfast._native.unroll_backward cimport backward_piece, backward_sums


ctypedef struct Stack:
    Run** runs  # from the layer that is first to be done on
    int count
    Py_ssize_t pieces


cdef void look(void* context) noexcept nogil:
    poll((<Stack*> context).runs[0], 0)


cdef void layers_task(Stack* stack, bint back, int thread, int threads) noexcept nogil:
    """The layers of a thread, from the first step to the last or back; it tells how many its last one has done."""
    cdef Py_ssize_t steps = stack.runs[0].T, first, last, piece, t, end, k
    share(stack.count, thread, threads, &first, &last)
    if thread == 0 and threads > 1:
        while_waiting(look)
    for piece in range(stack.pieces):
        share(steps, <int> (stack.pieces - 1 - piece if back else piece), <int> stack.pieces, &t, &end)
        if thread > 0:
            wait_until(thread, thread - 1, steps - t if back else end)
        for k in range(first, last):
            if back:
                backward_piece(stack.runs[k], t, end)
            else:
                forward_piece(stack.runs[k], t, end)
        if thread == 0:
            poll(stack.runs[0], 0)
        if stack.runs[0].stop:
            break
        if threads > 1:  # else there is nobody to tell, and others may be at work in the pool
            post(thread, steps - t if back else end)
    if threads > 1:
        post(thread, steps)  # nobody waits for who has stopped
    if back and not stack.runs[0].stop:
        for k in range(first, last):
            backward_sums(stack.runs[k])


cdef void forward_layers(void* context, int thread, int threads) noexcept nogil:
    cdef Stack* stack = <Stack*> context
    if thread == 0 and stack.runs[0].V:
        project_table(stack.runs[0], 0, 1)
    layers_task(stack, False, thread, threads)


cdef void backward_layers(void* context, int thread, int threads) noexcept nogil:
    layers_task(<Stack*> context, True, thread, threads)


cdef void set_stack(Stack* stack, Run** runs, int count, Py_ssize_t pieces) noexcept:
    """Have only the first run look at signals, and the others at that."""
    cdef int k
    stack.runs, stack.count, stack.pieces = runs, count, pieces
    for k in range(1, count):
        runs[k].leader = runs[0]


cdef void run_layers(Run** runs, int count, int threads, Py_ssize_t pieces) noexcept:
    """Do all steps of layers whose buffers are there, forward."""
    cdef Stack stack
    set_stack(&stack, runs, count, pieces)
    with nogil:
        share_out(forward_layers, &stack, runs[count - 1], count, threads)


cdef void run_back(Run** runs, int count, int threads, Py_ssize_t pieces) noexcept:
    """The same backward; the runs begin with the highest layer's."""
    cdef Stack stack
    set_stack(&stack, runs, count, pieces)
    with nogil:
        share_out(backward_layers, &stack, runs[0], count, threads)


cdef bint one_each(Run** runs, int count) noexcept:
    """Give every layer to one thread, and return whether all are done before anybody would want to stop them."""
    cdef double seconds = 0
    cdef int k
    for k in range(count):
        seconds += runs[k].one
        alone(runs[k], False)
    return seconds < 5e-3


cdef int raise_error(Run** runs, int count) except -1:
    """Raise what one of the runs was stopped by, if any was."""
    cdef int k
    for k in range(count):
        if <list> runs[k].errors:
            raise (<list> runs[k].errors)[0]
    return 0


def stack_forward(cell, x, weights, states, lengths, outs, bint save, noise):
    """Run `direction_forward` for layers on top of each other, each of which reads what the one below has written.

    Of each argument that has its place there, one for each layer, from the lowest.

    Returns
    -------
    What it returns, for each layer.
    """
    cdef int count = len(weights), threads, k
    cdef Py_ssize_t pieces = 1
    cdef When when = NOW
    cdef Forward one
    cdef list layers = [Forward() for k in range(count)], found = []
    cdef bint brief
    cdef Run** runs = <Run**> alloc(count * sizeof(Run*))
    if runs == NULL:
        raise MemoryError
    try:
        for k in range(count):
            one = layers[k]
            one.prepare(cell, outs[k - 1] if k else x, weights[k], lengths, False, outs[k], save, noise[k])
            runs[k] = &one.run
        threads = layers_at_once(runs, count, 1, &when, &pieces)
        if threads > 1:
            brief = one_each(runs, count)
            for k in range(count):
                one = layers[k]
                one.run.brief = brief
                one.provide(states[k])
            run_layers(runs, count, threads, pieces)
            raise_error(runs, count)
            for one in layers:
                found.append(one.finish(2))
            return found
        for k in range(count):
            one = layers[k]
            found.append(one.go(states[k], when, 2))
            when = asked_anew(when)
        return found
    finally:
        for one in layers:
            one.free()
        release(runs)


def stack_backward(saved, dy, dstates, dx, grads):
    """Run `direction_backward` for layers on top of each other, each of which is handed dx of the one above as its dy.

    Of each argument but `dy` one for each layer, from the lowest.

    Returns
    -------
    What it returns, for each layer.
    """
    cdef int count = len(saved), threads, k
    cdef Py_ssize_t pieces = 1
    cdef When when = NOW
    cdef Backward one
    cdef list layers = [Backward() for k in range(count)], found = [None] * count
    cdef bint brief
    cdef Run** runs = <Run**> alloc(count * sizeof(Run*))
    if runs == NULL:
        raise MemoryError
    dys = [*dx[1:], dy]
    try:
        for k in range(count):
            one = layers[k]
            one.prepare(saved[k])
            runs[count - 1 - k] = &one.run
        threads = layers_at_once(runs, count, 2, &when, &pieces)
        if threads > 1:
            brief = one_each(runs, count)
            for k in range(count):
                one = layers[k]
                one.provide(1, dys[k], dstates[k], dx[k], grads[k])
                # what goes straight into the caller's arrays takes some milliseconds; none stops while another is at it
                brief = brief or one.run.direct
            for one in layers:
                one.run.brief = brief
            run_back(runs, count, threads, pieces)
            raise_error(runs, count)
            for k in range(count):
                one = layers[k]
                found[k] = one.finish(True)
            return found
        for k in range(count - 1, -1, -1):
            one = layers[k]
            found[k] = one.go(dys[k], dstates[k], dx[k], grads[k], when, True)
            when = asked_anew(when)
            one.free()
            layers[k] = None
        return found
    finally:
        for one in layers:
            if one is not None:
                one.free()
        release(runs)
