"""What this installation is and what it runs on."""

from __future__ import annotations

import platform

import numpy as np

from rnnfast import __version__
from rnnfast._native import kernels
from rnnfast.backend import get_backend
from rnnfast.threads import get_num_threads


def show() -> None:
    """Print it, a line each."""
    rows = {
        "rnnfast": __version__,
        "Python": f"{platform.python_version()} on {platform.machine()} ({platform.system()})",
        "NumPy": np.__version__,
        "instruction set": f"{kernels.get_isa()} (available: {', '.join(kernels.isas())})",
        "threads": get_num_threads(),
        "backend": get_backend(),
    }
    for name, value in rows.items():
        print(f"{name + ':':<17}{value}")
