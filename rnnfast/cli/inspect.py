"""``inspect``: what is in a model file."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

EXAMPLES = """\
examples:
  python -m rnnfast inspect reviews.npz
  python -m rnnfast inspect reviews.npz --parameters
"""


def add_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add this command's options."""
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="what 'convert' reads: a model, a checkpoint, .onnx, ..."
    )
    parser.add_argument("--parameters", action="store_true", help="list every parameter with its values' range")


def run(args: argparse.Namespace) -> int:
    """Show it; return the exit code."""
    from rnnfast.io import container, read_torch_safetensors, safetensors
    from rnnfast.io.conversion import READERS, read_any
    from rnnfast.layers.summary import spell_bytes, table

    path = _found(args.model, container.FORMATS)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    size = spell_bytes(sum(file.stat().st_size for file in files))
    if path.suffix == ".safetensors" and not safetensors.is_own(path):
        # Parameters alone do not tell what the model is.
        arrays = read_torch_safetensors(path)
        print(f"file    {path} ({size})\nformat  parameters by torch's names\n")
        _list(arrays)
        return 0
    model, extra = read_any(path)
    print(f"file    {path} ({size})")
    if path.suffix in READERS:
        print(f"format  {path.suffix.removeprefix('.')}")
    else:
        document, _ = container.read(path)
        print(f"format  {document['format']}, version {document['version']}")
    for name, value in _told(extra):
        print(f"{name:<7} {value}")
    print(f"\n{table(model)}")
    if args.parameters:
        print()
        _list(model.parameters())
    return 0


def _found(path: Path, suffixes: Iterable[str]) -> Path:
    """Return the path with the suffix that was left out."""
    return path if path.exists() else next((p for s in suffixes if (p := path.with_suffix(s)).exists()), path)


def _list(arrays: Mapping[str, Any]) -> None:
    """Print parameters, one a line."""
    from rnnfast.layers.summary import spell_shape

    rows = [["parameter", "shape", "type", "least", "greatest", "deviation"]]
    for name, array in arrays.items():
        numbers = (array.min(), array.max(), array.std()) if array.size else (0, 0, 0)
        rows.append([name, spell_shape(array.shape), str(array.dtype), *(f"{value:.4g}" for value in numbers)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


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
