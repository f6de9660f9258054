"""A file or folder for a JSON document and named arrays: safetensors or NumPy's .npz, told apart by their first bytes.

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

from rnnfast.checks import check_path
from rnnfast.io import folder, npz, safetensors, strict_json
from rnnfast.io.errors import ModelFileError
from rnnfast.log import logger

Arrays = dict[str, NDArray[Any]]

_PICKLE = (
    "; a pickle can run anything and is not read: in torch, safetensors.torch.save_file(module.state_dict(), path)"
)
_FOREIGN = {
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt", ".pkl"), _PICKLE),
    ".onnx": "; import_onnx reads ONNX",
    ".keras": "; from_keras reads a model of Keras",
    ".h5": "; from_keras reads a model of Keras, read_keras_weights weights alone",
}

FORMATS = {".safetensors": safetensors, ".npz": npz}


def target_of(path: str | os.PathLike[str], name: str = "path") -> Path:
    """Return where `write` puts a file asked for as ``path``; ``name`` is what the user calls the argument.

    Raises
    ------
    TypeError
        If it is no path.
    ValueError
        If the suffix is of neither format, or is .safetensors without that package.
    """
    target = Path(check_path(name, path))
    if not target.name:
        raise ValueError(f"{name} must name a file; got {os.fspath(path)!r}")
    here = find_spec("safetensors") is not None
    if not target.suffix:
        return target.with_name(target.name + (".safetensors" if here else ".npz"))
    if target.suffix not in FORMATS:
        raise ValueError(f"{name} must end in {' or '.join(FORMATS)}, or have no suffix; got {target.name!r}")
    if target.suffix == ".safetensors" and not here:
        raise ValueError("a .safetensors file needs the package safetensors (pip install safetensors); or use .npz")
    return target


def write(
    path: str | os.PathLike[str],
    document: dict[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    as_folder: bool = False,
) -> Path:
    """Write a document and arrays to ``path``, whole or not at all, and return the name of the file or folder.

    Raises
    ------
    OSError
        If it cannot be written.
    TypeError, ValueError
        If ``path`` is no path, the document is not JSON, an array is not numeric, or the suffix is unknown.
    """
    check_path("path", path)
    if len(arrays) >= strict_json.MAX_ARRAYS:
        raise ValueError(f"there must be fewer than {strict_json.MAX_ARRAYS} arrays; got {len(arrays)}")
    plain = {name: _plain(name, array) for name, array in arrays.items()}
    if as_folder:
        target = Path(path)
        suffix = ".npz" if find_spec("safetensors") is None else ".safetensors"
        folder.write(target, suffix, FORMATS[suffix].write, document, plain)
        return target
    target = target_of(path)
    text = strict_json.dumps(document, "document")
    FORMATS[target.suffix].write(target, text, plain)
    logger.debug("wrote %d arrays to %s", len(plain), target)
    return target


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Arrays]:
    """Return the document and the arrays of what `write` made; a missing suffix is added where needed.

    Raises
    ------
    TypeError
        If ``path`` is no path.
    OSError
        If it cannot be read.
    ModelFileError
        If it is empty, damaged, or no such file.
    """
    source = Path(check_path("path", path))
    if not source.suffix and not source.exists():
        source = next((s for s in map(source.with_suffix, FORMATS) if s.exists()), source)
    try:
        if source.is_dir():
            return folder.read(source, dict.fromkeys(FORMATS, _read_file))
        text, arrays = _read_file(source)
        document = strict_json.loads(text, "its description")
        if type(document) is not dict:
            raise ModelFileError("its description is not an object")
    except ModelFileError as error:
        raise ModelFileError(f"{source}: {error}{_FOREIGN.get(source.suffix, '')}") from None
    logger.debug("read %d arrays from %s", len(arrays), source)
    return document, arrays


def _read_file(path: Path) -> tuple[str | bytes, Arrays]:
    with open(path, "rb") as file:
        head = file.read(4)
    if not head:
        raise ModelFileError("it is empty")
    return npz.read(path) if head == npz.MAGIC else safetensors.read(path)


def _plain(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return the array contiguous and little-endian: writers take the memory as it lies."""
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}")
    return np.require(array, array.dtype.newbyteorder("<"), "C")
