"""Saving and loading models: what goes in comes out, as a file or as a folder."""

from __future__ import annotations

import numpy as np
import pytest
from model_table import ARRAYS, GOOD, MAKERS, SUFFIXES, assert_same, text_model, write_file

from rnnfast.io import ModelFileError, load_model, save_model, spec
from rnnfast.layers.dense import Dense
from rnnfast.layers.pooling import Last


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", spec.LAYERS)
def test_every_layer_comes_back(name, dtype, suffix, tmp_path):
    layer = MAKERS[name](dtype)
    assert type(layer) is spec.LAYERS[name].cls
    path = save_model(layer, tmp_path / f"m{suffix}")
    assert path == tmp_path / f"m{suffix}"
    assert_same(load_model(path), layer)


@pytest.mark.parametrize("name", spec.LAYERS)
def test_least_number_of_parameters_is_a_lower_bound(name):
    layer = MAKERS[name](np.float32)
    assert layer.num_parameters() * 0.5 <= spec.LAYERS[name].least(layer.config()) <= layer.num_parameters()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_sequential_predicts_the_same(suffix, tmp_path):
    model = text_model()
    x = np.arange(10).reshape(2, 5)
    again = load_model(save_model(model, tmp_path / f"m{suffix}"))
    assert_same(again, model)
    np.testing.assert_array_equal(again(x)[0], model(x)[0])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_extra_travels_along(suffix, tmp_path):
    extra = {"vocabulary": list("春\ud800\x00a"), "n": [1, -0.5, 2**70, None, True], "": {}}
    path = save_model(Last(), tmp_path / f"m{suffix}", extra)
    model, found = load_model(path, with_extra=True)
    assert found == extra and type(model) is Last
    assert load_model(save_model(Last(), path), with_extra=True)[1] == {}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_model_gives_the_same_bytes(suffix, tmp_path):
    model = text_model()
    first = save_model(model, tmp_path / f"a{suffix}").read_bytes()
    assert save_model(model, tmp_path / f"b{suffix}").read_bytes() == first


def test_other_readers_can_read_them(tmp_path):
    from safetensors.numpy import load_file

    model = text_model()
    by_numpy = np.load(save_model(model, tmp_path / "m.npz"), allow_pickle=False)
    by_package = load_file(save_model(model, tmp_path / "m.safetensors"))
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(by_numpy[f"model/{name}"], array)
        np.testing.assert_array_equal(by_package[f"model/{name}"], array)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_arrays_of_any_layout_survive(suffix, tmp_path):
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {"t": base.T, "s": base[:, ::-1, ::2], "big": base.astype(">f4"), "zero": np.float64(3), "e": base[:0]}
    from rnnfast.io import container

    path = container.write(tmp_path / f"m{suffix}", {}, {name: np.asarray(a) for name, a in arrays.items()})
    _, found = container.read(path)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=False)
        assert found[name].shape == np.shape(array)


def test_suffix(tmp_path, monkeypatch):
    assert save_model(Last(), tmp_path / "m").name == "m.safetensors"
    assert type(load_model(tmp_path / "m")) is Last
    with pytest.raises(ValueError, match=r"must end in .safetensors or .npz.*'m.pkl'"):
        save_model(Last(), tmp_path / "m.pkl")
    monkeypatch.setattr("rnnfast.io.container.find_spec", lambda name: None)
    assert save_model(Last(), tmp_path / "n").name == "n.npz"
    assert type(load_model(tmp_path / "n")) is Last
    with pytest.raises(ValueError, match="needs the package safetensors"):
        save_model(Last(), tmp_path / "n.safetensors")


def test_reading_without_the_package_says_so(tmp_path, monkeypatch):
    path = save_model(Last(), tmp_path / "m.safetensors")
    monkeypatch.setattr("rnnfast.io.safetensors.find_spec", lambda name: None)
    with pytest.raises(ModelFileError, match="needs the package safetensors"):
        load_model(path)


class Own(Last):
    pass


