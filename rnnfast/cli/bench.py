"""``bench``: how fast it is here. In a clone of the repository its benchmark, elsewhere a short check."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

EXAMPLES = """\
examples:
  python -m rnnfast bench                              in a clone: the benchmark of the repository
  python -m rnnfast bench --filter "LSTM B1" --threads 1
  python -m rnnfast bench --quick                      the short check, which needs nothing but the package

In a clone all other options are those of 'python -m bench --help'.
"""
STEPS, BATCH, UNITS = 50, 16, 128


def add_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add this command's options."""
    parser.add_argument("--quick", action="store_true", help="the short check in a clone too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured here")


def run(args: argparse.Namespace) -> int:
    """Measure; return the exit code."""
    if not args.quick and has_repository():
        main = importlib.import_module("bench.__main__").main
        code: int = main([*args.others, *(["--json", str(args.json)] if args.json else [])])
        return code
    if args.others:
        from rnnfast.cli.common import UserError

        raise UserError(f"{' '.join(args.others)}: options of the benchmark in a clone of the repository")
    return quick(args.json)


def has_repository() -> bool:
    """Return whether the benchmark of the repository can be imported."""
    spec = find_spec("bench")
    return spec is not None and any((Path(p) / "contenders.py").exists() for p in spec.submodule_search_locations or ())


def quick(output: Path | None) -> int:
    """Time a training step of each kind of layer on the native and the reference path, after proof that they agree."""
    import numpy as np

    from rnnfast._native import kernels
    from rnnfast.demos.speed import compare
    from rnnfast.losses import MeanSquared
    from rnnfast.tasks.networks import RECURRENT, build
    from rnnfast.threads import get_num_threads

    threads = get_num_threads()
    print(f"{kernels.get_isa()}, {threads} thread{'s' * (threads > 1)}; a training step of {BATCH} x {STEPS} steps")
    x = np.random.default_rng(0).standard_normal((BATCH, STEPS, UNITS)).astype(np.float32)
    y = np.zeros((BATCH, STEPS, 8), np.float32)
    results: list[dict[str, Any]] = []
    for cell in RECURRENT:
        found = compare(build(UNITS, 8, cell=cell, hidden=UNITS), MeanSquared(), x, y)
        print(
            f"{cell:<5} {UNITS} units: {found.native * 1e3:.2f} ms, reference {found.reference * 1e3:.2f} ms "
            f"({found.reference / found.native:.1f} times); they agree to {found.difference:.0e}"
        )
        name = f"{cell.upper()} training T{STEPS} B{BATCH} H{UNITS}"
        results.append(
            {"name": name, "threads": threads, "samples": {"native": [found.native], "reference": [found.reference]}}
        )
    if output is not None:
        output.write_text(json.dumps({"results": results}, indent=1) + "\n", encoding="utf-8")
    return 0
