"""Graphs: every operator against ONNX Runtime and by central differences, recurrent ones with every attribute."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from rnnfast import gradcheck
from rnnfast.backend import use_backend
from rnnfast.graph import Graph
from rnnfast.graph.layer import constant_of
from rnnfast.graph.table import OPERATORS

T, N, I, H = 5, 4, 3, 6
LENGTHS = np.array([5, 2, 0, 3])
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def port(name, role, array=None, dtype=None, shape=None):
    kind = np.asarray(array).dtype.name if dtype is None else dtype
    return {"name": name, "role": role, "dtype": kind, "shape": [None] * np.ndim(array) if shape is None else shape}


def node(op, inputs, outputs, **attributes):
    attributes = {k: constant_of(v) if isinstance(v, np.ndarray) else v for k, v in attributes.items()}
    return {"op": op, "inputs": inputs, "outputs": outputs, "attributes": attributes}


def graph_of(op, x, others=(), outputs=1, dtype=np.float64, **attributes):
    """Return a graph of one operator: x is its input, floating others are parameters, the rest constants."""
    names = [f"in{k}" if other is not None else "" for k, other in enumerate(others)]
    arrays = {n: np.asarray(o) for n, o in zip(names, others, strict=True) if n}
    weights = {n: a for n, a in arrays.items() if a.dtype.kind == "f" and a.ndim}
    fixed = {n: a for n, a in arrays.items() if n not in weights}
    fixed = {n: a.astype(dtype) if a.dtype.kind == "f" else a for n, a in fixed.items()}
    graph = Graph(
        [port("x", "x", x)],
        [port(f"y{k}", "state" if k else "y", dtype="float64", shape=[None] * 3) for k in range(outputs)],
        [node(op, ["x", *names], [f"y{k}" for k in range(outputs)], **attributes)],
        {n: a.shape for n, a in weights.items()},
        {n: constant_of(a) for n, a in fixed.items()},
        dtype=dtype,
    )
    graph.load_state_dict(weights)
    return graph


R = np.random.default_rng(7)
X = R.standard_normal((3, 4, 5))
POSITIVE = np.abs(X) + 0.5
UNEVEN = X + 0.01 * np.arange(60).reshape(X.shape)  # no two alike, none at a kink
i64 = np.array
CASES = {
    **{f"{op}": (op, X, ()) for op in ("Neg", "Abs", "Exp", "Tanh", "Sigmoid", "Relu", "LeakyRelu", "Elu", "Softsign")},
    "Softplus": ("Softplus", X, ()),
    "ThresholdedRelu": ("ThresholdedRelu", X, (), {"alpha": 0.3}),
    "LeakyRelu alpha": ("LeakyRelu", X, (), {"alpha": 0.3}),
    "Elu alpha": ("Elu", X, (), {"alpha": 0.7}),
    "HardSigmoid": ("HardSigmoid", X, (), {"alpha": 0.3, "beta": 0.4}),
    "Log": ("Log", POSITIVE, ()),
    "Sqrt": ("Sqrt", POSITIVE, ()),
    "Reciprocal": ("Reciprocal", POSITIVE, ()),
    "Identity": ("Identity", X, ()),
    "Dropout": ("Dropout", X, ()),
    "Add": ("Add", X, (R.standard_normal(5),)),
    "Sub": ("Sub", X, (R.standard_normal((4, 1)),)),
    "Mul": ("Mul", X, (R.standard_normal((2, 3, 1, 5)),)),
    "Div": ("Div", X, (R.standard_normal((4, 5)) + 3,)),
    "Pow": ("Pow", POSITIVE, (R.standard_normal((4, 5)),)),
    "Pow number": ("Pow", POSITIVE, (np.float64(2.0),)),
    "Min": ("Min", UNEVEN, (R.standard_normal((4, 5)),)),
    "Max": ("Max", UNEVEN, (R.standard_normal((4, 5)), R.standard_normal(5))),
    "Clip": ("Clip", UNEVEN, (np.float64(-0.5), np.float64(0.7))),
    "Clip above": ("Clip", UNEVEN, (None, np.float64(0.7))),
    "Transpose": ("Transpose", X, (), {"perm": [2, 0, 1]}),
    "Transpose plain": ("Transpose", X, ()),
    "Reshape": ("Reshape", X, (i64([0, -1, 2, 1]),)),
    "Flatten": ("Flatten", X, (), {"axis": 2}),
    "Squeeze": ("Squeeze", X[:, None, :, None], (i64([1, -2]),)),
    "Squeeze all": ("Squeeze", X[:, None], ()),
    "Unsqueeze": ("Unsqueeze", X, (i64([0, -1]),)),
    "Expand": ("Expand", X[:, :1], (i64([2, 1, 4, 5]),)),
    "Tile": ("Tile", X, (i64([2, 1, 3]),)),
    "Concat": ("Concat", X, (R.standard_normal((3, 2, 5)),), {"axis": 1}),
    "Slice": ("Slice", X, (i64([1, -3]), i64([3, 99]), i64([1, -1]), i64([1, 2]))),
    "Slice back": ("Slice", X, (i64([-1]), i64([-(2**40)]), i64([1]), i64([-1]))),
    "Slice plain": ("Slice", X, (i64([1, 1]), i64([2, -1]))),
    "Gather": ("Gather", X, (i64([[1, -1], [2, 1]]),), {"axis": 1}),
    "Gather one": ("Gather", X, (np.array(-1),), {"axis": 1}),
    "GatherElements": ("GatherElements", X, (R.integers(-4, 4, (3, 2, 5)),), {"axis": 1}),
    "GatherND": ("GatherND", X, (i64([[3], [0], [1]]),), {"batch_dims": 1}),
    "GatherND plain": ("GatherND", X, (i64([[2, 3], [0, 0]]),)),
    "ReverseSequence": ("ReverseSequence", X, (i64([2, 4, 1]),), {"batch_axis": 0, "time_axis": 1}),
    "MatMul": ("MatMul", X, (R.standard_normal((5, 2)),)),
    "MatMul stacked": ("MatMul", X, (R.standard_normal((2, 1, 5, 2)),)),
    "MatMul vector": ("MatMul", X, (R.standard_normal(5),)),
    "Gemm": ("Gemm", X[0], (R.standard_normal((2, 5)), R.standard_normal(2)), {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    "Gemm turned": ("Gemm", X[0], (R.standard_normal((4, 2)),), {"transA": 1}),
    "ReduceSum": ("ReduceSum", X, (i64([0, -1]),), {"keepdims": 0}),
    "ReduceSum all": ("ReduceSum", X, ()),
    "ReduceSum none": ("ReduceSum", X, (), {"noop_with_empty_axes": 1}),
    "ReduceMean": ("ReduceMean", X, (i64([1]),)),
    "ReduceMax": ("ReduceMax", UNEVEN, (i64([-2]),), {"keepdims": 0}),
    "ReduceMin": ("ReduceMin", UNEVEN, (i64([0, 2]),)),
    "Softmax": ("Softmax", X, (), {"axis": 1}),
    "LogSoftmax": ("LogSoftmax", X, ()),
    "LayerNormalization": ("LayerNormalization", X, (R.standard_normal(5), R.standard_normal(5)), {"epsilon": 0.01}),
    "LayerNormalization of two axes": ("LayerNormalization", X, (R.standard_normal((4, 5)),), {"axis": 1}),
    "Cast": ("Cast", X, (), {"to": "float64"}),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients(name):
    op, x, others, *attributes = CASES[name]
    result = gradcheck(graph_of(op, x, others, **(attributes[0] if attributes else {})), x)
    assert result, result


# Without a gradient, or with a test of their own below.
SPECIAL = {
    "Not", "Floor", "Ceil", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or",
    "Where", "Shape", "Size", "ConstantOfShape", "Range", "ArgMax", "Split", "RNN", "GRU", "LSTM",
}  # fmt: skip


def test_every_operator_is_tested():
    assert {case[0] for case in CASES.values()} | SPECIAL == set(OPERATORS)


def by_runtime(op, x, others, **attributes):
    """Return what ONNX Runtime makes of the same node in float32."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    helper = onnx.helper
    if "to" in attributes:
        attributes = {"to": helper.np_dtype_to_tensor_dtype(np.dtype("float32"))}
    names = ["x", *(f"in{k}" if o is not None else "" for k, o in enumerate(others))]
    arrays = [np.asarray(a, np.float32 if np.asarray(a).dtype.kind == "f" else None) for a in others if a is not None]
    initializers = [
        onnx.numpy_helper.from_array(a, n) for a, n in zip(arrays, [n for n in names[1:] if n], strict=True)
    ]
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(op, names, ["y"], **attributes)],
            "one",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
            [helper.make_empty_tensor_value_info("y")],
            initializers,
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.astype(np.float32)})[0]


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_the_runtime(name):
    op, x, others, *attributes = CASES[name]
    attributes = attributes[0] if attributes else {}
    if op == "Cast":
        attributes = {"to": "float32"}
    expected = by_runtime(op, x, others, **attributes)
    y, _ = graph_of(op, x.astype(np.float32), others, dtype=np.float32, **attributes)(x)
    assert y.shape == expected.shape and y.dtype == np.float32
    np.testing.assert_allclose(y, expected, rtol=2e-6, atol=2e-6)


