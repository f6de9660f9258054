"""``inspect``: what is in a model file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EXAMPLES = """\
examples:
  python -m rnnfast inspect reviews.npz
  python -m rnnfast inspect reviews.npz --parameters
"""


def add_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add this command's options."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file of save_model, a checkpoint or of 'train'")
    parser.add_argument("--parameters", action="store_true", help="list every parameter with its values' range")


def run(args: argparse.Namespace) -> int:
    """Show it; return the exit code."""
    from rnnfast.io import container, load_model
    from rnnfast.layers.summary import spell_bytes, spell_shape, table

    model, extra = load_model(args.model, with_extra=True)
    document, _ = container.read(args.model)
    path = (
        args.model
        if args.model.exists()
        else next(p for s in container.FORMATS if (p := args.model.with_suffix(s)).exists())
    )
    print(f"file    {path} ({spell_bytes(path.stat().st_size)})")
    print(f"format  {document['format']}, version {document['version']}")
    for name, value in _told(extra):
        print(f"{name:<7} {value}")
    print(f"\n{table(model)}")
    if args.parameters:
        rows = [["parameter", "shape", "type", "least", "greatest", "deviation"]]
        for name, array in model.parameters().items():
            numbers = (array.min(), array.max(), array.std()) if array.size else (0, 0, 0)
            rows.append([name, spell_shape(array.shape), str(array.dtype), *(f"{value:.4g}" for value in numbers)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print()
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _told(extra: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what a file keeps beside the network, in a few words each."""
    task = extra.get("task")
    if type(task) is not dict:
        return [("beside", ", ".join(extra))] if extra else []
    found = [("task", str(task.get("kind")))]
    if "columns" in task:
        found.append(("columns", ", ".join(map(str, task["columns"]))))
    if "frame" in task:
        frame = task["frame"]
        found.append(("steps", f"reads {frame['window']}, forecasts {frame['horizon']}"))
    if "classes" in task:
        names = [str(name) for name in task["classes"]]
        found.append(("labels", ", ".join(names[:12]) + (f", ... ({len(names)})" if len(names) > 12 else "")))
    vocabulary = task.get("vocabulary") or (task.get("texts") or {}).get("vocabulary")
    if vocabulary:
        found.append(("tokens", f"{len(vocabulary['tokens']):,} of kind {vocabulary['kind']}"))
    return found
