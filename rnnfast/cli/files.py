"""Data in and out: columns of CSV, JSONL and .npy files, tagged sentences, and results in the same formats."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.data.missing import fill_missing
from rnnfast.data.readers import find_column, open_csv, read_csv, read_csv_header, read_text
from rnnfast.demos.common import UserError
from rnnfast.io.atomic import atomic_write


class Table(NamedTuple):
    """Results: names of columns, rows of values, and the same as one array for .npy."""

    names: Sequence[str]
    rows: list[list[Any]]
    array: NDArray[Any]


def kind_of(path: Path) -> str:
    """Return "npy", "jsonl" or "csv" by the end of a name; what is none of these is read as CSV."""
    suffix = path.suffix.lower()
    return {".npy": "npy", ".jsonl": "jsonl", ".ndjson": "jsonl"}.get(suffix, "csv")


def read_numbers(
    path: Path, columns: Sequence[str], decimal: str = ".", bad: str = "error", fill: bool = True
) -> NDArray[np.float64]:
    """Return columns of numbers, (T, C), oldest first; missing ones get the value before, and that is told.

    Parameters
    ----------
    path : Path
        CSV with a header, JSONL with an object in each line, or .npy, whose columns are called 0, 1, ...
    columns : sequence of str
        Their names.
    decimal : {".", ","}
        What separates the fraction of a number in CSV.
    bad : {"error", "missing"}
        What a cell that is no number is.
    fill : bool
        Whether missing values are filled; else they are errors.

    Raises
    ------
    OSError, KeyError, ValueError
        If the file cannot be read, has no such column, or holds something else than numbers; the line is named.
    """
    kind = kind_of(path)
    if kind == "npy":
        array = read_array(path)
        table = array[:, None] if array.ndim == 1 else array
        if table.ndim != 2:
            raise ValueError(f"{path} must have shape (steps,) or (steps, columns); got {array.shape}")
        names = [str(k) for k in range(table.shape[1])]
        values = table[:, [find_column(str(path), names, column) for column in columns]].astype(np.float64)
    elif kind == "jsonl":
        values = np.array(
            [
                [_as_number(path, line, name, _field(path, line, item, name)) for name in columns]
                for line, item in _objects(path)
            ]
        )
    else:
        found = read_csv(path, list(columns), decimal=decimal)
        if found.unread and bad == "error":
            line, column, cell = found.unread[0]
            more = f" ({len(found.unread)} such cells in all)" if len(found.unread) > 1 else ""
            raise ValueError(
                f"{path}, line {line}, column {column!r}: {cell!r} is not a number{more}; --bad missing fills them"
            )
        values = found.values
    gaps = np.isnan(values)
    if gaps.any():
        row, column = np.argwhere(gaps)[0]
        if not fill:
            raise ValueError(f"{path}, row {row + 1}, column {columns[column]!r}: there is no value")
        print(f"{path}: {gaps.sum()} missing of {values.size}, each filled with the value before it", file=sys.stderr)
        values = fill_missing(values)
    return np.asarray(values, np.float64)


def column_names(path: Path) -> list[str]:
    """Return the names of the columns of a file that `read_numbers` reads."""
    kind = kind_of(path)
    if kind == "npy":
        shape = read_array(path).shape
        return [str(k) for k in range(shape[1] if len(shape) == 2 else 1)]
    return list(_objects(path)[0][1] if kind == "jsonl" else read_csv_header(path))


def read_column(path: Path, column: str) -> list[tuple[int, Any]]:
    """Return (line, value) for a column of a CSV or JSONL file; cells of CSV are text, those of no text left in."""
    if kind_of(path) == "npy":
        raise ValueError(f"{path} is an array, which has no column {column!r}")
    if kind_of(path) == "jsonl":
        return [(line, _field(path, line, item, column)) for line, item in _objects(path)]
    header, rows = open_csv(path, None)
    place = find_column(str(path), header, column)
    found = []
    try:
        for row in rows:
            if row:
                if place >= len(row):
                    raise ValueError(f"{path}, line {rows.line_num}: there is no cell for column {column!r}")
                found.append((rows.line_num, row[place]))
    except csv.Error as error:
        raise ValueError(f"{path}, line {rows.line_num}: {error}") from None
    if not found:
        raise ValueError(f"{path} has no rows below its header")
    return found


def read_texts(path: Path, column: str) -> list[str]:
    """Return a column of texts."""
    found = []
    for line, value in read_column(path, column):
        if not isinstance(value, str):
            raise ValueError(f"{path}, line {line}: {column!r} must be a text; got {value!r:.60}")
        found.append(value)
    return found


def read_sequences(path: Path, column: str | None) -> NDArray[Any] | list[NDArray[Any]]:
    """Return sequences of numbers: (N, T, C) of a .npy file, or a ragged list of (T_n, C) of JSONL."""
    if kind_of(path) == "npy":
        array = read_array(path)
        if array.ndim not in (2, 3) or not array.size:
            raise ValueError(
                f"{path} must have shape (samples, steps) or (samples, steps, features); got {array.shape}"
            )
        return (array[:, :, None] if array.ndim == 2 else array).astype(np.float32)
    if column is None:
        raise UserError(f"{path}: --sequence NAME says which field of each line holds the numbers")
    found: list[NDArray[Any]] = []
    for line, value in read_column(path, column):
        try:
            array = np.asarray(json.loads(value) if isinstance(value, str) else value, np.float32)
        except (ValueError, TypeError):
            raise ValueError(f"{path}, line {line}: {column!r} must be a list of numbers") from None
        if array.ndim not in (1, 2) or not len(array) or not np.isfinite(array).all():
            raise ValueError(
                f"{path}, line {line}: {column!r} must be finite numbers, (steps,) or (steps, features); "
                f"got shape {array.shape}"
            )
        array = array[:, None] if array.ndim == 1 else array
        if found and array.shape[1] != found[0].shape[1]:
            raise ValueError(
                f"{path}, line {line}: {column!r} must have {found[0].shape[1]} features; got {array.shape[1]}"
            )
        found.append(array)
    return found


def read_array(path: Path) -> NDArray[Any]:
    """Return a .npy file of finite real numbers; nothing in it is executed."""
    with open(path, "rb") as file:
        try:
            array = np.load(file, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"{path} is no valid .npy file: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise ValueError(f"{path} must hold one array of real numbers; got {getattr(array, 'dtype', 'an archive')}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{path} must be finite; got {array[place]} at index {place}")
    return array


def read_labels(path: Path) -> NDArray[Any]:
    """Return labels of a .npy file, numbers or text, (N,)."""
    with open(path, "rb") as file:
        try:
            array = np.load(file, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"{path} is no valid .npy file: {error}") from None
    if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in "biuU":
        raise ValueError(f"{path} must hold labels of shape (samples,), integers or text; got {np.shape(array)}")
    return array


def read_sentences(path: Path, tokens: str, tags: str | None) -> tuple[list[list[str]], list[list[str]] | None]:
    """Return tokens and tags of sentences.

    Parameters
    ----------
    path : Path
        JSONL with lists of strings, else lines of columns (CoNLL): a token a line, an empty line between sentences,
        comments that begin with ``# ``; lines of CoNLL-U for ranges and empty nodes ("1-2", "3.1") are skipped.
    tokens, tags : str
        Names of fields, or numbers of columns counted from 1; tags None: there are none to be read.
    """
    if kind_of(path) == "jsonl":
        sentences: list[list[str]] = []
        labels: list[list[str]] = []
        for line, item in _objects(path):
            words = _strings(path, line, tokens, _field(path, line, item, tokens))
            if not words:
                raise ValueError(f"{path}, line {line}: {tokens!r} must have at least one token")
            sentences.append(words)
            if tags is not None:
                labels.append(_strings(path, line, tags, _field(path, line, item, tags)))
                if len(labels[-1]) != len(words):
                    raise ValueError(f"{path}, line {line}: {len(words)} tokens, but {len(labels[-1])} tags")
        return sentences, None if tags is None else labels
    return _read_conll(path, tokens, tags)


def write(table: Table, output: Path | None, form: str | None) -> None:
    """Write results to a file (CSV, JSONL or .npy by its name, or ``form``) or to standard output (CSV or ``form``)."""
    form = form or (kind_of(output) if output is not None else "csv")
    if form == "npy":
        if output is None:
            raise UserError("--format npy needs --output FILE")
        with atomic_write(output) as file:
            np.save(file, table.array)
        return
    if form == "jsonl":
        lines = (json.dumps(dict(zip(table.names, row, strict=True)), ensure_ascii=False) for row in table.rows)
        text = "".join(line + "\n" for line in lines)
    else:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(table.names)
        writer.writerows([[" ".join(c) if isinstance(c, list) else c for c in row] for row in table.rows])
        text = buffer.getvalue()
    if output is None:
        sys.stdout.write(text)
        return
    with atomic_write(output) as file:
        file.write(text.encode("utf-8"))


def _objects(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return (line, object) for all lines of a JSONL file that are not empty."""
    found = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}: not JSON: {error}") from None
        if not isinstance(item, dict):
            raise ValueError(f"{path}, line {number}: must be an object, {{...}}; got {line.strip():.60}")
        found.append((number, item))
    if not found:
        raise ValueError(f"{os.fspath(path)} has no lines")
    return found


