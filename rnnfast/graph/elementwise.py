"""Operators that work element by element, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnfast.graph.table import Array, Attributes, Result, given, operator, reduced
from rnnfast.reference.operators import ACTIVATIONS


def _unary(name: str, f: Callable[[Array], Array], slope: Callable[[Array, Array], Array] | None) -> None:
    """Enter y = f(x) with dy/dx = slope(x, y)."""

    def run(attributes: Attributes, inputs: list[Any]) -> Result:
        (x,) = inputs
        y = f(x)
        if slope is None:
            return (y,), None
        return (y,), lambda d: [given(d) * slope(x, y)]

    operator(name)(run)


_unary("Neg", np.negative, lambda x, y: -np.ones_like(x))
_unary("Abs", np.abs, lambda x, y: np.sign(x))
_unary("Exp", np.exp, lambda x, y: y)
_unary("Log", np.log, lambda x, y: 1 / x)
_unary("Sqrt", np.sqrt, lambda x, y: 0.5 / y)
_unary("Reciprocal", np.reciprocal, lambda x, y: -y * y)
_unary("Not", np.logical_not, None)
_unary("Floor", np.floor, None)
_unary("Ceil", np.ceil, None)


def _activation(name: str) -> None:
    """Enter a function that the recurrent operators have too."""
    function = ACTIVATIONS[name]

    def run(attributes: Attributes, inputs: list[Any]) -> Result:
        (x,) = inputs
        constants = {**function.defaults, **attributes}
        alpha, beta = constants.get("alpha", 0.0), constants.get("beta", 0.0)
        y = np.asarray(function.f(x, alpha, beta), x.dtype)
        return (y,), lambda d: [given(d) * function.slope(x, y, alpha, beta).astype(x.dtype)]

    operator(name, tuple(function.defaults))(run)


for _name in ("Tanh", "Sigmoid", "Relu", "LeakyRelu", "ThresholdedRelu", "HardSigmoid", "Elu", "Softsign", "Softplus"):
    _activation(_name)


def _binary(
    name: str,
    f: Callable[[Array, Array], Array],
    slopes: Callable[[Array, Array, Array, Array], tuple[Array, Array]] | None,
) -> None:
    """Enter y = f(a, b) with (da, db) = slopes(a, b, y, dy), before broadcasting is undone."""

    def run(attributes: Attributes, inputs: list[Any]) -> Result:
        a, b = inputs
        y = f(a, b)
        if slopes is None:
            return (y,), None

        def back(d: list[Array | None]) -> list[Array | None]:
            da, db = slopes(a, b, y, given(d))
            return [reduced(da, a.shape), reduced(db, b.shape)]

        return (y,), back

    operator(name, inputs=(2, 2))(run)


def _divide(a: Array, b: Array) -> Array:
    """Return a / b; for integers towards zero, as C does."""
    if a.dtype.kind in "iu":
        return np.trunc(a / b).astype(a.dtype)
    return np.asarray(a / b)


def _power(a: Array, b: Array) -> Array:
    return np.power(a, b).astype(a.dtype, copy=False)


def _power_slopes(a: Array, b: Array, y: Array, d: Array) -> tuple[Array, Array]:
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = np.where(a > 0, np.log(np.where(a > 0, a, 1)), 0)
    return (d * b * np.power(a, b - 1)).astype(a.dtype), (d * y * logarithm).astype(a.dtype)


_binary("Add", np.add, lambda a, b, y, d: (d, d))
_binary("Sub", np.subtract, lambda a, b, y, d: (d, -d))
_binary("Mul", np.multiply, lambda a, b, y, d: (d * b, d * a))
_binary("Div", _divide, lambda a, b, y, d: (d / b, -d * y / b))
_binary("Pow", _power, _power_slopes)
for _name, _f in (
    ("Equal", np.equal),
    ("Less", np.less),
    ("LessOrEqual", np.less_equal),
    ("Greater", np.greater),
    ("GreaterOrEqual", np.greater_equal),
    ("And", np.logical_and),
    ("Or", np.logical_or),
):
    _binary(_name, _f, None)


def _extreme(name: str, f: Any) -> None:
    """Enter Min or Max of any number of operands; the first of equals gets the gradient."""

    def run(attributes: Attributes, inputs: list[Any]) -> Result:
        y = inputs[0]
        for x in inputs[1:]:
            y = f(y, x)

        def back(d: list[Array | None]) -> list[Array | None]:
            left = given(d)
            found: list[Array | None] = []
            for x in inputs:
                own = np.where(x == y, left, 0)
                left = left - own
                found.append(reduced(own, x.shape))
            return found

        return (np.asarray(y),), back

    operator(name, inputs=(1, 64))(run)


_extreme("Min", np.minimum)
_extreme("Max", np.maximum)


@operator("Clip", inputs=(1, 3))
def _clip(attributes: Attributes, inputs: list[Any]) -> Result:
    x, low, high = (*inputs, None, None)[:3]
    y = x if low is None else np.maximum(x, low)
    y = y if high is None else np.minimum(y, high)
    return (y,), lambda d: [given(d) * (x == y), None, None][: len(inputs)]


@operator("Where", inputs=(3, 3))
def _where(attributes: Attributes, inputs: list[Any]) -> Result:
    condition, a, b = inputs

    def back(d: list[Array | None]) -> list[Array | None]:
        dy = given(d)
        return [None, reduced(np.where(condition, dy, 0), a.shape), reduced(np.where(condition, 0, dy), b.shape)]

    return (np.where(condition, a, b),), back


@operator("Identity")
def _identity(attributes: Attributes, inputs: list[Any]) -> Result:
    return (inputs[0],), lambda d: [given(d)]


@operator("Dropout", ("seed", "ratio"), (1, 3))
def _dropout(attributes: Attributes, inputs: list[Any]) -> Result:
    if len(inputs) > 2 and inputs[2] is not None and np.any(inputs[2]):
        raise ValueError("Dropout with training_mode is not supported: a graph drops nothing")
    return (inputs[0],), lambda d: [given(d), None, None][: len(inputs)]


@operator("Cast", ("to",))
def _cast(attributes: Attributes, inputs: list[Any]) -> Result:
    (x,) = inputs
    y = x.astype(attributes["to"])
    if y.dtype.kind != "f" or x.dtype.kind != "f":
        return (y,), None
    return (y,), lambda d: [given(d).astype(x.dtype)]
