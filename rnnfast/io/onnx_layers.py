"""What each layer becomes in an ONNX graph: one entry a class.

An entry names the options that it takes care of; any other that is not at its default is refused by name, so that an
option added to a layer later cannot get lost here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rnnfast.graph.gates import ONNX, PEEPHOLES, to_onnx
from rnnfast.io.foreign import check_said, refuse
from rnnfast.io.onnx_export import Builder, Flow
from rnnfast.layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Dense,
    Dropout,
    Embedding,
    Ends,
    Last,
    Layer,
    LayerNorm,
    MaxPool,
    MeanPool,
    Sequential,
)


class Exporter(NamedTuple):
    """How a layer is said: the options taken care of, and what adds its nodes."""

    said: tuple[str, ...]
    add: Callable[[Builder, Any, Flow, str], Flow]


def add_layer(builder: Builder, layer: Layer, flow: Flow, prefix: str) -> Flow:
    """Add a layer to the graph and return what comes out; ``prefix`` begins the names of its parameters."""
    if type(layer) is Sequential:
        for name, child in layer.children().items():
            flow = add_layer(builder, child, flow, f"{prefix}{name}.")
        return flow
    entry = EXPORTERS.get(type(layer))
    if entry is None:
        raise refuse(layer, "an ONNX graph", "the computation", prefix.rstrip("."))
    check_said(layer, entry.said, "an ONNX graph", prefix.rstrip("."))
    return entry.add(builder, layer, flow, prefix)


def _recurrent(b: Builder, layer: Any, flow: Flow, prefix: str) -> Flow:
    """Add a node for each layer of the stack."""
    cell, hidden, params = layer.cell, layer.hidden_size, layer.params
    directions = 2 if layer.bidirectional else 1
    batch_major = b.layout == 1
    flow = b.swap(flow, layer.batch_first != batch_major)
    states = cell.states
    total = layer.num_layers * directions
    initial = []
    if b.states:
        for name in states:
            whole = b.add_input(f"{prefix}{name}", b.dtype, [total, "N", hidden])
            split = b.integers(*[directions] * layer.num_layers)
            parts = b.node_of("Split", [whole, split], layer.num_layers, axis=0) if layer.num_layers > 1 else [whole]
            initial.append([b.node("Transpose", [p], perm=[1, 0, 2]) if batch_major else p for p in parts])
    finals: list[list[str]] = [[] for _ in states]
    op, attributes = _operator(layer, directions)
    for k in range(layer.num_layers):
        suffixes = [f"_l{k}", f"_l{k}_reverse"][:directions]
        blocks = {
            kind: np.stack([to_onnx(params[kind + s], cell.order, ONNX[op]) for s in suffixes])
            for kind in ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if layer.bias else ()))
        }
        inputs = [
            flow.name,
            b.weight(f"{prefix}W_l{k}", blocks["weight_ih"]),
            b.weight(f"{prefix}R_l{k}", blocks["weight_hh"]),
            b.weight(f"{prefix}B_l{k}", np.concatenate([blocks["bias_ih"], blocks["bias_hh"]], axis=1))
            if layer.bias
            else "",
            b.lengths,
            *(part[k] for part in initial or [[""] * layer.num_layers] * len(states)),
        ]
        if cell.options.peephole:
            found = [to_onnx(params[f"weight_peephole{s}"], cell.peepholes, PEEPHOLES) for s in suffixes]
            inputs.append(b.weight(f"{prefix}P_l{k}", np.stack(found)))
        while not inputs[-1]:
            inputs.pop()
        y, *ends = b.node_of(
            op,
            inputs,
            1 + len(states),
            hidden_size=hidden,
            direction="bidirectional" if layer.bidirectional else "forward",
            layout=b.layout,
            **attributes,
        )
        for s, end in enumerate(ends):
            start = initial[s][k] if b.states else ""
            finals[s].append(_final(b, end, start))
        if not batch_major and directions > 1:
            y = b.node("Transpose", [y], perm=[0, 2, 1, 3])
        if directions > 1:
            y = b.node("Reshape", [y, b.integers(0, 0, directions * hidden)])
        else:
            y = b.node("Squeeze", [y, b.integers(2 if batch_major else 1)])
        flow = Flow(y, flow.swapped, True)
    for name, parts in zip(states, finals, strict=True) if b.states else ():
        joined = parts[0] if len(parts) == 1 else b.node("Concat", parts, axis=0)
        b.add_output(joined, f"{prefix}{name}_out", [total, "N", hidden])
    return flow


def _operator(layer: Any, directions: int) -> tuple[str, dict[str, Any]]:
    if isinstance(layer, LSTM):
        return "LSTM", {"input_forget": 1} if layer.coupled else {}
    if isinstance(layer, GRU):
        return "GRU", {"linear_before_reset": int(layer.reset_after)}
    return "RNN", {"activations": [layer.cell.nonlinearity.capitalize()] * directions}


def _final(b: Builder, end: str, start: str) -> str:
    """Return the final state (D, N, H) as rnnfast has it.

    Runtimes give zeros for a sequence of length 0, rnnfast the state it began with.
    """
    if start and b.lengths:
        axes = b.integers(1, 2) if b.layout == 1 else b.integers(0, 2)
        empty = b.node("Equal", [b.lengths, b.number(0, np.int32)])
        end = b.node("Where", [b.node("Unsqueeze", [empty, axes]), start, end])
    return b.node("Transpose", [end], perm=[1, 0, 2]) if b.layout == 1 else end


def _dense(b: Builder, layer: Dense, flow: Flow, prefix: str) -> Flow:
    y = b.node("MatMul", [flow.name, b.weight(f"{prefix}weight", layer.params["weight"].T)])
    if layer.bias:
        y = b.node("Add", [y, b.weight(f"{prefix}bias", layer.params["bias"])])
    if layer.activation is not None:
        y = b.node(layer.activation.capitalize(), [y])
    return flow._replace(name=y)


def _embedding(b: Builder, layer: Embedding, flow: Flow, prefix: str) -> Flow:
    return flow._replace(name=b.node("Gather", [b.weight(f"{prefix}weight", layer.params["weight"]), flow.name]))


def _layer_norm(b: Builder, layer: LayerNorm, flow: Flow, prefix: str) -> Flow:
    if layer.elementwise_affine:
        inputs = [b.weight(f"{prefix}{name}", array) for name, array in layer.params.items()]
    else:  # the operator must have a scale
        ones = b.onnx.numpy_helper.from_array(np.ones(1, b.dtype))
        inputs = [b.node("ConstantOfShape", [b.integers(layer.normalized_shape)], value=ones)]
    return flow._replace(name=b.node("LayerNormalization", [flow.name, *inputs], axis=-1, epsilon=layer.eps))


def _activation(b: Builder, layer: Activation, flow: Flow, prefix: str) -> Flow:
    if layer.kind.endswith("softmax"):
        op = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}[layer.kind]
        return flow._replace(name=b.node(op, [flow.name], axis=-1))
    return flow._replace(name=b.node(layer.kind.capitalize(), [flow.name]))


def _dropout(b: Builder, layer: Dropout, flow: Flow, prefix: str) -> Flow:
    return flow


def _last(b: Builder, layer: Last, flow: Flow, prefix: str) -> Flow:
    flow = b.swap(flow, False)
    if not b.lengths:
        return _step(b, flow.name, -1)
    return _where_any(b, _at_end(b, flow.name))


def _ends(b: Builder, layer: Ends, flow: Flow, prefix: str) -> Flow:
    flow = b.swap(flow, False)
    forward, backward = b.node_of("Split", [flow.name], 2, axis=2)
    start = _step(b, backward, 0).name
    end = _at_end(b, forward) if b.lengths else _step(b, forward, -1).name
    joined = b.node("Concat", [end, start], axis=1)
    return _where_any(b, joined) if b.lengths else Flow(joined, False, False)


def _step(b: Builder, x: str, place: int) -> Flow:
    """Return one step of x (N, T, C)."""
    return Flow(b.node("Gather", [x, b.number(place, np.int64)], axis=1), False, False)


def _at_end(b: Builder, x: str) -> str:
    """Return the last valid step of x (N, T, C), (N, C); of an empty sequence the first."""
    places = b.node("Cast", [b.lengths], to=int(b.onnx.TensorProto.INT64))
    places = b.node("Max", [b.node("Sub", [places, b.integers(1)]), b.integers(0)])
    found = b.node("GatherND", [x, b.node("Unsqueeze", [places, b.integers(1)])], batch_dims=1)
    return found


def _where_any(b: Builder, y: str) -> Flow:
    """Return y (N, C) with zeros in the rows of empty sequences."""
    some = b.node("Greater", [b.lengths, b.number(0, np.int32)])
    some = b.node("Unsqueeze", [some, b.integers(1)])
    return Flow(b.node("Where", [some, y, b.number(0)]), False, False)


def _valid(b: Builder, x: str) -> str:
    """Return which steps of x (N, T, C) count, (N, T, 1)."""
    steps = b.node("Gather", [b.node("Shape", [x]), b.number(1, np.int64)])
    steps = b.node("Range", [b.number(0, np.int64), steps, b.number(1, np.int64)])
    lengths = b.node("Unsqueeze", [b.node("Cast", [b.lengths], to=int(b.onnx.TensorProto.INT64)), b.integers(1)])
    return b.node("Unsqueeze", [b.node("Less", [steps, lengths]), b.integers(2)])


def _mean_pool(b: Builder, layer: MeanPool, flow: Flow, prefix: str) -> Flow:
    x = b.swap(flow, False).name
    if not b.lengths:
        return Flow(b.node("ReduceMean", [x], axes=[1], keepdims=0), False, False)
    kept = b.node("Where", [_valid(b, x), x, b.number(0)])
    total = b.node("ReduceSum", [kept, b.integers(1)], keepdims=0)
    counts = b.node("Cast", [b.lengths], to=int(b.onnx.helper.np_dtype_to_tensor_dtype(b.dtype)))
    counts = b.node("Unsqueeze", [b.node("Max", [counts, b.number(1)]), b.integers(1)])
    return Flow(b.node("Div", [total, counts]), False, False)


def _max_pool(b: Builder, layer: MaxPool, flow: Flow, prefix: str) -> Flow:
    x = b.swap(flow, False).name
    if not b.lengths:
        return Flow(b.node("ReduceMax", [x], axes=[1], keepdims=0), False, False)
    kept = b.node("Where", [_valid(b, x), x, b.number(-np.inf)])
    return _where_any(b, b.node("ReduceMax", [kept], axes=[1], keepdims=0))


_RECURRENT = (
    "input_size",
    "hidden_size",
    "num_layers",
    "bias",
    "batch_first",
    "bidirectional",
    "dropout",  # this and the next two act in training only
    "recurrent_dropout",
    "weight_drop",
)
EXPORTERS: dict[type[Layer], Exporter] = {
    RNN: Exporter((*_RECURRENT, "nonlinearity"), _recurrent),
    LSTM: Exporter((*_RECURRENT, "peephole", "coupled"), _recurrent),
    GRU: Exporter((*_RECURRENT, "reset_after"), _recurrent),
    Dense: Exporter(("in_features", "out_features", "bias", "activation"), _dense),
    Embedding: Exporter(("num_embeddings", "embedding_dim", "padding_idx"), _embedding),
    LayerNorm: Exporter(("normalized_shape", "eps", "elementwise_affine", "bias"), _layer_norm),
    Activation: Exporter(("kind",), _activation),
    Dropout: Exporter(("p",), _dropout),
    Last: Exporter((), _last),
    Ends: Exporter((), _ends),
    MeanPool: Exporter((), _mean_pool),
    MaxPool: Exporter((), _max_pool),
}
