"""Nested values with arrays in them, split into JSON and named arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.io.errors import ModelFileError

_ARRAY, _FLOAT = "$array", "$float"


def split(value: Any, name: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """Return ``value`` as JSON in which ``{"$array": name}`` stands for every array, put into ``arrays``.

    Parameters
    ----------
    value : dict, list, tuple, ndarray, NumPy scalar, str, int, float, bool or None
        Tuples become lists, NumPy scalars plain numbers, and NaN and infinities ``{"$float": "nan"}`` and so on.
    name : str
        Prefix of the arrays' names.
    arrays : dict
        Added to.

    Raises
    ------
    TypeError
        If something is of another type, or a key is not a string.
    ValueError
        If a key is one of the two marks.
    """
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{name} must have strings for keys; got {key!r}")
            if key in (_ARRAY, _FLOAT):
                raise ValueError(f"{name} must not have the key {key!r}")
        return {key: split(item, f"{name}/{key}", arrays) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [split(item, f"{name}/{k}", arrays) for k, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(value)}
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"{name} must be a dict, list, array, str, number, bool or None; got {type(value).__name__}")


def join(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Return what `split` was given, with copies of the arrays; ``ModelFileError`` if it does not fit."""
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            name = value[_ARRAY]
            if not isinstance(name, str) or name not in arrays:
                raise ModelFileError(f"there is no array {name!r:.80}")
            return arrays[name].copy()
        if set(value) == {_FLOAT}:
            if value[_FLOAT] not in ("nan", "inf", "-inf"):
                raise ModelFileError(f"{value[_FLOAT]!r:.80} is not nan, inf or -inf")
            return float(value[_FLOAT])
        return {key: join(item, arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [join(item, arrays) for item in value]
    return value
