"""Time exp, tanh and sigmoid of every instruction set beside NumPy and print the table of README.md.

Run ``python csrc/vmath_speed.py`` where rnnfast can be imported. Arrays lie in the first-level cache; the time of an
element is the slope between two lengths, so that the cost of the call itself drops out. Least of many runs.
"""

import time
from collections.abc import Callable

import numpy as np

from rnnfast._native import kernels

LENGTHS = {np.float32: (1024, 3072), np.float64: (512, 1536)}
NUMPY = {"exp": np.exp, "tanh": np.tanh, "sigmoid": None}


def least_seconds(call: Callable[[], object]) -> float:
    """Return the least time of one call, from batches of 50."""
    least = float("inf")
    for _ in range(200):
        start = time.perf_counter()
        for _ in range(50):
            call()
        least = min(least, (time.perf_counter() - start) / 50)
    return least


def nanoseconds(function: Callable[[np.ndarray, np.ndarray], object], dtype: type) -> float:
    """Return the time of one element of ``function(x, out)``."""
    seconds = []
    for n in LENGTHS[dtype]:
        x = np.linspace(-8, 8, n, dtype=dtype)
        out = np.empty_like(x)
        seconds.append(least_seconds(lambda x=x, out=out: function(x, out)))
    return 1e9 * (seconds[1] - seconds[0]) / (LENGTHS[dtype][1] - LENGTHS[dtype][0])


def check(name: str, dtype: type) -> None:
    """Fail unless the kernel agrees with NumPy, so that no wrong result is timed."""
    x = np.linspace(-8, 8, 1001, dtype=dtype)
    want = 1 / (1 + np.exp(-x)) if name == "sigmoid" else NUMPY[name](x)
    np.testing.assert_allclose(kernels.apply(name, x), want, rtol=8 * np.finfo(dtype).eps)


def main() -> None:
    isas = kernels.isas()
    print(f"| ns per element | {' | '.join(isas)} | NumPy |\n|---|{'---|' * (len(isas) + 1)}")
    for dtype in LENGTHS:
        for name, numpy_function in NUMPY.items():
            cells = []
            for isa in isas:
                kernels.set_isa(isa)
                check(name, dtype)
                cells.append(f"{nanoseconds(lambda x, out, name=name: kernels.apply(name, x, out), dtype):.2f}")
            if numpy_function is None:
                cells.append("")
            else:
                cells.append(f"{nanoseconds(lambda x, out, f=numpy_function: f(x, out=out), dtype):.2f}")
            print(f"| {name} {dtype.__name__} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