@pytest.mark.parametrize(
    ("model", "extra", "error", "match"),
    [
        ("model", None, TypeError, "model must be a Layer; got str"),
        (Own(), None, TypeError, "got Own"),
        (Last(), [1], TypeError, "extra must be a dict"),
        (Last(), {"a": [np.float32(1)]}, TypeError, r"\['extra'\]\['a'\]\[0\] must be a JSON value"),
        (Last(), {"a": (1, 2)}, TypeError, "tuple"),
        (Last(), {1: 2}, TypeError, "strings for keys"),
        (Last(), {"a": np.nan}, ValueError, "must be finite"),
        (Last(), {"a": "x" * (33 << 20)}, ValueError, "at most"),
    ],
)
def test_saving_refuses_and_leaves_nothing(model, extra, error, match, tmp_path):
    with pytest.raises(error, match=match):
        save_model(model, tmp_path / "m.npz", extra)
    assert list(tmp_path.iterdir()) == []


def test_saving_refuses_endless_nesting(tmp_path):
    extra = {}
    extra["a"] = extra
    with pytest.raises(ValueError, match="nested more than 64"):
        save_model(Last(), tmp_path / "m", extra)


def test_loading_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "absent")
    with pytest.raises(ModelFileError, match=r"it is a folder without config\.json"):
        load_model(tmp_path)
    with pytest.raises(FileNotFoundError):
        save_model(Last(), tmp_path / "absent" / "m.npz")


def test_write_file_writes_valid_files(tmp_path):
    for suffix in SUFFIXES:
        assert type(load_model(write_file(tmp_path / f"m{suffix}", GOOD, ARRAYS))) is Dense


def test_no_pickle_module_is_used(tmp_path, monkeypatch):
    import pickle

    def refuse(*args, **kwargs):
        raise AssertionError("pickle was used")

    for name in ("load", "loads", "dump", "dumps", "Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, refuse)
    for suffix in SUFFIXES:
        load_model(save_model(text_model(), tmp_path / f"m{suffix}"))


def test_initial_values_are_not_made_up_for_nothing(tmp_path, monkeypatch):
    path = save_model(text_model(), tmp_path / "m")

    def refuse(*args, **kwargs):
        raise AssertionError("initial values were drawn")

    monkeypatch.setattr(np.linalg, "qr", refuse)
    with pytest.raises(AssertionError):
        text_model()
    load_model(path)


@pytest.mark.parametrize("name", spec.LAYERS)
def test_every_layer_comes_back_from_a_folder(name, tmp_path):
    layer = MAKERS[name](np.float32)
    path = save_model(layer, tmp_path / "model", {"note": "n"}, folder=True)
    assert path == tmp_path / "model" and (path / "config.json").is_file()
    found, extra = load_model(path, with_extra=True)
    assert_same(found, layer)
    assert extra == {"note": "n"}


@pytest.mark.parametrize("package", [True, False], ids=["safetensors", "npz"])
def test_a_folder_is_replaced(package, tmp_path, monkeypatch):
    if not package:
        monkeypatch.setattr("rnnfast.io.container.find_spec", lambda name: None)
    path = tmp_path / "model"
    for seed in range(3):
        model = Dense(3, 2, seed=seed)
        save_model(model, path, folder=True)
        assert_same(load_model(path), model)
        names = sorted(p.name for p in path.iterdir())
        assert len(names) == 2 and names[1].endswith(".safetensors" if package else ".npz")
    (path / "notes.txt").write_text("kept")
    save_model(model, path, folder=True)
    assert (path / "notes.txt").exists()
    before = sorted(p.name for p in path.iterdir())
    monkeypatch.setattr("rnnfast.io.folder.atomic_write", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_model(Dense(3, 2, seed=9), path, folder=True)
    assert_same(load_model(path), model)  # the old config.json stands by its weights
    assert set(before) < {p.name for p in path.iterdir()}
    with pytest.raises(FileNotFoundError):
        save_model(model, tmp_path / "absent" / "model", folder=True)
    with pytest.raises(TypeError, match="folder must be True or False"):
        save_model(model, path, folder="yes")


def test_a_file_of_version_1_is_read(tmp_path):
    for suffix in SUFFIXES:
        path = write_file(tmp_path / f"m{suffix}", GOOD, ARRAYS)
        assert GOOD["version"] == 1 and type(load_model(path)) is Dense