def test_operators_without_a_gradient():
    x = np.array([[1.0, -2.0], [0.5, 3.0]])

    def value(op, x, others=(), **attributes):
        run = OPERATORS[op].run(attributes, [x, *others])
        assert run[1] is None
        return run[0][0]

    assert value("Floor", x)[1, 0] == 0 and value("Ceil", x)[1, 0] == 1
    assert value("Not", x > 0)[0, 1]
    for op, f in (("Equal", np.equal), ("Less", np.less), ("LessOrEqual", np.less_equal), ("Greater", np.greater)):
        np.testing.assert_array_equal(value(op, x, (x.T,)), f(x, x.T))
    np.testing.assert_array_equal(value("GreaterOrEqual", x, (x.T,)), x >= x.T)
    np.testing.assert_array_equal(value("And", x > 0, (x < 1,)), (x > 0) & (x < 1))
    np.testing.assert_array_equal(value("Or", x > 2, (x < 0,)), (x > 2) | (x < 0))
    assert value("Size", x) == 4
    np.testing.assert_array_equal(value("Shape", np.zeros((2, 3, 4)), start=1), [3, 4])
    np.testing.assert_array_equal(value("ConstantOfShape", np.array([2]), value=np.array([1.5])), [1.5, 1.5])
    assert value("ConstantOfShape", np.array([2, 1])).dtype == np.float32
    np.testing.assert_array_equal(value("Range", np.array(1), (np.array(7), np.array(2))), [1, 3, 5])
    np.testing.assert_array_equal(value("ArgMax", x, axis=1, keepdims=0), [0, 1])
    np.testing.assert_array_equal(OPERATORS["Div"].run({}, [np.array([-7]), np.array([2])])[0][0], [-3])


