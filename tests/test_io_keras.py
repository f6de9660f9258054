"""Keras's weights: against its equations in NumPy, live modules by stand-ins, and its files."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from model_table import MAKERS

from rnnfast import GRU, LSTM, RNN, Dense, Dropout, Embedding, Ends, Last, LayerNorm, Sequential
from rnnfast.io import (
    ConversionError,
    ModelFileError,
    from_keras,
    load_keras_weights,
    read_keras_weights,
    to_keras_weights,
)
from rnnfast.io.keras_weights import KINDS

N, T, I, H = 3, 6, 4, 5


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def keras_lstm(x, kernel, recurrent, bias):
    """Return the outputs of all steps by the equations of Keras, gates i f c o."""
    h = c = np.zeros((len(x), H))
    out = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.stack(out, axis=1)


def keras_gru(x, kernel, recurrent, bias):
    """Return the same for GRU, gates z r h: reset after the product where the bias has two rows."""
    after = bias.ndim == 2
    input_bias, recurrent_bias = bias if after else (bias, np.zeros_like(bias))
    h = np.zeros((len(x), H))
    out = []
    for t in range(x.shape[1]):
        xz, xr, xh = np.split(x[:, t] @ kernel + input_bias, 3, axis=1)
        rz, rr, rh = np.split(recurrent, 3, axis=1)
        bz, br, bh = np.split(recurrent_bias, 3)
        z, r = sigmoid(xz + h @ rz + bz), sigmoid(xr + h @ rr + br)
        hh = np.tanh(xh + r * (h @ rh + bh)) if after else np.tanh(xh + (r * h) @ rh)
        h = z * h + (1 - z) * hh
        out.append(h)
    return np.stack(out, axis=1)


def keras_rnn(x, kernel, recurrent, bias):
    h = np.zeros((len(x), H))
    out = []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ kernel + bias + h @ recurrent)
        out.append(h)
    return np.stack(out, axis=1)


CELLS = {
    "LSTM": (LSTM, {}, keras_lstm, 4, (4 * H,)),
    "GRU": (GRU, {}, keras_gru, 3, (2, 3 * H)),
    "GRU reset before": (GRU, {"reset_after": False}, keras_gru, 3, (3 * H,)),
    "SimpleRNN": (RNN, {}, keras_rnn, 1, (H,)),
}


def drawn(name, rng, inputs=I):
    _, _, _, gates, bias = CELLS[name]
    shapes = (inputs, gates * H), (H, gates * H), bias
    return [0.5 * rng.standard_normal(shape) for shape in shapes]


@pytest.mark.parametrize("name", CELLS)
def test_lists_of_weights_mean_what_the_equations_say(name, rng):
    cls, options, equations, _, _ = CELLS[name]
    weights = drawn(name, rng)
    layer = cls(I, H, dtype=np.float64, **options)
    load_keras_weights(layer, weights)
    x = rng.standard_normal((N, T, I))
    np.testing.assert_allclose(layer(x)[0], equations(x, *weights), rtol=0, atol=1e-13)
    for found, expected in zip(to_keras_weights(layer), weights, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", CELLS)
def test_values_of_a_bidirectional_stack(name, rng):
    cls, options, equations, _, _ = CELLS[name]
    parts = [drawn(name, rng), drawn(name, rng), drawn(name, rng, 2 * H), drawn(name, rng, 2 * H)]
    layer = cls(I, H, 2, bidirectional=True, dtype=np.float64, **options)
    load_keras_weights(layer, [array for part in parts for array in part])
    x = rng.standard_normal((N, T, I))
    expected = x
    for forward, backward in (parts[:2], parts[2:]):
        back = equations(expected[:, ::-1], *backward)[:, ::-1]
        expected = np.concatenate([equations(expected, *forward), back], axis=2)
    np.testing.assert_allclose(layer(x)[0], expected, rtol=0, atol=1e-13)
    for found, array in zip(to_keras_weights(layer), [array for part in parts for array in part], strict=True):
        np.testing.assert_array_equal(found, array)


def test_two_biases_go_out_as_their_sum(rng):
    layer = LSTM(I, H, init="torch", dtype=np.float64, seed=0)
    again = LSTM(I, H, dtype=np.float64)
    load_keras_weights(again, to_keras_weights(layer))
    x = rng.standard_normal((N, T, I))
    np.testing.assert_allclose(again(x)[0], layer(x)[0], rtol=0, atol=1e-14)


def test_a_model_out_and_in_again(rng):
    def make(seed):
        return Sequential(
            Embedding(9, I, seed=seed),
            GRU(I, H, bias=False, bidirectional=True, seed=seed),
            Dropout(0.1),
            Sequential(Last(), LayerNorm(2 * H)),
            Dense(2 * H, 3, init="torch", seed=seed),
        )

    model, other = make(1), make(2)
    weights = to_keras_weights(model)
    assert [w.shape for w in weights] == [(9, I), (I, 15), (H, 15), (I, 15), (H, 15), (10,), (10,), (10, 3), (3,)]
    load_keras_weights(other, [w.astype(np.float16).astype(np.float32) if k == 0 else w for k, w in enumerate(weights)])
    load_keras_weights(other, weights)
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(other.parameters()[name], array)
    before = other.state_dict()
    for bad, match in (
        (weights[:-1], "weights must be 9 arrays for this layer; got 8"),
        ([*weights[:1], *weights[3:5], *weights[1:3], *weights[5:8], np.zeros(4, "f4")], "shape"),
        ([*weights[:1], weights[1][:, :-1], *weights[2:]], r"weights of shapes \(4, 14\).* do not fit 1"),
    ):
        with pytest.raises(ValueError, match=match):
            load_keras_weights(other, bad)
    with pytest.raises(ConversionError, match=r"weights\[0\] must be of float32.*got int64"):
        load_keras_weights(other, [np.zeros((9, I), int), *weights[1:]])
    for name, array in before.items():
        np.testing.assert_array_equal(other.parameters()[name], array)
    with pytest.raises(ValueError, match="the bias must have 2 axes"):
        load_keras_weights(GRU(I, H), drawn("GRU reset before", rng))


@pytest.mark.parametrize("kind", MAKERS)
def test_every_layer_is_said_or_refused(kind):
    layer = MAKERS[kind](np.float32)
    if type(layer) in KINDS:
        load_keras_weights(MAKERS[kind](np.float32), to_keras_weights(layer))
    else:
        with pytest.raises(ConversionError, match=f"cannot say .* of {kind}"):
            to_keras_weights(layer)


def stand_in(kind, weights=(), layers=None, **config):
    """Return what shows itself as a layer of Keras does."""
    methods = {"get_config": lambda self: config, "get_weights": lambda self: list(weights), "layers": layers}
    methods["name"] = config.get("name", "")
    return type(kind, (), methods)()


def recurrent(name, weights, **more):
    kind = name.split()[0]
    config = {"units": H, "activation": "tanh", "use_bias": True, "name": "layer", "kernel_initializer": {"a": 1}}
    config.update({"dropout": 0.0, "recurrent_dropout": 0.0, "unroll": True, "return_sequences": True})
    if kind != "SimpleRNN":
        config["recurrent_activation"] = "sigmoid"
    if kind == "GRU":
        config["reset_after"] = "before" not in name
    return stand_in(kind, weights, **{**config, **more})


@pytest.mark.parametrize("name", CELLS)
def test_live_layers(name, rng):
    weights, x = drawn(name, rng), rng.standard_normal((N, T, I))
    expected = CELLS[name][2](x, *weights)
    np.testing.assert_allclose(from_keras(recurrent(name, weights))(x)[0], expected, rtol=0, atol=1e-13)
    last = from_keras(recurrent(name, weights, return_sequences=False))
    np.testing.assert_allclose(last(x)[0], expected[:, -1], rtol=0, atol=1e-13)
    assert isinstance(last[1], Last)
    plain = from_keras(recurrent(name, weights[:2], use_bias=False))
    assert not plain.bias


def test_bidirectional_and_model(rng):
    weights = drawn("LSTM", rng), drawn("LSTM", rng)
    config = {"units": H, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
    inner = {"class_name": "LSTM", "config": {**config, "return_sequences": False, "go_backwards": False, "name": "a"}}
    twin = {"class_name": "LSTM", "config": {**inner["config"], "go_backwards": True, "name": "b"}}
    both = stand_in("Bidirectional", [*weights[0], *weights[1]], layer=inner, backward_layer=twin, merge_mode="concat")
    kernel, bias = rng.standard_normal((2 * H, 2)), rng.standard_normal(2)
    head = stand_in("Dense", [kernel, bias], units=2, activation="softmax", use_bias=True)
    model = from_keras(stand_in("Sequential", layers=[stand_in("InputLayer", batch_shape=[None]), both, head]))
    assert [type(layer).__name__ for layer in model] == ["LSTM", "Ends", "Dense", "Activation"]
    x = rng.standard_normal((N, T, I))
    ends = [keras_lstm(x, *weights[0])[:, -1], keras_lstm(x[:, ::-1], *weights[1])[:, -1]]
    scores = np.exp(np.concatenate(ends, axis=1) @ kernel + bias)
    np.testing.assert_allclose(model(x)[0], scores / scores.sum(axis=1, keepdims=True), rtol=0, atol=1e-6)
    assert isinstance(from_keras(both)[1], Ends)


DENSE = {"units": 2, "activation": "linear", "use_bias": True}
TWO = [np.zeros((3, 2), "f4"), np.zeros(2, "f4")]


def bidirectional(inner, **more):
    return stand_in("Bidirectional", TWO, layer={"class_name": inner, "config": {}}, **{"merge_mode": "concat", **more})


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        (lambda r: stand_in("Conv1D", name="c"), r"Conv1D \(c\) has no counterpart among"),
        (lambda r: recurrent("LSTM", drawn("LSTM", r), go_backwards=True), "LSTM layer: .* of go_backwards=True"),
        (
            lambda r: recurrent("LSTM", drawn("LSTM", r), dropout=0.2),
            "no counterpart of dropout=0.2; inference=True reads over it",
        ),
        (lambda r: recurrent("LSTM", drawn("LSTM", r), return_state=True), "return_state=True"),
        (lambda r: recurrent("LSTM", drawn("LSTM", r), recurrent_activation="hard_sigmoid"), "hard_sigmoid"),
        (lambda r: recurrent("LSTM", drawn("LSTM", r), kernel_regularizer={"l2": 1}), "kernel_regularizer"),
        (lambda r: recurrent("LSTM", drawn("LSTM", r), invented=3), "no counterpart of invented=3"),
        (lambda r: recurrent("LSTM", drawn("LSTM", r)[:2]), "must have 3 weights; got 2"),
        (lambda r: recurrent("SimpleRNN", drawn("SimpleRNN", r), activation="elu"), "nonlinearity must be one of"),
        (
            lambda r: stand_in("Embedding", TWO[:1], input_dim=3, output_dim=2, mask_zero=True),
            "calls are given lengths; masks=True",
        ),
        (lambda r: stand_in("Dense", TWO, **{**DENSE, "activation": "gelu"}), "kind must be one of"),
        (lambda r: stand_in("Dense", TWO, **{**DENSE, "activation": {"config": 3}}), "activation="),
        (lambda r: bidirectional("LSTM", merge_mode="sum"), "merge_mode='sum'"),
        (lambda r: bidirectional("ConvLSTM1D"), "Bidirectional of ConvLSTM1D"),
        (
            lambda r: bidirectional("LSTM", backward_layer={"class_name": "GRU", "config": {"go_backwards": True}}),
            "two different layers",
        ),
        (lambda r: stand_in("TimeDistributed", layer={"class_name": "LSTM"}), "TimeDistributed of LSTM"),
        (lambda r: stand_in("LayerNormalization", TWO, axis=[1]), r"axis=\[1\]"),
        (lambda r: stand_in("LayerNormalization", TWO, scale=False), "scale=False"),
        (lambda r: stand_in("Softmax", axis=1), "axis=1"),
        (lambda r: stand_in("ReLU", max_value=6.0), "max_value=6.0"),
        (lambda r: stand_in("GlobalMaxPooling1D", data_format="channels_first"), "channels_first"),
        (lambda r: stand_in("Sequential", layers=[]), "no layers"),
        (lambda r: stand_in("Sequential", layers=[stand_in("Masking", name="m")]), r"Masking \(m\): .*masks=True"),
        (lambda r: stand_in("Own", name="own"), r"Own \(own\) has no counterpart among"),
        (lambda r: stand_in("Dense", [np.zeros((3, 2), int), TWO[1]], **DENSE), "got int64"),
    ],
)
def test_what_has_no_counterpart_is_named(layer, match, rng):
    with pytest.raises(ConversionError, match=match):
        from_keras(layer(rng))


def test_what_acts_in_training_alone_and_masks_are_read_over_where_asked(rng):
    weights, x = drawn("GRU", rng), rng.standard_normal((N, T, I))
    more = {"dropout": 0.2, "recurrent_dropout": 0.3, "kernel_regularizer": {"l2": 1}, "bias_constraint": {"a": 1}}
    layer = recurrent("GRU", weights, **more)
    found = from_keras(layer, inference=True)
    assert found.config()["recurrent_dropout"] == 0.3  # which has a counterpart
    np.testing.assert_allclose(found(x)[0], keras_gru(x, *weights), rtol=0, atol=1e-13)
    inner = {"class_name": "GRU", "config": layer.get_config()}
    both = stand_in("Bidirectional", 2 * weights, layer=inner, backward_layer=None, merge_mode="concat")
    with pytest.raises(ConversionError, match=r"dropout=0\.2; inference=True"):
        from_keras(both)
    assert from_keras(both, inference=True).bidirectional
    embedding = stand_in("Embedding", TWO[:1], input_dim=3, output_dim=2, mask_zero=True)
    model = stand_in("Sequential", layers=[stand_in("Masking", mask_value=0.0), embedding])
    assert [type(part) for part in from_keras(model, masks=True)] == [Embedding]
    with pytest.raises(ConversionError, match="Masking"):
        from_keras(model, inference=True)
    for name in ("masks", "inference"):
        with pytest.raises(TypeError, match=name):
            from_keras(layer, **{name: "yes"})


def functional(*edges, outputs=("c", 0, 0), old=False):
    """Return the config of a functional model of Dense layers; edges are (name, names that it reads)."""
    layers = []
    for name, *sources in edges:
        if old:
            nodes = [[[source, 0, 0, {"training": None}] for source in sources]] if sources else []
        else:
            tensors = [
                {"class_name": "__keras_tensor__", "config": {"shape": [None, 2], "keras_history": [source, 0, k]}}
                for k, source in ((int(s[-1]) if s[-1].isdigit() else 0, s.rstrip("0123456789")) for s in sources)
            ]
            nodes = (
                [{"args": [tensors if len(tensors) > 1 else tensors[0]], "kwargs": {"mask": None}}] if tensors else []
            )
        kind = "Dense" if sources else "InputLayer"
        config = {"name": name, **({**DENSE, "use_bias": False} if sources else {"batch_shape": [None, 2]})}
        layers.append({"class_name": kind, "name": name, "config": config, "inbound_nodes": nodes})
    inputs = [[name, 0, 0] for name, *sources in edges if not sources]
    return {"layers": layers, "input_layers": inputs, "output_layers": [list(outputs)] if old else list(outputs)}


KERNELS = {"b": np.array([[1.0, 2.0], [3.0, 4.0]]), "c": np.array([[0.0, 1.0], [5.0, -1.0]])}


def functional_model(config):
    layers = []
    for part in config["layers"]:
        kernels = [KERNELS[part["config"]["name"]]] if part["class_name"] == "Dense" else []
        layers.append(stand_in(part["class_name"], kernels, **part["config"]))
    model = stand_in("Functional", layers=layers)
    model.get_config = lambda: config
    return model


@pytest.mark.parametrize("old", [False, True], ids=["Keras 3", "Keras 2"])
def test_a_functional_model_that_is_a_chain(old, tmp_path):
    config = functional(("c", "b"), ("a",), ("b", "a"), old=old)  # the order of the list is not that of the chain
    x = np.array([[1.0, -1.0], [0.5, 2.0]])
    expected = x @ KERNELS["b"] @ KERNELS["c"]
    np.testing.assert_allclose(from_keras(functional_model(config))(x)[0], expected, rtol=0, atol=1e-14)
    write_h5(tmp_path / "w.h5", {"dense": [KERNELS["c"]], "dense_1": [KERNELS["b"]]})
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Functional", "config": config}))
        archive.write(tmp_path / "w.h5", "model.weights.h5")
    np.testing.assert_allclose(from_keras(tmp_path / "m.keras")(x)[0], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (functional(("a",), ("b", "a"), ("c", "a", "b")), "layer 'c' reads 2 tensors"),
        (functional(("a",), ("d",), ("b", "a"), ("c", "b")), "a model of 2 inputs and 1 outputs"),
        (functional(("a",), ("b", "a"), ("c", "b1")), "the state of 'b' is read"),
        (functional(("a",), ("b", "a"), ("c", "b"), outputs=("c", 0, 1)), "the state of 'c' is read"),
        (functional(("a",), ("b", "c"), ("c", "b")), "layer 'c' reads what it makes"),
        ({**functional(("a",), ("c", "a")), "output_layers": [["c", 0, 0], ["a", 0, 0]]}, "1 inputs and 2 outputs"),
    ],
)
def test_a_functional_model_that_is_no_chain(config, match):
    with pytest.raises(ConversionError, match=match):
        from_keras(functional_model(config))


def test_a_functional_model_with_a_mask():
    config = functional(("a",), ("b", "a"), ("c", "b"))
    mask = {
        "class_name": "NotEqual",
        "name": "m",
        "config": {"name": "m"},
        "inbound_nodes": config["layers"][1]["inbound_nodes"],
    }
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 2], "keras_history": ["m", 0, 0]}}
    config["layers"].append(mask)
    config["layers"][2]["inbound_nodes"][0]["kwargs"]["mask"] = tensor
    model = functional_model(config)
    with pytest.raises(ConversionError, match=r"layer 'c' is given a mask: .*masks=True"):
        from_keras(model)
    np.testing.assert_array_equal(from_keras(model, masks=True)(np.eye(2))[0], KERNELS["b"] @ KERNELS["c"])


def test_models_in_models(tmp_path):
    """Files name the layers of a model within another by their place below it."""
    inner = {"class_name": "Dense", "config": {**DENSE, "use_bias": False, "name": "x"}}
    outer = [
        {"class_name": "Sequential", "config": {"layers": [inner], "name": "s"}},
        {"class_name": "Dense", "config": {**DENSE, "use_bias": False, "name": "y"}},
    ]
    write_h5(tmp_path / "w.h5", {"sequential/layers/dense": [KERNELS["b"]], "dense": [KERNELS["c"]]})
    assert list(read_keras_weights(tmp_path / "w.h5")) == ["dense", "sequential/dense"]
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": outer}}))
        archive.write(tmp_path / "w.h5", "model.weights.h5")
    np.testing.assert_array_equal(from_keras(tmp_path / "m.keras")(np.eye(2))[0], KERNELS["b"] @ KERNELS["c"])
    first = stand_in("Sequential", layers=[stand_in("Dense", [KERNELS["b"]], **inner["config"])])
    live = stand_in("Sequential", layers=[first, stand_in("Dense", [KERNELS["c"]], **inner["config"])])
    np.testing.assert_array_equal(from_keras(live)(np.eye(2))[0], KERNELS["b"] @ KERNELS["c"])


def test_a_model_in_one_older_file(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py comes with the test extra")
    path, config = tmp_path / "m.h5", functional(("a",), ("b", "a"), ("c", "b"), old=True)

    def write(document, **names):
        with h5py.File(path, "w") as root:
            root.attrs["model_config"] = document if isinstance(document, str) else json.dumps(document)
            for name, kernel in KERNELS.items():
                root[f"model_weights/{name}/{name}/kernel:0"] = kernel
                root[f"model_weights/{name}"].attrs["weight_names"] = [f"{name}/kernel:0".encode()]
            root.create_group("model_weights/a").attrs["weight_names"] = np.zeros(0, "S1")

    write({"class_name": "Functional", "config": config})
    np.testing.assert_array_equal(from_keras(path)(np.eye(2))[0], KERNELS["b"] @ KERNELS["c"])
    whole = path.read_bytes()
    nested = {"class_name": "Sequential", "config": {"layers": []}}
    for document, error, match in (
        ({"class_name": "Sequential", "config": {"layers": [nested]}}, ConversionError, "within a model"),
        ({"class_name": "Own", "config": {}}, ConversionError, "only a Sequential or a Functional"),
        ({"class_name": "Functional", "config": {"layers": [3]}}, ModelFileError, "does not describe layers"),
        ("{", ModelFileError, "model_config is not valid"),
    ):
        write(document)
        with pytest.raises(error, match=rf"m\.h5: .*{match}"):
            from_keras(path)
    for data in (whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(ModelFileError, match=r"m\.h5: "):
            from_keras(path)
    write_h5(path, {"dense": TWO})
    with pytest.raises(ConversionError, match="a file of weights does not tell what the layers are"):
        from_keras(path)


def test_numbers_of_another_file_are_not_read(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py comes with the test extra")
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["numbers"] = np.zeros(2, np.float32)
    path = tmp_path / "m.weights.h5"

    def linked(group):
        group["0"] = h5py.ExternalLink(tmp_path / "other.h5", "numbers")

    def outside(group):
        group.create_dataset("0", (2,), np.float32, external=[(str(tmp_path / "secret"), 0, 8)])

    def virtual(group):
        layout = h5py.VirtualLayout((2,), np.float32)
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "numbers", (2,), np.float32)
        group.create_virtual_dataset("0", layout)

    # A link is followed within the file alone, as this is given to HDF5 opened; there is no such thing in it.
    elsewhere = "dense/0 is not in the file but in another one"
    for make, words in ((linked, "'numbers' doesn't exist|it is no valid"), (outside, elsewhere), (virtual, elsewhere)):
        with h5py.File(path, "w") as root:
            make(root.create_group("layers/dense/vars"))
        with pytest.raises(ModelFileError, match=words):
            read_keras_weights(path)


def test_other_layers():
    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype("f4")
    for layer, expected in (
        (stand_in("Activation", activation="relu"), np.maximum(x, 0)),
        (stand_in("Activation", activation={"class_name": "function", "config": "linear"}), x),
        (stand_in("ReLU", max_value=None, negative_slope=0.0), np.maximum(x, 0)),
        (stand_in("Softmax", axis=-1), np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
        (stand_in("Dropout", rate=0.5, seed=3, noise_shape=None), x),
        (stand_in("GlobalAveragePooling1D", data_format="channels_last", keepdims=False), x.mean(1)),
        (stand_in("GlobalMaxPooling1D"), x.max(1)),
        (stand_in("TimeDistributed", TWO, layer={"class_name": "Dense", "config": DENSE}), np.zeros((2, 4, 2))),
        (
            stand_in("LayerNormalization", [np.full(3, 2, "f4"), np.ones(3, "f4")], axis=[-1], epsilon=0.1),
            2 * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.1) + 1,
        ),
    ):
        np.testing.assert_allclose(from_keras(layer)(x), expected, rtol=0, atol=1e-6)


def write_h5(file, groups):
    h5py = pytest.importorskip("h5py", reason="h5py comes with the test extra")
    with h5py.File(file, "w") as root:
        for name, arrays in groups.items():
            for k, array in enumerate(arrays):
                root[f"layers/{name}/vars/{k}"] = array


def test_files_of_weights(tmp_path, rng):
    weights = drawn("LSTM", rng), drawn("LSTM", rng)
    path = tmp_path / "m.weights.h5"
    write_h5(
        path,
        {
            "dense": TWO,
            "bidirectional/backward_layer/cell": weights[1],
            "bidirectional/forward_layer/cell": weights[0],
        },
    )
    found = read_keras_weights(path)
    assert list(found) == ["bidirectional", "dense"]
    layer = LSTM(I, H, bidirectional=True, dtype=np.float64)
    load_keras_weights(layer, found["bidirectional"])
    for array, expected in zip(to_keras_weights(layer), [*weights[0], *weights[1]], strict=True):
        np.testing.assert_array_equal(array, expected)
    whole = path.read_bytes()
    for data in (b"", whole[:100], whole[: len(whole) // 2], b"x" * 5000):
        path.write_bytes(data)
        with pytest.raises(ModelFileError, match=r"weights\.h5: it is no valid"):
            read_keras_weights(path)
    write_h5(path, {"a": [np.arange(3)]})
    with pytest.raises(ConversionError, match="a/0 must be of float32"):
        read_keras_weights(path)
    with pytest.raises(FileNotFoundError):
        read_keras_weights(tmp_path / "absent.h5")


def test_archives(tmp_path, rng):
    weights = drawn("GRU", rng)
    write_h5(
        tmp_path / "w.h5", {"gru/cell": weights, "dense": [np.ones((H, 2)), np.ones(2)], "dense_1": [2 * np.eye(2)]}
    )
    gru = recurrent("GRU", weights).get_config()
    layers = [
        {"class_name": "InputLayer", "config": {"batch_shape": [None, None, I]}},
        {"class_name": "GRU", "config": gru},
        {"class_name": "Dense", "config": {**DENSE, "activation": "relu"}},
        {"class_name": "Dense", "config": {**DENSE, "use_bias": False}},
    ]
    path = tmp_path / "m.keras"

    def write(config):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.write(tmp_path / "w.h5", "model.weights.h5")

    write({"class_name": "Sequential", "config": {"layers": layers}})
    x = rng.standard_normal((N, T, I))
    expected = 2 * np.maximum(keras_gru(x, *weights) @ np.ones((H, 2)) + 1, 0)
    np.testing.assert_allclose(from_keras(path)(x)[0], expected, rtol=0, atol=1e-12)
    write({"class_name": "Own", "config": {}})
    with pytest.raises(ConversionError, match="only a Sequential or a Functional can be read from a file; got 'Own'"):
        from_keras(path)
    for bad in (
        {"class_name": "Functional", "config": {}},
        {"class_name": "Sequential"},
        {"class_name": "Sequential", "config": {"layers": [3]}},
    ):
        write(bad)
        with pytest.raises(ModelFileError, match="does not describe layers"):
            from_keras(path)
    for data in (b"", b"PK\x03\x04", path.read_bytes()[:-30]):
        path.write_bytes(data)
        with pytest.raises(ModelFileError, match=r"m\.keras: it is no valid"):
            from_keras(str(path))
