"""Imported graphs compute what ONNX Runtime computes, go on learning, and can be saved."""

from __future__ import annotations

import numpy as np
import pytest
from test_io_onnx_export import LENGTHS, MODELS, draw, flat, state_feeds

from rnnfast import (
    Adam,
    Dense,
    MeanSquared,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
    gradcheck,
    load_model,
    save_model,
)
from rnnfast.graph import Graph
from rnnfast.io import ConversionError, ModelFileError, export_onnx, import_onnx
from rnnfast.layers import GRU, LSTM, Dropout, Embedding, Last

onnx = pytest.importorskip("onnx", reason="onnx comes with the test extra")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime comes with the test extra")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("lengths", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("states", [False, True], ids=["plain", "states"])
@pytest.mark.parametrize("name", MODELS)
def test_our_own_graphs_come_back(name, states, lengths, layout, rng):
    model = MODELS[name]()
    batch_first = getattr(model, "batch_first", True)
    graph = import_onnx(export_onnx(model, lengths=lengths, states=states, layout=layout), batch_first=batch_first)
    x = draw(model, rng)
    state, feeds = state_feeds(model, rng) if states else (None, {})
    extra = {"lengths": LENGTHS} if lengths else {}
    y, final = model(x, state, **extra)
    found, after = graph(x, tuple(feeds.values()) or None, **extra)
    np.testing.assert_allclose(found, y, rtol=0, atol=2e-6)
    for value, expected in zip(after, flat(final) if states else (), strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=2e-6)
    assert "equations" not in graph.explain()


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("name", ["tagger", "Last", "Ends", "MeanPool", "MaxPool", "norm without bias"])
def test_gradients_are_those_of_the_model(name, lengths, rng):
    model = MODELS[name]()
    graph = import_onnx(export_onnx(model, lengths=lengths is not None))
    model = Sequential(*(layer for layer in model if not isinstance(layer, Dropout)))  # a graph drops nothing
    x = draw(model, rng)
    (y, _), pullback = model.forward(x, lengths=lengths)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    grads, found = {}, {}
    dx = pullback(dy, grads)
    (_, _), back = graph.forward(x, lengths=lengths)
    np.testing.assert_allclose(back(dy, found), dx, rtol=0, atol=2e-5)
    assert set(found) == set(graph.parameters())
    # Shapes and orders of gates differ, the sum of all squares does not.
    total, expected = (sum(float(np.square(g, dtype=float).sum()) for g in each.values()) for each in (found, grads))
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_float64_graphs_are_differentiated_right(rng):
    model = Sequential(
        LSTM(3, 4, bidirectional=True, dtype=np.float64, init="torch", seed=0),
        Last(),
        Dense(8, 2, dtype=np.float64, seed=1),
    )
    graph = import_onnx(export_onnx(model, lengths=True, states=True))
    assert graph.dtype == np.float64
    x = rng.standard_normal((4, 6, 3))
    state = tuple(rng.standard_normal((2, 4, 4)) for _ in range(2))
    result = gradcheck(graph, x, state, lengths=LENGTHS)
    assert result, result
    np.testing.assert_allclose(graph(x)[0], model(x)[0], rtol=0, atol=1e-13)


def test_fine_tuning_saving_and_reading_back(tmp_path, rng):
    start = Sequential(Embedding(9, 4, seed=0), GRU(4, 8, seed=1), Last(), Dense(8, 2, seed=2))
    path = tmp_path / "m.onnx"
    export_onnx(start, path, lengths=True)
    graph = import_onnx(path)
    x = [rng.integers(0, 9, n) for n in rng.integers(1, 9, 200)]
    label = np.array([int(ids.sum() > 4 * len(ids)) for ids in x])
    trainer = Trainer(graph, SoftmaxCrossEntropy(), Adam(lr=0.02))
    history = trainer.fit(x, label, epochs=5, progress=False)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    twin = Trainer(start, SoftmaxCrossEntropy(), Adam(lr=0.02))
    expected = twin.fit(x, label, epochs=5, progress=False)["loss"]
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-5)  # float32, 35 updates
    for suffix in (".npz", ".safetensors"):
        again = load_model(save_model(graph, tmp_path / f"g{suffix}"))
        assert type(again) is Graph
        np.testing.assert_array_equal(again(x[0][None])[0], graph(x[0][None])[0])
    stacked = Sequential(graph, Dense(2, 2, seed=0))
    again = load_model(save_model(stacked, tmp_path / "s"))
    np.testing.assert_array_equal(again(x[0][None])[0], stacked(x[0][None])[0])


