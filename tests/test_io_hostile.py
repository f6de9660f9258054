"""Files that are damaged, or made to harm: each is told apart before it costs time or memory."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_table import ARRAYS, GOOD, SUFFIXES, assert_same, text_model, write_file

from rnnfast.io import ModelFileError, load_model, save_model
from rnnfast.layers.dense import Dense


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_cut_is_told(suffix, tmp_path):
    whole = save_model(text_model(), tmp_path / f"m{suffix}").read_bytes()
    cut = tmp_path / f"cut{suffix}"
    for end in [*range(64), *range(64, len(whole), 97), len(whole) - 1]:
        cut.write_bytes(whole[:end])
        with pytest.raises(ModelFileError, match="cut"):
            load_model(cut)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_flipped_byte_is_told_or_harmless(suffix, tmp_path):
    model = text_model()
    whole = save_model(model, tmp_path / f"m{suffix}", {"note": "n"}).read_bytes()
    damaged = tmp_path / f"damaged{suffix}"
    rng = np.random.default_rng(0)
    for place in rng.choice(len(whole), 400, replace=False):
        data = bytearray(whole)
        data[place] ^= 1 << rng.integers(8)
        damaged.write_bytes(data)
        try:
            found, extra = load_model(damaged, with_extra=True)
        except ModelFileError:
            continue
        # A zip archive has bytes that mean nothing, such as dates.
        assert_same(found, model)
        assert extra == {"note": "n"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=200), head=st.sampled_from([b"", b"PK\x03\x04", b"\x10\0\0\0\0\0\0\0{"]))
def test_noise_is_refused(data, head, tmp_path):
    path = tmp_path / "noise"
    path.write_bytes(head + data)
    with pytest.raises(ModelFileError):
        load_model(path)


def dense(**changes):
    return {**GOOD, "model": {"class": "Dense", "config": {**GOOD["model"]["config"], **changes}}}


HOSTILE = {
    "not json": ("nonsense", ARRAYS, "not valid"),
    "not an object": ([], ARRAYS, "not an object"),
    "NaN": (json.dumps(GOOD).replace("true", "NaN"), ARRAYS, "NaN is not JSON"),
    "infinity": (json.dumps(GOOD).replace("true", "1e999"), ARRAYS, "too large"),
    "key twice": (json.dumps(GOOD)[:-1] + ', "version": 1}', ARRAYS, "twice"),
    "deep": (json.dumps(GOOD).replace('"extra": {}', '"extra": {"a":' + "[" * 99 + "]" * 99 + "}"), ARRAYS, "deep"),
    "very deep": ("[" * 14_000 + "]" * 14_000, ARRAYS, "deep"),
    "brackets": ("[" * 100_000 + "]" * 100_000, ARRAYS, "at most 15000 lists and dicts"),
    "keys": (
        json.dumps(GOOD).replace("{}}", "{" + ",".join(f'"{k}":0' for k in range(70_000)) + "}}"),
        ARRAYS,
        "at most 60000 keys",
    ),
    "values": (json.dumps(GOOD).replace("{}}", '{"a":[' + "1," * 200_000 + "1]}}"), ARRAYS, "at most 150000 values"),
    "fractions": (
        json.dumps(GOOD).replace("{}}", '{"a":[' + "1.5," * 20_000 + "1.5]}}"),
        ARRAYS,
        "at most 20000 fractions",
    ),
    "infinity inside": (json.dumps(GOOD).replace("{}}", '{"a":[{"b":-1e999}]}}'), ARRAYS, "too large"),
    "long number": (json.dumps(GOOD).replace("true", "1" * 5000), ARRAYS, "more than 400 digits"),
    "long numbers": (
        json.dumps(GOOD).replace("{}}", '{"a":[' + ",".join(["-" + "7" * 401] * 10_000) + "]}}"),
        ARRAYS,
        "more than 400 digits",
    ),
    "other format": ({**GOOD, "format": "pickle"}, ARRAYS, "not a model of rnnfast"),
    "checkpoint": ({**GOOD, "format": "rnnfast checkpoint"}, ARRAYS, "fields"),
    "later version": ({**GOOD, "version": 3}, ARRAYS, "reads up to 2"),
    "no version": ({k: v for k, v in GOOD.items() if k != "version"}, ARRAYS, "valid version"),
    "version true": ({**GOOD, "version": True}, ARRAYS, "valid version"),
    "unknown field": ({**GOOD, "code": "import os"}, ARRAYS, "fields"),
    "extra a list": ({**GOOD, "extra": []}, ARRAYS, "extra must be"),
    "import path": ({**GOOD, "model": {"class": "os.system", "config": {}}}, ARRAYS, "no layer called 'os.system'"),
    "class a list": ({**GOOD, "model": {"class": ["Dense"], "config": {}}}, ARRAYS, "no layer called"),
    "too many layers": (
        {**GOOD, "model": {"class": "Sequential", "layers": [{"class": "Last", "config": {}}] * 1001}},
        {},
        "describes 1001 layers",
    ),
    "too many stacked": (
        {**GOOD, "model": {"class": "RNN", "config": {"input_size": 1, "hidden_size": 1, "num_layers": 10**6}}},
        {"model/x": np.zeros(2 * 10**6, np.float32)},
        "1000000 recurrent layers but holds 1 arrays",
    ),
    "stacked true": (
        {**GOOD, "model": {"class": "RNN", "config": {"input_size": 1, "hidden_size": 1, "num_layers": True}}},
        ARRAYS,
        "num_layers must be an integer",
    ),
    "graph of anything": (
        {**GOOD, "model": {"class": "Graph", "config": {"weights": {"w": [10**6, 10**6]}}}},
        {},
        "at least 1000000000000 parameters",
    ),
    "graph without weights": ({**GOOD, "model": {"class": "Graph", "config": {}}}, {}, "weights must be shapes"),
    "base class": ({**GOOD, "model": {"class": "Layer", "config": {}}}, ARRAYS, "no layer called"),
    "model a string": ({**GOOD, "model": "Dense"}, ARRAYS, "must be an object"),
    "model field": ({**GOOD, "model": {**GOOD["model"], "x": 1}}, ARRAYS, "fields class and config"),
    "layers a dict": ({**GOOD, "model": {"class": "Sequential", "layers": {}}}, ARRAYS, "fields class and layers"),
    "no layers": ({**GOOD, "model": {"class": "Sequential", "layers": []}}, {}, "at least one"),
    "unknown option": (dense(hook="x"), ARRAYS, "no option 'hook'"),
    "seed": (dense(seed=1), ARRAYS, "no option 'seed'"),
    "no option": ({**GOOD, "model": {"class": "Dense", "config": {}}}, ARRAYS, "Dense: in_features"),
    "size a string": (dense(in_features="2"), ARRAYS, "in_features must be an integer"),
    "size negative": (dense(in_features=-2), ARRAYS, "at least 1"),
    "huge": (dense(in_features=10**12), ARRAYS, "describes a model of at least 3000000000000 parameters"),
    "huge product": (dense(in_features=2**31, out_features=2**31), ARRAYS, "describes a model"),
    "huge dtype": (dense(dtype="float128"), ARRAYS, "dtype"),
    "dtype code": (dense(dtype="O"), ARRAYS, "dtype"),
    "missing array": (GOOD, {"model/weight": np.zeros((3, 3), np.float32)}, "missing"),
    "unknown array": (GOOD, {**ARRAYS, "model/x": np.zeros(1, np.float32)}, "unknown"),
    "stray array": (GOOD, {**ARRAYS, "x": np.zeros(1, np.float32)}, "belong to nothing"),
    "wrong shape": (GOOD, {**ARRAYS, "model/weight": np.zeros((2, 3), np.float32)}, "shape"),
    "wrong dtype": (GOOD, {**ARRAYS, "model/weight": np.zeros((3, 2), np.float64)}, "float32"),
    "integers": (GOOD, {**ARRAYS, "model/weight": np.zeros((3, 2), np.int64)}, "int64"),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_description(case, suffix, tmp_path):
    text, arrays, match = HOSTILE[case]
    path = write_file(tmp_path / f"m{suffix}", text, arrays)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=match) as caught:
            load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value) and len(str(caught.value)) < 600


def test_many_layers_cannot_multiply_one_array(tmp_path):
    part = {"class": "Dense", "config": {"in_features": 1000, "out_features": 1000}}
    model = {"class": "Sequential", "layers": [part] * 900}
    path = write_file(tmp_path / "m.npz", {**GOOD, "model": model}, {"model/0.weight": np.zeros((1000, 1000), "f4")})
    with pytest.raises(ModelFileError, match="at least 900000000 parameters but holds 1000000"):
        load_model(path)


def npy(header, data=b""):
    raw = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + data


ARCHIVES = {
    "no members": ({}, {}, "no rnnfast.json"),
    "not an array": ({"a.txt": b"x"}, {}, "no array"),
    "bare text": ({"a.npy": b"x" * 200}, {}, "not in version 1.0"),
    "objects": ({"a.npy": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"x" * 8)}, {}, "plain"),
    "records": ({"a.npy": npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }")}, {}, "plain"),
    "code": ({"a.npy": npy("__import__('os').abort()")}, {}, "plain numbers"),
    "huge": ({"a.npy": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }")}, {}, "not fit"),
    "negative": (
        {"a.npy": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1), }", b"1234")},
        {},
        "plain numbers",
    ),
    "Fortran": ({"a.npy": npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", b"1234")}, {}, "C order"),
    "big-endian": ({"a.npy": npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", b"1234")}, {}, "plain"),
    "wide float": (
        {"a.npy": npy("{'descr': '<f16', 'fortran_order': False, 'shape': (1,), }", b"1" * 16)},
        {},
        "plain",
    ),
    "header beyond the end": ({"a.npy": b"\x93NUMPY\x01\x00\xff\xff{"}, {}, "plain"),
    "bomb": ({"a.npy": b"\0" * 10_000_000}, {"compression": zipfile.ZIP_DEFLATED}, "stored"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_hostile_archive(case, tmp_path):
    members, options, match = ARCHIVES[case]
    path = tmp_path / "m.npz"
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        if not members:
            archive.writestr("b.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }"))
    with pytest.raises(ModelFileError, match=match):
        load_model(path)


def st_file(header, data=b"", length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


ONE = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}


HEADERS = {
    "many arrays": (st_file({f"{k}": {"dtype": "F32", "shape": [0]} for k in range(2100)}), "at most 2048 arrays"),
    "huge length": (st_file(b"{}", length=2**63), "cut short"),
    "length beyond the end": (st_file(b"{}", length=3), "cut short"),
    "not json": (st_file(b"{nonsense"), "header is not valid"),
    "list": (st_file(b"[]"), "no valid safetensors"),
    "name twice": (st_file(json.dumps(ONE).encode()[:-1] + b', "a": 1}', b"1234"), "twice"),
    "no metadata": (st_file(ONE, b"1234"), "not a file of rnnfast"),
    "offsets beyond": (st_file({"a": {**ONE["a"], "data_offsets": [0, 2**40]}}, b"1234"), "no valid safetensors"),
    "huge shape": (st_file({"a": {**ONE["a"], "shape": [2**40]}}, b"1234"), "no valid safetensors"),
    "unknown dtype": (st_file({"a": {**ONE["a"], "dtype": "O"}}, b"1234"), "no valid safetensors"),
    # read if some other package has taught NumPy the type
    "bf16": (
        st_file({"a": {**ONE["a"], "dtype": "BF16", "shape": [2]}}, b"1234"),
        "no valid safe|not a file of rnnfast",
    ),
    "overlap": (st_file({**ONE, "b": ONE["a"]}, b"1234"), "no valid safetensors"),
    "no checksum": (st_file({"__metadata__": {"rnnfast": "{}"}}), "checksum"),
    "metadata number": (st_file({"__metadata__": {"rnnfast": 1}}), "no valid safetensors"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_hostile_safetensors(case, tmp_path):
    data, match = HEADERS[case]
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=match):
        load_model(path)


def test_huge_header_is_refused_unread(tmp_path):
    path = tmp_path / "m.safetensors"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", 1 << 30))
        file.truncate((1 << 30) + 8)
    with pytest.raises(ModelFileError, match="too long"):
        load_model(path)


def test_a_long_list_of_members_is_refused_unread(tmp_path):
    path = tmp_path / "m.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(2500):
            archive.writestr(f"{k}.npy", b"")
    with pytest.raises(ModelFileError, match="at most 2048 members; got 2500"):
        load_model(path)
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(5000):
            archive.writestr(f"{k:0100}.npy", b"")
    with pytest.raises(ModelFileError, match=r"list of members is [0-9]+ bytes"):
        load_model(path)


FOLDERS = {
    "no weights named": (lambda d: d.pop("weights"), "names no file"),
    "another folder": (lambda d: d.update(weights="../weights-00000000.npz"), "names no file"),
    "any file": (lambda d: d.update(weights="/etc/passwd"), "names no file"),
    "missing": (lambda d: d.update(weights="weights-00000000.npz"), "is missing"),
    "other format": (lambda d: d.update(format="x"), "not a model"),
    "size": (lambda d: d["model"]["config"].update(out_features=3), "parameters but holds|must be"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_hostile_folders(case, tmp_path):
    change, match = FOLDERS[case]
    path = save_model(Dense(3, 2), tmp_path / "model", folder=True)
    config = path / "config.json"
    document = json.loads(config.read_text())
    change(document)
    config.write_text(json.dumps(document))
    with pytest.raises(ModelFileError, match=match):
        load_model(path)
    for text in ("", "{", "[]", '{"a":NaN}', "\0" * (17 << 20)):
        config.write_text(text)
        with pytest.raises(ModelFileError, match=r"config\.json"):
            load_model(path)


def test_weights_that_are_a_model_of_their_own_are_not_taken(tmp_path):
    path = save_model(Dense(3, 2), tmp_path / "model", folder=True)
    (weights,) = path.glob("weights-*")
    save_model(Dense(3, 2), tmp_path / "other.safetensors").replace(weights)
    with pytest.raises(ModelFileError, match="is no file of weights"):
        load_model(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_header_with_any_value_changed_is_refused_or_harmless(data, tmp_path):
    """Offsets, shapes, dtypes, names and the description, replaced by what they should not be."""
    from rnnfast.io.safetensors import checksum

    model = Dense(2, 3, seed=0)
    path = save_model(model, tmp_path / "m.safetensors")
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header, blob = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    document = json.loads(header["__metadata__"]["rnnfast"].partition(" ")[2])
    whole = {"header": header, "document": document}
    places = []

    def walk(value, at):
        if isinstance(value, dict | list):
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                places.append((value, key))
                walk(item, (*at, key))

    walk(whole, ())
    holder, key = data.draw(st.sampled_from(places[1:]))
    odd = st.sampled_from(
        [-1, 0, 1, 2**31, 2**63, -(2**63), 1.5, "", "x", None, True, [], {}, [[]], "F64", "I8", "BF16"]
    )
    holder[key] = data.draw(odd)
    if isinstance(header.get("__metadata__"), dict) and isinstance(header["__metadata__"].get("rnnfast"), str):
        text = json.dumps(document)
        arrays = {f"model/{name}": array for name, array in model.parameters().items()}
        header["__metadata__"]["rnnfast"] = f"{checksum(text, arrays):08x} {text}"
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + blob)
    try:
        found = load_model(path)
    except ModelFileError:
        return
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(found.parameters()[name], array)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_integers_of_many_digits_and_texts_of_more(suffix, tmp_path):
    for extra in ({"a": [10**400 - 1, 1 - 10**400]}, {"number": 7, "7" * 500: "-" + "0" * 5000}):
        path = save_model(Dense(1, 1), tmp_path / f"m{suffix}", extra=extra)
        assert load_model(path, with_extra=True)[1] == extra
    for value in (10**400, -(10**400)):
        with pytest.raises(ValueError, match=r"\['a'\] must have at most 400 digits"):
            save_model(Dense(1, 1), tmp_path / f"m{suffix}", extra={"a": value})


def test_limits_of_the_writer_and_of_a_document_in_an_archive(tmp_path):
    with pytest.raises(ValueError, match="document must have at most 20000 fractions"):
        save_model(Dense(1, 1), tmp_path / "m.npz", extra={"a": [0.5] * 20_001})
    path = save_model(Dense(1, 1), tmp_path / "m.npz", extra={"a": [0.5] * 20_000})
    load_model(path)
    np.savez(tmp_path / "long.npz", **{"rnnfast.json": np.zeros((4 << 20) + 1000, np.uint8)})
    with pytest.raises(ModelFileError, match="description must have at most 4194304 bytes"):
        load_model(tmp_path / "long.npz")
