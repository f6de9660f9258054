"""Two directions, or layers of a stack, at once: the bits of one thread, whoever has the pool."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from option_table import CASES, IDS, make

from rnnfast import GRU, LSTM, RNN, Embedding, IndRNN, Sequential
from rnnfast._native import provider
from rnnfast.layers.scan import SRU
from rnnfast.threads import limit_threads

BOTH, STACK = {"num_layers": 2, "bidirectional": True}, {"num_layers": 4}
SHAPES = {"directions": BOTH, "layers": STACK}
PLAIN = [(RNN, {"nonlinearity": "relu"}), (RNN, {}), (LSTM, {}), (GRU, {})]
each_shape = pytest.mark.parametrize("shape", SHAPES)
TUNED = (
    LSTM(1, 1).explain(1, 1).layers[0].width * 4 >= 32
)  # in portable C products take longer, and the model chooses so


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def run(layer, x, state=None, lengths=None):
    """Return everything that an inference call and a training call give, by name."""
    y, final = layer(x, state, lengths=lengths)
    (y_train, final_train), pullback = layer.forward(x, state, lengths=lengths, rng=np.random.default_rng(1))
    grads = {}
    dx, dstate = pullback(np.cos(y), grads, dstate=final)
    found = {"y": y, "y in training": y_train, "dx": dx, **grads}
    for name, state in (("state", final), ("state in training", final_train), ("dstate", dstate)):
        found |= {f"{name} {k}": part for k, part in enumerate(parts(state))}
    return found


def on_one_thread(*arguments):
    with limit_threads(1):
        return run(*arguments)


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def shared(layer, batch, steps, training=False, threads=2):
    return {plan.shared for plan in layer.explain(batch, steps, training=training, threads=threads).layers}


@each_shape
@pytest.mark.parametrize("kind, options", PLAIN + CASES, ids=["relu", "RNN", "LSTM", "GRU", *IDS])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bits_are_those_of_one_thread(shape, kind, options, dtype, random_state, rng):
    layer = make(kind, options, 20, 37, dtype=dtype, **SHAPES[shape])
    for batch, lengths in ((1, None), (3, None), (3, [90, 0, 51])):
        x, state = rng.standard_normal((batch, 90, 20)).astype(dtype), random_state(layer, batch)
        alone = on_one_thread(layer, x, state, lengths)
        for threads in (2, 3):
            with limit_threads(threads):
                assert_equal(run(layer, x, state, lengths), alone)
    if TUNED:
        assert shared(layer, 1, 90) == {shape}


@pytest.mark.parametrize("threads", [2, 3, 5, 8])
@pytest.mark.parametrize("batch, steps", [(1, 8), (1, 203), (5, 61)])
def test_any_number_of_layers_and_threads(batch, steps, threads, rng):
    layer = LSTM(48, 48, 5, seed=0)
    x = rng.standard_normal((batch, steps, 48)).astype(np.float32)
    alone = on_one_thread(layer, x)
    with limit_threads(threads):
        assert_equal(run(layer, x), alone)
    if TUNED:
        assert shared(layer, 1, 203, threads=threads) == {"layers"}


@each_shape
def test_memory_of_any_strides_and_tables(shape, rng):
    layer = LSTM(20, 70, batch_first=False, seed=0, **SHAPES[shape])
    wide = rng.standard_normal((60, 6, 40)).astype(np.float32)
    for x in (wide[:, ::2, ::2], np.asfortranarray(wide[:, :3, :20])):
        with limit_threads(2):
            found = run(layer, x)
        assert_equal(found, on_one_thread(layer, x))
    model = Sequential(Embedding(12, 20, seed=0), LSTM(20, 70, seed=0, **SHAPES[shape]))
    ids = rng.integers(0, 12, (3, 60))

    def train(threads):
        grads = {}
        with limit_threads(threads):
            (y, _), pullback = model.forward(ids)
            pullback(np.cos(y), grads)
            return {"y": y, "quiet": model(ids)[0], **grads}

    assert_equal(train(2), train(1))


@each_shape
def test_gradients_are_added_to_those_there(shape, rng):
    layer = GRU(20, 70, seed=0, **SHAPES[shape])
    x = rng.standard_normal((3, 60, 20)).astype(np.float32)

    def train(threads):
        grads = {name: np.ones_like(value) for name, value in layer.params.items()}
        with limit_threads(threads):
            (y, _), pullback = layer.forward(x)
            pullback(y, grads)
        return grads

    assert_equal(train(2), train(1))


@each_shape
def test_callers_that_share_the_pool(shape, rng):
    """It serves one at a time; for the others one thread does everything."""
    layer = LSTM(20, 70, seed=0, **SHAPES[shape])
    x = rng.standard_normal((3, 60, 20)).astype(np.float32)
    alone = on_one_thread(layer, x)

    def call(_):
        with limit_threads(2):
            return run(layer, x)

    with ThreadPoolExecutor(3) as callers:
        for found in callers.map(call, range(100)):
            assert_equal(found, alone)


def test_a_stack_beside_that_of_another_caller(rng):
    """Whose layers share the pool wait for their own, not for those of a caller beside them, many steps ahead."""
    large, small = LSTM(64, 64, 4, seed=0), LSTM(4, 16, 2, seed=0)
    x, short = (
        rng.standard_normal((1, 1500, 64)).astype(np.float32),
        rng.standard_normal((1, 3000, 4)).astype(np.float32),
    )
    with limit_threads(1):
        expected = large(x)[0]
    done = threading.Event()

    def others():
        with limit_threads(2):
            while not done.is_set():
                small(short)

    other = threading.Thread(target=others)
    other.start()
    try:
        with limit_threads(2):
            for _ in range(40):
                np.testing.assert_array_equal(large(x)[0], expected)
    finally:
        done.set()
        other.join()


def test_dropout_between_layers_is_made_between_them(rng):
    layer = LSTM(20, 70, 4, dropout=0.5, seed=0)
    x = rng.standard_normal((3, 60, 20)).astype(np.float32)
    with limit_threads(2):
        found = run(layer, x)
    assert_equal(found, on_one_thread(layer, x))
    assert shared(layer, 3, 60) == {"layers"} and "layers" not in shared(layer, 3, 60, training=True)


def test_when_it_is_chosen():
    both = LSTM(16, 64, bidirectional=True, seed=0)
    assert shared(both, 1, 100) == {"directions"}
    assert shared(both, 1, 1) == shared(both, 1, 100, threads=1) == {"one thread"}
    assert shared(LSTM(16, 128, bidirectional=True, seed=0), 256, 100, threads=16) == {"rows"}
    stack = LSTM(64, 64, 2, seed=0)
    assert shared(stack, 1, 100) == {"layers"} or not TUNED
    assert shared(stack, 1, 1) == shared(stack, 1, 100, threads=1) == {"one thread"}
    assert shared(stack, 1, 2) == {"one thread"} or not TUNED
    assert shared(LSTM(64, 64, 2, seed=0), 64, 100) == {"rows"}
    assert shared(LSTM(16, 64, seed=0), 1, 100).isdisjoint(SHAPES)
    assert shared(IndRNN(16, 64, bidirectional=True, seed=0), 8, 100).isdisjoint(SHAPES)
    assert shared(SRU(64, 64, 2, seed=0), 8, 100).isdisjoint(SHAPES)
    for layer in (both, stack):
        plan = layer.explain(1, 100, threads=2).layers[1]
        assert plan.threads == 2 and plan.limit_seconds > 0
        assert "thread" in plan.reason and "sharing" in str(layer.explain(1, 100, threads=2))


@pytest.mark.usefixtures("packed_gemm")
def test_training_shares_as_inference_does_but_where_blas_makes_the_gradients():
    both, stack = LSTM(16, 64, bidirectional=True, seed=0), LSTM(64, 64, 4, seed=0)
    assert shared(both, 1, 100, training=True) == {"directions"}
    assert shared(stack, 1, 300, training=True) == {"layers"}
    assert shared(stack, 1, 100, training=True) == {"layers"} or not TUNED
    provider.set_gemm("blas")  # gradients of inputs come after the last step: the layer below cannot follow
    assert shared(both, 1, 100, training=True) == {"directions"}
    assert "layers" not in shared(stack, 1, 100, training=True) | shared(stack, 1, 300, training=True)
    assert shared(stack, 1, 100) == {"layers"} or not TUNED
