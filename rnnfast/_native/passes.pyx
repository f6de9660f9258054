"""A pass over one direction of a layer, forward or backward: arguments, memory, who does it, results.

The steps themselves are those of unroll.pyx and unroll_backward.pyx; both.pyx and stack.pyx have several passes done at once.
"""

import numpy as np

from rnnfast._native.provider import get_gemm

cimport numpy as cnp
from libc.string cimport memcpy, memset

from rnnfast._native.around cimport add_vectors, around_backward_sizes, around_sizes, see, set_around
from rnnfast._native.blas_gradients cimport blas_gradients
from rnnfast._native.gradients cimport add_biases, make_targets, set_outers
from rnnfast._native.kernels cimport alloc, release, rf_cell
from rnnfast._native.pack cimport PROJECTION, Packed, packed_weights
from rnnfast._native.plan cimport NOW, Run, When, cells_at, set_run, share_out, split, state_at
from rnnfast._native.rows cimport Lengths, load_state, make_lengths, release_rows, store_state
from rnnfast._native.unroll cimport forward_sizes, forward_task, set_forward
from rnnfast._native.unroll_backward cimport backward_sizes, backward_task

cnp.import_array()


cdef class Saved:
    """What forward keeps for backward: up to 5 numbers for each unit, step and row. Used up by one backward pass."""

    def __cinit__(self):
        self.gates = self.h = self.c = self.aux = self.stats = self.m = NULL

    def __dealloc__(self):
        self.free()

    @property
    def shape(self):
        """N, T and I of an input that is an array."""
        return self.x.shape

    cdef void free(self) noexcept:
        release(self.gates)
        release(self.h)
        release(self.c)
        release(self.aux)
        release(self.stats)
        release(self.m)
        self.gates = self.h = self.c = self.aux = self.stats = self.m = NULL


cdef bint in_elements(cnp.ndarray x) noexcept:
    """Whether rows of x are contiguous, and a whole number of elements apart."""
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(x)
    return ((cnp.PyArray_STRIDE(x, 2) == size or cnp.PyArray_DIM(x, 2) < 2) and cnp.PyArray_STRIDE(x, 0) % size == 0
            and cnp.PyArray_STRIDE(x, 1) % size == 0)


cdef tuple final_states(Run* run, Lengths rows, int ndim):
    """Collect each row's last state from where its last step has left it; `ndim` as in `store_state`."""
    cdef Py_ssize_t j, t = run.T, line = run.ld * run.size, line_h = run.ld_h * run.size
    cdef char* h = state_at(run, t)
    cdef char* c = cells_at(run, t)
    cdef char* last = NULL
    try:
        if not rows.uniform:
            last = <char*> alloc(run.B * (line_h + line))
            if last == NULL:
                raise MemoryError
            h, c = last, last + run.B * line_h
            for j in range(run.B):
                while t > 0 and run.n[t - 1] <= j:
                    t -= 1
                # t steps were made by row j
                memcpy(h + j * line_h, state_at(run, t) + j * line_h, line_h)
                if run.cell.has_c:
                    memcpy(c + j * line, cells_at(run, t) + j * line, line)
        return store_states(run, rows, h, c, ndim)
    finally:
        release(last)


cdef tuple store_states(const Run* run, Lengths rows, const char* h, const char* c, int ndim):
    """Return sorted rows of h, and of c where the cell has it, as new arrays; see `store_state`."""
    found = store_state(rows, h, run.ld_h, run.Q, run.size, ndim)
    if not run.cell.has_c:
        return (found,)
    return found, store_state(rows, c, run.ld, run.H, run.size, ndim)


