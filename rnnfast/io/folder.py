"""A document and arrays as a folder: config.json, which people can read, and a file of weights that it names.

The name of the weights has their checksum in it, so that new weights never take the place of those that the
config.json at hand is about: they are written beside them, config.json is replaced in one step, and only then the old
ones go. Whenever the power fails, the folder holds a whole model, the old or the new one.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from rnnfast.io import strict_json
from rnnfast.io.atomic import atomic_write
from rnnfast.io.errors import ModelFileError
from rnnfast.io.safetensors import checksum

CONFIG = "config.json"
_WEIGHTS = re.compile(r"weights-[0-9a-f]{8}\.(safetensors|npz)")
_INSIDE = '{"format":"rnnfast weights"}'  # the weights' own document: config.json says the rest


def write(
    folder: Path,
    suffix: str,
    writer: Callable[[Path, str, Mapping[str, NDArray[Any]]], None],
    document: dict[str, Any],
    arrays: Mapping[str, NDArray[Any]],
) -> None:
    """Write a folder, or what has changed in one; ``writer`` writes a file of weights of that suffix."""
    name = f"weights-{checksum(_INSIDE, arrays):08x}{suffix}"
    document = {**document, "weights": name}
    strict_json.dumps(document, "document")  # the limits
    folder.mkdir(exist_ok=True)
    writer(folder / name, _INSIDE, arrays)
    with atomic_write(folder / CONFIG) as file:
        file.write((json.dumps(document, allow_nan=False, indent=1) + "\n").encode("ascii"))
    for other in folder.iterdir():
        if _WEIGHTS.fullmatch(other.name) and other.name != name:
            with contextlib.suppress(FileNotFoundError):
                other.unlink()


def read(
    folder: Path, readers: Mapping[str, Callable[[Path], tuple[str | bytes, dict[str, NDArray[Any]]]]]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the document and the arrays; ``readers`` read a file of weights, by suffix.

    Raises
    ------
    OSError
        If a file cannot be read.
    ModelFileError
        If it is no such folder, or a file in it is damaged.
    """
    config = folder / CONFIG
    if not config.is_file():
        raise ModelFileError(f"it is a folder without {CONFIG}")
    if config.stat().st_size > 2 * strict_json.MAX_BYTES:
        raise ModelFileError(f"its {CONFIG} is too long")
    document = strict_json.loads(config.read_bytes(), CONFIG, 2 * strict_json.MAX_BYTES)
    name = document.pop("weights", None) if type(document) is dict else None
    if type(name) is not str or not _WEIGHTS.fullmatch(name):
        raise ModelFileError(f"its {CONFIG} names no file of weights")
    if not (folder / name).is_file():
        raise ModelFileError(f"its {name} is missing")
    text, arrays = readers[Path(name).suffix](folder / name)
    if text not in (_INSIDE, _INSIDE.encode()):
        raise ModelFileError(f"its {name} is no file of weights")
    return document, arrays
