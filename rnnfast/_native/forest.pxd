ctypedef struct Trees:
    Py_ssize_t count, width, rows, edges, levels
    Py_ssize_t leaves       # rows on the lowest level, which have no children; all others have
    Py_ssize_t crowd        # the most children that a node has
    bint binary
    Py_ssize_t* nodes       # (count+1,) nodes of the trees before each
    Py_ssize_t* roots       # (count,) row of each root, -1 for a tree without nodes
    Py_ssize_t* level       # (levels+1,) first row of each level
    Py_ssize_t* place       # (rows,) where a row's node stands among the count*width places
    Py_ssize_t* first       # (rows+1,) the edges of row r are first[r]..first[r+1]-1
    Py_ssize_t* child       # (edges,) row of the child
    Py_ssize_t* source      # (edges,) its place
    Py_ssize_t* slot        # (edges,) row of the edge's forget gate


cdef class Forest:
    cdef Trees trees
    cdef Py_ssize_t* memory


cdef Py_ssize_t row_at(const Trees* t, Py_ssize_t level, Py_ssize_t tree) noexcept nogil
