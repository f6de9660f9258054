"""Prefix beam search; what it does and its arguments are in `rnnfast.reference.ctc_search`.

Labellings are nodes of a tree, each with its last label and the node of what comes before. A labelling has one node
however often it is dropped and found again, so that two of those kept are the same exactly where their nodes are, and
the label that makes one kept labelling of another is found by going from the longer to the shorter. Nodes are made only
for what is kept, at most `width` a step, so that all memory of a search is known before it begins.
"""

import numpy as np

cimport numpy as cnp
from libc.math cimport INFINITY, exp, log1p
from libc.stdint cimport int64_t
from libc.string cimport memset

from rnnfast._native.kernels cimport alloc, parallel, release
from rnnfast.threads import get_num_threads

cnp.import_array()


ctypedef struct Node:
    int before, label, first, next, length  # first child, next sibling
    int beam                                # its place among those kept, or -1


ctypedef struct Beam:
    int node
    double blank, label, said, both         # log p_b, log p_n, what the scorer said, log(p_b + p_n)
    double rank


ctypedef struct Candidate:
    double rank
    Py_ssize_t order                        # among candidates of a step, to tell equals apart
    int beam, label                         # label -1: the labelling as it is


ctypedef struct Search:
    Py_ssize_t classes, blank, width
    double bonus
    Node* nodes
    int count                               # nodes so far
    Beam* beams
    Beam* next
    int kept
    Candidate* heap                         # the lowest rank on top
    double* blank_now                       # p_b and p_n of the labellings kept, after this step
    double* label_now
    char* taken                             # (width, classes): labels that lead to a labelling kept already


cdef inline double log_add(double a, double b) noexcept nogil:
    cdef double high = a if a > b else b, low = b if a > b else a
    if low == -INFINITY:
        return high
    return high + log1p(exp(low - high))


cdef Py_ssize_t size_of(Py_ssize_t steps, Py_ssize_t width, Py_ssize_t classes) noexcept nogil:
    """Return the bytes that a search needs."""
    return ((1 + steps * width) * sizeof(Node) + width * (2 * sizeof(Beam) + sizeof(Candidate) + 2 * sizeof(double))
            + width * classes + 64)


cdef void begin(Search* s, char* memory, Py_ssize_t steps) noexcept nogil:
    s.beams = <Beam*> memory
    s.next = s.beams + s.width
    s.heap = <Candidate*> (s.next + s.width)
    s.blank_now = <double*> (s.heap + s.width)
    s.label_now = s.blank_now + s.width
    s.nodes = <Node*> (s.label_now + s.width)
    s.taken = <char*> (s.nodes + 1 + steps * s.width)
    s.nodes[0].before = s.nodes[0].label = s.nodes[0].first = s.nodes[0].next = -1
    s.nodes[0].length = s.nodes[0].beam = 0
    s.beams[0].node, s.beams[0].blank, s.beams[0].label, s.beams[0].said = 0, 0, -INFINITY, 0
    s.beams[0].both = s.beams[0].rank = 0
    s.count = s.kept = 1


cdef inline bint lower(const Candidate* a, const Candidate* b) noexcept nogil:
    return a.rank < b.rank or (a.rank == b.rank and a.order > b.order)


cdef void sink(Candidate* heap, int count, int at) noexcept nogil:
    """Let the candidate at a place of the heap go down to where it belongs."""
    cdef Candidate moving = heap[at]
    cdef int child = 2 * at + 1
    while child < count:
        if child + 1 < count and lower(&heap[child + 1], &heap[child]):
            child += 1
        if not lower(&heap[child], &moving):
            break
        heap[at] = heap[child]
        at = child
        child = 2 * at + 1
    heap[at] = moving


