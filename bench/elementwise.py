"""Elementwise recurrences beside the LSTM of the same size, on one thread, in turns within one process.

``python -m bench.elementwise [ROUNDS]`` prints medians in milliseconds of what the thread itself spent on the CPU,
which other programs on the machine change little, and how many times longer the LSTM took, the median over rounds.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import rnnfast
from bench.cases import ELEMENTWISE
from bench.results import paired

STEPS, BATCH, HIDDEN = 512, 8, 512
SYMBOLS = 64  # rows of the table, whose product is taken once a call

Calls = dict[str, Callable[[], object]]


def calls(kind: str, inputs: int, steps: int, batch: int, hidden: int) -> tuple[Calls, Calls]:
    """Return a forward and a training pass of every layer, by its name.

    ``kind`` says what the layers read: "vectors" of ``inputs`` features, or "symbols" through a table of such vectors.
    """
    rng = np.random.default_rng(0)
    vectors = kind == "vectors"
    x: Any = rng.standard_normal((batch, steps, inputs)).astype(np.float32)
    x = x if vectors else rng.integers(0, SYMBOLS, (batch, steps))
    dy = np.ones((batch, steps, hidden), np.float32)
    forward: Calls = {}
    training: Calls = {}
    for name in ("LSTM", *ELEMENTWISE):
        layer = getattr(rnnfast, name)(inputs, hidden, seed=0)
        model = layer if vectors else rnnfast.Sequential(rnnfast.Embedding(SYMBOLS, inputs, seed=1), layer)

        def train(model: Any = model) -> None:
            _, pullback = model.forward(x)
            pullback(dy, {})

        def infer(model: Any = model) -> None:
            model(x)

        forward[name], training[name] = infer, train
    return forward, training


def measure(passes: Calls, rounds: int) -> dict[str, tuple[float, float]]:
    """Return by name the median seconds of a pass and how many times longer the LSTM's takes, after a first round."""
    times: dict[str, list[float]] = {name: [] for name in passes}
    with rnnfast.limit_threads(1):
        for turn in range(rounds + 1):
            for name, run in passes.items():
                start = time.thread_time()
                run()
                if turn:
                    times[name].append(time.thread_time() - start)
    return {name: (statistics.median(spent), paired(times["LSTM"], spent)) for name, spent in times.items()}


def main() -> None:
    """Print a table in Markdown, a row for each task."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    print(f"T={STEPS}, B={BATCH}, H={HIDDEN}: ms, and how many times longer the LSTM takes")
    print("| reads | task | LSTM |", " | ".join(ELEMENTWISE), "|")
    print("| --- | --- |" + " ---: |" * (1 + len(ELEMENTWISE)))
    for kind, inputs in (("vectors", HIDDEN), ("vectors", 64), ("symbols", 64)):
        for task, passes in zip(("forward", "training"), calls(kind, inputs, STEPS, BATCH, HIDDEN), strict=True):
            found = measure(passes, rounds)
            row = [f"{1e3 * found[name][0]:.1f} ({found[name][1]:.1f})" for name in ELEMENTWISE]
            print(f"| {kind}, I={inputs} | {task} | {1e3 * found['LSTM'][0]:.0f} |", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
