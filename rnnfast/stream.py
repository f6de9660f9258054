"""A model fed one time step at a time, its state kept between calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnfast._native.stream import Steps
from rnnfast.backend import get_backend
from rnnfast.checks import FloatArray, as_array, check_indices, check_real, check_size
from rnnfast.layers.base import Layer
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.recurrent import Recurrent
from rnnfast.layers.sequential import Sequential


class Stream(Steps):
    """N streams of time steps through one model, for serving and for generating.

    A step gives the bits that a call over the whole sequence would give, costs little besides its arithmetic, and
    with ``out`` given allocates nothing.

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
        if rows is None:
            chosen = np.arange(self.batch)
        else:
            chosen = np.atleast_1d(as_array("rows", rows))
            if chosen.dtype == np.bool_:
                if chosen.shape != (self.batch,):
                    raise ValueError(f"rows must have shape ({self.batch},) where it is bool; got {chosen.shape}")
                chosen = np.flatnonzero(chosen)
            chosen = check_indices("rows", chosen, self.batch, 1)
        self._clear(np.ascontiguousarray(chosen, np.intp))

    @property
    def state(self) -> Any:
        """The state as the model takes and returns it, copied."""
        self._refresh()
        found = iter(self._states())
        return _gather(self.model, found)

    @state.setter
    def state(self, value: Any) -> None:
        parts = list(_scatter(self.model, "state", value, self.batch))
        self._refresh()
        self._set_states(parts)

    def _layers(self) -> list[tuple[Any, ...]]:
        """Return what `Steps` makes its stages of; layers that share a store of parameters share packed weights."""
        stages: list[tuple[Any, ...]] = []
        for layer in self._flat:
            if isinstance(layer, Embedding):
                stages.append(("embedding", layer.params["weight"]))
            elif isinstance(layer, Dense):
                params = layer.params
                stages.append(("dense", params["weight"], params.get("bias"), layer._packed(), layer.activation))
            elif isinstance(layer, Recurrent):
                stages += [("recurrent", layer.cell, weights) for (weights,) in layer._packed()]
        return stages

    def _general(self, x: Any, out: Any) -> FloatArray:
        """Do a step for any arguments, or raise."""
        if self._indices:
            x = np.ascontiguousarray(check_indices("x", x, self._sizes_of_table(), 1))
            if x.shape != (self.batch,):
                raise ValueError(f"x must have shape ({self.batch},), an index for each stream; got {x.shape}")
        else:
            x = np.asarray(check_real("x", x, self.dtype, (self.batch, self._inputs)))
        if out is not None:
            self._check_out(out)
        self._refresh()
        if get_backend() == "native":
            return self._take(x, out)
        y = self._by_layers(x)
        if out is None:
            return y
        out[...] = y
        return out  # type: ignore[no-any-return]

    def _sizes_of_table(self) -> int:
        return _sizes(self._flat[0])[0]

    def _check_out(self, out: Any) -> None:
        shape = (self.batch, self._outputs)
        if type(out) is not np.ndarray or out.dtype != self.dtype:
            got = f"{type(out).__name__} of {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
            raise TypeError(f"out must be an ndarray of {self.dtype}; got {got}")
        if out.shape != shape:
            raise ValueError(f"out must have shape {shape}; got {out.shape}")
        if not out.flags.writeable:
            raise TypeError("out must be writeable; got an array that is not")

    def _by_layers(self, x: Any) -> FloatArray:
        """Return y (N, C) of x by calls of the layers, on any backend."""
        found = iter(self._states())
        new: list[tuple[FloatArray, ...]] = []
        for layer in self._flat:
            if isinstance(layer, Recurrent):
                x, state = layer(x[:, None] if layer.batch_first else x[None], _gather(layer, found))
                x = x[:, 0] if layer.batch_first else x[0]
                new += _scatter(layer, "state", state, self.batch)
            else:
                x = layer(x)
        self._set_states(new)
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
