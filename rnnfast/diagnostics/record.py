"""What every layer took and gave in one forward and backward pass."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnfast.checks import FloatArray
from rnnfast.layers.base import Gradients, Layer, Pullback
from rnnfast.layers.sequential import Sequential
from rnnfast.models import LanguageModel
from rnnfast.rows import Lookup


class Seen:
    """One call of one layer.

    Attributes
    ----------
    name : str
        The layer's name, as in those of parameters.
    layer : Layer
        A copy of the layer.
    x, state, lengths
        What it took.
    y : ndarray or None
        Its output.
    dy : ndarray or None
        The gradient of the output.
    dstate : tuple, ndarray or None
        The gradient of its final state.
    """

    def __init__(self, name: str, layer: Layer, x: Any, state: Any, lengths: Any) -> None:
        self.name, self.layer = name, layer
        self.x = x.table[x.indices] if isinstance(x, Lookup) else x
        self.state, self.lengths = state, lengths
        self.y: FloatArray | None = None
        self.dy: FloatArray | None = None
        self.dstate: Any = None


def units(layer: Layer, name: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield the layers to look at: those with a recurrence of their own whole, others down to the last."""
    children = layer.children()
    if not children or (layer.stateful and not isinstance(layer, (Sequential, LanguageModel))):
        yield name, layer
        return
    for part, child in children.items():
        yield from units(child, f"{name}.{part}" if name else part)


def record(
    model: Any, loss: Any, x: Any, y: Any, state: Any, lengths: Any, mask: Any, rng: np.random.Generator
) -> tuple[float, Gradients, list[Seen]]:
    """Return the loss of a batch, its gradients by full name, and what each layer saw (its first call)."""
    model = copy.deepcopy(model)
    seen: dict[str, Seen] = {}
    for name, layer in units(model):
        _watch(layer, name, seen)
    more = {"state": state} if model.stateful else {}
    if model.takes_target:
        more["target"] = y
    out, pullback = model.forward(x, lengths=lengths, rng=rng, **more)
    pred = out[0] if model.stateful else out
    own = lengths[-1] if model.num_inputs > 1 and lengths is not None else lengths  # the last: the targets'
    value, loss_pullback = loss.forward(pred, y, mask=mask, lengths=own if np.ndim(pred) == 3 else None)
    grads: Gradients = {}
    pullback(loss_pullback(), grads)
    return value, grads, list(seen.values())


def _watch(layer: Layer, name: str, seen: dict[str, Seen]) -> None:
    """Make a layer leave what it sees in ``seen``."""
    inner = layer.forward

    def forward(x: Any, *args: Any, **kwargs: Any) -> tuple[Any, Pullback]:
        state = args[0] if args else kwargs.get("state")
        out, pullback = inner(x, *args, **kwargs)
        if name in seen:
            return out, pullback
        found = seen[name] = Seen(name, layer, x, state, kwargs.get("lengths"))
        found.y = out[0] if layer.stateful else out

        def watched(dy: Any, grads: Gradients, **more: Any) -> Any:
            found.dy, found.dstate = (None if dy is None else np.array(dy)), more.get("dstate")
            return pullback(dy, grads, **more)

        return out, watched

    layer.forward = forward  # type: ignore[method-assign]
