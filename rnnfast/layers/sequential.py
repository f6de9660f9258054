"""Sequential: layers one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from rnnfast.checks import check_generator
from rnnfast.layers.base import Gradients, Layer, Pullback, pull
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.recurrent import Recurrent
from rnnfast.layers.states import zeros_like
from rnnfast.layers.summary import spell


class Sequential(Layer):
    """Layers one after the other, as one stateful layer.

    Parameters
    ----------
    *layers : Layer
        At least one, each a layer of its own. Parameters are named by place: "0.weight".

    Notes
    -----
    The state is a tuple with one entry for each layer, None for those without a state. ``lengths`` is given to every
    layer until one takes away the time axis.

    Examples
    --------
    >>> from rnnfast.layers.dense import Dense
    >>> from rnnfast.layers.embedding import Embedding
    >>> from rnnfast.layers.recurrent import LSTM
    >>> model = Sequential(Embedding(10, 4, seed=0), LSTM(4, 8, seed=1), Dense(8, 10, seed=2))
    >>> y, state = model([[1, 2, 3], [4, 5, 6]])
    >>> y.shape, state[0], state[1][0].shape
    ((2, 3, 10), None, (1, 2, 8))
    """

    stateful: ClassVar[bool] = True

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ValueError("layers must hold at least one layer; got none")
        for k, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layers[{k}] must be a Layer; got {_named(type(layer).__name__)}")
            if any(layer is other for other in layers[:k]):
                raise ValueError(f"layers must be different objects; layers[{k}], {spell(layer)}, came before")
        self.layers = layers
        super().__init__()

    @property
    def pools(self) -> bool:
        """Whether one of the layers takes away the time axis."""
        return any(layer.pools for layer in self.layers)

    @property
    def takes_target(self) -> bool:
        """Whether one of the layers may be fed with the target."""
        return any(layer.takes_target for layer in self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __getitem__(self, index: int) -> Layer:
        return self.layers[index]

    def children(self) -> dict[str, Layer]:
        """Return the layers by place."""
        return {str(k): layer for k, layer in enumerate(self.layers)}

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None) -> Any:
        """Return ``(y, state)`` without saving anything for a backward pass; arguments as in `forward`."""
        states = []
        for k, (layer, own) in enumerate(zip(self.layers, self.split_state("state", state), strict=True)):
            try:
                if layer.stateful:
                    x, own = layer(x, own, lengths=lengths)  # type: ignore[misc]
                elif self._feeds_recurrent(k):
                    x = layer.lookup(x)  # type: ignore[attr-defined]
                else:
                    x = layer(x, lengths=lengths)
            except (TypeError, ValueError, IndexError) as error:
                self._place(k, error)
                raise
            states.append(own)
            lengths = None if layer.pools else lengths
        return x, tuple(states)

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
        x : array_like
            What the first layer takes.
        state : tuple or None
            One entry for each layer, None where it has no state or starts from zeros; None: all of them so.
        lengths : array_like (N,) of int, optional
            Valid steps of each sequence.
        rng : numpy.random.Generator, optional
            For dropout; fresh entropy if None.
        target, teacher : optional
            For layers that are fed with their outputs; see `OutputFeedback`.

        Returns
        -------
        y : what the last layer returns
        state : tuple
            One entry for each layer.
        pullback : callable
            ``dx = pullback(dy, grads)`` or ``dx, dstate = pullback(dy, grads, dstate=dstate)`` with a tuple like the
            state; an entry that is None means zero. ``dy`` may be None for zero. dx is None where the first layer
            has no gradient to give.

        Raises
        ------
        TypeError
            If the state is not a tuple of that many entries.
        ValueError
            If a layer without a state is given one. Each layer raises its own errors besides.
        """
        check_generator(rng)
        pullbacks: list[Pullback] = []
        states = []
        for k, (layer, own) in enumerate(zip(self.layers, self.split_state("state", state), strict=True)):
            try:
                if layer.stateful:
                    more = {"target": target, "teacher": teacher} if layer.takes_target else {}
                    (x, own), pullback = layer.forward(x, own, lengths=lengths, rng=rng, **more)  # type: ignore[misc]
                elif self._feeds_recurrent(k):
                    x, pullback = layer.forward_lookup(x)  # type: ignore[attr-defined]
                else:
                    x, pullback = layer.forward(x, lengths=lengths, rng=rng)
            except (TypeError, ValueError, IndexError) as error:
                self._place(k, error)
                raise
            pullbacks.append(pullback)
            states.append(own)
            lengths = None if layer.pools else lengths
        final = tuple(states)

        def backward(dy: Any, grads: Gradients, dstate: Any = None) -> Any:
            return self._backward(pullbacks, final, dy, grads, dstate)

        return (x, final), backward

    def _backward(
        self, pullbacks: list[Pullback], final: tuple[Any, ...], dy: Any, grads: Gradients, dstate: Any
    ) -> Any:
        """Go back through the layers, each with its part of ``grads``."""
        dstates = list(self.split_state("dstate", dstate))
        for k in reversed(range(len(self.layers))):
            layer, pullback, prefix = self.layers[k], pullbacks[k], f"{k}."
            if layer.stateful and dstate is not None:
                given = zeros_like(final[k]) if dstates[k] is None else dstates[k]
                dy, dstates[k] = pull(pullback, prefix, dy, grads, dstate=given)
            elif dy is not None:
                dy = pull(pullback, prefix, dy, grads)
        return dy if dstate is None else (dy, tuple(dstates))

    def _feeds_recurrent(self, k: int) -> bool:
        """Return whether layer k is a table whose rows go straight into a recurrent layer."""
        return (
            isinstance(self.layers[k], Embedding)
            and k + 1 < len(self.layers)
            and isinstance(self.layers[k + 1], Recurrent)
        )

    def _place(self, k: int, error: Exception) -> None:
        """Name the layer in an error of any but the first: its x is not the one that the user gave."""
        if k:
            error.args = (f"layers[{k}] ({type(self.layers[k]).__name__}): {error}",)

    def split_state(self, argument: str, state: Any) -> tuple[Any, ...]:
        """Return ``state`` as a tuple with an entry for each layer, or raise naming ``argument``."""
        if state is None:
            return (None,) * len(self.layers)
        if not isinstance(state, (tuple, list)) or len(state) != len(self.layers):
            got = f"{len(state)} of them" if isinstance(state, (tuple, list)) else type(state).__name__
            raise TypeError(f"{argument} must be a tuple of {len(self.layers)} entries, one for each layer; got {got}")
        for k, (layer, own) in enumerate(zip(self.layers, state, strict=True)):
            if own is not None and not layer.stateful:
                raise ValueError(f"{argument}[{k}] must be None, for {layer!r} has no state; got {type(own).__name__}")
        return tuple(state)


def _named(kind: str) -> str:
    """Return the name of a type, and what to do where it is a list of layers."""
    return f"{kind}; of a list it is Sequential(*layers)" if kind in ("list", "tuple") else kind
