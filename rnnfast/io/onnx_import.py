"""ONNX graphs as layers: whatever their exporter, as long as there is an operator for every node.

What older or other exporters say differently (attributes that have become inputs, constants as nodes, functions) is
brought into one form here; `rnnfast.graph` runs that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_flag, check_path, check_text, kind_of
from rnnfast.graph import Graph
from rnnfast.graph.layer import constant_of
from rnnfast.graph.table import OPERATORS
from rnnfast.io.errors import ConversionError, ModelFileError
from rnnfast.io.onnx_export import require_onnx

_FLOATS = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}
_INTEGERS = {"int64": "int64", "int32": "int32", "bool": "bool", "int8": "int64", "uint8": "int64", "int16": "int64"}
# Attributes that have become inputs: the operator, the attribute, and the place of the input.
_MOVED = {
    ("Squeeze", "axes"): 1,
    ("Unsqueeze", "axes"): 1,
    ("ReduceSum", "axes"): 1,
    ("ReduceMean", "axes"): 1,
    ("ReduceMax", "axes"): 1,
    ("ReduceMin", "axes"): 1,
    ("Split", "split"): 1,
    ("Slice", "starts"): 1,
    ("Slice", "ends"): 2,
    ("Slice", "axes"): 3,
    ("Clip", "min"): 1,
    ("Clip", "max"): 2,
    ("Reshape", "shape"): 1,
}
_SAYS_NOTHING = {("LSTM", "output_sequence"), ("GRU", "output_sequence"), ("RNN", "output_sequence")}


def import_onnx(
    source: Any,
    *,
    x: str | None = None,
    lengths: str | None = None,
    y: str | None = None,
    batch_first: bool = True,
) -> Graph:
    """Return an ONNX graph as a layer that can be called, trained further and saved.

    Parameters
    ----------
    source : path, bytes or onnx.ModelProto
        The model. Weights in files of their own are read too.
    x : str, optional
        Which input is the data; by default the first.
    lengths : str, optional
        Which input holds the lengths of the sequences; by default one of integers (N,) that only the recurrent nodes'
        ``sequence_lens`` read, or that is called "lengths". The remaining inputs are the state.
    y : str, optional
        Which output is the result; by default the first. The remaining ones are the state.
    batch_first : bool, default True
        Whether x is (N, T, ...) rather than (T, N, ...).

    Returns
    -------
    Graph
        ``(y, state) = graph(x, state, lengths=lengths)``. Parameters are the graph's floating initializers of at least
        one axis, by their names; float16 and bfloat16 ones become float32.

    Raises
    ------
    ModuleNotFoundError
        If the package onnx is missing.
    OSError
        If the file cannot be read.
    ModelFileError
        If it is no valid ONNX model.
    ConversionError
        If an operator, an attribute or a type, named in the message, is not supported.
    TypeError
        If an argument is not of its kind.
    ValueError
        If there is no input or output of the given name, or that of the lengths does not hold integers (N,).

    Notes
    -----
    A sequence of length 0 keeps its initial state, where ONNX Runtime returns zeros.
    """
    for argument, name in (("x", x), ("lengths", lengths), ("y", y)):
        if name is not None:
            check_text(argument, name)
    check_flag("batch_first", batch_first)
    require_onnx()
    import onnx

    proto = _loaded(onnx, source)
    opset = _opset(proto)
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    arrays = {t.name: _array(onnx, t.name, t) for t in proto.graph.initializer}
    if proto.graph.sparse_initializer:
        raise ConversionError("sparse initializers are not supported")
    nodes: list[dict[str, Any]] = []
    for node in proto.graph.node:
        _add(onnx, node, opset, nodes, arrays)
    inputs = [_port(onnx, value) for value in proto.graph.input if value.name not in arrays]
    outputs = [_port(onnx, value) for value in proto.graph.output]
    _assign_roles(inputs, outputs, nodes, x, lengths, y)
    used = {name for node in nodes for name in node["inputs"]} | {port["name"] for port in outputs}
    weights: dict[str, NDArray[Any]] = {}
    constants: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        if name in used:
            fixed = array.ndim == 0 or array.dtype.kind != "f" or _is_zero_start(name, array, nodes)
            (constants if fixed else weights)[name] = array
    doubles = any(a.dtype == np.float64 for a in weights.values()) or any(p["dtype"] == "float64" for p in inputs)
    dtype = "float64" if doubles else "float32"
    for name, array in constants.items():
        if array.dtype.kind == "f":
            constants[name] = array.astype(dtype)
    try:
        graph = Graph(
            inputs,
            outputs,
            nodes,
            {name: array.shape for name, array in weights.items()},
            {name: constant_of(array) for name, array in constants.items()},
            0 if batch_first else 1,
            dtype=dtype,
        )
    except (TypeError, ValueError) as error:
        raise ConversionError(f"the graph cannot be run: {error}") from None
    graph.load_state_dict(weights)
    return graph


def _loaded(onnx: Any, source: Any) -> Any:
    """Return the model, checked."""
    if not isinstance(source, onnx.ModelProto | bytes | bytearray | str | os.PathLike):
        raise TypeError(f"source must be a path, bytes or an onnx.ModelProto; got {kind_of(source)}")
    path = check_path("source", source) if isinstance(source, os.PathLike) else source
    try:
        if isinstance(source, onnx.ModelProto):
            proto = source
        elif isinstance(source, bytes | bytearray):
            proto = onnx.load_from_string(bytes(source))
        else:
            proto = onnx.load(path)
        onnx.checker.check_model(proto)
    except OSError:
        raise
    except Exception as error:
        # The parser and the checker of the package raise kinds of errors that differ between its releases.
        raise ModelFileError(f"it is no valid ONNX model: {str(error)[:300]}") from None
    return proto


def _opset(proto: Any) -> int:
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    version = int(versions.get("", versions.get("ai.onnx", 0)))
    if version < 7:
        raise ConversionError(f"opset {version} is not supported; 7 and later are")
    return version


def _array(onnx: Any, name: str, tensor: Any) -> NDArray[Any]:
    """Return a tensor of the file by the rules for dtypes."""
    array: NDArray[Any] = onnx.numpy_helper.to_array(tensor)
    kind = array.dtype.name
    if kind not in _FLOATS and kind not in _INTEGERS:
        raise ConversionError(f"{name!r} must be of floats, integers or bool; got {kind}")
    return array.astype(_FLOATS.get(kind) or _INTEGERS[kind])


def _add(onnx: Any, node: Any, opset: int, nodes: list[dict[str, Any]], arrays: dict[str, NDArray[Any]]) -> None:
    """Add a node in the form that `Graph` takes; constants go to the arrays."""
    op, place = node.op_type, f"{node.op_type} {node.name or node.output[0]}"
    if node.domain not in ("", "ai.onnx"):
        raise ConversionError(f"operator {node.domain}.{op} ({place}) is not supported")
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if op == "Constant":
        arrays[node.output[0]] = _constant(onnx, place, attributes)
        return
    if op not in OPERATORS:
        raise ConversionError(f"operator {op} ({place}) is not supported; {', '.join(sorted(OPERATORS))} are")
    inputs = list(node.input)
    for name in list(attributes):
        if (op, name) in _MOVED:
            inputs = [*inputs, *[""] * (_MOVED[op, name] + 1 - len(inputs))]
            inputs[_MOVED[op, name]] = key = f"{node.output[0]}/{name}"
            value = attributes.pop(name)
            arrays[key] = np.asarray(value, np.float32 if isinstance(value, float) else np.int64)
        elif (op, name) in _SAYS_NOTHING:
            del attributes[name]
    axis = attributes.get("axis", 1)
    if op in ("Softmax", "LogSoftmax") and opset < 13 and axis != -1:
        raise ConversionError(f"{place}: axis={axis} of opset {opset} flattens; only -1 is supported")
    if op == "Split":
        attributes["parts"] = len(node.output)
    if op == "Dropout" and len(node.output) > 1 and node.output[1]:
        raise ConversionError(f"{place}: the mask of Dropout is not supported")
    if op == "LayerNormalization" and any(node.output[1:]):
        raise ConversionError(f"{place}: mean and deviation of LayerNormalization are not supported")
    known = {}
    for name, value in attributes.items():
        if name not in OPERATORS[op].attributes:
            raise ConversionError(f"{place}: attribute {name} is not supported")
        known[name] = _attribute(onnx, place, name, value)
    while inputs and not inputs[-1]:
        inputs.pop()
    nodes.append({"op": op, "inputs": inputs, "outputs": list(node.output), "attributes": known})


def _attribute(onnx: Any, place: str, name: str, value: Any) -> Any:
    """Return an attribute as a JSON value."""
    if name == "to":
        kind = onnx.helper.tensor_dtype_to_np_dtype(value).name
        if kind not in ("float32", "float64", "int64", "int32", "bool"):
            raise ConversionError(f"{place}: a Cast to {kind} is not supported")
        return kind
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return constant_of(_array(onnx, name, value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [item.decode() if isinstance(item, bytes) else item for item in value]
    if isinstance(value, int | float):
        return value
    raise ConversionError(f"{place}: attribute {name} of {type(value).__name__} is not supported")


def _constant(onnx: Any, place: str, attributes: Mapping[str, Any]) -> NDArray[Any]:
    """Return what a node Constant holds."""
    ((name, value),) = attributes.items()
    if name == "value":
        return _array(onnx, place, value)
    if name in ("value_float", "value_floats"):
        return np.asarray(value, np.float32)
    if name in ("value_int", "value_ints"):
        return np.asarray(value, np.int64)
    raise ConversionError(f"{place}: a constant of {name} is not supported")


def _port(onnx: Any, value: Any) -> dict[str, Any]:
    """Return an input or output of the graph, its role apart."""
    if not value.type.HasField("tensor_type"):
        raise ConversionError(f"{value.name!r} must be a tensor; got {value.type.WhichOneof('value')}")
    tensor = value.type.tensor_type
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    if kind not in ("float32", "float64", "int64", "int32", "bool"):
        raise ConversionError(f"{value.name!r} must be of float32, float64, int32, int64 or bool; got {kind}")
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim]
    return {"name": value.name, "role": "state", "dtype": kind, "shape": shape}


def _assign_roles(
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    x: str | None,
    lengths: str | None,
    y: str | None,
) -> None:
    """Say which input is the data, which the lengths, and which output is the result."""
    for argument, ports, name in (("x", inputs, x), ("lengths", inputs, lengths), ("y", outputs, y)):
        if name is not None and name not in {port["name"] for port in ports}:
            what = "outputs" if ports is outputs else "inputs"
            known = ", ".join(port["name"] for port in ports)
            raise ValueError(f"{argument} must be one of the graph's {what}, {known}; got {name!r}")
    if not inputs or not outputs:
        raise ConversionError("the graph must have an input and an output")
    by_name = {port["name"]: port for port in inputs}
    by_name[x or inputs[0]["name"]]["role"] = "x"
    next(port for port in outputs if y in (None, port["name"]))["role"] = "y"
    for port in inputs:
        if port["role"] == "x" or port["dtype"] not in ("int32", "int64") or len(port["shape"]) != 1:
            continue
        readers = [(n["op"], n["inputs"].index(port["name"])) for n in nodes if port["name"] in n["inputs"]]
        only = all(op in ("RNN", "GRU", "LSTM") and at == 4 for op, at in readers)
        if port["name"] == (lengths or "lengths") or (lengths is None and readers and only):
            port["role"] = "lengths"
    if lengths is not None and by_name[lengths]["role"] != "lengths":
        raise ValueError(f"lengths must be an input of integers (N,) other than x; got {lengths!r}")


def _is_zero_start(name: str, array: NDArray[Any], nodes: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether these are the zeros that recurrent nodes start from, which nobody means to train."""
    if array.any():
        return False
    readers = [(n["op"], k) for n in nodes for k, own in enumerate(n["inputs"]) if own == name]
    return bool(readers) and all(op in ("RNN", "GRU", "LSTM") and k in (5, 6) for op, k in readers)
