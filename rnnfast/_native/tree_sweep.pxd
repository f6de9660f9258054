from rnnfast._native.forest cimport Trees
from rnnfast._native.kernels cimport rf_ops, rf_outer, rf_product

cdef enum:
    ROWS = 96    # the most nodes that go from product to product at a time
    EDGES = 192  # and the most edges, unless a node has more children

cdef enum:
    # what a round is for
    FORWARD
    BACKWARD
    GRADIENTS

cdef enum:
    # products, by what they read
    INPUT  # i o u f from the input
    BELOW  # i o u from the children
    EACH   # f from each child, or from both
    PRODUCTS


ctypedef struct Part:
    Py_ssize_t tree0, tree1      # its trees
    Py_ssize_t nodes, done       # how many they have, and how many of them have had their turn
    Py_ssize_t level, row, end   # where it stands: the next row, and where its rows of the level end


ctypedef struct Job:
    const rf_ops* ops
    Trees trees
    Py_ssize_t X, H, K, size     # K: features of `below`, H or 2*H
    bint save
    Py_ssize_t block             # rows that go through the products together
    rf_product product[PRODUCTS]
    const char* x                # (N*T, X)
    const char* bias             # (4*H,), or NULL
    char* y                      # (N*T, H)
    char* gates                  # (M, 4*H) when saving: i o u f; gradients of their pre-activations in backward
    char* below                  # (inner, K) when saving: what the product BELOW reads
    char* f                      # (edges, H) or (inner, 2*H) when saving
    char* c                      # (M, H)
    # backward only
    const char* dy               # (N*T, H), or NULL for zeros
    const char* droot[2]         # (N, H) of h and c, or NULL
    char* dh                     # (M, H)
    char* dc                     # (M, H)
    char* dx                     # (N*T, X), or NULL where another makes it
    rf_outer outer[PRODUCTS]     # k is 0 where there is nothing to add
    char* db                     # (4*H,) or NULL
    # threads
    Part* part
    int parts
    char* scratch
    Py_ssize_t scratch_size
    # what one round goes through
    int phase
    Py_ssize_t round, rounds


cdef Py_ssize_t scratch_bytes(const Job* job) noexcept nogil
cdef Py_ssize_t rows_of_block(const Job* job, const Part* part, Py_ssize_t most) noexcept nogil
cdef void forward_block(const Job* job, Py_ssize_t row, Py_ssize_t n, char* scratch) noexcept nogil
cdef void backward_block(const Job* job, Py_ssize_t row, Py_ssize_t n, char* scratch) noexcept nogil
