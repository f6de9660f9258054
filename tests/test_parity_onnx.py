"""RNN, LSTM and GRU, the latter in both variants, against ONNX Runtime."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx comes with the test extra")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime comes with the test extra")

# ONNX's operator, its attributes, and where its gates are among ours: it orders them i o f g and z r n.
OPERATORS = {
    "rnn_tanh": ("RNN", {"activations": ["Tanh"]}, [0]),
    "rnn_relu": ("RNN", {"activations": ["Relu"]}, [0]),
    "rnn_sigmoid": ("RNN", {"activations": ["Sigmoid"]}, [0]),
    "lstm": ("LSTM", {}, [0, 3, 1, 2]),
    "gru": ("GRU", {"linear_before_reset": 1}, [1, 0, 2]),
    "gru_reset_before": ("GRU", {"linear_before_reset": 0}, [1, 0, 2]),
}
INPUTS = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c"]


def run_onnx(layer, x, state, lengths):
    """Return y (N, T, D*H) and the final states (D, N, H) as ONNX Runtime has them."""
    operator, attributes, order = OPERATORS[layer.cell.name]
    hidden, suffixes = layer.hidden_size, ["", "_reverse"][: 1 + layer.bidirectional]

    def blocks(kind):
        arrays = [layer.params[f"{kind}_l0{suffix}"] for suffix in suffixes]
        return np.stack([np.concatenate([np.split(a, len(order))[k] for k in order]) for a in arrays])

    feeds = {
        "X": x.transpose(1, 0, 2),
        "W": blocks("weight_ih"),
        "R": blocks("weight_hh"),
        "B": np.concatenate([blocks("bias_ih"), blocks("bias_hh")], axis=1),
        "sequence_lens": np.asarray(lengths, np.int32),
        **dict(zip(INPUTS[5:], state, strict=False)),
    }
    if "activations" in attributes:
        attributes = {"activations": attributes["activations"] * len(suffixes)}
    names = [name for name in INPUTS if name in feeds]
    outputs = ["Y", "Y_h", "Y_c"][: 1 + len(state)]
    helper = onnx.helper
    node = helper.make_node(
        operator,
        names,
        outputs,
        hidden_size=hidden,
        direction="bidirectional" if layer.bidirectional else "forward",
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        "cell",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(feeds[name].dtype), feeds[name].shape)
            for name in names
        ],
        [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * rank)
            for name, rank in zip(outputs, (4, 3, 3), strict=False)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    y, *final = session.run(None, {name: np.ascontiguousarray(feeds[name]) for name in names})
    return y.transpose(2, 0, 1, 3).reshape(x.shape[0], x.shape[1], -1), final


@pytest.mark.parametrize("lengths", [[6] * 4, [2, 6, 1, 5]], ids=["full", "ragged"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", OPERATORS)
def test_forward(cell, bidirectional, lengths, make_layer, random_state, rng):
    layer = make_layer(cell, 5, 19, bidirectional=bidirectional)
    x, state = rng.standard_normal((4, 6, 5)).astype(np.float32), random_state(layer, 4)
    state = state if isinstance(state, tuple) else (state,)
    expected, final = run_onnx(layer, x, state, lengths)
    y, end = layer(x, state if len(state) > 1 else state[0], lengths=lengths)
    # Both round dots of 24 terms to float32 (about 5e-7) through six steps; values are below 5.
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)
    for part, value in zip(end if len(state) > 1 else (end,), final, strict=True):
        np.testing.assert_allclose(part, value, rtol=0, atol=1e-5)
