"""Graph: a network of ONNX's operators as one layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import rnnfast.graph.elementwise
import rnnfast.graph.products
import rnnfast.graph.recurrent
import rnnfast.graph.shaping  # noqa: F401
from rnnfast.checks import (
    FloatArray,
    as_array,
    called_before,
    check_dtype,
    check_lengths,
    check_real,
    check_size,
    parameters_changed,
)
from rnnfast.graph.table import OPERATORS, Array, Backward
from rnnfast.layers.base import Gradients, Layer, Pullback, add_gradient, check_gradients

RECURRENT = ("RNN", "GRU", "LSTM")
_INTEGERS = ("int64", "int32", "bool")
_ROLES = {"inputs": ("x", "lengths", "state"), "outputs": ("y", "state")}


class Graph(Layer):
    """Operators of ONNX, one after the other, with gradients; made by ``rnnfast.io.import_onnx``.

    Parameters
    ----------
    inputs, outputs : list of dict
        ``{"name", "role", "dtype", "shape"}`` each. One input has the role "x", at most one "lengths", the others are
        "state"; one output is "y" and the others are "state". Sizes are integers, names of sizes, or None.
    nodes : list of dict
        ``{"op", "inputs", "outputs", "attributes"}`` each, in an order in which they can run. An input that is left
        out is "". ``table.py`` says what there is.
    weights : dict of str to list of int
        The shapes of the parameters by name.
    constants : dict of str to dict
        ``{"dtype", "shape", "data"}`` each, the data as hexadecimal little-endian bytes.
    batch_axis : {0, 1}, default 0
        Which axis of x counts sequences; the other of the first two counts steps.
    dtype : dtype, default float32
        float32 or float64, of x, the states and the parameters.

    Notes
    -----
    ``constants`` holds the arrays that are not parameters, by name; they must not be changed.

    The state is a tuple with one entry for each input of that role, in their order; None stands for zeros. Parameters
    have the names of the graph. RNN, GRU and LSTM run in the kernels where these have what the attributes ask for
    (`explain` says so), else by the equations.
    """

    stateful: ClassVar[bool] = True

    def __init__(
        self,
        inputs: Sequence[Mapping[str, Any]],
        outputs: Sequence[Mapping[str, Any]],
        nodes: Sequence[Mapping[str, Any]],
        weights: Mapping[str, Sequence[int]],
        constants: Mapping[str, Mapping[str, Any]],
        batch_axis: int = 0,
        *,
        dtype: Any = np.float32,
    ) -> None:
        self.dtype = check_dtype(dtype)
        self.batch_axis = check_size("batch_axis", batch_axis, 0)
        if self.batch_axis > 1:
            raise ValueError(f"batch_axis must be 0 or 1; got {batch_axis}")
        self.inputs = [_port("inputs", port) for port in inputs]
        self.outputs = [_port("outputs", port) for port in outputs]
        for what, ports, role in (("inputs", self.inputs, "x"), ("outputs", self.outputs, "y")):
            if sum(port["role"] == role for port in ports) != 1:
                raise ValueError(f"{what} must have exactly one of the role {role!r}")
        self.nodes = [_node(k, node) for k, node in enumerate(nodes)]
        self.constants = {str(name): _constant(name, value) for name, value in constants.items()}
        self._cache: tuple[int, dict[int, dict[str, Any]]] = (-1, {})
        shapes = {str(name): tuple(check_size(f"weights[{name!r}]", n, 0) for n in s) for name, s in weights.items()}
        super().__init__({name: np.zeros(shape, self.dtype) for name, shape in shapes.items()})
        self._check_order()
        self._plan()

    def _check_order(self) -> None:
        known = {port["name"] for port in self.inputs} | set(self.params) | set(self.constants)
        for k, node in enumerate(self.nodes):
            for name in node["inputs"]:
                if name and name not in known:
                    raise ValueError(f"nodes[{k}] ({node['op']}) needs {name!r}, which nothing before it makes")
            made = [name for name in node["outputs"] if name]
            if known & set(made) or len(set(made)) != len(made):
                raise ValueError(f"nodes[{k}] ({node['op']}) makes {', '.join(made)}, of which some are there already")
            known |= set(made)
        for port in self.outputs:
            if port["name"] not in known:
                raise ValueError(f"nothing makes the output {port['name']!r}")

    def _plan(self) -> None:
        """Find out what gradients go through, what stands still between updates, and when values are done with."""
        live = {p["name"] for p in self.inputs if p["dtype"] not in _INTEGERS} | set(self.params)
        self._steady = set(self.params) | set(self.constants)
        last: dict[str, int] = {}
        for k, node in enumerate(self.nodes):
            if live.intersection(node["inputs"]):
                live.update(node["outputs"])
            if self._steady.issuperset(name for name in node["inputs"] if name):
                self._steady.update(node["outputs"])
            last.update(dict.fromkeys(node["inputs"], k))
        self._live = live
        kept = {port["name"] for port in self.outputs}
        self._done: list[list[str]] = [[] for _ in self.nodes]
        for name, k in last.items():
            if name and name not in kept:
                self._done[k].append(name)

    def _port_of(self, what: str, role: str) -> list[dict[str, Any]]:
        return [port for port in (self.inputs if what == "inputs" else self.outputs) if port["role"] == role]

    @property
    def batch_first(self) -> bool:
        """Whether x is (N, T, ...) rather than (T, N, ...)."""
        return self.batch_axis == 0

    @property
    def bidirectional(self) -> bool:
        """Whether a recurrent node reads backwards, so that its state cannot be carried on."""
        return any(node["attributes"].get("direction", "forward") != "forward" for node in self.nodes)

    @property
    def pools(self) -> bool:
        """Whether y has no time axis, as far as its shape tells."""
        return len(self._port_of("outputs", "y")[0]["shape"]) < 3

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None) -> Any:
        """Return ``(y, state)`` without saving anything for a backward pass; arguments as in `forward`."""
        values, _ = self._run(self._feeds(x, state, lengths), False)
        return self._results(values)

    def forward(
        self, x: Any, state: Any = None, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[Any, Pullback]:
        """Return ``((y, state), pullback)``.

        Parameters
        ----------
        x : array_like
            What the graph's input takes.
        state : tuple of array_like or None, optional
            One entry for each state; None: zeros.
        lengths : array_like (N,) of int, optional
            Valid steps of each sequence, if the graph has an input for them; None: all.
        rng : numpy.random.Generator, optional
            Nothing is drawn.

        Returns
        -------
        y : ndarray
        state : tuple of ndarray
        pullback : callable
            ``dx = pullback(dy, grads)`` or ``dx, dstate = pullback(dy, grads, dstate=dstate)``; see `Layer`.

        Raises
        ------
        TypeError
            If an argument is not of a kind that can be read as such.
        ValueError
            If a shape or a length does not fit.
        """
        values, tape = self._run(self._feeds(x, state, lengths), True)
        found = self._results(values)
        return found, _Pullback(self, tape, found)

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        """Return all outputs by name for inputs by name, as ONNX Runtime does."""
        names = {port["name"] for port in self.inputs}
        if set(feeds) != names:
            raise ValueError(f"feeds must have {', '.join(sorted(names))}; got {', '.join(sorted(feeds)) or 'none'}")
        checked = {port["name"]: self._checked(port, feeds[port["name"]]) for port in self.inputs}
        values, _ = self._run(checked, False)
        return {port["name"]: values[port["name"]] for port in self.outputs}

    def explain(self) -> str:
        """Return which recurrent nodes run in the kernels and which by the equations, a line each."""
        from rnnfast.graph.recurrent import cell_of, options_of

        lines = []
        for node in self.nodes:
            if node["op"] in RECURRENT:
                peepholes = len(node["inputs"]) > 7 and bool(node["inputs"][7])
                cells = [cell_of(options, peepholes) for options in options_of(node["op"], node["attributes"])]
                how = ["by the equations (NumPy)" if cell is None else f"cell {cell.name}" for cell in cells]
                lines.append(f"{node['op']} {node['outputs'][0] or node['outputs'][-1]}: {', '.join(how)}")
        return "\n".join(lines) or "no recurrent nodes"

    def _feeds(self, x: Any, state: Any, lengths: Any) -> dict[str, Array]:
        """Return what the inputs get, or raise."""
        (port,) = self._port_of("inputs", "x")
        feeds = {port["name"]: self._checked(port, x, "x")}
        shape = feeds[port["name"]].shape
        sizes = {name: n for name, n in zip(port["shape"], shape, strict=True) if isinstance(name, str)}
        at = self.batch_axis if len(shape) > 1 else 0
        batch, steps = shape[at], shape[1 - at] if len(shape) > 1 else 1
        ports = self._port_of("inputs", "lengths")
        if lengths is not None and not ports and check_lengths(lengths, batch, steps) is not None:
            raise ValueError("lengths must be None: the graph has no input for them")
        for own in ports:
            valid = check_lengths(lengths, batch, steps)
            feeds[own["name"]] = (np.full(batch, steps) if valid is None else valid).astype(own["dtype"])
            sizes.update({name: batch for name in own["shape"] if isinstance(name, str)})
        ports = self._port_of("inputs", "state")
        if state is None:
            state = (None,) * len(ports)
        if not isinstance(state, (tuple, list)) or len(state) != len(ports):
            got = f"{len(state)} of them" if isinstance(state, (tuple, list)) else type(state).__name__
            raise TypeError(f"state must be a tuple of {len(ports)} arrays; got {got}")
        for k, (own, value) in enumerate(zip(ports, state, strict=True)):
            if value is None:
                wanted = [sizes.get(n) if isinstance(n, str) else n for n in own["shape"]]
                if None in wanted:
                    raise ValueError(
                        f"state[{k}] ({own['name']}) must be given: its shape {own['shape']} does not tell"
                    )
                value = np.zeros(wanted, own["dtype"])
            feeds[own["name"]] = self._checked(own, value, f"state[{k}] ({own['name']})")
        return feeds

    def _checked(self, port: Mapping[str, Any], value: Any, name: str = "") -> Array:
        name = name or port["name"]
        shape = [f"?{k}" if n is None else n for k, n in enumerate(port["shape"])]
        if port["dtype"] not in _INTEGERS:
            return check_real(name, value, self.dtype, shape)
        array = as_array(name, value)
        if array.dtype.kind not in "biu":
            raise TypeError(f"{name} must be integers; got dtype {array.dtype}")
        return check_real(name, array, np.dtype(port["dtype"]), shape)

    def _run(self, feeds: Mapping[str, Array], save: bool) -> tuple[dict[str, Array], list[tuple[int, Backward]]]:
        """Return the values of the outputs (of all nodes if ``save``), and the backward passes in order."""
        version, cache = self._cache
        if version != self.params.version:
            version, cache = self._cache = (self.params.version, {})
        values: dict[str, Any] = {**self.constants, **self.params, **feeds}
        tape: list[tuple[int, Backward]] = []
        for k, node in enumerate(self.nodes):
            inputs = [values[name] if name else None for name in node["inputs"]]
            attributes = node["attributes"]
            if node["op"] in RECURRENT:
                steady = all(not n or n in self._steady for i, n in enumerate(node["inputs"]) if i in (1, 2, 3, 7))
                attributes = {**attributes, "save": save, "cache": cache.setdefault(k, {}) if steady else {}}
            try:
                with np.errstate(over="ignore"):
                    outputs, back = OPERATORS[node["op"]].run(attributes, inputs)
            except (ValueError, TypeError, IndexError) as error:
                error.args = (f"nodes[{k}] ({node['op']}, {node['outputs'][0]}): {error}",)
                raise
            for name, value in zip(node["outputs"], outputs, strict=False):
                if name:
                    values[name] = value
            if save and back is not None and self._live.intersection(node["inputs"]):
                tape.append((k, back))
            for name in self._done[k]:
                values.pop(name, None)
        return values, tape

    def _results(self, values: Mapping[str, Array]) -> tuple[Array, tuple[Array, ...]]:
        (y,) = self._port_of("outputs", "y")
        return values[y["name"]], tuple(values[port["name"]] for port in self._port_of("outputs", "state"))

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values."""
        return {
            "inputs": self.inputs,
            "outputs": self.outputs,
            "nodes": [{**node, "attributes": _plain(node["attributes"])} for node in self.nodes],
            "weights": {name: list(array.shape) for name, array in self.params.items()},
            "constants": {name: constant_of(array) for name, array in self.constants.items()},
            "batch_axis": self.batch_axis,
            "dtype": self.dtype.name,
        }

    def __repr__(self) -> str:
        kinds = sorted({node["op"] for node in self.nodes})
        return f"Graph({len(self.nodes)} nodes: {', '.join(kinds)}; {self.num_parameters()} parameters)"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": (-1, {})}


