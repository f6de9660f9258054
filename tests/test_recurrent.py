"""Recurrent layers as objects: parameters, initial values, configuration, copies, and values that are handed back."""

import copy
import pickle
import threading

import numpy as np
import pytest

from rnnfast.backend import use_backend
from rnnfast.cells import CELLS
from rnnfast.layers.recurrent import GRU, LSTM, RNN


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_default_initial_values(cell, dtype, make_layer):
    layer = make_layer(cell, 3, 5, 2, bidirectional=True, init="default", dtype=dtype)
    gates = layer.cell.gates
    for name, array in layer.parameters().items():
        assert array.dtype == dtype and not array.flags.writeable
        if "weight_hh" in name:
            for block in np.split(array.astype(np.float64), gates):
                np.testing.assert_allclose(block @ block.T, np.eye(5), atol=4 * np.finfo(dtype).eps)
        elif "weight_ih" in name:
            bound = np.sqrt(6 / (5 + array.shape[1]))
            assert 0.8 * bound < np.abs(array).max() <= bound
        else:
            expected = np.zeros(5 * gates)
            if "bias_ih" in name and layer.cell.forget:
                forget = 5 * layer.cell.order.index(layer.cell.forget)
                expected[forget : forget + 5] = 1
            np.testing.assert_array_equal(array, expected)


def test_torch_initial_values():
    layer = LSTM(3, 100, init="torch", seed=0)
    for array in layer.parameters().values():
        assert 0.095 < np.abs(array).max() <= np.float32(0.1)
        assert abs(array.mean()) < 0.02


@pytest.mark.parametrize("cell", CELLS)
def test_seed(cell, make_layer):
    def values(seed, **kwargs):
        return np.concatenate([a.ravel() for a in make_layer(cell, 3, 4, seed=seed, **kwargs).parameters().values()])

    np.testing.assert_array_equal(values(7), values(7))
    np.testing.assert_array_equal(values(7), values(np.random.default_rng(7)))
    np.testing.assert_array_equal(values(7), values(7, dtype=np.float64).astype(np.float32))
    assert not np.array_equal(values(7), values(8))
    assert not np.array_equal(values(None), values(None))


