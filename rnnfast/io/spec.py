"""The description of a model: a closed table of layers, and between a layer and its JSON.

A description is ``{"class": name, "config": {...}}``; a `Sequential` has ``"layers": [...]`` instead of a
configuration, and what wraps one layer (`WRAPPERS`) has both. Names are looked
up in the table below and nowhere else. Before anything is built, the table's lower bound on a layer's parameters is
held against the numbers in the file, so that a small file cannot ask for a large model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rnnfast.checks import check_choice, check_size
from rnnfast.io.errors import ModelFileError
from rnnfast.layers.base import Layer
from rnnfast.layers.crf import CRF
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.feedback import Jordan, OutputFeedback
from rnnfast.layers.pooling import Ends, Last, MaxPool, MeanPool
from rnnfast.layers.recurrent import GRU, LSTM, RNN
from rnnfast.layers.sequential import Sequential
from rnnfast.models.tagger import Tagger

Config = Mapping[str, Any]


class Entry(NamedTuple):
    """A class that may be in a file, and the least number of parameters a configuration of it has."""

    cls: Callable[..., Layer]
    least: Callable[[Config], int]


def _size(config: Config, name: str, default: int | None = None) -> int:
    if name not in config and default is not None:
        return default
    return check_size(name, config.get(name))


def _recurrent(gates: int) -> Callable[[Config], int]:
    def least(config: Config) -> int:
        hidden, above = _size(config, "hidden_size"), _size(config, "num_layers", 1) - 1
        directions = 2 if config.get("bidirectional") else 1
        columns = _size(config, "input_size") + hidden + above * (directions + 1) * hidden
        return gates * hidden * directions * columns

    return least


def _product(*names: str) -> Callable[[Config], int]:
    def least(config: Config) -> int:
        total = 1
        for name in names:
            total *= _size(config, name)
        return total

    return least


def _tagger(config: Config) -> int:
    """Return the numbers of the word table and of the recurrent layers, less their gates."""
    width, hidden = _size(config, "word_dim", 64), _size(config, "hidden_size", 64)
    total = _size(config, "num_words") * width
    if config.get("num_characters") is not None:
        inner, units = _size(config, "character_dim", 32), _size(config, "character_hidden", 32)
        total += _size(config, "num_characters") * inner + 2 * units * (inner + units)
        width += 2 * units
    above = 3 * hidden * (_size(config, "num_layers", 1) - 1)
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[check_choice("cell", config.get("cell", "lstm"), ("lstm", "gru", "rnn"))]
    return total + 2 * gates * hidden * (width + hidden + above) + 2 * hidden * _size(config, "num_tags")


def _jordan(config: Config) -> int:
    return _size(config, "hidden_size") * (_size(config, "input_size") + 2 * _size(config, "output_size"))


def _nothing(config: Config) -> int:
    return 0


LAYERS: dict[str, Entry] = {
    "RNN": Entry(RNN, _recurrent(1)),
    "LSTM": Entry(LSTM, _recurrent(4)),
    "GRU": Entry(GRU, _recurrent(3)),
    "CRF": Entry(CRF, _product("num_tags", "num_tags")),
    "Dense": Entry(Dense, _product("in_features", "out_features")),
    "Embedding": Entry(Embedding, _product("num_embeddings", "embedding_dim")),
    "Dropout": Entry(Dropout, _nothing),
    "Ends": Entry(Ends, _nothing),
    "Last": Entry(Last, _nothing),
    "MeanPool": Entry(MeanPool, _nothing),
    "MaxPool": Entry(MaxPool, _nothing),
    "Tagger": Entry(Tagger, _tagger),
    "Jordan": Entry(Jordan, _jordan),
}
WRAPPERS: dict[str, Callable[..., Layer]] = {"OutputFeedback": OutputFeedback}  # the layer within is argument one


def describe(layer: Layer) -> dict[str, Any]:
    """Return the description of a layer, or raise ``TypeError`` if its class is not in the table."""
    if type(layer) is Sequential:
        return {"class": "Sequential", "layers": [describe(child) for child in layer.children().values()]}
    name = type(layer).__name__
    if name in WRAPPERS and type(layer) is WRAPPERS[name]:
        (inner,) = layer.children().values()
        return {"class": name, "config": layer.config(), "layers": [describe(inner)]}
    if name not in LAYERS or type(layer) is not LAYERS[name].cls:
        raise TypeError(
            f"model must consist of {', '.join([*LAYERS, *WRAPPERS, 'Sequential'])}; got {name}, of whose program a "
            "file has nothing: keep model.state_dict(), and load_state_dict it into a model built anew"
        )
    return {"class": name, "config": layer.config()}


def build(description: Any, elements: int) -> Layer:
    """Return a new layer of a description.

    Parameters
    ----------
    description : object
        As it came from the file.
    elements : int
        How many numbers the file holds for the layer's parameters.

    Raises
    ------
    ModelFileError
        If it is not a valid description, or describes more parameters than ``elements``.
    """
    needed = _least(description)
    if needed > elements:
        raise ModelFileError(f"it describes a model of at least {needed} parameters but holds {elements}")
    return _build(description)


def _least(description: Any) -> int:
    if type(description) is not dict:
        raise ModelFileError("a layer's description must be an object")
    name = description.get("class")
    if name == "Sequential":
        if set(description) != {"class", "layers"} or type(description["layers"]) is not list:
            raise ModelFileError("a Sequential must have the fields class and layers")
        return sum(_least(part) for part in description["layers"])
    if type(name) is not str or (name not in LAYERS and name not in WRAPPERS):
        raise ModelFileError(f"there is no layer called {name!r:.80}")
    config, wraps = description.get("config"), name in WRAPPERS
    fields = ("class", "config", "layers") if wraps else ("class", "config")
    if set(description) != set(fields) or type(config) is not dict:
        raise ModelFileError(f"{name} must have the fields {', '.join(fields[:-1])} and {fields[-1]}")
    arguments = list(inspect.signature(WRAPPERS[name] if wraps else LAYERS[name].cls).parameters)
    unknown = sorted(set(config) - set(arguments[wraps:]) | set(config) & {"seed"})
    if unknown:
        raise ModelFileError(f"{name} has no option {unknown[0]!r:.80}")
    if wraps:
        layers = description["layers"]
        if type(layers) is not list or len(layers) != 1:
            raise ModelFileError(f"{name} must have one layer")
        return _least(layers[0])
    try:
        return LAYERS[name].least(config)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{name}: {error}") from None


def _build(description: dict[str, Any]) -> Layer:
    name = description["class"]
    try:
        if name == "Sequential":
            return Sequential(*(_build(part) for part in description["layers"]))
        if name in WRAPPERS:
            return WRAPPERS[name](_build(description["layers"][0]), **description["config"])
        return LAYERS[name].cls(**description["config"])
    except ModelFileError:
        raise
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise ModelFileError(f"{name}: {error}") from None