def value(name, *shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, list(shape))


def tensor(name, array):
    return onnx.numpy_helper.from_array(np.asarray(array), name)


def model_of(nodes, inputs, outputs, initializers=(), opset=17, **options):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **options)


def keras_like(rng, cell, opset):
    """Return a graph as the converter of Keras writes one: time first inside, bare outputs squeezed and sliced."""
    gates = {"LSTM": 4, "GRU": 3}[cell]
    arrays = [
        tensor("W", 0.5 * rng.standard_normal((1, 7 * gates, 5)).astype("f4")),
        tensor("R", 0.5 * rng.standard_normal((1, 7 * gates, 7)).astype("f4")),
        tensor("B", rng.standard_normal((1, 14 * gates)).astype("f4")),
        tensor("kernel", rng.standard_normal((7, 2)).astype("f4")),
        tensor("bias", rng.standard_normal(2).astype("f4")),
        tensor("zeros", np.zeros((1, 3, 7), "f4")),
    ]
    if opset < 13:
        squeeze = [
            helper.make_node("Squeeze", ["Y"], ["steps"], axes=[1]),
            helper.make_node("Squeeze", ["h"], ["final"], axes=[0]),
        ]
    else:
        arrays += [tensor("one", np.array([1])), tensor("zero", np.array([0]))]
        squeeze = [
            helper.make_node("Squeeze", ["Y", "one"], ["steps"]),
            helper.make_node("Squeeze", ["h", "zero"], ["final"]),
        ]
    if opset < 10:
        last = [helper.make_node("Slice", ["batch_major"], ["last"], starts=[-1], ends=[2**31 - 1], axes=[1])]
    else:
        arrays += [tensor("start", np.array([-1])), tensor("end", np.array([2**31 - 1])), tensor("axis", np.array([1]))]
        last = [helper.make_node("Slice", ["batch_major", "start", "end", "axis"], ["last"])]
    nodes = [
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        helper.make_node(
            cell,
            ["xt", "W", "R", "B", "", "zeros", *(["zeros"] if cell == "LSTM" else [])],
            ["Y", "h"],
            hidden_size=7,
            direction="forward",
            **({"linear_before_reset": 1} if cell == "GRU" else {}),
        ),
        *squeeze,
        helper.make_node("Transpose", ["steps"], ["batch_major"], perm=[1, 0, 2]),
        *last,
        helper.make_node("Reshape", ["last", "flat"], ["rows"]),
        helper.make_node("Add", ["rows", "final"], ["both"]),
        helper.make_node("MatMul", ["both", "kernel"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["y"], axis=-1),
    ]
    arrays.append(tensor("flat", np.array([-1, 7])))
    return model_of(nodes, [value("x", 3, "T", 5)], [value("y", 3, 2)], arrays, opset)


@pytest.mark.parametrize("opset", [9, 12, 15, 17])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_graphs_of_keras(cell, opset, rng):
    proto = keras_like(rng, cell, opset)
    x = rng.standard_normal((3, 6, 5)).astype("f4")
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    graph = import_onnx(proto)
    np.testing.assert_allclose(graph(x)[0], session.run(None, {"x": x})[0], rtol=0, atol=1e-6)
    assert sorted(graph.params) == ["B", "R", "W", "bias", "kernel"]  # and not the zeros that it starts from
    (_, _), pullback = graph.forward(x)
    grads = {}
    pullback(rng.standard_normal((3, 2)), grads)
    assert all(np.abs(g).max() > 1e-4 for g in grads.values())


def test_half_precision_becomes_single(rng):
    weight = rng.standard_normal((5, 2))
    for kind in ("float16", "bfloat16"):
        to = getattr(onnx.TensorProto, kind.upper())
        stored = helper.make_tensor("w", to, (5, 2), weight.ravel())
        nodes = [helper.make_node("Cast", ["w"], ["wide"], to=FLOAT), helper.make_node("MatMul", ["x", "wide"], ["y"])]
        graph = import_onnx(model_of(nodes, [value("x", "N", 5)], [value("y", "N", 2)], [stored]))
        assert graph.params["w"].dtype == np.float32
        np.testing.assert_array_equal(graph.params["w"], onnx.numpy_helper.to_array(stored).astype(np.float32))


ONE = [value("x", "N", 5)], [value("y", "N", 5)]


@pytest.mark.parametrize(
    ("proto", "error", "match"),
    [
        (lambda: model_of([helper.make_node("Erf", ["x"], ["y"])], *ONE), ConversionError, "operator Erf"),
        (
            lambda: model_of([helper.make_node("Cast", ["x"], ["y"], to=10)], *ONE),
            ConversionError,
            "a Cast to float16 is not supported",
        ),
        (
            lambda: model_of([helper.make_node("Softmax", ["x"], ["y"], axis=1)], *ONE, opset=11),
            ConversionError,
            "axis=1 of opset 11 flattens",
        ),
        (
            lambda: model_of([helper.make_node("Dropout", ["x"], ["y", "mask"])], *ONE),
            ConversionError,
            "mask of Dropout",
        ),
        (
            lambda: model_of(
                [helper.make_node("Relu", ["x"], ["y"])], [value("x", 2, kind=10)], [value("y", 2, kind=10)]
            ),
            ConversionError,
            "'x' must be of float32, float64, int32, int64 or bool; got float16",
        ),
        (lambda: b"nonsense", ModelFileError, "no valid ONNX model"),
        (lambda: 3, TypeError, "source must be a path"),
    ],
)
def test_what_is_not_supported_is_named(proto, error, match):
    with pytest.raises(error, match=match):
        import_onnx(proto())


def test_what_a_trainer_must_know(rng):
    backwards = import_onnx(export_onnx(GRU(3, 4, bidirectional=True), states=True))
    forwards = import_onnx(export_onnx(GRU(3, 4), states=True))
    x, y = rng.standard_normal((40, 3)), rng.standard_normal((40, 4))
    Trainer(forwards, MeanSquared(), Adam()).fit_stream(x, y, streams=2, steps=5, progress=False)
    with pytest.raises(ValueError, match="read forwards only"):
        Trainer(backwards, MeanSquared(), Adam()).fit_stream(x, np.zeros((40, 8)), streams=2, progress=False)
    turned = import_onnx(export_onnx(GRU(3, 4, batch_first=False)), batch_first=False)
    with pytest.raises(ValueError, match="must be batch first"):
        Trainer(turned, MeanSquared(), Adam())


def test_names_are_checked(tmp_path):
    proto = export_onnx(Dense(5, 2))
    for options in ({"x": "z"}, {"lengths": "z"}, {"y": "z"}):
        with pytest.raises(ValueError, match=r"there is no .*put 'z'; there are"):
            import_onnx(proto, **options)
    with pytest.raises(FileNotFoundError):
        import_onnx(tmp_path / "absent.onnx")


def test_roles_can_be_given(rng):
    nodes = [helper.make_node("Sub", ["a", "b"], ["d"]), helper.make_node("Mul", ["a", "b"], ["p"])]
    proto = model_of(nodes, [value("a", "N", 2), value("b", "N", 2)], [value("d", "N", 2), value("p", "N", 2)])
    graph = import_onnx(proto, x="b", y="p")
    a, b = rng.standard_normal((2, 3, 2)).astype("f4")
    y, (state,) = graph(b, (a,))
    np.testing.assert_array_equal(y, a * b)
    np.testing.assert_array_equal(state, a - b)
