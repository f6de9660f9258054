"""What this installation is and what it runs on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import numpy as np

from rnnfast import __version__
from rnnfast._native import kernels
from rnnfast.backend import get_backend
from rnnfast.threads import default_num_threads, get_num_threads

OPTIONAL = ("tqdm", "safetensors", "scikit-learn", "matplotlib", "tensorboardX", "onnx")


def show() -> None:
    """Print it, a line each."""
    rows = {
        "rnnfast": f"{__version__} in {Path(__file__).parents[1]}",
        "Python": f"{platform.python_version()} on {platform.machine()} ({platform.system()})",
        "NumPy": f"{np.__version__}, SciPy {_version('scipy')}",
        "optional": ", ".join(f"{name} {_version(name)}" for name in OPTIONAL),
        "processor": _processor(),
        "instruction set": f"{kernels.get_isa()} (available: {', '.join(kernels.isas())})",
        "threads": f"{get_num_threads()} ({default_num_threads()} by default; the machine has {os.cpu_count()} CPUs)",
        "backend": get_backend(),
    }
    for name, value in rows.items():
        print(f"{name + ':':<17}{value}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not there)"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
