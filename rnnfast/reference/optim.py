"""The optimisers' equations as torch.optim states them, in NumPy: twins of csrc/optim.inc.c.

Each rule takes a parameter ``p``, the gradient ``g`` with scale and weight decay already in it, its state and the
constants of the step ``k`` by name (those of rf_optim_step in rnnfast.h); it updates the state in place and returns the
new parameter. All arrays have one shape and dtype, and Python floats keep that dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rnnfast.checks import FloatArray

CONSTANTS = ("scale", "l2", "shrink", "rate", "a", "b", "eps", "root")
Constants = Mapping[str, float]


def sgd(p: FloatArray, g: FloatArray, k: Constants) -> FloatArray:
    """Gradient descent."""
    return p - k["rate"] * g


def momentum(p: FloatArray, g: FloatArray, k: Constants, s: FloatArray) -> FloatArray:
    """Heavy ball (Polyak, 1964), as torch writes it: the rate multiplies the velocity."""
    s[...] = k["a"] * s + g
    return p - k["rate"] * s


def nesterov(p: FloatArray, g: FloatArray, k: Constants, s: FloatArray) -> FloatArray:
    """Nesterov's momentum in the form of Sutskever et al. (2013) that looks ahead from the current parameter."""
    s[...] = k["a"] * s + g
    return p - k["rate"] * (g + k["a"] * s)


def rmsprop(p: FloatArray, g: FloatArray, k: Constants, s: FloatArray) -> FloatArray:
    """Tieleman and Hinton (2012): divide by a running root mean square."""
    s[...] = k["a"] * s + (1 - k["a"]) * g**2
    return p - k["rate"] * (g / (np.sqrt(s) + k["eps"]))


def adagrad(p: FloatArray, g: FloatArray, k: Constants, s: FloatArray) -> FloatArray:
    """Duchi, Hazan and Singer (2011): divide by the root of the sum of all squares so far."""
    s += g**2
    return p - k["rate"] * (g / (np.sqrt(s) + k["eps"]))


def adam(p: FloatArray, g: FloatArray, k: Constants, s: FloatArray, t: FloatArray) -> FloatArray:
    """Kingma and Ba (2015); with shrink < 1 AdamW of Loshchilov and Hutter (2019)."""
    s[...] = k["a"] * s + (1 - k["a"]) * g
    t[...] = k["b"] * t + (1 - k["b"]) * g**2
    return k["shrink"] * p - k["rate"] * (s / (k["root"] * np.sqrt(t) + k["eps"]))


RULES: dict[str, Callable[..., FloatArray]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "adam": adam,
}


def update(
    rule: str,
    params: Sequence[FloatArray],
    grads: Sequence[FloatArray],
    slots: Sequence[Sequence[FloatArray]],
    steps: FloatArray,
) -> None:
    """Update ``params`` and ``slots`` in place; arguments as in rnnfast._native.optim.update."""
    for i, (p, gradient) in enumerate(zip(params, grads, strict=True)):
        k = dict(zip(CONSTANTS, map(float, steps[i]), strict=True))
        g = k["scale"] * gradient + k["l2"] * p
        p[...] = RULES[rule](p, g, k, *(arrays[i] for arrays in slots))


def sum_squares(x: FloatArray) -> float:
    """Return the sum of squares, in double."""
    return float(np.square(x, dtype=np.float64).sum())


def all_finite(x: FloatArray) -> bool:
    """Return whether no element is NaN or infinite."""
    return bool(np.isfinite(x).all())
