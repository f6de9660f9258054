"""The two directions of a layer, at once where that is the fastest way: see `side_by_side` in plan.pyx."""

from rnnfast._native.kernels cimport rf_task, while_waiting
from rnnfast._native.passes cimport Backward, Forward
from rnnfast._native.plan cimport NOW, Run, When, alone, asked_anew, poll, share_out, side_by_side
from rnnfast._native.unroll cimport forward_task
from rnnfast._native.unroll_backward cimport backward_task


ctypedef struct Pair:
    Run* run[2]
    rf_task task


cdef void look(void* context) noexcept nogil:
    poll((<Pair*> context).run[0], 0)


cdef void pair_task(void* context, int thread, int threads) noexcept nogil:
    cdef Pair* pair = <Pair*> context
    if threads == 1:  # other callers have the rest
        pair.task(pair.run[0], 0, 1)
        if not pair.run[0].stop:
            pair.task(pair.run[1], 0, 1)
        return
    if thread == 0:
        while_waiting(look)
    else:
        pair.run[1].leader = pair.run[0]
    pair.task(pair.run[thread], 0, 1)


cdef void run_pair(Run* there, Run* back, rf_task task) noexcept:
    cdef Pair pair
    pair.run[0], pair.run[1], pair.task = there, back, task
    with nogil:
        share_out(pair_task, &pair, there, 2, 2)


def both_forward(cell, x, weights, states, lengths, outs, bint save, noise=(None, None)):
    """Run `direction_forward` for both directions; of each argument that has its place there, two.

    Returns
    -------
    What it returns, twice.
    """
    cdef Forward there = Forward(), back = Forward()
    cdef When when = NOW
    try:
        there.prepare(cell, x, weights[0], lengths, False, outs[0], save, noise[0])
        back.prepare(cell, x, weights[1], lengths, True, outs[1], save, noise[1])
        if not side_by_side(&there.run, 1, &when):
            return there.go(states[0], when, 2), back.go(states[1], asked_anew(when), 2)
        alone(&back.run, there.run.brief)
        alone(&there.run, there.run.brief)
        there.provide(states[0])
        back.provide(states[1])
        run_pair(&there.run, &back.run, forward_task)
        there.errors += back.errors
        return there.finish(2), back.finish(2)
    finally:
        there.free()
        back.free()


def both_backward(saved, dy, dstates, dx, grads):
    """Run `direction_backward` for both directions; of each argument two.

    Returns
    -------
    What it returns, twice.
    """
    cdef Backward there = Backward(), back = Backward()
    cdef When when = NOW
    cdef bint brief
    try:
        there.prepare(saved[0])
        back.prepare(saved[1])
        # gradients of a table are added up in one place
        if there.run.V or not side_by_side(&there.run, 2, &when):
            return (there.go(dy[0], dstates[0], dx[0], grads[0], when, True),
                    back.go(dy[1], dstates[1], dx[1], grads[1], asked_anew(when), True))
        alone(&there.run, there.run.brief)
        there.provide(1, dy[0], dstates[0], dx[0], grads[0])
        alone(&back.run, there.run.brief)
        back.provide(1, dy[1], dstates[1], dx[1], grads[1])
        # what goes straight into the caller's arrays takes some milliseconds, and nobody stops while the other is at it
        brief = there.run.brief or there.run.direct or back.run.direct
        there.run.brief = back.run.brief = brief
        run_pair(&there.run, &back.run, backward_task)
        there.errors += back.errors
        return there.finish(True), back.finish(True)
    finally:
        there.free()
        back.free()
