"""What recurrent layers share: parameters by torch's names, checks, forward passes, stacked and in both directions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np

from rnnfast import engine
from rnnfast.cells import PLAIN, CellSpec
from rnnfast.checks import (
    FloatArray,
    check_choice,
    check_dtype,
    check_flag,
    check_generator,
    check_lengths,
    check_number,
    check_real,
    check_seed,
    check_size,
)
from rnnfast.direct import Direct
from rnnfast.elsewhere import no_attribute
from rnnfast.initializers import chrono, orthogonal, uniform, xavier_uniform
from rnnfast.layers.base import Gradients, Layer, Pullback
from rnnfast.layers.explain import Explanation, explain
from rnnfast.layers.recurrent.pullback import RecurrentPullback
from rnnfast.reference.options import Noise
from rnnfast.rows import Lookup
from rnnfast.scans import ScanSpec
from rnnfast.threads import get_num_threads, limit_threads

# What a kind of weight is called in the names of parameters.
KINDS = {
    "w_ih": "weight_ih",
    "w_hh": "weight_hh",
    "b_ih": "bias_ih",
    "b_hh": "bias_hh",
    "w_hr": "weight_hr",
    "w_peephole": "weight_peephole",
    "gain_ih": "gain_ih",
    "gain_hh": "gain_hh",
    "gain_ch": "gain_ch",
    "b_ch": "bias_ch",
}

# Attributes that calls do not look at anew each time; any other may be set without weights being packed again.
_SETTLED = ("batch_first", "cell", "params", "_names")

Class = TypeVar("Class", bound=type)

# What the docstring of a subclass has where it says {sizes} and {rest}.
_SIZES = """input_size : int
        Features of each step of x.
    hidden_size : int
        Units of each direction of each layer.
    num_layers : int, default 1
        Layers on top of each other; each reads the outputs of the one below."""
_REST = """bias : bool, default True
        Whether there are b_ih and b_hh.
    batch_first : bool, default True
        Whether x and y are (N, T, C); else (T, N, C). The state is (layers * directions, N, hidden_size) either way.
    dropout : float, default 0.0
        Chance, 0 or more and less than 1, of each activation between two layers to be dropped by ``forward``. Calling
        the layer drops nothing.
    bidirectional : bool, default False
        Whether a second direction runs from the last valid step to the first; y then has both side by side.
    dtype : dtype, default float32
        float32 or float64.
    seed : int, numpy.random.Generator or None, default None
        For the initial parameters; None: fresh entropy."""


def documented(cls: Class) -> Class:
    """Complete the docstring of a recurrent layer with the parameters that all of them have."""
    if cls.__doc__ is not None:  # there is none under python -OO
        cls.__doc__ = cls.__doc__.replace("{sizes}", _SIZES).replace("{rest}", _REST)
    return cls


class Recurrent(Layer):
    """What recurrent layers share; see `RNN`, `LSTM` and `GRU`.

    Attributes
    ----------
    cell : CellSpec
        The entry of ``rnnfast.cells.CELLS``.
    dtype : numpy.dtype
        float32 or float64.
    state_sizes : tuple of int
        The width of each state; the first is that of a direction's output.
    """

    stateful: ClassVar[bool] = True
    cell: CellSpec | ScanSpec

    def __init__(
        self,
        cell: CellSpec | ScanSpec,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        dtype: Any,
        seed: Any,
        init: str,
        chrono_steps: int | None = None,
    ) -> None:
        self.cell = cell
        self.input_size = check_size("input_size", input_size)
        self.hidden_size = check_size("hidden_size", hidden_size)
        self.num_layers = check_size("num_layers", num_layers)
        self.bias = check_flag("bias", bias)
        self.batch_first = check_flag("batch_first", batch_first)
        self.dropout = check_number("dropout", dropout, 0.0, 1.0, below=True)
        if self.dropout and self.num_layers == 1:
            raise ValueError(f"dropout acts between layers and needs num_layers of at least 2; got dropout={dropout}")
        self.bidirectional = check_flag("bidirectional", bidirectional)
        self.dtype = check_dtype(dtype)
        self.init = check_choice("init", init, ("default", "torch"))
        self.chrono = None if chrono_steps is None else check_size("chrono", chrono_steps, 3)
        if self.chrono is not None and not self.bias:
            raise ValueError(f"chrono draws biases and needs bias=True; got chrono={self.chrono} with bias=False")
        self.state_sizes = (cell.width(self.hidden_size), self.hidden_size)[: len(cell.states)]
        self._directions = 2 if bidirectional else 1
        # layers without a recurrent product settle their names with their parameters
        kinds = cell.shapes(self.input_size, self.hidden_size, self.bias) if isinstance(cell, CellSpec) else {}
        self._names = [  # by layer and direction
            {kind: f"{KINDS[kind]}_l{layer}{suffix}" for kind in kinds}
            for layer in range(self.num_layers)
            for suffix in ("", "_reverse")[: self._directions]
        ]
        self._direct: Direct | None = None  # none, or of a version of the parameters
        super().__init__(self._initial(check_seed(seed)))

    def _initial(self, rng: np.random.Generator) -> Gradients:
        """Return new parameters by torch's names, in torch's order."""
        assert isinstance(self.cell, CellSpec)
        bound = 1.0 / math.sqrt(self.hidden_size)
        arrays: Gradients = {}
        for k, names in enumerate(self._names):
            inputs = self.input_size if k < self._directions else self._directions * self.state_sizes[0]
            shapes = self.cell.shapes(inputs, self.hidden_size, self.bias)
            for kind, name in names.items():
                shape = shapes[kind]
                if kind.startswith("gain"):
                    arrays[name] = np.ones(shape, self.dtype)
                elif self.init == "torch":
                    arrays[name] = uniform(shape, rng, self.dtype, -bound, bound)
                elif kind in ("w_ih", "w_hr"):
                    gates = self.cell.gates if kind == "w_ih" else 1
                    arrays[name] = xavier_uniform(shape, rng, self.dtype, gates=gates)
                elif kind == "w_hh":
                    arrays[name] = orthogonal(shape, rng, self.dtype, gates=self.cell.gates)
                else:
                    arrays[name] = np.zeros(shape, self.dtype)
                    if kind == "b_ih" and self.cell.forget:
                        arrays[name][self._rows_of(self.cell.forget)] = 1.0
            if self.chrono is not None:
                drawn = chrono((self.hidden_size,), rng, self.dtype, t_max=self.chrono)
                for gate, sign in self.cell.memory:
                    arrays[names["b_ih"]][self._rows_of(gate)] = sign * drawn
                    arrays[names["b_hh"]][self._rows_of(gate)] = 0.0
        return arrays

    def _rows_of(self, gate: str) -> slice:
        """Return the rows of a gate in weights and biases."""
        first = self.cell.order.index(gate) * self.hidden_size
        return slice(first, first + self.hidden_size)

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None) -> Any:
        """Return ``(y, state)`` without saving anything for a backward pass; arguments as in `forward`."""
        direct = self._direct
        if direct is None or direct.version != direct.params.version:
            direct = self._settle()
        found = direct.infer(x, state, lengths)
        if found is not None:
            return found
        x, initial, valid = self._checked(x, state, lengths)
        y, final, _ = engine.forward(self.cell, self._packed(), x, initial, valid, False, not self.batch_first)
        return (y if self.batch_first else y.transpose(1, 0, 2)), (final if len(final) > 1 else final[0])

    def forward(
        self, x: Any, state: Any = None, *, lengths: Any = None, rng: np.random.Generator | None = None
    ) -> tuple[Any, Pullback]:
        """Return ``((y, state), pullback)``.

        Parameters
        ----------
        x : array_like (N, T, input_size), or (T, N, input_size) unless ``batch_first``
            N sequences of T steps. Must not be changed before the pullback is called.
        state : array_like (layers * directions, N, hidden_size), a pair of them for LSTM, or None
            The initial state; None: zeros. With a projection h is (layers * directions, N, proj_size).
        lengths : array_like (N,) of int, optional
            Valid steps of each sequence, 0..T in any order; None: all T.
        rng : numpy.random.Generator, optional
            Source of the seeds for dropout and all else that is random; fresh entropy if None.

        Returns
        -------
        y : ndarray (N, T, directions * hidden_size), or (T, N, directions * hidden_size)
            Output of the last layer, forward direction first, zeros past a sequence's length. With a projection it
            has proj_size features for each direction. It cannot be written to: the pullback reads it.
        state : as the argument
            The state after each sequence's last valid step (for the reverse direction, after its first).
        pullback : callable
            ``dx = pullback(dy, grads)`` or ``dx, dstate = pullback(dy, grads, dstate=dstate)``; see `Layer`. Either
            gradient may be None for zero, and so may one of LSTM's pair. The parameters must not have changed since.

        Raises
        ------
        TypeError
            If an argument is not of a kind that can be read as such.
        ValueError
            If a shape or a length does not fit.
        """
        if rng is not None:
            check_generator(rng)
        direct = self._direct
        if direct is None or direct.version != direct.params.version:
            direct = self._settle()
        found = direct.forward(x, state, lengths)
        if found is not None:
            return found[0], RecurrentPullback(self, direct, found[1], True)
        x, initial, valid = self._checked(x, state, lengths)
        seeds: list[int] = []
        noise: list[Noise] = []
        if self.dropout or self.cell.options.random:
            rng = np.random.default_rng() if rng is None else rng
            seeds = _seeds(rng, self.num_layers - 1 if self.dropout else 0)
            if self.cell.options.random:
                noise = [Noise(*_seeds(rng, len(Noise._fields))) for _ in self._names]
        weights = self._drawn(rng)
        y, final, saved = engine.forward(
            self.cell, weights, x, initial, valid, True, not self.batch_first, self.dropout, seeds, noise
        )
        y = y if self.batch_first else y.transpose(1, 0, 2)
        return (y, final if len(final) > 1 else final[0]), RecurrentPullback(self, direct, saved, False)

    def explain(
        self,
        batch: int = 1,
        steps: int = 1,
        *,
        lengths: Any = None,
        training: bool = False,
        threads: int | None = None,
    ) -> Explanation:
        """Return how the layer would run a batch and why; ``print`` shows it as a table.

        Parameters
        ----------
        batch : int, default 1
            N, the sequences.
        steps : int, default 1
            T.
        lengths : array_like (N,) of int, optional
            Valid steps of each sequence.
        training : bool, default False
            Whether gradients follow.
        threads : int, optional
            How many it may use; None: what `get_num_threads` says here and now.

        Returns
        -------
        Explanation

        Raises
        ------
        TypeError, ValueError
            If an argument is not of its kind.

        Notes
        -----
        The first call in a process for an instruction set and dtype measures what the machine can do, for the estimated
        limit; that takes less than 100 ms.

        Examples
        --------
        >>> from rnnfast.layers.recurrent import LSTM
        >>> plan = LSTM(64, 64).explain().layers[0]
        >>> plan.threads, plan.shared, plan.reason
        (1, 'one thread', 'too little work for two threads')
        """
        batch, steps = check_size("batch", batch, 0), check_size("steps", steps, 0)
        valid = check_lengths(lengths, batch, steps)
        check_flag("training", training)
        with limit_threads(get_num_threads() if threads is None else check_size("threads", threads)):
            return explain(self, self._packed(), batch, steps, valid, bool(training))

    def _checked(self, x: Any, state: Any, lengths: Any) -> tuple[FloatArray | Lookup, engine.States, Any]:
        """Return x (N, T, I), the initial state as a tuple and the lengths, or raise."""
        if isinstance(x, Lookup):
            if x.table.dtype == self.dtype and x.table.shape[1] == self.input_size:
                batch, steps = x.indices.shape if self.batch_first else x.indices.shape[::-1]
                found = x if self.batch_first else Lookup(x.table, x.indices.T)
                return (found, *self._checked_rest(state, lengths, batch, steps))
            x = x.table[x.indices]
        if type(x) is not np.ndarray or x.dtype != self.dtype or x.ndim != 3 or x.shape[2] != self.input_size:
            x = check_real(
                "x", x, self.dtype, ("N", "T", self.input_size) if self.batch_first else ("T", "N", self.input_size)
            )
        if not self.batch_first:
            x = x.transpose(1, 0, 2)
        batch, steps, _ = x.shape
        return (x, *self._checked_rest(state, lengths, batch, steps))

    def _checked_rest(self, state: Any, lengths: Any, batch: int, steps: int) -> tuple[engine.States, Any]:
        """Return the initial state as a tuple and the lengths, or raise."""
        if lengths is not None:
            lengths = check_lengths(lengths, batch, steps)
        shapes = self._state_shapes(batch)
        if state is None:
            zero = np.zeros(shapes[0], self.dtype)
            return tuple([zero if shape == shapes[0] else np.zeros(shape, self.dtype) for shape in shapes]), lengths
        count = len(self.cell.states)
        parts = state if count > 1 else (state,)
        if type(parts) is tuple and len(parts) == count:  # arrays that fit as they are need no more
            for part, shape in zip(parts, shapes, strict=True):
                if type(part) is not np.ndarray or part.dtype != self.dtype or part.shape != shape:
                    break
            else:
                return parts, lengths
        given = zip(self._parts("state", state), shapes, strict=True)
        return tuple(check_real(name, part, self.dtype, shape) for (name, part), shape in given), lengths

    def _state_shapes(self, batch: int) -> list[tuple[int, ...]]:
        """Return the shape of each state of a batch."""
        return [(len(self._names), batch, size) for size in self.state_sizes]

    def _parts(self, argument: str, state: Any) -> list[tuple[str, Any]]:
        """Return each array of ``state`` with what to call it, or raise."""
        names = self.cell.states
        if len(names) == 1:
            if isinstance(state, tuple):
                raise TypeError(f"{argument} must be one array, {names[0]}; got a tuple of {len(state)}")
            return [(argument, state)]
        if not isinstance(state, (tuple, list)) or len(state) != len(names):
            got = f"{len(state)} of them" if isinstance(state, (tuple, list)) else type(state).__name__
            raise TypeError(f"{argument} must be a tuple of {len(names)} arrays ({', '.join(names)}); got {got}")
        return [(f"{argument}[{k}] ({name})", part) for k, (name, part) in enumerate(zip(names, state, strict=True))]

    def _packed(self) -> list[list[engine.Weights]]:
        """Return the weights by layer and direction; they, and packed copies in them, live while the version does."""
        direct = self._direct
        if direct is None or direct.version != direct.params.version:
            direct = self._settle()
        return direct.weights

    def _settle(self) -> Direct:
        """Return what calls go by from now on, until the parameters or an attribute of `_SETTLED` change."""
        version = self.params.version
        flat = self._arrays()
        weights = [flat[k : k + self._directions] for k in range(0, len(flat), self._directions)]
        direct = Direct(self.cell, self.params, version, weights, self._names, self.batch_first)
        self._direct = direct
        return direct

    def _arrays(self) -> list[engine.Weights]:
        """Return the weights of all directions of all layers."""
        none = dict.fromkeys(("b_ih", "b_hh"))
        return [
            engine.Weights(**none | {kind: self.params[name] for kind, name in names.items()}) for names in self._names
        ]

    def _drawn(self, rng: np.random.Generator | None) -> list[list[engine.Weights]]:
        """Return the weights for one forward pass in training."""
        return self._packed()

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "bias": self.bias,
            "batch_first": self.batch_first,
            "dropout": self.dropout,
            "bidirectional": self.bidirectional,
            "dtype": self.dtype.name,
            "init": self.init,
            **self._options_in_use(),
        }

    def _options_in_use(self) -> dict[str, Any]:
        """Return the options that differ from none, as JSON values."""
        found: dict[str, Any] = {
            name: value for name, value in self.cell.options._asdict().items() if value != getattr(PLAIN, name)
        }
        if "zoneout" in found:
            found["zoneout"] = list(found["zoneout"]) if len(self.cell.states) > 1 else found["zoneout"][0]
        if self.chrono is not None:
            found["chrono"] = self.chrono
        return found

    def __getattr__(self, name: str) -> FloatArray:
        params = self.__dict__.get("params", {})
        if name in params:
            return params[name]  # type: ignore[no-any-return]
        raise no_attribute(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        params = self.__dict__.get("params", {})
        if name in params:
            params.assign({name: value})
        else:
            if name in _SETTLED:
                self.__dict__["_direct"] = None
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.params]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_direct": None}


def _seeds(rng: np.random.Generator, count: int) -> list[int]:
    """Return that many seeds."""
    return [int(rng.integers(2**64, dtype=np.uint64)) for _ in range(count)]


def check_rates(name: str, value: Any, states: Sequence[str]) -> tuple[float, ...]:
    """Return a rate for each state, all at least 0 and less than 1, or () where all are 0; one number is for all.

    Raises
    ------
    TypeError
        If it is neither a number nor as many numbers as there are states.
    ValueError
        If a rate is out of range.
    """
    if isinstance(value, (tuple, list)) and len(states) > 1:
        if len(value) != len(states):
            raise TypeError(f"{name} must be a number or {len(states)} of them ({', '.join(states)}); got {value!r}")
        parts = [(f"{name}[{k}] ({states[k]})", part) for k, part in enumerate(value)]
    else:
        parts = [(name, value)] * len(states)
    rates = tuple(check_number(what, part, 0.0, 1.0, below=True) for what, part in parts)
    return rates if any(rates) else ()