LAYERS = [
    RNN(3, 4, 2, "relu", dropout=0.25, bidirectional=True, seed=0),
    LSTM(3, 4, bias=False, batch_first=False, dtype=np.float64, seed=0),
    GRU(3, 4, 3, reset_after=False, init="torch", seed=0),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_configuration(layer):
    other = type(layer)(**layer.config())
    assert repr(other) == repr(layer) == repr(eval(repr(layer)))
    other.load_state_dict(layer.state_dict())
    x = np.ones((2, 2, 3))
    np.testing.assert_array_equal(other(x)[0], layer(x)[0])


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_stand_alone(layer, duplicate):
    x = np.ones((2, 2, 3))
    y = layer(x)[0]
    other = duplicate(layer)
    np.testing.assert_array_equal(other(x)[0], y)
    with other.update() as params:
        params["weight_hh_l0"] *= 2
    assert not np.array_equal(other(x)[0], y)
    np.testing.assert_array_equal(layer(x)[0], y)


def test_parameters_by_attribute():
    layer = GRU(3, 4, seed=0)
    assert np.shares_memory(layer.weight_ih_l0, layer.params["weight_ih_l0"])
    layer.bias_hh_l0 = np.arange(12)
    np.testing.assert_array_equal(layer.parameters()["bias_hh_l0"], np.arange(12))
    assert "bias_hh_l0" in dir(layer)
    assert not hasattr(GRU(3, 4, bias=False), "bias_hh_l0")


def test_what_is_handed_back_is_the_callers_own():
    layer = LSTM(3, 4, seed=0)
    state = (np.ones((1, 2, 4), np.float32), np.ones((1, 2, 4), np.float32))
    x = np.ones((2, 3, 3), np.float32)
    for steps, lengths in ((0, None), (3, [0, 0]), (3, None)):
        y, final = layer(x[:, :steps], state, lengths=lengths)
        arrays = [y, *final]
        assert all(a.flags.writeable and a.flags.c_contiguous for a in arrays)
        assert not any(np.shares_memory(a, s) for a in arrays for s in state)
        assert not np.shares_memory(*final)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_what_backward_reads_cannot_be_written_to(backend):
    layer = LSTM(3, 4, seed=0)
    x = np.zeros((2, 5, 3), np.float32)
    with use_backend(backend):
        (y, _), pullback = layer.forward(x)
        with pytest.raises(ValueError, match="read-only"):
            y[0] = 1
        pullback(y, {})
        y, _ = layer(x)
        y[0] = 1


@pytest.mark.parametrize("strides", ["features apart", "odd bytes"])
def test_inputs_that_cannot_be_read_where_they_are(strides, rng):
    layer = LSTM(3, 4, seed=0)
    x = rng.standard_normal((2, 5, 3)).astype(np.float32)
    if strides == "features apart":
        odd = np.zeros((2, 5, 6), np.float32)[..., ::2]
    else:
        odd = np.zeros((2, 5), np.dtype([("x", np.float32, 3), ("tail", np.uint8)]))["x"]
    odd[...] = x
    found = []
    for given in (x, odd):
        (y, _), pullback = layer.forward(given, lengths=[5, 2])
        grads = {}
        found.append((pullback(y, grads), grads))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    for name, gradient in found[0][1].items():
        np.testing.assert_array_equal(gradient, found[1][1][name])


def test_gradients_are_added_in_place():
    layer = LSTM(3, 4, 2, dtype=np.float64, seed=0)
    x, dy = np.ones((2, 3, 3)), np.ones((2, 3, 4))
    once = {}
    layer.forward(x)[1](dy, once)
    flat = np.ones(layer.num_parameters() + 1)  # as an optimiser keeps them: all in one
    grads, at = {}, 1
    for name, array in layer.parameters().items():
        grads[name] = flat[at : at + array.size].reshape(array.shape)
        at += array.size
    views = dict(grads)
    for _ in range(2):
        layer.forward(x)[1](dy, grads)
    assert flat[0] == 1
    for name, view in views.items():
        assert grads[name] is view
        np.testing.assert_allclose(view, 1 + 2 * once[name], rtol=1e-13)
    untouched = {"elsewhere": np.zeros(3)}
    layer.forward(x)[1](dy, untouched)
    assert set(untouched) == {"elsewhere", *layer.parameters()} and not untouched["elsewhere"].any()


def test_conversion_of_numbers():
    layer = GRU(3, 4, seed=0)
    x = np.arange(12).reshape(2, 2, 3)
    y = layer(x.astype(np.float32))[0]
    assert y.dtype == np.float32
    for same in (x, x.tolist(), x.astype(np.float64), x.astype(np.int8), x.astype(np.float16), x.astype(">f4")):
        np.testing.assert_array_equal(layer(same)[0], y)
    np.testing.assert_array_equal(layer(x > 3)[0], layer((x > 3).astype(np.float32))[0])


def test_state_is_a_value():
    layer = LSTM(3, 4, 2, seed=0)
    x = np.random.default_rng(0).standard_normal((2, 6, 3))
    y, state = layer(x)
    first, middle = layer(x[:, :2])
    kept = tuple(s.copy() for s in middle)
    second, end = layer(x[:, 2:], middle)
    np.testing.assert_allclose(np.concatenate([first, second], 1), y, rtol=0, atol=1e-6)
    np.testing.assert_allclose(end, state, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(middle, kept)


def test_one_layer_serves_many_threads():
    layer = LSTM(5, 20, 2, dtype=np.float64, seed=0)
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((n, 9, 5)) for n in range(1, 7)]
    expected, found = [layer(x)[0] for x in inputs], [None] * len(inputs)

    def work(k):
        for _ in range(20):
            found[k] = layer(inputs[k])[0]

    with layer.update():  # packed copies are made anew, by all threads at once
        pass
    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_dropout_acts_between_layers_and_in_training_alone(backend):
    """Layers that hand on ones show what was dropped: nothing of the input, of the output, or in inference."""
    p, hidden, layers = 0.25, 50, 3
    layer = RNN(hidden, hidden, layers, "relu", bias=False, dropout=p, dtype=np.float64)
    for k in range(layers):
        own = {f"weight_ih_l{k}": np.eye(hidden), f"weight_hh_l{k}": np.zeros((hidden, hidden))}
        layer.load_state_dict(own, strict=False)
    x = np.ones((4, 30, hidden))
    with use_backend(backend):
        np.testing.assert_array_equal(layer(x)[0], x)
        (y, state), _ = layer.forward(x, rng=np.random.default_rng(0))
    kept = 1 / (1 - p)
    assert {*np.unique(y)} == {0, kept**2}  # two gaps, no third place
    assert {*np.unique(state[0])} == {1} and {*np.unique(state[1])} == {0, kept}
    assert abs((y > 0).mean() - (1 - p) ** 2) < 0.03  # of 6000, five standard deviations


def flipped(x, lengths):
    """Return x (N, T, C) with the valid steps of each row turned round."""
    out = x.copy()
    for row, n in zip(out, lengths, strict=True):
        row[:n] = row[:n][::-1].copy()
    return out


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_is_its_layers_and_directions(cell, backend, make_layer, random_state, rng):
    """Two layers in both directions are four plain ones: those of the reverse direction see rows turned round."""
    hidden, lengths = 4, [5, 0, 3]
    stack = make_layer(cell, 3, hidden, 2, bidirectional=True, dtype=np.float64)
    x, dy = rng.standard_normal((3, 5, 3)), rng.standard_normal((3, 5, 2 * hidden))
    states, dstates = random_state(stack, 3), random_state(stack, 3)

    def part(state, k):
        return tuple(s[k : k + 1] for s in state) if isinstance(state, tuple) else state[k : k + 1]

    with use_backend(backend):
        (y, final), pullback = stack.forward(x, states, lengths=lengths)
        grads, found = {}, {}
        dx, dinitial = pullback(dy, grads, dstate=dstates)
        below, plain = x, []
        for k in range(4):
            suffix = f"_l{k // 2}" + "_reverse" * (k % 2)
            one = make_layer(cell, below.shape[2], hidden, dtype=np.float64)
            own = {n.removesuffix(suffix) + "_l0": v for n, v in stack.params.items() if n.endswith(suffix)}
            one.load_state_dict(own)
            feed = flipped(below, lengths) if k % 2 else below
            (out, end), back = one.forward(feed, part(states, k), lengths=lengths)
            np.testing.assert_allclose(end, part(final, k), rtol=0, atol=1e-14)
            plain.append((suffix, flipped(out, lengths) if k % 2 else out, back))
            if k % 2:
                below = np.concatenate([plain[-2][1], plain[-1][1]], axis=2)
        np.testing.assert_allclose(y, below, rtol=0, atol=1e-14)
        above = dy
        for k in (3, 1):
            total = 0
            for d in (k - 1, k):
                suffix, _, back = plain[d]
                half = above[:, :, d % 2 * hidden :][:, :, :hidden]
                own = {}
                dpart, dstart = back(flipped(half, lengths) if d % 2 else half, own, dstate=part(dstates, d))
                total = total + (flipped(dpart, lengths) if d % 2 else dpart)
                np.testing.assert_allclose(dstart, part(dinitial, d), rtol=0, atol=1e-13)
                found.update({n.removesuffix("_l0") + suffix: g for n, g in own.items()})
            above = total
    np.testing.assert_allclose(dx, above, rtol=0, atol=1e-13)
    assert found.keys() == grads.keys()
    for name, gradient in grads.items():
        np.testing.assert_allclose(gradient, found[name], rtol=0, atol=1e-12, err_msg=name)
