"""A whole training beside torch's: a character model on a text, epoch by epoch in turns, and where our time goes.

``python -m bench.text --text FILE [--threads N] [--epochs N] [--peer-python PATH]``: embedding 64, LSTM 256, softmax
cross-entropy, clipping at norm 1, Adam; 64 streams of 64 characters, states carried on. Each library runs in a process
of its own on as many CPUs, stopped outside its turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.beside import arguments, serve, turns

STREAMS, STEPS, FEATURES, HIDDEN, RATE = 64, 64, 64, 256, 0.004


def encode(path: Path) -> tuple[NDArray[np.int64], int]:
    """Return the characters of a text as numbers, and how many different ones there are."""
    points = np.frombuffer(path.read_text(encoding="utf-8").encode("utf-32-le"), dtype=np.uint32)
    values, found = np.unique(points, return_inverse=True)
    return found.astype(np.int64), len(values)


class Native:
    """Our trainer, as its users call it."""

    def __init__(self, tokens: NDArray[np.int64], symbols: int, threads: int) -> None:
        import rnnfast

        rnnfast.set_num_threads(threads)
        self.tokens = tokens
        self.lstm = rnnfast.LSTM(FEATURES, HIDDEN, seed=1)
        embedding, dense = rnnfast.Embedding(symbols, FEATURES, seed=0), rnnfast.Dense(HIDDEN, symbols, seed=2)
        model = rnnfast.Sequential(embedding, self.lstm, dense)
        self.trainer = rnnfast.Trainer(model, rnnfast.SoftmaxCrossEntropy(), rnnfast.Adam(lr=RATE), clip_norm=1.0)
        self.recurrent = 0.0
        self._time_recurrence(type(self.lstm))

    def _time_recurrence(self, kind: Any) -> None:
        """Note what the passes of the recurrent layer take."""
        original = kind.forward

        def forward(layer: Any, *given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            out, pullback = original(layer, *given, **named)
            self.recurrent += time.perf_counter() - start

            def timed(*given: Any, **named: Any) -> Any:
                start = time.perf_counter()
                found = pullback(*given, **named)
                self.recurrent += time.perf_counter() - start
                return found

            return out, timed

        kind.forward = forward

    def epoch(self) -> dict[str, float]:
        """Train for an epoch; return the mean loss and the share of the recurrent layer."""
        self.recurrent, start = 0.0, time.perf_counter()
        history = self.trainer.fit_stream(self.tokens, streams=STREAMS, steps=STEPS, epochs=1, progress=False)
        return {"loss": float(history["loss"][-1]), "share": self.recurrent / (time.perf_counter() - start)}


class Torch:
    """The same model and loop with torch."""

    def __init__(self, tokens: NDArray[np.int64], symbols: int, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.torch = torch
        length = (len(tokens) - 1) // STREAMS
        self.x = torch.from_numpy(tokens[: STREAMS * length].reshape(STREAMS, length).T.copy())
        self.y = torch.from_numpy(tokens[1 : STREAMS * length + 1].reshape(STREAMS, length).T.copy())
        self.embedding = torch.nn.Embedding(symbols, FEATURES)
        self.lstm = torch.nn.LSTM(FEATURES, HIDDEN)
        self.dense = torch.nn.Linear(HIDDEN, symbols)
        self.parameters = [*self.embedding.parameters(), *self.lstm.parameters(), *self.dense.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=RATE)

    def epoch(self) -> dict[str, float]:
        """Train for an epoch; return the mean loss."""
        torch, state, total = self.torch, None, 0.0
        for first in range(0, len(self.x), STEPS):
            x, y = self.x[first : first + STEPS], self.y[first : first + STEPS]
            out, state = self.lstm(self.embedding(x), state)
            state = tuple(s.detach() for s in state)
            loss = torch.nn.functional.cross_entropy(self.dense(out).flatten(0, 1), y.flatten())
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            total += loss.item() * y.numel()
        return {"loss": total / self.y.numel()}


KINDS: dict[str, Any] = {"rnnfast": Native, "torch": Torch}


def make(name: str, path: Path, threads: int) -> Callable[[], dict[str, Any]]:
    """Return what trains for an epoch."""
    trainee = KINDS[name](*encode(path), threads)

    def train() -> dict[str, Any]:
        start = time.perf_counter()
        found = trainee.epoch()
        return {"seconds": time.perf_counter() - start, **found}

    return train


def main() -> None:
    """Print a line for each epoch, and the ratio of the times."""
    parser = arguments("bench.text", __doc__, 3)
    parser.add_argument("--text", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    if options.role:
        serve(partial(make, options.role, options.text, options.threads), options.threads)
        return
    ratios = []
    for epoch, found in enumerate(turns(options, "bench.text", "--text", str(options.text.resolve()))):
        ours, theirs = found["rnnfast"], found["torch"]
        ratios.append(ours["seconds"] / theirs["seconds"])
        print(
            f"epoch {epoch + 1}: rnnfast {ours['seconds']:.1f} s, loss {ours['loss']:.3f}, "
            f"{ours['share']:.0%} of it in the recurrent layer; "
            f"torch {theirs['seconds']:.1f} s, loss {theirs['loss']:.3f}; ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"rnnfast takes {statistics.median(ratios):.2f} of torch's time, {options.threads} threads")


if __name__ == "__main__":
    main()
