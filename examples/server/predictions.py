"""Whole sequences without a session: those that wait are predicted in one ragged batch, in a thread."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from inputs import Array
from rnnfast.data import pad_sequences
from settings import Settings


class QueueFull(Exception):
    """More sequences are waiting than may."""


class Predictions:
    """A queue of sequences and the loop that works it off.

    The thread leaves the event loop free, for a batch may take long, and while one is computed the next gathers. A
    sequence has the bits that it would have alone.

    Parameters
    ----------
    model : Layer
        One that is called ``model(x, lengths=lengths)`` and returns ``(y, state)``.
    settings : Settings

    Attributes
    ----------
    batches, sequences : int
        Batches so far, and the sequences in them.
    """

    def __init__(self, model: Any, settings: Settings) -> None:
        self._model, self._settings = model, settings
        self._queue: deque[tuple[Array, asyncio.Future[Array]]] = deque()
        self._wake = asyncio.Event()
        self.batches = self.sequences = 0

    @property
    def waiting(self) -> int:
        """How many sequences are not begun."""
        return len(self._queue)

    async def predict(self, sequences: list[Array]) -> list[Array]:
        """Return the output (T, C) for each sequence (T, ...); raise `QueueFull` if there is no room for all."""
        if len(self._queue) + len(sequences) > self._settings.max_queue:
            raise QueueFull
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in sequences]
        self._queue.extend(zip(sequences, futures, strict=True))
        self._wake.set()
        try:
            return list(await asyncio.gather(*futures))
        finally:
            if any(future.cancelled() for future in futures):  # out of time: nobody waits for these any more
                self._queue = deque(each for each in self._queue if not each[1].done())

    async def run(self) -> None:
        """Serve, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            count = min(len(self._queue), self._settings.max_batch)
            batch = [self._queue.popleft() for _ in range(count)]
            if not self._queue:
                self._wake.clear()
            if not batch:
                continue
            try:
                outputs = await loop.run_in_executor(None, self._compute, [x for x, _ in batch])
            except Exception as error:  # must not end the loop that serves everybody
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                continue
            self.batches += 1
            self.sequences += count
            for (_, done), y in zip(batch, outputs, strict=True):
                if not done.done():
                    done.set_result(y)

    def _compute(self, sequences: list[Array]) -> list[Array]:
        x, lengths = pad_sequences(sequences)
        y, _ = self._model(x, lengths=lengths)
        return [y[n, :steps] for n, steps in enumerate(lengths)]
