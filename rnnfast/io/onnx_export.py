"""Models as ONNX graphs, for ONNX Runtime and whatever else reads them.

The graph is built by `Builder`; what each layer becomes stands in the table `EXPORTERS` of ``onnx_layers.py``, one
entry a class.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_flag, check_path, check_size
from rnnfast.graph import Graph
from rnnfast.io.atomic import atomic_write
from rnnfast.io.foreign import refuse
from rnnfast.layers import Embedding, Layer, Sequential
from rnnfast.layers.base import check_layer
from rnnfast.layers.pooling import Pool
from rnnfast.layers.recurrent import Recurrent

OPSET, IR_VERSION = 17, 8


class Flow(NamedTuple):
    """What goes from layer to layer.

    Attributes
    ----------
    name : str
        Of the tensor in the graph.
    swapped : bool
        Whether its first two axes are the other way round than in rnnfast's array.
    timed : bool
        Whether it has a time axis.
    """

    name: str
    swapped: bool
    timed: bool


class Builder:
    """A graph in the making.

    Parameters
    ----------
    dtype : numpy.dtype
        Of all floating tensors.
    lengths : bool
        Whether there is an input ``lengths``.
    states : bool
        Whether the states are inputs and outputs.
    layout : {0, 1}
        Of the recurrent operators.
    """

    def __init__(self, dtype: np.dtype[Any], lengths: bool, states: bool, layout: int) -> None:
        import onnx

        self.onnx = onnx
        self.dtype, self.layout, self.states = dtype, layout, states
        self.lengths = "lengths" if lengths else ""
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self._constants: dict[tuple[Any, ...], str] = {}
        self._count = 0

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add an operator with one output and return that output's name."""
        return self.node_of(op, inputs, 1, **attributes)[0]

    def node_of(self, op: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Add an operator with several outputs and return their names."""
        self._count += 1
        outputs = [f"{op}_{self._count}" + (f"_{k}" if k else "") for k in range(count)]
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), outputs, name=outputs[0], **attributes))
        return outputs

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """Add parameters under their own name."""
        self.initializers.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def integers(self, *values: int) -> str:
        """Return the name of a constant (n,) of int64."""
        return self._constant(np.array(values, np.int64))

    def number(self, value: float, dtype: Any = None) -> str:
        """Return the name of a constant without axes."""
        return self._constant(np.array(value, self.dtype if dtype is None else dtype))

    def _constant(self, array: NDArray[Any]) -> str:
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self._constants[key] = f"constant_{len(self._constants)}"
            self.initializers.append(self.onnx.numpy_helper.from_array(array, name))
        return self._constants[key]

    def swap(self, flow: Flow, swapped: bool) -> Flow:
        """Return the flow with its first two axes as wanted."""
        if not flow.timed or flow.swapped == swapped:
            return flow
        return Flow(self.node("Transpose", [flow.name], perm=[1, 0, 2]), swapped, True)

    def add_input(self, name: str, dtype: Any, shape: Sequence[Any]) -> str:
        """Declare an input of the graph."""
        self.inputs.append(self._info(name, dtype, shape))
        return name

    def add_output(self, value: str, name: str, shape: Sequence[Any]) -> None:
        """Declare an output of the graph under a name of its own."""
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name], name=f"{name}_is"))
        self.outputs.append(self._info(name, self.dtype, shape))

    def _info(self, name: str, dtype: Any, shape: Sequence[Any]) -> Any:
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.onnx.helper.make_tensor_value_info(name, kind, list(shape))

    def model(self, name: str) -> Any:
        """Return the checked model."""
        helper = self.onnx.helper
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.initializers)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="rnnfast",
        )
        self.onnx.checker.check_model(model, full_check=True)
        return model


def export_onnx(
    model: Layer,
    path: str | os.PathLike[str] | None = None,
    *,
    lengths: bool = False,
    states: bool = False,
    layout: int = 0,
    time_axis: bool | None = None,
) -> Any:
    """Return a model as an ONNX graph of the standard's operators, checked, and write it to a file if asked.

    Parameters
    ----------
    model : Layer
        Any layer of this package that ONNX can say, or a `Sequential` of them. Dropout does nothing in a graph. A
        `Graph` goes out as it came, with its parameters as they are now.
    path : path, optional
        Where to write it; whole or not at all.
    lengths : bool, default False
        Whether the graph has an input ``lengths`` (N,) of int32, the valid steps of each sequence.
    states : bool, default False
        Whether the states of recurrent layers are inputs and outputs: for the layer at place 1 of a Sequential
        ``1.h`` (and ``1.c``), shaped as in rnnfast, and ``1.h_out``. Else they start as zeros.
    layout : {0, 1}, default 0
        That of the recurrent operators: time first, or batch first. ONNX Runtime has only the first.
    time_axis : bool, optional
        Whether x has a time axis. By default it has if a layer is recurrent or pools, or the first is an Embedding.

    Returns
    -------
    onnx.ModelProto
        Inputs ``x`` ((N, T, C), or int64 (N, T) for an Embedding), lengths and states; outputs ``y`` and states. It is
        of opset 17. A sequence of length 0 keeps its initial state, as in rnnfast.

    Raises
    ------
    ModuleNotFoundError
        If the package onnx is missing.
    ConversionError
        If a layer or an option, named in the message, cannot be said.
    TypeError, ValueError
        If an argument is not of its kind.
    OSError
        If the file cannot be written.
    """
    from rnnfast.io.onnx_layers import add_layer

    check_layer("model", model)
    if path is not None:
        check_path("path", path)
    check_flag("lengths", lengths)
    check_flag("states", states)
    layout = check_layout(layout)
    if time_axis is not None:
        check_flag("time_axis", time_axis)
    require_onnx()
    if isinstance(model, Graph):
        if lengths or states or layout or time_axis is not None:
            raise ValueError("leave lengths, states, layout and time_axis out for a Graph: it has its own")
        return _written(_graph_model(model), path)
    leaves = list(_leaves(model))
    parameters = model.parameters().values()
    dtype = next(iter(parameters)).dtype if parameters else np.dtype(np.float32)
    if any(array.dtype != dtype for array in parameters):
        raise refuse(model, "an ONNX graph", "float32 and float64 together")
    builder = Builder(dtype, lengths, states, layout)
    if time_axis is None:
        time_axis = isinstance(leaves[0], Embedding) or any(isinstance(leaf, Recurrent | Pool) for leaf in leaves)
    first = leaves[0]
    axes = ["N", "T"] if getattr(first, "batch_first", True) else ["T", "N"]
    axes = axes if time_axis else ["N"]
    if isinstance(first, Embedding):
        builder.add_input("x", np.int64, axes)
    else:
        builder.add_input("x", dtype, [*axes, _features(leaves)])
    if builder.lengths:
        builder.add_input("lengths", np.int32, ["N"])
    flow = builder.swap(add_layer(builder, model, Flow("x", False, time_axis), ""), False)
    builder.add_output(flow.name, "y", [*(axes if flow.timed else ["N"]), None])
    builder.outputs.insert(0, builder.outputs.pop())
    return _written(builder.model("rnnfast"), path)


def check_layout(layout: Any) -> int:
    """Return a layout of recurrent operators as 0 or 1, or raise ``TypeError`` or ``ValueError``."""
    found = check_size("layout", layout, 0)
    if found > 1:
        raise ValueError(f"layout must be 0 or 1; got {found}")
    return found


def _written(proto: Any, path: str | os.PathLike[str] | None) -> Any:
    if path is not None:
        with atomic_write(Path(path)) as file:
            file.write(proto.SerializeToString())
    return proto


def _graph_model(graph: Graph) -> Any:
    """Return an imported graph as a model again, in the one form that graphs are kept in: that of opset 18."""
    import onnx

    config, helper = graph.config(), onnx.helper
    ports = {}
    for what in ("inputs", "outputs"):
        kinds = [(p["name"], helper.np_dtype_to_tensor_dtype(np.dtype(p["dtype"])), p["shape"]) for p in config[what]]
        ports[what] = [helper.make_tensor_value_info(*kind) for kind in kinds]
    nodes = []
    for node in graph.nodes:
        attributes = {name: _attribute(onnx, name, value) for name, value in node["attributes"].items()}
        if node["op"] == "Split" and "num_outputs" not in attributes and len(node["inputs"]) < 2:
            attributes["num_outputs"] = attributes["parts"]
        attributes.pop("parts", None)
        nodes.append(helper.make_node(node["op"], node["inputs"], node["outputs"], **attributes))
    arrays = {**graph.constants, **graph.parameters()}
    proto = helper.make_model(
        helper.make_graph(
            nodes,
            "rnnfast",
            ports["inputs"],
            ports["outputs"],
            [onnx.numpy_helper.from_array(np.array(array), name) for name, array in arrays.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=IR_VERSION,
        producer_name="rnnfast",
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _attribute(onnx: Any, name: str, value: Any) -> Any:
    if name == "to":
        return onnx.helper.np_dtype_to_tensor_dtype(np.dtype(value))
    return onnx.numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value


def require_onnx() -> None:
    """Raise ``ModuleNotFoundError`` with advice if the package onnx is missing."""
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError:
        raise ModuleNotFoundError("this needs the package onnx (pip install 'rnnfast[onnx]')", name="onnx") from None


def _leaves(model: Layer) -> list[Layer]:
    if isinstance(model, Sequential):
        return [leaf for layer in model for leaf in _leaves(layer)]
    return [model]


def _features(leaves: Sequence[Layer]) -> int | None:
    """Return the columns of x, if a layer tells."""
    for leaf in leaves:
        for name in ("input_size", "in_features", "normalized_shape"):
            if hasattr(leaf, name):
                return int(getattr(leaf, name))
    return None
