"""Progress of a training, on stderr: a bar of tqdm's, a plain line that rewrites itself, or a line per epoch."""

from __future__ import annotations

import math
import shutil
import sys
import time
from typing import Any, Protocol, TextIO

INTERVAL = 0.1  # seconds between two looks of a bar


class Progress(Protocol):
    """What the trainer tells of its progress."""

    def begin_epoch(self, title: str, batches: int) -> None:
        """Start an epoch of so many batches, 0 if not known."""

    def advance(self, text: str, left: float | None) -> None:
        """One batch is done; ``left`` is the number of seconds this epoch still takes, as far as is known."""

    def due(self) -> bool:
        """Return whether the next `advance` would be shown: a text need not be made for nothing."""

    def end_epoch(self, text: str) -> None:
        """The epoch is over; ``text`` sums it up."""

    def close(self) -> None:
        """Training is over, in whatever way."""


class Silent:
    """Shows nothing."""

    def begin_epoch(self, title: str, batches: int) -> None:
        pass

    def advance(self, text: str, left: float | None) -> None:
        pass

    def due(self) -> bool:
        return False

    def end_epoch(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class Lines(Silent):
    """A line per epoch, for files and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._title = stream, ""

    def begin_epoch(self, title: str, batches: int) -> None:
        self._title = title

    def end_epoch(self, text: str) -> None:
        self._stream.write(f"{self._title}: {text}\n")
        self._stream.flush()


class PlainBar(Lines):
    """A line that rewrites itself, for terminals without tqdm."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._done = self._batches = self._width = 0
        self._shown = -math.inf

    def begin_epoch(self, title: str, batches: int) -> None:
        self._title, self._batches, self._done = title, batches, 0

    def due(self) -> bool:
        return time.monotonic() - self._shown >= INTERVAL

    def advance(self, text: str, left: float | None) -> None:
        self._done += 1
        if text:
            count = f"{self._done}/{self._batches}" if self._batches else str(self._done)
            line = f"{self._title}: {count} {text}" + ("" if left is None else f", {clock(left)} left")
            # A line that runs over the edge cannot be rewritten.
            self._write(line[: shutil.get_terminal_size().columns - 1])
            self._shown = time.monotonic()

    def end_epoch(self, text: str) -> None:
        self._write(f"{self._title}: {text}")
        self._stream.write("\n")
        self._stream.flush()
        self._width = 0

    def close(self) -> None:
        if self._width:
            self._stream.write("\n")
            self._stream.flush()

    def _write(self, line: str) -> None:
        self._stream.write("\r" + line.ljust(self._width))
        self._stream.flush()
        self._width = len(line)


class TqdmBar(Silent):
    """A bar of tqdm's for each epoch, and a line once it is over.

    Parameters
    ----------
    make : callable
        The class of the bars.
    width : int, default 12
        Of a bar, in characters; 0: as tqdm has it, which in a notebook is a bar that is drawn, not written.
    """

    def __init__(self, make: Any, width: int = 12) -> None:
        self._make = make
        bar = f"{{bar:{width}}}" if width else "{bar}"
        self._format = f"{{desc}}: {{percentage:3.0f}}%|{bar}| {{n_fmt}}/{{total_fmt}} {{postfix}}"
        self._bar: Any = None
        self._title = ""
        self._shown = -math.inf

    def begin_epoch(self, title: str, batches: int) -> None:
        self._title = title
        self._bar = self._make(
            total=batches or None,
            desc=title,
            bar_format=self._format if batches else None,
        )

    def due(self) -> bool:
        return time.monotonic() - self._shown >= INTERVAL

    def advance(self, text: str, left: float | None) -> None:
        if text:
            self._bar.set_postfix_str(text + ("" if left is None else f", {clock(left)} left"), refresh=False)
            self._shown = time.monotonic()
        self._bar.update()

    def end_epoch(self, text: str) -> None:
        # In the bar the end of the line would be cut off at the edge of the terminal.
        bar, self._bar = self._bar, None
        bar.leave = False
        bar.close()
        bar.fp.write(f"{self._title}: {text}\n")
        bar.fp.flush()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def make_progress(wanted: bool) -> Progress:
    """Return what suits this place: a notebook, a terminal with or without tqdm, or neither."""
    if not wanted:
        return Silent()
    notebook = _in_notebook()
    if not notebook and not sys.stderr.isatty():
        return Lines(sys.stderr)
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return Lines(sys.stderr) if notebook else PlainBar(sys.stderr)
    return TqdmBar(tqdm, 0 if notebook else 12)


def clock(seconds: float) -> str:
    """Return seconds as m:ss or h:mm:ss."""
    whole = max(0, math.ceil(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and "IPKernelApp" in shell.config
