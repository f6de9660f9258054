"""What the tests of demonstrations share: the command line, called in this process, and data that may be there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from rnnfast.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("RNNFAST_DATA", ROOT.parent / "shared" / "data"))


def data(name):
    """Return the path of a file or folder of real data, or skip the test."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there; set RNNFAST_DATA to the folder that has it")
    return path


def run(capsys, *arguments):
    """Return the exit code and what was printed to either stream."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def run_demo(capsys, *arguments):
    """Return the same of ``demo`` with these arguments."""
    return run(capsys, "demo", *arguments)


def number(pattern, text):
    """Return what stands in the parentheses of a pattern, which must be found."""
    found = re.search(pattern, text)
    assert found, text
    return float(found[1].replace(",", ""))


def check_one_line(capsys, arguments, message, folder):
    """Check that a demonstration that goes wrong says why in one line, and leaves nothing in the working folder."""
    before = set(os.listdir(folder))
    code, out, err = run_demo(capsys, *arguments)
    assert code == 1 and message in err
    assert err.startswith("rnnfast: error: ") and err.count("\n") == 1
    assert "%" not in out and set(os.listdir(folder)) == before
