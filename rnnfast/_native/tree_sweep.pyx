"""Nodes of one level of some trees, a block of rows at a time, through all products while their gates are in cache."""

from libc.string cimport memcpy, memset

from rnnfast._native.kernels cimport rf_tree


cdef Py_ssize_t rows_of_block(const Job* job, const Part* part, Py_ssize_t most) noexcept nogil:
    """Return how many rows to take: a block, but one with few enough edges, at least one row."""
    cdef const Py_ssize_t* first = job.trees.first + part.row
    cdef Py_ssize_t n = min(min(most, job.block), part.end - part.row)
    while n > 1 and first[n] - first[0] > EDGES:
        n -= 1
    return n


cdef bint side_by_side(const Py_ssize_t* place, Py_ssize_t n) noexcept nogil:
    """Return whether rows of a level, whose places ascend, stand next to each other."""
    return place[n - 1] - place[0] == n - 1


cdef char* cut(char** scratch, Py_ssize_t elements, Py_ssize_t size) noexcept nogil:
    cdef char* found = scratch[0]
    scratch[0] += (elements * size + 63) // 64 * 64
    return found


cdef Py_ssize_t most_gates(const Job* job) noexcept nogil:
    """Return how many forget gates a block has at most."""
    return 2 * ROWS if job.trees.binary else max(<Py_ssize_t> EDGES, job.trees.crowd)


cdef Py_ssize_t scratch_bytes(const Job* job) noexcept nogil:
    """Return the bytes of scratch that a thread needs: what the blocks below cut from it, and the room between."""
    cdef Py_ssize_t elements = ROWS * (job.X + 2 * job.K + job.H)
    if not job.save:
        elements += (4 * ROWS + most_gates(job)) * job.H
    return elements * job.size + 6 * 64


# Forward


cdef void look_below(const Job* job, Py_ssize_t row, Py_ssize_t n, char* to) noexcept nogil:
    """Write the children's h of n rows, added up or side by side, for the product BELOW."""
    cdef const Py_ssize_t* first = job.trees.first
    cdef const Py_ssize_t* source = job.trees.source
    cdef Py_ssize_t r, k, line = job.H * job.size
    for r in range(row, row + n):
        memcpy(to, job.y + source[first[r]] * line, line)
        if job.trees.binary:
            if first[r + 1] - first[r] == 2:
                memcpy(to + line, job.y + source[first[r] + 1] * line, line)
            else:
                memset(to + line, 0, line)
        else:
            for k in range(first[r] + 1, first[r + 1]):
                job.ops.add_rows(job.H, job.y + source[k] * line, to)
        to += job.K * job.size


cdef void forward_block(const Job* job, Py_ssize_t row, Py_ssize_t n, char* scratch) noexcept nogil:
    cdef Py_ssize_t line = job.H * job.size, inner = row - job.trees.leaves, r, k, k0, k1, m
    cdef const Py_ssize_t* place = job.trees.place + row
    cdef const Py_ssize_t* first = job.trees.first + row
    cdef const Py_ssize_t* source = job.trees.source
    cdef const char* xs = job.x + place[0] * job.X * job.size
    cdef char* gathered = cut(&scratch, ROWS * job.X, job.size)
    cdef char* below = cut(&scratch, ROWS * job.K, job.size)
    cdef char* each = cut(&scratch, ROWS * job.K, job.size)
    cdef char* h = cut(&scratch, ROWS * job.H, job.size)
    cdef char* gates
    cdef char* f
    cdef rf_tree tree
    memset(&tree, 0, sizeof(rf_tree))
    k0, k1 = first[0], first[n]
    tree.hidden, tree.first = job.H, first
    tree.child, tree.slot = job.trees.child, job.trees.slot
    if job.save:
        gates, f = job.gates + row * 4 * line, job.f
        below = job.below + inner * job.K * job.size
    else:
        gates = cut(&scratch, ROWS * 4 * job.H, job.size)
        # as if all gates stood there, of which these are the ones in use
        f = scratch - (2 * inner if job.trees.binary else k0) * line
    if not side_by_side(place, n):
        for r in range(n):
            memcpy(gathered + r * job.X * job.size, job.x + place[r] * job.X * job.size, job.X * job.size)
        xs = gathered
    job.ops.product(&job.product[INPUT], n, xs, job.bias, gates, 0, job.product[INPUT].panels)
    if k1 > k0:
        look_below(job, row, n, below)
        job.ops.product(&job.product[BELOW], n, below, gates, gates, 0, job.product[BELOW].panels)
        if job.trees.binary:
            job.ops.product(&job.product[EACH], n, below, NULL, f + 2 * inner * line, 0, job.product[EACH].panels)
        else:
            while k0 < k1:
                m = min(ROWS, k1 - k0)
                for k in range(m):
                    memcpy(each + k * line, job.y + source[k0 + k] * line, line)
                job.ops.product(&job.product[EACH], m, each, NULL, f + k0 * line, 0, job.product[EACH].panels)
                k0 += m
    tree.a, tree.f, tree.h, tree.c, tree.c_all = gates, f, h, job.c + row * line, job.c
    job.ops.tree_forward(&tree, 0, n)
    for r in range(n):
        memcpy(job.y + place[r] * line, h + r * line, line)
        if job.trees.binary and job.save and first[r + 1] - first[r] == 1:  # what is not there has no gradient either
            memset(f + (2 * (inner + r) + 1) * line, 0, line)


