"""Initial values for parameters: functions of a shape and a random generator that return a new array.

Weights are shaped (outputs, inputs), as in torch. A recurrent weight stacks one such block for each gate along its
rows; ``gates`` says how many, and each block is then initialised as a matrix of its own. Random numbers are drawn in
float64 whatever the dtype, so that float32 and float64 layers of the same seed start from the same values, rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from rnnfast.checks import FloatArray, check_dtype, check_number, check_size, kind_of

_absent: ContextVar[bool] = ContextVar("rnnfast_no_initial_values", default=False)


@contextmanager
def no_initial_values() -> Iterator[None]:
    """Within the ``with`` block every function here returns zeros: for layers whose parameters are set afterwards."""
    token = _absent.set(True)
    try:
        yield
    finally:
        _absent.reset(token)


def uniform(
    shape: Sequence[int], rng: np.random.Generator, dtype: Any = np.float32, low: float = -0.1, high: float = 0.1
) -> FloatArray:
    """Return values drawn uniformly from ``low`` to ``high``.

    Parameters
    ----------
    shape : sequence of int
        Shape of the array.
    rng : numpy.random.Generator
        Source of the random numbers.
    dtype : dtype, default float32
        float32 or float64.
    low, high : float, default -0.1 and 0.1
        The ends of the range; ``low`` must not exceed ``high``.

    Returns
    -------
    ndarray of the given shape and dtype

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ValueError
        If ``low`` exceeds ``high``, an end is not finite, or the dtype is another.
    """
    sizes, dtype = _checked(shape, rng), check_dtype(dtype)
    low = check_number("low", low)
    high = check_number("high", high, low)
    if _absent.get():
        return np.zeros(sizes, dtype)
    return rng.uniform(low, high, sizes).astype(dtype)


def normal(
    shape: Sequence[int], rng: np.random.Generator, dtype: Any = np.float32, mean: float = 0.0, std: float = 1.0
) -> FloatArray:
    """Return normally distributed values.

    Parameters
    ----------
    shape : sequence of int
        Shape of the array.
    rng : numpy.random.Generator
        Source of the random numbers.
    dtype : dtype, default float32
        float32 or float64.
    mean : float, default 0.0
        Mean of the distribution.
    std : float, default 1.0
        Its standard deviation, at least 0.

    Returns
    -------
    ndarray of the given shape and dtype

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ValueError
        If ``std`` is negative, a number is not finite, or the dtype is another.
    """
    sizes, dtype = _checked(shape, rng), check_dtype(dtype)
    mean = check_number("mean", mean)
    std = check_number("std", std, 0.0)
    if _absent.get():
        return np.zeros(sizes, dtype)
    return rng.normal(mean, std, sizes).astype(dtype)


def xavier_uniform(
    shape: Sequence[int], rng: np.random.Generator, dtype: Any = np.float32, gain: float = 1.0, gates: int = 1
) -> FloatArray:
    """Return weights from U(-a, a) with a = gain * sqrt(6 / (inputs + outputs)).

    Keeps the variance of activations and of gradients alike from layer to layer (Glorot and Bengio 2010,
    "Understanding the difficulty of training deep feedforward neural networks", equation 16).

    Parameters
    ----------
    shape : (gates * outputs, inputs)
        Shape of the weight.
    rng : numpy.random.Generator
        Source of the random numbers.
    dtype : dtype, default float32
        float32 or float64.
    gain : float, default 1.0
        Factor for the nonlinearity that follows.
    gates : int, default 1
        How many blocks the rows hold; ``outputs`` counts the rows of one.

    Returns
    -------
    ndarray of the given shape and dtype

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ValueError
        If the shape is not of two dimensions, its rows do not divide by ``gates``, or the dtype is another.
    """
    outputs, inputs = _fans(shape, rng, gates)
    bound = check_number("gain", gain) * math.sqrt(6.0 / max(1, inputs + outputs))
    return uniform(shape, rng, dtype, -abs(bound), abs(bound))


def xavier_normal(
    shape: Sequence[int], rng: np.random.Generator, dtype: Any = np.float32, gain: float = 1.0, gates: int = 1
) -> FloatArray:
    """Return weights from N(0, s^2) with s = gain * sqrt(2 / (inputs + outputs)).

    Glorot and Bengio 2010, equation 12. Parameters, result and errors are those of `xavier_uniform`.
    """
    outputs, inputs = _fans(shape, rng, gates)
    return normal(shape, rng, dtype, 0.0, abs(check_number("gain", gain)) * math.sqrt(2.0 / max(1, inputs + outputs)))


def he_uniform(
    shape: Sequence[int], rng: np.random.Generator, dtype: Any = np.float32, gain: float = math.sqrt(2.0)
) -> FloatArray:
    """Return weights from U(-a, a) with a = gain * sqrt(3 / inputs).

    With the default gain the variance of activations survives a relu (He et al. 2015, "Delving deep into
    rectifiers", equation 10).

    Parameters
    ----------
    shape : (outputs, inputs)
        Shape of the weight.
    rng : numpy.random.Generator
        Source of the random numbers.
    dtype : dtype, default float32
        float32 or float64.
    gain : float, default sqrt(2)
        Factor for the nonlinearity that follows.

    Returns
    -------
    ndarray of the given shape and dtype

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ValueError
        If the shape is not of two dimensions or the dtype is another.
    """
    _, inputs = _fans(shape, rng, 1)
    bound = abs(check_number("gain", gain)) * math.sqrt(3.0 / max(1, inputs))
    return uniform(shape, rng, dtype, -bound, bound)


def he_normal(
    shape: Sequence[int], rng: np.random.Generator, dtype: Any = np.float32, gain: float = math.sqrt(2.0)
) -> FloatArray:
    """Return weights from N(0, s^2) with s = gain / sqrt(inputs).

    He et al. 2015, equation 10. Parameters, result and errors are those of `he_uniform`.
    """
    _, inputs = _fans(shape, rng, 1)
    return normal(shape, rng, dtype, 0.0, abs(check_number("gain", gain)) / math.sqrt(max(1, inputs)))


def orthogonal(
    shape: Sequence[int], rng: np.random.Generator, dtype: Any = np.float32, gain: float = 1.0, gates: int = 1
) -> FloatArray:
    """Return weights whose blocks are random orthogonal matrices times ``gain``.

    Each block comes from the QR decomposition of a matrix of normal numbers, with the signs of R's diagonal moved
    into Q, which makes it uniform over the orthogonal group (Saxe et al. 2014, "Exact solutions to the nonlinear
    dynamics of learning in deep linear neural networks"; Mezzadri 2007, section 5). A block with more columns than
    rows has orthonormal rows, else orthonormal columns.

    Parameters
    ----------
    shape : (gates * outputs, inputs)
        Shape of the weight.
    rng : numpy.random.Generator
        Source of the random numbers.
    dtype : dtype, default float32
        float32 or float64.
    gain : float, default 1.0
        Factor of every block.
    gates : int, default 1
        How many blocks the rows hold.

    Returns
    -------
    ndarray of the given shape and dtype

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ValueError
        If the shape is not of two dimensions, its rows do not divide by ``gates``, or the dtype is another.
    """
    dtype = check_dtype(dtype)
    gain = check_number("gain", gain)
    outputs, inputs = _fans(shape, rng, gates)
    tall, wide = max(outputs, inputs), min(outputs, inputs)
    if _absent.get():
        return np.zeros((gates * outputs, inputs), dtype)
    out = np.empty((gates * outputs, inputs), dtype)
    for gate in range(gates):
        q, r = np.linalg.qr(rng.standard_normal((tall, wide)))
        q *= gain * np.where(np.diagonal(r) < 0.0, -1.0, 1.0)
        out[gate * outputs : (gate + 1) * outputs] = q if outputs >= inputs else q.T
    return out


def chrono(shape: Sequence[int], rng: np.random.Generator, dtype: Any = np.float32, t_max: int = 100) -> FloatArray:
    """Return log(U(1, t_max - 1)): forget biases for memories of all lengths up to about ``t_max`` steps.

    A gate whose bias is log(T) forgets at a rate of about 1 / T a step (Tallec and Ollivier 2018, "Can recurrent neural
    networks warp time?", section 4). An LSTM takes them for f and their negatives for i: ``LSTM(..., chrono=t_max)``.

    Parameters
    ----------
    shape : sequence of int
        Shape of the array.
    rng : numpy.random.Generator
        Source of the random numbers.
    dtype : dtype, default float32
        float32 or float64.
    t_max : int, default 100
        The longest memory wanted, in steps; at least 3.

    Returns
    -------
    ndarray of the given shape and dtype

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ValueError
        If it is below 3, or the dtype is another.
    """
    sizes, dtype = _checked(shape, rng), check_dtype(dtype)
    t_max = check_size("t_max", t_max, 3)
    return np.log(rng.uniform(1.0, t_max - 1.0, sizes)).astype(dtype)


def recurrent_bounds(steps: int, least: float = 0.5, most: float = 2.0) -> tuple[float, float]:
    """Return bounds of the weights with which units of an `IndRNN` begin, so that they can remember so many steps.

    After ``steps`` steps a relu unit has multiplied what it holds by its weight to the power of ``steps``; within
    these bounds that is between ``least`` and ``most``. Li, Li, Cook, Zhu and Gao 2018, section 3.1.

    Parameters
    ----------
    steps : int
        T.
    least, most : float, default 0.5 and 2.0
        What is left at least and at most of 1 after T steps; above 0, ``most`` not below ``least``.

    Returns
    -------
    pair of float
        For ``IndRNN(..., recurrent_bounds=...)``.

    Examples
    --------
    >>> from rnnfast.initializers import recurrent_bounds
    >>> low, high = recurrent_bounds(100)
    >>> round(low, 4), round(high, 4)
    (0.9931, 1.007)
    """
    count = check_size("steps", steps)
    low = check_number("least", least, 0.0, above=True)
    high = check_number("most", most, low)
    return low ** (1 / count), high ** (1 / count)


def _checked(shape: Any, rng: Any) -> tuple[int, ...]:
    """Return ``shape`` as a tuple, or raise what is wrong with it or with ``rng``."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator; got {kind_of(rng)}")
    if isinstance(shape, (str, bytes)) or not isinstance(shape, Iterable):
        raise TypeError(f"shape must be a sequence of integers; got {kind_of(shape)}")
    return tuple(check_size("shape", size, 0) for size in shape)


def _fans(shape: Any, rng: Any, gates: int) -> tuple[int, int]:
    """Return the rows of one block and the columns of a weight of that shape."""
    sizes, gates = _checked(shape, rng), check_size("gates", gates)
    if len(sizes) != 2 or sizes[0] % gates:
        raise ValueError(f"shape must be (gates * outputs, inputs) with gates={gates}; got {sizes}")
    return sizes[0] // gates, sizes[1]