def test_split_and_where_in_a_larger_graph(rng):
    """Values that are used twice, a state, and an output that nobody asks a gradient of."""
    a, b = rng.standard_normal((2, 4)), rng.standard_normal((3, 4))
    graph = Graph(
        [port("x", "x", dtype="float64", shape=["N", 4]), port("s", "state", dtype="float64", shape=["N", 3])],
        [port("y", "y", dtype="float64", shape=["N", 3]), port("s2", "state", dtype="float64", shape=["N", 3])],
        [
            node("Split", ["x", "sizes"], ["left", "right"], axis=1, parts=2),
            node("Gemm", ["left", "a"], ["u"]),
            node("Gemm", ["x", "b"], ["v"], transB=1),
            node("Greater", ["s", "zero"], ["positive"]),
            node("Slice", ["u", "zeros", "threes", "ones"], ["u3"]),
            node("Where", ["positive", "u3", "v"], ["w"]),
            node("Mul", ["w", "w"], ["w2"]),
            node("Add", ["w2", "s"], ["s2"]),
            node("Tanh", ["s2"], ["y"]),
        ],
        {"a": a.shape, "b": b.shape},
        {
            "sizes": constant_of(np.array([2, 2])),
            "zero": constant_of(np.array(0.0)),
            "zeros": constant_of(np.array([0])),
            "threes": constant_of(np.array([3])),
            "ones": constant_of(np.array([1])),
        },
        dtype=np.float64,
    )
    graph.load_state_dict({"a": a, "b": b})
    x, s = rng.standard_normal((5, 4)), rng.standard_normal((5, 3)) + 0.1
    result = gradcheck(graph, x, (s,))
    assert result, result
    w = np.where(s > 0, (x[:, :2] @ a)[:, :3], x @ b.T)
    y, (after,) = graph(x, (s,))
    np.testing.assert_allclose(after, w * w + s, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(y, np.tanh(after))
    for copy in (pickle.loads(pickle.dumps(graph)), Graph(**graph.config())):
        copy.load_state_dict(graph.state_dict())
        np.testing.assert_array_equal(copy(x, (s,))[0], y)
    assert graph.run({"x": x, "s": s}).keys() == {"y", "s2"}
    np.testing.assert_array_equal(graph(x)[1][0], graph(x, (np.zeros((5, 3)),))[1][0])


# Attributes beyond the plain ones; activations are given for one direction.
RECURRENT = {
    "RNN plain": ("RNN", {}),
    "RNN relu": ("RNN", {"activations": ["Relu"]}),
    "RNN affine": ("RNN", {"activations": ["Affine"], "activation_alpha": [0.4], "activation_beta": [0.1]}),
    "RNN leaky, clipped": ("RNN", {"activations": ["LeakyRelu"], "activation_alpha": [0.2], "clip": 0.7}),
    "RNN thresholded": ("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [0.1]}),
    "RNN hard": ("RNN", {"activations": ["HardSigmoid"], "activation_alpha": [0.3], "activation_beta": [0.4]}),
    "RNN softsign": ("RNN", {"activations": ["Softsign"]}),
    "RNN softplus": ("RNN", {"activations": ["Softplus"]}),
    "RNN elu": ("RNN", {"activations": ["Elu"], "activation_alpha": [0.6]}),
    "GRU plain": ("GRU", {}),
    "GRU after": ("GRU", {"linear_before_reset": 1}),
    "GRU clipped": ("GRU", {"clip": 0.4}),
    "GRU after, hard": (
        "GRU",
        {
            "linear_before_reset": 1,
            "activations": ["HardSigmoid", "ScaledTanh"],
            "activation_alpha": [0.25, 0.9],
            "activation_beta": [0.45, 1.1],
        },
    ),
    "LSTM plain": ("LSTM", {}),
    "LSTM clipped": ("LSTM", {"clip": 0.4}),
    "LSTM peepholes": ("LSTM", {}),
    "LSTM coupled": ("LSTM", {"input_forget": 1}),
    "LSTM coupled peepholes": ("LSTM", {"input_forget": 1}),
    "LSTM coupled peepholes, clipped": ("LSTM", {"input_forget": 1, "clip": 0.6}),
    "LSTM relu": ("LSTM", {"activations": ["Sigmoid", "Relu", "Softsign"]}),
}
NATIVE = {
    "RNN plain",
    "RNN relu",
    "GRU plain",
    "GRU after",
    "LSTM plain",
    "LSTM peepholes",
    "LSTM coupled",
    "LSTM coupled peepholes",
}


def recurrent(name, direction, lengths, layout, rng, dtype=np.float64):
    """Return a graph of one recurrent node, x, and the state."""
    op, attributes = RECURRENT[name]
    directions = 2 if direction == "bidirectional" else 1
    attributes = dict(attributes)
    for key in ("activations", "activation_alpha", "activation_beta"):
        if key in attributes:
            attributes[key] = attributes[key] * directions
    rows = GATES[op] * H
    weights = {
        "W": 0.5 * rng.standard_normal((directions, rows, I)),
        "R": 0.5 * rng.standard_normal((directions, rows, H)),
        "B": 0.3 * rng.standard_normal((directions, 2 * rows)),
    }
    if "peepholes" in name:
        weights["P"] = 0.5 * rng.standard_normal((directions, 3 * H))
    states = ["h", "c"] if op == "LSTM" else ["h"]
    shape = (N, directions, H) if layout else (directions, N, H)
    x = rng.standard_normal((N, T, I) if layout else (T, N, I)).astype(dtype)
    state = tuple(0.5 * rng.standard_normal(shape).astype(dtype) for _ in states)
    inputs = ["x", "W", "R", "B", "lens" if lengths is not None else "", *states, *(["P"] if "P" in weights else [])]
    ports = [port("x", "x", x), *(port(s, "state", v) for s, v in zip(states, state, strict=True))]
    if lengths is not None:
        ports.append({"name": "lens", "role": "lengths", "dtype": "int32", "shape": [N]})
    graph = Graph(
        ports,
        [port("Y", "y", dtype=x.dtype.name, shape=[None] * 4), *(port(f"{s}n", "state", x) for s in states)],
        [
            node(
                op,
                inputs,
                ["Y", *(f"{s}n" for s in states)],
                hidden_size=H,
                direction=direction,
                layout=layout,
                **attributes,
            )
        ],
        {key: array.shape for key, array in weights.items()},
        {},
        0 if layout else 1,
        dtype=dtype,
    )
    graph.load_state_dict(weights)
    return graph, x, state


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_gradients(name, direction, lengths, layout, rng):
    if layout and direction == "reverse":
        direction = "forward"
    graph, x, state = recurrent(name, direction, lengths, layout, rng)
    result = gradcheck(graph, x, state, lengths=lengths, directions=1)
    assert result, result
    assert ("equations" in graph.explain()) == (name not in NATIVE)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_is_that_of_the_runtime(name, direction, lengths, rng):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    helper = onnx.helper
    graph, x, state = recurrent(name, direction, lengths, 0, rng, np.float32)
    (own,) = graph.nodes
    if name.startswith("LSTM") and "clip" in own["attributes"]:
        # The runtime does not clip the argument of h, as the standard says one should: a step in which it is small.
        x, state = x[:1], tuple(0.1 * part for part in state)
        lengths = None if lengths is None else np.minimum(lengths, 1)
    feeds = {"x": x, "h": state[0], **({"c": state[1]} if len(state) > 1 else {})}
    if lengths is not None:
        feeds["lens"] = lengths.astype(np.int32)
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(own["op"], own["inputs"], own["outputs"], **own["attributes"])],
            "one",
            [
                helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
                for n, a in feeds.items()
            ],
            [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in own["outputs"]],
            [onnx.numpy_helper.from_array(np.array(a), n) for n, a in graph.parameters().items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, feeds)
    y, final = graph(x, state, lengths=lengths)
    np.testing.assert_allclose(y, expected[0], rtol=0, atol=1e-5)
    some = slice(None) if lengths is None else lengths > 0  # the runtime returns zeros for the others
    for part, value in zip(final, expected[1:], strict=True):
        np.testing.assert_allclose(part[:, some], value[:, some], rtol=0, atol=1e-5)
    if lengths is not None:
        for part, start in zip(final, state, strict=True):
            np.testing.assert_array_equal(part[:, lengths == 0], start[:, lengths == 0])


def test_the_cell_is_clipped_before_its_activation(rng):
    graph, x, (h, c) = recurrent("LSTM clipped", "forward", None, 0, rng)
    y, (_, after) = graph(x[:1], (h, c + 5))
    assert after.min() > 0.4
    a = x[0] @ graph.params["W"][0].T + h[0] @ graph.params["R"][0].T + graph.params["B"][0].reshape(2, -1).sum(0)
    o = 1 / (1 + np.exp(-np.clip(a[:, H : 2 * H], -0.4, 0.4)))
    np.testing.assert_allclose(y[0, 0], o * np.tanh(0.4), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", sorted(NATIVE))
def test_kernels_and_equations_agree(name, rng, monkeypatch):
    graph, x, state = recurrent(name, "bidirectional", LENGTHS, 0, rng)
    found = graph(x, state, lengths=LENGTHS)
    with use_backend("reference"):
        slow = graph(x, state, lengths=LENGTHS)
    monkeypatch.setattr("rnnfast.graph.recurrent.cell_of", lambda options, peepholes: None)
    with graph.update():
        pass  # what was packed is forgotten
    exact = graph(x, state, lengths=LENGTHS)
    for other in (slow, exact):
        np.testing.assert_allclose(found[0], other[0], rtol=0, atol=1e-13)
        for part, value in zip(found[1], other[1], strict=True):
            np.testing.assert_allclose(part, value, rtol=0, atol=1e-13)


def test_parameters_that_change_are_seen(rng):
    graph, x, state = recurrent("GRU after", "forward", None, 0, rng)
    before = graph(x, state)[0]
    with graph.update() as params:
        params["R"] *= 0.5
    after = graph(x, state)[0]
    assert np.abs(after - before).max() > 1e-3
    (y, _), pullback = graph.forward(x, state)
    np.testing.assert_array_equal(y, after)
    grads = {}
    with graph.update():
        pass
    with pytest.raises(RuntimeError, match="parameters changed"):
        pullback(y, grads)
    (y, _), pullback = graph.forward(x, state)
    pullback(y, grads)
    with pytest.raises(RuntimeError, match="called before"):
        pullback(y, grads)


@pytest.mark.parametrize(
    ("attributes", "match"),
    [
        ({"direction": "up"}, "direction of GRU must be forward"),
        ({"activations": ["Sigmoid"]}, "activations of GRU must be 2; got 1"),
        ({"activations": ["Sigmoid", "Gelu"]}, "no activation 'Gelu'"),
        ({"activation_alpha": [1.0]}, "more of activation_alpha"),
        ({"clip": -1.0}, "clip of GRU must be above 0"),
        ({"direction": "bidirectional"}, "must have 2 directions; got 1"),
    ],
)
def test_attributes_that_make_no_sense(attributes, match, rng):
    graph, x, state = recurrent("GRU plain", "forward", None, 0, rng)
    graph.nodes[0]["attributes"].update(attributes)
    with pytest.raises(ValueError, match=match):
        graph(x, state)


def test_arguments_are_checked(rng):
    graph, x, state = recurrent("LSTM plain", "forward", None, 0, rng)
    for call, error, match in (
        (lambda: graph(x[0]), ValueError, "x must have shape"),
        (lambda: graph(x, state, lengths=[1, 2, 3, 4]), ValueError, "no input for them"),
        (lambda: graph(x, state[:1]), TypeError, "tuple of 2 arrays; got 1"),
        (lambda: graph(x, state[0]), TypeError, "tuple of 2 arrays; got ndarray"),
        (lambda: graph(x), ValueError, r"state\[0\] \(h\) must be given"),
        (lambda: graph(x, (state[0][:, :1], state[1])), ValueError, "initial_h of LSTM must have shape"),
        (lambda: graph.run({"x": x}), ValueError, "feeds must have c, h, x; got x"),
    ):
        with pytest.raises(error, match=match):
            call()
    graph(x, state, lengths=[T] * N)  # says nothing


GOOD = {
    "inputs": [port("x", "x", dtype="float32", shape=[None, 2])],
    "outputs": [port("y", "y", dtype="float32", shape=[None, 2])],
    "nodes": [node("Tanh", ["x"], ["y"])],
    "weights": {},
    "constants": {},
}


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"nodes": [node("Exec", ["x"], ["y"])]}, ValueError, "no operator 'Exec'"),
        ({"nodes": [node("Tanh", ["x"], ["y"], hook=1)]}, ValueError, "Tanh has no attribute 'hook'"),
        ({"nodes": [node("Tanh", ["z"], ["y"])]}, ValueError, "needs 'z', which nothing"),
        ({"nodes": [node("Tanh", ["x"], ["x"])]}, ValueError, "are there already"),
        ({"nodes": [node("Tanh", ["x", "x"], ["y"])]}, ValueError, "1 to 1 inputs"),
        ({"nodes": [node("Tanh", ["x"], ["z"])]}, ValueError, "nothing makes the output 'y'"),
        ({"nodes": [{"op": "Tanh"}]}, TypeError, "must be a dict of op"),
        ({"nodes": [node("Tanh", "x", ["y"])]}, TypeError, "list of names"),
        ({"inputs": []}, ValueError, "exactly one of the role 'x'"),
        ({"inputs": [port("x", "z", dtype="float32", shape=[])]}, ValueError, "role of inputs must be"),
        ({"inputs": [port("x", "x", dtype="object", shape=[])]}, ValueError, "dtype of inputs"),
        ({"inputs": [port("x", "x", dtype="float32", shape=[1.5])]}, TypeError, "list of sizes"),
        ({"weights": {"w": [-1]}}, ValueError, "at least 0"),
        ({"constants": {"c": {"dtype": "object", "shape": [], "data": ""}}}, ValueError, "floats, integers or bool"),
        ({"constants": {"c": {"dtype": "int64", "shape": [2], "data": "00"}}}, ValueError, "buffer size"),
        ({"constants": {"c": 3}}, TypeError, "dict of dtype, shape and data"),
        ({"batch_axis": 2}, ValueError, "0 or 1"),
    ],
)
def test_descriptions_are_checked(change, error, match):
    Graph(**GOOD)
    with pytest.raises(error, match=match):
        Graph(**{**GOOD, **change})
