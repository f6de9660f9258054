"""Networks that are fed with their own outputs: Jordan's, and any layer's.

The input of step t is x_t beside what was put out at step t - 1. In training the target of step t - 1 may stand there
instead (teacher forcing; Williams and Zipser 1989), always or by the toss of a coin (scheduled sampling; Bengio et al.
2015); in inference it is always the output.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import (
    FloatArray,
    as_array,
    called_before,
    check_choice,
    check_dtype,
    check_generator,
    check_indices,
    check_lengths,
    check_number,
    check_real,
    check_seed,
    check_size,
    kind_of,
)
from rnnfast.layers.base import Gradients, Layer, Pullback
from rnnfast.layers.dense import ACTIVATIONS, Dense
from rnnfast.layers.sequential import Sequential
from rnnfast.layers.states import zeros_like

FEEDBACKS = ("output", "softmax", "choice")


class OutputFeedback(Layer):
    """A layer that reads, beside its input, what it put out at the step before.

    Parameters
    ----------
    body : Layer
        Takes (N, T, I + output_size) and gives (N, T, output_size), batch first, forwards only, with a state or
        without: a `Sequential` of a recurrent layer and a `Dense` for one.
    output_size : int
        Features of the output.
    feedback : {"output", "softmax", "choice"}, default "output"
        What of the output comes back. "output": the numbers themselves; targets are numbers (N, T, output_size).
        "softmax": the probabilities that they are logarithms of; "choice": 1 at the largest and 0 elsewhere. In these
        two, targets are class indices (N, T), which are fed as 1 at the class and 0 elsewhere. Gradients go back
        through "output" and "softmax"; a choice has none.

    Raises
    ------
    TypeError, ValueError
        If the body is no layer, takes away the time axis, reads backwards or is not batch first.

    Notes
    -----
    The state is a pair: what is fed next, (1, N, output_size), and the body's state. Where every step is fed its
    target, all steps are done at once, at the speed of the body; else one by one, which costs some microseconds for
    each layer and step beside its work.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import LSTM, Dense, OutputFeedback, Sequential
    >>> layer = OutputFeedback(Sequential(LSTM(3 + 2, 8, seed=0), Dense(8, 2, seed=1)), 2)
    >>> y, (fed, _) = layer(np.zeros((4, 7, 3)))
    >>> y.shape, bool((fed[0] == y[:, -1]).all())
    ((4, 7, 2), True)
    """

    stateful: ClassVar[bool] = True

    def __init__(self, body: Layer, output_size: int, feedback: str = "output") -> None:
        if not isinstance(body, Layer):
            raise TypeError(f"body must be a Layer; got {kind_of(body)}")
        if body.pools:
            raise ValueError(f"body must keep the time axis; got {body!r}")
        for part in _parts(body):
            if getattr(part, "bidirectional", False) or not getattr(part, "batch_first", True):
                raise ValueError(f"body must read forwards and be batch first; got {part!r}")
        self.body: Any = body
        self.output_size = check_size("output_size", output_size)
        self.feedback = check_choice("feedback", feedback, FEEDBACKS)
        dtypes = {param.dtype for param in body.parameters().values()}
        self.dtype = dtypes.pop() if len(dtypes) == 1 else np.dtype(np.float32)
        super().__init__()

    @property
    def takes_target(self) -> bool:
        """True: in training the target may be fed instead of the output."""
        return True

    def children(self) -> dict[str, Layer]:
        """Return the body."""
        return {"body": self.body}

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the body apart."""
        return {"output_size": self.output_size, "feedback": self.feedback}

    def __repr__(self) -> str:
        return f"OutputFeedback({self.body!r}, output_size={self.output_size}, feedback={self.feedback!r})"

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None) -> Any:
        """Return ``(y, state)``, fed with its own outputs, without saving anything for a backward pass."""
        x, fed, inner, valid = self._checked(x, state, lengths)
        batch, steps, _ = x.shape
        y = np.zeros((batch, steps, self.output_size), self.dtype)
        for t in range(steps):
            part, live = self._input(x, fed, t), _live(valid, t)
            if self.body.stateful:
                out, inner = self.body(part, inner, lengths=live)
            else:
                out = self.body(part, lengths=live)
            out = self._output(out, (batch, 1))[:, 0]
            fed = _choose(live, self._feed(out), fed)
            y[:, t] = _choose(live, out, 0)
        return y, (fed[None], inner)

    def forward(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        rng: np.random.Generator | None = None,
        target: Any = None,
        teacher: float = 1.0,
    ) -> tuple[Any, Pullback]:
        """Return ``((y, state), pullback)``.

        Parameters
        ----------
        x : array_like (N, T, I)
            N sequences of T steps.
        state : tuple or None
            What is fed to the first step, (1, N, output_size), and the body's state; either may be None for zeros.
        lengths : array_like (N,) of int, optional
            Valid steps of each sequence, 0..T in any order; None: all T.
        rng : numpy.random.Generator, optional
            For the coins, and for dropout; fresh entropy if None.
        target : array_like (N, T, output_size), or (N, T) of int, optional
            What should come out, fed to the step after instead of what did; `Trainer` gives it. None: it is never
            fed, whatever the teacher's share.
        teacher : float, default 1.0
            The teacher's share: the chance, for each sequence and step for itself, to be fed the target.

        Returns
        -------
        y : ndarray (N, T, output_size)
            Zeros past a sequence's length.
        state : tuple
            What the step after the last valid one is to be fed, and the body's state.
        pullback : callable
            ``dx = pullback(dy, grads)`` or ``dx, dstate = pullback(dy, grads, dstate=dstate)``; see `Layer`. Either
            gradient, and either of the state's pair, may be None for zero.

        Raises
        ------
        TypeError, ValueError, IndexError
            If an argument does not fit, or the body's output.
        """
        check_generator(rng)
        share = check_number("teacher", teacher, 0, 1)
        x, fed, inner, valid = self._checked(x, state, lengths)
        goal = None if target is None else self._goal(target, x.shape[:2], valid)
        rng = np.random.default_rng() if rng is None else rng
        if goal is not None and share == 1.0 and x.shape[1]:
            return self._at_once(x, fed, inner, valid, goal, rng)
        return self._by_steps(x, fed, inner, valid, goal, share, rng)

    def _at_once(self, x: Any, fed: Any, inner: Any, valid: Any, goal: FloatArray, rng: Any) -> tuple[Any, Pullback]:
        """Do all steps in one call of the body, every one fed the target of the step before."""
        batch, steps, inputs = x.shape
        before = np.concatenate([fed[:, None], goal[:, :-1]], axis=1)
        both = np.concatenate([x, before], axis=2)
        out, inner, pullback = self._forward(both, inner, valid, rng)
        y = self._output(out, (batch, steps))
        ends = np.full(batch, steps) if valid is None else valid
        final = np.where(ends[:, None] > 0, goal[np.arange(batch), np.maximum(ends, 1) - 1], fed)
        within = None if valid is None else (np.arange(steps) < valid[:, None])[:, :, None]
        if within is not None:
            y = np.where(within, y, 0).astype(self.dtype)

        def backward(dy: Any, grads: Gradients, dstate: Any = None) -> Any:
            dy, dfed, dinner = self._gradients(dy, dstate, y.shape, inner)
            if within is not None:
                dy = np.where(within, dy, 0)
            dboth, dinner = pullback(dy, _below(grads), dinner, grads)
            dx = dboth[:, :, :inputs]
            if dstate is None:
                return dx
            # What the first step is fed is the given one's; it comes out again where there is no step.
            dfirst = dboth[:, 0, inputs:] + np.where(ends[:, None] > 0, 0, dfed)
            return dx, (dfirst[None].astype(self.dtype), dinner)

        return (y, (final[None].astype(self.dtype), inner)), backward

    def _by_steps(
        self, x: Any, fed: Any, inner: Any, valid: Any, goal: FloatArray | None, share: float, rng: Any
    ) -> tuple[Any, Pullback]:
        """Do step after step, each fed by the toss of a coin."""
        batch, steps, inputs = x.shape
        taught = np.zeros((steps, batch), bool)
        if goal is not None and share:
            taught = rng.random((steps, batch)) < share
        y = np.zeros((batch, steps, self.output_size), self.dtype)
        records: list[tuple[Any, Any, FloatArray]] = []
        for t in range(steps):
            live = _live(valid, t)
            out, inner, pullback = self._forward(self._input(x, fed, t), inner, live, rng)
            out = self._output(out, (batch, 1))[:, 0]
            own = self._feed(out)
            if goal is not None and share:
                fed = _choose(live, np.where(taught[t][:, None], goal[:, t], own), fed)
            else:
                fed = _choose(live, own, fed)
            y[:, t] = _choose(live, out, 0)
            records.append((live, pullback, own))
        final, used = inner, False

        def backward(dy: Any, grads: Gradients, dstate: Any = None) -> Any:
            nonlocal used
            if used:
                raise called_before()
            dy, dfed, dinner = self._gradients(dy, dstate, y.shape, final)
            below = _below(grads)
            used = True
            dx = np.zeros((batch, steps, inputs), self.dtype)
            for t in reversed(range(steps)):
                live, pullback, own = records.pop()
                dout = dy[:, t] + np.where(taught[t][:, None], 0, self._back(dfed, own))
                dout = _choose(live, dout, 0)
                dboth, dinner = pullback(dout[:, None].astype(self.dtype), below, dinner, grads)
                dx[:, t] = dboth[:, 0, :inputs]
                # A row that has ended keeps what it is fed, and so its gradient.
                dfed = _choose(live, dboth[:, 0, inputs:], dfed)
            return dx if dstate is None else (dx, (dfed[None].astype(self.dtype), dinner))

        return (y, (fed[None].astype(self.dtype), inner)), backward

    def _forward(self, both: FloatArray, inner: Any, lengths: Any, rng: Any) -> tuple[Any, Any, Any]:
        """Return the body's output, its state and ``pullback(dy, below, dinner, grads)`` -> (dx, dinner)."""
        body = self.body
        if body.stateful:
            (out, after), found = body.forward(both, inner, lengths=lengths, rng=rng)
        else:
            (out, found), after = body.forward(both, lengths=lengths, rng=rng), None

        def pullback(dy: Any, below: Gradients, dinner: Any, grads: Gradients) -> tuple[Any, Any]:
            if body.stateful:
                dx, dinner = found(dy, below, dstate=dinner)
            else:
                dx = found(dy, below)
            grads.update({f"body.{name}": array for name, array in below.items()})
            return dx, dinner

        return out, after, pullback

    def _gradients(self, dy: Any, dstate: Any, shape: tuple[int, ...], final: Any) -> tuple[Any, Any, Any]:
        """Return dy, the gradient of what is fed last and that of the body's state, zeros for None."""
        dy = np.zeros(shape, self.dtype) if dy is None else check_real("dy", dy, self.dtype, shape)
        dfed, dinner = (None, None) if dstate is None else _pair("dstate", dstate)
        if dfed is None:
            dfed = np.zeros((shape[0], self.output_size), self.dtype)
        else:
            dfed = check_real("dstate[0]", dfed, self.dtype, (1, shape[0], self.output_size))[0]
        return dy, dfed, zeros_like(final) if dinner is None else dinner

    def _checked(self, x: Any, state: Any, lengths: Any) -> tuple[FloatArray, FloatArray, Any, Any]:
        """Return x, what is fed first (N, O), the body's state and the lengths, or raise."""
        x = check_real("x", x, self.dtype, ("N", "T", "C"))
        valid = check_lengths(lengths, *x.shape[:2])
        fed, inner = (None, None) if state is None else _pair("state", state)
        if fed is None:
            return x, np.zeros((len(x), self.output_size), self.dtype), inner, valid
        return x, check_real("state[0]", fed, self.dtype, (1, len(x), self.output_size))[0], inner, valid

    def _goal(self, target: Any, shape: tuple[int, ...], valid: Any) -> FloatArray:
        """Return the targets as they are fed, (N, T, O), zeros past a length."""
        within = True if valid is None else np.arange(shape[1]) < valid[:, None]
        if self.feedback == "output":
            found = check_real("target", target, self.dtype, (*shape, self.output_size))
            return found if valid is None else np.where(within[..., None], found, 0)  # type: ignore[index]
        found = as_array("target", target)
        if found.shape != shape:
            raise ValueError(f"target must have shape {shape}, a class for each step; got {found.shape}")
        classes = check_indices("target", np.where(within, found, 0), self.output_size)
        goal = np.zeros((*shape, self.output_size), self.dtype)
        np.put_along_axis(goal, classes[..., None], 1, axis=2)
        return goal

    def _input(self, x: FloatArray, fed: FloatArray, t: int) -> FloatArray:
        return np.concatenate([x[:, t], fed], axis=1)[:, None]

    def _output(self, out: FloatArray, leading: tuple[int, int]) -> FloatArray:
        if out.shape != (*leading, self.output_size):
            raise ValueError(f"body must give output_size={self.output_size} features a step; got shape {out.shape}")
        return out

    def _feed(self, out: FloatArray) -> FloatArray:
        """Return what comes back of an output (N, O)."""
        if self.feedback == "output":
            return out
        if self.feedback == "choice":
            found = np.zeros_like(out)
            found[np.arange(len(out)), out.argmax(axis=1)] = 1
            return found
        powers = np.exp(out - out.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]

    def _back(self, dfed: FloatArray, own: FloatArray) -> Any:
        """Return the gradient of an output from that of what came back of it, ``own``."""
        if self.feedback == "output":
            return dfed
        if self.feedback == "choice":
            return np.zeros_like(dfed)
        return own * (dfed - (dfed * own).sum(axis=1, keepdims=True))


