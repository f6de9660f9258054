"""Attention: for each query a mean of the steps of a memory, weighted by how well they fit.

The products over the memory are NumPy's: of matrices as small as a sentence its BLAS makes them at the speed of the
packed kernels, and with one thread. Additive scores, which are no product, are in C.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnfast.backend import implementation
from rnnfast.checks import (
    FloatArray,
    called_before,
    check_choice,
    check_dtype,
    check_generator,
    check_lengths,
    check_real,
    check_seed,
    check_size,
    parameters_changed,
)
from rnnfast.initializers import uniform
from rnnfast.layers.base import Gradients, Layer, Pullback, add_gradient, check_gradients, pull
from rnnfast.layers.dense import Dense

SCORES = ("dot", "general", "additive")
_Lengths = NDArray[np.int64] | None
_Back = Callable[[FloatArray, Gradients], tuple[FloatArray, FloatArray, FloatArray | None]]


class Attention(Layer):
    """context_t = sum_s a_ts memory_s with a_t = softmax over the valid steps s of score(query_t, memory_s).

    Scores by kind:

    - "dot": ``q . m`` (Luong, Pham and Manning 2015, "Effective approaches to attention-based neural machine
      translation");
    - "general": ``q . W m``, of the same paper;
    - "additive": ``v . tanh(W q + U m + b)`` (Bahdanau, Cho and Bengio 2015, "Neural machine translation by jointly
      learning to align and translate").

    Parameters
    ----------
    query_size : int
        Features of a query.
    memory_size : int
        Features of a step of memory.
    score : {"dot", "general", "additive"}, default "general"
        How queries and steps are compared. "dot" needs both to be of one size.
    attention_size : int, optional
        Units of additive scores; None: as many as the query has features. The other scores have none.
    dtype : dtype, default float32
        float32 or float64.
    seed : int, numpy.random.Generator or None, default None
        For the initial parameters; None: fresh entropy.

    Notes
    -----
    Parameters are ``query.weight`` ("general": W transposed, (memory_size, query_size); "additive": W and
    ``query.bias``), ``memory.weight`` (U) and ``weight`` (v). A sequence whose memory has no valid step gets a context
    of zeros.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.layers.attention import Attention
    >>> query, memory = np.ones((2, 3, 4)), np.ones((2, 5, 6))
    >>> context, weights = Attention(4, 6, seed=0)((query, memory), lengths=[5, 2])
    >>> context.shape, weights.shape, weights[1, 0].tolist()
    ((2, 3, 6), (2, 3, 5), [0.5, 0.5, 0.0, 0.0, 0.0])
    """

    num_inputs: ClassVar[int] = 2

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        score: str = "general",
        attention_size: int | None = None,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
    ) -> None:
        self.query_size = check_size("query_size", query_size)
        self.memory_size = check_size("memory_size", memory_size)
        self.score = check_choice("score", score, SCORES)
        if attention_size is not None and score != "additive":
            raise ValueError(f"attention_size is for additive scores; got {attention_size!r} with score={score!r}")
        self.attention_size = None if attention_size is None else check_size("attention_size", attention_size)
        if score == "dot" and query_size != memory_size:
            raise ValueError(
                f"score 'dot' needs query_size and memory_size to be equal; got {query_size} and {memory_size}"
            )
        self.dtype = check_dtype(dtype)
        rng = check_seed(seed)
        units = self.attention_size or self.query_size
        self._children: dict[str, Dense] = {}
        params: Gradients = {}
        if score == "general":
            self._children["query"] = Dense(self.query_size, self.memory_size, bias=False, dtype=self.dtype, seed=rng)
        elif score == "additive":
            self._children["query"] = Dense(self.query_size, units, dtype=self.dtype, seed=rng)
            self._children["memory"] = Dense(self.memory_size, units, bias=False, dtype=self.dtype, seed=rng)
            bound = math.sqrt(3.0 / units)
            params["weight"] = uniform((units,), rng, self.dtype, -bound, bound)
        super().__init__(params)

    def children(self) -> dict[str, Layer]:
        """Return the projections by name."""
        return dict(self._children)

    def __call__(self, x: Any, *, lengths: Any = None) -> tuple[FloatArray, FloatArray]:
        """Return ``(context, weights)`` without saving anything for a backward pass; arguments as in `forward`."""
        query, memory, valid = self._checked(x, lengths)
        return self.attend(query, self.keys(memory), memory, valid)

    def forward(
        self, x: Any, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[tuple[FloatArray, FloatArray], Pullback]:
        """Return ``((context, weights), pullback)``.

        Parameters
        ----------
        x : tuple of array_like (N, T, query_size) and (N, S, memory_size)
            Queries and memory. Must not be changed before the pullback is called.
        lengths : array_like (N,) of int, optional
            Valid steps of each memory, 0..S; None: all S. What stands past them counts for nothing, but must be finite.
        rng : numpy.random.Generator, optional
            Nothing is drawn.

        Returns
        -------
        context : ndarray (N, T, memory_size)
        weights : ndarray (N, T, S)
            a, zeros past the lengths. They cannot be written to: the pullback reads them.
        pullback : callable
            ``dquery, dmemory = pullback((dcontext, dweights), grads)``; either may be None for zero. See `Layer`.

        Raises
        ------
        TypeError
            If an argument is not of a kind that can be read as such.
        ValueError
            If a shape or a length does not fit.
        """
        check_generator(rng)
        query, memory, valid = self._checked(x, lengths)
        keys, keys_pullback = self.forward_keys(memory)
        (context, weights), attend_pullback = self.forward_attend(query, keys, memory, valid)

        def backward(dout: Any, grads: Gradients) -> tuple[FloatArray, FloatArray]:
            dquery, dkeys, dmemory = attend_pullback(dout, grads)
            dmemory += keys_pullback(dkeys, grads)
            return dquery, dmemory

        return (context, weights), backward

    def keys(self, memory: FloatArray) -> FloatArray:
        """Return what scores are computed from, for memory (N, S, memory_size): it is the same for all queries."""
        return self._children["memory"](memory) if self.score == "additive" else memory

    def forward_keys(self, memory: FloatArray) -> tuple[FloatArray, Pullback]:
        """Return `keys` and their pullback, ``dmemory = pullback(dkeys, grads)``."""
        if self.score != "additive":
            return memory, lambda dkeys, grads: dkeys
        keys, pullback = self._children["memory"].forward(memory)
        return keys, lambda dkeys, grads: pull(pullback, "memory.", dkeys, grads)

    def attend(
        self, query: FloatArray, keys: FloatArray, memory: FloatArray, lengths: _Lengths
    ) -> tuple[FloatArray, FloatArray]:
        """Return ``(context, weights)`` of arrays that have been checked, with keys from `keys`."""
        if self._children:
            query = self._children["query"](query)
        weights = masked_softmax(self._scores(query, keys, lengths), lengths)
        return weights @ memory, weights

    def forward_attend(
        self, query: FloatArray, keys: FloatArray, memory: FloatArray, lengths: _Lengths
    ) -> tuple[tuple[FloatArray, FloatArray], Pullback]:
        """Return `attend` and its pullback, ``dquery, dkeys, dmemory = pullback((dcontext, dweights), grads)``."""
        projected, query_pullback = query, None
        if self._children:
            projected, query_pullback = self._children["query"].forward(query)
        weights = masked_softmax(self._scores(projected, keys, lengths), lengths)
        weights.flags.writeable = False
        context = weights @ memory
        shapes, version = (context.shape, weights.shape), self.params.version
        saved: list[Any] = [projected]
        module = implementation("attention") if self.score == "additive" else None

        def backward(dout: Any, grads: Gradients) -> tuple[FloatArray, FloatArray, FloatArray]:
            if not saved:
                raise called_before()
            if self.params.version != version:
                raise parameters_changed()
            dcontext, dextra = self._checked_gradients(dout, shapes)
            check_gradients(grads, self.params)
            q = saved.pop()
            dweights = dcontext @ memory.swapaxes(1, 2)
            if dextra is not None:
                dweights = dweights + dextra
            dmemory = weights.swapaxes(1, 2) @ dcontext
            dscores = weights * (dweights - (dweights * weights).sum(axis=2, keepdims=True))
            if module is not None:
                dq, dkeys, dv = module.additive_gradients(q, keys, self.params["weight"], lengths, dscores)
                add_gradient(grads, "weight", dv)
            else:
                dq, dkeys = dscores @ keys, dscores.swapaxes(1, 2) @ q
            if query_pullback is not None:
                dq = pull(query_pullback, "query.", dq, grads)
            return dq, dkeys, dmemory

        return (context, weights), backward

    def _scores(self, query: FloatArray, keys: FloatArray, lengths: _Lengths) -> FloatArray:
        """Return the scores (N, T, S) of projected queries."""
        if self.score == "additive":
            scores: FloatArray = implementation("attention").additive_scores(
                query, keys, self.params["weight"], lengths
            )
            return scores
        return query @ keys.swapaxes(1, 2)

    def _checked(self, x: Any, lengths: Any) -> tuple[FloatArray, FloatArray, _Lengths]:
        if not isinstance(x, (tuple, list)) or len(x) != 2:
            raise TypeError(f"x must be a tuple of queries and memory; got {type(x).__name__}")
        query = check_real("x[0]", x[0], self.dtype, ("N", "T", self.query_size))
        memory = check_real("x[1]", x[1], self.dtype, (len(query), "S", self.memory_size))
        return query, memory, check_lengths(lengths, *memory.shape[:2])

    def _checked_gradients(self, dout: Any, shapes: Any) -> tuple[FloatArray, FloatArray | None]:
        if not isinstance(dout, (tuple, list)) or len(dout) != 2:
            raise TypeError(f"dout must be a tuple of dcontext and dweights; got {type(dout).__name__}")
        dcontext = (
            np.zeros(shapes[0], self.dtype)
            if dout[0] is None
            else check_real("dcontext", dout[0], self.dtype, shapes[0])
        )
        return dcontext, None if dout[1] is None else check_real("dweights", dout[1], self.dtype, shapes[1])

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {
            "query_size": self.query_size,
            "memory_size": self.memory_size,
            "score": self.score,
            "attention_size": self.attention_size,
            "dtype": self.dtype.name,
        }


def masked_softmax(scores: FloatArray, lengths: _Lengths) -> FloatArray:
    """Return the softmax of scores (N, T, S) over the valid steps, and zeros past them; scores are overwritten."""
    if lengths is not None:
        past = np.arange(scores.shape[2]) >= lengths[:, None, None]
        np.copyto(scores, -np.inf, where=past)
        # Where there is no valid step, any finite maximum will do: exp(-inf) is 0, and so is the sum.
        scores -= np.maximum(scores.max(axis=2, keepdims=True, initial=-np.inf), np.finfo(scores.dtype).min)
    else:
        scores -= scores.max(axis=2, keepdims=True, initial=-np.inf)
    np.exp(scores, out=scores)
    scores /= np.maximum(scores.sum(axis=2, keepdims=True), np.finfo(scores.dtype).tiny)
    return scores
