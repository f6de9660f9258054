"""Readers for text, columns of CSV files and IDX arrays (the format of MNIST)."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_choice

StrPath = str | os.PathLike[str]

_GZIP = b"\x1f\x8b"
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-"})
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


class CsvColumns(NamedTuple):
    """What `read_csv` found.

    Attributes
    ----------
    values : ndarray of float64, shape (T,) or (T, C)
        The numbers, NaN where a cell was missing or could not be read.
    names : tuple of str
        The columns' names, in the order of ``values``.
    unread : list of (int, str, str)
        Line, column name and text of every cell that holds something other than a number.
    """

    values: NDArray[np.float64]
    names: tuple[str, ...]
    unread: list[tuple[int, str, str]]


def read_text(path: StrPath) -> str:
    """Return the text of a UTF-8 file, without a byte order mark and with ``\\n`` at the ends of lines.

    A file that is packed by gzip is known by its content and unpacked.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is empty or not UTF-8; the message names the file and the byte. If its gzip wrapping is damaged.
    """
    data = Path(path).read_bytes()
    if data[:2] == _GZIP:
        try:
            data = gzip.decompress(data)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{os.fspath(path)} is a damaged gzip file: {error}") from None
    if not data:
        raise ValueError(f"{os.fspath(path)} is empty")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{os.fspath(path)} is not UTF-8 text: byte {error.start} is 0x{data[error.start]:02x} "
            "(iconv -f WINDOWS-1252 -t UTF-8, or of whatever it is, converts it)"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_csv_header(path: StrPath, delimiter: str | None = None) -> tuple[str, ...]:
    """Return the names of the columns of a CSV file; arguments and errors as of `read_csv`."""
    return tuple(open_csv(path, delimiter)[0])


def read_csv(
    path: StrPath, columns: str | Sequence[str], delimiter: str | None = None, decimal: str = "."
) -> CsvColumns:
    """Read numeric columns of a CSV file by name.

    Parameters
    ----------
    path : path
        A UTF-8 file whose first line names the columns.
    columns : str or sequence of str
        The column or columns wanted.
    delimiter : str, optional
        What separates cells; if not given, whichever of comma, semicolon, tab and bar comes most often in the first
        line outside quotes.
    decimal : {".", ","}, default "."
        What separates the fraction of a number.

    Returns
    -------
    CsvColumns
        ``values`` of shape (T,) for one name, (T, C) for a sequence. Empty cells and ``NA``, ``NaN``, ``null``,
        ``none``, ``?``, ``-`` are missing; any other cell that is not a finite number is NaN too and listed in
        ``unread``. Cells a row lacks are missing; empty lines are skipped.

    Raises
    ------
    OSError
        If the file cannot be read.
    KeyError
        If there is no such column; the message lists those there are.
    ValueError
        If the file is empty, is not UTF-8 or not CSV, names the column twice, has no rows, or a column has no number.
    """
    wanted = [columns] if isinstance(columns, str) else list(columns)
    if not wanted:
        raise ValueError("columns must name at least one column; got none")
    check_choice("decimal", decimal, (".", ","))
    name = os.fspath(path)
    header, rows = open_csv(path, delimiter)
    places = [find_column(name, header, column) for column in wanted]
    unread: list[tuple[int, str, str]] = []
    cells = []
    try:
        for row in rows:
            line = rows.line_num
            if row:
                pairs = zip(places, wanted, strict=True)
                cells.append([_number(row, place, line, column, unread, decimal) for place, column in pairs])
    except csv.Error as error:
        raise ValueError(f"{name} is not a CSV file: {error}") from None
    if not cells:
        raise ValueError(f"{name} has no rows below its header")
    values = np.array(cells, np.float64)
    for column, numbers in zip(wanted, values.T, strict=True):
        if np.isnan(numbers).all():
            line, _, cell = next((found for found in unread if found[1] == column), (0, "", ""))
            example = f"; line {line} has {cell!r}" if line else ""
            hint = " (--decimal , or decimal=',' reads decimal commas)" if "," in cell and decimal == "." else ""
            raise ValueError(f"column {column!r} of {name} has no number in it{example}{hint}")
    return CsvColumns(values[:, 0] if isinstance(columns, str) else values, tuple(wanted), unread)


def open_csv(path: StrPath, delimiter: str | None) -> tuple[list[str], Any]:
    """Return the header, and a reader of the rows below it."""
    text = read_text(path)
    if delimiter is None:
        first = re.sub('"[^"]*"', "", text.lstrip("\n").partition("\n")[0])
        delimiter = max(",;\t|", key=first.count)
    rows = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        return [cell.strip() for cell in next((row for row in rows if row), [])], rows
    except csv.Error as error:
        raise ValueError(f"{os.fspath(path)} is not a CSV file: {error}") from None


def find_column(name: str, header: list[str], column: str) -> int:
    count = header.count(column)
    if not count:
        raise KeyError(f"{name} has no column {column!r}; it has {', '.join(header)}")
    if count > 1:
        raise ValueError(f"{name} has {count} columns named {column!r}")
    return header.index(column)


def _number(
    row: list[str], place: int, line: int, column: str, unread: list[tuple[int, str, str]], decimal: str
) -> float:
    cell = row[place].strip() if place < len(row) else ""
    if cell.lower() in MISSING:
        return np.nan
    try:
        # Word processors write the minus sign U+2212.
        number = float(cell.replace("\N{MINUS SIGN}", "-").replace(decimal, "."))
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        unread.append((line, column, cell))
        return np.nan
    return number


def read_idx(path: StrPath) -> NDArray[np.generic]:
    """Read an array in IDX format, the format of MNIST's files; gzip is recognised by its content.

    Parameters
    ----------
    path : path
        The file: two zero bytes, type, number of dimensions, sizes as big-endian 32-bit integers, then the values.

    Returns
    -------
    ndarray
        In the machine's byte order; images come as (count, rows, columns) uint8.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is empty, not IDX, cut short, longer than its header says, or its gzip wrapping is damaged.
    """
    name = os.fspath(path)
    with open(path, "rb") as raw:
        magic = raw.read(2)
        raw.seek(0)
        if not magic:
            raise ValueError(f"{name} is empty")
        if magic != _GZIP:
            return _read_idx(name, raw)
        try:
            with gzip.open(raw) as unpacked:
                return _read_idx(name, unpacked)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{name} is a damaged gzip file: {error}") from None


def _read_idx(name: str, file: IO[bytes] | gzip.GzipFile) -> NDArray[np.generic]:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_TYPES:
        raise ValueError(f"{name} is not an IDX file")
    kind, rank = np.dtype(_IDX_TYPES[head[2]]), head[3]
    sizes = file.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise ValueError(f"{name} is cut short in its header")
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    size = prod(shape) * kind.itemsize
    data = bytearray()
    # By pieces, as the header may promise more than there is memory for.
    while piece := file.read(min(1 << 20, size + 1 - len(data))):
        data += piece
    if len(data) != size:
        found = "more" if len(data) > size else str(len(data))
        raise ValueError(f"{name} must have {size} bytes of values for shape {shape}; got {found}")
    return np.frombuffer(data, kind).reshape(shape).astype(kind.newbyteorder("="))
