"""A model fed one step at a time: the bits of the whole sequence, no allocation, and a state that can be had and set.

Nothing here has a tolerance but the comparison with the reference backend: a step runs the kernels of whole sequences.
"""

import gc
import sys
import threading

import numpy as np
import pytest

from rnnfast import Stream, use_backend
from rnnfast._native import kernels
from rnnfast.cells import CELLS
from rnnfast.layers import GRU, LSTM, Dense, Dropout, Embedding, Last, Sequential
from rnnfast.threads import limit_threads

DTYPES = [np.float32, np.float64]
T = 6


def same(a, b):
    """Return whether two states, or two arrays, hold the same bits."""
    if a is None or b is None:
        return a is b
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(p, q) for p, q in zip(a, b, strict=True))
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


def text_model(dtype=np.float32, activation="tanh"):
    return Sequential(
        Embedding(11, 5, dtype=dtype, seed=0),
        GRU(5, 19, num_layers=2, dropout=0.5, dtype=dtype, seed=1, init="torch"),
        Dropout(0.5),
        Dense(19, 7, activation=activation, dtype=dtype, seed=2, init="torch"),
        LSTM(7, 21, dtype=dtype, seed=3, init="torch"),
        Dense(21, 11, dtype=dtype, seed=4, init="torch"),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 3, 40])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("isa", kernels.isas())
def test_bits_are_those_of_the_sequence(make_layer, random_state, rng, isa, cell, layers, batch, dtype):
    before = kernels.get_isa()
    try:
        kernels.set_isa(isa)
        layer = make_layer(cell, 5, 19, num_layers=layers, dtype=dtype)
        x = rng.standard_normal((batch, T, 5)).astype(dtype)
        start = random_state(layer, batch)
        y, state = layer(x, start)
        stream = Stream(layer, batch)
        stream.state = start
        out = np.full((batch, 19), np.nan, dtype)
        for t in range(T):
            assert stream.step(x[:, t], out) is out
            assert same(out, y[:, t])
        assert same(stream.state, state)
    finally:
        kernels.set_isa(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 9])
@pytest.mark.parametrize("activation", [None, "relu", "tanh", "sigmoid"])
def test_stack(rng, activation, batch, dtype):
    model = text_model(dtype, activation)
    x = rng.integers(0, 11, (batch, T))
    y, state = model(x)
    stream = Stream(model, batch)
    for t in range(T):
        assert same(stream.step(x[:, t]), y[:, t])
    assert same(stream.state, state)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_large_steps_on_threads(rng, threads):
    model = Sequential(LSTM(96, 160, num_layers=2, seed=0), Dense(160, 96, seed=1))
    x = rng.standard_normal((64, 3, 96)).astype(np.float32)
    y, state = model(x)
    stream = Stream(model, 64)
    with limit_threads(threads):
        for t in range(3):
            assert same(stream.step(x[:, t]), y[:, t])
    assert same(stream.state, state)


STRIDES = {
    "fortran": np.asfortranarray,
    "reversed": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "sliced": lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "float64": lambda a: a.astype(np.float64),
    "list": lambda a: a.tolist(),
}


@pytest.mark.parametrize("kind", STRIDES)
@pytest.mark.parametrize("head", [False, True])
def test_any_input(rng, kind, head):
    model = Sequential(LSTM(5, 9, seed=0), Dense(9, 4, seed=1)) if head else LSTM(5, 9, seed=0)
    stream, other = Stream(model, 3), Stream(model, 3)
    for _ in range(3):
        x = rng.standard_normal((3, 5)).astype(np.float32)
        assert same(stream.step(STRIDES[kind](x)), other.step(x))


@pytest.mark.parametrize("kind", ["fortran", "reversed", "sliced"])
@pytest.mark.parametrize("head", [False, True])
def test_any_out(rng, kind, head):
    model = Sequential(LSTM(5, 9, seed=0), Dense(9, 9, seed=1)) if head else LSTM(5, 9, seed=0)
    stream, other = Stream(model, 3), Stream(model, 3)
    out = STRIDES[kind](np.full((3, 9), np.nan, np.float32))
    for _ in range(3):
        x = rng.standard_normal((3, 5)).astype(np.float32)
        assert stream.step(x, out) is out
        assert same(out, other.step(x))


@pytest.mark.parametrize("layers", [1, 2])
def test_out_may_be_x(rng, layers):
    model = GRU(9, 9, num_layers=layers, seed=0)
    stream, other = Stream(model, 3), Stream(model, 3)
    x = rng.standard_normal((3, 9)).astype(np.float32)
    expected = other.step(x)
    assert same(stream.step(x, x), expected)


