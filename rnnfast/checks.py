"""The one place where what a user passes is converted or refused.

The rule for numbers: any real array (bool, integers, floats) is converted to the dtype of the layer that receives it;
complex numbers, objects, text and dates are refused. Nothing is computed before every argument has passed.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[Any]
Item = TypeVar("Item")
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def check_dtype(dtype: Any) -> np.dtype[Any]:
    """Return ``dtype`` as float32 or float64, or raise ``ValueError``."""
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be float32 or float64; got {dtype!r}") from None
    if found not in DTYPES:
        raise ValueError(f"dtype must be float32 or float64; got {found}")
    return found


def check_real(name: str, value: Any, dtype: np.dtype[Any], shape: Sequence[int | str]) -> FloatArray:
    """Return ``value`` as an array of ``dtype`` whose shape fits ``shape``.

    Parameters
    ----------
    name : str
        What the user calls the argument.
    value : array_like
        Anything NumPy makes a real array of. Strides are kept where no conversion is needed.
    dtype : numpy.dtype
        The dtype wanted.
    shape : sequence of int or str
        The sizes wanted; a string names a size that may be anything, such as ``"N"``.

    Raises
    ------
    TypeError
        If the values are not real numbers.
    ValueError
        If the number of dimensions or a size is wrong.
    """
    if type(value) is np.ndarray and value.dtype == dtype and dtype.kind == "f" and value.shape == shape:
        return value
    array = as_array(name, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}")
    if array.ndim != len(shape) or any(isinstance(s, int) and s != n for s, n in zip(shape, array.shape, strict=True)):
        hint = (
            f"; one sequence alone is np.asarray({name})[None]" if shape[:2] == ("N", "T") and array.ndim == 2 else ""
        )
        raise ValueError(f"{name} must have shape {_spell(shape)}; got {_spell(array.shape)}{hint}")
    return array.astype(dtype, copy=False)


def check_floating(name: str, value: Any, shapes: Sequence[Sequence[int | str]]) -> FloatArray:
    """Return ``value`` as an array for what has no dtype of its own: float64 stays, all other numbers become float32.

    Parameters
    ----------
    name : str
        What the user calls the argument.
    value : array_like
        Anything NumPy makes a real array of.
    shapes : sequence of shapes
        Those allowed, no two with as many dimensions; strings name sizes that may be anything.

    Raises
    ------
    TypeError
        If the values are not real numbers.
    ValueError
        If no shape fits.
    """
    array = as_array(name, value)
    dtype = DTYPES[1] if array.dtype == DTYPES[1] else DTYPES[0]
    for shape in shapes:
        if len(shape) == array.ndim:
            return check_real(name, array, dtype, shape)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}")
    raise ValueError(f"{name} must have shape {' or '.join(map(_spell, shapes))}; got {_spell(array.shape)}")


def check_iterable(name: str, values: Any) -> None:
    """Raise ``TypeError`` unless ``values`` has items, and is no string."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list; got {kind_of(values)}")


def check_items(name: str, values: Any, kind: type[Item]) -> tuple[Item, ...]:
    """Return ``values`` as a tuple of ``kind``; ``TypeError`` if it is no sequence or an item is of another."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list of {kind.__name__} objects; got {kind_of(values)}")
    items = tuple(values)
    for k, item in enumerate(items):
        if not isinstance(item, kind):
            raise TypeError(f"{name}[{k}] must be a {kind.__name__}; got {kind_of(item)}")
    return items


def kind_of(value: Any) -> str:
    """Return what a value is, for the message of a ``TypeError``; tell a class from its instances."""
    return f"the class {value.__name__} itself" if isinstance(value, type) else type(value).__name__


def call_of(value: Any) -> str:
    """Return the call that makes an object, of those arguments that it has kept under their names."""
    import inspect  # is not loaded for the sake of this alone

    kept = [name for name in inspect.signature(type(value)).parameters if hasattr(value, name)]
    return f"{type(value).__name__}({', '.join(f'{name}={getattr(value, name)!r}' for name in kept)})"


def check_generator(rng: Any) -> np.random.Generator | None:
    """Return ``rng`` if it is a Generator or None, else raise ``TypeError``."""
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator; got {type(rng).__name__}")
    return rng


@contextmanager
def told_of(what: str) -> Iterator[None]:
    """Put ``what`` in front of the message of an error about an argument, where its own name would not help a user."""
    try:
        yield
    except (TypeError, ValueError, IndexError) as error:
        error.args = (f"{what}: {error}",)
        raise


def as_array(name: str, value: Any) -> NDArray[Any]:
    """Return ``value`` as an array; what is ragged or has masked elements raises a ``ValueError`` that names it."""
    masked = sys.modules.get("numpy.ma")  # not loaded: there is no masked array
    if masked is not None and masked.is_masked(value):
        raise ValueError(f"{name} must not be a masked array, whose mask would be lost; fill it")
    try:
        return np.asarray(value)
    except ValueError:
        hint = "; rnnfast.data.pad_sequences makes one of sequences, with lengths=" if name == "x" else ""
        raise ValueError(f"{name} must be a rectangular array; got rows of different lengths{hint}") from None


def check_lengths(lengths: Any, batch: int, steps: int) -> NDArray[np.int64] | None:
    """Return ``lengths`` as int64 of shape (batch,), or None where every sequence has all ``steps``.

    Raises
    ------
    TypeError
        If the values are not integers.
    ValueError
        If the shape is wrong or a value lies outside 0..steps.
    """
    if lengths is None:
        return None
    array = as_array("lengths", lengths)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"lengths must be integers; got dtype {array.dtype}")
    if array.shape != (batch,):
        raise ValueError(f"lengths must have shape ({batch},), one for each sequence; got {_spell(array.shape)}")
    if batch:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > steps:
            wrong = low if low < 0 else high
            raise ValueError(f"lengths must lie in 0..{steps}, the number of steps; got {wrong}")
        if low == steps:
            return None
    return array.astype(np.int64)


def check_indices(name: str, value: Any, size: int, ndim: int | None = None) -> NDArray[np.int64]:
    """Return ``value`` as int64 indices, all within 0..size-1.

    Raises
    ------
    TypeError
        If the values are not integers.
    ValueError
        If the number of dimensions is not ``ndim``.
    IndexError
        If an index lies outside 0..size-1.
    """
    array = as_array(name, value)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers; got dtype {array.dtype}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions; got shape {_spell(array.shape)}")
    if array.size:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= size:
            raise IndexError(f"{name} must lie in 0..{size - 1}; got {low if low < 0 else high}")
    return array.astype(np.int64, copy=False)


def check_size(name: str, value: Any, least: int = 1) -> int:
    """Return ``value`` as an int of at least ``least``; ``TypeError`` or ``ValueError`` otherwise."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer; got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer; got {value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}; got {number}")
    return number


