"""Hold Ctrl-C back while things that belong together change.

What is put aside is the handler of the process, not Python's: that takes a microsecond, so that every update of a training
can afford it, and serves handlers that were not installed from Python too.
"""

import threading

from cpython.exc cimport PyErr_CheckSignals
from libc.signal cimport SIGINT, raise_


cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    ctypedef struct action "struct sigaction":
        void (*sa_handler)(int)
        sigset_t sa_mask
        int sa_flags
    int set_action "sigaction"(int number, const action* new, action* old)
    int sigemptyset(sigset_t* signals)
    int SA_RESTART


cdef bint held = False           # by the main thread
cdef volatile bint came = False  # since then


cdef void note(int number) noexcept nogil:
    global came
    came = True


cdef class hold_interrupts:
    """Run the body of a ``with`` block to its end before an interrupt (SIGINT) is acted upon.

    The handler in force is put aside and, if the signal came, called after the body; in a block within a block, after
    the outer one. Python runs signal handlers in the main thread alone, so other threads need and do nothing.
    """

    cdef bint holds
    cdef action before

    def __enter__(self):
        global held, came
        cdef action new
        if held or threading.get_ident() != threading.main_thread().ident:
            return
        sigemptyset(&new.sa_mask)
        new.sa_handler, new.sa_flags = note, SA_RESTART
        came = False
        if set_action(SIGINT, &new, &self.before) != 0:
            return
        held = self.holds = True
        try:
            PyErr_CheckSignals()  # of what came before
        except BaseException:
            self.let_go()
            raise

    def __exit__(self, kind, error, trace):
        if self.holds:
            self.let_go()
            if came:
                raise_(SIGINT)
                PyErr_CheckSignals()

    cdef void let_go(self) noexcept:
        global held
        held = self.holds = False
        set_action(SIGINT, &self.before, NULL)
