"""Layers and models of Keras, live or in its files, without importing it: by class names, configs and weights."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from rnnfast.checks import FloatArray
from rnnfast.io import strict_json
from rnnfast.io.errors import ConversionError, ModelFileError
from rnnfast.io.foreign import as_parameter, common_dtype
from rnnfast.io.keras_weights import check_count, load_keras_weights
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

Config = Mapping[str, Any]
Weights = Sequence[FloatArray]

# Options that change nothing of what is computed: names, how a layer is stored or started, how a graph is compiled.
_NEUTRAL = re.compile(
    r"name|trainable|dtype|\w+_initializer|unit_forget_bias|unroll|implementation|zero_output_for_mask|use_cudnn|seed|"
    r"stateful|batch_shape|batch_input_shape|input_length|sparse|ragged|optional|time_major|autocast"
)
_LIMIT = 1 << 30  # bytes of weights in an archive


def from_keras(source: Any) -> Layer:
    """Return the layer that computes what a layer or model of Keras computes, with copies of its weights.

    Parameters
    ----------
    source : keras.Layer, keras.Sequential or path
        Embedding, SimpleRNN, LSTM, GRU, Bidirectional, Dense, TimeDistributed of a Dense, LayerNormalization, Dropout,
        Activation, ReLU, Softmax, GlobalAveragePooling1D, GlobalMaxPooling1D, or a Sequential of these, live or in a
        file ``.keras`` (which takes the package h5py).

    Returns
    -------
    Layer
        A `Sequential` for a model, and for a layer that becomes more than one: a recurrent layer that returns its last
        step only is followed by `Last`, or by `Ends` if it is bidirectional.

    Raises
    ------
    OSError
        If the file cannot be read.
    ModelFileError
        If it is damaged or no such file.
    ConversionError
        If a layer or an option of it, named in the message, has no counterpart.

    Notes
    -----
    ``stateful`` has no counterpart because it needs none: pass the state that a call returns to the next. In place of a
    mask, which is refused, calls take ``lengths``.
    """
    if isinstance(source, (str, os.PathLike)):
        parts = _archived(source)
        return _sequential([layer for part in parts for layer in _converted(*part)])
    config = source.get_config()
    if type(source).__name__ == "Sequential":
        found = [layer for part in source.layers for layer in _live(part)]
        return _sequential(found)
    layers = _converted(type(source).__name__, config, source.get_weights())
    return layers[0] if len(layers) == 1 else _sequential(layers)


def _sequential(layers: list[Layer]) -> Layer:
    if not layers:
        raise ConversionError("the model has no layers")
    return Sequential(*layers)


def _live(layer: Any) -> list[Layer]:
    return _converted(type(layer).__name__, layer.get_config(), layer.get_weights())


def _converted(name: str, config: Config, weights: Sequence[Any]) -> list[Layer]:
    """Return the layers that one of Keras's becomes."""
    if name not in LAYERS:
        raise ConversionError(f"{name} ({config.get('name', '')}) has no counterpart among {', '.join(LAYERS)}")
    place = f"{name} {config.get('name', '')}".strip()
    arrays = [as_parameter(f"{place}: weight {k}", weight) for k, weight in enumerate(weights)]
    try:
        return LAYERS[name](_Options(config), arrays)
    except (ValueError, TypeError, KeyError) as error:
        raise ConversionError(f"{place}: {error.args[0]}") from None


class _Options:
    """A config that must be used up: what nobody asks for must be neutral or say nothing."""

    def __init__(self, config: Config) -> None:
        self._left = {name: value for name, value in config.items() if not _NEUTRAL.fullmatch(name)}

    def take(self, name: str, default: Any = None) -> Any:
        """Return an option and count it as used."""
        return self._left.pop(name, default)

    def finish(self) -> None:
        """Raise ``ConversionError`` if an option is left that says something."""
        for name, value in self._left.items():
            nothing = value is None or value is False or (type(value) in (int, float) and value == 0)
            if not nothing:
                hint = "; give lengths to calls instead" if name == "mask_zero" else ""
                raise ConversionError(f"there is no counterpart of {name}={value!r:.80}{hint}")

    def activation(self, name: str, default: str) -> str:
        """Return the name of an activation."""
        value = self.take(name, default)
        if isinstance(value, Mapping):
            value = value.get("config")
        if not isinstance(value, str):
            raise ConversionError(f"there is no counterpart of {name}={value!r:.80}")
        return value


def _filled(layer: Layer, weights: Weights) -> Layer:
    load_keras_weights(layer, weights)
    return layer


def _recurrent(cls: Callable[..., Layer]) -> Callable[[_Options, Weights], list[Layer]]:
    def make(options: _Options, weights: Weights) -> list[Layer]:
        layer, whole = _recurrent_layer(cls, options, weights, False)
        return [layer] if whole else [layer, Last()]

    return make


