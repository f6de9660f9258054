"""Elementwise recurrences: the papers' equations, central differences -> reference -> native, and what only native has.

Tolerances are those of test_native.py and for the same reasons: 1e-12 in float64, 8 * eps * sqrt(K) * T by the largest
element in float32, K being the terms of a pre-activation.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rnnfast import (
    QRNN,
    SRU,
    Dense,
    Embedding,
    IndRNN,
    MinGRU,
    MinLSTM,
    Sequential,
    Stream,
    gradcheck,
    limit_threads,
    use_backend,
)
from rnnfast.scans import SCANS

DTYPES = [np.float32, np.float64]
RAGGED = np.array([4, 0, 6, 1, 3])
KINDS = {
    "sru": (SRU, {}),
    "sru rescaled": (SRU, {"rescale": True, "highway_bias": -1.0}),
    "qrnn": (QRNN, {}),
    "qrnn f": (QRNN, {"output_gate": False}),
    "qrnn window": (QRNN, {"window": 3}),
    "qrnn zoneout": (QRNN, {"zoneout": 0.4, "window": 2}),
    "mingru": (MinGRU, {}),
    "mingru identity": (MinGRU, {"activation": "identity"}),
    "mingru tanh": (MinGRU, {"activation": "tanh"}),
    "minlstm": (MinLSTM, {}),
    "minlstm identity": (MinLSTM, {"activation": "identity"}),
    "minlstm tanh": (MinLSTM, {"activation": "tanh"}),
    "indrnn": (IndRNN, {}),
    "indrnn tanh": (IndRNN, {"nonlinearity": "tanh"}),
}


def make(kind, *args, **kwargs):
    cls, options = KINDS[kind]
    return cls(*args, **options, **{"init": "torch", "seed": 1, **kwargs})


def leaves(tree):
    return [leaf for branch in tree for leaf in leaves(branch)] if isinstance(tree, tuple) else [tree]


def random_state(layer, batch, rng):
    parts = tuple(0.5 * rng.standard_normal(s).astype(layer.dtype) for s in layer._state_shapes(batch))
    return parts if len(parts) > 1 else parts[0]


def run(layer, x, state=None, lengths=None, seed=3):
    """Return all that a forward and a backward pass give, by name."""
    rng = np.random.default_rng(seed)
    (y, final), pullback = layer.forward(x, state, lengths=lengths, rng=np.random.default_rng(9))
    dstate = tuple(rng.standard_normal(f.shape).astype(f.dtype) for f in leaves(final))
    grads = {}
    dy = rng.standard_normal(y.shape).astype(y.dtype)
    dx, dinitial = pullback(dy, grads, dstate=dstate if isinstance(final, tuple) else dstate[0])
    found = {"y": y, "dx": dx, **grads}
    found.update({f"final {k}": f for k, f in enumerate(leaves(final))})
    found.update({f"dstate {k}": d for k, d in enumerate(leaves(dinitial))})
    return found


@pytest.mark.parametrize("lengths", [None, RAGGED, np.zeros(5, np.int64)], ids=["full", "ragged", "empty"])
@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("kind", KINDS)
def test_missing_gradients_are_made(kind, backend, lengths):
    layer, x = make(kind, 4, 9, dtype=np.float64), np.random.default_rng(2).standard_normal((5, 6, 4))
    with use_backend(backend):
        made = {}
        added = {name: np.ones_like(array) for name, array in layer.parameters().items()}
        for grads in (made, added):
            (y, _), pullback = layer.forward(x, lengths=lengths, rng=np.random.default_rng(9))
            pullback(np.cos(y), grads)
    assert list(made) == list(layer.parameters())
    for name, grad in made.items():
        np.testing.assert_allclose(grad, added[name] - 1, rtol=0, atol=1e-13, err_msg=name)


def test_every_cell_is_here():
    used = {layer._cell(0).name for layer in (make(kind, 3, 5) for kind in KINDS)}
    assert used | {make("sru", 5, 5)._cell(0).name} == set(SCANS)


# The equations of the papers, once more and as plainly as can be: one sequence, one direction.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_the_paper(layer, x):
    p = {name[:-3]: array for name, array in layer.parameters().items()}
    hidden, h, out = layer.hidden_size, np.zeros(layer.hidden_size), []
    blocks = p["weight_ih"].reshape(-1, hidden, p["weight_ih"].shape[1])
    bias = p["bias_ih"].reshape(-1, hidden)
    g = {"positive": lambda a: np.where(a < 0, sigmoid(a), a + 0.5), "identity": lambda a: a, "tanh": np.tanh}
    for t, now in enumerate(x):
        if isinstance(layer, SRU):
            v, scale = p["weight_c"].reshape(2, hidden), 1.0
            f = sigmoid(blocks[1] @ now + v[0] * h + bias[0])
            r = sigmoid(blocks[2] @ now + v[1] * h + bias[1])
            if layer.rescale:
                scale = np.sqrt(1 + 2 * np.exp(layer.highway_bias))
            h = f * h + (1 - f) * (blocks[0] @ now)
            y = r * h + (1 - r) * scale * (blocks[3] @ now if len(blocks) == 4 else now)
        elif isinstance(layer, QRNN):
            a = bias.copy()
            for back in range(layer.window):
                if t >= back:
                    columns = slice((layer.window - 1 - back) * len(now), (layer.window - back) * len(now))
                    a += blocks[:, :, columns] @ x[t - back]
            f = 1 - (1 - layer.zoneout) * (1 - sigmoid(a[1]))
            h = f * h + (1 - f) * np.tanh(a[0])
            y = sigmoid(a[2]) * h if layer.output_gate else h
        elif isinstance(layer, MinGRU):
            z = sigmoid(blocks[0] @ now + bias[0])
            y = h = (1 - z) * h + z * g[layer.cell.nonlinearity](blocks[1] @ now + bias[1])
        elif isinstance(layer, MinLSTM):
            f, i = sigmoid(blocks[0] @ now + bias[0]), sigmoid(blocks[1] @ now + bias[1])
            y = h = f / (f + i) * h + i / (f + i) * g[layer.cell.nonlinearity](blocks[2] @ now + bias[2])
        else:
            a = blocks[0] @ now + bias[0] + p["weight_hh"] * h
            y = h = np.tanh(a) if layer.cell.nonlinearity == "tanh" else np.maximum(a, 0)
        out.append(y)
    return np.array(out), h


@pytest.mark.parametrize("inputs", [3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_is_the_paper(kind, inputs, rng):
    layer, x = make(kind, inputs, 5, dtype=np.float64), rng.standard_normal((1, 7, inputs))
    expected, last = by_the_paper(layer, x[0])
    with use_backend("reference"):
        y, state = layer(x)
    np.testing.assert_allclose(y[0], expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(leaves(state)[0][0, 0], last, rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("inputs, hidden, layers, both", [(5, 5, 1, False), (3, 4, 2, True)])
@pytest.mark.parametrize("kind", KINDS)
def test_central_differences(kind, inputs, hidden, layers, both, backend, rng):
    layer = make(kind, inputs, hidden, layers, bidirectional=both, dtype=np.float64)
    x = rng.standard_normal((5, 6, inputs))
    with use_backend(backend):
        result = gradcheck(layer, x, random_state(layer, 5, rng), lengths=RAGGED if both else None)
    assert result, result


def compare(layer, wide, x, state=None, lengths=None):
    """Hold a layer to the reference in float64 on the same numbers."""
    wide.load_state_dict(layer.state_dict())
    as_wide = None if state is None else tuple(s.astype(np.float64) for s in leaves(state))
    if as_wide is not None and len(as_wide) == 1:
        as_wide = as_wide[0]
    with use_backend("reference"):
        expected = run(wide, x.astype(np.float64), as_wide, lengths)
    found = run(layer, x, state, lengths)
    assert found.keys() == expected.keys()
    terms = max(p.shape[-1] for p in layer.parameters().values())
    relative = 8 * np.finfo(np.float32).eps * terms**0.5 * max(1, x.shape[1])
    for name, value in expected.items():
        assert found[name].dtype == layer.dtype and found[name].shape == value.shape, name
        bound = (1e-12 if layer.dtype == np.float64 else relative) * max(1.0, np.abs(value).max(initial=0))
        np.testing.assert_allclose(found[name], value, rtol=0, atol=bound, err_msg=name)


@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
@pytest.mark.parametrize("both", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_native_is_the_reference(kind, dtype, both, lengths, isa, rng):
    for inputs, hidden, bias in ((9, 9, True), (3, 75, False)):
        layer, wide = (make(kind, inputs, hidden, bias=bias, bidirectional=both, dtype=d) for d in (dtype, np.float64))
        x = rng.standard_normal((5, 6, inputs)).astype(dtype)
        compare(layer, wide, x, random_state(layer, 5, rng), lengths)


@pytest.mark.parametrize("kind", KINDS)
def test_native_is_the_reference_when_large(kind, rng):
    layer, wide = (make(kind, 70, 300, dtype=d) for d in (np.float32, np.float64))
    compare(layer, wide, rng.standard_normal((2, 130, 70)).astype(np.float32))


@pytest.mark.parametrize("batch, steps", [(0, 3), (3, 0), (1, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_small_shapes(kind, batch, steps, rng):
    layer, wide = (make(kind, 3, 4, 2, bidirectional=True, dtype=d) for d in (np.float32, np.float64))
    x = rng.standard_normal((batch, steps, 3)).astype(np.float32)
    compare(layer, wide, x)
    compare(layer, wide, x, lengths=np.zeros(batch, np.int64))


@pytest.mark.parametrize("kind", KINDS)
def test_strides(kind, rng):
    layer = make(kind, 4, 6, dtype=np.float64)
    x = rng.standard_normal((5, 6, 4))
    views = {
        "time-major": x.transpose(1, 0, 2).copy().transpose(1, 0, 2),
        "channels first": x.transpose(0, 2, 1).copy().transpose(0, 2, 1),
        "reversed": x[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
        "sliced": x.repeat(2, axis=1).repeat(2, axis=2)[:, ::2, ::2],
        "gaps": np.concatenate([x, x], axis=1)[:, :6],
    }
    expected = run(layer, x)
    for name, view in views.items():
        view.flags.writeable = False
        for key, value in run(layer, view).items():
            np.testing.assert_array_equal(value, expected[key], err_msg=f"{name} {key}")
    other = make(kind, 4, 6, dtype=np.float64, batch_first=False)
    found = run(other, x.transpose(1, 0, 2), seed=3)
    np.testing.assert_array_equal(found["y"].transpose(1, 0, 2), expected["y"])


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_does_not_leak(kind, backend, rng):
    layer = make(kind, 3, 5, bidirectional=True)
    x, state = rng.standard_normal((5, 6, 3)).astype(np.float32), random_state(layer, 5, rng)
    past = np.arange(6) >= RAGGED[:, None]
    with use_backend(backend), np.errstate(all="ignore"):
        clean = run(layer, x, state, RAGGED)
        x[past] = np.nan
        dirty = run(layer, x, state, RAGGED)
    for name, value in clean.items():
        np.testing.assert_array_equal(value, dirty[name], err_msg=name)
    assert not clean["y"][past].any() and not clean["dx"][past].any()
    for k, part in enumerate(leaves(state)):
        np.testing.assert_array_equal(clean[f"final {k}"][:, 1], part[:, 1])  # no step: the state stays


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_its_batch(kind, dtype, isa, rng):
    layer = make(kind, 7, 70, 2, dtype=dtype)
    x = rng.standard_normal((13, 9, 7)).astype(dtype)
    lengths = np.arange(13) % 10
    together, last = layer(x, lengths=lengths)
    for row in (3, 9, 12):
        alone, state = layer(x[row : row + 1, : lengths[row]])
        np.testing.assert_array_equal(alone[0], together[row, : lengths[row]])
        np.testing.assert_array_equal(leaves(state)[0][:, 0], leaves(last)[0][:, row])


@pytest.mark.parametrize("batch, hidden", [(2, 300), (40, 60)])  # units are shared, or sequences
@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_threads_changes_no_bit(kind, batch, hidden, rng):
    layer = make(kind, 33, hidden)
    x = rng.standard_normal((batch, 25, 33)).astype(np.float32)
    for lengths in (None, np.random.default_rng(0).integers(0, 26, batch)):
        with limit_threads(1):
            alone, quiet = run(layer, x, lengths=lengths), layer(x, lengths=lengths)[0]
        for threads in (2, 3):
            with limit_threads(threads):
                for name, value in run(layer, x, lengths=lengths).items():
                    np.testing.assert_array_equal(value, alone[name], err_msg=name)
                np.testing.assert_array_equal(layer(x, lengths=lengths)[0], quiet)


def test_long_calls_give_the_same_bits(rng):
    """Those of several rounds, fewer on two threads than on one, and fewer threads in some rounds where callers share
    the pool, which serves one at a time."""
    layer = SRU(256, 160, seed=0)  # an odd number of groups of units: sequences are shared
    x = rng.standard_normal((8, 1250, 256)).astype(np.float32)

    def call(threads):
        with limit_threads(threads):
            return layer(x)[0]

    with limit_threads(1):
        alone = run(layer, x[:4])
    with limit_threads(2):
        for name, value in run(layer, x[:4]).items():
            np.testing.assert_array_equal(value, alone[name], err_msg=name)
    expected = call(1)
    with ThreadPoolExecutor(2) as callers:
        for found in callers.map(call, (2, 2, 2, 2)):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch, hidden", [(1, 5), (7, 100)])
@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_is_the_whole_sequence(kind, batch, hidden, dtype, isa, rng):
    layer = make(kind, 5, hidden, 2, dtype=dtype)
    x, start = rng.standard_normal((batch, 6, 5)).astype(dtype), random_state(layer, batch, rng)
    whole, end = layer(x, start)
    if not getattr(layer, "zoneout", 0):
        np.testing.assert_array_equal(layer.forward(x, start)[0][0], whole)
    state, stream = start, Stream(layer, batch)
    stream.state = start
    for t in range(6):
        y, state = layer(x[:, t : t + 1], state)
        np.testing.assert_array_equal(y[:, 0], whole[:, t])
        np.testing.assert_array_equal(stream.step(x[:, t]), whole[:, t])
    for one, two, three in zip(leaves(state), leaves(stream.state), leaves(end), strict=True):
        np.testing.assert_array_equal(one, three)
        np.testing.assert_array_equal(two, three)


def test_a_stream_of_a_model_with_several_layers(rng):
    model = Sequential(Embedding(9, 4, seed=0), SRU(4, 6, 2, seed=1), QRNN(6, 5, window=2, seed=2), Dense(5, 3, seed=3))
    x = rng.integers(0, 9, (3, 8))
    whole, end = model(x)
    stream = Stream(model, 3)
    for t in range(4):
        np.testing.assert_array_equal(stream.step(x[:, t]), whole[:, t])
    with model.update():  # packed copies are made anew, the state stays
        pass
    with use_backend("reference"):
        np.testing.assert_allclose(stream.step(x[:, 4]), whole[:, 4], rtol=0, atol=1e-5)
    before = stream._buffers()
    for t in range(5, 8):
        np.testing.assert_allclose(stream.step(x[:, t]), whole[:, t], rtol=0, atol=1e-5)
    assert stream._buffers() == before
    np.testing.assert_allclose(stream.state[2][1], end[2][1], rtol=0, atol=1e-5)
    stream.reset(rows=[1])
    assert not stream.state[2][1][:, 1].any() and stream.state[2][1][:, 0].any()


@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_table(kind, lengths, rng):
    """A short table in front of the layer gives what the layer gives on rows taken from it."""
    table, layer = Embedding(4, 6, dtype=np.float64, seed=0), make(kind, 6, 6, bidirectional=True, dtype=np.float64)
    x = rng.integers(0, 4, (5, 6))
    (y, _), pullback = Sequential(table, layer).forward(x, lengths=lengths, rng=np.random.default_rng(9))
    rows, to_table = table.forward(x)
    (expected, _), back = layer.forward(rows, lengths=lengths, rng=np.random.default_rng(9))
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-14)
    dy, found, grads = rng.standard_normal(y.shape), {}, {}
    pullback(dy, found)
    to_table(back(dy, grads), own := {})
    np.testing.assert_allclose(found["0.weight"], own["weight"], rtol=0, atol=1e-12)
    for name, value in grads.items():
        np.testing.assert_allclose(found[f"1.{name}"], value, rtol=0, atol=1e-12, err_msg=name)


def test_gradients_are_added_in_place(rng):
    layer = make("sru", 3, 5, 2, dtype=np.float64)
    x = rng.standard_normal((2, 4, 3))
    once = run(layer, x)
    (y, _), pullback = layer.forward(x)
    flat = np.ones(2 * layer.num_parameters())
    views, at = {}, 0
    for name, array in layer.parameters().items():
        views[name] = flat[at : at + 2 * array.size : 2].reshape(array.shape)
        at += 2 * array.size
    grads = dict(views)
    r = np.random.default_rng(3)
    dstate = r.standard_normal((2, 2, 5))
    pullback(r.standard_normal(y.shape), grads, dstate=dstate)
    for name, view in views.items():
        assert grads[name] is view
        np.testing.assert_allclose(view, 1 + once[name], rtol=0, atol=1e-13)
    with pytest.raises(RuntimeError, match="called before"):
        pullback(y, {})


def test_zoneout_keeps_units_for_a_step():
    layer = QRNN(4, 64, zoneout=0.25, output_gate=False, dtype=np.float64, seed=0)
    x = np.random.default_rng(0).standard_normal((8, 50, 4))
    (y, _), _ = layer.forward(x, rng=np.random.default_rng(1))
    same = y[:, 1:] == y[:, :-1]
    assert abs(same.mean() - 0.25) < 0.01
    np.testing.assert_array_equal(layer.forward(x, rng=np.random.default_rng(1))[0][0], y)
    assert (layer.forward(x, rng=np.random.default_rng(2))[0][0] != y).any()
    assert not (layer(x)[0][:, 1:] == layer(x)[0][:, :-1]).any()


def test_closed_gates_of_the_minimal_lstm_stay_finite(isa):
    """Where both gates are too small for a number, their quotient is not 0 / 0."""
    layer = MinLSTM(1, 3, activation="identity", seed=0)
    with layer.update() as params:
        params["weight_ih_l0"][...] = 0
        params["bias_ih_l0"][...] = [-200] * 6 + [1] * 3
    found = run(layer, np.ones((1, 3, 1), np.float32))
    np.testing.assert_allclose(found["y"][0, :, 0], [0.5, 0.75, 0.875], rtol=1e-6)
    assert all(np.isfinite(value).all() for value in found.values())