def check_number(
    name: str, value: Any, least: float = -np.inf, most: float = np.inf, *, above: bool = False, below: bool = False
) -> float:
    """Return ``value`` as a finite float within ``least``..``most``.

    ``above`` excludes ``least`` itself and ``below`` excludes ``most``.

    Raises
    ------
    TypeError
        If the value is not a real number.
    ValueError
        If it is NaN, infinite or out of range.
    """
    if isinstance(value, (bool, np.bool_, str, bytes)):
        raise TypeError(f"{name} must be a real number; got {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a real number; got {value!r}") from None
    if not np.isfinite(number):
        raise ValueError(f"{name} must be finite; got {number}")
    if number < least or number > most or (above and number == least) or (below and number == most):
        left, right = "(" if above or least == -np.inf else "[", ")" if below or most == np.inf else "]"
        raise ValueError(f"{name} must lie in {left}{least:g}, {most:g}{right}; got {number:g}")
    return number


def check_seed(seed: Any) -> np.random.Generator:
    """Return the generator that ``seed`` stands for: itself, one started by an int, or one with fresh entropy for None.

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If the int is negative.
    """
    if seed is None or isinstance(seed, np.random.Generator):
        return np.random.default_rng(seed)
    if isinstance(seed, (bool, np.bool_)) or not hasattr(type(seed), "__index__"):
        raise TypeError(f"seed must be an integer, a numpy.random.Generator or None; got {seed!r}")
    return np.random.default_rng(check_size("seed", seed, 0))


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``, else raise ``ValueError``."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
    return str(value)


def check_text(name: str, value: Any) -> str:
    """Return ``value`` if it is a string, else raise ``TypeError``."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string; got {kind_of(value)}")
    return value


def check_path(name: str, value: Any) -> str:
    """Return a path as a string, or raise ``TypeError``; one of bytes is refused, as by `pathlib.Path`."""
    found = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(found, str):
        raise TypeError(f"{name} must be a path; got {kind_of(value)}")
    return found


def check_mapping(name: str, value: Any, what: str) -> None:
    """Raise ``TypeError`` unless ``value`` is a mapping; ``what`` says of what to what."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict of {what}; got {kind_of(value)}")


def check_flag(name: str, value: Any) -> bool:
    """Return ``value`` if it is True or False, else raise ``TypeError``."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False; got {value!r}")
    return bool(value)


def check_finite(name: str, value: NDArray[Any]) -> None:
    """Raise ``ValueError`` naming the first place where ``value`` is NaN or infinite."""
    if value.dtype.kind != "f" or not value.size:
        return
    finite = np.isfinite(value)
    if not finite.all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name} must be finite; got {value[place]} at index {place}")


def _spell(shape: Sequence[int | str]) -> str:
    return "(" + ", ".join(str(s) for s in shape) + ("," if len(shape) == 1 else "") + ")"


def called_before() -> RuntimeError:
    """Return the error of a pullback that is called a second time."""
    return RuntimeError("this pullback was called before; it consumes what forward saved")


def parameters_changed() -> RuntimeError:
    """Return the error of a pullback whose layer has other parameters than in the forward pass."""
    return RuntimeError("the parameters changed between forward and pullback; call forward again")
