"""JSON without its loose ends: no NaN, no key twice, no surprise in depth or size, and nothing lost on the way.

The limits are such that any text, however made, is read or refused in less than 100 ms: the time goes by the number of
values, keys and containers, which is bounded before parsing by that of commas, colons and opening brackets, by that of
fractions, each of which takes as long as ten other values, and by the square of an integer's digits.
"""

from __future__ import annotations

import json
import math
from typing import Any

from rnnfast.io.errors import ModelFileError

MAX_BYTES = 4 << 20
MAX_DEPTH = 64
MAX_ARRAYS = 2048  # beside a text, in either format
MAX_VALUES = 150_000
MAX_KEYS = 60_000
MAX_CONTAINERS = 15_000
MAX_FRACTIONS = 20_000
MAX_DIGITS = 400  # of an integer

_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_TOO_LONG = b"0" * (MAX_DIGITS + 1)
_BEYOND = 10**MAX_DIGITS


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
        If a number is NaN or infinite, or the whole is too deep or too large: more than 4 MiB, 150,000 values,
        60,000 keys or 15,000 lists and dicts, with commas, colons and brackets in strings counted in, 20,000 floats, or
        an integer of more than 400 digits.
    """
    if _check(value, name, 0) > MAX_FRACTIONS:
        raise ValueError(f"{name} must have at most {MAX_FRACTIONS} fractions as JSON")
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    wrong = _too_large(text, MAX_BYTES)
    if wrong:
        raise ValueError(f"{name} must have at most {wrong} as JSON")
    return text


def _too_large(text: str | bytes, limit: int) -> str:
    """Return which limit a text exceeds and by what, or nothing."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    for what, most, found in (
        ("bytes", limit, len(data)),
        ("values", MAX_VALUES, data.count(b",")),
        ("keys", MAX_KEYS, data.count(b":")),
        ("lists and dicts", MAX_CONTAINERS, data.count(b"[") + data.count(b"{")),
    ):
        if found > most:
            return f"{most} {what}; got {found}"
    return ""


def _check(value: Any, name: str, depth: int) -> int:
    """Return how many floats a value holds, or raise what is wrong with it."""
    count = 0
    if depth > MAX_DEPTH:
        raise ValueError(f"{name} must not be nested more than {MAX_DEPTH} deep")
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"{name} must have strings for keys; got {key!r}")
            count += _check(item, f"{name}[{key!r}]", depth + 1)
    elif type(value) is list:
        for k, item in enumerate(value):
            count += _check(item, f"{name}[{k}]", depth + 1)
    elif type(value) is float:
        count = 1
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite; got {value}")
    elif type(value) is int:
        if abs(value) >= _BEYOND:
            raise ValueError(f"{name} must have at most {MAX_DIGITS} digits")
    elif value is not None and type(value) not in (str, bool):
        raise TypeError(f"{name} must be a JSON value (dict, list, str, int, float, bool, None); got {type(value)}")
    return count


def loads(text: str | bytes, name: str, limit: int = MAX_BYTES) -> Any:
    """Return the value of JSON text of at most ``limit`` bytes.

    Raises
    ------
    ModelFileError
        If it is not JSON, has a key twice, a number that is not finite, or is too deep or too large.
    """
    wrong = _too_large(text, limit)
    if wrong:
        raise ModelFileError(f"{name} must have at most {wrong}")
    data = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    long = _TOO_LONG in data.translate(_TO_ZERO)  # perhaps within a string: then each integer is looked at
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_Fractions(),
            parse_int=_integer if long else None,
        )
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


class _Fractions:
    """Reads numbers with a fraction or an exponent, not too many of them."""

    def __init__(self) -> None:
        self._left = MAX_FRACTIONS

    def __call__(self, text: str) -> float:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"it must have at most {MAX_FRACTIONS} fractions")
        value = float(text)
        if math.isinf(value):
            raise ValueError("a number is too large")
        return value


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"an integer has more than {MAX_DIGITS} digits")
    return int(text)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _check_depth(value: Any, name: str) -> None:
    """Raise if the value is too deep."""
    layer, depth = [value], 0
    while layer:
        if depth > MAX_DEPTH:
            raise ModelFileError(f"{name} is nested more than {MAX_DEPTH} deep")
        below = [item for item in layer if type(item) in (dict, list)]
        layer = [part for item in below for part in (item.values() if type(item) is dict else item)]
        depth += 1
