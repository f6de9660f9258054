"""Training passes of an LSTM with the products after the sweep by the packed kernels and by BLAS, in turns.

``python -m bench.providers [ROUNDS]`` prints medians in milliseconds: forward + pullback, for each instruction set.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

import numpy as np

from rnnfast import LSTM
from rnnfast._native import kernels, provider

SHAPES = ((64, 64, 64, 256), (64, 50, 512, 512))  # N, T, I, H


def measure(shape: tuple[int, int, int, int], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median milliseconds of forward and of pullback by provider."""
    batch, steps, inputs, hidden = shape
    layer = LSTM(inputs, hidden, seed=0, init="torch")
    x = np.random.default_rng(0).standard_normal((batch, steps, inputs)).astype(np.float32)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in provider.PROVIDERS}
    for _ in range(rounds):
        for name, times in found.items():
            provider.set_gemm(name)
            for warm in (False, True):  # the first pass after a change of provider is not counted
                start = time.perf_counter()
                (y, _), pullback = layer.forward(x)
                between = time.perf_counter()
                pullback(y, {})
                if warm:
                    times.append((between - start, time.perf_counter() - between))
    return {
        name: (1e3 * statistics.median(f for f, _ in times), 1e3 * statistics.median(p for _, p in times))
        for name, times in found.items()
    }


def main() -> None:
    """Print a line for each instruction set and shape."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    for isa in kernels.isas():
        kernels.set_isa(isa)
        for shape in SHAPES:
            times = "   ".join(f"{name} {f:6.1f} + {p:6.1f}" for name, (f, p) in measure(shape, rounds).items())
            print(f"{isa:7} {shape!s:20} {times}   load {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