cdef int offer(Candidate* heap, int count, Py_ssize_t width, Candidate new) noexcept nogil:
    """Take a candidate in if it is among the best so far; return how many there are."""
    cdef int at
    if new.rank == -INFINITY:
        return count
    if count == width:
        if lower(&heap[0], &new):
            heap[0] = new
            sink(heap, count, 0)
        return count
    at = count
    while at > 0 and lower(&new, &heap[(at - 1) // 2]):
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = new
    return count + 1


cdef int child_of(Search* s, int node, int label) noexcept nogil:
    """Return the node of a labelling with one label more, made if there is none."""
    cdef int found = s.nodes[node].first
    while found >= 0:
        if s.nodes[found].label == label:
            return found
        found = s.nodes[found].next
    found = s.count
    s.count += 1
    s.nodes[found].before, s.nodes[found].label, s.nodes[found].first = node, label, -1
    s.nodes[found].next, s.nodes[found].length, s.nodes[found].beam = s.nodes[node].first, s.nodes[node].length + 1, -1
    s.nodes[node].first = found
    return found


cdef inline double reaching(const Search* s, int beam, int label, const double* y) noexcept nogil:
    """Return log of what a labelling kept gives to the one with this label more."""
    cdef const Beam* from_ = &s.beams[beam]
    return (from_.blank if s.nodes[from_.node].label == label else from_.both) + y[label]


cdef void step(Search* s, const double* y, const double* says) noexcept nogil:
    """Do one step with the log-probabilities y (C) and what the scorer says of each label after each labelling."""
    cdef int i, k, before, found = 0
    cdef Py_ssize_t order = 0, c
    cdef Node* node
    cdef Beam* beam
    cdef Candidate new
    cdef double base
    memset(s.taken, 0, s.kept * s.classes)
    for i in range(s.kept):
        beam = &s.beams[i]
        node = &s.nodes[beam.node]
        s.blank_now[i] = beam.both + y[s.blank]
        s.label_now[i] = -INFINITY
        if node.label >= 0:
            s.label_now[i] = beam.label + y[node.label]
            before = s.nodes[node.before].beam
            if before >= 0:
                s.label_now[i] = log_add(s.label_now[i], reaching(s, before, node.label, y))
                s.taken[before * s.classes + node.label] = 1
        new.rank = log_add(s.blank_now[i], s.label_now[i]) + beam.said + s.bonus * node.length
        new.order, new.beam, new.label = order, i, -1
        order += 1
        found = offer(s.heap, found, s.width, new)
    for i in range(s.kept):
        beam = &s.beams[i]
        node = &s.nodes[beam.node]
        for c in range(s.classes):
            k = <int> c
            if c == s.blank or s.taken[i * s.classes + c]:
                continue
            new.rank = reaching(s, i, k, y) + (beam.said + (says[i * s.classes + c] if says != NULL else 0))
            new.rank += s.bonus * (node.length + 1)
            new.order, new.beam, new.label = order, i, k
            order += 1
            found = offer(s.heap, found, s.width, new)
    for i in range(s.kept):
        s.nodes[s.beams[i].node].beam = -1
    s.kept = found
    cdef Beam* target
    while found > 0:  # the lowest first, to the end
        found -= 1
        new = s.heap[0]
        s.heap[0] = s.heap[found]
        sink(s.heap, found, 0)
        beam, target = &s.beams[new.beam], &s.next[found]
        target.rank, target.said = new.rank, beam.said
        if new.label < 0:
            target.node, target.blank, target.label = beam.node, s.blank_now[new.beam], s.label_now[new.beam]
        else:
            target.node = child_of(s, beam.node, new.label)
            target.blank, target.label = -INFINITY, reaching(s, new.beam, new.label, y)
            if says != NULL:
                target.said += says[new.beam * s.classes + new.label]
        target.both = log_add(target.blank, target.label)
    s.beams, s.next = s.next, s.beams
    for i in range(s.kept):
        s.nodes[s.beams[i].node].beam = i


cdef list results(Search* s):
    """Return the labellings kept as (labels, rank, log p)."""
    cdef int i, at, k
    cdef int64_t* numbers
    found = []
    for i in range(s.kept):
        at = s.beams[i].node
        labels = np.empty(s.nodes[at].length, np.int64)
        numbers = <int64_t*> cnp.PyArray_DATA(labels)
        for k in range(s.nodes[at].length - 1, -1, -1):
            numbers[k] = s.nodes[at].label
            at = s.nodes[at].before
        found.append((labels, s.beams[i].rank, s.beams[i].both))
    return found


ctypedef struct Job:
    Search* searches
    Py_ssize_t batch, stride
    const double* y
    const int64_t* lengths


cdef void run(void* context, int thread, int threads) noexcept nogil:
    cdef Job* job = <Job*> context
    cdef Py_ssize_t n = thread, t
    while n < job.batch:
        for t in range(job.lengths[n]):
            step(&job.searches[n], job.y + n * job.stride + t * job.searches[n].classes, NULL)
        n += threads


def beam_search(y, lengths, blank, width, bonus, scorer):
    y = np.ascontiguousarray(y, np.float64)
    lengths = np.ascontiguousarray(lengths, np.int64)
    cdef Py_ssize_t n, batch = y.shape[0], classes = y.shape[2], total = 0, at = 0
    cdef const int64_t* sizes = <const int64_t*> cnp.PyArray_DATA(lengths)
    cdef Job job
    for n in range(batch):
        total += (size_of(sizes[n], width, classes) + 63) // 64 * 64
    cdef char* memory = <char*> alloc(batch * sizeof(Search) + 64 + total)
    if memory == NULL:
        raise MemoryError
    job.searches = <Search*> memory
    at = (batch * sizeof(Search) + 63) // 64 * 64
    job.batch, job.stride = batch, y.shape[1] * classes
    job.y, job.lengths = <const double*> cnp.PyArray_DATA(y), sizes
    cdef int threads = max(1, min(<int> get_num_threads(), <int> min(batch, y.shape[1] * batch * classes // 4096)))
    try:
        for n in range(batch):
            job.searches[n].classes, job.searches[n].blank = classes, blank
            job.searches[n].width, job.searches[n].bonus = width, bonus
            begin(&job.searches[n], memory + at, sizes[n])
            at += (size_of(sizes[n], width, classes) + 63) // 64 * 64
        if scorer is None:
            with nogil:
                parallel(run, &job, threads)
        else:
            for n in range(batch):
                run_scored(&job.searches[n], job.y + n * job.stride, sizes[n], scorer)
        return [results(&job.searches[n]) for n in range(batch)]
    finally:
        release(memory)


cdef int run_scored(Search* s, const double* y, Py_ssize_t steps, scorer) except -1:
    """Do all steps of one sequence, asking the scorer once for each labelling while it is kept."""
    cdef Py_ssize_t t
    cdef int i
    rows = np.zeros((s.width, s.classes))
    cdef const double* says = <const double*> cnp.PyArray_DATA(rows)
    known = {}
    for t in range(steps):
        current = {}
        for i in range(s.kept):
            node = s.beams[i].node
            row = known.get(node)
            current[node] = scorer(prefix(s, node)) if row is None else row
            rows[i] = current[node]
        known = current
        step(s, y + t * s.classes, says)
    return 0


cdef tuple prefix(Search* s, int node):
    """Return the labels of a node."""
    found = []
    while node > 0:
        found.append(s.nodes[node].label)
        node = s.nodes[node].before
    return tuple(found[::-1])
