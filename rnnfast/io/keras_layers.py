"""Which layers a model of Keras goes through, one after the other: by its config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rnnfast.io.errors import ConversionError

Config = Mapping[str, Any]
GIVE_LENGTHS = "in place of masks, calls are given lengths; masks=True reads over it"
MODELS = ("Sequential", "Functional", "Model")


def in_order(kind: str, config: Config, masks: bool) -> list[Config]:
    """Return what a model's config says of its layers, in the order in which data goes through them.

    Parameters
    ----------
    kind : str
        Class of the model, one of `MODELS`.
    config : mapping
        What its ``get_config()`` returns, or its file has.
    masks : bool
        Whether to read over masks; Keras 3 works them out by layers of their own, which lead to nothing else.

    Raises
    ------
    ConversionError
        If a functional model is more than one chain of layers, or has masks.
    KeyError, TypeError, AttributeError
        If it is no config of a model.
    """
    if kind == "Sequential":
        return list(config["layers"])
    parts = {part.get("name") or part["config"]["name"]: part for part in config["layers"]}
    inputs = list(_places(config["input_layers"]))
    ends = list(_places(config["output_layers"]))
    if len(inputs) != 1 or len(ends) != 1:
        raise ConversionError(f"a model of {len(inputs)} inputs and {len(ends)} outputs has no counterpart")
    name, _, output = ends[0]
    chain: list[str] = []
    while name not in chain:
        if output:
            raise ConversionError(f"the state of {name!r} is read, for which there is no counterpart")
        chain.append(name)
        if not parts[name]["inbound_nodes"]:
            return [parts[name] for name in reversed(chain)]
        name, output = _source(name, parts[name]["inbound_nodes"], masks)
    raise ConversionError(f"layer {name!r} reads what it makes")


def _source(name: str, nodes: Any, masks: bool) -> tuple[str, int]:
    """Return the layer whose output a layer reads, and which output of it."""
    found: list[tuple[str, int, int]] = []
    for node in nodes:
        if isinstance(node, Mapping):  # as Keras 3 has it
            options = {key: value for key, value in node["kwargs"].items() if key != "mask"}
            if any(_places(node["kwargs"].get("mask"))) and not masks:
                raise ConversionError(f"layer {name!r} is given a mask: {GIVE_LENGTHS}")
            found += [*_places(node["args"]), *_places(options)]
        else:
            found += _places(node)
    if len(found) != 1:
        raise ConversionError(f"layer {name!r} reads {len(found)} tensors; only a chain of layers has a counterpart")
    return found[0][0], found[0][2]


def _places(value: Any) -> Iterator[tuple[str, int, int]]:
    """Yield the tensors that are named somewhere: layer, its call, and which of its outputs; of Keras 2 and 3."""
    if isinstance(value, Mapping):
        if "keras_history" in value:
            yield from _places(value["keras_history"])
        else:
            for part in value.values():
                yield from _places(part)
    elif isinstance(value, list | tuple):
        parts = list(value)
        if len(parts) >= 3 and [type(part) for part in parts[:3]] == [str, int, int]:
            yield parts[0], parts[1], parts[2]
            del parts[:3]
        for part in parts:
            yield from _places(part)
