"""A document and arrays as NumPy's .npz: a zip archive of .npy members, stored as they are, without pickle.

``numpy.load`` reads these files; `read` takes only what `write` makes, so that no archive can ask for more memory than
it has bytes or for anything to be executed. The archive's checksums tell damage.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from rnnfast.io import strict_json
from rnnfast.io.atomic import atomic_write
from rnnfast.io.errors import ModelFileError

MAGIC = b"PK\x03\x04"
_END = 22 + 65535  # the record at the end of an archive, with the longest comment
# What NumPy writes before an array of plain numbers: a dict, which is not evaluated but must be of this form.
_HEADER = re.compile(
    rb"\{'descr': '([<|][biuf][1248])', 'fortran_order': False, 'shape': \(((?:\d{1,18}, )*\d{1,18},?|)\), \} *\n"
)
DOCUMENT = "rnnfast.json"
_HEAD = 256  # more than NumPy writes before the bytes of a document


def write(path: Path, text: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the document and the contiguous arrays."""
    document = np.frombuffer(text.encode("ascii"), np.uint8)
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in {DOCUMENT: document, **arrays}.items():
            with archive.open(zipfile.ZipInfo(name + ".npy"), "w", force_zip64=True) as member:
                npy.write_array(member, array, version=(1, 0), allow_pickle=False)


def read(path: Path) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """Return the document's text and the arrays, or raise ``ModelFileError``."""
    with open(path, "rb") as file:
        try:
            _check_end(file, path.stat().st_size)
            with zipfile.ZipFile(file) as archive:
                arrays = _members(archive, path.stat().st_size)
        except ModelFileError:
            raise
        except Exception as error:
            # The archive and its headers are parsed by others, who raise whatever came to hand.
            raise ModelFileError(f"it is no valid .npz file: {error}") from None
    document = arrays.pop(DOCUMENT, None)
    if document is None or document.dtype != np.uint8 or document.ndim != 1:
        raise ModelFileError(f"it has no {DOCUMENT}: not a file of rnnfast")
    return document.tobytes(), arrays


def _check_end(file: Any, size: int) -> None:
    """Refuse a list of members that is too long, before somebody reads it."""
    file.seek(max(0, size - _END))
    tail = file.read(_END)
    at = tail.rfind(b"PK\x05\x06")
    length = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    if length > 128 * strict_json.MAX_ARRAYS:
        raise ModelFileError(f"its list of members is {length} bytes, more than {strict_json.MAX_ARRAYS} of them take")
    file.seek(0)


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    members = archive.infolist()
    if len(members) > strict_json.MAX_ARRAYS:
        raise ModelFileError(f"it must have at most {strict_json.MAX_ARRAYS} members; got {len(members)}")
    stored = all(m.compress_type == zipfile.ZIP_STORED and m.compress_size == m.file_size for m in members)
    if not stored or sum(m.file_size for m in members) > size:
        raise ModelFileError("its members must be stored as they are")
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name == member.filename or name in arrays:
            raise ModelFileError(f"its member {member.filename!r} is no array, or comes twice")
        if name == DOCUMENT and member.file_size > strict_json.MAX_BYTES + _HEAD:
            raise ModelFileError(f"its description must have at most {strict_json.MAX_BYTES} bytes")
        with archive.open(member) as file:
            arrays[name] = _array(file, name, member.file_size)
    return arrays


def _array(file: Any, name: str, size: int) -> NDArray[Any]:
    start = file.read(10)
    if start[:8] != b"\x93NUMPY\x01\x00" or len(start) < 10:
        raise ModelFileError(f"array {name!r} is not in version 1.0 of the format")
    text = file.read(int.from_bytes(start[8:], "little"))
    header = _HEADER.fullmatch(text)
    if header is None:
        raise ModelFileError(f"array {name!r} must hold plain numbers in C order; got {text[:80]!r}")
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(n) for n in header[2].replace(b",", b" ").split())
    if prod(shape) * dtype.itemsize != size - len(start) - len(text):
        raise ModelFileError(f"array {name!r} of shape {shape} does not fit its {size} bytes")
    return np.frombuffer(file.read(), dtype).reshape(shape)
