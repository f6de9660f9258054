"""Bridge: from what an encoder has come to, or from a vector, to the state that a decoder begins with."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.checks import FloatArray
from rnnfast.layers.base import Gradients, Layer, Pullback, pull
from rnnfast.layers.dense import Dense
from rnnfast.layers.recurrent import Recurrent


class Bridge(Layer):
    """state_k = tanh(W_k s + b_k) for h and W_k s + b_k for c, of each layer k of a recurrent stack.

    Parameters
    ----------
    sizes : list of int
        Features of s, for each layer of the stack.
    target : Recurrent
        The stack.
    rng : numpy.random.Generator
        For the initial parameters, ``0.h.weight`` and so on.
    """

    def __init__(self, sizes: list[int], target: Recurrent, rng: np.random.Generator) -> None:
        self._names = target.cell.states
        self._maps = {
            f"{k}.{name}": Dense(
                size, target.hidden_size, activation="tanh" if name == "h" else None, dtype=target.dtype, seed=rng
            )
            for k, size in enumerate(sizes)
            for name in self._names
        }
        self._layers = len(sizes)
        super().__init__()

    def children(self) -> dict[str, Layer]:
        """Return the maps by layer and state."""
        return dict(self._maps)

    def run(self, sources: list[dict[str, FloatArray]]) -> Any:
        """Return the state of the stack; ``sources[k][name]`` is s (N, size) of layer k."""
        parts = tuple(
            np.stack([self._maps[f"{k}.{name}"](sources[k][name]) for k in range(self._layers)]) for name in self._names
        )
        return parts if len(parts) > 1 else parts[0]

    def forward_run(self, sources: list[dict[str, FloatArray]]) -> tuple[Any, Pullback]:
        """Return `run` and its pullback: ``dsources = pullback(dstate, grads)``, of the form of the sources."""
        pulls: dict[str, Pullback] = {}
        parts = []
        for name in self._names:
            rows = []
            for k in range(self._layers):
                row, pulls[f"{k}.{name}"] = self._maps[f"{k}.{name}"].forward(sources[k][name])
                rows.append(row)
            parts.append(np.stack(rows))

        def backward(dstate: Any, grads: Gradients) -> list[dict[str, FloatArray]]:
            dparts = dstate if isinstance(dstate, tuple) else (dstate,)
            return [
                {
                    name: pull(pulls[f"{k}.{name}"], f"{k}.{name}.", dpart[k], grads)
                    for name, dpart in zip(self._names, dparts, strict=True)
                }
                for k in range(self._layers)
            ]

        return (tuple(parts) if len(parts) > 1 else parts[0]), backward
