"""Hold Ctrl-C back while things that belong together change."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_held = False  # by the main thread


@contextmanager
def hold_interrupts() -> Iterator[None]:
    """Run the body of the ``with`` block to its end before an interrupt (SIGINT) is acted upon.

    The handler in force is put aside and, if the signal came, called after the body; in a block within a block, after
    the outer one. Python runs signal handlers in the main thread alone, so other threads need and do nothing.
    """
    global _held
    if threading.current_thread() is not threading.main_thread() or _held:
        yield
        return
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True

    before = signal.getsignal(signal.SIGINT)
    if before is None:  # installed by C code: not ours to put back
        yield
        return
    signal.signal(signal.SIGINT, note)
    try:
        _held = True
        yield
    finally:
        _held = False
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)
