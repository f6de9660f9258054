"""A model fed one time step at a time, its state kept between calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast._native.stream import Steps
from rnnfast.backend import get_backend
from rnnfast.checks import FloatArray, as_array, check_indices, check_real, check_size
from rnnfast.layers.base import Layer
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.recurrent import Recurrent
from rnnfast.layers.scan import Scan
from rnnfast.layers.sequential import Sequential


class Stream(Steps):
    """N streams of time steps through one model, for serving and for generating.

    A step gives the bits that a call over the whole sequence would give, costs little besides its arithmetic, and
    with ``out`` given allocates nothing. Not every row need take part: a server gives each of its sessions a row, and
    whichever have something to say take their step together, ``stream.step(x, rows=[...])``.

    Parameters
    ----------
    model : Recurrent or Sequential
        A recurrent layer, or a `Sequential` with at least one, of recurrent layers in one direction, `Dense`,
        `Dropout` (which does nothing here) and an `Embedding` in first place; all of one dtype. It is not copied: a
        step uses the parameters as they are then.
    batch : int, default 1
        N: how many streams go through the model side by side.

    Attributes
    ----------
    model : Layer
        The model.
    batch : int
        N.
    dtype : numpy.dtype
        That of the model, and of what goes in and comes out.
    state
        The state as the model's own calls take and return it, copied; shapes are torch's. May be set: to what a
        call of the model has returned, or to None for zeros.

    Raises
    ------
    TypeError
        If the model, or a layer in it, is of another kind.
    ValueError
        If a layer runs in both directions, the layers do not fit each other, or ``batch`` is below 1.

    Notes
    -----
    A stream belongs to one thread at a time. Any number of streams may share a model, each in a thread of its own.
    Under ``use_backend("reference")`` a step calls the layers, one by one, with the stream's state.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import LSTM, Stream
    >>> lstm = LSTM(3, 8, seed=0)
    >>> stream = Stream(lstm, batch=2)
    >>> x = np.ones((2, 5, 3), np.float32)
    >>> y, state = lstm(x)
    >>> steps = [stream.step(x[:, t]) for t in range(5)]
    >>> bool((steps[4] == y[:, 4]).all()), bool((stream.state[0] == state[0]).all())
    (True, True)
    >>> stream.reset(rows=[1])
    >>> bool(stream.state[0][0, 1].any())
    False
    >>> alone = stream.step(x[:1, 0], rows=[1])  # row 0 stays as it is
    >>> bool((alone[0] == y[1, 0]).all()), bool((stream.get_state([0])[0] == state[0][:, :1]).all())
    (True, True)
    """

    def __init__(self, model: Layer, batch: int = 1) -> None:
        self.model = model
        self._flat = list(_flattened(model))
        self._recurrent = [layer for layer in self._flat if isinstance(layer, Recurrent)]
        if not self._recurrent:
            raise TypeError(f"model must have a recurrent layer, whose state a stream keeps; got {model!r}")
        self._indices = isinstance(self._flat[0], Embedding)
        self._inputs = 0 if self._indices else _sizes(self._flat[0])[0]
        self._outputs = _sizes(self._flat[-1])[1]
        super().__init__(check_size("batch", batch), self._recurrent[0].dtype, [layer.params for layer in self._flat])
        self._refresh()

    def __repr__(self) -> str:
        return f"Stream({self.model!r}, batch={self.batch})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self.model, self.batch, self.state)

    def reset(self, rows: Any = None) -> None:
        """Set the state to zeros.

        Parameters
        ----------
        rows : int, array_like of int or array_like (N,) of bool, optional
            Which streams begin anew; None: all.

        Raises
        ------
        TypeError
            If the rows are neither integers nor truth values.
        ValueError
            If truth values are not N, or integers not a list.
        IndexError
            If a row is not within 0..N-1.
        """
        self._clear(self._chosen(rows))

    def get_state(self, rows: Any = None) -> Any:
        """Return the state of some rows, copied.

        Parameters
        ----------
        rows : int, array_like of int or array_like (N,) of bool, optional
            Which; None: all.

        Returns
        -------
        state
            As the model's own calls return it for a batch of these rows, in their order.

        Raises
        ------
        TypeError, ValueError, IndexError
            As `reset`.
        """
        chosen = self._chosen(rows)
        self._refresh()
        return _gather(self.model, iter(self._states(chosen)))

    def set_state(self, state: Any, rows: Any = None) -> None:
        """Set the state of some rows; that of the others stays.

        Parameters
        ----------
        state
            What `get_state` or a call of the model has returned for a batch of as many rows; None: zeros.
        rows : int, array_like of int or array_like (N,) of bool, optional
            Which, in the order of the state; None: all.

        Raises
        ------
        TypeError
            If it has another form than the model's state, or the rows are neither integers nor truth values.
        ValueError
            If a shape does not fit, or a row is given twice.
        IndexError
            If a row is not within 0..N-1.
        """
        chosen = self._distinct(rows)
        parts = list(_scatter(self.model, "state", state, len(chosen)))
        self._refresh()
        self._set_states(parts, chosen)

    @property
    def state(self) -> Any:
        """The state as the model takes and returns it, copied."""
        return self.get_state()

    @state.setter
    def state(self, value: Any) -> None:
        self.set_state(value)

    def _chosen(self, rows: Any) -> NDArray[np.intp]:
        """Return the numbers of the rows meant, in the order given."""
        if rows is None:
            return self.everyone
        chosen = np.atleast_1d(as_array("rows", rows))
        if chosen.dtype == np.bool_:
            if chosen.shape != (self.batch,):
                raise ValueError(f"rows must have shape ({self.batch},) where it is bool; got {chosen.shape}")
            chosen = np.flatnonzero(chosen)
        return np.ascontiguousarray(check_indices("rows", chosen, self.batch, 1), np.intp)

    def _distinct(self, rows: Any) -> NDArray[np.intp]:
        """Return the same, or raise if a row is given twice."""
        chosen = self._chosen(rows)
        found, times = np.unique(chosen, return_counts=True)
        if (times > 1).any():
            raise ValueError(f"rows must be different ones; got {found[times > 1][0]} more than once")
        return chosen

    def _layers(self) -> list[tuple[Any, ...]]:
        """Return what `Steps` makes its stages of; layers that share a store of parameters share packed weights."""
        stages: list[tuple[Any, ...]] = []
        for layer in self._flat:
            if isinstance(layer, Embedding):
                stages.append(("embedding", layer.params["weight"]))
            elif isinstance(layer, Dense):
                params = layer.params
                stages.append(("dense", params["weight"], params.get("bias"), layer._packed(), layer.activation))
            elif isinstance(layer, Scan):
                past = layer._state_shapes(self.batch)[1:]
                stages += [("scan", weights, past[0][1:] if past else None) for (weights,) in layer._packed()]
            elif isinstance(layer, Recurrent):
                stages += [("recurrent", layer.cell, weights) for (weights,) in layer._packed()]
        return stages

    def _general(self, x: Any, out: Any, rows: Any) -> FloatArray:
        """Do a step for any arguments, or raise."""
        chosen = self._distinct(rows)
        batch = len(chosen)
        if self._indices:
            x = np.ascontiguousarray(check_indices("x", x, self._sizes_of_table(), 1))
            if x.shape != (batch,):
                raise ValueError(f"x must have shape ({batch},), an index for each stream; got {x.shape}")
        else:
            x = np.asarray(check_real("x", x, self.dtype, (batch, self._inputs)))
        if out is not None:
            self._check_out(out, (batch, self._outputs))
        self._refresh()
        if get_backend() == "native":
            return self._take(x, out, None if rows is None else chosen.astype(np.int64, copy=False))
        y = self._by_layers(x, chosen)
        if out is None:
            return y
        out[...] = y
        return out  # type: ignore[no-any-return]

    def _sizes_of_table(self) -> int:
        return _sizes(self._flat[0])[0]

    def _check_out(self, out: Any, shape: tuple[int, int]) -> None:
        if type(out) is not np.ndarray or out.dtype != self.dtype:
            got = f"{type(out).__name__} of {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
            raise TypeError(f"out must be an ndarray of {self.dtype}; got {got}")
        if out.shape != shape:
            raise ValueError(f"out must have shape {shape}; got {out.shape}")
        if not out.flags.writeable:
            raise TypeError("out must be writeable; got an array that is not")

    def _by_layers(self, x: Any, rows: NDArray[np.intp]) -> FloatArray:
        """Return y (rows, C) of x by calls of the layers, on any backend."""
        found = iter(self._states(rows))
        new: list[tuple[FloatArray, ...]] = []
        for layer in self._flat:
            if isinstance(layer, Recurrent):
                x, state = layer(x[:, None] if layer.batch_first else x[None], _gather(layer, found))
                x = x[:, 0] if layer.batch_first else x[0]
                new += _scatter(layer, "state", state, len(rows))
            else:
                x = layer(x)
        self._set_states(new, rows)
        return x  # type: ignore[no-any-return]


def _flattened(model: Any) -> Iterator[Layer]:
    """Yield the layers that do something at inference, or raise."""
    layers: list[tuple[str, Any]] = [("model", model)]
    if isinstance(model, Sequential):
        layers = [(f"model[{k}]", layer) for k, layer in enumerate(model)]
    width: int | None = None
    dtype: Any = None
    for name, layer in layers:
        if isinstance(layer, Dropout):
            continue
        if not isinstance(layer, (Embedding, Dense, Recurrent)):
            raise TypeError(
                f"{name} must be a recurrent layer, Dense, Dropout or, in first place, Embedding; "
                f"got {type(layer).__name__}"
            )
        if isinstance(layer, Recurrent) and layer.bidirectional:
            raise ValueError(f"{name} must run in one direction: the other one begins at the end; got {layer!r}")
        if isinstance(layer, Embedding) and width is not None:
            raise ValueError(f"{name} must come first, for it takes indices; got {layer!r}")
        inputs, outputs = _sizes(layer)
        if width is not None and not isinstance(layer, Embedding) and inputs != width:
            raise ValueError(f"{name} must take the {width} features of the layer before; got {layer!r}")
        if dtype is not None and layer.dtype != dtype:
            raise ValueError(f"{name} must be of {dtype} like the layers before; got {layer!r}")
        width, dtype = outputs, layer.dtype
        yield layer


def _sizes(layer: Any) -> tuple[int, int]:
    """Return how many features a layer takes (for an Embedding: the rows of its table) and gives."""
    if isinstance(layer, Embedding):
        return layer.num_embeddings, layer.embedding_dim
    if isinstance(layer, Dense):
        return layer.in_features, layer.out_features
    return layer.input_size, layer.state_sizes[0]


def _gather(model: Any, parts: Iterator[tuple[FloatArray, ...]]) -> Any:
    """Return the state of ``model`` in its own form from those of its single layers."""
    if isinstance(model, Sequential):
        return tuple(_gather(layer, parts) if layer.stateful else None for layer in model)
    own = [next(parts) for _ in range(model.num_layers)]
    arrays = tuple(np.stack(each) for each in zip(*own, strict=True))
    return arrays if len(arrays) > 1 else arrays[0]


def _scatter(model: Any, argument: str, value: Any, batch: int) -> Iterator[tuple[FloatArray, ...]]:
    """Yield the states of single layers out of that of ``model``, checked; None stands for zeros."""
    if isinstance(model, Sequential):
        for k, (layer, own) in enumerate(zip(model, model.split_state(argument, value), strict=True)):
            if layer.stateful:
                yield from _scatter(layer, f"{argument}[{k}]", own, batch)
        return
    shapes = model._state_shapes(batch)
    if value is None:
        arrays = [np.zeros(shape, model.dtype) for shape in shapes]
    else:
        given = zip(model._parts(argument, value), shapes, strict=True)
        arrays = [check_real(name, part, model.dtype, shape) for (name, part), shape in given]
    for k in range(model.num_layers):
        yield tuple(array[k] for array in arrays)


def _made(model: Layer, batch: int, state: Any) -> Stream:
    """Return a stream with a state: what a copy or a pickle of one is made with."""
    stream = Stream(model, batch)
    stream.state = state
    return stream
