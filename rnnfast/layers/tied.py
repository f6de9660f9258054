"""Tied: output weights that are an embedding's table."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.backend import implementation
from rnnfast.checks import FloatArray, check_real, parameters_changed
from rnnfast.layers.base import Gradients, Layer, Pullback, check_gradients
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.once import Once
from rnnfast.rows import from_rows, is_time_major, to_rows, with_contiguous_rows


class Tied(Layer):
    """logits = x E^T + b, with E the table of an embedding: what a symbol means is where it is predicted.

    Press and Wolf 2017, "Using the output embedding to improve language models"; Inan, Khosravi and Socher 2017, "Tying
    word vectors and word classifiers". A part of models, which own the embedding: the table is none of this layer's
    parameters, and its gradient is added to the entry "weight" of what the pullback is given.

    Parameters
    ----------
    embedding : Embedding
        Whose table it is.
    """

    def __init__(self, embedding: Embedding) -> None:
        self.embedding = embedding
        self.dtype = embedding.dtype
        self._cache: tuple[int, dict[str, Any]] = (-1, {})
        super().__init__({"bias": np.zeros(embedding.num_embeddings, self.dtype)})

    def __call__(self, x: Any, *, lengths: Any = None) -> FloatArray:
        """Return the logits without saving anything for a backward pass; arguments as in `forward`."""
        x = self._checked(x)
        swapped = is_time_major(x)
        return from_rows(self._product(with_contiguous_rows(to_rows(x, swapped))), x.shape, swapped)

    def forward(
        self, x: Any, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[FloatArray, Pullback]:
        """Return ``(logits, pullback)`` for x (N, T, embedding_dim); as in `Dense`."""
        x = self._checked(x)
        swapped = is_time_major(x)
        rows = with_contiguous_rows(to_rows(x, swapped))
        y = from_rows(self._product(rows), x.shape, swapped)
        version = self.embedding.params.version
        affine_gradients = implementation("dense").affine_gradients

        def backward(dy: FloatArray, grads: Gradients) -> FloatArray:
            table = self.embedding.params["weight"]
            if self.embedding.params.version != version:
                raise parameters_changed()
            params = {"weight": table, "bias": self.params["bias"]}
            check_gradients(grads, params)
            dout = with_contiguous_rows(to_rows(dy, swapped))
            for name, param in params.items():
                grads[name] = np.ascontiguousarray(grads[name]) if name in grads else np.zeros_like(param)
            dx: FloatArray = affine_gradients(rows, dout, table, self._packed(), grads["weight"], grads["bias"], True)
            return from_rows(dx, x.shape, swapped)

        return y, Once(self, y.shape, self.dtype, backward)

    def _checked(self, x: Any) -> FloatArray:
        return check_real("x", x, self.dtype, ("N", "T", self.embedding.embedding_dim))

    def _product(self, rows: FloatArray) -> FloatArray:
        out: FloatArray = implementation("dense").affine(
            rows, self.embedding.params["weight"], self.params["bias"], self._packed()
        )
        return out

    def _packed(self) -> dict[str, Any]:
        """Return where packed weights are kept while the table stands still."""
        version, cache = self._cache
        if version != self.embedding.params.version:
            version, cache = self._cache = (self.embedding.params.version, {})
        return cache

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": (-1, {})}
