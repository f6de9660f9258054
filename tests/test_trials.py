"""Short calls that come again and again are done on one thread now and then (csrc/trials.c): no bit shows it."""

import threading

import numpy as np
import pytest

import rnnfast
from rnnfast._native import kernels

CALLS = 120  # more than a trial waits for


@pytest.fixture(autouse=True)
def trials():
    """Trials as for users, with two threads."""
    kernels.assume_ready(False)
    rnnfast.set_num_threads(2)
    yield
    rnnfast.set_num_threads(None)
    kernels.assume_ready(True)


def differing(cell, shape, **options):
    """Return how many arrays of `CALLS` forward and backward calls are not those of one on one thread."""
    rows, steps, units = shape
    layer = getattr(rnnfast, cell)(units, units, seed=1, **options)
    rng = np.random.default_rng(2)
    x = rng.standard_normal((rows, steps, units)).astype(np.float32)
    dy = rng.standard_normal((rows, steps, layer(x)[0].shape[2])).astype(np.float32)

    def call():
        grads = {}
        (y, _), pullback = layer.forward(x)
        dx = pullback(dy, grads)[0]
        return [y, dx, layer(x)[0], *(grads[name] for name in sorted(grads))]

    with rnnfast.limit_threads(1):
        expected = call()
    count = 0
    for _ in range(CALLS):
        count += sum(not np.array_equal(a, b) for a, b in zip(call(), expected, strict=True))
    return count


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 2}], ids=["plain", "both", "stack"])
@pytest.mark.parametrize(
    ("cell", "shape"),
    [("LSTM", (1, 100, 64)), ("GRU", (8, 20, 32)), ("RNN", (3, 50, 50)), ("LSTM", (8, 5, 128)), ("RNN", (1, 30, 100))],
)
def test_same_bits(cell, shape, options):
    assert differing(cell, shape, **options) == 0


def test_same_bits_from_several_threads():
    counts = []

    def caller():
        counts.append(differing("LSTM", (3, 50, 32)))

    threads = [threading.Thread(target=caller) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [0, 0, 0]


def test_same_bits_of_a_stream():
    lstm = rnnfast.LSTM(128, 128, seed=3)
    x = np.random.default_rng(4).standard_normal((8, 2 * CALLS, 128)).astype(np.float32)
    with rnnfast.limit_threads(1):
        expected, _ = lstm(x)
    stream = rnnfast.Stream(lstm, batch=8)
    for t in range(2 * CALLS):
        assert np.array_equal(stream.step(x[:, t]), expected[:, t])
