"""What all conversions share: one rule for other libraries' tensors, and one for options that they do not know.

The rule for tensors: float32 and float64 stay; float16 and bfloat16 become float32, which holds every value of theirs;
anything else (integers, complex, quantised or 8-bit numbers) is refused by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from rnnfast.checks import FloatArray, as_array
from rnnfast.io.errors import ConversionError
from rnnfast.layers.base import Layer

NEUTRAL = ("dtype", "init", "chrono")  # what every conversion takes care of: parameters as they are, however started
_KEPT = ("float32", "float64")
_WIDENED = ("float16", "bfloat16")


def as_parameter(name: str, tensor: Any) -> FloatArray:
    """Return a tensor of any library as an array of float32 or float64, by the rule at the top of this module.

    Parameters
    ----------
    name : str
        What to call it in errors.
    tensor : array_like, or an object with ``detach`` and ``cpu`` as a torch tensor has them

    Raises
    ------
    ConversionError
        If its dtype is another.
    ValueError
        If its rows are of different lengths, or some of its elements are masked.
    """
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        kind = str(tensor.dtype).rpartition(".")[2]
        if kind in _WIDENED:
            tensor = tensor.float()
        elif kind not in _KEPT:
            raise ConversionError(_refusal(name, kind))
        tensor = tensor.numpy()
    array: FloatArray = as_array(name, tensor)
    if array.dtype.name in _WIDENED:
        array = array.astype(np.float32)
    if array.dtype.name not in _KEPT:
        raise ConversionError(_refusal(name, str(array.dtype)))
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _refusal(name: str, kind: str) -> str:
    return f"{name} must be of {', '.join([*_KEPT, *_WIDENED])}; got {kind}"


def as_parameters(tensors: Mapping[str, Any]) -> dict[str, FloatArray]:
    """Return all tensors of a mapping by `as_parameter`."""
    return {str(name): as_parameter(str(name), tensor) for name, tensor in tensors.items()}


def common_dtype(arrays: Collection[FloatArray]) -> str:
    """Return the dtype of a layer that holds all arrays: float64 if one of them is, else float32."""
    return "float64" if any(array.dtype == np.float64 for array in arrays) else "float32"


def check_said(layer: Layer, said: Collection[str], target: str, where: str = "") -> None:
    """Raise ``ConversionError`` if an option of the layer that a conversion does not know is not at its default.

    So an option that is added to a layer later is refused by every conversion until somebody teaches them, and never
    lost.

    Parameters
    ----------
    layer : Layer
    said : collection of str
        The options that the conversion takes care of.
    target : str
        The other format, for the message.
    where : str, default ""
        The name of the layer in its model.
    """
    defaults = {name: p.default for name, p in inspect.signature(type(layer)).parameters.items()}
    for name, value in layer.config().items():
        if name not in said and name not in NEUTRAL and not (name in defaults and defaults[name] == value):
            raise refuse(layer, target, f"{name}={value!r}", where)


def refuse(layer: Layer, target: str, what: str, where: str = "") -> ConversionError:
    """Return the error for a layer that a format cannot say."""
    place = f"layer {where} ({type(layer).__name__})" if where else type(layer).__name__
    return ConversionError(f"{target} cannot say {what} of {place}")
