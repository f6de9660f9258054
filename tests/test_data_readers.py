"""Readers for text, CSV and IDX files, damaged ones included."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from rnnfast.data import read_csv, read_csv_header, read_idx, read_text


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_column(tmp_path):
    path = write(tmp_path / "t.csv", '\ufeff"Date","Temp"\r\n"1981-01-01",20.7\r\n\r\n"1981-01-02", -1.5\r\n')
    table = read_csv(path, "Temp")
    assert table.values.tolist() == [20.7, -1.5] and table.names == ("Temp",) and table.unread == []
    assert table.values.dtype == np.float64


def test_csv_says_which_cells_it_could_not_read(tmp_path):
    path = write(tmp_path / "t.csv", "Date,Temp\na,1\nb,?0.2\nc,NA\nd\ne,?\nf,\u22122\ng,inf\nh,1e3\n")
    values, _, unread = read_csv(path, "Temp")
    np.testing.assert_array_equal(values, [1, np.nan, np.nan, np.nan, np.nan, -2, np.nan, 1000])
    assert unread == [(3, "Temp", "?0.2"), (8, "Temp", "inf")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_delimiter_is_found(tmp_path, delimiter):
    path = write(tmp_path / "t.csv", delimiter.join("abc") + "\n" + delimiter.join(["1", "2", "3"]))
    assert read_csv(path, ["c", "a"]).values.tolist() == [[3, 1]]
    assert read_csv(path, ["c", "a"], delimiter).values.tolist() == [[3, 1]]


@pytest.mark.parametrize(
    ("content", "column", "error", "match"),
    [
        ("", "a", ValueError, "is empty"),
        ("\n\n", "a", KeyError, "no column 'a'"),
        ("a,b\n", "a", ValueError, "no rows"),
        ("a,b\n1,2\n", "c", KeyError, "no column 'c'; it has a, b"),
        ("a,a\n1,2\n", "a", ValueError, "2 columns named 'a'"),
        ("a,b\nx,1\n", "a", ValueError, "column 'a' of .* has no number"),
        ('"a";"b, c"\n1;2\n', "b", KeyError, "it has a, b, c"),
        ("a;b\n1;2,5\n", "b", ValueError, r"no number in it; line 2 has '2,5' \(--decimal , or decimal=','"),
        ("a,b\n1,2\n", [], ValueError, "at least one column"),
        (b"a,b\n\xff\xfe,2\n", "a", ValueError, "not UTF-8 text: byte 4 is 0xff"),
        ("a,b\n" + "1" * 200_000 + ",2\n", "a", ValueError, "not a CSV file"),
    ],
)
def test_csv_refuses(tmp_path, content, column, error, match):
    with pytest.raises(error, match=match):
        read_csv(write(tmp_path / "t.csv", content), column)


def test_csv_quotes_and_decimal_commas(tmp_path):
    path = write(tmp_path / "t.csv", '\ufeff"Day";" Temp, C "\r\n"a";"1,5"\r\n"b";-2\r\n')
    assert read_csv_header(path) == ("Day", "Temp, C")
    assert read_csv(path, "Temp, C", decimal=",").values.tolist() == [1.5, -2]
    with pytest.raises(ValueError, match="decimal must be one of"):
        read_csv(path, "Temp, C", decimal=";")


def test_missing_files(tmp_path):
    for reader in (read_text, read_idx, lambda path: read_csv(path, "a")):
        with pytest.raises(FileNotFoundError):
            reader(tmp_path / "absent")


def test_text(tmp_path):
    assert read_text(write(tmp_path / "t", "\ufeff春\r\nb\rc\n")) == "春\nb\nc\n"
    assert read_text(write(tmp_path / "t", gzip.compress("春\r\n".encode()))) == "春\n"
    damaged = gzip.compress(b"spring" * 50, mtime=0)
    for content, match in (
        (b"", "is empty"),
        (b"ab\xe6\x98", "byte 2 is 0xe6"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (damaged[:-9], "damaged gzip file"),
        (damaged[:-9] + b"x" + damaged[-8:], "damaged gzip file"),
    ):
        with pytest.raises(ValueError, match=match):
            read_text(write(tmp_path / "t", content))


def idx(array, code):
    return struct.pack(">BBBB", 0, 0, code, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize(("code", "kind"), [(8, ">u1"), (9, ">i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx(tmp_path, code, kind, pack):
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    found = read_idx(write(tmp_path / "a", pack(idx(array, code))))
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.dtype(kind).newbyteorder("=")


GOOD = idx(np.arange(6, dtype=np.uint8).reshape(2, 3), 8)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty"),
        (b"\0\0", "not an IDX file"),
        (b"PK\3\4....", "not an IDX file"),
        (b"\0\0\x07\1\0\0\0\1a", "not an IDX file"),
        (GOOD[:7], "cut short in its header"),
        (GOOD[:-1], "must have 6 bytes of values .*; got 5"),
        (GOOD + b"x", "got more"),
        (b"\0\0\x0e\3" + b"\xff" * 12, "got 0"),
        (gzip.compress(GOOD, mtime=0)[:-6], "damaged gzip"),
        (gzip.compress(GOOD[:-1], mtime=0), "got 5"),
        (gzip.compress(GOOD, mtime=0)[:12] + b"\xff\xff" + gzip.compress(GOOD, mtime=0)[14:], "damaged gzip"),
        (b"\x1f\x8b", "damaged gzip"),
    ],
)
def test_idx_refuses(tmp_path, content, match):
    with pytest.raises(ValueError, match=match):
        read_idx(write(tmp_path / "a", content))
