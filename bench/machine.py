"""Where the numbers were taken."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy


def describe() -> dict[str, Any]:
    """Return the processor, the instruction set in force, the CPUs given to this process, and versions."""
    import rnnfast
    from rnnfast._native import kernels
    from rnnfast.threads import default_num_threads

    return {
        "cpu": _cpu(),
        "isa": kernels.get_isa(),
        "cpus": default_num_threads(),
        "busy": busy(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "rnnfast": rnnfast.__version__,
    }


def busy(seconds: float = 0.5) -> float:
    """Return how many CPUs others keep busy now; times taken beside them are too long, with several threads by far."""
    before, start = _ticks(), time.perf_counter()
    time.sleep(seconds)
    return round((_ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.perf_counter() - start), 2)


def _ticks() -> int:
    """Return the clock ticks in which CPUs did anything at all, since the machine started; 0 where nobody says so."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _idle, _waiting, *rest = map(int, file.readline().split()[1:9])
    except (OSError, ValueError):
        return 0
    return user + nice + system + sum(rest)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
