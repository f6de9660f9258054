"""JSON without its loose ends: no NaN, no key twice, no surprise in depth or size, and nothing lost on the way."""

from __future__ import annotations

import json
import math
from typing import Any

from rnnfast.io.errors import ModelFileError

MAX_BYTES = 32 << 20
MAX_DEPTH = 64


def dumps(value: Any, name: str) -> str:
    """Return ``value`` as ASCII JSON that `loads` turns back into an equal value.

    Parameters
    ----------
    value : dict, list, str, int, float, bool or None
        What is to be written; ``name`` is what errors call it.

    Raises
    ------
    TypeError
        If a value is of another type, such as a tuple or an array, or a key is not a string.
    ValueError
        If a number is NaN or infinite, or the whole is too deep or too large.
    """
    _check(value, name, 0)
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    if len(text) > MAX_BYTES:
        raise ValueError(f"{name} must be at most {MAX_BYTES} bytes as JSON; got {len(text)}")
    return text


def _check(value: Any, name: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"{name} must not be nested more than {MAX_DEPTH} deep")
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"{name} must have strings for keys; got {key!r}")
            _check(item, f"{name}[{key!r}]", depth + 1)
    elif type(value) is list:
        for k, item in enumerate(value):
            _check(item, f"{name}[{k}]", depth + 1)
    elif type(value) is float:
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite; got {value}")
    elif value is not None and type(value) not in (str, int, bool):
        raise TypeError(f"{name} must be a JSON value (dict, list, str, int, float, bool, None); got {type(value)}")


def loads(text: str | bytes, name: str, limit: int = MAX_BYTES) -> Any:
    """Return the value of JSON text of at most ``limit`` bytes.

    Raises
    ------
    ModelFileError
        If it is not JSON, has a key twice, a number that is not finite, or is too deep or too large.
    """
    if len(text) > limit:
        raise ModelFileError(f"{name} must be at most {limit} bytes; got {len(text)}")
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ModelFileError(f"{name} is nested too deep") from None
    except ValueError as error:
        raise ModelFileError(f"{name} is not valid: {error}") from None
    _check_depth(value, name)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large")
    return number


def _check_depth(value: Any, name: str) -> None:
    layer, depth = [value], 0
    while layer:
        if depth > MAX_DEPTH:
            raise ModelFileError(f"{name} is nested more than {MAX_DEPTH} deep")
        below = [item for item in layer if type(item) in (dict, list)]
        layer = [part for item in below for part in (item.values() if type(item) is dict else item)]
        depth += 1
