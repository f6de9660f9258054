"""Embedding: a row of a table for every index."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.backend import implementation
from rnnfast.checks import FloatArray, as_array, check_choice, check_dtype, check_indices, check_seed, check_size
from rnnfast.initializers import normal, uniform
from rnnfast.layers.base import Gradients, Layer, Pullback, add_gradient
from rnnfast.layers.once import Once
from rnnfast.rows import Lookup


class Embedding(Layer):
    """y[n, t] = weight[x[n, t]].

    Parameters
    ----------
    num_embeddings : int
        Rows of the table; indices are 0 .. num_embeddings - 1.
    embedding_dim : int
        Columns of the table.
    padding_idx : int or None, default None
        An index whose row starts as zeros and gets no gradient. Negative: from the end.
    dtype : dtype, default float32
        float32 or float64.
    seed : int, numpy.random.Generator or None, default None
        For the initial parameters; None: fresh entropy.
    init : {"default", "torch", "uniform"}, default "default"
        "default" and "torch": normal with a standard deviation of 1. "uniform": within 0.05 of zero.

    Notes
    -----
    The one parameter is ``weight`` (num_embeddings, embedding_dim), as in torch.nn.Embedding. Its gradient is dense
    and summed in the order of the indices, so that it is the same every time.

    Examples
    --------
    >>> from rnnfast.layers.embedding import Embedding
    >>> Embedding(10, 4, seed=0)([[1, 2, 3], [4, 5, 6]]).shape
    (2, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
        init: str = "default",
    ) -> None:
        self.num_embeddings = check_size("num_embeddings", num_embeddings)
        self.embedding_dim = check_size("embedding_dim", embedding_dim)
        self.padding_idx = None
        if padding_idx is not None:
            index = check_size("padding_idx", padding_idx, -self.num_embeddings)
            if index >= self.num_embeddings:
                raise ValueError(
                    f"padding_idx must lie in {-self.num_embeddings}..{self.num_embeddings - 1}; got {index}"
                )
            self.padding_idx = index % self.num_embeddings
        self.dtype = check_dtype(dtype)
        self.init = check_choice("init", init, ("default", "torch", "uniform"))
        rng = check_seed(seed)
        shape = (self.num_embeddings, self.embedding_dim)
        weight = uniform(shape, rng, self.dtype, -0.05, 0.05) if init == "uniform" else normal(shape, rng, self.dtype)
        if self.padding_idx is not None:
            weight[self.padding_idx] = 0
        super().__init__({"weight": weight})

    def __call__(self, x: Any, *, lengths: Any = None) -> FloatArray:
        """Return y without saving anything for a backward pass; arguments as in `forward`."""
        y: FloatArray = self.params["weight"].take(self._checked(x), axis=0)
        return y

    def forward(
        self, x: Any, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[FloatArray, Pullback]:
        """Return ``(y, pullback)``.

        Parameters
        ----------
        x : array_like (N,) or (N, T) of int
            Indices; must not be changed before the pullback is called.
        lengths : array_like (N,) of int, optional
            Indices are looked up each for itself, valid or not, and so must all lie in the table.
        rng : numpy.random.Generator, optional
            Nothing is drawn.

        Returns
        -------
        y : ndarray (N, embedding_dim) or (N, T, embedding_dim)
        pullback : callable
            ``pullback(dy, grads)`` returns None: indices have no gradient. See `Layer`.

        Raises
        ------
        TypeError
            If x does not hold integers.
        ValueError
            If its number of dimensions is not 1 or 2.
        IndexError
            If an index lies outside the table.
        """
        x = self._checked(x)
        y = self.params["weight"].take(x, axis=0)
        scatter_add = implementation("ops").scatter_add

        def backward(dy: FloatArray, grads: Gradients) -> None:
            out = grads.setdefault("weight", np.zeros(self.params["weight"].shape, self.dtype))
            rows, values = x.reshape(-1), dy.reshape(x.size, self.embedding_dim)
            if self.padding_idx is not None:
                kept = np.flatnonzero(rows != self.padding_idx)
                rows, values = rows[kept], values[kept]
            scatter_add(out, rows, values)

        return y, Once(self, y.shape, self.dtype, backward)

    def lookup(self, x: Any) -> FloatArray | Lookup:
        """Return what the layer returns for ``x``, as a ``Lookup`` where that saves a recurrent layer work."""
        x = self._checked(x)
        if x.ndim == 2 and 2 * self.num_embeddings <= x.size:
            return Lookup(self.params["weight"], x)
        y: FloatArray = self.params["weight"].take(x, axis=0)
        return y

    def forward_lookup(self, x: Any) -> tuple[FloatArray | Lookup, Pullback]:
        """Return `lookup` and its pullback, which takes the gradient of the table where it was a ``Lookup``."""
        found = self.lookup(x)
        if not isinstance(found, Lookup):
            return self.forward(x)

        def backward(dtable: FloatArray, grads: Gradients) -> None:
            if self.padding_idx is not None:
                dtable[self.padding_idx] = 0
            add_gradient(grads, "weight", dtable)

        return found, Once(self, found.table.shape, self.dtype, backward)

    def _checked(self, x: Any) -> Any:
        x = as_array("x", x)
        if x.ndim not in (1, 2):
            raise ValueError(f"x must have shape (N,) or (N, T); got {x.shape}")
        return check_indices("x", x, self.num_embeddings)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {
            "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim,
            "padding_idx": self.padding_idx,
            "dtype": self.dtype.name,
            "init": self.init,
        }