cdef class Forward:
    """A forward pass over one direction: `prepare`, then `go`, or all that this does one by one, and at last `free`.

    `rnnfast.reference.recurrent` says what everything is.
    """

    cdef int prepare(self, cell, x, weights, lengths, bint reverse, cnp.ndarray out, bint save, noise) except -1:
        """Take the arguments but for the state."""
        cdef Run* run = &self.run
        cdef Packed packed = packed_weights(cell.kernel, weights)
        cdef Lengths rows = make_lengths(cnp.PyArray_DIM(out, 0), cnp.PyArray_DIM(out, 1), lengths)
        cdef cnp.ndarray table
        cdef Saved saved = Saved.__new__(Saved)
        set_forward(run, packed, rows, save)
        set_around(run, packed, rows, cell.options, noise)
        self.errors = []
        run.errors = <void*> self.errors
        if isinstance(x, tuple):
            saved.table = table = np.ascontiguousarray(x[0])
            x = x[1][:, :, None]
            run.table, run.V = cnp.PyArray_BYTES(table), cnp.PyArray_DIM(table, 0)
        elif save and not in_elements(x):
            x = np.ascontiguousarray(x)
        saved.packed, saved.rows, saved.reverse = packed, rows, reverse
        saved.cell, saved.noise = cell, noise
        saved.x, saved.y = x, out
        self.saved = saved
        return 0

    cdef int provide(self, tuple state) except -1:
        """Find the memory for it, and load the initial state."""
        cdef Run* run = &self.run
        cdef Saved saved = self.saved
        cdef Lengths rows = saved.rows
        cdef const rf_cell* cell = run.cell
        cdef size_t sizes[6]
        cdef size_t more[3]
        rows.set_rows(&run.x, saved.x, saved.reverse)
        rows.set_rows(&run.y, saved.y, saved.reverse)
        run.ld_x = run.X if run.V else rows.linear(&run.x, run.size)
        run.gather = run.ld_x == 0
        run.history = saved.history = run.save and (run.history or not in_elements(saved.y))
        forward_sizes(run, sizes)
        around_sizes(run, more)
        if run.V:
            run.projected = <char*> alloc(sizes[5])
            if run.projected == NULL:
                raise MemoryError
        elif run.gather:
            run.ld_x = run.X
            run.xs = <char*> alloc(sizes[0])
            saved.gather = True
        elif run.R:
            run.xs = saved.xs = run.x.base + run.x.start[0]
        saved.ld_x = run.ld_x
        saved.gates = <char*> alloc(sizes[1])
        saved.h = <char*> alloc(sizes[2])
        if cell.has_c:
            saved.c = <char*> alloc(sizes[3])
        if cell.has_aux:
            saved.aux = <char*> alloc(sizes[4])
        if cell.norm:
            saved.stats = <char*> alloc(more[0])
        if run.project:
            saved.m = <char*> alloc(more[1])
        if run.dropped:
            run.seen = <char*> alloc(more[2])
        if (run.gather and run.xs == NULL or saved.gates == NULL or saved.h == NULL
                or cell.has_c and saved.c == NULL or cell.has_aux and saved.aux == NULL
                or cell.norm and saved.stats == NULL or run.project and saved.m == NULL
                or run.dropped and run.seen == NULL):
            raise MemoryError
        run.gates, run.h, run.c, run.aux = saved.gates, saved.h, saved.c, saved.aux
        run.product[0].lda = run.ld_x
        run.stats, run.m = saved.stats, saved.m
        load_state(rows, state[0], run.h, run.ld_h, run.size)
        if run.dropped:
            see(run, run.h, run.seen, 0, run.B, 0, run.Q)
        if cell.has_c:
            load_state(rows, state[1], run.c, run.ld, run.size)
        return 0

    cdef tuple go(self, tuple state, When when, int ndim):
        """Share it out as it is best done by itself, do it, and return what `finish` does."""
        cdef int threads = split(&self.run, 1, when)
        self.provide(state)
        with nogil:
            share_out(forward_task, &self.run, &self.run, 1, threads)
        return self.finish(ndim)

    cdef tuple finish(self, int ndim):
        """Return the final state, arrays of 2 dimensions or of 3 with one for the layer, and what is saved or None."""
        if self.errors:
            raise self.errors[0]
        self.saved.rows.zero_tails(self.saved.y)
        return final_states(&self.run, self.saved.rows, ndim), (self.saved if self.run.save else None)

    cdef void free(self) noexcept:
        release_rows(&self.run.x)
        release_rows(&self.run.y)
        release(self.run.projected)
        release(self.run.seen)
        if self.run.gather:
            release(self.run.xs)


