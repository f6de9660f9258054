"""PyTorch's modules and state dicts, in and out, without importing torch: by the names and attributes they have.

A conversion is one entry of a table by torch's class name (`MODULES`, in) and one by ours (`SAID`, out). Parameters
need no work: names, shapes and the order of gates are torch's in this package.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rnnfast.checks import FloatArray, check_flag, check_iterable, check_mapping, kind_of
from rnnfast.io.errors import ConversionError
from rnnfast.io.foreign import as_parameters, check_said, common_dtype, refuse
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
from rnnfast.layers.base import check_layer
from rnnfast.layers.recurrent import Recurrent

# What a state dict of torch can say of each class: these options, or nothing but what is not in the table.
_RECURRENT = (
    "input_size",
    "hidden_size",
    "num_layers",
    "bias",
    "batch_first",
    "dropout",
    "bidirectional",
    "proj_size",
)
SAID: dict[type[Layer], tuple[str, ...]] = {
    RNN: (*_RECURRENT, "nonlinearity"),
    LSTM: _RECURRENT,
    GRU: _RECURRENT,
    Dense: ("in_features", "out_features", "bias", "activation"),
    Embedding: ("num_embeddings", "embedding_dim", "padding_idx"),
    LayerNorm: ("normalized_shape", "eps", "elementwise_affine", "bias"),
    Dropout: ("p",),
    Activation: ("kind",),
    Last: (),
    Ends: (),
    MeanPool: (),
    MaxPool: (),
}


def to_torch_state_dict(layer: Layer, names: Mapping[str, str] | None = None) -> dict[str, FloatArray]:
    """Return the parameters under the names that torch's twin of the layer has, as new arrays.

    Parameters
    ----------
    layer : Layer
        RNN, LSTM, GRU, Dense (torch's Linear), Embedding, LayerNorm, or a `Sequential` of these and of layers without
        parameters.
    names : dict of str to str, optional
        For a `Sequential`: what torch calls each of its layers, by place, such as ``{"0": "embedding", "1": "lstm"}``.
        By default the places themselves, as torch.nn.Sequential has them.

    Returns
    -------
    dict of str to ndarray
        ``module.load_state_dict({k: torch.from_numpy(v) for k, v in found.items()})`` takes it in torch.

    Raises
    ------
    ConversionError
        If the layer has something that torch's has not, such as a GRU with ``reset_after=False``.
    TypeError
        If an argument is not of its kind.
    ValueError
        If ``names`` has a place that the layer has not, or one name for two parameters.
    """
    theirs = _their_names(layer, names)
    return {theirs[name]: array for name, array in layer.state_dict().items()}


def _their_names(layer: Layer, names: Mapping[str, str] | None) -> dict[str, str]:
    """Return torch's names of all parameters by ours, or raise what `to_torch_state_dict` does."""
    check_layer("layer", layer)
    check_names(names)
    _check_sayable(layer, "")
    places = list(_child_places(layer, "")) or list(layer.parameters())
    for place in names or ():
        if place not in places and place not in layer.parameters():
            raise ValueError(f"names must be torch's names by the places {', '.join(places)}; got the place {place!r}")
    found = {name: _renamed(name, names) for name in layer.parameters()}
    ours = {theirs: name for name, theirs in found.items()}
    for name, theirs in found.items():
        if ours[theirs] != name:
            raise ValueError(f"names must tell parameters apart; {name} and {ours[theirs]} would both be {theirs}")
    return found


def check_names(names: Any) -> None:
    """Raise ``TypeError`` unless these are names by names, or None."""
    if names is None:
        return
    check_mapping("names", names, "torch's names by ours")
    for ours, theirs in names.items():
        if not isinstance(ours, str) or not isinstance(theirs, str):
            raise TypeError(f"names must be a dict of str to str; got {ours!r}: {theirs!r}")


def _child_places(layer: Layer, where: str) -> Iterator[str]:
    if type(layer) is Sequential:
        for name, child in layer.children().items():
            place = f"{where}.{name}" if where else name
            yield place
            yield from _child_places(child, place)


def _check_sayable(layer: Layer, where: str) -> None:
    if type(layer) is Sequential:
        for name, child in layer.children().items():
            _check_sayable(child, f"{where}.{name}" if where else name)
        return
    if type(layer) not in SAID:
        raise refuse(layer, "a state dict of torch", "the parameters", where)
    if isinstance(layer, RNN) and layer.cell.nonlinearity == "sigmoid":
        raise refuse(layer, "torch", "nonlinearity='sigmoid'", where)
    check_said(layer, SAID[type(layer)], "torch", where)


def _renamed(name: str, names: Mapping[str, str] | None) -> str:
    """Return a full name with its longest known prefix replaced."""
    if names:
        head, tail = name, ""
        while head:
            if head in names:
                return names[head] + tail
            head, _, part = head.rpartition(".")
            tail = f".{part}{tail}"
    return name


def load_torch_state_dict(
    layer: Layer, state_dict: Mapping[str, Any], names: Mapping[str, str] | None = None, strict: bool = True
) -> None:
    """Copy the parameters of a state dict of torch into a layer; either all fit or nothing changes.

    Parameters
    ----------
    layer : Layer
        As for `to_torch_state_dict`.
    state_dict : mapping of str to tensor or array
        What ``module.state_dict()`` returned, or `read_torch_safetensors`. float16 and bfloat16 become float32.
    names : dict of str to str, optional
        As for `to_torch_state_dict`: our places, torch's names.
    strict : bool, default True
        Whether missing and unknown names are errors.

    Raises
    ------
    ConversionError
        If torch has no such layer, or a tensor is of another dtype.
    TypeError
        If an argument is not of its kind.
    KeyError
        If ``strict`` and the names differ from the layer's.
    ValueError
        If a shape differs, or as for `to_torch_state_dict`.
    """
    check_flag("strict", strict)
    ours = {theirs: name for name, theirs in _their_names(layer, names).items()}
    found = _tensors(state_dict)
    layer.load_state_dict({ours.get(name, name): array for name, array in found.items()}, strict)


def _tensors(state_dict: Any) -> dict[str, FloatArray]:
    """Return the arrays of a state dict, or raise ``TypeError`` if it is none."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"state_dict must be a dict of tensors by name; got {kind_of(state_dict)} (of a module: "
            "module.state_dict(); of a .safetensors file: io.read_torch_safetensors)"
        )
    return as_parameters(state_dict)


def from_torch(module: Any, order: Sequence[str | Layer] | None = None, *, batch_first: bool | None = None) -> Layer:
    """Return the layer that computes what a module of torch computes, with copies of its parameters.

    Parameters
    ----------
    module : torch.nn.Module
        RNN, LSTM, GRU, Embedding, Linear, LayerNorm, Dropout, Identity, ReLU, Tanh, Sigmoid, Softmax, LogSoftmax, a
        Sequential of these, or with ``order`` any module that has such children.
    order : sequence of str or Layer, optional
        For a module with a ``forward`` of its own: the names of its children in the order in which it goes through
        them, with layers of this package for what it does in between: ``["embedding", "lstm", Last(), "fc"]``.
        The result is a `Sequential` of them.
    batch_first : bool, optional
        For the recurrent layers; None: as the module has it.

    Returns
    -------
    Layer
        float64 where the module is, else float32 (from float16 and bfloat16 too). Tied parameters are copied twice.

    Raises
    ------
    TypeError
        If an argument is not of its kind: also of a path or a state dict, which other functions take.
    ConversionError
        If a module, named in the message, has no counterpart, or an option that it has none for.
    """
    if isinstance(module, type) or not (hasattr(module, "named_children") and hasattr(module, "state_dict")):
        got = "a layer of rnnfast" if isinstance(module, Layer) else kind_of(module)
        raise TypeError(
            f"module must be a module of torch, such as torch.nn.LSTM(3, 4); got {got} (of a state dict: "
            "io.from_torch_state_dict, load_torch_state_dict; of a .safetensors file: io.read_torch_safetensors)"
        )
    if batch_first is not None:
        check_flag("batch_first", batch_first)
    parts = check_order(order)
    if parts is not None:
        return Sequential(
            *(p if isinstance(p, Layer) else _converted(_child(module, p), p, batch_first) for p in parts)
        )
    return _converted(module, "", batch_first)


def check_order(order: Any) -> tuple[str | Layer, ...] | None:
    """Return an ``order`` as a tuple, or raise ``TypeError`` if it is no sequence of names and layers, nor None."""
    if order is None:
        return None
    check_iterable("order", order)
    parts = tuple(order)
    for k, part in enumerate(parts):
        if not isinstance(part, (str, Layer)):
            raise TypeError(f"order[{k}] must be a name of torch's or a Layer; got {kind_of(part)}")
    return parts


def _child(module: Any, name: str) -> Any:
    for part in name.split("."):
        found = dict(module.named_children()).get(part)
        if found is None:
            known = ", ".join(dict(module.named_children())) or "none"
            raise ConversionError(f"there is no child {name!r} in {type(module).__name__}; there are {known}")
        module = found
    return module


def _converted(module: Any, where: str, batch_first: bool | None) -> Layer:
    kind = type(module)
    place = f"{where} ({kind.__name__})" if where else kind.__name__
    if not kind.__module__.startswith("torch.nn.") or kind.__name__ not in MODULES:
        hint = "" if kind.__name__ in MODULES else "; give order= to say which children it goes through"
        raise ConversionError(f"{place} of {kind.__module__} has no counterpart among {', '.join(MODULES)}{hint}")
    if kind.__name__ == "Sequential":
        return Sequential(
            *(
                _converted(child, f"{where}.{name}" if where else name, batch_first)
                for name, child in module.named_children()
            )
        )
    state = as_parameters({f"{where}.{k}" if where else k: v for k, v in module.state_dict().items()})
    state = {name[len(where) + 1 :] if where else name: array for name, array in state.items()}
    try:
        layer = MODULES[kind.__name__](module, batch_first, common_dtype(state.values()))
        layer.load_state_dict(state)
    except (KeyError, ValueError) as error:
        raise ConversionError(f"{place}: {error.args[0]}") from None
    return layer


def _recurrent(cls: Callable[..., Recurrent], *more: str) -> Callable[..., Layer]:
    def make(module: Any, batch_first: bool | None, dtype: str) -> Layer:
        options = {name: getattr(module, name) for name in ("num_layers", "bias", "dropout", "bidirectional", *more)}
        options["dropout"] = options["dropout"] if module.num_layers > 1 else 0.0  # torch warns that it does nothing
        if getattr(module, "proj_size", 0):
            if "proj_size" not in inspect.signature(cls).parameters:
                raise ConversionError(f"there is no counterpart of proj_size={module.proj_size}")
            options["proj_size"] = module.proj_size
        options["batch_first"] = module.batch_first if batch_first is None else batch_first
        return cls(module.input_size, module.hidden_size, **options, dtype=dtype)

    return make


def _linear(module: Any, batch_first: bool | None, dtype: str) -> Layer:
    return Dense(module.in_features, module.out_features, bias=module.bias is not None, dtype=dtype)


def _embedding(module: Any, batch_first: bool | None, dtype: str) -> Layer:
    if module.max_norm is not None:
        raise ConversionError(f"there is no counterpart of max_norm={module.max_norm}")
    if module.scale_grad_by_freq:
        raise ConversionError("there is no counterpart of scale_grad_by_freq=True")
    return Embedding(module.num_embeddings, module.embedding_dim, module.padding_idx, dtype=dtype)


def _layer_norm(module: Any, batch_first: bool | None, dtype: str) -> Layer:
    affine = module.elementwise_affine
    bias = affine and module.bias is not None
    return LayerNorm(tuple(module.normalized_shape), module.eps, affine, bias or not affine, dtype=dtype)


def _dropout(module: Any, batch_first: bool | None, dtype: str) -> Layer:
    return Dropout(module.p)


def _identity(module: Any, batch_first: bool | None, dtype: str) -> Layer:
    return Dropout(0.0)  # keeps the places, and so the names, of what follows


def _activation(kind: str) -> Callable[..., Layer]:
    def make(module: Any, batch_first: bool | None, dtype: str) -> Layer:
        if kind.endswith("softmax") and module.dim != -1:
            raise ConversionError(f"there is no counterpart of dim={module.dim}; only of the last axis, dim=-1")
        return Activation(kind)

    return make


def _nothing(module: Any, batch_first: bool | None, dtype: str) -> Layer:
    raise AssertionError("a Sequential is converted part by part")


MODULES: dict[str, Callable[..., Layer]] = {
    "RNN": _recurrent(RNN, "nonlinearity"),
    "LSTM": _recurrent(LSTM),
    "GRU": _recurrent(GRU),
    "Embedding": _embedding,
    "Linear": _linear,
    "LayerNorm": _layer_norm,
    "Dropout": _dropout,
    "Identity": _identity,
    "ReLU": _activation("relu"),
    "Tanh": _activation("tanh"),
    "Sigmoid": _activation("sigmoid"),
    "Softmax": _activation("softmax"),
    "LogSoftmax": _activation("log_softmax"),
    "Sequential": _nothing,
}


def from_torch_state_dict(state_dict: Mapping[str, Any], order: Sequence[str | Layer] | None = None) -> Layer:
    """Return a layer made from the names and shapes of a state dict alone, with its parameters.

    What names and shapes do not tell is refused, never guessed: whether an RNN is of tanh or relu, whether a matrix
    without a bias is an Embedding or a Linear (before a recurrent layer of as many inputs it is taken for an
    Embedding), or what stands at a place that has no parameters. Make the model then and use `load_torch_state_dict`.

    Parameters
    ----------
    state_dict : mapping of str to tensor or array
        As for `load_torch_state_dict`.
    order : sequence of str or Layer, optional
        As for `from_torch`. Without it, names must be those of one layer or of a Sequential ("0.weight").

    Returns
    -------
    Layer
        Batch first and without dropout, of which a state dict says nothing.

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ConversionError
        If the names and shapes do not tell what the layers are.
    """
    parts = check_order(order)
    groups: dict[str, dict[str, FloatArray]] = {}
    for name, array in _tensors(state_dict).items():
        prefix, _, own = name.rpartition(".")
        groups.setdefault(prefix, {})[own] = array
    if not groups:
        raise ConversionError("the state dict is empty")
    if parts is None and list(groups) == [""]:
        return _guessed("", groups[""], None)
    if parts is None:
        parts = _places(groups)
    unused = set(groups) - {part for part in parts if isinstance(part, str)}
    if unused:
        raise ConversionError(f"order leaves out {', '.join(sorted(unused))}")
    layers: list[Layer] = []
    for k, part in enumerate(parts):
        if isinstance(part, Layer):
            layers.append(part)
            continue
        if part not in groups:
            raise ConversionError(f"the state dict has nothing of {part!r}; there are {', '.join(groups)}")
        follower = parts[k + 1] if k + 1 < len(parts) else None
        layers.append(_guessed(part, groups[part], groups.get(follower) if isinstance(follower, str) else None))
    return Sequential(*layers)


def _places(groups: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the prefixes as the places of a Sequential, or raise."""
    if not all(prefix.isdecimal() for prefix in groups):
        raise ConversionError(
            f"names such as {next(iter(groups))!r} do not tell the order of the layers; give order= of "
            f"{', '.join(sorted(groups))}"
        )
    places = sorted(groups, key=int)
    missing = [str(k) for k in range(int(places[-1])) if str(k) not in groups]
    if missing:
        raise ConversionError(f"nothing tells what stands at {', '.join(missing)}; give order= with layers for it")
    return tuple(places)


def _guessed(where: str, arrays: dict[str, FloatArray], follower: dict[str, FloatArray] | None) -> Layer:
    place = where or "the state dict"
    shapes = {name: array.shape for name, array in arrays.items()}
    dtype = common_dtype(arrays.values())
    weight = shapes.get("weight", ())
    layer: Layer | None = None
    if "weight_hh_l0" in shapes and "weight_ih_l0" in shapes:
        layer = _guessed_recurrent(place, shapes, dtype)
    elif len(weight) == 2 and set(shapes) == {"weight", "bias"}:
        layer = Dense(weight[1], weight[0], dtype=dtype)
    elif len(weight) == 1 and set(shapes) <= {"weight", "bias"}:
        layer = LayerNorm(weight[0], bias="bias" in shapes, dtype=dtype)
    elif len(weight) == 2 and set(shapes) == {"weight"}:
        if follower is None or follower.get("weight_ih_l0", np.empty((0, 0))).shape[1:] != weight[1:]:
            raise ConversionError(f"{place}: a weight {weight} alone may be an Embedding or a Linear without bias")
        layer = Embedding(*weight, dtype=dtype)
    if layer is None:
        raise ConversionError(f"{place}: no layer is known that has {', '.join(shapes)}")
    try:
        layer.load_state_dict(arrays)
    except (KeyError, ValueError) as error:
        raise ConversionError(f"{place}: {error.args[0]}") from None
    return layer


def _guessed_recurrent(place: str, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> Layer:
    rows, columns = (*shapes["weight_hh_l0"], 0, 0)[:2]
    inputs = (*shapes["weight_ih_l0"], 0, 0)[1]
    options: dict[str, Any] = {}
    hidden = columns
    if "weight_hr_l0" in shapes:
        options["proj_size"], hidden = (*shapes["weight_hr_l0"], 0)[:2]
    gates = rows // max(1, hidden)
    if gates == 1:
        raise ConversionError(f"{place}: the parameters of an RNN do not tell whether it is of tanh or relu")
    if gates not in (3, 4) or rows != gates * hidden:
        raise ConversionError(f"{place}: weight_hh_l0 of shape {shapes['weight_hh_l0']} is of no known cell")
    layers = sum(name.startswith("weight_hh_l") and not name.endswith("_reverse") for name in shapes)
    cls: Callable[..., Recurrent] = LSTM if gates == 4 else GRU
    if options and cls is GRU:
        raise ConversionError(f"{place}: there is no GRU with a projection (weight_hr_l0)")
    return cls(
        inputs,
        hidden,
        num_layers=layers,
        bias="bias_hh_l0" in shapes,
        bidirectional="weight_hh_l0_reverse" in shapes,
        dtype=dtype,
        **options,
    )
