"""Proof of gradients: pullbacks against central differences along random directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnfast.checks import FloatArray, check_mapping, check_number, check_size, kind_of
from rnnfast.layers.base import Gradients, Layer
from rnnfast.layers.states import map_state, state_leaves


class GradcheckResult:
    """What `gradcheck` found; true if every error is at most ``rtol``.

    Attributes
    ----------
    errors : dict of str to float
        Relative error by name: ``x``, or ``x[0]`` and so on, parts of the state and every parameter.
    rtol : float
        The bound.
    """

    __slots__ = ("errors", "rtol")

    def __init__(self, errors: dict[str, float], rtol: float) -> None:
        self.errors = errors
        self.rtol = rtol

    def __bool__(self) -> bool:
        return not self.failed()

    def failed(self) -> list[str]:
        """Return the names whose error exceeds ``rtol`` or is NaN."""
        return [name for name, error in self.errors.items() if not error <= self.rtol]

    def __repr__(self) -> str:
        lines = [f"  {name}: {error:.1e}{' FAILED' * (name in self.failed())}" for name, error in self.errors.items()]
        return "\n".join([f"gradcheck {'passed' if self else 'failed'} (rtol={self.rtol:g})", *lines])


def gradcheck(
    layer: Layer,
    x: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    eps: float = 1e-5,
    rtol: float = 1e-6,
    directions: int = 2,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> GradcheckResult:
    """Compare a layer's pullback with central differences in float64.

    For the scalar ``s = <u, layer(x)>`` with random u, and each of x, the initial state and the parameters, called q,
    ``<ds/dq, v>`` is compared with ``(s(q + eps*v) - s(q - eps*v)) / (2*eps)`` for some random v of length 1. An error
    is the length of the difference over the v's by the length of the larger, or by ``1e-4 * (1 + abs(s))`` where that
    is more, since rounding leaves no relative precision to smaller derivatives.

    Parameters
    ----------
    layer : Layer
        Any layer whose parameters are float64. They are moved while it runs and put back to the bit at the end.
    x : array_like, or tuple of them
        Input; a tuple where the layer takes several. The gradient of integers is not checked.
    state : optional
        Initial state of a stateful layer; None: its zero state.
    lengths : optional
        Passed to the layer.
    eps : float, default 1e-5
        Length of a step: the error of the difference is about eps**2 + 1e-16 / eps.
    rtol : float, default 1e-6
        Largest relative error that passes.
    directions : int, default 2
        Number of random directions for each array.
    seed : int, default 0
        Of the directions, and of the layer's dropout, which is the same in every evaluation.
    options : mapping, optional
        Further arguments of the layer's ``forward``, such as ``{"target": y, "teacher": 0.5}``.

    Returns
    -------
    GradcheckResult

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ValueError
        If a parameter is not float64, or a number is out of range.
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"layer must be a Layer; got {kind_of(layer)}")
    if options is not None:
        check_mapping("options", options, "arguments by name")
    seed = check_size("seed", seed, 0)
    eps = check_number("eps", eps, 0.0, above=True)
    rtol = check_number("rtol", rtol, 0.0)
    directions = check_size("directions", directions)
    for name, array in layer.parameters().items():
        if array.dtype != np.float64:
            raise ValueError(f"layer must be float64 to be checked; {name} is {array.dtype}")
    rng = np.random.default_rng(seed)
    x = tuple(map(_floating, x)) if layer.num_inputs > 1 else _floating(x)

    def run() -> tuple[Any, Any]:
        extra = {**(options or {}), **({"state": state} if layer.stateful else {})}
        return layer.forward(x, lengths=lengths, rng=np.random.default_rng(seed), **extra)

    out, pullback = run()
    if layer.stateful and state is None:
        state = map_state(np.zeros_like, out[1])
    elif layer.stateful:
        state = map_state(lambda s: np.array(s, np.float64), state)
    weights = map_state(lambda y: rng.standard_normal(np.shape(y)), out)

    def value() -> float:
        pairs = zip(state_leaves(run()[0]), state_leaves(weights), strict=True)
        return float(sum(np.vdot(y, u) for (_, y), (_, u) in pairs))

    grads: Gradients = {}
    if layer.stateful:
        dx, dstate = pullback(weights[0], grads, dstate=weights[1])
    else:
        dx, dstate = pullback(weights, grads), None
    scale = 1e-4 * (1.0 + abs(value()))

    errors = {}
    # A layer of several inputs gives a gradient, or None, for each; one of a single input gives its own.
    for (name, part), gradient in zip(state_leaves(x, "x"), dx if isinstance(x, tuple) else (dx,), strict=True):
        if part.dtype.kind == "f":
            errors[name] = _compare(part, gradient, value, rng, eps, directions, scale)
    for (name, part), (_, gradient) in zip(state_leaves(state, "state"), state_leaves(dstate), strict=True):
        errors[name] = _compare(part, gradient, value, rng, eps, directions, scale)
    for name in layer.parameters():
        with layer.update() as arrays:
            param = arrays[name]

        def moved() -> float:
            with layer.update():  # tells packed copies that the parameters moved
                pass
            return value()

        zeros = np.zeros_like(param)
        errors[name] = _compare(param, grads.get(name, zeros), moved, rng, eps, directions, scale)
    with layer.update():
        pass
    return GradcheckResult(errors, rtol)


def _compare(
    array: FloatArray, gradient: Any, value: Any, rng: np.random.Generator, eps: float, directions: int, scale: float
) -> float:
    """Return the relative error of ``gradient``, moving ``array`` in place and putting it back."""
    original = array.copy()
    found, expected = np.empty(directions), np.empty(directions)
    try:
        for k in range(directions):
            v = rng.standard_normal(array.shape)
            v /= max(float(np.linalg.norm(v)), 1e-300)
            array[...] = original + eps * v
            above = value()
            array[...] = original - eps * v
            expected[k] = (above - value()) / (2.0 * eps)
            found[k] = np.vdot(gradient, v)
    finally:
        array[...] = original
    difference, one, other = (float(np.linalg.norm(a)) for a in (found - expected, found, expected))
    return difference / max(one, other, scale)


def _floating(x: Any) -> Any:
    """Return x as an array that can be moved in place, of float64 unless it holds integers."""
    x = np.asarray(x)
    return x.astype(np.float64) if x.dtype.kind == "f" else x
