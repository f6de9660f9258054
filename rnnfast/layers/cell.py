"""A recurrent layer around a cell of the user's own, written in NumPy: forward and backward of one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import (
    FloatArray,
    called_before,
    check_dtype,
    check_flag,
    check_generator,
    check_lengths,
    check_real,
    check_seed,
    check_size,
    kind_of,
    parameters_changed,
)
from rnnfast.layers.base import Gradients, Layer, Pullback, add_gradient, check_gradients

States = tuple[FloatArray, ...]


class Cell:
    """One step of a recurrent network, written by the user; `CellLayer` makes a layer of it.

    A subclass sets two attributes and defines three methods. It keeps nothing from step to step: what a step needs
    comes in and what it makes goes out, so that one cell may serve many batches and threads.

    Attributes
    ----------
    input_size : int
        I, features of each step of x.
    state_sizes : tuple of int
        The size of each state. The first state is the output.

    Examples
    --------
    Units that leak, ``h' = (1 - a) h + a tanh(W x + U h)`` with a rate a of each unit's own:

    >>> import numpy as np
    >>> from rnnfast import Cell, CellLayer, gradcheck
    >>> class Leaky(Cell):
    ...     def __init__(self, input_size, hidden_size):
    ...         self.input_size, self.state_sizes = input_size, (hidden_size,)
    ...
    ...     def parameters(self, rng):
    ...         inputs, (hidden,) = self.input_size, self.state_sizes
    ...         w = rng.standard_normal((hidden, inputs)) / np.sqrt(inputs)
    ...         u = rng.standard_normal((hidden, hidden)) / np.sqrt(hidden)
    ...         return {"w": w, "u": u, "a": np.full(hidden, 0.5)}
    ...
    ...     def forward(self, params, x, state):
    ...         (h,) = state
    ...         g = np.tanh(x @ params["w"].T + h @ params["u"].T)
    ...         return (h + params["a"] * (g - h),), (x, h, g)
    ...
    ...     def backward(self, params, dstate, saved):
    ...         (dh,), (x, h, g), a = dstate, saved, params["a"]
    ...         du = dh * a * (1 - g * g)
    ...         grads = {"w": du.T @ x, "u": du.T @ h, "a": (dh * (g - h)).sum(axis=0)}
    ...         return du @ params["w"], (dh * (1 - a) + du @ params["u"],), grads
    >>> layer = CellLayer(Leaky(3, 5), dtype=np.float64, seed=0)
    >>> bool(gradcheck(layer, np.random.default_rng(0).standard_normal((2, 7, 3)), lengths=[7, 4]))
    True
    >>> y, h = layer(np.zeros((2, 7, 3)))
    >>> y.shape, h.shape
    ((2, 7, 5), (1, 2, 5))
    """

    input_size: int
    state_sizes: tuple[int, ...]

    def parameters(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Return the initial parameters: arrays by name, all drawn from ``rng``."""
        raise NotImplementedError(f"{type(self).__name__} must define parameters(rng)")

    def forward(self, params: Mapping[str, FloatArray], x: FloatArray, state: States) -> tuple[States, Any]:
        """Do one step.

        Parameters
        ----------
        params : mapping of str to ndarray
            The parameters, in the layer's dtype.
        x : ndarray (N, input_size)
        state : tuple of ndarray (N, state_sizes[k])
            Not to be changed.

        Returns
        -------
        tuple of ndarray, anything
            The new state, in arrays of its own, and what `backward` needs.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward(params, x, state)")

    def backward(
        self, params: Mapping[str, FloatArray], dstate: States, saved: Any
    ) -> tuple[FloatArray, States, Mapping[str, FloatArray]]:
        """Return the gradients of one step.

        Parameters
        ----------
        params
            As in `forward`.
        dstate : tuple of ndarray (N, state_sizes[k])
            Gradient of the new state; that of the first has the output's in it. Not to be changed.
        saved
            What `forward` returned.

        Returns
        -------
        dx (N, input_size), gradient of the old state (as the state), gradients of parameters by name
            Parameters that have none may be left out.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward(params, dstate, saved)")


