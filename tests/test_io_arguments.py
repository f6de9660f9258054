"""Every argument of every public name of ``rnnfast.io`` refuses what it is not, naming itself."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from test_io_keras import stand_in
from test_io_torch import linear, module
from wrong_arguments import check_refusals

import rnnfast
from rnnfast import GRU, LSTM, SGD, Adam, Dense, Embedding, Last, Sequential, io

NET = Sequential(Embedding(5, 3, seed=0), GRU(3, 4, seed=1), Last(), Dense(4, 2, seed=2))
DENSE = Dense(3, 2, seed=0)
KERAS = stand_in("Dense", io.to_keras_weights(DENSE), name="d", units=2, activation="linear", use_bias=True)
TORCH = module("Sequential", {}, [("fc", linear(DENSE))])
NAMED = {"layer": NET, "names": {"0": "embedding", "1": "rnn"}}
STATE = io.to_torch_state_dict(**NAMED)
GRAPH = {"lengths": True, "states": False, "layout": 0}

# Arguments that fit, by public name; the files are those of the fixture below.
GOOD = {
    "convert": {
        "source": "m.npz",
        "target": "a.onnx",
        "to": "onnx",
        "order": None,
        "names": None,
        **GRAPH,
        "batch_first": True,
    },
    "export_onnx": {"model": NET, "path": "a.onnx", **GRAPH, "time_axis": True},
    "from_keras": {"source": KERAS, "masks": False, "inference": False},
    "from_torch": {"module": TORCH, "order": ["fc", Last()], "batch_first": True},
    "from_torch_state_dict": {
        "state_dict": {"fc.weight": np.ones((2, 3), "f4"), "fc.bias": np.ones(2, "f4")},
        "order": ["fc"],
    },
    "import_onnx": {"source": "m.onnx", "x": "x", "lengths": "lengths", "y": "y", "batch_first": True},
    "load_checkpoint": {"path": "c.npz", "model": NET, "optimizer": Adam()},
    "load_keras_weights": {"layer": DENSE, "weights": io.to_keras_weights(DENSE)},
    "load_model": {"path": "m.npz", "with_extra": True},
    "load_torch_state_dict": {**NAMED, "state_dict": STATE, "strict": False},
    "read_any": {"source": "t.safetensors", "order": ["fc"], "batch_first": True},
    "read_keras_weights": {"path": "k.weights.h5"},
    "read_torch_safetensors": {"path": "t.safetensors"},
    "save_checkpoint": {"model": NET, "path": "a.npz", "optimizer": Adam(), "step": 1, "state": {"a": 1}},
    "save_model": {"model": NET, "path": "a", "extra": {"a": 1}, "folder": False},
    "save_torch_safetensors": {**NAMED, "path": "a.safetensors"},
    "to_keras_weights": {"layer": NET},
    "to_torch_state_dict": NAMED,
}
LEAST = {"state": 2}  # which may be nearly anything


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Go to a folder with a file of every kind."""
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("onnx", reason="onnx comes with the test extra")
    pytest.importorskip("safetensors", reason="safetensors comes with the test extra")
    h5py = pytest.importorskip("h5py", reason="h5py comes with the test extra")
    io.save_model(NET, "m.npz")
    io.save_checkpoint(NET, "c.npz", Adam())
    io.save_torch_safetensors(Sequential(DENSE), "t.safetensors", {"0": "fc"})
    io.export_onnx(NET, "m.onnx", lengths=True)
    with h5py.File("k.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros((2, 2), np.float32)


def test_every_name_is_here():
    others = {"Checkpoint", "ConversionError", "ModelFileError"}  # a result, and errors
    assert set(io.__all__) - others == set(GOOD)
    assert set(rnnfast._HOMES["io"]) <= set(io.__all__)


@pytest.mark.parametrize("name", GOOD)
def test_wrong_arguments_name_themselves(name, files):
    function, good = getattr(io, name), GOOD[name]
    function(**good)
    for argument in good:
        check_refusals(function, good, argument, least=LEAST.get(argument, 4))


class BytesPath(os.PathLike):
    def __fspath__(self):
        return b"m.npz"


# What is not of its kind, and what the message says of it.
REFUSED = [
    (lambda: io.load_model(b"m.npz"), TypeError, "path must be a path; got bytes"),
    (lambda: io.load_model(BytesPath()), TypeError, "path must be a path; got BytesPath"),
    (lambda: io.read_keras_weights(0), TypeError, "path must be a path; got int"),  # which is no open file either
    (lambda: io.save_model(Dense, "a.npz"), TypeError, "model must be a Layer; got the class Dense itself"),
    (lambda: io.save_model(NET, "a.npz", []), TypeError, "extra must be a dict; got list"),
    (lambda: io.save_model(NET, "a.npz", False), TypeError, "extra must be a dict; got bool"),
    (lambda: io.save_model(NET, ""), ValueError, "path must name a file; got ''"),
    (lambda: io.load_checkpoint("c.npz", "x"), TypeError, "model must be a Layer; got str"),
    (
        lambda: io.load_checkpoint("c.npz", optimizer="x"),
        TypeError,
        "optimizer must be one of SGD, RMSProp, Adagrad, Adam, AdamW; got str",
    ),
    (lambda: io.load_checkpoint("c.npz", optimizer=Adam), TypeError, "got the class Adam itself"),
    (lambda: io.save_checkpoint(NET, "a.npz", Adam), TypeError, "got the class Adam itself"),
    (
        lambda: io.load_checkpoint("c.npz", optimizer=SGD(0.1)),
        io.ModelFileError,
        r"c\.npz: its optimiser is Adam, not SGD",
    ),
    (
        lambda: io.from_keras(None),
        TypeError,
        r"source must be a layer or model of Keras, .* or the path of a \.keras or \.h5 file; got NoneType",
    ),
    (lambda: io.from_keras(type(KERAS)), TypeError, "source must .* got the class Dense itself"),
    (lambda: io.from_keras(DENSE), TypeError, "source must .* got a layer of rnnfast"),
    (lambda: io.from_torch(None), TypeError, "module must be a module of torch, .* got NoneType"),
    (lambda: io.from_torch(type(TORCH)), TypeError, "module must .* got the class Sequential itself"),
    (lambda: io.from_torch(DENSE), TypeError, "module must .* got a layer of rnnfast"),
    (lambda: io.from_torch(STATE), TypeError, "module must .* got dict .*load_torch_state_dict"),
    (lambda: io.from_torch(TORCH, "fc"), TypeError, "order must be a list; got str"),
    (lambda: io.from_torch(TORCH, ["fc", 1]), TypeError, r"order\[1\] must be a name of torch's or a Layer; got int"),
    (lambda: io.from_torch_state_dict("t.safetensors"), TypeError, "state_dict must .* io.read_torch_safetensors"),
    (lambda: io.from_torch_state_dict({"w": [[1.0], [1.0, 2.0]]}), ValueError, "w must be a rectangular array"),
    (lambda: io.to_torch_state_dict(NET, 5), TypeError, "names must be a dict of torch's names by ours; got int"),
    (lambda: io.to_torch_state_dict(NET, {0: "a"}), TypeError, "names must be a dict of str to str; got 0: 'a'"),
    (
        lambda: io.to_torch_state_dict(NET, {"rnn": "1"}),
        ValueError,
        "names must be torch's names by the places 0, 1, 2, 3; got the place 'rnn'",
    ),
    (
        lambda: io.to_torch_state_dict(NET, {"0": "a", "3": "a"}),
        ValueError,
        r"names must tell parameters apart; 0\.weight and 3\.weight would both be a\.weight",
    ),
    (
        lambda: io.to_torch_state_dict(DENSE, {"0": "a"}),
        ValueError,
        "by the places weight, bias; got the place '0'",
    ),
    (lambda: io.load_torch_state_dict(NET, STATE, strict=1), TypeError, "strict must be True or False; got 1"),
    (lambda: io.load_keras_weights(DENSE, None), TypeError, "weights must be a list; got NoneType"),
    (lambda: io.load_keras_weights(DENSE, {}), TypeError, "weights must be a list .* got dict .*read_keras_weights"),
    (lambda: io.load_keras_weights(DENSE, [[[1], [1, 2]]]), ValueError, r"weights\[0\] must be a rectangular array"),
    (
        lambda: io.load_keras_weights(Sequential(DENSE), [np.ones((2, 2)), np.ones(2)]),
        ValueError,
        r"weights of shapes \(2, 2\), \(2,\) do not fit 0, Dense.*: weight would be of shape \(2, 2\), not \(2, 3\)",
    ),
    (lambda: io.export_onnx(NET, layout="0"), TypeError, "layout must be an integer; got '0'"),
    (lambda: io.import_onnx(3), TypeError, "source must be a path, bytes or an onnx.ModelProto; got int"),
    (lambda: io.import_onnx(BytesPath()), TypeError, "source must be a path; got BytesPath"),
    (lambda: io.import_onnx("m.onnx", x=["x"]), TypeError, "x must be a string; got list"),
    (lambda: io.import_onnx("m.onnx", lengths="x"), ValueError, r"lengths must be an input of integers \(N,\)"),
    (lambda: io.convert("m.npz", "m.pkl"), ValueError, "target must end in .safetensors or .npz"),
    (lambda: io.convert("m.npz", "m.npz", "torch"), ValueError, "target must end in .safetensors"),
    (lambda: io.convert("m.npz", "b.npz", lengths=True), ValueError, "lengths is for to='onnx'; to is 'rnnfast'"),
    (lambda: io.convert("m.npz", "b/", layout=1), ValueError, "layout is for to='onnx'; to is 'folder'"),
    (lambda: io.convert("m.npz", "b.onnx", names={"0": "a"}), ValueError, "names is for to='torch'; to is 'onnx'"),
    (lambda: io.convert("m.npz", "b.npz", order=["fc"]), ValueError, r"order is for .*; source is m\.npz"),
    (lambda: io.read_any("m.onnx", order=["fc"]), ValueError, r"order is for .*; source is m\.onnx"),
    (lambda: io.read_any("m.npz", batch_first=False), ValueError, r"batch_first=False is for \.onnx; source is m\.npz"),
]


@pytest.mark.parametrize(("call", "error", "match"), REFUSED)
def test_the_message_says_what_came_and_what_was_expected(call, error, match, files):
    before = {path: path.stat().st_mtime_ns for path in Path().iterdir()}
    with pytest.raises(error, match=match):
        call()
    assert {path: path.stat().st_mtime_ns for path in Path().iterdir()} == before


def test_places_without_parameters_may_have_names():
    names = {"2": "pool", "1.weight_ih_l0": "w", "1": "rnn"}
    found = io.to_torch_state_dict(NET, names)
    assert "w" in found and "rnn.weight_hh_l0" in found
    nested = Sequential(Sequential(LSTM(3, 4, seed=0), Last()), Dense(4, 2, seed=1))
    found = io.to_torch_state_dict(nested, {"0": "body", "0.1": "pool", "1": "head"})
    assert list(found)[-1] == "head.bias" and next(iter(found)) == "body.0.weight_ih_l0"