class Jordan(OutputFeedback):
    """Jordan's network: ``h_t = f(W x_t + U y_{t-1} + b)`` and ``y_t = g(V h_t + c)``.

    The hidden units see the last output instead of, as in Elman's network, their own last values.

    Parameters
    ----------
    input_size : int
        Features of each step of x.
    hidden_size : int
        Hidden units.
    output_size : int
        Features of the output.
    nonlinearity : {"tanh", "relu", "sigmoid"}, default "tanh"
        f.
    activation : {"tanh", "relu", "sigmoid"} or None, default None
        g; None: the identity.
    feedback : {"output", "softmax", "choice"}, default "output"
        See `OutputFeedback`, for the state and for training too.
    bias : bool, default True
        Whether there are b and c.
    dtype : dtype, default float32
        float32 or float64.
    seed : int, numpy.random.Generator or None, default None
        For the initial parameters; None: fresh entropy.

    Notes
    -----
    ``body.0.weight`` is W and U side by side, (hidden_size, input_size + output_size); ``body.0.bias`` b,
    ``body.1.weight`` V and ``body.1.bias`` c.

    References
    ----------
    Jordan (1986), Attractor dynamics and parallelism in a connectionist sequential machine.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import Jordan
    >>> y, state = Jordan(3, 8, 2, seed=0)(np.zeros((4, 7, 3)))
    >>> y.shape
    (4, 7, 2)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        nonlinearity: str = "tanh",
        activation: str | None = None,
        feedback: str = "output",
        bias: bool = True,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
    ) -> None:
        self.input_size = check_size("input_size", input_size)
        self.hidden_size = check_size("hidden_size", hidden_size)
        outputs = check_size("output_size", output_size)
        self.nonlinearity = check_choice("nonlinearity", nonlinearity, ACTIVATIONS)
        self.activation = activation
        self.bias = bias
        rng, dtype = check_seed(seed), check_dtype(dtype)
        body = Sequential(
            Dense(self.input_size + outputs, self.hidden_size, bias, self.nonlinearity, dtype=dtype, seed=rng),
            Dense(self.hidden_size, outputs, bias, activation, dtype=dtype, seed=rng),
        )
        super().__init__(body, outputs, feedback)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "output_size": self.output_size,
            "nonlinearity": self.nonlinearity,
            "activation": self.activation,
            "feedback": self.feedback,
            "bias": self.bias,
            "dtype": self.dtype.name,
        }

    def __repr__(self) -> str:
        return Layer.__repr__(self)


def _parts(layer: Layer) -> list[Layer]:
    return [layer, *(part for child in layer.children().values() for part in _parts(child))]


def _pair(argument: str, state: Any) -> tuple[Any, Any]:
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise TypeError(f"{argument} must be a pair, what is fed and the body's own; got {type(state).__name__}")
    return state[0], state[1]


def _live(valid: NDArray[np.int64] | None, t: int) -> NDArray[np.int64] | None:
    """Return 1 for each row that is valid at step t and 0 for the others, or None where all are."""
    return None if valid is None else (valid > t).astype(np.int64)


def _choose(live: NDArray[np.int64] | None, new: Any, old: Any) -> Any:
    return new if live is None else np.where(live[:, None] > 0, new, old)


def _below(grads: Gradients) -> Gradients:
    """Return the body's part of a gradient store, by its own names."""
    return {name.removeprefix("body."): array for name, array in grads.items() if name.startswith("body.")}