class CellLayer(Layer):
    """A recurrent layer that runs a `Cell` over the steps of a batch.

    It goes wherever the package's recurrent layers go (`Sequential`, `Trainer`, `checkpointed`, `gradcheck`), with
    lengths and states, at the speed of NumPy: some microseconds for every operation of every step. A model with such
    a layer cannot be put into a file by `save_model`, for a file holds no program: keep ``model.state_dict()``, with
    ``numpy.savez`` for one, and give it to ``load_state_dict`` of a model that is built anew.

    Parameters
    ----------
    cell : Cell
        The step. One cell serves any number of layers.
    batch_first : bool, default True
        Whether x and y are (N, T, C); else (T, N, C).
    dtype : dtype, default float32
        float32 or float64. Parameters, inputs and states have it, and so must what the cell returns.
    seed : int, numpy.random.Generator or None, default None
        For the cell's parameters; None: fresh entropy.

    Raises
    ------
    TypeError, ValueError
        If the cell's sizes or parameters are not what `Cell` says.

    Examples
    --------
    See `Cell`.
    """

    stateful: ClassVar[bool] = True

    def __init__(self, cell: Cell, batch_first: bool = True, *, dtype: Any = np.float32, seed: Any = None) -> None:
        if not isinstance(cell, Cell):
            raise TypeError(f"cell must be a Cell; got {kind_of(cell)}")
        self.cell = cell
        self.batch_first = check_flag("batch_first", batch_first)
        self.dtype = check_dtype(dtype)
        self.input_size = check_size("cell.input_size", getattr(cell, "input_size", None))
        sizes = getattr(cell, "state_sizes", None)
        if not isinstance(sizes, (tuple, list)) or not sizes:
            raise TypeError(f"cell.state_sizes must be a tuple of at least one size; got {sizes!r}")
        self.state_sizes = tuple(check_size(f"cell.state_sizes[{k}]", size) for k, size in enumerate(sizes))
        self.hidden_size = self.state_sizes[0]
        found = cell.parameters(check_seed(seed))
        if not isinstance(found, Mapping):
            raise TypeError(f"cell.parameters must return arrays by name; got {kind_of(found)}")
        params = {}
        for name, value in found.items():
            if not isinstance(name, str) or not name or "." in name:
                raise ValueError(f"cell.parameters: a name must be a string without a dot; got {name!r}")
            array = check_real(f"cell.parameters: {name}", value, self.dtype, np.shape(value))
            params[name] = np.array(array, order="C")
        super().__init__(params)

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None) -> Any:
        """Return ``(y, state)`` without saving anything for a backward pass; arguments as in `forward`."""
        return self._run(*self._checked(x, state, lengths), None)

    def forward(
        self, x: Any, state: Any = None, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[Any, Pullback]:
        """Return ``((y, state), pullback)``.

        Parameters
        ----------
        x : array_like (N, T, input_size), or (T, N, input_size) unless ``batch_first``
            N sequences of T steps.
        state : array_like (1, N, size), a tuple of them where there are several, or None
            The initial state; None: zeros.
        lengths : array_like (N,) of int, optional
            Valid steps of each sequence, 0..T in any order; None: all T. The cell sees the rows that are still valid.
        rng : numpy.random.Generator, optional
            Nothing is drawn.

        Returns
        -------
        y : ndarray (N, T, hidden_size), or (T, N, hidden_size)
            The first state after every step, zeros past a sequence's length.
        state : as the argument
            After each sequence's last valid step.
        pullback : callable
            ``dx = pullback(dy, grads)`` or ``dx, dstate = pullback(dy, grads, dstate=dstate)``; see `Layer`. Either
            gradient may be None for zero.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, or what the cell returns.
        """
        check_generator(rng)
        x, initial, valid = self._checked(x, state, lengths)
        steps: list[tuple[Any, Any]] = []
        out = self._run(x, initial, valid, steps)
        version, used = self.params.version, False
        shape, batch = out[0].shape, x.shape[0]

        def backward(dy: Any, grads: Gradients, dstate: Any = None) -> Any:
            nonlocal used
            if used:
                raise called_before()
            if self.params.version != version:
                raise parameters_changed()
            if dy is not None:
                dy = check_real("dy", dy, self.dtype, shape)
                dy = dy if self.batch_first else dy.transpose(1, 0, 2)
            final = [np.array(d) for d in self._states("dstate", dstate, batch, allow_none=True)]
            check_gradients(grads, self.params)
            used = True
            dx = self._back(steps, dy, final, grads, (batch, len(steps), self.input_size))
            dx = dx if self.batch_first else dx.transpose(1, 0, 2)
            return dx if dstate is None else (dx, self._packed(final))

        return out, backward

    def _checked(self, x: Any, state: Any, lengths: Any) -> tuple[FloatArray, list[FloatArray], Any]:
        names: tuple[int | str, ...] = ("N", "T", self.input_size)
        x = check_real("x", x, self.dtype, names if self.batch_first else ("T", "N", self.input_size))
        x = x if self.batch_first else x.transpose(1, 0, 2)
        valid = check_lengths(lengths, *x.shape[:2])
        return x, self._states("state", state, x.shape[0]), valid

    def _states(self, argument: str, state: Any, batch: int, allow_none: bool = False) -> list[FloatArray]:
        """Return each state (N, size), or raise; None is zeros."""
        count = len(self.state_sizes)
        if state is None:
            return [np.zeros((batch, size), self.dtype) for size in self.state_sizes]
        parts = (state,) if count == 1 else state
        if not isinstance(parts, (tuple, list)) or len(parts) != count:
            raise TypeError(f"{argument} must be a tuple of {count} arrays; got {type(state).__name__}")
        found = []
        for k, (part, size) in enumerate(zip(parts, self.state_sizes, strict=True)):
            if part is None and allow_none:
                found.append(np.zeros((batch, size), self.dtype))
            else:
                name = argument if count == 1 else f"{argument}[{k}]"
                found.append(check_real(name, part, self.dtype, (1, batch, size))[0])
        return found

    def _packed(self, parts: list[FloatArray]) -> Any:
        """Return states as callers have them."""
        arrays = tuple(part[None] for part in parts)
        return arrays if len(arrays) > 1 else arrays[0]

    def _run(
        self, x: FloatArray, initial: list[FloatArray], valid: NDArray[np.int64] | None, keep: list[Any] | None
    ) -> tuple[FloatArray, Any]:
        """Return (y, state); ``keep`` gets the rows of each step and what the cell saved."""
        batch, steps, _ = x.shape
        y = np.zeros((batch, steps, self.hidden_size), self.dtype)
        state = [np.array(s) for s in initial]
        for t in range(steps):
            rows: Any = slice(None) if valid is None else np.flatnonzero(valid > t)
            new, saved = self.cell.forward(self.params, x[rows, t], tuple(s[rows] for s in state))
            count = batch if valid is None else len(rows)
            state = _put(state, rows, self._returned("forward", new, count))
            y[rows, t] = new[0]
            if keep is not None:
                keep.append((rows, saved))
        # The cell may have kept what it returned last, which is therefore not handed out.
        return (y if self.batch_first else y.transpose(1, 0, 2)), self._packed([part.copy() for part in state])

    def _returned(self, method: str, state: Any, count: int) -> States:
        """Return a state that the cell gave, or raise if it is not what it should be."""
        what = f"{type(self.cell).__name__}.{method}"
        if not isinstance(state, tuple) or len(state) != len(self.state_sizes):
            raise TypeError(f"{what} must return its state as a tuple of {len(self.state_sizes)}; got {state!r:.80}")
        for part, size in zip(state, self.state_sizes, strict=True):
            if np.shape(part) != (count, size):
                raise ValueError(f"{what} must return states of shape ({count}, {size}); got {np.shape(part)}")
        return state

    def _back(
        self,
        steps: list[tuple[Any, Any]],
        dy: FloatArray | None,
        carry: list[FloatArray],
        grads: Gradients,
        shape: tuple[int, int, int],
    ) -> FloatArray:
        """Go back through the steps; ``carry``, the gradient of the final state, becomes that of the initial one."""
        dx = np.zeros(shape, self.dtype)
        own = {name: np.zeros_like(param) for name, param in self.params.items()}
        for t in reversed(range(len(steps))):
            rows, saved = steps.pop()
            parts = [d[rows] for d in carry]
            if dy is not None:
                parts[0] = parts[0] + dy[rows, t]
            dinput, dold, found = self.cell.backward(self.params, tuple(parts), saved)
            carry[:] = _put(carry, rows, self._returned("backward", dold, len(parts[0])))
            if np.shape(dinput) != (len(parts[0]), self.input_size):
                raise ValueError(
                    f"{type(self.cell).__name__}.backward must return dx of shape "
                    f"({len(parts[0])}, {self.input_size}); got {np.shape(dinput)}"
                )
            dx[rows, t] = dinput
            for name, gradient in found.items():
                if name not in own or np.shape(gradient) != own[name].shape:
                    raise ValueError(
                        f"{type(self.cell).__name__}.backward must return gradients of parameters, in their shapes; "
                        f"got {name!r} of shape {np.shape(gradient)}"
                    )
                own[name] += gradient
        for name, gradient in own.items():
            add_gradient(grads, name, gradient)
        return dx

    def __repr__(self) -> str:
        sizes = ", ".join(map(str, self.state_sizes))
        return f"CellLayer({type(self.cell).__name__}, input_size={self.input_size}, state_sizes=({sizes},))"


def _put(state: list[FloatArray], rows: Any, new: States) -> list[FloatArray]:
    """Return a state with some of its rows new, leaving the arrays be: the cell may have kept views of them."""
    if isinstance(rows, slice):
        return [np.asarray(part, old.dtype) for part, old in zip(new, state, strict=True)]
    found = [old.copy() for old in state]
    for array, part in zip(found, new, strict=True):
        array[rows] = part
    return found