class _Pullback:
    """The backward pass of one call of `Graph.forward`; it can be called once."""

    def __init__(self, graph: Graph, tape: list[tuple[int, Backward]], found: tuple[Array, tuple[Array, ...]]) -> None:
        self._graph = graph
        self._tape: list[tuple[int, Backward]] | None = tape
        self._version = graph.params.version
        self._shapes = found[0].shape, tuple(part.shape for part in found[1])

    def __call__(self, dy: Any, grads: Gradients, dstate: Any = None) -> Any:
        graph, tape = self._graph, self._tape
        if tape is None:
            raise called_before()
        if graph.params.version != self._version:
            raise parameters_changed()
        check_gradients(grads, graph.params)
        shape, shapes = self._shapes
        (port,) = graph._port_of("outputs", "y")
        states = graph._port_of("outputs", "state")
        totals: dict[str, Array] = {}
        if dy is not None:
            totals[port["name"]] = check_real("dy", dy, graph.dtype, shape)
        if dstate is not None:
            if not isinstance(dstate, (tuple, list)) or len(dstate) != len(states):
                raise TypeError(f"dstate must be a tuple of {len(states)} arrays")
            for k, (own, part) in enumerate(zip(states, dstate, strict=True)):
                if part is not None:
                    part = check_real(f"dstate[{k}]", part, graph.dtype, shapes[k])
                    totals[own["name"]] = totals[own["name"]] + part if own["name"] in totals else part
        self._tape = None
        for k, back in reversed(tape):
            node = graph.nodes[k]
            d = [totals.pop(name, None) if name else None for name in node["outputs"]]
            if all(part is None for part in d):
                continue
            for name, part in zip(node["inputs"], back(d), strict=False):
                if name in graph._live and part is not None:
                    totals[name] = totals[name] + part if name in totals else part
        for name, param in graph.params.items():
            gradient = totals.get(name)
            owned: FloatArray = np.zeros_like(param) if gradient is None else np.array(gradient, graph.dtype)
            add_gradient(grads, name, owned)
        dx = self._input(totals, "x")[0]
        return dx if dstate is None else (dx, tuple(self._input(totals, "state")))

    def _input(self, totals: Mapping[str, Array], role: str) -> list[Any]:
        ports = self._graph._port_of("inputs", role)
        return [None if port["dtype"] in _INTEGERS else totals.get(port["name"], 0.0) for port in ports]


