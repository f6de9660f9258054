"""Some rows of a stream take a step and the others stay: each has the bits it would have had alone."""

import gc
import sys

import numpy as np
import pytest
from option_table import ALONE, ALONE_IDS, make

from rnnfast import QRNN, SRU, IndRNN, MinGRU, MinLSTM, Stream, use_backend
from rnnfast._native import kernels
from rnnfast.cells import CELLS
from rnnfast.layers import GRU, LSTM, RNN, Dense, Embedding, Sequential
from rnnfast.threads import limit_threads

DTYPES = [np.float32, np.float64]


def same(a, b):
    """Return whether two states, or two arrays, hold the same bits."""
    if a is None or b is None:
        return a is b
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(p, q) for p, q in zip(a, b, strict=True))
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


def visits(rng, batch, steps):
    """Yield for each of some steps which rows take part, in any order: none, one, some or all of them."""
    for _ in range(steps):
        yield rng.permutation(batch)[: rng.integers(0, batch + 1)]
    yield np.array([batch - 1])
    yield np.arange(batch)


def serve(model, batch, inputs, rng, steps=12, ask=lambda rows: rows):
    """Let rows come and go at one stream; return what each was given, what it answered, and the stream."""
    stream = Stream(model, batch)
    given, answers = [[] for _ in range(batch)], [[] for _ in range(batch)]
    for rows in visits(rng, batch, steps):
        x = inputs(len(rows))
        y = stream.step(x, rows=ask(rows))
        for k, row in enumerate(rows):
            given[row].append(x[k])
            answers[row].append(y[k])
    return given, answers, stream


def held_to_whole_sequences(model, given, answers, stream):
    for row, (xs, ys) in enumerate(zip(given, answers, strict=True)):
        y, state = model(np.stack(xs)[None])
        assert same(np.stack(ys), y[0])
        assert same(stream.get_state(row), state)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("cell", CELLS)
def test_bits_are_those_of_each_row_alone(make_layer, rng, isa, cell, batch, dtype):
    layer = make_layer(cell, 5, 19, num_layers=2, dtype=dtype)
    found = serve(layer, batch, lambda n: rng.standard_normal((n, 5)).astype(dtype), rng)
    held_to_whole_sequences(layer, *found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "options"), ALONE, ids=ALONE_IDS)
def test_every_option(rng, isa, kind, options, dtype):
    layer = make(kind, options, 5, 19, num_layers=2, dtype=dtype)
    found = serve(layer, 5, lambda n: rng.standard_normal((n, 5)).astype(dtype), rng)
    held_to_whole_sequences(layer, *found)


