"""Tree-LSTM over vectors, as a layer."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any, cast

import numpy as np

from rnnfast.backend import implementation
from rnnfast.checks import (
    FloatArray,
    called_before,
    check_choice,
    check_dtype,
    check_flag,
    check_lengths,
    check_real,
    check_seed,
    check_size,
    parameters_changed,
)
from rnnfast.initializers import orthogonal, uniform, xavier_uniform
from rnnfast.layers.base import Gradients, Layer, Pullback, add_gradient, check_gradients
from rnnfast.layers.tree.parents import check_parents, no_trees

States = tuple[FloatArray, FloatArray]


class TreeLSTM(Layer):
    """Long short-term memory whose past is a tree: a node reads its input and the states of its children.

    With i, o and u = sigmoid, sigmoid and tanh of W_ih x + b + U s, and a forget gate for each child k,
    ``c = i * u + sum_k f_k * c_k`` and ``h = o * tanh(c)``. "child_sum" takes any number of children in no order:
    s is the sum of their h, f_k the sigmoid of ``W_f x + b_f + U_f h_k``. "binary" tells the first from the second: s
    is both h side by side, and so is what each f_k sees, with rows of its own; a missing child counts as zeros. Tai,
    Socher and Manning 2015, "Improved semantic representations from tree-structured long short-term memory networks".

    Parameters
    ----------
    input_size : int
        Features of each node.
    hidden_size : int
        Units, H.
    kind : {"child_sum", "binary"}, default "child_sum"
        See above.
    bias : bool, default True
        Whether there is a b.
    dtype : dtype, default float32
        float32 or float64.
    seed : int, numpy.random.Generator or None, default None
        For the initial parameters; None: fresh entropy.
    init : {"default", "torch"}, default "default"
        "default": Xavier uniform input weights, orthogonal recurrent weights, and zero biases but for the forget gate,
        whose bias is 1. "torch": all uniform within 1 / sqrt(hidden_size) of zero.

    Notes
    -----
    A batch of N trees with at most T nodes is ``x`` (N, T, input_size) and ``parents`` (N, T): for each node the
    number of its parent, -1 for the root, in any order; ``lengths`` says how many nodes each tree has. A node's
    children are ordered by their numbers. Nodes on one level are computed at once; threads share out the trees, so that
    one tree alone is one thread's, but for the products that sum the weights' gradients.

    Parameters by name: ``weight_ih`` (4*H, input_size) and ``bias`` (4*H,) with rows i o u f; ``weight_hh`` (4*H, H)
    with rows i o u for the children's sum and f for each child, or (5*H, 2*H) with rows i o u f_1 f_2.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import TreeLSTM
    >>> layer = TreeLSTM(3, 5, seed=0)
    >>> y, (h, c) = layer(np.ones((2, 4, 3)), [[-1, 0, 0, 2], [1, -1, 0, 0]], lengths=[4, 2])
    >>> y.shape, h.shape, bool((h == y[[0, 1], [0, 1]]).all())
    ((2, 4, 5), (2, 5), True)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        kind: str = "child_sum",
        bias: bool = True,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
        init: str = "default",
    ) -> None:
        self.input_size = check_size("input_size", input_size)
        self.hidden_size = check_size("hidden_size", hidden_size)
        self.kind = check_choice("kind", kind, ("child_sum", "binary"))
        self.bias = check_flag("bias", bias)
        self.dtype = check_dtype(dtype)
        self.init = check_choice("init", init, ("default", "torch"))
        self._packed: tuple[int, dict[str, Any]] = (-1, {})
        super().__init__(self._initial(check_seed(seed)))

    def _initial(self, rng: np.random.Generator) -> Gradients:
        hidden, blocks = self.hidden_size, 4 if self.kind == "child_sum" else 5
        shapes = {
            "weight_ih": (4 * hidden, self.input_size),
            "weight_hh": (blocks * hidden, (blocks - 3) * hidden),
            **({"bias": (4 * hidden,)} if self.bias else {}),
        }
        if self.init == "torch":
            bound = 1.0 / math.sqrt(hidden)
            return {name: uniform(shape, rng, self.dtype, -bound, bound) for name, shape in shapes.items()}
        arrays = {
            "weight_ih": xavier_uniform(shapes["weight_ih"], rng, self.dtype, gates=4),
            "weight_hh": orthogonal(shapes["weight_hh"], rng, self.dtype, gates=blocks),
        }
        if self.bias:
            arrays["bias"] = np.zeros(shapes["bias"], self.dtype)
            arrays["bias"][3 * hidden :] = 1.0
        return arrays

    def __call__(  # type: ignore[override]
        self, x: Any, parents: Any, *, lengths: Any = None
    ) -> tuple[FloatArray, States]:
        """Return ``(y, (h, c))`` without saving anything for a backward pass; arguments as in `forward`."""
        tree = implementation("tree")
        x, forest = self._checked(tree, x, parents, lengths)
        y, h, c, _ = tree.forward(forest, x, *self._weights(), False)
        return y, (h, c)

    def forward(  # type: ignore[override]
        self, x: Any, parents: Any, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[tuple[FloatArray, States], Pullback]:
        """Return ``((y, (h, c)), pullback)``.

        Parameters
        ----------
        x : array_like (N, T, input_size)
            Input of every node. Must not be changed before the pullback is called.
        parents : array_like (N, T) of int
            The number of each node's parent within its tree, -1 for the root.
        lengths : array_like (N,) of int, optional
            Nodes of each tree; None: all T. What stands past them is not read.
        rng : numpy.random.Generator, optional
            Nothing is drawn.

        Returns
        -------
        y : ndarray (N, T, hidden_size)
            h of every node, zeros past a tree's length. Read-only, for the pullback reads it again.
        h, c : ndarray (N, hidden_size)
            Of the roots; zeros for a tree without nodes.
        pullback : callable
            ``dx = pullback(dy, grads)``, with ``dstate=(dh, dc)`` for gradients of the roots; each of the three may be
            None for zero.

        Raises
        ------
        TypeError
            If x does not hold real numbers, or parents or lengths no integers.
        ValueError
            If a shape does not fit, or parents do not form trees.
        """
        tree = implementation("tree")
        x, forest = self._checked(tree, x, parents, lengths)
        y, h, c, saved = tree.forward(forest, x, *self._weights(), True)
        y.flags.writeable = False  # backward reads it, for sums over children
        version, shape = self.params.version, x.shape

        def backward(dy: Any, grads: Gradients, dstate: Any = None) -> FloatArray:
            nonlocal saved
            if saved is None:
                raise called_before()
            if self.params.version != version:
                raise parameters_changed()
            if dy is not None:
                dy = check_real("dy", dy, self.dtype, (*shape[:2], self.hidden_size))
            if dstate is not None and (not isinstance(dstate, (tuple, list)) or len(dstate) != 2):
                raise TypeError(f"dstate must be a pair of arrays, dh and dc; got {type(dstate).__name__}")
            roots = [
                None if d is None else check_real(f"dstate[{k}]", d, self.dtype, (shape[0], self.hidden_size))
                for k, d in enumerate(dstate or (None, None))
            ]
            check_gradients(grads, self.params)
            kept, saved = saved, None
            dx, *made = tree.backward(kept, dy, *roots)
            for name, gradient in zip(("weight_ih", "weight_hh", "bias"), made, strict=True):
                if name in self.params:
                    add_gradient(grads, name, gradient)
            return cast(FloatArray, dx)

        return (y, (h, c)), backward

    def _checked(self, tree: ModuleType, x: Any, parents: Any, lengths: Any) -> tuple[FloatArray, Any]:
        """Return x as it should be, and how its trees are computed."""
        x = check_real("x", x, self.dtype, ("N", "T", self.input_size))
        valid = check_lengths(lengths, x.shape[0], x.shape[1])
        parents, binary = check_parents(parents, (x.shape[0], x.shape[1])), self.kind == "binary"
        forest = tree.make_forest(parents, valid, binary)
        if forest is None:
            raise no_trees(parents, valid, binary)
        return x, forest

    def _weights(self) -> tuple[Any, ...]:
        """Return the parameters, and where packed copies of them are kept while they stand still."""
        if self._packed[0] != self.params.version:
            self._packed = (self.params.version, {})
        return self.params["weight_ih"], self.params["weight_hh"], self.params.get("bias"), self._packed[1]

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "kind": self.kind,
            "bias": self.bias,
            "dtype": self.dtype.name,
            "init": self.init,
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": (-1, {})}
