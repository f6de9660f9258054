"""Two directions at once, each by a thread of its own: the bits of one thread, whoever has the pool."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from option_table import CASES, IDS, make

from rnnfast import GRU, LSTM, RNN, Embedding, IndRNN, Sequential
from rnnfast.threads import limit_threads


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


PLAIN = [(RNN, {"nonlinearity": "relu"}), (RNN, {}), (LSTM, {}), (GRU, {})]


@pytest.mark.parametrize("kind, options", PLAIN + CASES, ids=["relu", "RNN", "LSTM", "GRU", *IDS])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bits_are_those_of_one_thread(kind, options, dtype, random_state, rng):
    layer = make(kind, options, 20, 70, 2, bidirectional=True, dtype=dtype)
    x = rng.standard_normal((3, 60, 20)).astype(dtype)
    state = random_state(layer, 3)
    assert shared(layer, 3, 60) == shared(layer, 3, 60, training=True) == {"directions"}
    for lengths in (None, [60, 0, 31]):
        alone = on_one_thread(layer, x, state, lengths)
        for threads in (2, 3):
            with limit_threads(threads):
                assert_equal(run(layer, x, state, lengths), alone)


def test_memory_of_any_strides_and_tables(rng):
    layer = LSTM(20, 70, bidirectional=True, batch_first=False, seed=0)
    wide = rng.standard_normal((60, 6, 40)).astype(np.float32)
    for x in (wide[:, ::2, ::2], np.asfortranarray(wide[:, :3, :20])):
        with limit_threads(2):
            found = run(layer, x)
        assert_equal(found, on_one_thread(layer, x))
    model = Sequential(Embedding(12, 20, seed=0), LSTM(20, 70, bidirectional=True, seed=0))
    ids = rng.integers(0, 12, (3, 60))

    def train():
        y, pullback = model.forward(ids)
        grads = {}
        pullback(np.cos(y[0] if isinstance(y, tuple) else y), grads)
        return {"y": y[0] if isinstance(y, tuple) else y, **grads}

    with limit_threads(2):
        found = train()
    with limit_threads(1):
        assert_equal(found, train())


def test_gradients_are_added_to_those_there(rng):
    layer = GRU(20, 70, bidirectional=True, seed=0)
    x = rng.standard_normal((3, 60, 20)).astype(np.float32)

    def train(threads):
        grads = {name: np.ones_like(value) for name, value in layer.params.items()}
        with limit_threads(threads):
            (y, _), pullback = layer.forward(x)
            pullback(y, grads)
        return grads

    assert_equal(train(2), train(1))


def test_callers_that_share_the_pool(rng):
    """It serves one at a time; for the others one thread does both directions."""
    layer = LSTM(20, 70, bidirectional=True, seed=0)
    x = rng.standard_normal((3, 60, 20)).astype(np.float32)
    alone = on_one_thread(layer, x)

    def call(_):
        with limit_threads(2):
            return run(layer, x)

    with ThreadPoolExecutor(3) as callers:
        for found in callers.map(call, range(30)):
            assert_equal(found, alone)


def test_when_it_is_chosen():
    assert shared(LSTM(16, 64, bidirectional=True, seed=0), 1, 100) == {"directions"}
    assert shared(LSTM(16, 64, seed=0), 1, 100) != {"directions"}
    assert shared(LSTM(16, 64, bidirectional=True, seed=0), 1, 1) == {"one thread"}
    assert shared(LSTM(16, 64, bidirectional=True, seed=0), 1, 100, threads=1) == {"one thread"}
    assert shared(LSTM(16, 128, bidirectional=True, seed=0), 256, 100, threads=16) == {"rows"}
    assert "directions" not in shared(IndRNN(16, 64, bidirectional=True, seed=0), 8, 100)
    plan = LSTM(16, 64, bidirectional=True, seed=0).explain(1, 100, threads=2).layers[1]
    assert plan.threads == 2 and "direction" in plan.reason and plan.limit_seconds > 0
