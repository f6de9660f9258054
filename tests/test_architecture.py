"""Arrows go one way: every import in the package, cimports included, leads to the same floor or a lower one."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "rnnfast"

# From the ground up; a name stands for a module or for a folder with all it holds.
FLOORS = (
    ("backend", "caches", "checks", "elsewhere", "log", "threads", "parameters", "rows", "window"),
    ("_native", "cells", "scans", "reference"),
    ("engine", "initializers", "limits"),
    ("direct",),
    ("layers",),
    ("stream",),
    (
        "models",
        "graph",
        "losses",
        "clipping",
        "optimizers",
        "schedules",
        "metrics",
        "data",
        "decoding",
        "gates",
        "generation",
        "gradient_check",
    ),
    ("crf_loss", "ctc", "ctc_decoding"),
    ("diagnostics",),
    ("io",),
    ("callbacks", "loggers", "training", "trainer"),
    ("plotting", "tasks"),
    ("sklearn", "cli", "demos", "__main__", "__init__"),
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}

# The reference path is read beside a textbook: nothing stands between it and NumPy.
REFERENCE_MAY_IMPORT = {"numpy", "rnnfast.cells", "rnnfast.checks", "rnnfast.reference", "rnnfast.window"}
# Imported within the function that needs them, so that `import rnnfast` stays cheap and they stay optional.
ON_USE_ONLY = {
    "h5py",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "sacrebleu",
    "safetensors",
    "scipy",
    "sklearn",
    "tensorboardX",
    "torch",
    "tqdm",
}

CYTHON_IMPORT = re.compile(
    r"^(?P<indent>[ \t]*)(?:from\s+(?P<source>[\w.]+)\s+)?c?import\s+(?P<names>\([^)]*\)|[^#\n]+)", re.MULTILINE
)


def modules():
    return sorted(p for p in PACKAGE.rglob("*") if p.suffix in {".py", ".pyx", ".pxd", ".pyi"})


def name_of(path):
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def place_of(module):
    """Return the name under which FLOORS lists a module: the part after ``rnnfast``."""
    return module.split(".")[1]


def resolve(module, is_folder, level, source):
    """Return the absolute name of what ``from ...source import`` in ``module`` means."""
    if not level:
        return source
    base = module.split(".")
    base = base[: len(base) - level + (1 if is_folder else 0)]
    return ".".join([*base, source] if source else base)


def split_package(source, names):
    """``from rnnfast import a`` leads to ``rnnfast.a`` where that is a module, else to the package's front door."""
    if source != "rnnfast":
        return [source]
    return [f"rnnfast.{n}" if (PACKAGE / n).is_dir() or (PACKAGE / f"{n}.py").exists() else source for n in names]


