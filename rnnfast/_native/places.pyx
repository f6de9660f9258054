"""States of threads that go apart: of what every step writes anew, each thread has its rows in a place of its own.

Rows of two threads that stand side by side are slow, though none is in two hands: processors fetch ahead what follows
the lines that a thread goes through, and those of the other thread's rows it then has to ask back at every step. Where
the two share no cache, that takes as long as some thousand operations. They do not fetch ahead into another page.
"""

from libc.string cimport memcpy

from rnnfast._native.kernels cimport RF_READS_AFTER, RF_READS_BEFORE

cdef enum:
    PAGE = 4096
    MOST = 5  # buffers


ctypedef struct Place:
    char** at
    Py_ssize_t line    # bytes of a row
    Py_ssize_t count   # times that all rows are there, one time after the other


cdef bint parted(const Run* run) noexcept nogil:
    """Return whether threads have places of their own: not where options keep more, nor for a single step."""
    return run.apart and run.T > 1 and not run.around


cdef size_t pitch(size_t size) noexcept nogil:
    """Return how far a place of so many bytes is from the next one: a page that nobody touches lies in between."""
    return (size + PAGE - 1) // PAGE * PAGE + PAGE


cdef size_t with_places(const Run* run, size_t size) noexcept nogil:
    """Return the bytes of a buffer in which all threads have places of so many; of nothing they need none.

    It ends with a page that nobody touches, for what follows may be another thread's.
    """
    return size + run.sharing * pitch(size) if size and parted(run) else size


cdef int places_of(Run* run, bint back, Place* places) noexcept nogil:
    """List the buffers whose rows are written anew by every step; return how many there are."""
    cdef Py_ssize_t line_h = run.ld_h * run.size, line = run.ld * run.size
    if back:
        places[0] = Place(&run.dh, line_h, 1)
        places[1] = Place(&run.dc, line, 1 if run.cell.has_c else 0)
        places[2] = Place(&run.daux, line, 1 if run.cell.has_aux else 0)
        places[3] = Place(&run.before_step, line_h, 1 if run.cell.reads & RF_READS_BEFORE else 0)
        places[4] = Place(&run.after_step, line_h, 1 if run.cell.reads & RF_READS_AFTER else 0)
        return 5
    places[0] = Place(&run.h, line_h, 0 if run.history else 3 if run.save else 2)
    if run.save:  # c and aux of all steps are kept
        return 1
    places[1] = Place(&run.c, line, 1 + run.two_c if run.cell.has_c else 0)
    places[2] = Place(&run.aux, line, 1 if run.cell.has_aux else 0)
    return 3


cdef void copy_rows(const Run* run, const Place* to, const Place* source, Py_ssize_t row0, Py_ssize_t row1) noexcept nogil:
    cdef Py_ssize_t i, at
    for i in range(to.count):
        at = (i * run.B + row0) * to.line
        memcpy(to.at[0] + at, source.at[0] + at, (row1 - row0) * to.line)


cdef Run* take_places(Run* run, Run* own, bint back, int thread, Py_ssize_t row0, Py_ssize_t row1) noexcept nogil:
    """Return the run in which a thread finds its rows: `own`, which is made so, or `run` for those that need not move.

    Whoever stops the run does so in `run`.
    """
    cdef Place[MOST] shared
    cdef Place[MOST] places
    cdef int i, n
    if thread == 0 or not parted(run):
        return run
    own[0] = run[0]
    n = places_of(run, back, shared)
    places_of(own, back, places)
    for i in range(n):
        if places[i].count:
            places[i].at[0] += thread * pitch(places[i].count * run.B * places[i].line)
            copy_rows(run, &places[i], &shared[i], row0, row1)
    return own


cdef void leave_places(Run* run, Run* own, bint back, Py_ssize_t row0, Py_ssize_t row1) noexcept nogil:
    """Bring a thread's rows back to where those of all are."""
    cdef Place[MOST] shared
    cdef Place[MOST] places
    cdef int i, n
    if own == run:
        return
    n = places_of(run, back, shared)
    places_of(own, back, places)
    for i in range(n):
        copy_rows(run, &shared[i], &places[i], row0, row1)
