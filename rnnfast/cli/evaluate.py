"""``evaluate``: measure a model that ``train`` wrote on data whose answers are known."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EXAMPLES = """\
examples:
  python -m rnnfast evaluate sales.safetensors sales-2024.csv
  python -m rnnfast evaluate reviews.npz test.csv --json
  python -m rnnfast evaluate images.npz test-images.npy --answers test-labels.npy
  python -m rnnfast evaluate writer.npz chapter.txt
"""


def add_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add this command's options."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that 'train' wrote")
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="data with the columns that 'train' read; - reads a pipe"
    )
    parser.add_argument("--answers", type=Path, metavar="FILE", help="labels or targets, where DATA is a .npy file")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def run(args: argparse.Namespace) -> int:
    """Measure; return the exit code."""
    from rnnfast.cli.common import load
    from rnnfast.cli.tasks import MODULES, TASKS

    model, task = load(args.model, tuple(TASKS), "evaluate")
    module = importlib.import_module(f"rnnfast.cli.tasks.{MODULES[task['kind']]}")
    found: dict[str, Any] = module.evaluate(model, task, args)
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
        return 0
    width = max(len(name) for name, value in found.items() if not isinstance(value, dict))
    for name, value in found.items():
        if isinstance(value, dict):
            _print_table(name, value)
        else:
            print(f"{name:<{width}}  {value:.4g}" if isinstance(value, float) else f"{name:<{width}}  {value:,}")
    return 0


def _print_table(title: str, rows: dict[str, dict[str, Any]]) -> None:
    """Print rows that have the same columns."""
    columns = list(next(iter(rows.values())))
    cells = [[title, *columns]]
    for name, row in rows.items():
        cells.append([name, *(f"{row[c]:.4g}" if isinstance(row[c], float) else f"{row[c]:,}" for c in columns)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print()
    for line in cells:
        first = line[0].ljust(widths[0])
        print("  ".join([first, *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]).rstrip())