@pytest.mark.parametrize("kind", ["lstm", "text"])
def test_steady_state_allocates_nothing(kind):
    model = LSTM(16, 64, seed=0) if kind == "lstm" else text_model()
    x = np.zeros((2, 16), np.float32) if kind == "lstm" else np.array([3, 4])
    out = np.empty((2, 64 if kind == "lstm" else 11), np.float32)
    stream = Stream(model, 2)
    stream.step(x, out)
    buffers = stream._buffers()
    steps = [None] * 1000

    def run(step):
        """Return by how many the interpreter's blocks and the native ones grow, at any time, over a thousand steps."""
        before = sys.getallocatedblocks(), kernels.memory_use()[0]
        for _ in steps:
            step()
        return sys.getallocatedblocks() - before[0], kernels.memory_use()[0] - before[1]

    gc.collect()
    gc.disable()
    try:
        run(lambda: stream.step(x, out))
        blocks, native = run(lambda: stream.step(x, out))
        kept = []
        grown, _ = run(lambda: kept.append(stream.step(x)))
        _, called = run(lambda: model(x[:, None]))
    finally:
        gc.enable()
    assert blocks < 10  # what run itself holds
    assert native == 0
    assert stream._buffers() == buffers
    assert grown >= 1000  # the counters do see what is allocated
    assert called >= 1000


@pytest.mark.parametrize("dtype", DTYPES)
def test_follows_the_parameters(rng, dtype):
    model = text_model(dtype)
    stream = Stream(model, 3)
    x = rng.integers(0, 11, (3, 3))
    state = None
    for t in range(3):
        expected, state = model(x[:, t : t + 1], state)
        assert same(stream.step(x[:, t]), expected[:, 0])
        with model.update() as params:  # one layer after the other
            name = list(params)[5 * t]
            params[name] *= 1.5
    assert same(stream.state, state)
    model.load_state_dict(text_model(dtype, None).state_dict())
    expected, state = model(x[:, :1], state)
    assert same(stream.step(x[:, 0]), expected[:, 0])


def test_follows_the_instruction_set(rng):
    model = LSTM(5, 19, dtype=np.float64, seed=0)
    before = kernels.get_isa()
    stream, x = Stream(model, 2), rng.standard_normal((2, 4, 5))
    try:
        for t, isa in enumerate((kernels.isas() * 4)[:4]):
            kernels.set_isa(isa)
            y = stream.step(x[:, t])
    finally:
        kernels.set_isa(before)
    np.testing.assert_allclose(y, model(x)[0][:, 3], rtol=0, atol=1e-14)  # a few ulp a step