SCANS = {
    "sru": lambda **kw: SRU(5, 19, num_layers=2, **kw),
    "sru of one width": lambda **kw: SRU(5, 5, num_layers=2, rescale=True, highway_bias=-1.0, **kw),
    "qrnn": lambda **kw: QRNN(5, 19, num_layers=2, output_gate=False, **kw),
    "qrnn window": lambda **kw: QRNN(5, 19, num_layers=2, window=3, zoneout=0.2, **kw),
    "qrnn window, narrower inputs later": lambda **kw: QRNN(9, 4, num_layers=2, window=2, **kw),
    "mingru": lambda **kw: MinGRU(5, 19, num_layers=2, **kw),
    "mingru tanh": lambda **kw: MinGRU(5, 19, activation="tanh", **kw),
    "minlstm": lambda **kw: MinLSTM(5, 19, num_layers=2, **kw),
    "minlstm identity": lambda **kw: MinLSTM(5, 19, activation="identity", **kw),
    "indrnn": lambda **kw: IndRNN(5, 19, num_layers=2, **kw),
    "indrnn tanh": lambda **kw: IndRNN(5, 19, nonlinearity="tanh", **kw),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("kind", SCANS)
def test_every_scan(rng, isa, kind, batch, dtype):
    layer = SCANS[kind](dtype=dtype, seed=1, init="torch")
    found = serve(layer, batch, lambda n: rng.standard_normal((n, layer.input_size)).astype(dtype), rng)
    held_to_whole_sequences(layer, *found)


@pytest.mark.parametrize("dtype", DTYPES)
def test_stack(rng, dtype):
    model = Sequential(
        Embedding(11, 5, dtype=dtype, seed=0),
        GRU(5, 40, dtype=dtype, seed=1),
        Dense(40, 7, activation="relu", dtype=dtype, seed=2, init="torch"),
        LSTM(7, 21, proj_size=12, zoneout=(0.1, 0.2), dtype=dtype, seed=3),
        QRNN(12, 14, window=3, dtype=dtype, seed=4),
        SRU(14, 14, dtype=dtype, seed=5),
        RNN(14, 9, dtype=dtype, seed=6),
        Dense(9, 11, activation="sigmoid", dtype=dtype, seed=7, init="torch"),
    )
    found = serve(model, 9, lambda n: rng.integers(0, 11, n), rng)
    held_to_whole_sequences(model, *found)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_on_threads(rng, threads):
    model = Sequential(LSTM(96, 160, proj_size=96, num_layers=2, seed=0), SRU(96, 160, seed=1), Dense(160, 96, seed=2))
    with limit_threads(threads):
        found = serve(model, 64, lambda n: rng.standard_normal((n, 96)).astype(np.float32), rng, steps=3)
    held_to_whole_sequences(model, *found)


ASKED = {
    "int32": lambda rows: rows.astype(np.int32),
    "list": lambda rows: rows.tolist(),
    "reversed": lambda rows: np.ascontiguousarray(rows[::-1])[::-1],
    "sliced": lambda rows: np.repeat(rows, 2)[::2],
}


@pytest.mark.parametrize("kind", ASKED)
def test_any_rows(rng, kind):
    model = LSTM(5, 9, seed=0)
    found = serve(model, 4, lambda n: rng.standard_normal((n, 5)).astype(np.float32), rng, ask=ASKED[kind])
    held_to_whole_sequences(model, *found)


def test_truth_values_and_a_single_number(rng):
    model = LSTM(5, 9, seed=0)
    stream, other = Stream(model, 4), Stream(model, 4)
    x = rng.standard_normal((2, 5)).astype(np.float32)
    assert same(stream.step(x, rows=[False, True, False, True]), other.step(x, rows=[1, 3]))
    assert same(stream.step(x[:1], rows=3), other.step(x[:1], rows=[3]))
    assert same(stream.state, other.state)


@pytest.mark.parametrize("kind", ["fortran", "reversed", "wider"])
def test_any_strides(rng, kind):
    make = {
        "fortran": np.asfortranarray,
        "reversed": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
        "wider": lambda a: a.astype(np.float64),
    }[kind]
    model = Sequential(LSTM(5, 9, seed=0), Dense(9, 4, seed=1))
    stream, other = Stream(model, 6), Stream(model, 6)
    for rows in visits(rng, 6, 5):
        x = rng.standard_normal((len(rows), 5)).astype(np.float32)
        expected = other.step(x, rows=rows)
        assert same(stream.step(make(x), rows=rows), expected)
        if kind != "wider":
            out = make(np.full_like(expected, np.nan))
            stream.set_state(other.get_state())
            assert stream.step(make(x), out, rows=rows) is out
            assert same(out, other.step(x, rows=rows))
    assert same(stream.state, other.state)


def test_out_may_be_x(rng):
    model = GRU(9, 9, num_layers=2, seed=0)
    stream, other = Stream(model, 5), Stream(model, 5)
    for _ in range(2):
        x = rng.standard_normal((3, 9)).astype(np.float32)
        expected = other.step(x, rows=[4, 0, 2])
        assert same(stream.step(x, x, rows=[4, 0, 2]), expected)


def test_follows_the_parameters_and_the_instruction_set(rng):
    model = LSTM(5, 19, dtype=np.float64, seed=0)
    stream, state, before = Stream(model, 3), None, kernels.get_isa()
    try:
        for isa in (kernels.isas() * 4)[:4]:
            kernels.set_isa(isa)
            x = rng.standard_normal((1, 5))
            expected, state = model(x[:, None], state)
            assert same(stream.step(x, rows=[1]), expected[:, 0])
            with model.update() as params:
                params["weight_hh_l0"] *= 1.1
    finally:
        kernels.set_isa(before)
    assert same(stream.get_state([1]), state)
    assert not any(part.any() for part in stream.get_state([0, 2]))


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("batch_first", [True, False])
def test_reference_backend(rng, batch_first, scan):
    first = QRNN(5, 9, window=3, seed=0, batch_first=batch_first, dtype=np.float64)
    if not scan:
        first = LSTM(5, 9, num_layers=2, batch_first=batch_first, dtype=np.float64, seed=0)
    model = Sequential(first, Dense(9, 4, dtype=np.float64))
    fast, slow = Stream(model, 6), Stream(model, 6)
    for rows in visits(rng, 6, 6):
        x = rng.standard_normal((len(rows), 5))
        out = np.full((len(rows), 4), np.nan)
        with use_backend("reference"):
            assert slow.step(x, out, rows=rows) is out
        np.testing.assert_allclose(fast.step(x, rows=rows), out, rtol=0, atol=1e-14)  # two orders of summation
    for a, b in zip(fast.state[0], slow.state[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)
    assert not same(fast.state, slow.state)  # so it was another path


@pytest.mark.parametrize("kind", ["plain", "options", "scans"])
def test_steady_state_allocates_nothing(kind):
    layers = {
        "plain": [LSTM(16, 64, seed=0)],
        "options": [LSTM(16, 96, proj_size=64, zoneout=(0.1, 0.2), layer_norm=True, seed=0)],
        "scans": [QRNN(16, 64, window=3, seed=0), SRU(64, 64, seed=0)],
    }[kind]
    stream = Stream(Sequential(*layers, Dense(64, 8, seed=1)), 6)
    x, out, rows = np.zeros((4, 16), np.float32), np.empty((4, 8), np.float32), np.array([5, 0, 3, 2])
    stream.step(x, out, rows)
    buffers, steps = stream._buffers(), [None] * 1000

    def run():
        before = sys.getallocatedblocks(), kernels.memory_use()[0]
        for _ in steps:
            stream.step(x, out, rows)
        return sys.getallocatedblocks() - before[0], kernels.memory_use()[0] - before[1]

    gc.collect()
    gc.disable()
    try:
        run()
        blocks, native = run()
    finally:
        gc.enable()
    assert blocks < 10  # what run itself holds
    assert native == 0
    assert stream._buffers() == buffers


def test_state_of_rows(rng):
    model = Sequential(LSTM(5, 9, num_layers=2, seed=0), Dense(9, 3), GRU(3, 4, seed=1))
    stream = Stream(model, 4)
    stream.step(rng.standard_normal((4, 5)).astype(np.float32))
    (h, c), nothing, g = whole = stream.state
    assert same(stream.get_state([3, 1]), ((h[:, [3, 1]], c[:, [3, 1]]), None, g[:, [3, 1]]))
    assert same(stream.get_state(np.array([False, True, False, True])), stream.get_state([1, 3]))
    assert nothing is None

    fresh = Stream(model, 2)
    fresh.set_state(stream.get_state(2), rows=1)  # a session moves to another stream
    x = rng.standard_normal((1, 5)).astype(np.float32)
    assert same(fresh.step(x, rows=1), stream.step(x, rows=2))
    assert not any(part.any() for part in (*fresh.get_state(0)[0], fresh.get_state(0)[2]))

    stream.set_state(whole)
    stream.set_state(None, rows=[0, 2])
    for part in (h, c, g):
        part[:, [0, 2]] = 0
    assert same(stream.state, ((h, c), None, g))


BAD = [
    ([0, 4], IndexError, r"rows must lie in 0\.\.3"),
    ([-1, 0], IndexError, r"rows must lie in 0\.\.3"),
    ([2, 2], ValueError, "rows must be different ones; got 2 more than once"),
    (np.array([2, 2]), ValueError, "rows must be different ones; got 2 more than once"),
    ([0.0, 1.0], TypeError, "rows must be integers"),
    ([[0, 1]], ValueError, "rows must have 1 dimensions"),
    ([True, True], ValueError, r"rows must have shape \(4,\) where it is bool"),
    ([0, 1, 2], ValueError, r"x must have shape \(3, 5\)"),
    ([], ValueError, r"x must have shape \(0, 5\)"),
    (None, ValueError, r"x must have shape \(4, 5\)"),
]


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(("rows", "error", "words"), BAD)
def test_bad_rows_change_nothing(rows, error, words, backend):
    stream = Stream(LSTM(5, 6, seed=0), 4)
    stream.step(np.ones((4, 5), np.float32))
    before = stream.state
    with use_backend(backend), pytest.raises(error, match=words):
        stream.step(np.ones((2, 5), np.float32), rows=rows)
    assert same(stream.state, before)
    assert stream.step(np.ones((2, 5), np.float32), rows=np.array([1, 2])).shape == (2, 6)  # no mark was left behind


def test_bad_out_and_bad_state():
    stream = Stream(LSTM(5, 6, seed=0), 4)
    x = np.ones((2, 5), np.float32)
    with pytest.raises(ValueError, match=r"out must have shape \(2, 6\); got \(4, 6\)"):
        stream.step(x, np.empty((4, 6), np.float32), rows=[0, 1])
    with pytest.raises(ValueError, match=r"state.* must have shape \(1, 2, 6\)"):
        stream.set_state(stream.state, rows=[0, 1])
    with pytest.raises(ValueError, match="rows must be different ones; got 1 more than once"):
        stream.set_state(None, rows=[1, 1])
    with pytest.raises(IndexError, match="rows"):
        stream.get_state(4)


def test_bad_indices_of_a_table():
    stream = Stream(Sequential(Embedding(7, 5), LSTM(5, 6)), 4)
    with pytest.raises(IndexError, match=r"^x must"):
        stream.step(np.array([1, 7]), rows=np.array([0, 1]))
    with pytest.raises(ValueError, match=r"x must have shape \(2,\)"):
        stream.step(np.array([1, 6, 0]), rows=np.array([0, 1]))
