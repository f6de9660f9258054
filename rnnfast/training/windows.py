"""Truncated back-propagation with two lengths: an update every k1 steps, gradients over the last k2.

A chunk has k1 steps. Before each update the steps before it, up to k2 in all, are run again from the state that was
kept for their beginning, with the parameters as they now are; the loss is that of the chunk alone, so that every
step's loss counts once, and its gradient goes back through all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rnnfast.training.feeds import Batch, Feed, Past


class LookBack:
    """A feed of chunks, each with the steps before it.

    Parameters
    ----------
    feed : Feed
        Of chunks whose state is carried on.
    back : int
        k2, steps that gradients go back at most; at least as many as a chunk has.
    """

    def __init__(self, feed: Feed, back: int) -> None:
        self._feed, self._back = feed, back
        self.unit = feed.unit

    def __len__(self) -> int:
        return len(self._feed)

    def batches(self, rng: np.random.Generator | None) -> Iterator[Batch]:
        chunks = self._feed.batches(rng)
        chunk = next(chunks, None)
        past: Past | None = None
        while chunk is not None:
            following = next(chunks, None)
            steps = chunk.x.shape[1]
            if steps > self._back:
                raise ValueError(f"back must be at least the {steps} steps of a chunk; got {self._back}")
            if chunk.reset or past is None:
                past = Past(chunk.x[:, :0], chunk.target[:, :0], None)
            known = past.x.shape[1] + steps
            begin = known
            if following is not None and not following.reset:
                begin = min(known, max(0, known + following.x.shape[1] - self._back))
            yield chunk._replace(past=past._replace(keep=begin))
            past = Past(
                np.concatenate([past.x, chunk.x], axis=1)[:, begin:],
                np.concatenate([past.target, chunk.target], axis=1)[:, begin:],
                None,
            )
            chunk = following
