"""Tree-LSTM over vectors, as a layer."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
from rnnfast.layers.tree.plan import Level, Plan, check_parents, make_plan

States = tuple[FloatArray, FloatArray]


class _Saved(NamedTuple):
    """What forward leaves for backward; rows are nodes by level."""

    plan: Plan
    rows: FloatArray  # (M, I) inputs
    gates: FloatArray  # (M, 4*H) i o u and, from before, f
    below: FloatArray  # (nodes with children, H or 2*H) what their recurrent product multiplied
    forgets: list[FloatArray]  # by level, (edges, H) or (2*n, H)
    h: FloatArray  # (M, H)
    c: FloatArray


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
    children are ordered by their numbers. Nodes on one level of all trees are computed at once.

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
        self._weights: tuple[int, dict[str, Any]] = (-1, {})
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
        x, plan = self._checked(x, parents, lengths)
        saved = self._up(x, plan)
        return self._results(x, saved)

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
            h of every node, zeros past a tree's length.
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
        x, plan = self._checked(x, parents, lengths)
        modules = implementation("dense"), implementation("tree")
        saved: _Saved | None = self._up(x, plan)
        assert saved is not None
        results = self._results(x, saved)
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
            return self._down(modules, kept, shape, dy, roots, grads)

        return results, backward

    def _checked(self, x: Any, parents: Any, lengths: Any) -> tuple[FloatArray, Plan]:
        x = check_real("x", x, self.dtype, ("N", "T", self.input_size))
        shape = x.shape[0], x.shape[1]
        valid = check_lengths(lengths, *shape)
        return x, make_plan(check_parents(parents, shape), valid, 2 if self.kind == "binary" else None)

    def _packed(self) -> dict[str, Any]:
        """Return the parts of the weights and where packed copies of each are kept while they stand still."""
        version, found = self._weights
        if version != self.params.version:
            n, w = 3 * self.hidden_size, self.params["weight_hh"]
            parts = {"x": self.params["weight_ih"], "u": w[:n], "f": w[n:]}
            turned = {f"{name} turned": np.ascontiguousarray(parts[name].T) for name in "uf"}
            found = {name: (part, {}) for name, part in (parts | turned).items()}
            self._weights = (self.params.version, found)
        return found

    def _slots(self, level: Level) -> NDArray[np.intp]:
        """Return the row of each edge's forget gate."""
        return np.arange(len(level.child)) if self.kind == "child_sum" else 2 * level.parent + level.side

    def _up(self, x: FloatArray, plan: Plan) -> _Saved:
        """Compute all nodes from the leaves on."""
        dense, tree, weights, hidden = implementation("dense"), implementation("tree"), self._packed(), self.hidden_size
        rows = x.reshape(-1, self.input_size)[plan.place]
        gates = dense.affine(rows, weights["x"][0], self.params.get("bias"), weights["x"][1])
        h, c = (np.empty((len(rows), hidden), self.dtype) for _ in range(2))
        leaves = plan.levels[1].row if len(plan.levels) > 1 else len(rows)
        below = np.zeros((len(rows) - leaves, weights["u"][0].shape[1]), self.dtype)
        forgets = []
        for level in plan.levels:
            n, first = len(level.first) - 1, level.row - leaves
            slots, g, f = self._slots(level), None, np.zeros((0, hidden), self.dtype)
            if len(level.child):
                each, own = h[level.child], below[first : first + n]
                if self.kind == "child_sum":
                    own[...] = np.add.reduceat(each, level.first[:-1])
                else:
                    own.reshape(n, 2, hidden)[level.parent, level.side] = each
                g = dense.affine(own, weights["u"][0], None, weights["u"][1])
                f = dense.affine(each if self.kind == "child_sum" else own, weights["f"][0], None, weights["f"][1])
                f = f.reshape(-1, hidden)
            tree.level_forward(level.first, level.child, slots, gates, g, f, h, c, level.row)
            if len(f) > len(slots):
                missing = np.ones(len(f), np.bool_)
                missing[slots] = False
                f[missing] = 0
            forgets.append(f)
        return _Saved(plan, rows, gates, below, forgets, h, c)

    def _results(self, x: FloatArray, saved: _Saved) -> tuple[FloatArray, States]:
        """Return h in the user's places, and the states of the roots."""
        batch, width, _ = x.shape
        y = np.zeros((batch * width, self.hidden_size), self.dtype)
        y[saved.plan.place] = saved.h
        h, c = (np.zeros((batch, self.hidden_size), self.dtype) for _ in range(2))
        live = saved.plan.roots >= 0
        h[live], c[live] = saved.h[saved.plan.roots[live]], saved.c[saved.plan.roots[live]]
        return y.reshape(batch, width, self.hidden_size), (h, c)

    def _down(
        self, modules: Any, saved: _Saved, shape: tuple[int, ...], dy: Any, droots: list[Any], grads: Gradients
    ) -> FloatArray:
        """Go back from the roots: add the parameters' gradients and return dx."""
        dense, tree = modules
        plan, weights, hidden, gates = saved.plan, self._packed(), self.hidden_size, saved.gates
        dh, dc = (np.zeros_like(saved.h) for _ in range(2))
        if dy is not None:
            dh[...] = dy.reshape(-1, hidden)[plan.place]
        live = plan.roots >= 0
        for d, given in zip((dh, dc), droots, strict=True):
            if given is not None:
                d[plan.roots[live]] += given[live]
        for level, f in zip(reversed(plan.levels), reversed(saved.forgets), strict=True):
            tree.level_backward(level.first, level.child, self._slots(level), gates, f, saved.c, dh, dc, level.row)
            n = len(level.first) - 1
            if len(level.child):
                dg = gates[level.row : level.row + n, : 3 * hidden]
                dbelow = dense.affine(dg, weights["u turned"][0], None, weights["u turned"][1])
                f = f if self.kind == "child_sum" else f.reshape(n, 2 * hidden)
                deach = dense.affine(f, weights["f turned"][0], None, weights["f turned"][1])
                if self.kind == "child_sum":
                    dh[level.child] += dbelow[level.parent] + deach
                else:
                    dh[level.child] += (dbelow + deach).reshape(n, 2, hidden)[level.parent, level.side]
        made = {name: np.zeros(param.shape, self.dtype) for name, param in self.params.items()}
        dx_rows = dense.affine_gradients(saved.rows, gates, *weights["x"], made["weight_ih"], made.get("bias"), True)
        leaves = len(saved.rows) - len(saved.below)
        f = np.concatenate(saved.forgets) if saved.forgets else dh
        each = saved.below
        if self.kind == "child_sum":
            each = saved.h[np.concatenate([level.child for level in plan.levels])] if plan.levels else dh
        dw_u, dw_f = made["weight_hh"][: 3 * hidden], made["weight_hh"][3 * hidden :]
        if len(saved.below):
            dense.affine_gradients(saved.below, gates[leaves:, : 3 * hidden], *weights["u"], dw_u, None, False)
            dense.affine_gradients(each, f.reshape(len(each), -1), *weights["f"], dw_f, None, False)
        for name, gradient in made.items():
            add_gradient(grads, name, gradient)
        dx = np.zeros((shape[0] * shape[1], self.input_size), self.dtype)
        dx[plan.place] = dx_rows
        return dx.reshape(shape)

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
        return {**self.__dict__, "_weights": (-1, {})}
