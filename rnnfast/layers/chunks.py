"""Gradient checkpointing over time: training with the memory of a few steps, for one more forward pass.

What a recurrent layer keeps for its backward pass grows with the number of steps. Here only the states between chunks
of time are kept, and the last chunk; the backward pass begins with that one, goes on to the first and does each of the
others again, from its kept state, to get its pullback. Memory is then that of one chunk, and of a state for each chunk,
instead of all steps; not quite a forward pass more, about a third of the work of a training step at most, is what it
costs (Chen et al. 2016, "Training deep nets with sublinear memory cost"; Gruslys et al. 2016, "Memory-efficient
backpropagation through time"). Where the memory of all steps is more than the caches hold, most of that comes back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.backend import get_backend, use_backend
from rnnfast.checks import (
    as_array,
    called_before,
    check_generator,
    check_lengths,
    check_size,
    parameters_changed,
)
from rnnfast.layers.base import Gradients, Layer, Pullback, check_layer
from rnnfast.layers.sequential import Sequential
from rnnfast.layers.states import zeros_like

LEAST = 1024  # steps of a chunk, where the user does not say


def checkpointed(
    layer: Layer,
    x: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    rng: np.random.Generator | None = None,
    chunk: int | None = None,
) -> tuple[Any, Pullback]:
    """Return what ``layer.forward(x, state, lengths=lengths, rng=rng)`` returns, keeping far less for the pullback.

    Outputs, final state, the gradient of x and that of the state are those of ``forward`` to the bit, as far as the
    packed kernels compute them (the default where they are tuned); gradients of parameters are sums over chunks
    instead of over all steps, and so equal within rounding.

    Parameters
    ----------
    layer : Layer
        A stateful layer that reads forwards, batch first; or a `Sequential` that begins with such layers, of which
        those up to the first that takes away the time axis are done in chunks and the rest in one piece.
    x : array_like (N, T, ...)
        As the layer takes it. Must not be changed before the pullback is called.
    state, lengths
        As the layer takes them.
    rng : numpy.random.Generator, optional
        For dropout; fresh entropy if None. Every chunk draws from the same start, so that a mask that is meant to be
        the same for all steps is so, and one that is not repeats from chunk to chunk.
    chunk : int, optional
        Steps of a chunk; None: the square root of T, which takes least memory, but at least 1024: few chunks take less
        time, for each costs some dozens of microseconds besides and the last need not be done again.

    Returns
    -------
    as ``forward``
        ``((y, state), pullback)``; the pullback can be called once.

    Raises
    ------
    TypeError
        If the layer has no state to go on with.
    ValueError
        If it is bidirectional, or not batch first, or takes away the time axis; and what the layer itself raises.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import LSTM, checkpointed
    >>> lstm, x, grads = LSTM(3, 8, seed=0), np.zeros((1, 10_000, 3)), {}
    >>> (y, state), pullback = checkpointed(lstm, x)
    >>> pullback(y, grads).shape
    (1, 10000, 3)
    """
    check_generator(rng)
    size = None if chunk is None else check_size("chunk", chunk)
    head = check_chunkable(layer)
    x = as_array("x", x)
    if x.ndim < 2:
        raise ValueError(f"x must have shape (N, T, ...); got {x.shape}")
    batch, steps = x.shape[:2]
    valid = check_lengths(lengths, batch, steps)
    size = max(LEAST, math.isqrt(steps)) if size is None else size
    seed = int((np.random.default_rng() if rng is None else rng).integers(2**63))
    if head is layer:
        return _chunks(layer, x, state, valid, seed, size)

    assert isinstance(layer, Sequential)
    count = len(head.children())
    states = layer.split_state("state", state)
    (y, first), first_back = _chunks(head, x, states[:count], valid, seed, size)
    tail = Sequential(*list(layer)[count:])
    (y, last), last_back = tail.forward(y, states[count:], lengths=valid, rng=np.random.default_rng(seed))
    final = (*first, *last)

    def backward(dy: Any, grads: Gradients, dstate: Any = None) -> Any:
        parts = layer.split_state("dstate", dstate)
        dlast = None if dstate is None else parts[count:]
        found = _renamed(last_back, grads, count)(dy, dlast)
        dy, dlast = (found, None) if dstate is None else found
        found = first_back(dy, grads, dstate=None if dstate is None else parts[:count])
        if dlast is None:
            return found
        dx, dfirst = found
        return dx, (*dfirst, *dlast)

    return (y, final), backward


def check_chunkable(layer: Layer) -> Layer:
    """Return the part of a layer that can be done in chunks of time, or raise; see `checkpointed`."""
    check_layer("layer", layer)
    if not layer.stateful:
        raise TypeError(f"layer must carry a state from chunk to chunk; got {layer!r}")
    head = layer
    if isinstance(layer, Sequential) and layer.pools:
        parts = list(layer)
        before = parts[: next(k for k, part in enumerate(parts) if part.pools)]
        if not before:
            raise ValueError(f"layer must not begin by taking away the time axis; got {layer!r}")
        head = Sequential(*before)
    if head.pools:
        raise ValueError(f"layer must keep the time axis to be done in chunks; got {layer!r}")
    for part in _leaves(head):
        if getattr(part, "bidirectional", False):
            raise ValueError(f"layer must read forwards only to be done in chunks; {part!r} is bidirectional")
        if not getattr(part, "batch_first", True):
            raise ValueError(f"layer must be batch first to be done in chunks; got {part!r}")
    return head


def _leaves(layer: Layer) -> list[Layer]:
    children = layer.children()
    return [leaf for child in children.values() for leaf in _leaves(child)] if children else [layer]


def _renamed(pullback: Pullback, grads: Gradients, shift: int) -> Callable[[Any, Any], Any]:
    """Return a pullback of the layers from ``shift`` on that adds into ``grads`` under the names in the whole."""

    def run(dy: Any, dstate: Any) -> Any:
        own = {}
        for name, array in grads.items():
            place, _, rest = name.partition(".")
            if int(place) >= shift:
                own[f"{int(place) - shift}.{rest}"] = array
        found = pullback(dy, own, dstate=dstate)
        for name, array in own.items():
            place, _, rest = name.partition(".")
            grads[f"{int(place) + shift}.{rest}"] = array
        return found

    return run


def _chunks(
    layer: Any, x: NDArray[Any], state: Any, lengths: NDArray[np.int64] | None, seed: int, size: int
) -> tuple[Any, Pullback]:
    """Run ``layer`` chunk by chunk, keeping the states between; all arguments have been checked."""
    steps = x.shape[1]
    starts = list(range(0, steps, size)) or [0]
    versions = [store.version for _, store in layer.stores()]
    backend = get_backend()

    def piece(k: int) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        start = starts[k]
        own = None if lengths is None else np.clip(lengths - start, 0, min(size, steps - start))
        return x[:, start : start + size], own

    rng = np.random.default_rng(seed)
    start_of_noise = rng.bit_generator.state

    def forward(k: int, before: Any) -> tuple[Any, Any, Pullback]:
        if draws:
            rng.bit_generator.state = start_of_noise
        part, own = piece(k)
        (out, after), pullback = layer.forward(part, before, lengths=own, rng=rng)
        return out, after, pullback

    befores = [state]
    draws = True
    last_back: Pullback | None
    out, state, last_back = forward(0, state)
    # What draws nothing gives the same in inference, which keeps nothing.
    draws = rng.bit_generator.state != start_of_noise
    if len(starts) == 1:
        y = out
    else:
        y = np.empty((x.shape[0], steps, *out.shape[2:]), out.dtype)
        y[:, : starts[1]] = out
    for k in range(1, len(starts)):
        befores.append(state)
        last_back = None  # a chunk's memory goes before the next one's comes
        if draws or k == len(starts) - 1:
            out, state, last_back = forward(k, state)
        else:
            part, own = piece(k)
            out, state = layer(part, state, lengths=own)
        y[:, starts[k] : starts[k] + size] = out
    final, shape = state, y.shape
    used = False

    def backward(dy: Any, grads: Gradients, dstate: Any = None) -> Any:
        nonlocal used, last_back
        if used:
            raise called_before()
        if [store.version for _, store in layer.stores()] != versions:
            raise parameters_changed()
        if dy is not None and np.shape(dy) != shape:
            raise ValueError(f"dy must have shape {shape}; got {np.shape(dy)}")
        used = True
        carry = zeros_like(final) if dstate is None else dstate
        dx: Any = None
        for k in reversed(range(len(starts))):
            pullback, last_back = last_back, None
            before = befores.pop()
            if pullback is None:
                with use_backend(backend):  # what is done again must be the same again
                    _, _, pullback = forward(k, before)
            own = None if dy is None else dy[:, starts[k] : starts[k] + size]
            part, carry = pullback(own, grads, dstate=carry)
            if part is not None:
                if dx is None:
                    dx = np.empty((x.shape[0], steps, *part.shape[2:]), part.dtype)
                dx[:, starts[k] : starts[k] + size] = part
        return dx if dstate is None else (dx, carry)

    return (y, final), backward
