"""Clipping of gradients, and the norm it needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnfast._native import optim as native
from rnnfast.backend import get_backend
from rnnfast.checks import FloatArray, check_mapping, check_number
from rnnfast.reference import optim as reference


def global_norm(grads: Mapping[str, FloatArray]) -> float:
    """Return the Euclidean norm of all gradients taken together.

    Parameters
    ----------
    grads : mapping of str to ndarray
        Gradients by parameter name, float32 or float64.

    Returns
    -------
    float
        The norm, summed in double in the order of the mapping; NaN or infinite if and only if an element is.
    """
    check_mapping("grads", grads, "arrays by parameter name")
    squares = sum(sum_squares(g) for g in grads.values())
    if math.isfinite(squares) or not all(all_finite(g) for g in grads.values()):
        return math.sqrt(squares)
    largest = max(float(np.abs(g).max(initial=0)) for g in grads.values())
    return largest * math.sqrt(sum(sum_squares(g / largest) for g in grads.values()))


def norm_scale(norm: float, max_norm: float) -> float:
    """Return the factor that brings gradients of that norm to ``max_norm`` at most: 1 where they are within it."""
    return max_norm / norm if norm > max_norm else 1.0


def clip_by_global_norm(grads: Mapping[str, FloatArray], max_norm: float) -> float:
    """Scale all gradients in place by one factor so that their `global_norm` is at most ``max_norm``.

    Parameters
    ----------
    grads : mapping of str to ndarray
        Gradients by parameter name; written to.
    max_norm : float
        Above 0.

    Returns
    -------
    float
        The norm before clipping.

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ValueError
        If ``max_norm`` is not above 0, or a gradient is NaN or infinite; nothing has changed then.

    References
    ----------
    Pascanu, Mikolov and Bengio (2013), On the difficulty of training recurrent neural networks.
    """
    max_norm = check_number("max_norm", max_norm, 0, above=True)
    norm = global_norm(grads)
    if not math.isfinite(norm):
        raise ValueError(f"grads must be finite; got a norm of {norm}")
    scale = norm_scale(norm, max_norm)
    if scale < 1:
        for gradient in grads.values():
            gradient *= scale
    return norm


def clip_by_value(grads: Mapping[str, FloatArray], limit: float) -> None:
    """Cut every element of the gradients to between ``-limit`` and ``limit``, in place. NaN stays NaN.

    Parameters
    ----------
    grads : mapping of str to ndarray
        Gradients by parameter name; written to.
    limit : float
        Above 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind; nothing has changed then.
    """
    check_mapping("grads", grads, "arrays by parameter name")
    limit = check_number("limit", limit, 0, above=True)
    for gradient in grads.values():
        np.clip(gradient, -limit, limit, out=gradient)


def sum_squares(x: FloatArray) -> float:
    """Return the sum of the squares of a float32 or float64 array, in double."""
    return float(twin().sum_squares(x))


def all_finite(x: FloatArray) -> bool:
    """Return whether no element of a float32 or float64 array is NaN or infinite."""
    return bool(twin().all_finite(x))


def twin() -> Any:
    """Return the module of optimiser steps and sums of the backend in force."""
    return native if get_backend() == "native" else reference
