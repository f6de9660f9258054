"""Inference in one native call gives the bits of the general way, which `forward` goes."""

import itertools

import numpy as np
import pytest
from given import OTHERS, SIZES, STRIDES

from rnnfast._native.infer import infer
from rnnfast.cells import CELLS
from rnnfast.layers import LSTM
from rnnfast.stream import Stream
from rnnfast.threads import limit_threads


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def same(found, expected):
    (y, state), (want, final) = found, expected
    assert type(state) is type(final)
    for a, b in zip((y, *parts(state)), (want, *parts(final)), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("strides", STRIDES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_bits(make_layer, random_state, rng, cell, layers, batch_first, dtype, strides):
    layer = make_layer(cell, 6, 19, num_layers=layers, batch_first=batch_first, dtype=dtype)
    for (batch, steps), given in itertools.product(SIZES, [True, False]):
        shape = (batch, steps, 6) if batch_first else (steps, batch, 6)
        x = STRIDES[strides](rng.standard_normal(shape).astype(dtype))
        x.flags.writeable = False
        state = random_state(layer, batch) if given else None
        if given:
            state = tuple(map(STRIDES[strides], parts(state)))
            state = state if len(state) > 1 else state[0]
        found = infer(cell, layer._packed(), x, state, batch_first)
        assert found is not None
        expected, _ = layer.forward(x, state)
        same(found, expected)
        same(layer(x, state), expected)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("batch", [1, 3, 4, 64])
def test_large_calls_on_threads(rng, batch, threads, batch_first):
    layer = LSTM(40, 200, num_layers=2, batch_first=batch_first, init="torch", seed=0)
    x = rng.standard_normal((batch, 30, 40) if batch_first else (30, batch, 40)).astype(np.float32)
    with limit_threads(1):
        expected, _ = layer.forward(x)
    with limit_threads(threads):
        same(layer(x), expected)


@pytest.mark.parametrize("batch", [1, 3, 30])
@pytest.mark.parametrize("hidden", [33, 200])
@pytest.mark.parametrize("cell", CELLS)
def test_single_steps_on_threads(make_layer, random_state, rng, cell, hidden, batch):
    """Each thread reads the input weights of the units that are its own, from either end in turns."""
    layer = make_layer(cell, 170, hidden)
    x = rng.standard_normal((batch, 5, 170)).astype(np.float32)
    state = random_state(layer, batch)
    with limit_threads(1):
        expected = layer(x, state)
    for threads in (1, 2, 3, 8):
        last, outputs, stream = state, [], Stream(layer, batch=batch)
        stream.set_state(state)
        with limit_threads(threads):
            for t in range(5):
                y, last = layer(x[:, t : t + 1], last)
                np.testing.assert_array_equal(stream.step(x[:, t]), y[:, 0], strict=True)
                outputs.append(y)
        same((np.concatenate(outputs, axis=1), last), expected)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_needs_conversion_is_left_to_others(rng, random_state, kind):
    layer = LSTM(4, 6, seed=0)
    x, state = rng.standard_normal((2, 3, 4)).astype(np.float32), random_state(layer, 2)
    other = OTHERS[kind](x, state)
    assert infer("lstm", layer._packed(), *other, True) is None
    same(layer(*other), layer(x, state))