cdef class Backward:
    """A backward pass over one direction: `prepare`, then `go`, or all that this does one by one, and at last `free`.

    `rnnfast.reference.recurrent` says what everything is.
    """

    cdef int prepare(self, Saved saved) except -1:
        """Take what the forward pass has left; no other backward pass may."""
        cdef Run* run = &self.run
        cdef Packed packed = saved.packed
        cdef Lengths rows = saved.rows
        cdef int i
        if saved.used:
            raise RuntimeError("a pullback may be called once: it has consumed what forward saved")
        saved.used = True
        self.saved = saved
        packed.make_backward()
        set_run(run, packed, rows)
        run.save = True
        set_around(run, packed, rows, saved.cell.options, saved.noise)
        self.errors = []
        run.errors = <void*> self.errors
        run.ld_x, run.gather, run.history = saved.ld_x, saved.gather, saved.history
        if run.history:
            rows.make_before()
            run.before = rows.before
        run.blas = get_gemm() == "blas"
        run.xs, run.gates, run.h, run.c, run.aux = saved.xs, saved.gates, saved.h, saved.c, saved.aux
        run.stats, run.m = saved.stats, saved.m
        if saved.table is not None:
            run.table, run.V = cnp.PyArray_BYTES(saved.table), cnp.PyArray_DIM(saved.table, 0)
        for i in range(1 + packed.cell.phases):
            run.product[i] = packed.backward[i]
            run.product[i].lda = run.ld_gates
            run.product[i].ldc = run.product[i].ld_init = run.ld_h
        if run.project:
            run.product[PROJECTION] = packed.backward[PROJECTION]
            run.product[PROJECTION].lda, run.product[PROJECTION].ldc = run.ld_h, run.ld
        return 0

    cdef int provide(self, int threads, dy, dstate, dx, dict grads) except -1:
        """Find the memory for it on so many threads, and load the gradients to start from."""
        cdef Run* run = &self.run
        cdef Saved saved = self.saved
        cdef Packed packed = saved.packed
        cdef Lengths rows = saved.rows
        cdef size_t sizes[8]
        cdef size_t more[6]
        cdef size_t total, all_more = 0
        cdef int i
        self.dx, self.grads = dx, grads
        total = backward_sizes(run, packed, threads, sizes)
        around_backward_sizes(run, more)
        for i in range(6):
            more[i] = (more[i] + 63) // 64 * 64
            all_more += more[i]
        self.work = <char*> alloc(total + all_more)
        if self.work == NULL:
            raise MemoryError
        run.dh = self.work
        run.dc = run.dh + sizes[0]
        run.daux = run.dc + sizes[1]
        run.bias_sums = run.daux + sizes[2]
        run.scratch = run.bias_sums + sizes[3]
        run.projected = run.scratch + sizes[4]
        run.before_step = run.projected + sizes[5]
        run.after_step = run.before_step + sizes[6]
        run.dm = self.work + total
        run.projected_dh = run.dm + more[0]
        run.carried[0] = run.projected_dh + more[1]
        run.carried[1] = run.carried[0] + more[2]
        run.dseen = run.carried[1] + more[3]
        run.dvectors = run.dseen + more[4]
        memset(run.before_step, 0, sizes[6] + sizes[7])  # what stands past the last unit is read
        memset(run.dvectors, 0, more[5])
        if packed.has_bias:
            memset(run.bias_sums, 0, sizes[3])
        else:
            run.bias_sums = NULL
        load_state(rows, dstate[0], run.dh, run.ld_h, run.size)
        if packed.cell.has_c:
            load_state(rows, dstate[1], run.dc, run.ld, run.size)
        if dy is not None:
            rows.set_rows(&run.y, dy, saved.reverse)
        rows.set_rows(&run.hs, saved.y, saved.reverse)
        rows.set_rows(&run.x, saved.x, saved.reverse)
        if run.V and dx is not None:
            run.dx.base = cnp.PyArray_BYTES(<cnp.ndarray> dx)
            run.product[0].ldc = run.product[0].ld_init = run.X
        elif dx is not None:
            rows.set_rows(&run.dx, dx, saved.reverse)
            run.product[0].ldc = rows.linear(&run.dx, run.size)
            run.direct_dx = run.product[0].ldc != 0
            if not run.direct_dx:
                run.product[0].ldc = run.X
        self.targets = make_targets(run, packed, grads)
        set_outers(run, packed, self.targets)
        return 0

    cdef tuple go(self, dy, dstate, dx, dict grads, When when, bint want_state):
        """Share it out as it is best done by itself, do it, and return what `finish` does."""
        cdef int threads = split(&self.run, 2, when)
        self.provide(threads, dy, dstate, dx, grads)
        with nogil:
            share_out(backward_task, &self.run, &self.run, 1, threads)
        return self.finish(want_state)

    cdef tuple finish(self, bint want_state):
        """Hand the gradients over, and return that of the initial state, or () where it is not wanted."""
        cdef Run* run = &self.run
        cdef Packed packed = self.saved.packed
        cdef Lengths rows = self.saved.rows
        if self.errors:
            raise self.errors[0]
        if run.blas:
            blas_gradients(run, packed, self.targets)
        if self.dx is not None and not run.V:
            rows.zero_tails(self.dx)
        if not run.direct:
            for kind, target in self.targets.items():
                if kind in self.grads:
                    self.grads[kind] += target
                else:
                    self.grads[kind] = target
        add_biases(run, packed, self.grads)
        add_vectors(run, packed, self.grads)
        return store_states(run, rows, run.dh, run.dc, 2) if want_state else ()

    cdef void free(self) noexcept:
        release(self.work)
        release_rows(&self.run.x)
        release_rows(&self.run.y)
        release_rows(&self.run.hs)
        release_rows(&self.run.dx)
        if self.saved is not None:
            self.saved.free()


