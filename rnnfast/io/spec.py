"""The description of a model: a closed table of layers, and between a layer and its JSON.

A description is ``{"class": name, "config": {...}}``; a `Sequential` has ``"layers": [...]`` instead of a
configuration, and what wraps one layer (`WRAPPERS`) has both. Names are looked up in the table below and nowhere else.
Before anything is built, the table's lower bound on a layer's parameters is held against the numbers in the file, and
layers against its arrays, so that a small file cannot ask for a large model. Layers are built without initial values,
since those of the file take their place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from math import prod
from typing import Any, NamedTuple

from rnnfast.checks import check_choice, check_size
from rnnfast.graph import Graph
from rnnfast.initializers import no_initial_values
from rnnfast.io.errors import ModelFileError
from rnnfast.layers.activation import Activation
from rnnfast.layers.attention import Attention
from rnnfast.layers.base import Layer
from rnnfast.layers.crf import CRF
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.feedback import Jordan, OutputFeedback
from rnnfast.layers.normalization import LayerNorm
from rnnfast.layers.pooling import Ends, Last, MaxPool, MeanPool
from rnnfast.layers.recurrent import GRU, LSTM, MGU, RNN
from rnnfast.layers.scan import QRNN, SRU, IndRNN, MinGRU, MinLSTM
from rnnfast.layers.sequential import Sequential
from rnnfast.layers.tree import TreeEncoder, TreeLSTM
from rnnfast.models import EncoderDecoder, LanguageModel, Tagger, VectorToSequence

Config = Mapping[str, Any]
MAX_LAYERS = 1000
_GATES = {"lstm": 4, "gru": 3, "rnn": 1}


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
        width = _size(config, "proj_size", hidden)
        blocks = gates - 1 if config.get("coupled") else gates
        columns = _size(config, "input_size") + width + above * (directions + 1) * width
        return blocks * hidden * directions * columns

    return least


def _scan(gates: int) -> Callable[[Config], int]:
    def least(config: Config) -> int:
        hidden, above = _size(config, "hidden_size"), _size(config, "num_layers", 1) - 1
        directions = 2 if config.get("bidirectional") else 1
        columns = _size(config, "window", 1) * (_size(config, "input_size") + above * directions * hidden)
        return gates * hidden * directions * columns

    return least


def _product(*names: str) -> Callable[[Config], int]:
    def least(config: Config) -> int:
        total = 1
        for name in names:
            total *= _size(config, name)
        return total

    return least


def _tree(config: Config) -> int:
    hidden = _size(config, "hidden_size")
    return 4 * hidden * (_size(config, "input_size") + hidden)


def _tree_encoder(config: Config) -> int:
    features = _size(config, "embedding_dim")
    return _size(config, "num_embeddings") * features + _tree({**config, "input_size": features})


def _layer_norm(config: Config) -> int:
    return _size(config, "normalized_shape") if config.get("elementwise_affine", True) is True else 0


def _graph(config: Config) -> int:
    weights = config.get("weights")
    if type(weights) is not dict or not all(type(shape) is list for shape in weights.values()):
        raise TypeError("weights must be shapes by name")
    return sum(prod(check_size(name, size, 0) for size in shape) for name, shape in weights.items())


def _tagger(config: Config) -> int:
    """Return the numbers of the word table and of the recurrent layers, less their gates."""
    width, hidden = _size(config, "word_dim", 64), _size(config, "hidden_size", 64)
    total = _size(config, "num_words") * width
    if config.get("num_characters") is not None:
        inner, units = _size(config, "character_dim", 32), _size(config, "character_hidden", 32)
        total += _size(config, "num_characters") * inner + 2 * units * (inner + units)
        width += 2 * units
    above = 3 * hidden * (_size(config, "num_layers", 1) - 1)
    gates = _GATES[check_choice("cell", config.get("cell", "lstm"), tuple(_GATES))]
    return total + 2 * gates * hidden * (width + hidden + above) + 2 * hidden * _size(config, "num_tags")


def _attention(config: Config) -> int:
    query, memory = _size(config, "query_size"), _size(config, "memory_size")
    if config.get("score", "general") != "additive":
        return query * memory if config.get("score", "general") == "general" else 0
    units = query if config.get("attention_size") is None else _size(config, "attention_size")
    return units * (query + memory)


def _generative(given: Callable[[Config, int], int]) -> Callable[[Config], int]:
    """Return the bound of a model with a decoder; ``given(config, gates)`` is that of what it starts from."""

    def least(config: Config) -> int:
        gates = _GATES[check_choice("cell", config.get("cell", "lstm"), tuple(_GATES))]
        tokens = _size(config, "size" if "size" in config else "target_size")
        width, hidden = _size(config, "embedding_dim", 128), _size(config, "hidden_size", 256)
        layers = _size(config, "num_layers", 1) if "decoder_layers" not in config else _size(config, "decoder_layers")
        stack = gates * hidden * (width + hidden + 2 * (layers - 1) * hidden)
        table = 0 if config.get("tied", "size" in config) else tokens * hidden
        return tokens * width + table + stack + given(config, gates)

    return least


def _source(config: Config, gates: int) -> int:
    hidden, directions = _size(config, "hidden_size", 256), 2 if config.get("bidirectional", True) else 1
    units = config.get("encoder_hidden_size")
    units = hidden // directions if units is None else check_size("encoder_hidden_size", units)
    source, inputs = _size(config, "source_size"), _size(config, "embedding_dim", 128)
    if config.get("source", "tokens") == "tokens":
        table = source * inputs
    else:
        table, inputs = 0, source
    above = 2 * (_size(config, "encoder_layers", 1) - 1) * units
    attention = 0 if config.get("attention", "general") is None else hidden * units
    return table + directions * gates * units * (inputs + units + above) + attention


def _jordan(config: Config) -> int:
    return _size(config, "hidden_size") * (_size(config, "input_size") + 2 * _size(config, "output_size"))


def _nothing(config: Config) -> int:
    return 0


LAYERS: dict[str, Entry] = {
    "RNN": Entry(RNN, _recurrent(1)),
    "LSTM": Entry(LSTM, _recurrent(4)),
    "GRU": Entry(GRU, _recurrent(3)),
    "MGU": Entry(MGU, _recurrent(2)),
    "SRU": Entry(SRU, _scan(3)),
    "QRNN": Entry(QRNN, _scan(2)),
    "MinGRU": Entry(MinGRU, _scan(2)),
    "MinLSTM": Entry(MinLSTM, _scan(3)),
    "IndRNN": Entry(IndRNN, _scan(1)),
    "CRF": Entry(CRF, _product("num_tags", "num_tags")),
    "Dense": Entry(Dense, _product("in_features", "out_features")),
    "Attention": Entry(Attention, _attention),
    "Embedding": Entry(Embedding, _product("num_embeddings", "embedding_dim")),
    "TreeLSTM": Entry(TreeLSTM, _tree),
    "TreeEncoder": Entry(TreeEncoder, _tree_encoder),
    "LayerNorm": Entry(LayerNorm, _layer_norm),
    "Activation": Entry(Activation, _nothing),
    "Dropout": Entry(Dropout, _nothing),
    "Ends": Entry(Ends, _nothing),
    "Last": Entry(Last, _nothing),
    "MeanPool": Entry(MeanPool, _nothing),
    "MaxPool": Entry(MaxPool, _nothing),
    "Graph": Entry(Graph, _graph),
    "Tagger": Entry(Tagger, _tagger),
    "LanguageModel": Entry(LanguageModel, _generative(lambda config, gates: 0)),
    "VectorToSequence": Entry(VectorToSequence, _generative(lambda config, gates: _size(config, "vector_size"))),
    "EncoderDecoder": Entry(EncoderDecoder, _generative(_source)),
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


def build(description: Any, elements: int, arrays: int) -> Layer:
    """Return a new layer of a description, its parameters not yet set.

    Parameters
    ----------
    description : object
        As it came from the file.
    elements : int
        How many numbers the file holds for the layer's parameters.
    arrays : int
        In how many arrays.

    Raises
    ------
    ModelFileError
        If it is not a valid description, or describes more than there is.
    """
    parts = list(_leaves(description))
    if len(parts) > MAX_LAYERS:
        raise ModelFileError(f"it describes {len(parts)} layers; at most {MAX_LAYERS} are allowed")
    stacked = sum(part["config"].get("num_layers", 0) for part in parts)
    if stacked > arrays:
        raise ModelFileError(f"it describes {stacked} recurrent layers but holds {arrays} arrays")
    needed = sum(_least(part) for part in parts)
    if needed > elements:
        raise ModelFileError(f"it describes a model of at least {needed} parameters but holds {elements}")
    with no_initial_values():
        return _build(description)


def _leaves(description: Any) -> Iterator[dict[str, Any]]:
    """Yield the descriptions of all layers but Sequentials, each with the fields it must have."""
    if type(description) is not dict:
        raise ModelFileError("a layer's description must be an object")
    name = description.get("class")
    if name == "Sequential":
        if set(description) != {"class", "layers"} or type(description["layers"]) is not list:
            raise ModelFileError("a Sequential must have the fields class and layers")
        if not description["layers"]:
            raise ModelFileError("a Sequential must have at least one layer")
        for part in description["layers"]:
            yield from _leaves(part)
        return
    if type(name) is not str or (name not in LAYERS and name not in WRAPPERS):
        raise ModelFileError(f"there is no layer called {name!r:.80}")
    fields = ("class", "config", "layers") if name in WRAPPERS else ("class", "config")
    if set(description) != set(fields) or type(description["config"]) is not dict:
        raise ModelFileError(f"{name} must have the fields {', '.join(fields[:-1])} and {fields[-1]}")
    if type(description["config"].get("num_layers", 0)) is not int:
        raise ModelFileError(f"{name}: num_layers must be an integer")
    yield description
    if name in WRAPPERS:
        inner = description["layers"]
        if type(inner) is not list or len(inner) != 1:
            raise ModelFileError(f"{name} must have one layer")
        yield from _leaves(inner[0])


@cache
def _options(name: str) -> frozenset[str]:
    cls, first = (WRAPPERS[name], 1) if name in WRAPPERS else (LAYERS[name].cls, 0)
    return frozenset(list(inspect.signature(cls).parameters)[first:]) - {"seed"}


def _least(description: dict[str, Any]) -> int:
    name, config = description["class"], description["config"]
    unknown = sorted(set(config) - _options(name))
    if unknown:
        raise ModelFileError(f"{name} has no option {unknown[0]!r:.80}")
    if name in WRAPPERS:
        return 0
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