def _port(what: str, port: Any) -> dict[str, Any]:
    if not isinstance(port, Mapping) or set(port) != {"name", "role", "dtype", "shape"}:
        raise TypeError(f"{what} must be dicts of name, role, dtype and shape; got {port!r:.200}")
    if port["role"] not in _ROLES[what]:
        raise ValueError(f"the role of {what} must be one of {', '.join(_ROLES[what])}; got {port['role']!r:.80}")
    if port["dtype"] not in ("float32", "float64", *_INTEGERS):
        raise ValueError(f"the dtype of {what} must be a float, an integer or bool; got {port['dtype']!r:.80}")
    shape = port["shape"]
    if not isinstance(shape, (list, tuple)) or any(n is not None and type(n) not in (int, str) for n in shape):
        raise TypeError(f"the shape of {what} must be a list of sizes; got {shape!r:.80}")
    return {"name": str(port["name"]), "role": port["role"], "dtype": port["dtype"], "shape": list(shape)}


def _node(k: int, node: Any) -> dict[str, Any]:
    if not isinstance(node, Mapping) or set(node) != {"op", "inputs", "outputs", "attributes"}:
        raise TypeError(f"nodes[{k}] must be a dict of op, inputs, outputs and attributes")
    op = node["op"]
    if op not in OPERATORS:
        raise ValueError(f"nodes[{k}]: there is no operator {op!r:.80}; there are {', '.join(sorted(OPERATORS))}")
    entry = OPERATORS[op]
    names = {what: [str(name) for name in _items(node[what], f"nodes[{k}] {what}")] for what in ("inputs", "outputs")}
    if not entry.least <= len(names["inputs"]) <= entry.most:
        raise ValueError(f"nodes[{k}] ({op}) must have {entry.least} to {entry.most} inputs")
    attributes = node["attributes"]
    if not isinstance(attributes, Mapping):
        raise TypeError(f"nodes[{k}] attributes must be a dict")
    unknown = sorted(set(attributes) - set(entry.attributes))
    if unknown:
        raise ValueError(f"nodes[{k}]: {op} has no attribute {unknown[0]!r:.80} here")
    read = {
        str(name): _constant(name, value) if isinstance(value, Mapping) else value for name, value in attributes.items()
    }
    return {"op": op, **names, "attributes": read}


def _items(value: Any, name: str) -> Iterable[Any]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"{name} must be a list of names")
    return value


def constant_of(array: NDArray[Any]) -> dict[str, Any]:
    """Return an array as the JSON that ``constants`` takes."""
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes().hex()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}


def _constant(name: Any, value: Any) -> Array:
    if not isinstance(value, Mapping) or set(value) != {"dtype", "shape", "data"}:
        raise TypeError(f"constants[{name!r:.80}] must be a dict of dtype, shape and data")
    if value["dtype"] not in ("float32", "float64", *_INTEGERS):
        raise ValueError(f"constants[{name!r:.80}] must be of floats, integers or bool; got {value['dtype']!r:.80}")
    shape = [check_size(f"constants[{name!r:.80}]", n, 0) for n in value["shape"]]
    flat = np.frombuffer(bytes.fromhex(value["data"]), np.dtype(value["dtype"]).newbyteorder("<"))
    return flat.reshape(shape).astype(value["dtype"])


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: constant_of(value) if isinstance(value, np.ndarray) else value for name, value in attributes.items()}