def _recurrent_layer(
    cls: Callable[..., Layer], options: _Options, weights: Weights, bidirectional: bool
) -> tuple[Layer, bool]:
    """Return the layer, and whether it is to return all steps."""
    units, bias, whole = options.take("units"), options.take("use_bias", True), options.take("return_sequences", False)
    more: dict[str, Any] = {}
    activation = options.activation("activation", "tanh")
    if cls is RNN:
        more["nonlinearity"] = activation
    else:
        gate = options.activation("recurrent_activation", "sigmoid")
        if (activation, gate) != ("tanh", "sigmoid"):
            raise ConversionError(
                f"there is no counterpart of activation={activation!r}, recurrent_activation={gate!r}"
            )
    if cls is GRU:
        more["reset_after"] = bool(options.take("reset_after", True))
    options.finish()
    check_count("a recurrent layer", weights, (3 if bias else 2) * (1 + bidirectional))
    layer = cls(
        weights[0].shape[0], units, bias=bool(bias), bidirectional=bidirectional, dtype=common_dtype(weights), **more
    )
    return _filled(layer, weights), whole


_RECURRENT: dict[str, Callable[..., Layer]] = {"SimpleRNN": RNN, "LSTM": LSTM, "GRU": GRU}


def _bidirectional(options: _Options, weights: Weights) -> list[Layer]:
    inner, backward = options.take("layer"), options.take("backward_layer")
    merge = options.take("merge_mode", "concat")
    if merge != "concat":
        raise ConversionError(f"there is no counterpart of merge_mode={merge!r}")
    options.finish()
    name = inner["class_name"]
    if name not in _RECURRENT:
        raise ConversionError(f"there is no counterpart of a Bidirectional of {name}")
    if backward is not None:
        _check_twin(inner, backward)
    own = _Options(inner["config"])
    layer, whole = _recurrent_layer(_RECURRENT[name], own, weights, True)
    return [layer, *([] if whole else [Ends()])]


def _check_twin(forward: Config, backward: Config) -> None:
    """Raise unless the backward layer is the forward one read backwards."""
    one, other = (
        {k: v for k, v in part["config"].items() if not _NEUTRAL.fullmatch(k)} for part in (forward, backward)
    )
    other["go_backwards"] = not other.get("go_backwards")
    if forward["class_name"] != backward["class_name"] or one != other:
        raise ConversionError("there is no counterpart of a Bidirectional of two different layers")


def _dense(options: _Options, weights: Weights) -> list[Layer]:
    units, bias, f = options.take("units"), options.take("use_bias", True), options.activation("activation", "linear")
    options.finish()
    check_count("Dense", weights, 2 if bias else 1)
    inside = f in ("relu", "tanh", "sigmoid")
    layer = Dense(
        weights[0].shape[0], units, bias=bool(bias), activation=f if inside else None, dtype=common_dtype(weights)
    )
    return [_filled(layer, weights), *([] if inside or f == "linear" else [Activation(f)])]


def _time_distributed(options: _Options, weights: Weights) -> list[Layer]:
    inner = options.take("layer")
    options.finish()
    if inner["class_name"] != "Dense":
        raise ConversionError(f"there is no counterpart of a TimeDistributed of {inner['class_name']}")
    return _dense(_Options(inner["config"]), weights)


def _embedding(options: _Options, weights: Weights) -> list[Layer]:
    size, width = options.take("input_dim"), options.take("output_dim")
    options.finish()
    return [_filled(Embedding(size, width, dtype=common_dtype(weights)), weights)]


def _layer_norm(options: _Options, weights: Weights) -> list[Layer]:
    axis, eps = options.take("axis", -1), options.take("epsilon", 1e-3)
    scale, centre = options.take("scale", True), options.take("center", True)
    options.finish()
    if axis not in (-1, [-1], (-1,)):
        raise ConversionError(f"there is no counterpart of axis={axis!r}; only of the last, -1")
    if not scale:
        raise ConversionError("there is no counterpart of scale=False")
    check_count("LayerNormalization", weights, 2 if centre else 1)
    return [_filled(LayerNorm(len(weights[0]), eps, bias=bool(centre), dtype=common_dtype(weights)), weights)]


def _dropout(options: _Options, weights: Weights) -> list[Layer]:
    rate = options.take("rate")
    options.finish()
    return [Dropout(rate)]


def _activation(options: _Options, weights: Weights) -> list[Layer]:
    f = options.activation("activation", "linear")
    options.finish()
    return [Dropout(0.0) if f == "linear" else Activation(f)]


def _softmax(options: _Options, weights: Weights) -> list[Layer]:
    axis = options.take("axis", -1)
    options.finish()
    if axis != -1:
        raise ConversionError(f"there is no counterpart of axis={axis!r}; only of the last, -1")
    return [Activation("softmax")]


def _relu(options: _Options, weights: Weights) -> list[Layer]:
    options.finish()
    return [Activation("relu")]


def _pool(cls: Callable[[], Layer]) -> Callable[[_Options, Weights], list[Layer]]:
    def make(options: _Options, weights: Weights) -> list[Layer]:
        if options.take("data_format", "channels_last") != "channels_last":
            raise ConversionError("there is no counterpart of data_format='channels_first'")
        options.finish()
        return [cls()]

    return make


