"""A document and arrays as a safetensors file, through the package of that name; the document is metadata.

The format has no checksum, so a CRC-32 of document and arrays, eight hexadecimal digits and a space, goes before the
document. There is no second entry of metadata: the package writes several in an order of its own, another each time.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.io import strict_json
from rnnfast.io.atomic import atomic_write
from rnnfast.io.errors import ModelFileError

DOCUMENT = "rnnfast"
_MISSING = "reading it needs the package safetensors (pip install 'rnnfast[safetensors]')"


def write(path: Path, text: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the document and the arrays."""
    data = encode(arrays, {DOCUMENT: f"{checksum(text, arrays):08x} {text}"})
    with atomic_write(path) as file:
        file.write(data)


def encode(arrays: Mapping[str, NDArray[Any]], metadata: dict[str, str]) -> bytes:
    """Return arrays as the bytes of a file, proved by reading them back.

    The package writes the memory as it lies, whatever its strides and byte order, so arrays are made contiguous and
    little-endian first; and what it made is decoded and compared, for a file must not differ from the model in
    silence.

    Raises
    ------
    RuntimeError
        If the bytes do not decode to the arrays.
    """
    from safetensors.numpy import save

    plain = {name: np.require(array, array.dtype.newbyteorder("<"), "C") for name, array in arrays.items()}
    data: bytes = save(plain, metadata)
    decoded = {name: bytes(entry["data"]) for name, entry in _deserialize(data)}
    for name, array in plain.items():
        if decoded.get(name) != array.tobytes():
            raise RuntimeError(f"the package safetensors wrote something else than {name}")
    return data


def read_raw(path: Path) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    """Return name, dtype, shape and bytes of each tensor of any safetensors file, or raise ``ModelFileError``."""
    try:
        _check_header(path)
        if find_spec("safetensors") is None:
            raise ModelFileError(_MISSING)
        from safetensors import SafetensorError

        try:
            found = _deserialize(path.read_bytes())
        except (SafetensorError, TypeError, ValueError) as error:
            raise ModelFileError(f"it is no valid safetensors file: {error}") from None
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    return [(name, str(e["dtype"]), tuple(e["shape"]), bytes(e["data"])) for name, e in found]


def _deserialize(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    import safetensors

    package: Any = safetensors  # some releases of it say that they are typed, and are not
    found: list[tuple[str, dict[str, Any]]] = package.deserialize(data)
    return found


def read(path: Path) -> tuple[str, dict[str, NDArray[Any]]]:
    """Return the document's text and the arrays, or raise ``ModelFileError``."""
    _check_header(path)
    if find_spec("safetensors") is None:
        raise ModelFileError(_MISSING)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise ModelFileError(f"it is no valid safetensors file: {error}") from None
    if DOCUMENT not in metadata:
        raise ModelFileError(
            f"it has no {DOCUMENT!r} in its metadata: not a file of rnnfast (parameters by torch's names: "
            "read_torch_safetensors, convert)"
        )
    found, _, text = str(metadata[DOCUMENT]).partition(" ")
    if found != f"{checksum(text, arrays):08x}":
        raise ModelFileError("its checksum does not fit: the file is damaged")
    return text, arrays


def is_own(path: Path) -> bool:
    """Return whether a safetensors file has a description of rnnfast in it; errors as in `read`, with the path."""
    try:
        header = _check_header(path)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    metadata = header.get("__metadata__") if type(header) is dict else None
    return type(metadata) is dict and DOCUMENT in metadata


def _check_header(path: Path) -> Any:
    """Return the header of a file; refuse one that is cut short, huge, or loose JSON."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ModelFileError("it is neither a safetensors nor an .npz file, or is cut short")
        if length > 2 * strict_json.MAX_BYTES:
            raise ModelFileError(f"its header of {length} bytes is too long")
        header = file.read(length)
    found = strict_json.loads(header, "its header", 2 * strict_json.MAX_BYTES)
    if type(found) is dict and len(found) > strict_json.MAX_ARRAYS:
        raise ModelFileError(f"it must have at most {strict_json.MAX_ARRAYS} arrays; got {len(found)}")
    return found


def checksum(text: str, arrays: Mapping[str, NDArray[Any]]) -> int:
    """Return a CRC-32 of a text and of contiguous arrays with their names, dtypes and shapes."""
    total = zlib.crc32(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        total = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8).data, total)
    return total