def _field(path: Path, line: int, item: dict[str, Any], name: str) -> Any:
    if name not in item:
        raise KeyError(f"{path}, line {line}: there is no {name!r}; there are {', '.join(item)}")
    return item[name]


def _as_number(path: Path, line: int, name: str, value: Any) -> float:
    if value is None:
        return np.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise ValueError(f"{path}, line {line}: {name!r} must be a finite number or null; got {value!r:.60}")
    return float(value)


def _strings(path: Path, line: int, name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{path}, line {line}: {name!r} must be a list of strings; got {value!r:.60}")
    return value


def _read_conll(path: Path, tokens: str, tags: str | None) -> tuple[list[list[str]], list[list[str]] | None]:
    places = []
    for name, value in (("--tokens", tokens), ("--tags", tags)):
        if value is None:
            continue
        if not value.isdigit() or value == "0":
            raise UserError(f"{name} must be the number of a column, counted from 1, for {path.name}; got {value!r}")
        places.append(int(value) - 1)
    sentences: list[list[str]] = [[]]
    labels: list[list[str]] = [[]]
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            if sentences[-1]:
                sentences.append([])
                labels.append([])
            continue
        if line.startswith("# ") or line.strip() == "#":
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        if cells[0].replace("-", "").replace(".", "").isdigit() and not cells[0].isdigit() and "\t" in line:
            continue
        if max(places) >= len(cells):
            raise ValueError(f"{path}, line {number}: there is no column {max(places) + 1}; it has {len(cells)}")
        sentences[-1].append(cells[places[0]])
        if tags is not None:
            labels[-1].append(cells[places[1]])
    if not sentences[-1]:
        sentences.pop()
        labels.pop()
    if not sentences:
        raise ValueError(f"{path} has no sentences")
    return sentences, None if tags is None else labels
