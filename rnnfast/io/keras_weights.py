"""Keras's lists of weights, in and out: what ``layer.get_weights()`` returns and ``layer.set_weights()`` takes.

Keras keeps matrices as (inputs, outputs), orders gates i f c o and z r h, and has one bias where torch has two; only
its GRU with ``reset_after`` has both, as the rows of one array. Ours are (outputs, inputs), i f g o and r z n, with two
biases each: a bias of Keras becomes b_ih beside a b_hh of zeros, and goes back as their sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnfast.checks import FloatArray, check_iterable, kind_of
from rnnfast.io.errors import ConversionError
from rnnfast.io.foreign import as_parameter, check_said, refuse
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

ORDER = {"h": "h", "ifgo": "ifgo", "rzn": "zrn"}  # by the order of ours: Keras's, in our letters


class _Kind(NamedTuple):
    """A class: the options that its weights depend on or that Keras has too, how to give and how to take."""

    said: tuple[str, ...]
    give: Callable[[Any], list[FloatArray]]
    take: Callable[[Any, list[FloatArray]], dict[str, FloatArray]]
    count: Callable[[Any], int]


def to_keras_weights(layer: Layer) -> list[FloatArray]:
    """Return the parameters as Keras has them, in its order: what ``set_weights`` of its twin takes.

    Parameters
    ----------
    layer : Layer
        RNN (Keras's SimpleRNN), LSTM, GRU, Dense, Embedding, LayerNorm, or a `Sequential` of these and of layers
        without parameters. A recurrent layer of several layers stands for as many of Keras's, each ``Bidirectional``
        where ours is.

    Returns
    -------
    list of ndarray

    Raises
    ------
    TypeError
        If ``layer`` is no layer.
    ConversionError
        If the layer has something that Keras has not.
    """
    check_layer("layer", layer)
    return [array for where, part in _parts(layer, "") for array in _kind(part, where).give(part)]


def load_keras_weights(layer: Layer, weights: Sequence[Any]) -> None:
    """Copy a list of weights of Keras into a layer; either all fit or nothing changes.

    Parameters
    ----------
    layer : Layer
        As for `to_keras_weights`.
    weights : sequence of array_like
        What ``get_weights()`` of Keras's layer or model returned, of float32 or float64; float16 and bfloat16 become
        float32.

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ConversionError
        If Keras has no such layer, or a weight is of another dtype.
    ValueError
        If there are too few weights or too many, or a shape differs.
    """
    check_layer("layer", layer)
    if isinstance(weights, Mapping):  # whose order is the file's and not the model's
        raise TypeError(
            f"weights must be a list of arrays in the order of the model; got {kind_of(weights)} (of "
            "read_keras_weights: put the lists of the layers together in that order)"
        )
    check_iterable("weights", weights)
    arrays = [as_parameter(f"weights[{k}]", weight) for k, weight in enumerate(weights)]
    parts = [(where, part, _kind(part, where)) for where, part in _parts(layer, "")]
    needed = sum(kind.count(part) for _, part, kind in parts)
    if needed != len(arrays):
        raise ValueError(f"weights must be {needed} arrays for this layer; got {len(arrays)}")
    state: dict[str, FloatArray] = {}
    for where, part, kind in parts:
        count = kind.count(part)
        own, arrays = arrays[:count], arrays[count:]
        try:
            found = kind.take(part, own)
            for name, array in found.items():
                if array.shape != part.params[name].shape:
                    raise ValueError(f"{name} would be of shape {array.shape}, not {part.params[name].shape}")
        except (ValueError, IndexError) as error:
            shapes = ", ".join(str(array.shape) for array in own)
            raise ValueError(
                f"weights of shapes {shapes} do not fit {where or 'the layer'}, {part!r}: {error}"
            ) from None
        state.update({f"{where}.{name}" if where else name: array for name, array in found.items()})
    layer.load_state_dict(state)


def _parts(layer: Layer, where: str) -> list[tuple[str, Layer]]:
    if type(layer) is Sequential:
        children = layer.children().items()
        return [part for name, child in children for part in _parts(child, f"{where}.{name}" if where else name)]
    return [(where, layer)]


def _kind(layer: Layer, where: str) -> _Kind:
    kind = KINDS.get(type(layer))
    if kind is None:
        raise refuse(layer, "a list of Keras's weights", "the parameters", where)
    check_said(layer, kind.said, "Keras", where)
    return kind


def _suffixes(layer: Any) -> list[str]:
    return [f"_l{k}{end}" for k in range(layer.num_layers) for end in ("", "_reverse")[: 1 + layer.bidirectional]]


def _reordered(array: FloatArray, given: str, wanted: str) -> FloatArray:
    """Return blocks of rows in another order."""
    blocks = np.split(array, len(given))
    return np.concatenate([blocks[given.index(letter)] for letter in wanted])


def _give_recurrent(layer: Any) -> list[FloatArray]:
    order, params = layer.cell.order, layer.params
    found = []
    for s in _suffixes(layer):
        for kind in ("weight_ih", "weight_hh"):
            found.append(_reordered(params[kind + s], order, ORDER[order]).T.copy())
        if layer.bias:
            both = [_reordered(params[kind + s], order, ORDER[order]) for kind in ("bias_ih", "bias_hh")]
            found.append(np.stack(both) if getattr(layer, "reset_after", False) else both[0] + both[1])
    return found


def _take_recurrent(layer: Any, weights: list[FloatArray]) -> dict[str, FloatArray]:
    order = layer.cell.order
    found = {}
    each = 3 if layer.bias else 2
    for k, s in enumerate(_suffixes(layer)):
        kernel, recurrent, *bias = weights[each * k : each * (k + 1)]
        found[f"weight_ih{s}"] = _reordered(kernel.T, ORDER[order], order)
        found[f"weight_hh{s}"] = _reordered(recurrent.T, ORDER[order], order)
        if bias:
            rows = 2 if getattr(layer, "reset_after", False) else 1
            if bias[0].ndim != rows:
                raise ValueError(f"the bias must have {rows} axes, for its reset_after is {rows == 2}")
            both = bias[0] if rows == 2 else np.stack([bias[0], np.zeros_like(bias[0])])
            found[f"bias_ih{s}"], found[f"bias_hh{s}"] = (_reordered(b, ORDER[order], order) for b in both)
    return found


def _give_dense(layer: Dense) -> list[FloatArray]:
    return [layer.params["weight"].T.copy(), *([layer.params["bias"].copy()] if layer.bias else [])]


def _take_dense(layer: Dense, weights: list[FloatArray]) -> dict[str, FloatArray]:
    kernel, *bias = weights
    return {"weight": kernel.T, **({"bias": bias[0]} if bias else {})}


def _give_plain(layer: Layer) -> list[FloatArray]:
    return [array.copy() for array in layer.params.values()]


def _take_plain(layer: Layer, weights: list[FloatArray]) -> dict[str, FloatArray]:
    return dict(zip(layer.params, weights, strict=True))


def _count(layer: Layer) -> int:
    return len(layer.params)


def _count_recurrent(layer: Any) -> int:
    return len(_suffixes(layer)) * (3 if layer.bias else 2)


_RECURRENT = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
KINDS: dict[type[Layer], _Kind] = {
    RNN: _Kind((*_RECURRENT, "nonlinearity"), _give_recurrent, _take_recurrent, _count_recurrent),
    LSTM: _Kind((*_RECURRENT, "recurrent_dropout"), _give_recurrent, _take_recurrent, _count_recurrent),
    GRU: _Kind((*_RECURRENT, "reset_after", "recurrent_dropout"), _give_recurrent, _take_recurrent, _count_recurrent),
    Dense: _Kind(("in_features", "out_features", "bias", "activation"), _give_dense, _take_dense, _count),
    Embedding: _Kind(("num_embeddings", "embedding_dim", "padding_idx"), _give_plain, _take_plain, _count),
    LayerNorm: _Kind(("normalized_shape", "eps", "elementwise_affine", "bias"), _give_plain, _take_plain, _count),
    **{
        cls: _Kind(said, _give_plain, _take_plain, _count)
        for cls, said in (
            (Dropout, ("p",)),
            (Activation, ("kind",)),
            *((c, ()) for c in (Last, Ends, MeanPool, MaxPool)),
        )
    },
}


def check_count(name: str, weights: Sequence[FloatArray], *counts: int) -> None:
    """Raise ``ConversionError`` unless there are as many weights as one of the counts."""
    if len(weights) not in counts:
        raise ConversionError(f"{name} must have {' or '.join(map(str, counts))} weights; got {len(weights)}")
