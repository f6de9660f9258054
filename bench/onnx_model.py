"""A case as an ONNX model: the interchange format orders gates in a way of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.cases import Case, Data

# Where ONNX's gates stand among torch's: LSTM i o f c among i f g o, GRU z r h among r z n.
ORDER = {"RNN": [0], "LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2]}


def reorder(cell: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return rows of ``array`` (G*H, ...) in ONNX's order of gates."""
    gates = np.split(array, len(ORDER[cell]))
    return np.concatenate([gates[i] for i in ORDER[cell]])


def states(case: Case) -> tuple[str, ...]:
    """Return the states that go in (``h_0``) and come out (``h_n``): those of a case of one step, else none."""
    return () if not case.one_step else ("h", "c") if case.cell == "LSTM" else ("h",)


def make_model(case: Case, data: Data) -> bytes:
    """Return a serialised model with input ``x`` (T, B, I) and output ``y`` (T, B, D*H), float32.

    A case of one step also has its `states`, each (1, B, H). Lengths are constants of the model.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    suffixes = ["", "_reverse"] if case.bidirectional else [""]
    initializers, nodes, current = [], [], "x"

    def constant(name: str, array: NDArray[Any]) -> str:
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    lengths = "" if data.lengths is None else constant("lengths", data.lengths.astype(np.int32))
    names = states(case)
    merged = constant("merged", np.array([case.steps, case.batch, -1], np.int64))
    for layer in range(case.num_layers):

        def gathered(kind: str, layer: int = layer) -> list[NDArray[Any]]:
            return [reorder(case.cell, data.weights[f"{kind}_l{layer}{suffix}"]) for suffix in suffixes]

        biases = [np.concatenate(pair) for pair in zip(gathered("bias_ih"), gathered("bias_hh"), strict=True)]
        inputs = [
            current,
            constant(f"W{layer}", np.stack(gathered("weight_ih"))),
            constant(f"R{layer}", np.stack(gathered("weight_hh"))),
            constant(f"B{layer}", np.stack(biases)),
            lengths,
            *(f"{name}_0" for name in names),
        ]
        options: dict[str, Any] = {"hidden_size": case.hidden_size}
        options["direction"] = "bidirectional" if case.bidirectional else "forward"
        if case.cell == "GRU":
            options["linear_before_reset"] = 1
        nodes.append(helper.make_node(case.cell, inputs, [f"Y{layer}", *(f"{name}_n" for name in names)], **options))
        current = "y" if layer == case.num_layers - 1 else f"x{layer + 1}"
        # (T, D, B, H) -> (T, B, D, H) -> (T, B, D*H)
        nodes.append(helper.make_node("Transpose", [f"Y{layer}"], [f"t{layer}"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", [f"t{layer}", merged], [current]))

    def float_value(name: str, shape: tuple[int, ...]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    shape = (1, case.batch, case.hidden_size)
    graph = helper.make_graph(
        nodes,
        "case",
        [
            float_value("x", (case.steps, case.batch, case.input_size)),
            *(float_value(f"{name}_0", shape) for name in names),
        ],
        [
            float_value("y", data.dy.transpose(1, 0, 2).shape),
            *(float_value(f"{name}_n", shape) for name in names),
        ],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())
