"""JAX as a contender: a loop written with ``lax.scan`` and compiled, as its users write recurrent networks.

The input product is made once for all steps, outside of the loop. Gates are in torch's order, weights in torch's
layout.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.cases import Case, Data
from bench.contender import Contender, Outputs, Read, Run, plain


class Jax(Contender):
    """jax.jit of the whole call, time first; what is compiled is not timed."""

    name = "jax"
    package = "jax"

    def prepare(self, case: Case, data: Data, threads: int) -> tuple[Run, Read]:
        plain(case)
        import jax

        jax.config.update("jax_platforms", "cpu")
        jax.clear_caches()  # of the cases before
        jax.config.update("jax_enable_x64", True)  # for the float64 cases; float32 arrays stay what they are
        weights = {name: jax.numpy.asarray(array) for name, array in data.weights.items()}
        x_host = np.ascontiguousarray(data.x.transpose(1, 0, 2))
        x, dy = jax.numpy.asarray(x_host), jax.numpy.asarray(data.dy.transpose(1, 0, 2))
        valid = None if data.lengths is None else np.arange(case.steps)[:, None, None] < data.lengths[:, None]
        ready = jax.block_until_ready

        def apply(weights: Any, x: Any) -> Any:
            y = x
            for layer in range(case.num_layers):
                suffixes = [f"_l{layer}"] + ([f"_l{layer}_reverse"] if case.bidirectional else [])
                ys = [_direction(case.cell, weights, suffix, y, valid)[0] for suffix in suffixes]
                y = ys[0] if len(ys) == 1 else jax.numpy.concatenate(ys, axis=-1)
            return y

        def loss(weights: Any, x: Any) -> Any:
            y = apply(weights, x)
            return (y * dy).sum(), y

        inference = jax.jit(apply)
        gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
        one = jax.jit(lambda weights, x, state: _direction(case.cell, weights, "_l0", x, None, state))
        zero = jax.numpy.zeros((case.batch, case.hidden_size), case.dtype)
        state: Any = (zero, zero) if case.cell == "LSTM" else (zero,)

        def forward() -> Any:
            return ready(inference(weights, x)), None, {}

        def step() -> Any:
            nonlocal state
            y, state = one(weights, x_host, state)
            return ready(y), None, {}

        def training() -> Any:
            (_, y), (grads, dx) = ready(gradients(weights, x))
            return y, dx, grads

        def read(result: Any) -> Outputs:
            y, dx, grads = result
            outputs = {"y": np.asarray(y).transpose(1, 0, 2)}
            if dx is not None:
                outputs["dx"] = np.asarray(dx).transpose(1, 0, 2)
            return {**outputs, **{name: np.asarray(array) for name, array in grads.items()}}

        return {"forward": forward, "training": training, "stream": step, "step": step}[case.task], read


def _direction(cell: str, weights: Any, suffix: str, x: Any, valid: Any, state: Any = None) -> Any:
    """Return the outputs (T, B, H) of one direction of one layer and its last state."""
    import jax

    w_ih, w_hh, b_ih, b_hh = (weights[kind + suffix] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    hidden = w_hh.shape[1]
    if state is None:
        zero = jax.numpy.zeros((x.shape[1], hidden), x.dtype)
        state = (zero, zero) if cell == "LSTM" else (zero,)
    # the GRU's new gate multiplies its recurrent bias, so that one cannot be added beforehand
    inputs = x @ w_ih.T + (b_ih if cell == "GRU" else b_ih + b_hh)

    def step(state: Any, given: Any) -> Any:
        a, alive = given if valid is not None else (given, None)
        new = _cell(cell, state, a, state[0] @ w_hh.T, b_hh)
        if alive is None:
            return new, new[0]
        kept = tuple(jax.numpy.where(alive, after, before) for after, before in zip(new, state, strict=True))
        return kept, jax.numpy.where(alive, new[0], 0)

    given = inputs if valid is None else (inputs, valid)
    state, y = jax.lax.scan(step, state, given, reverse=suffix.endswith("_reverse"))
    return y, state


def _cell(cell: str, state: Any, a: Any, product: Any, b_hh: Any) -> Any:
    """Return the next state from pre-activations of the input (B, G*H) and the recurrent product."""
    import jax

    tanh, sigmoid = jax.numpy.tanh, jax.nn.sigmoid
    split = jax.numpy.split
    if cell == "RNN":
        return (tanh(a + product),)
    if cell == "LSTM":
        i, f, g, o = split(a + product, 4, axis=-1)
        c = sigmoid(f) * state[1] + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c
    (x_r, x_z, x_n), (h_r, h_z, h_n) = split(a, 3, axis=-1), split(product + b_hh, 3, axis=-1)
    z = sigmoid(x_z + h_z)
    n = tanh(x_n + sigmoid(x_r + h_r) * h_n)
    return ((1 - z) * n + z * state[0],)
