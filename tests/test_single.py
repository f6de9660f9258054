"""Calls that go the short way give the bits of the general one, and what does not fit it takes the other."""

import copy
import itertools
import pickle
from functools import partial

import numpy as np
import pytest
from given import OTHERS, SIZES, STRIDES

from rnnfast import use_backend
from rnnfast._native import single
from rnnfast.cells import CELLS
from rnnfast.direct import Direct
from rnnfast.layers import GRU, LSTM, QRNN, RNN, SRU, IndRNN, MinGRU, MinLSTM

# Of these inference goes the short way too.
SCANS = {
    "sru": SRU,
    "qrnn": QRNN,
    "qrnn f": partial(QRNN, output_gate=False),
    "mingru": MinGRU,
    "minlstm": MinLSTM,
    "indrnn": IndRNN,
    "no bias": partial(IndRNN, bias=False),
}


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def general(layer, x, state, dy, grads, lengths=None):
    """The way of all arguments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Direct, "forward", lambda *given: None)
        (y, final), pullback = layer.forward(x, state, lengths=lengths)
        return y, final, pullback(dy, grads)


def ragged(rng, batch, steps):
    """Lengths among which are the most and, where there is room, none."""
    lengths = rng.integers(0, steps + 1, batch)
    lengths[:2] = [steps, 0][:batch]
    return lengths


@pytest.fixture
def short(monkeypatch):
    """What the short way has returned, one entry for each call."""
    seen = []
    for name in ("forward", "backward"):
        before = getattr(single, name)
        monkeypatch.setattr(single, name, lambda *a, before=before: (seen.append(before(*a)), seen[-1])[1])
    return seen


@pytest.mark.parametrize("strides", STRIDES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("inputs", [6, 19])
@pytest.mark.parametrize("cell", [*CELLS, *SCANS])
def test_bits(make_layer, random_state, rng, short, cell, inputs, batch_first, dtype, strides):
    make = partial(SCANS[cell], init="torch", seed=1) if cell in SCANS else partial(make_layer, cell)
    layer = make(inputs, 19, batch_first=batch_first, dtype=dtype)
    for (batch, steps), given, uneven in itertools.product(SIZES, [True, False], [True, False]):
        shape = (batch, steps) if batch_first else (steps, batch)
        lengths = ragged(rng, batch, steps) if uneven else None
        x = STRIDES[strides](rng.standard_normal((*shape, inputs)).astype(dtype))
        dy = STRIDES[strides](rng.standard_normal((*shape, 19)).astype(dtype))
        state = random_state(layer, batch) if given else None
        expected_grads = {}
        y, final, dx = general(layer, x, state, dy, expected_grads, lengths)
        if given:
            state = tuple(map(STRIDES[strides], parts(state)))
            state = state if len(state) > 1 else state[0]
        short.clear()
        (found, end), pullback = layer.forward(x, state, lengths=lengths)
        grads = {}
        found_dx = pullback(dy, grads)
        assert len(short) == 2 and all(value is not None for value in short)
        np.testing.assert_array_equal(found, y, strict=True)
        np.testing.assert_array_equal(found_dx, dx, strict=True)
        assert not found.flags.writeable and type(end) is type(final)
        for a, b in zip(parts(end), parts(final), strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
        assert list(grads) == list(expected_grads)
        for name, value in expected_grads.items():
            np.testing.assert_array_equal(grads[name], value, strict=True)
        if cell in SCANS or uneven:
            short.clear()
            alone, last = layer(x, state, lengths=lengths)
            assert len(short) == 1 and short[0] is not None and alone.flags.writeable
            for a, b in zip((alone, *parts(last)), (y, *parts(final)), strict=True):
                np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize(
    "lengths", [[3, 1], np.array([3, 1], np.int32), np.array([3, 0, 1])[::2], np.array([3, 3]).astype(">i8")]
)
def test_lengths_of_other_kinds_go_the_general_way(rng, short, lengths):
    layer = RNN(4, 6, seed=0)
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    (y, _), _ = layer.forward(x, lengths=lengths)
    assert short == [None]
    assert not y[1, int(lengths[1]) :].any()


@pytest.mark.parametrize("lengths", [np.array([3, 4]), np.array([-1, 3]), np.array([3]), np.array([1.0, 2.0])])
def test_lengths_that_do_not_fit(lengths):
    layer = RNN(4, 6, seed=0)
    with pytest.raises((ValueError, TypeError), match="lengths"):
        layer.forward(np.zeros((2, 3, 4), np.float32), lengths=lengths)
    with pytest.raises((ValueError, TypeError), match="lengths"):
        layer(np.zeros((2, 3, 4), np.float32), lengths=lengths)


@pytest.mark.parametrize("options", [{"window": 2}, {"zoneout": 0.5}, {"num_layers": 2}, {"bidirectional": True}])
def test_scans_that_draw_or_look_back_or_are_several_go_the_general_way(rng, short, options):
    layer = QRNN(4, 6, seed=0, **options)
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    (y, _), pullback = layer.forward(x)
    pullback(np.ones_like(y), {})
    assert not short


@pytest.mark.parametrize(
    "layer",
    [
        LSTM(4, 9, peephole=True, proj_size=5, seed=0),
        LSTM(4, 9, layer_norm=True, cell_clip=0.3, seed=0),
        GRU(4, 9, layer_norm=True, seed=0),
        GRU(4, 9, reset_after=False, bias=False, seed=0),
    ],
    ids=["projection", "layer norm", "layer norm of GRU", "no bias"],
)
def test_options_that_draw_nothing_go_the_short_way(layer, random_state, rng, short):
    x, state = rng.standard_normal((3, 5, 4)).astype(np.float32), random_state(layer, 3)
    expected_grads, grads = {}, {}
    (y, _), pullback = layer.forward(x, state)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    dx = pullback(dy, grads)
    assert len(short) == 2 and all(value is not None for value in short)
    expected = general(layer, x, state, dy, expected_grads)
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(dx, expected[2])
    for name, value in expected_grads.items():
        np.testing.assert_array_equal(grads[name], value)


def test_gradients_are_added_to_those_there(rng):
    layer = LSTM(4, 6, seed=0)
    x, dy = rng.standard_normal((2, 3, 4)).astype(np.float32), rng.standard_normal((2, 3, 6)).astype(np.float32)
    once, twice = {}, {}
    layer.forward(x)[1](dy, once)
    for _ in range(2):
        layer.forward(x)[1](dy, twice)
    for name, value in once.items():
        np.testing.assert_allclose(twice[name], 2 * value, rtol=1e-5, atol=1e-7)
    some = {"weight_hh_l0": np.ones_like(once["weight_hh_l0"]), "bias_ih_l0": None, "other": 3}
    kept = some["weight_hh_l0"]
    layer.forward(x)[1](dy, some)
    assert some["weight_hh_l0"] is kept and some.pop("other") == 3
    np.testing.assert_allclose(kept, 1 + once["weight_hh_l0"], rtol=1e-6)
    np.testing.assert_array_equal(some["bias_ih_l0"], once["bias_ih_l0"])
    assert some.keys() == once.keys()


@pytest.mark.parametrize("kind", OTHERS)
def test_what_needs_conversion_is_left_to_others(rng, random_state, short, kind):
    layer = LSTM(4, 6, seed=0)
    x, state = rng.standard_normal((2, 3, 4)).astype(np.float32), random_state(layer, 2)
    (y, _), _ = layer.forward(*OTHERS[kind](x, state))
    assert short == [None]
    np.testing.assert_array_equal(y, layer(x, state)[0])


GRADIENTS = {  # of the output, of the state, those there
    "a list": lambda dy, layer: (dy.tolist(), None, {}),
    "none": lambda dy, layer: (None, None, {}),
    "of the state too": lambda dy, layer: (dy, np.ones((1, 2, 6), np.float32), {}),
    "a kind of dict": lambda dy, layer: (dy, None, type("Own", (dict,), {})()),
    "strided": lambda dy, layer: (dy, None, {"weight_ih_l0": np.zeros((6, 8), np.float32)[:, ::2]}),
    "of a subclass": lambda dy, layer: (dy, None, {"weight_ih_l0": np.zeros((6, 4), np.float32).view(np.recarray)}),
}


@pytest.mark.parametrize("cell", [RNN, IndRNN])
@pytest.mark.parametrize("kind", GRADIENTS)
def test_gradients_of_other_kinds(rng, monkeypatch, kind, cell):
    layer = cell(4, 6, seed=0)
    x, dy = rng.standard_normal((2, 3, 4)).astype(np.float32), rng.standard_normal((2, 3, 6)).astype(np.float32)
    results = []
    for way in ("short", "general"):
        given, dstate, grads = GRADIENTS[kind](dy, layer)
        if way == "general":
            monkeypatch.setattr(Direct, "forward", lambda *given: None)
        _, pullback = layer.forward(x)
        dx = pullback(given, grads, dstate) if dstate is not None else pullback(given, grads)
        results.append([*(dx if isinstance(dx, tuple) else (dx,)), *[grads[name] for name in layer.params]])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("dy", "grads", "error", "words"),
    [
        (np.zeros((2, 3, 5), np.float32), {}, ValueError, "dy must have shape"),
        ("text", {}, TypeError, "dy"),
        (np.zeros((2, 3, 6), np.float32), [], TypeError, "grads must be a dict"),
        (np.zeros((2, 3, 6), np.float32), {"weight_ih_l0": 1.0}, TypeError, "weight_ih_l0"),
        (np.zeros((2, 3, 6), np.float32), {"weight_ih_l0": np.zeros((6, 5), np.float32)}, ValueError, "shape"),
        (np.zeros((2, 3, 6), np.float32), {"weight_ih_l0": np.zeros((6, 4))}, ValueError, "float64"),
        (np.zeros((2, 3, 6), np.float32), {"bias_hh_l0": np.broadcast_to(np.float32(0), 6)}, TypeError, "read-only"),
    ],
)
def test_a_pullback_that_has_refused_can_be_called_again_and_then_once(dy, grads, error, words):
    layer = RNN(4, 6, seed=0)
    (y, _), pullback = layer.forward(np.zeros((2, 3, 4), np.float32))
    with pytest.raises(error, match=words):
        pullback(dy, grads)
    assert pullback(np.ones_like(y), {}).shape == (2, 3, 4)
    with pytest.raises(RuntimeError, match="called"):
        pullback(np.ones_like(y), {})


def test_the_reference_never_goes_the_short_way(rng, short):
    layer = LSTM(4, 6, seed=0)
    with use_backend("reference"):
        _, pullback = layer.forward(rng.standard_normal((2, 3, 4)).astype(np.float32))
    pullback(np.ones((2, 3, 6), np.float32), {})
    assert not short


def outputs(layer, x):
    """What both ways of calling a layer return, and its gradients."""
    (y, state), pullback = layer.forward(x)
    grads = {}
    return [*layer(x), y, state, pullback(np.ones_like(y), grads), *grads.values()]


@pytest.mark.parametrize("cell", [RNN, SRU])
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_what_a_layer_has_settled_is_its_own(rng, cell, clone):
    layer = cell(4, 4, seed=0)
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    before = outputs(layer, x)
    other = clone(layer)
    with other.update() as params:
        params["weight_ih_l0"] *= 2
    for one, two in zip(before, outputs(layer, x), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(outputs(other, x)[0], before[0])
    layer.weight_ih_l0 = other.weight_ih_l0
    for one, two in zip(outputs(layer, x), outputs(other, x), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("cell", [RNN, SRU])
def test_an_attribute_counts_from_the_next_call_on(rng, cell):
    layer, other = cell(4, 4, seed=0), cell(4, 4, seed=0, batch_first=False)
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    outputs(layer, x)
    layer.batch_first = False
    for one, two in zip(outputs(layer, x), outputs(other, x), strict=True):
        np.testing.assert_array_equal(one, two)


def test_an_attribute_of_the_users_own_packs_nothing_anew(rng):
    layer = RNN(4, 4, seed=0)
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    layer(x)
    packed = layer._packed()[0][0].cache["packed"]
    layer.remark = "mine"
    layer(x)
    assert layer._packed()[0][0].cache["packed"] is packed
