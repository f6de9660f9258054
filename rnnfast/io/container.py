"""One file for a JSON document and named arrays: safetensors or NumPy's .npz, told apart by their first bytes.

Either way the document travels in the same file: as safetensors metadata, or as an array of bytes in the .npz.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.io import npz, safetensors, strict_json
from rnnfast.io.errors import ModelFileError
from rnnfast.log import logger

Arrays = dict[str, NDArray[Any]]

FORMATS = {".safetensors": safetensors, ".npz": npz}


def target_of(path: str | os.PathLike[str]) -> Path:
    """Return where `write` puts a file asked for as ``path``.

    Raises
    ------
    ValueError
        If the suffix is of neither format, or is .safetensors without that package.
    """
    target = Path(path)
    if not target.name:
        raise ValueError(f"path must name a file; got {os.fspath(path)!r}")
    here = find_spec("safetensors") is not None
    if not target.suffix:
        return target.with_name(target.name + (".safetensors" if here else ".npz"))
    if target.suffix not in FORMATS:
        raise ValueError(f"path must end in {' or '.join(FORMATS)}, or have no suffix; got {target.name!r}")
    if target.suffix == ".safetensors" and not here:
        raise ValueError("a .safetensors file needs the package safetensors (pip install safetensors); or use .npz")
    return target


def write(path: str | os.PathLike[str], document: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Path:
    """Write a document and arrays to ``path``, whole or not at all, and return the name of the file.

    Raises
    ------
    OSError
        If it cannot be written.
    TypeError, ValueError
        If the document is not JSON, an array is not numeric, or the suffix is unknown.
    """
    target = target_of(path)
    text = strict_json.dumps(document, "document")
    plain = {name: _plain(name, array) for name, array in arrays.items()}
    FORMATS[target.suffix].write(target, text, plain)
    logger.debug("wrote %d arrays to %s", len(plain), target)
    return target


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Arrays]:
    """Return the document and the arrays of a file that `write` made; a missing suffix is added where needed.

    Raises
    ------
    OSError
        If it cannot be read.
    ModelFileError
        If it is empty, damaged, or no such file.
    """
    source = Path(path)
    if not source.suffix and not source.exists():
        source = next((s for s in map(source.with_suffix, FORMATS) if s.exists()), source)
    with open(source, "rb") as file:
        head = file.read(4)
    if not head:
        raise ModelFileError(f"{source} is empty")
    try:
        text, arrays = (npz if head == npz.MAGIC else safetensors).read(source)
        document = strict_json.loads(text, "its description")
        if type(document) is not dict:
            raise ModelFileError("its description is not an object")
    except ModelFileError as error:
        raise ModelFileError(f"{source}: {error}") from None
    logger.debug("read %d arrays from %s", len(arrays), source)
    return document, arrays


def _plain(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return the array contiguous and little-endian: writers take the memory as it lies."""
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}")
    return np.require(array, array.dtype.newbyteorder("<"), "C")
