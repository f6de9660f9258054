"""Where the numbers were taken."""

from __future__ import annotations

import os
import platform
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
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "rnnfast": rnnfast.__version__,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
