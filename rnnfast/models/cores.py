"""The inside of a decoder: from the input of each step, through recurrence and attention, to the features of each step.

``feeding`` says what enters the recurrence beside the input x_t:

- None: nothing. y_t = recurrent(x_t); context_t attends by y_t. All steps in one call each.
- "context": context_t, which attends by the state before the step (Bahdanau et al. 2015). Step by step; the features
  are made for all steps at once.
- "output": the features of the step before, zeros at first (Luong et al. 2015, section 3.3). Step by step.

In all of them features_t = tanh(W [context_t, y_t] + b); without attention they are y_t.

Shapes: N sequences, T steps, S steps of memory, H units, M features of memory, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rnnfast.checks import FloatArray
from rnnfast.layers.attention import Attention
from rnnfast.layers.base import Gradients, pull
from rnnfast.layers.dense import Dense
from rnnfast.models.parts import as_parts, as_state

FEEDING = ("context", "output")


class Memory(NamedTuple):
    """What is attended to.

    Attributes
    ----------
    steps : ndarray (N, S, M)
    keys : ndarray (N, S, ...)
        From `Attention.keys`.
    lengths : ndarray of int64 (N,) or None
        Valid steps.
    """

    steps: FloatArray
    keys: FloatArray
    lengths: Any


class Parts(NamedTuple):
    """The layers of a core; without attention both that and ``combine`` are None."""

    recurrent: Any
    attention: Attention | None
    combine: Dense | None
    feeding: str | None


class CoreGradients(NamedTuple):
    """Gradients of what went into a core: x (or its table), the initial state, and memory and keys where there are."""

    x: Any
    state: Any
    memory: Any
    keys: Any


CorePullback = Callable[[FloatArray, Gradients, Any], CoreGradients]


def infer(parts: Parts, x: Any, state: Any, memory: Memory | None, lengths: Any) -> tuple[FloatArray, Any]:
    """Return the features (N, T, F) and the final state of inputs (N, T, I), state given; feeding is None."""
    y, state = parts.recurrent(x, state, lengths=lengths)
    if memory is None:
        return y, state
    assert parts.attention is not None and parts.combine is not None
    context, _ = parts.attention.attend(y, memory.keys, memory.steps, memory.lengths)
    return parts.combine(np.concatenate([context, y], axis=2)), state


def step(
    parts: Parts, x: FloatArray, state: Any, fed: FloatArray | None, memory: Memory | None, lengths: Any = None
) -> tuple[FloatArray, Any, FloatArray | None]:
    """Return the features (N, 1, F), the state and what is fed on after one step, whatever the feeding.

    Parameters
    ----------
    x : (N, 1, I)
    state : of the recurrent layer
    fed : (N, 1, F) or None
        The features of the step before, where they are fed.
    memory : Memory or None
    lengths : (N,) or None
        0 where a sequence has ended, else 1.
    """
    if parts.feeding is None:
        features, state = infer(parts, x, state, memory, lengths)
        return features, state, None
    assert memory is not None and parts.attention is not None and parts.combine is not None
    if parts.feeding == "context":
        context, _ = parts.attention.attend(_query(state), memory.keys, memory.steps, memory.lengths)
        y, state = parts.recurrent(np.concatenate([x, context], axis=2), state, lengths=lengths)
        return parts.combine(np.concatenate([context, y], axis=2)), state, None
    y, state = parts.recurrent(np.concatenate([x, fed], axis=2), state, lengths=lengths)
    context, _ = parts.attention.attend(y, memory.keys, memory.steps, memory.lengths)
    features = parts.combine(np.concatenate([context, y], axis=2))
    return features, state, features


def forward(
    parts: Parts, x: Any, state: Any, memory: Memory | None, lengths: Any, rng: np.random.Generator
) -> tuple[FloatArray, Any, CorePullback]:
    """Return the features (N, T, F), the final state and the pullback; state must be given."""
    if parts.feeding is None:
        return _forward_batched(parts, x, state, memory, lengths, rng)
    assert memory is not None
    if parts.feeding == "context":
        return _forward_context(parts, x, state, memory, lengths, rng)
    return _forward_output(parts, x, state, memory, lengths, rng)


def _forward_batched(
    parts: Parts, x: Any, state: Any, memory: Memory | None, lengths: Any, rng: np.random.Generator
) -> tuple[FloatArray, Any, CorePullback]:
    (y, final), recurrent_pull = parts.recurrent.forward(x, state, lengths=lengths, rng=rng)
    if memory is None:

        def backward_alone(dfeatures: FloatArray, grads: Gradients, dstate: Any) -> CoreGradients:
            dx, dinitial = pull(recurrent_pull, "recurrent.", dfeatures, grads, dstate=dstate)
            return CoreGradients(dx, dinitial, None, None)

        return y, final, backward_alone
    assert parts.attention is not None and parts.combine is not None
    (context, _), attend_pull = parts.attention.forward_attend(y, memory.keys, memory.steps, memory.lengths)
    features, combine_pull = parts.combine.forward(np.concatenate([context, y], axis=2))
    width = context.shape[2]

    def backward(dfeatures: FloatArray, grads: Gradients, dstate: Any) -> CoreGradients:
        both = pull(combine_pull, "combine.", dfeatures, grads)
        dquery, dkeys, dmemory = pull(attend_pull, "attention.", (both[:, :, :width], None), grads)
        dquery += both[:, :, width:]
        dx, dinitial = pull(recurrent_pull, "recurrent.", dquery, grads, dstate=dstate)
        return CoreGradients(dx, dinitial, dmemory, dkeys)

    return features, final, backward


def _forward_context(
    parts: Parts, x: FloatArray, state: Any, memory: Memory, lengths: Any, rng: np.random.Generator
) -> tuple[FloatArray, Any, CorePullback]:
    assert parts.attention is not None and parts.combine is not None
    batch, steps, inputs = x.shape
    width = memory.steps.shape[2]
    both = np.empty((batch, steps, width + parts.recurrent.hidden_size), x.dtype)
    pulls = []
    for t in range(steps):
        (context, _), attend_pull = parts.attention.forward_attend(
            _query(state), memory.keys, memory.steps, memory.lengths
        )
        fed = np.concatenate([x[:, t : t + 1], context], axis=2)
        (y, state), step_pull = parts.recurrent.forward(fed, state, lengths=_running(lengths, t), rng=rng)
        both[:, t, :width], both[:, t, width:] = context[:, 0], y[:, 0]
        pulls.append((attend_pull, step_pull))
    features, combine_pull = parts.combine.forward(both)

    def backward(dfeatures: FloatArray, grads: Gradients, dstate: Any) -> CoreGradients:
        dboth = pull(combine_pull, "combine.", dfeatures, grads)
        dx = np.empty_like(x)
        dmemory, dkeys = np.zeros_like(memory.steps), np.zeros_like(memory.keys)
        for t in reversed(range(steps)):
            attend_pull, step_pull = pulls.pop()
            dfed, dstate = pull(step_pull, "recurrent.", dboth[:, t : t + 1, width:], grads, dstate=dstate)
            dx[:, t : t + 1] = dfed[:, :, :inputs]
            dcontext = dboth[:, t : t + 1, :width] + dfed[:, :, inputs:]
            dquery, dkeys_t, dmemory_t = pull(attend_pull, "attention.", (dcontext, None), grads)
            dkeys += dkeys_t
            dmemory += dmemory_t
            as_parts(dstate)[0][-1] += dquery[:, 0]
        return CoreGradients(dx, dstate, dmemory, dkeys)

    return features, state, backward


def _forward_output(
    parts: Parts, x: FloatArray, state: Any, memory: Memory, lengths: Any, rng: np.random.Generator
) -> tuple[FloatArray, Any, CorePullback]:
    assert parts.attention is not None and parts.combine is not None
    batch, steps, inputs = x.shape
    width = memory.steps.shape[2]
    features = np.empty((batch, steps, parts.combine.out_features), x.dtype)
    fed = np.zeros((batch, 1, parts.combine.out_features), x.dtype)
    pulls = []
    for t in range(steps):
        (y, state), step_pull = parts.recurrent.forward(
            np.concatenate([x[:, t : t + 1], fed], axis=2), state, lengths=_running(lengths, t), rng=rng
        )
        (context, _), attend_pull = parts.attention.forward_attend(y, memory.keys, memory.steps, memory.lengths)
        fed, combine_pull = parts.combine.forward(np.concatenate([context, y], axis=2))
        features[:, t] = fed[:, 0]
        pulls.append((step_pull, attend_pull, combine_pull))

    def backward(dfeatures: FloatArray, grads: Gradients, dstate: Any) -> CoreGradients:
        dx = np.empty_like(x)
        dmemory, dkeys = np.zeros_like(memory.steps), np.zeros_like(memory.keys)
        dfed: Any = 0.0
        for t in reversed(range(steps)):
            step_pull, attend_pull, combine_pull = pulls.pop()
            both = pull(combine_pull, "combine.", dfeatures[:, t : t + 1] + dfed, grads)
            dquery, dkeys_t, dmemory_t = pull(attend_pull, "attention.", (both[:, :, :width], None), grads)
            dkeys += dkeys_t
            dmemory += dmemory_t
            dquery += both[:, :, width:]
            dinput, dstate = pull(step_pull, "recurrent.", dquery, grads, dstate=dstate)
            dx[:, t : t + 1], dfed = dinput[:, :, :inputs], dinput[:, :, inputs:]
        return CoreGradients(dx, dstate, dmemory, dkeys)

    return features, state, backward


def zeros_like_state(state: Any) -> Any:
    """Return a state's gradient of zeros."""
    return as_state(tuple(np.zeros_like(part) for part in as_parts(state)))


def _query(state: Any) -> FloatArray:
    """Return the output of the top layer in a state, (N, 1, H)."""
    top: FloatArray = as_parts(state)[0][-1][:, None]
    return top


def _running(lengths: Any, t: int) -> Any:
    return None if lengths is None else (lengths > t).astype(np.int64)