def _input(options: _Options, weights: Weights) -> list[Layer]:
    return []


LAYERS: dict[str, Callable[[_Options, Weights], list[Layer]]] = {
    "InputLayer": _input,
    "Embedding": _embedding,
    "SimpleRNN": _recurrent(RNN),
    "LSTM": _recurrent(LSTM),
    "GRU": _recurrent(GRU),
    "Bidirectional": _bidirectional,
    "Dense": _dense,
    "TimeDistributed": _time_distributed,
    "LayerNormalization": _layer_norm,
    "Dropout": _dropout,
    "Activation": _activation,
    "ReLU": _relu,
    "Softmax": _softmax,
    "GlobalAveragePooling1D": _pool(MeanPool),
    "GlobalMaxPooling1D": _pool(MaxPool),
}


def read_keras_weights(path: str | os.PathLike[str]) -> dict[str, list[FloatArray]]:
    """Return the weights in a file ``.weights.h5`` of Keras 3, by layer.

    Parameters
    ----------
    path : path
        What ``model.save_weights`` wrote. It does not say in which order the layers stand.

    Returns
    -------
    dict of str to list of ndarray
        By the file's name of the layer ("lstm", "dense_1"): its weights as ``get_weights()`` has them. For
        `load_keras_weights` put those of all layers together in the order of the model.

    Raises
    ------
    ModuleNotFoundError
        If the package h5py is missing.
    OSError
        If the file cannot be read.
    ModelFileError
        If it is no such file.
    ConversionError
        If a weight is of another dtype than float32, float64, float16 or bfloat16.
    """
    with open(path, "rb") as file:
        return _read_h5(file, os.fspath(path))


def _read_h5(file: Any, name: str) -> dict[str, list[FloatArray]]:
    try:
        import h5py
    except ModuleNotFoundError:
        raise ModuleNotFoundError("this needs the package h5py (pip install 'rnnfast[keras]')", name="h5py") from None
    try:
        with h5py.File(file, "r") as root:
            if "layers" not in root:
                raise ModelFileError(f"{name}: it has no layers: not a file of weights of Keras 3")
            return {layer: list(_variables(root["layers"][layer], layer)) for layer in root["layers"]}
    except (ModelFileError, ConversionError):
        raise
    except Exception as error:
        # The package raises OSError, KeyError, RuntimeError and others for what is damaged.
        raise ModelFileError(f"{name}: it is no valid file of weights: {error}") from None


def _variables(group: Any, place: str) -> Iterator[FloatArray]:
    """Yield the weights of a layer: its own, then those of its cell or of its two directions."""
    for key in sorted(group.get("vars", {}), key=int):
        data = group["vars"][key]
        if data.size * data.dtype.itemsize > max(1, data.id.get_storage_size()) * 1000:
            raise ModelFileError(f"the weight {place}/{key} is said to be much larger than what is stored of it")
        yield as_parameter(f"{place}/{key}", np.asarray(data))
    for part in ("forward_layer", "backward_layer", "cell", "layer"):
        if part in group:
            yield from _variables(group[part], f"{place}/{part}")


def _archived(path: str | os.PathLike[str]) -> list[tuple[str, Config, list[FloatArray]]]:
    """Return class name, config and weights of each layer of a Sequential in a file .keras."""
    name = os.fspath(path)
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                sizes = {member.filename: member.file_size for member in archive.infolist()}
                if sizes.get("config.json", 1 << 60) > strict_json.MAX_BYTES:
                    raise ModelFileError("it has no config.json, or one that is too long")
                if sizes.get("model.weights.h5", 1 << 60) > _LIMIT:
                    raise ModelFileError("it has no model.weights.h5, or one that is too long")
                document = strict_json.loads(archive.read("config.json"), "config.json")
                weights = _read_h5(BytesIO(archive.read("model.weights.h5")), "model.weights.h5")
        except (ModelFileError, ConversionError) as error:
            raise type(error)(f"{name}: {error}") from None
        except ModuleNotFoundError:
            raise
        except Exception as error:
            raise ModelFileError(f"{name}: it is no valid file of Keras: {error}") from None
    if type(document) is not dict or document.get("class_name") != "Sequential":
        kind = document.get("class_name") if type(document) is dict else None
        raise ConversionError(f"{name}: only a Sequential can be read from a file; got {kind!r:.80}")
    counts: dict[str, int] = {}
    found = []
    try:
        for part in document["config"]["layers"]:
            kind, config = part["class_name"], part["config"]
            key = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind).lower()
            number = counts.get(key, 0)
            if kind != "InputLayer":
                counts[key] = number + 1
            found.append((kind, config, weights.get(f"{key}_{number}" if number else key, [])))
    except (KeyError, TypeError, AttributeError):
        raise ModelFileError(f"{name}: its config.json does not describe layers") from None
    return found
