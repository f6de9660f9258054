"""Importing is cheap: measured against NumPy's own import, and by what it does not load."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import rnnfast

ROOT = Path(__file__).resolve().parents[1]
PAIRS = 9
CLOCK = "import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
HEAVY = (
    "scipy.linalg",
    "matplotlib",
    "tqdm",
    "onnx",
    "onnxruntime",
    "h5py",
    "safetensors",
    "torch",
    "sklearn",
    "asyncio",
)
LOADED = f"; import sys; print([name for name in {HEAVY!r} if name in sys.modules])"
BUILD = (
    "import numpy as np, rnnfast as rf; "
    "model = rf.Sequential(rf.LSTM(3, 4, num_layers=2), rf.GRU(4, 4), rf.RNN(4, 4), rf.Dense(4, 2)); "
    "(y, _), pullback = model.forward(np.zeros((2, 5, 3))); pullback(y, {})"
)


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_import_takes_at_most_half_again_as_long_as_numpy():
    times = {"numpy": [], "rnnfast": []}
    for module in times:
        run(CLOCK.format(module=module))  # once for the caches of the disk and of bytecode
    for _ in range(PAIRS):
        for module, samples in times.items():
            samples.append(float(run(CLOCK.format(module=module))))
    # Noise only ever adds: either statistic alone is enough to show that the cost is not there.
    ratios = [reduce(times["rnnfast"]) / reduce(times["numpy"]) for reduce in (min, statistics.median)]
    assert min(ratios) <= 1.5, times


@pytest.mark.parametrize("code", ["import rnnfast", BUILD], ids=["import", "layers"])
def test_nothing_heavy_is_loaded(code):
    assert run(code + LOADED) == "[]"


def test_the_check_sees_what_is_loaded():
    assert run("import scipy.linalg" + LOADED) == "['scipy.linalg']"


def test_no_module_takes_the_place_of_what_it_holds():
    """Loading ``rnnfast.name`` binds the module to that name of the package, before anyone asks for what it holds."""
    assert [home for home, names in rnnfast._HOMES.items() if home in names] == []


def test_every_public_name_is_there_and_typed():
    assert len(set(rnnfast.__all__)) == len(rnnfast.__all__)
    assert [name for name in rnnfast.__all__ if getattr(rnnfast, name, None) is None] == []
    tree = ast.parse((ROOT / "rnnfast" / "__init__.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    typed = {alias.asname: node.module for node in imports for alias in node.names if alias.asname}
    assert set(typed) == set(rnnfast.__all__) - {"__version__"}
    assert [n for n, home in typed.items() if home != "rnnfast" and f"rnnfast.{rnnfast._HOME[n]}" != home] == []


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'LTSM'"):
        rnnfast.LTSM  # noqa: B018
