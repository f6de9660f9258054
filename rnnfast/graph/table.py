"""The table that operators enter themselves in, and what they share.

An operator is a function of its attributes and its inputs (None where one is left out) that returns its outputs and its
backward pass: a function from the gradients of the outputs (None: zero) to those of the inputs (None: none). Where no
gradient can pass, such as to indices, there is no backward pass. Names and meaning are those of ONNX, opset 18; what
older graphs say otherwise is brought into this form before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Backward = Callable[[list[Array | None]], Sequence[Array | None]]
Result = tuple[tuple[Array, ...], Backward | None]
Attributes = dict[str, Any]


class Operator(NamedTuple):
    """An entry: what computes it, the attributes it has, and how many inputs it takes."""

    run: Callable[[Attributes, list[Any]], Result]
    attributes: tuple[str, ...]
    least: int
    most: int


OPERATORS: dict[str, Operator] = {}


def operator(
    name: str, attributes: Sequence[str] = (), inputs: tuple[int, int] = (1, 1)
) -> Callable[[Callable[[Attributes, list[Any]], Result]], Callable[[Attributes, list[Any]], Result]]:
    """Return a decorator that enters a function under a name."""

    def enter(run: Callable[[Attributes, list[Any]], Result]) -> Callable[[Attributes, list[Any]], Result]:
        OPERATORS[name] = Operator(run, tuple(attributes), *inputs)
        return run

    return enter


def reduced(d: Array, shape: tuple[int, ...]) -> Array:
    """Return the gradient of an operand of that shape from that of what it was broadcast to."""
    extra = d.ndim - len(shape)
    if extra:
        d = d.sum(axis=tuple(range(extra)))
    ones = tuple(k for k, size in enumerate(shape) if size == 1 and d.shape[k] != 1)
    return d.sum(axis=ones, keepdims=True) if ones else d


def given(d: Sequence[Array | None]) -> Array:
    """Return the gradient of the first output, which is there: a node is asked back only if one of them is."""
    assert d[0] is not None
    return d[0]


def axes_of(axes: Any, ndim: int) -> tuple[int, ...]:
    """Return axes as they are given to an operator, counted from the front."""
    return tuple(int(k) % ndim for k in np.reshape(axes, -1))