def python_imports(text, module, is_folder):
    """Return (imported module, at the top of the file?) for Python source."""
    found = []
    tree = ast.parse(text)
    inner = {n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = resolve(module, is_folder, node.level, node.module or "")
            targets = split_package(source, [alias.name for alias in node.names])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {
            "import_module",
            "__import__",
        }:
            targets = [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
        else:
            continue
        found += [(target, node not in inner) for target in targets]
    return found


def cython_imports(text, module, is_folder):
    """Return the same for Cython source, where ``cimport`` counts as ``import``."""
    found = []
    for match in CYTHON_IMPORT.finditer(text):
        names = [n.split(" as ")[0].strip(" ()\\\n") for n in match["names"].split(",")]
        if match["source"] is None:
            targets = names
        else:
            source = match["source"].lstrip(".")
            level = len(match["source"]) - len(source)
            targets = split_package(resolve(module, is_folder, level, source), names)
        found += [(target, not match["indent"]) for target in targets]
    return found


def imports(path):
    reader = python_imports if path.suffix in {".py", ".pyi"} else cython_imports
    return reader(path.read_text(), name_of(path), path.stem == "__init__")


def is_under(module, roots):
    return any(module == root or module.startswith(root + ".") for root in roots)


def complaints(module, found):
    """Return a sentence for each import in ``found`` that ``module`` must not make."""
    place = place_of(module)
    wrong = []
    for target, at_top in found:
        top = target.split(".")[0]
        if top == "rnnfast":
            goal = place_of(target) if "." in target else "__init__"
            if FLOOR_OF.get(goal, len(FLOORS)) > FLOOR_OF[place]:
                wrong.append(f"{module} imports {target}, which stands above it")
        allowed = top in sys.stdlib_module_names or is_under(target, REFERENCE_MAY_IMPORT)
        if place == "reference" and not allowed:
            wrong.append(f"{module} imports {target}; the reference path imports NumPy only")
        if top == "matplotlib" and FLOOR_OF[place] < FLOOR_OF["plotting"]:
            wrong.append(f"{module} imports {target}; nothing below plotting does")
        if at_top and top in ON_USE_ONLY and place not in {"_native", top}:
            wrong.append(f"{module} imports {target} at the top; it must be imported on use")
    return wrong


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    module = name_of(path)
    assert place_of(module) in FLOOR_OF, f"give {module} a place in FLOORS"
    assert not complaints(module, imports(path))


FORBIDDEN = [
    ("layers.dense", "from rnnfast.trainer import Trainer"),
    ("layers.dense", "from ..trainer import Trainer"),
    ("layers.dense", "def f():\n    import rnnfast.trainer"),
    ("layers.dense", "from rnnfast import Trainer"),
    ("layers.dense", "import importlib\nimportlib.import_module('rnnfast.models')"),
    ("engine", "import rnnfast.layers.dense"),
    ("engine", "from . import layers"),
    ("checks", "from rnnfast.parameters import Parameters\nimport rnnfast.engine"),
    ("reference.lstm", "import scipy.special"),
    ("reference.lstm", "from rnnfast.engine import run"),
    ("reference.lstm", "from rnnfast._native import kernels"),
    ("trainer", "def f():\n    import matplotlib.pyplot"),
    ("optimizers", "import scipy.linalg"),
    ("training.progress", "from tqdm import tqdm"),
]
ALLOWED = [
    ("layers.dense", "from rnnfast.layers.base import Layer\nfrom .base import Layer\nfrom rnnfast import checks"),
    ("reference.lstm", "from __future__ import annotations\nimport numpy as np\nfrom rnnfast.checks import check_real"),
    ("trainer", "from rnnfast.layers import LSTM\nfrom rnnfast import checks"),
    ("io.npz", "def f():\n    import safetensors.numpy"),
    ("__init__", "import rnnfast.trainer"),
]
FORBIDDEN_CYTHON = [
    ("_native.unroll", "from rnnfast.engine cimport run"),
    ("_native.unroll", "from ..layers import base"),
    ("_native.unroll", "cimport rnnfast.engine"),
    ("_native.unroll", "def f():\n    from rnnfast.layers.base import Layer"),
]


@pytest.mark.parametrize(("module", "text"), FORBIDDEN)
def test_the_rule_sees_arrows_that_run_back(module, text):
    assert complaints("rnnfast." + module, python_imports(text, "rnnfast." + module, False))


@pytest.mark.parametrize(("module", "text"), FORBIDDEN_CYTHON)
def test_the_rule_sees_cimports(module, text):
    assert complaints("rnnfast." + module, cython_imports(text, "rnnfast." + module, False))


@pytest.mark.parametrize(("module", "text"), ALLOWED)
def test_the_rule_lets_good_imports_pass(module, text):
    assert not complaints("rnnfast." + module, python_imports(text, "rnnfast." + module, False))


def test_cython_reads_its_imports():
    text = "from rnnfast._native.kernels cimport ops, parallel\ncimport numpy as cnp\nfrom .blas cimport gemm  # why\n"
    assert cython_imports(text, "rnnfast._native.unroll", False) == [
        ("rnnfast._native.kernels", True),
        ("numpy", True),
        ("rnnfast._native.blas", True),
    ]


def test_c_side_knows_no_python():
    wrong = [
        p.name for p in sorted((ROOT / "csrc").rglob("*")) if p.suffix in {".c", ".h"} and "Python.h" in p.read_text()
    ]
    assert not wrong


def test_one_file_binds_the_c_header_and_one_the_blas():
    def users(word):
        return {p.stem for p in (PACKAGE / "_native").glob("*.p[yx][xd]") if word in p.read_text()}

    assert users('extern from "rnnfast.h"') == {"kernels"}
    assert users("cimport scipy") | users("scipy.linalg.cython_blas cimport") <= {"blas"}
