"""Layers and models of Keras, live or in its files, without importing it: by class names, configs and weights."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rnnfast.checks import FloatArray, check_flag, check_path, kind_of
from rnnfast.io.errors import ConversionError
from rnnfast.io.foreign import as_parameter, common_dtype
from rnnfast.io.keras_files import Part, read_parts
from rnnfast.io.keras_layers import GIVE_LENGTHS, MODELS, Config, in_order
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

Weights = Sequence[FloatArray]

# Options that change nothing of what is computed: names, how a layer is stored or started, how a graph is compiled.
_NEUTRAL = re.compile(
    r"name|trainable|dtype|\w+_initializer|unit_forget_bias|unroll|implementation|zero_output_for_mask|use_cudnn|seed|"
    r"stateful|batch_shape|batch_input_shape|input_length|sparse|ragged|optional|time_major|autocast"
)

_TRAINING = r"dropout|\w+_regularizer|\w+_constraint"


def from_keras(source: Any, *, masks: bool = False, inference: bool = False) -> Layer:
    """Return the layer that computes what a layer or model of Keras computes, with copies of its weights.

    Parameters
    ----------
    source : keras.Layer, keras.Sequential, keras.Model or path
        Embedding, SimpleRNN, LSTM, GRU, Bidirectional, Dense, TimeDistributed of a Dense, LayerNormalization, Dropout,
        Activation, ReLU, Softmax, GlobalAveragePooling1D, GlobalMaxPooling1D, or a Sequential of these, or a functional
        model that is one chain of these; live, or in a file ``.keras`` or ``.h5`` (which takes the package h5py).
    masks : bool, default False
        Whether to read over ``Masking`` and ``mask_zero=True`` of an Embedding, because calls will be given
        ``lengths``: masked steps at the ends of sequences are what lies beyond them. Otherwise these are refused.
    inference : bool, default False
        Whether to read over what acts in training alone and has no counterpart: ``dropout`` of a recurrent layer's
        input, regularizers, constraints. Otherwise these are refused.

    Returns
    -------
    Layer
        A `Sequential` for a model, and for a layer that becomes more than one: a recurrent layer that returns its last
        step only is followed by `Last`, or by `Ends` if it is bidirectional.

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    OSError
        If the file cannot be read.
    ModelFileError
        If it is damaged or no such file.
    ConversionError
        If a layer or an option of it, named in the message, has no counterpart.

    Notes
    -----
    ``stateful`` has no counterpart because it needs none: pass the state that a call returns to the next.
    """
    check_flag("masks", masks)
    check_flag("inference", inference)
    over = "|".join([*(["mask_zero"] if masks else []), *([_TRAINING] if inference else [])])
    is_file = isinstance(source, (str, os.PathLike))
    is_live = hasattr(source, "get_config") and hasattr(source, "get_weights") and not isinstance(source, type)
    if not is_file and not is_live:
        got = "a layer of rnnfast" if isinstance(source, Layer) else kind_of(source)
        raise TypeError(
            "source must be a layer or model of Keras, such as keras.layers.LSTM(3), or the path of a .keras or .h5 "
            f"file; got {got}"
        )
    layers = []
    for kind, config, weights in read_parts(check_path("source", source), masks) if is_file else _live(source, masks):
        if kind != "Masking":
            layers += _converted(kind, _without(config, over) if over else config, weights)
        elif not masks:
            raise ConversionError(f"Masking ({config.get('name', '')}): {GIVE_LENGTHS}")
    return _sequential(layers) if len(layers) != 1 or is_file or type(source).__name__ in MODELS else layers[0]


def _without(config: Config, names: str) -> Config:
    """Return a config, also of layers in it, without options whose name matches."""
    return {
        key: _without(value, names) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if not re.fullmatch(names, key)
    }


def _sequential(layers: list[Layer]) -> Layer:
    if not layers:
        raise ConversionError("the model has no layers")
    return Sequential(*layers)


def _live(layer: Any, masks: bool) -> Iterator[Part]:
    """Yield class name, config and weights of a layer, or of those of a model, in order."""
    kind = type(layer).__name__
    if kind == "Sequential":
        for child in layer.layers:
            yield from _live(child, masks)
    elif kind in MODELS:
        children = {child.name: child for child in layer.layers}
        for part in in_order(kind, layer.get_config(), masks):
            yield from _live(children[part["config"]["name"]], masks)
    elif kind not in LAYERS and kind != "Masking":
        raise _unknown(kind, getattr(layer, "name", ""))
    else:
        yield kind, layer.get_config(), layer.get_weights()


def _unknown(kind: str, name: str) -> ConversionError:
    known = ", ".join(LAYERS)
    return ConversionError(f"{kind} ({name}) has no counterpart among {known}, and chains of these as a model")


def _converted(name: str, config: Config, weights: Sequence[Any]) -> list[Layer]:
    """Return the layers that one of Keras's becomes."""
    if name not in LAYERS:
        raise _unknown(name, config.get("name", ""))
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
                if name == "mask_zero":
                    raise ConversionError(f"mask_zero=True: {GIVE_LENGTHS}")
                hint = "; inference=True reads over it" if re.fullmatch(_TRAINING, name) else ""
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
        more["recurrent_dropout"] = options.take("recurrent_dropout", 0.0)
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
