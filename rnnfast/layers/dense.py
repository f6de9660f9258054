"""Dense: a matrix product for every row or step, with a bias and an activation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnfast.backend import implementation
from rnnfast.checks import (
    FloatArray,
    check_choice,
    check_dtype,
    check_flag,
    check_floating,
    check_real,
    check_seed,
    check_size,
)
from rnnfast.initializers import he_uniform, uniform, xavier_uniform
from rnnfast.layers.base import Gradients, Layer, Pullback
from rnnfast.layers.once import Once
from rnnfast.rows import from_rows, is_time_major, to_rows, with_contiguous_rows

ACTIVATIONS = ("relu", "tanh", "sigmoid")


class Dense(Layer):
    """y = f(x W^T + b), for every row of (N, C) or every step of (N, T, C).

    Parameters
    ----------
    in_features : int
        Features of x.
    out_features : int
        Features of y.
    bias : bool, default True
        Whether there is a b.
    activation : {"relu", "tanh", "sigmoid"} or None, default None
        f; None: the identity.
    dtype : dtype, default float32
        float32 or float64.
    seed : int, numpy.random.Generator or None, default None
        For the initial parameters; None: fresh entropy.
    init : {"default", "torch"}, default "default"
        "default": He uniform weights before a relu, Xavier uniform ones otherwise, and a zero bias. "torch": all
        uniform within 1 / sqrt(in_features) of zero.

    Notes
    -----
    The parameters are those of torch.nn.Linear: ``weight`` (out_features, in_features) and ``bias`` (out_features,).

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.layers.dense import Dense
    >>> Dense(3, 5, seed=0)(np.zeros((2, 7, 3))).shape
    (2, 7, 5)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation: str | None = None,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
        init: str = "default",
    ) -> None:
        self.in_features = check_size("in_features", in_features)
        self.out_features = check_size("out_features", out_features)
        self.bias = check_flag("bias", bias)
        self.activation = None if activation is None else check_choice("activation", activation, ACTIVATIONS)
        self.dtype = check_dtype(dtype)
        self.init = check_choice("init", init, ("default", "torch"))
        self._cache: tuple[int, dict[str, Any]] = (-1, {})
        super().__init__(self._initial(check_seed(seed)))

    def _initial(self, rng: np.random.Generator) -> Gradients:
        shape = (self.out_features, self.in_features)
        if self.init == "torch":
            bound = 1.0 / math.sqrt(self.in_features)
            arrays = {"weight": uniform(shape, rng, self.dtype, -bound, bound)}
            if self.bias:
                arrays["bias"] = uniform(shape[:1], rng, self.dtype, -bound, bound)
            return arrays
        start = he_uniform if self.activation == "relu" else xavier_uniform
        arrays = {"weight": start(shape, rng, self.dtype)}
        if self.bias:
            arrays["bias"] = np.zeros(shape[:1], self.dtype)
        return arrays

    def __call__(self, x: Any, *, lengths: Any = None) -> FloatArray:
        """Return y without saving anything for a backward pass; arguments as in `forward`."""
        x = self._checked(x)
        swapped = is_time_major(x)
        return from_rows(self._product(with_contiguous_rows(to_rows(x, swapped))), x.shape, swapped)

    def forward(
        self, x: Any, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[FloatArray, Pullback]:
        """Return ``(y, pullback)``.

        Parameters
        ----------
        x : array_like (N, in_features) or (N, T, in_features)
            Must not be changed before the pullback is called.
        lengths : array_like (N,) of int, optional
            Steps are computed each for itself, valid or not: those past a length hold f(b) when x is zero there.
        rng : numpy.random.Generator, optional
            Nothing is drawn.

        Returns
        -------
        y : ndarray, shape of x with out_features in place of in_features
            With an activation it cannot be written to: the pullback reads it.
        pullback : callable
            ``dx = pullback(dy, grads)``; see `Layer`.

        Raises
        ------
        TypeError
            If x does not hold real numbers.
        ValueError
            If its shape does not fit.
        """
        x = self._checked(x)
        swapped = is_time_major(x)
        rows = with_contiguous_rows(to_rows(x, swapped))
        out = self._product(rows)
        out.flags.writeable = self.activation is None  # else the pullback reads it
        y = from_rows(out, x.shape, swapped)
        affine_gradients = implementation("dense").affine_gradients

        def backward(dy: FloatArray, grads: Gradients) -> FloatArray:
            dout = with_contiguous_rows(self._before_activation(to_rows(dy, swapped), out))
            own = {name: _contiguous(grads.get(name), param) for name, param in self.params.items()}
            dx: FloatArray = affine_gradients(
                rows, dout, self.params["weight"], self._packed(), own["weight"], own.get("bias"), True
            )
            for name, total in own.items():
                if name in grads and grads[name] is not total:
                    grads[name][...] = total
                else:
                    grads[name] = total
            return from_rows(dx, x.shape, swapped)

        return y, Once(self, y.shape, self.dtype, backward)

    def _checked(self, x: Any) -> FloatArray:
        size = self.in_features
        if type(x) is np.ndarray and x.dtype == self.dtype and x.ndim in (2, 3) and x.shape[-1] == size:
            return x  # at once: a server asks for one step at a time
        x = check_floating("x", x, (("N", size), ("N", "T", size)))
        return check_real("x", x, self.dtype, x.shape)

    def _product(self, rows: FloatArray) -> FloatArray:
        """Return f(x W^T + b), (R, out_features), of rows (R, in_features)."""
        params = self.params
        out: FloatArray = implementation("dense").affine(rows, params["weight"], params.get("bias"), self._packed())
        if self.activation == "relu":
            np.maximum(out, 0, out=out)
        elif self.activation is not None:
            implementation("ops").activate(self.activation, out)
        return out

    def _packed(self) -> dict[str, Any]:
        """Return where packed weights are kept while the parameters stand still."""
        version, cache = self._cache
        if version != self.params.version:
            version, cache = self._cache = (self.params.version, {})
        return cache

    def _before_activation(self, dy: FloatArray, y: FloatArray) -> FloatArray:
        """Return the gradient of f's argument from that of its result y."""
        if self.activation is None:
            return dy
        slope: FloatArray
        if self.activation == "relu":
            slope = (y > 0).astype(y.dtype)
        elif self.activation == "tanh":
            slope = 1 - y * y
        else:
            slope = y * (1 - y)
        slope *= dy
        return slope

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self.bias,
            "activation": self.activation,
            "dtype": self.dtype.name,
            "init": self.init,
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": (-1, {})}


def _contiguous(found: FloatArray | None, param: FloatArray) -> FloatArray:
    """Return a gradient to add to: the caller's, a contiguous copy of it, or zeros."""
    if found is None:
        return np.zeros(param.shape, param.dtype)
    return np.ascontiguousarray(found)
