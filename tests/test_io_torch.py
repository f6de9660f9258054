"""Torch's names and dtypes in and out, without torch: with stand-ins for its modules, and with files."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from model_table import MAKERS

from rnnfast import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Dense,
    Dropout,
    Embedding,
    Last,
    LayerNorm,
    Sequential,
    load_model,
    save_model,
)
from rnnfast.io import (
    ConversionError,
    ModelFileError,
    from_torch,
    from_torch_state_dict,
    load_torch_state_dict,
    read_torch_safetensors,
    save_torch_safetensors,
    to_torch_state_dict,
)
from rnnfast.io.foreign import as_parameter, check_said
from rnnfast.io.torch_weights import SAID


class Tensor:
    """What a tensor of torch shows of itself."""

    def __init__(self, array, dtype):
        self.array, self.dtype = array, f"torch.{dtype}"

    def detach(self):
        return self

    def cpu(self):
        return self

    def float(self):
        return Tensor(self.array.astype(np.float32), "float32")

    def numpy(self):
        assert "bfloat16" not in self.dtype  # torch raises there
        return self.array


def module(kind, state, children=(), **attributes):
    """Return a stand-in for a module of torch of that class."""

    def name_parts(self):
        return iter(children)

    def all_state(self):
        return {**state, **{f"{n}.{k}": v for n, c in children for k, v in c.state_dict().items()}}

    cls = type(kind, (), {"state_dict": all_state, "named_children": name_parts, "__module__": "torch.nn.modules.x"})
    found = cls()
    found.__dict__.update(attributes)
    return found


def recurrent(kind, layer, **more):
    options = {k: getattr(layer, k) for k in ("input_size", "hidden_size", "num_layers", "bias", "bidirectional")}
    return module(kind, layer.state_dict(), **{"batch_first": False, "dropout": 0.0, "proj_size": 0, **options, **more})


def linear(layer):
    state = layer.state_dict()
    return module("Linear", state, in_features=layer.in_features, out_features=layer.out_features, bias=state["bias"])


def test_modules_become_layers():
    gru = GRU(3, 4, num_layers=2, bidirectional=True, seed=0)
    found = from_torch(recurrent("GRU", gru, dropout=0.25))
    assert found.config() == {**gru.config(), "batch_first": False, "dropout": 0.25}
    assert from_torch(recurrent("GRU", gru), batch_first=True).batch_first
    for name, array in gru.parameters().items():
        np.testing.assert_array_equal(found.parameters()[name], array)
    with pytest.raises(ConversionError, match="RNN: nonlinearity must be one of"):
        from_torch(recurrent("RNN", RNN(3, 4), nonlinearity="gelu"))


def test_projections():
    lstm = LSTM(3, 6, num_layers=2, bidirectional=True, proj_size=2, seed=0)
    found = from_torch(recurrent("LSTM", lstm, proj_size=2), batch_first=True)
    x = np.random.default_rng(0).standard_normal((2, 4, 3))
    np.testing.assert_array_equal(found(x)[0], lstm(x)[0])
    guessed = from_torch_state_dict(to_torch_state_dict(lstm))
    np.testing.assert_array_equal(guessed(x)[0], lstm(x)[0])
    assert guessed.config() == lstm.config() and to_torch_state_dict(lstm).keys() == lstm.state_dict().keys()
    gru = {**GRU(3, 6, seed=0).state_dict(), "weight_hh_l0": np.zeros((18, 2)), "weight_hr_l0": np.zeros((2, 6))}
    with pytest.raises(ConversionError, match="there is no GRU with a projection"):
        from_torch_state_dict(gru)


@pytest.mark.parametrize(
    "options",
    [{"peephole": True}, {"coupled": True}, {"layer_norm": True}, {"cell_clip": 1.0}, {"zoneout": 0.1}],
    ids=lambda options: next(iter(options)),
)
def test_options_that_torch_has_not_are_named(options):
    with pytest.raises(ConversionError, match=f"torch cannot say {next(iter(options))}="):
        to_torch_state_dict(LSTM(2, 3, **options))


def test_float16_and_bfloat16_become_float32():
    layer = Dense(3, 2, seed=0)
    for kind in ("float16", "bfloat16"):
        state = {name: Tensor(array.astype(np.float16), kind) for name, array in layer.state_dict().items()}
        found = from_torch(module("Linear", state, in_features=3, out_features=2, bias=state["bias"]))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found.params["weight"], layer.params["weight"].astype(np.float16))
    doubles = {name: Tensor(array.astype(float), "float64") for name, array in layer.state_dict().items()}
    assert from_torch(module("Linear", doubles, in_features=3, out_features=2, bias=True)).dtype == np.float64
    for bad in (Tensor(np.zeros(1), "qint8"), np.zeros(1, complex), np.zeros(1, int), np.zeros(1, ">i2")):
        with pytest.raises(ConversionError, match="w must be of float32, float64, float16, bfloat16; got"):
            as_parameter("w", bad)
    assert as_parameter("w", np.arange(3, dtype=">f4")).dtype.isnative


def test_a_sequential_keeps_its_places():
    parts = [Embedding(5, 3, seed=0), LSTM(3, 4, seed=1), Dense(4, 2, seed=2)]
    table = module(
        "Embedding",
        parts[0].state_dict(),
        num_embeddings=5,
        embedding_dim=3,
        padding_idx=None,
        max_norm=None,
        scale_grad_by_freq=False,
    )
    whole = module(
        "Sequential",
        {},
        [
            ("0", table),
            ("1", recurrent("LSTM", parts[1])),
            ("2", module("Identity", {})),
            ("3", module("Sequential", {}, [("0", linear(parts[2])), ("1", module("Softmax", {}, dim=-1))])),
        ],
    )
    found = from_torch(whole, batch_first=True)
    assert list(found.parameters()) == list(whole.state_dict())
    ids = np.array([[1, 4, 2]])
    expected = Sequential(*parts, Activation("softmax"))(ids)[0]
    np.testing.assert_allclose(found(ids)[0], expected, rtol=0, atol=1e-6)
    named = module("Net", {}, [("emb", table), ("rnn", recurrent("LSTM", parts[1])), ("head", linear(parts[2]))])
    named_found = from_torch(named, ["emb", "rnn", Last(), "head", Activation("softmax")], batch_first=True)
    np.testing.assert_allclose(named_found(ids)[0], expected[:, -1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: module("Conv1d", {}), "Conv1d of torch.nn.modules.x has no counterpart among RNN, LSTM"),
        (lambda: module("Softmax", {}, dim=1), "no counterpart of dim=1"),
        (lambda: recurrent("GRU", GRU(2, 3), proj_size=2), "no counterpart of proj_size=2"),
        (lambda: module("LayerNorm", {}, normalized_shape=(2, 3), eps=1e-5, elementwise_affine=False), "one axis"),
        (lambda: module("Sequential", {}, [("0", module("Flatten", {}))]), r"0 \(Flatten\)"),
        (
            lambda: module("Linear", {"weight": np.zeros((2, 2), "f4")}, in_features=2, out_features=2, bias=1),
            "missing",
        ),
    ],
)
def test_what_has_no_counterpart_is_named(make, match):
    with pytest.raises(ConversionError, match=match):
        from_torch(make())


def test_own_modules_need_an_order():
    net = module("Net", {}, [("fc", linear(Dense(2, 2)))])
    type(net).__module__ = "mine"
    with pytest.raises(ConversionError, match="give order="):
        from_torch(net)
    with pytest.raises(ConversionError, match="no child 'head' in Net; there are fc"):
        from_torch(net, ["head"])


@pytest.mark.parametrize("kind", MAKERS)
def test_every_layer_is_said_or_refused(kind):
    layer = MAKERS[kind](np.float32)
    if type(layer) in SAID and kind != "GRU":
        assert list(to_torch_state_dict(layer)) == list(layer.parameters())
    else:
        with pytest.raises(ConversionError, match=f"cannot say .* of {kind}"):
            to_torch_state_dict(layer)


def test_options_that_nobody_taught_are_refused():
    class Later(Dense):
        def __init__(self, in_features, out_features, tilt=0.0):
            super().__init__(in_features, out_features)
            self.tilt = tilt

        def config(self):
            return {"in_features": 2, "out_features": 2, "tilt": self.tilt}

    said = ("in_features", "out_features")
    check_said(Later(2, 2), said, "torch")
    with pytest.raises(ConversionError, match=r"torch cannot say tilt=0.5 of layer 3 \(Later\)"):
        check_said(Later(2, 2, 0.5), said, "torch", "3")


def test_state_dicts_out_and_in_again():
    model = Sequential(Embedding(5, 3, seed=0), GRU(3, 4, seed=1), Last(), Dense(4, 2, seed=2))
    names = {"0": "embedding", "1": "rnn", "3": "head.out"}
    state = to_torch_state_dict(model, names)
    assert next(iter(state)) == "embedding.weight" and "head.out.bias" in state and "rnn.weight_hh_l0" in state
    assert list(to_torch_state_dict(model)) == list(model.parameters())
    other = Sequential(Embedding(5, 3), GRU(3, 4), Last(), Dense(4, 2))
    load_torch_state_dict(other, state, names)
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(other.parameters()[name], array)
    state["more"] = np.zeros(1, "f4")
    with pytest.raises(KeyError, match="unknown"):
        load_torch_state_dict(other, state, names)
    load_torch_state_dict(other, state, names, strict=False)


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        (GRU(2, 3, reset_after=False), "torch cannot say reset_after=False of GRU"),
        (Sequential(Last(), RNN(2, 3, nonlinearity="sigmoid")), r"nonlinearity='sigmoid' of layer 1 \(RNN\)"),
    ],
)
def test_what_torch_has_not_is_refused(layer, match):
    with pytest.raises(ConversionError, match=match):
        to_torch_state_dict(layer)
    with pytest.raises(ConversionError, match=match):
        load_torch_state_dict(layer, layer.state_dict())


def test_layers_from_names_and_shapes():
    model = Sequential(
        Embedding(5, 3, seed=0),
        LSTM(3, 4, num_layers=2, bidirectional=True, seed=1),
        LayerNorm(8),
        Dense(8, 2, seed=2),
    )
    found = from_torch_state_dict(model.state_dict())
    np.testing.assert_array_equal(found([[1, 2]])[0], model([[1, 2]])[0])
    for layer in (GRU(3, 4, bias=False, seed=0), LSTM(3, 4, 2, bidirectional=True, proj_size=2, seed=0)):
        assert from_torch_state_dict(to_torch_state_dict(layer)).config() == layer.config()
    state = {("fc." if k.startswith("3") else "rnn.") + k[2:]: v for k, v in model.state_dict().items() if k[0] in "13"}
    found = from_torch_state_dict(state, ["rnn", Last(), "fc"])
    assert [type(layer) for layer in found] == [LSTM, Last, Dense]


@pytest.mark.parametrize(
    ("state", "match"),
    [
        ({}, "empty"),
        ({"weight": (2, 3)}, "Embedding or a Linear"),
        (RNN(2, 3).state_dict(), "tanh or relu"),
        ({"0.weight": (2, 3), "0.bias": (2,), "2.weight": (2, 2), "2.bias": (2,)}, "what stands at 1"),
        ({"a.weight": (2, 3), "a.bias": (2,)}, "give order= of a"),
        ({"weight_hh_l0": (5, 2), "weight_ih_l0": (5, 2)}, "no known cell"),
        ({"weight_hh_l0": (4,), "weight_ih_l0": (4,)}, "no known cell"),
        ({"weight_hh_l0": (8, 2), "weight_ih_l0": (8, 2), "x": (1,)}, "does not fit"),
        ({"0.a.b": (2, 3)}, "give order="),
        ({"kernel": (2, 3)}, "no layer is known that has kernel"),
    ],
)
def test_what_names_and_shapes_do_not_tell_is_refused(state, match):
    state = {k: np.zeros(v, np.float32) if isinstance(v, tuple) else v for k, v in state.items()}
    with pytest.raises(ConversionError, match=match):
        from_torch_state_dict(state)


def write_raw(path, tensors):
    header, blob = {}, b""
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + blob)
    return path


def test_files_of_every_float(tmp_path):
    values = np.array([1.5, -2.0, 0.0, 2.0**-126], np.float32)
    tensors = {
        "f4": ("F32", [4], values.tobytes()),
        "f8": ("F64", [2, 2], values.astype(float).tobytes()),
        "f2": ("F16", [4], values.astype(np.float16).tobytes()),
        "bf": ("BF16", [4], (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()),
    }
    found = read_torch_safetensors(write_raw(tmp_path / "m.safetensors", tensors))
    assert {name: array.dtype.name for name, array in found.items()} == {
        "f4": "float32",
        "f8": "float64",
        "f2": "float32",
        "bf": "float32",
    }
    for name in ("f4", "bf"):
        np.testing.assert_array_equal(found[name], values)
    np.testing.assert_array_equal(found["f2"], values.astype(np.float16))
    np.testing.assert_array_equal(found["f8"], values.reshape(2, 2))


def test_files_that_are_refused(tmp_path):
    path = write_raw(tmp_path / "m.safetensors", {"w": ("I64", [1], bytes(8))})
    with pytest.raises(ConversionError, match=r"w must be of float32.*I64"):
        read_torch_safetensors(path)
    for data in (b"", b"12345678", path.read_bytes()[:-1]):
        path.write_bytes(data)
        with pytest.raises(ModelFileError, match=r"m\.safetensors"):
            read_torch_safetensors(path)
    with pytest.raises(ModelFileError, match="no tensors"):
        read_torch_safetensors(write_raw(path, {}))


def test_files_written_for_torch(tmp_path):
    model = Sequential(GRU(3, 4, seed=0), Dropout(0.1), Dense(4, 2, seed=1))
    path = save_torch_safetensors(model, tmp_path / "m.safetensors", {"0": "rnn"})
    found = read_torch_safetensors(path)
    assert set(found) == {*(f"rnn.{n}" for n in model[0].params), "2.weight", "2.bias"}
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        save_torch_safetensors(model, tmp_path / "m.pt")
    with pytest.raises(ModelFileError, match="not a file of rnnfast"):
        load_model(path)
    saved = save_model(model, tmp_path / "own.safetensors")
    assert "model/0.weight_ih_l0" in read_torch_safetensors(saved)


def test_what_the_package_wrote_is_proved(tmp_path, monkeypatch):
    import safetensors.numpy

    real = safetensors.numpy.save

    def corrupt(arrays, metadata):
        return real({name: array + 1 for name, array in arrays.items()}, metadata)

    monkeypatch.setattr(safetensors.numpy, "save", corrupt)
    with pytest.raises(RuntimeError, match="something else than"):
        save_model(Dense(2, 3), tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []
