"""From every format to every other."""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast import GRU, Dense, Embedding, Graph, Last, Sequential, load_model, save_model
from rnnfast.io import ConversionError, ModelFileError, convert, export_onnx, read_any, save_torch_safetensors

onnx = pytest.importorskip("onnx", reason="onnx comes with the test extra")
IDS = np.array([[1, 4, 2], [0, 3, 3]])
EXTRA = {"vocabulary": ["a", "b"]}


def model():
    return Sequential(Embedding(5, 3, seed=0), GRU(3, 4, seed=1), Dense(4, 2, seed=2))


@pytest.fixture
def sources(tmp_path):
    found = {
        "safetensors": save_model(model(), tmp_path / "a.safetensors", EXTRA),
        "npz": save_model(model(), tmp_path / "a.npz", EXTRA),
        "folder": save_model(model(), tmp_path / "a", EXTRA, folder=True),
        "torch": save_torch_safetensors(model(), tmp_path / "torch.safetensors"),
        "onnx": tmp_path / "a.onnx",
    }
    export_onnx(model(), found["onnx"])
    return found


TARGETS = {"b.safetensors": None, "b.npz": None, "b": None, "folder/": None, "b.onnx": None, "c": "folder"}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", ["safetensors", "npz", "folder", "torch", "onnx"])
def test_every_way(source, target, sources, tmp_path):
    where = f"{tmp_path}/{target}"
    path = convert(sources[source], where, TARGETS[target])
    assert path.exists() and path.is_dir() == (target in ("folder/", "c"))
    found, extra = read_any(path)
    np.testing.assert_allclose(found(IDS)[0], model()(IDS)[0], rtol=0, atol=1e-6)
    assert extra == (EXTRA if source in ("safetensors", "npz", "folder") else {})
    assert isinstance(found, Graph) == ("onnx" in (source, target[2:]))


def test_torch_names_and_options(sources, tmp_path):
    names = {"0": "embedding", "1": "rnn", "2": "fc"}
    path = convert(sources["npz"], tmp_path / "t.safetensors", "torch", names=names)
    with pytest.raises(ConversionError, match="give order="):
        convert(path, tmp_path / "m.npz")
    again = load_model(convert(path, tmp_path / "m.npz", order=["embedding", "rnn", Last(), "fc"]))
    np.testing.assert_array_equal(again(IDS)[0], model()(IDS)[0][:, -1])
    convert(sources["npz"], tmp_path / "s.onnx", lengths=True, states=True)
    graph, _ = read_any(tmp_path / "s.onnx")
    assert [port["role"] for port in graph.inputs] == ["x", "lengths", "state"]
    with pytest.raises(ConversionError, match="a state dict of torch cannot say"):
        convert(sources["onnx"], tmp_path / "t.safetensors", "torch")


def test_errors_are_typed(sources, tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py comes with the test extra")
    (tmp_path / "a.pt").write_bytes(b"x")
    with pytest.raises(ConversionError, match="is a pickle"):
        convert(tmp_path / "a.pt", tmp_path / "m.npz")
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros((2, 2), np.float32)
    with pytest.raises(ConversionError, match="does not tell what the layers are"):
        convert(tmp_path / "a.weights.h5", tmp_path / "m.npz")
    with pytest.raises(ValueError, match="to must be one of rnnfast, folder, onnx, torch; got 'pickle'"):
        convert(sources["npz"], tmp_path / "m", "pickle")
    for suffix in (".onnx", ".safetensors", ".npz", ".keras", ".h5"):
        bad = tmp_path / f"bad{suffix}"
        bad.write_bytes(b"nonsense" * 9)
        with pytest.raises(ModelFileError):
            convert(bad, tmp_path / "m.npz")
        with pytest.raises(FileNotFoundError):
            convert(tmp_path / f"absent{suffix}", tmp_path / "m.npz")
    proto = onnx.load(sources["onnx"])
    entry = proto.metadata_props.add()
    entry.key, entry.value = "rnnfast.extra", "[]"
    onnx.save(proto, sources["onnx"])
    with pytest.raises(ModelFileError, match=r"rnnfast\.extra is not an object"):
        read_any(sources["onnx"])
