"""Streaming sessions that step together: each has a row of one `Stream`, and a tick takes all rows that wait."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from inputs import Array, Inputs
from rnnfast import Stream
from settings import Settings


@dataclass(frozen=True)
class Waiting:
    """A step that waits for its tick.

    Attributes
    ----------
    row : int
    x : ndarray
    done : Future
        Gets the output, and the session's state after the step where that is wanted, else None.
    state
        What the session goes on from; None: from where it is.
    keep : bool
        Whether the state after the step is wanted.
    """

    row: int
    x: Array
    done: asyncio.Future[tuple[Array, Any]]
    state: Any = None
    keep: bool = False


class Sessions:
    """The sessions of a worker and the loop that serves them.

    What a session answers does not depend on who else is connected, to the bit: a row's arithmetic is its own. So
    steps may be gathered as they happen to arrive.

    Parameters
    ----------
    model : Layer
        What a `Stream` takes. Its packed weights are used where they are: forked workers share them.
    inputs : Inputs
    settings : Settings

    Attributes
    ----------
    ticks, steps : int
        Batched steps so far, and the single steps in them.
    """

    def __init__(self, model: Any, inputs: Inputs, settings: Settings) -> None:
        self._stream = Stream(model, settings.max_sessions)
        self._settings = settings
        self._free = list(range(settings.max_sessions))[::-1]
        self._new: set[int] = set()  # rows whose next step begins a sequence
        self._waiting: list[Waiting] = []
        self._stepping: set[int] = set()
        self._left: list[int] = []  # rows whose session ended within their step
        self._wake = asyncio.Event()
        self._x = np.empty((settings.max_sessions, *inputs.shape), inputs.dtype.newbyteorder("="))
        self._pace = 1.0  # seconds for each row, as the last tick had it; the first one goes to the thread
        self.ticks = self.steps = 0

    @property
    def open_sessions(self) -> int:
        """How many there are."""
        return self._settings.max_sessions - len(self._free) - len(self._left)

    def open(self) -> int | None:
        """Return the row of a new session, its state zero; None if all are taken."""
        if not self._free:
            return None
        row = self._free.pop()
        self._new.add(row)
        return row

    def close(self, row: int) -> None:
        """Give a row back; if it is within a step, once that is over."""
        (self._left if row in self._stepping else self._free).append(row)

    async def step(
        self, row: int, x: Array, reset: bool = False, state: Any = None, keep: bool = False
    ) -> tuple[Array, Any]:
        """Return the answer to one step of a session, which waits for its turn; one at a time for each session.

        Parameters
        ----------
        row : int
        x : ndarray
        reset : bool
            Whether a new sequence begins.
        state
            What the sequence goes on from, as `Stream` has it for one row; None: from where it is.
        keep : bool
            Whether to return the state after the step too; else that is None.
        """
        if reset:
            self._new.add(row)
        waiting = Waiting(row, x, asyncio.get_running_loop().create_future(), state, keep)
        self._waiting.append(waiting)
        self._wake.set()
        return await waiting.done

    async def run(self) -> None:
        """Serve, until cancelled."""
        while True:
            await self._wake.wait()
            if self._settings.tick:
                await asyncio.sleep(self._settings.tick)
            self._wake.clear()
            waiting, self._waiting = self._waiting, []
            for first in range(0, len(waiting), self._settings.max_batch):
                await self._serve(waiting[first : first + self._settings.max_batch])

    async def _serve(self, batch: list[Waiting]) -> None:
        """Let the sessions of a batch take their step together; some may have ended since they asked."""
        batch = [each for each in batch if not each.done.done()]
        if not batch:
            return
        rows = np.array([each.row for each in batch])
        for k, each in enumerate(batch):
            self._x[k] = each.x
        if self._new:
            new = self._new.intersection(rows.tolist())
            self._stream.reset(list(new))
            self._new -= new
        try:
            for each in batch:
                if each.state is not None:
                    self._stream.set_state(each.state, [each.row])
            if self._pace * len(rows) > self._settings.inline:
                self._stepping = set(rows.tolist())
                y = await asyncio.get_running_loop().run_in_executor(None, self._step, rows)
            else:
                y = self._step(rows)
        except Exception as error:  # must not end the loop that serves everybody
            for each in batch:
                if not each.done.done():
                    each.done.set_exception(error)
            return
        finally:
            self._stepping = set()
            self._free += self._left
            self._left.clear()
        self.ticks += 1
        self.steps += len(batch)
        for k, each in enumerate(batch):
            if not each.done.done():
                each.done.set_result((y[k], self._stream.get_state([each.row]) if each.keep else None))

    def _step(self, rows: Array) -> Array:
        start = time.perf_counter()
        y = self._stream.step(self._x[: len(rows)], rows=rows)
        self._pace = (time.perf_counter() - start) / len(rows)
        return y
