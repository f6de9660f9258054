"""What is built and shipped: runs on any CPU of its family, exports nothing, and says what is missing."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rnnfast
from rnnfast import _native

ROOT = Path(__file__).resolve().parents[1]
COMPILED = sorted(p for p in Path(_native.__path__[0]).iterdir() if p.suffix in {".so", ".pyd"})
VECTOR = re.compile(r"\tv[a-z0-9]+ ")  # every AVX instruction, and none of the older ones, starts with a v


def tool(name):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def output(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, **options).stdout


def files_of_functions(objdump, module):
    """Return the C file of every local function, by address: file symbols stand before the symbols of their file."""
    files, current = {}, ""
    for line in output(objdump, "--syms", str(module)).splitlines():
        words = line.split()
        if " df *ABS*" in line:
            current = words[-1] if len(words) > 5 else ""
        elif " F .text" in line and " l " in line:
            files[int(words[0], 16)] = current
    return files


def vector_users(objdump, module):
    """Return {function: the widest registers it uses} for all functions with AVX instructions, and their number."""
    files, users, name, count = files_of_functions(objdump, module), {}, "", 0
    for line in output(objdump, "--disassemble", "--no-show-raw-insn", str(module)).splitlines():
        header = re.match(r"([0-9a-f]+) <(.+)>:$", line)
        if header:
            name = f"{files.get(int(header[1], 16), '')}:{header[2]}"
            count += 1
        elif VECTOR.search(line):
            width = 512 if "%zmm" in line or "%k" in line else 256
            users[name] = max(users.get(name, 0), width)
    return users, count


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.uname().machine != "x86_64", reason="x86-64 Linux only")
@pytest.mark.parametrize("module", COMPILED, ids=lambda p: p.name.split(".")[0])
def test_newer_instructions_stay_in_their_own_objects(module):
    users, count = vector_users(tool("objdump"), module)
    assert count > 10
    assert not [name for name in users if "avx" not in name]
    assert not [name for name, width in users.items() if width == 512 and "avx512" not in name]
    if module.name.startswith("kernels."):
        assert {256, 512} == set(users.values())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
@pytest.mark.parametrize("module", COMPILED, ids=lambda p: p.name.split(".")[0])
def test_nothing_but_the_entry_is_exported(module):
    lines = output(tool("nm"), "--dynamic", "--defined-only", str(module)).splitlines()
    assert [line.split()[-1] for line in lines] == [f"PyInit_{module.name.split('.')[0]}"]


def test_every_compiled_module_has_a_stub():
    sources = {p.stem for p in (ROOT / "rnnfast" / "_native").glob("*.pyx")}
    assert sources == {p.name.split(".")[0] for p in COMPILED}
    assert {p.stem for p in (ROOT / "rnnfast" / "_native").glob("*.pyi")} == sources


def test_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project and "version" in project["dynamic"]
    try:
        installed = importlib.metadata.version("rnnfast")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("rnnfast is used in place, not installed")
    assert installed == rnnfast.__version__


def test_only_numpy_and_scipy_are_needed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {re.match(r"\w+", line)[0] for line in project["dependencies"]} == {"numpy", "scipy"}


@pytest.mark.parametrize("compiler", ["/nonexistent/cc", "false"])
def test_a_missing_compiler_is_one_clear_sentence(tmp_path, compiler):
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    for name in ("csrc", "rnnfast"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    found = subprocess.run(
        [sys.executable, "setup.py", "build_ext"],
        cwd=tmp_path,
        env={**os.environ, "CC": compiler},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode != 0
    assert "Traceback" not in found.stderr
    assert found.stderr.strip().splitlines()[-1].startswith("rnnfast needs a working C compiler")


def test_a_clone_that_was_not_built_says_so(tmp_path):
    shutil.copytree(
        ROOT / "rnnfast", tmp_path / "rnnfast", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    )
    found = subprocess.run(
        [sys.executable, "-c", "from rnnfast._native import kernels"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "pip install ." in found.stderr.strip().splitlines()[-1]
