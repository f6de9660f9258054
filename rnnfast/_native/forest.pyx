"""Many trees, level by level: a node stands one level above the highest of its children.

Nodes are numbered by level, those of a level by tree and then as the user numbers them. So the nodes that some
neighbouring trees have on a level are rows side by side, however many trees these are.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.string cimport memset

from rnnfast._native.kernels cimport alloc, release

cnp.import_array()


cdef Py_ssize_t row_at(const Trees* t, Py_ssize_t level, Py_ssize_t tree) noexcept nogil:
    """Return the first row of a level that is of this tree or a later one."""
    cdef Py_ssize_t low = t.level[level], high = t.level[level + 1], middle
    while low < high:
        middle = (low + high) // 2
        if t.place[middle] < tree * t.width:
            low = middle + 1
        else:
            high = middle
    return low


cdef bint link(Trees* t, const int64_t* parents, Py_ssize_t* above, Py_ssize_t* children) noexcept nogil:
    """Number the nodes through, find the parent of each and count its children; return whether all is as it should be."""
    cdef Py_ssize_t n, j, base, nodes, found
    cdef int64_t parent
    memset(children, 0, t.rows * sizeof(Py_ssize_t))
    for n in range(t.count):
        base, nodes, found = t.nodes[n], t.nodes[n + 1] - t.nodes[n], 0
        t.roots[n] = -1
        for j in range(nodes):
            parent = parents[n * t.width + j]
            if parent < -1 or parent >= nodes:
                return False
            if parent < 0:
                above[base + j] = -1
                t.roots[n] = base + j
                found += 1
                continue
            above[base + j] = base + parent
            children[base + parent] += 1
            t.crowd = max(t.crowd, children[base + parent])
        if nodes and found != 1:
            return False
    return not t.binary or t.crowd <= 2


cdef bint climb(Trees* t, const Py_ssize_t* above, const Py_ssize_t* children, Py_ssize_t* height, Py_ssize_t* ready,
                Py_ssize_t* waiting) noexcept nogil:
    """Find the level of each node, from the leaves on; return False where nodes go in a circle."""
    cdef Py_ssize_t i, parent, head = 0, tail = 0
    for i in range(t.rows):
        height[i] = 0
        waiting[i] = children[i]
        if children[i] == 0:
            ready[tail] = i
            tail += 1
    while head < tail:
        i = ready[head]
        head += 1
        t.levels = max(t.levels, height[i] + 1)
        parent = above[i]
        if parent >= 0:
            height[parent] = max(height[parent], height[i] + 1)
            waiting[parent] -= 1
            if waiting[parent] == 0:
                ready[tail] = parent
                tail += 1
    return tail == t.rows


cdef void arrange(Trees* t, const Py_ssize_t* above, const Py_ssize_t* children, const Py_ssize_t* height,
                  Py_ssize_t* row, Py_ssize_t* next) noexcept nogil:
    """Give every node its row, and list the edges by the rows they lead from."""
    cdef Py_ssize_t i, n, r, k
    memset(t.level, 0, (t.levels + 1) * sizeof(Py_ssize_t))
    for i in range(t.rows):
        t.level[height[i] + 1] += 1
    for i in range(t.levels):
        t.level[i + 1] += t.level[i]
        next[i] = t.level[i]
    t.leaves = t.level[1] if t.levels else 0
    t.first[0] = 0
    for n in range(t.count):
        for i in range(t.nodes[n], t.nodes[n + 1]):
            r = row[i] = next[height[i]]
            next[height[i]] += 1
            t.place[r] = n * t.width + i - t.nodes[n]
            t.first[r + 1] = children[i]
        if t.roots[n] >= 0:
            t.roots[n] = row[t.roots[n]]
    for r in range(t.rows):
        next[r] = t.first[r]
        t.first[r + 1] += t.first[r]
    t.edges = t.first[t.rows]
    for i in range(t.rows):
        if above[i] < 0:
            continue
        r = row[above[i]]
        k = next[r]
        next[r] += 1
        t.child[k], t.source[k] = row[i], t.place[row[i]]
        t.slot[k] = 2 * (r - t.leaves) + k - t.first[r] if t.binary else k


cdef class Forest:
    """The nodes of a batch of trees as rows, and the edges from them to their children."""

    def __dealloc__(self):
        release(self.memory)


def make_forest(cnp.ndarray parents, lengths, bint binary):
    """Return the forest of parents (N, T) int64, or None where they do not form trees."""
    cdef Forest forest = Forest()
    cdef Trees* t = &forest.trees
    cdef Py_ssize_t n, rows = 0
    cdef const int64_t[::1] own
    cdef Py_ssize_t* work
    cdef bint good
    parents = cnp.PyArray_GETCONTIGUOUS(parents)
    memset(t, 0, sizeof(Trees))
    t.count, t.width, t.binary = cnp.PyArray_DIM(parents, 0), cnp.PyArray_DIM(parents, 1), binary
    if lengths is None:
        rows = t.count * t.width
    else:
        own = lengths
        for n in range(t.count):
            rows += own[n]
    t.rows = rows
    forest.memory = <Py_ssize_t*> alloc((2 * t.count + 6 * rows + 3) * sizeof(Py_ssize_t))
    work = <Py_ssize_t*> alloc(5 * max(rows, 1) * sizeof(Py_ssize_t))
    if forest.memory == NULL or work == NULL:
        release(work)
        raise MemoryError
    t.nodes = forest.memory
    t.roots = t.nodes + t.count + 1
    t.level = t.roots + t.count
    t.place = t.level + rows + 1
    t.first = t.place + rows
    t.child = t.first + rows + 1
    t.source = t.child + rows
    t.slot = t.source + rows
    t.nodes[0] = 0
    for n in range(t.count):
        t.nodes[n + 1] = t.nodes[n] + (t.width if lengths is None else own[n])
    good = (link(t, <const int64_t*> cnp.PyArray_DATA(parents), work, work + rows)
            and climb(t, work, work + rows, work + 2 * rows, work + 3 * rows, work + 4 * rows))
    if good:
        arrange(t, work, work + rows, work + 2 * rows, work + 3 * rows, work + 4 * rows)
    release(work)
    return forest if good else None
