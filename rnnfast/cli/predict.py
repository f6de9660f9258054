"""``predict``: ask a model that ``train`` wrote about new data."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """\
examples:
  python -m rnnfast predict sales.safetensors sales.csv                   the steps after the last row
  python -m rnnfast predict reviews.npz new.csv --output answers.csv      a label for each row
  python -m rnnfast predict images.npz images.npy --output answers.npy
  tail -n 500 load.csv | python -m rnnfast predict load.npz -
  python -m rnnfast predict tagger.npz sentences.jsonl --format jsonl
"""


def add_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add this command's options."""
    from rnnfast.checks import check_number
    from rnnfast.cli.common import option

    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that 'train' wrote")
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="new data, with the columns that 'train' read; - reads a pipe"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="FILE.csv, .jsonl or .npy instead of the terminal")
    parser.add_argument("--format", choices=("csv", "jsonl", "npy"), help="of the answers (by the name of the file)")
    parser.add_argument(
        "--coverage",
        type=option(check_number, "--coverage", 0, 1, above=True, below=True),
        metavar="C",
        help="of the intervals of a forecast (0.9)",
    )
    parser.add_argument("--future", type=Path, metavar="FILE", help="columns known ahead, of the steps to be forecast")


def run(args: argparse.Namespace) -> int:
    """Predict; return the exit code."""
    from rnnfast.cli import files
    from rnnfast.cli.common import UserError, load
    from rnnfast.cli.tasks import MODULES

    kinds = ("forecast", "classify", "regress", "tag")
    model, task = load(args.model, kinds, "predict")
    if task["kind"] != "forecast" and (args.coverage is not None or args.future is not None):
        raise UserError(f"--coverage and --future are for forecasts; {args.model} is of the task {task['kind']!r}")
    module = importlib.import_module(f"rnnfast.cli.tasks.{MODULES[task['kind']]}")
    files.write(module.predict(model, task, args), args.output, args.format)
    return 0