# Backward


cdef void begin_roots(const Job* job, Py_ssize_t row, Py_ssize_t n) noexcept nogil:
    """Write the gradients of h and c of the roots among n rows; those of the others came with their parents."""
    cdef Py_ssize_t r, t, line = job.H * job.size, place
    cdef char* dh
    cdef char* dc
    for r in range(row, row + n):
        place = job.trees.place[r]
        t = place // job.trees.width
        if job.trees.roots[t] != r:
            continue
        dh, dc = job.dh + r * line, job.dc + r * line
        memset(dh, 0, line)
        memset(dc, 0, line)
        if job.dy != NULL:
            memcpy(dh, job.dy + place * line, line)
        if job.droot[0] != NULL:
            job.ops.add_rows(job.H, job.droot[0] + t * line, dh)
        if job.droot[1] != NULL:
            memcpy(dc, job.droot[1] + t * line, line)


cdef void hand_down(const Job* job, Py_ssize_t row, Py_ssize_t n, char* below, char* each) noexcept nogil:
    """Write the gradients of the children's h: their own and what comes from n rows."""
    cdef Py_ssize_t line = job.H * job.size, inner = row - job.trees.leaves, r, k, k0, k1, m
    cdef const Py_ssize_t* first = job.trees.first
    cdef const Py_ssize_t* source = job.trees.source
    cdef const Py_ssize_t* child = job.trees.child
    cdef char* dh
    job.ops.product(&job.product[BELOW], n, job.gates + row * 4 * line, NULL, below, 0, job.product[BELOW].panels)
    if job.trees.binary:
        job.ops.product(&job.product[EACH], n, job.f + 2 * inner * line, below, below, 0, job.product[EACH].panels)
        for r in range(row, row + n):
            for k in range(first[r], first[r + 1]):
                dh = job.dh + child[k] * line
                memcpy(dh, below + (2 * (r - row) + k - first[r]) * line, line)
                if job.dy != NULL:
                    job.ops.add_rows(job.H, job.dy + source[k] * line, dh)
        return
    r, k0, k1 = row, first[row], first[row + n]
    while k0 < k1:
        m = min(ROWS, k1 - k0)
        for k in range(m):
            while first[r + 1] <= k0 + k:
                r += 1
            memcpy(each + k * line, below + (r - row) * line, line)
            if job.dy != NULL:
                job.ops.add_rows(job.H, job.dy + source[k0 + k] * line, each + k * line)
        job.ops.product(&job.product[EACH], m, job.f + k0 * line, each, each, 0, job.product[EACH].panels)
        for k in range(m):
            memcpy(job.dh + child[k0 + k] * line, each + k * line, line)
        k0 += m


cdef void backward_block(const Job* job, Py_ssize_t row, Py_ssize_t n, char* scratch) noexcept nogil:
    cdef Py_ssize_t line = job.H * job.size, r
    cdef const Py_ssize_t* place = job.trees.place + row
    cdef const Py_ssize_t* first = job.trees.first + row
    cdef char* dx = cut(&scratch, ROWS * job.X, job.size)
    cdef char* below = cut(&scratch, ROWS * job.K, job.size)
    cdef char* each = cut(&scratch, ROWS * job.K, job.size)
    cdef char* gates = job.gates + row * 4 * line
    cdef rf_tree tree
    memset(&tree, 0, sizeof(rf_tree))
    begin_roots(job, row, n)
    tree.hidden, tree.first = job.H, first
    tree.child, tree.slot = job.trees.child, job.trees.slot
    tree.a, tree.f, tree.c, tree.c_all = gates, job.f, job.c + row * line, job.c
    tree.dh, tree.dc, tree.dc_all = job.dh + row * line, job.dc + row * line, job.dc
    job.ops.tree_backward(&tree, 0, n)
    if job.dx != NULL:
        if side_by_side(place, n):
            job.ops.product(&job.product[INPUT], n, gates, NULL, job.dx + place[0] * job.X * job.size, 0,
                            job.product[INPUT].panels)
        else:
            job.ops.product(&job.product[INPUT], n, gates, NULL, dx, 0, job.product[INPUT].panels)
            for r in range(n):
                memcpy(job.dx + place[r] * job.X * job.size, dx + r * job.X * job.size, job.X * job.size)
    if first[n] > first[0]:
        hand_down(job, row, n, below, each)