cdef tuple forward_pass(cell, x, weights, tuple state, lengths, bint reverse, cnp.ndarray out, bint save, noise, int ndim):
    """Run one direction over a batch; `ndim` as in `Forward.finish`."""
    cdef Forward one = Forward.__new__(Forward)
    try:
        one.prepare(cell, x, weights, lengths, reverse, out, save, noise)
        return one.go(state, NOW, ndim)
    finally:
        one.free()


cdef tuple backward_pass(Saved saved, dy, tuple dstate, dx, dict grads, bint want_state):
    """Run one direction backwards; `want_state` as in `Backward.finish`."""
    cdef Backward one = Backward.__new__(Backward)
    try:
        one.prepare(saved)
        return one.go(dy, dstate, dx, grads, NOW, want_state)
    finally:
        one.free()


def direction_forward(cell, x, weights, tuple state, lengths, bint reverse, cnp.ndarray out, bint save, noise=None):
    """Run one direction of one layer over a batch; see rnnfast.reference.recurrent for what everything is."""
    return forward_pass(cell, x, weights, state, lengths, reverse, out, save, noise, 2)


def direction_backward(Saved saved, dy, tuple dstate, dx, dict grads):
    """Run one direction of one layer backwards; see rnnfast.reference.recurrent for what everything is."""
    return backward_pass(saved, dy, dstate, dx, grads, True)
