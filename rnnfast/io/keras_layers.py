"""Which layers a model of Keras goes through, one after the other: by its config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rnnfast.io.errors import ConversionError

Config = Mapping[str, Any]
MODELS = ("Sequential", "Functional", "Model")


def in_order(kind: str, config: Config) -> list[Config]:
    """Return what a model's config says of its layers, in the order in which data goes through them.

    Parameters
    ----------
    kind : str
        Class of the model, one of `MODELS`.
    config : mapping
        What its ``get_config()`` returns, or its file has.

    Raises
    ------
    ConversionError
        If a functional model is more than one chain of layers.
    KeyError, TypeError, AttributeError
        If it is no config of a model.
    """
    if kind == "Sequential":
        return list(config["layers"])
    parts = {part.get("name") or part["config"]["name"]: part for part in config["layers"]}
    after: dict[str, str] = {}
    begins = []
    for name, part in parts.items():
        sources = [place for node in part["inbound_nodes"] for place in _places(node)]
        if not sources:
            begins.append(name)
        elif len(part["inbound_nodes"]) > 1 or len(sources) > 1:
            raise ConversionError(
                f"layer {name!r} reads {len(sources)} tensors; only a chain of layers has a counterpart"
            )
        else:
            source, _, output = sources[0]
            if output:
                raise ConversionError(
                    f"layer {name!r} reads the state of {source!r}, for which there is no counterpart"
                )
            if source in after:
                raise ConversionError(
                    f"{after[source]!r} and {name!r} both read {source!r}; only a chain has a counterpart"
                )
            after[source] = name
    if len(begins) != 1:
        raise ConversionError(f"a model of {len(begins)} inputs has no counterpart")
    chain = [begins[0]]
    while chain[-1] in after:
        chain.append(after[chain[-1]])
    ends = list(_places(config["output_layers"]))
    if [(name, output) for name, _, output in ends] != [(chain[-1], 0)]:
        raise ConversionError("a model that returns more than the output of its last layer has no counterpart")
    return [parts[name] for name in chain]


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