@pytest.mark.parametrize("batch_first", [True, False])
def test_reference_backend(rng, batch_first):
    model = Sequential(
        LSTM(5, 9, num_layers=2, batch_first=batch_first, dtype=np.float64, seed=0), Dense(9, 4, dtype=np.float64)
    )
    fast, slow = Stream(model, 3), Stream(model, 3)
    out = np.empty((3, 4))
    for _ in range(T):
        x = rng.standard_normal((3, 5))
        with use_backend("reference"):
            assert slow.step(x, out) is out
        np.testing.assert_allclose(fast.step(x), out, rtol=0, atol=1e-14)  # two orders of summation, values below 1
    assert not same(fast.state, slow.state)  # so it was another path
    assert fast.state[1] is None
    for a, b in zip(fast.state[0], slow.state[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)


RESETS = [(None, [0, 1, 2, 3]), (2, [2]), ([0, 3], [0, 3]), (np.array([True, False, False, True]), [0, 3]), ([], [])]


@pytest.mark.parametrize(("rows", "gone"), RESETS)
def test_reset(rng, rows, gone):
    stream = Stream(Sequential(LSTM(5, 9, num_layers=2, seed=0), GRU(9, 4, seed=1)), 4)
    stream.step(rng.standard_normal((4, 5)).astype(np.float32))
    (h, c), g = expected = stream.state
    stream.reset(rows)
    for part in (h, c, g):
        part[:, gone] = 0
    assert same(stream.state, expected)


def test_state_is_a_copy_and_can_be_set(make_layer, random_state, rng):
    layer = make_layer("lstm", 5, 9, num_layers=2)
    stream = Stream(layer, 3)
    state = random_state(layer, 3)
    stream.state = tuple(np.asfortranarray(part.astype(np.float64)) for part in state)
    assert same(stream.state, state)
    stream.state[0][...] = 5
    assert same(stream.state, state)
    model = Sequential(layer, Dense(9, 2))
    stream = Stream(model, 3)
    stream.state = (state, None)
    assert same(stream.state, (state, None))
    for value in (None, (None, None)):
        stream.state = (state, None)
        stream.state = value
        assert not any(part.any() for part in stream.state[0])


def test_streams_of_one_model_on_many_threads(rng):
    model = Sequential(LSTM(24, 160, num_layers=2, seed=0), Dense(160, 3, seed=1))  # large enough to give the GIL away
    x = rng.standard_normal((4, 16, 20, 24)).astype(np.float32)
    expected = [model(part)[0] for part in x]
    found = [np.empty((16, 20, 3), np.float32) for _ in x]

    def serve(k):
        stream = Stream(model, 16)
        for t in range(20):
            found[k][:, t] = stream.step(x[k, :, t])

    threads = [threading.Thread(target=serve, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(map(same, found, expected))


def test_one_stream_refuses_two_threads():
    model = LSTM(256, 512, num_layers=4, seed=0)
    stream, x = Stream(model, 128), np.zeros((128, 256), np.float32)
    out = [np.empty((128, 512), np.float32) for _ in range(2)]
    failures, start = [], threading.Barrier(2)

    def serve(k):
        start.wait()
        for _ in range(20):
            try:
                stream.step(x, out[k])
            except RuntimeError as error:
                failures.append(str(error))
                return

    threads = [threading.Thread(target=serve, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures and "another thread" in failures[0]


BAD_STEPS = [
    (np.zeros((3, 4), np.float32), None, ValueError, r"x must have shape \(2, 4\)"),
    (np.zeros((2, 5), np.float32), None, ValueError, r"x must have shape \(2, 4\)"),
    (np.zeros(4, np.float32), None, ValueError, r"x must have shape \(2, 4\)"),
    (np.zeros((2, 4), complex), None, TypeError, "x must hold real numbers"),
    ("no", None, TypeError, "x must hold real numbers"),
    (np.zeros((2, 4), np.float32), np.zeros((2, 6)), TypeError, "out must be an ndarray of float32"),
    (np.zeros((2, 4), np.float32), [[0.0] * 6] * 2, TypeError, "out must be an ndarray"),
    (np.zeros((2, 4), np.float32), np.zeros((6, 2), np.float32), ValueError, r"out must have shape \(2, 6\)"),
    (
        np.zeros((2, 4), np.float32),
        np.broadcast_to(np.float32(0), (2, 6)),
        TypeError,
        "out must be writeable",
    ),
]


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(("x", "out", "error", "words"), BAD_STEPS)
def test_bad_step_changes_nothing(x, out, error, words, backend):
    stream = Stream(LSTM(4, 6, seed=0), 2)
    stream.step(np.ones((2, 4), np.float32))
    before = stream.state
    with use_backend(backend), pytest.raises(error, match=words):
        stream.step(x, out)
    assert same(stream.state, before)


@pytest.mark.parametrize(
    ("x", "error"),
    [
        ([0, 11], IndexError),
        ([-1, 0], IndexError),
        ([0.0, 1.0], TypeError),
        ([[0, 1]], ValueError),
        ([0, 1, 2], ValueError),
    ],
)
def test_bad_indices(x, error):
    with pytest.raises(error, match=r"^x must"):
        Stream(text_model(), 2).step(x)


@pytest.mark.parametrize("kind", [np.int32, np.uint8, list])
def test_other_integers(kind):
    stream, other = Stream(text_model(), 2), Stream(text_model(), 2)
    x = np.array([3, 9])
    assert same(stream.step(x.tolist() if kind is list else x.astype(kind)), other.step(x))


BAD_MODELS = [
    (lambda: LSTM(3, 4, bidirectional=True), ValueError, "one direction"),
    (lambda: Sequential(Dense(3, 4), LSTM(4, 4, bidirectional=True)), ValueError, r"model\[1\] must run in one"),
    (lambda: Sequential(LSTM(3, 4), Last()), TypeError, r"model\[1\] must be .*got Last"),
    (lambda: Sequential(Dense(3, 4)), TypeError, "must have a recurrent layer"),
    (lambda: Dense(3, 4), TypeError, "must have a recurrent layer"),
    (lambda: "model", TypeError, "model must be a recurrent layer"),
    (lambda: Sequential(LSTM(3, 4), Dense(5, 4)), ValueError, r"model\[1\] must take the 4 features"),
    (lambda: Sequential(LSTM(3, 4), Embedding(5, 4)), ValueError, r"model\[1\] must come first"),
    (lambda: Sequential(LSTM(3, 4), Dense(4, 4, dtype=np.float64)), ValueError, r"model\[1\] must be of float32"),
]


@pytest.mark.parametrize(("make", "error", "words"), BAD_MODELS)
def test_bad_model(make, error, words):
    with pytest.raises(error, match=words):
        Stream(make())


@pytest.mark.parametrize(("batch", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)])
def test_bad_batch(batch, error):
    with pytest.raises(error, match="batch"):
        Stream(LSTM(3, 4), batch)


@pytest.mark.parametrize(
    ("value", "error"),
    [(np.zeros((1, 2, 4)), TypeError), ((np.zeros((1, 2, 4)), np.zeros((1, 3, 4))), ValueError), ("no", TypeError)],
)
def test_bad_state(value, error):
    stream = Stream(LSTM(3, 4), 2)
    with pytest.raises(error, match="state"):
        stream.state = value


@pytest.mark.parametrize(
    ("rows", "error"), [(2, IndexError), (-1, IndexError), (0.5, TypeError), ([True], ValueError), ([[0]], ValueError)]
)
def test_bad_rows(rows, error):
    with pytest.raises(error, match="rows"):
        Stream(LSTM(3, 4), 2).reset(rows)
