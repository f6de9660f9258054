"""Sequential: states, lengths, names and gradients between layers."""

import numpy as np
import pytest

from rnnfast import gradcheck
from rnnfast.backend import use_backend
from rnnfast.layers import GRU, LSTM, RNN, Dense, Dropout, Embedding, Last, Layer, MeanPool, Sequential


def model(dtype=np.float64):
    return Sequential(
        Dense(3, 4, activation="tanh", dtype=dtype, seed=0),
        LSTM(4, 5, dtype=dtype, seed=1),
        Sequential(GRU(5, 4, dtype=dtype, seed=2), Dense(4, 4, dtype=dtype, seed=3)),
        RNN(4, 2, dtype=dtype, seed=4),
    )


def draw_state(rng, batch):
    """A state as `model` takes it."""
    h, c, g, r = (0.5 * rng.standard_normal((1, batch, size)) for size in (5, 5, 4, 2))
    return None, (h, c), (g, None), r


@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
@pytest.mark.parametrize("backend", ["reference", "native"])
def test_central_differences_with_states(rng, lengths, backend):
    with use_backend(backend):
        result = gradcheck(model(), rng.standard_normal((3, 4, 3)), draw_state(rng, 3), lengths=lengths)
    assert result, result
    assert {"x", "state[1][0]", "state[1][1]", "state[2][0]", "state[3]"} < result.errors.keys()


def test_chunks_carry_the_state(rng):
    layer, x = model(), rng.standard_normal((3, 8, 3))
    whole, final = layer(x)
    first, state = layer(x[:, :5])
    second, state = layer(x[:, 5:], state)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, rtol=0, atol=1e-14)
    np.testing.assert_allclose(state[1][1], final[1][1], rtol=0, atol=1e-14)
    assert state[0] is None
    assert state[2][1] is None


def test_gradients_of_state_and_output_come_alone_or_together(rng):
    layer, x = model(), rng.standard_normal((3, 4, 3))
    dy = rng.standard_normal(layer(x)[0].shape)
    dfinal = draw_state(rng, 3)

    def back(*args, **kwargs):
        _, pullback = layer.forward(x)
        grads = {}
        return pullback(*args, grads, **kwargs), grads

    dx, grads = back(dy)
    (dx_y, _), grads_y = back(dy, dstate=(None,) * 4)
    (dx_s, _), grads_s = back(None, dstate=dfinal)
    (dx_both, dstate_both), grads_both = back(dy, dstate=dfinal)
    np.testing.assert_array_equal(dx, dx_y)
    np.testing.assert_allclose(dx_both, dx_y + dx_s, rtol=0, atol=1e-14)
    assert grads.keys() == grads_both.keys() == layer.parameters().keys()
    for name in grads:
        np.testing.assert_allclose(grads_both[name], grads_y[name] + grads_s.get(name, 0), rtol=0, atol=1e-13)
    assert dstate_both[0] is None
    assert dstate_both[1][0].shape == dfinal[1][0].shape


def test_no_gradient_at_all_gives_none():
    layer = model()
    _, pullback = layer.forward(np.zeros((2, 3, 3)))
    assert pullback(None, {}) is None


def test_names_are_places():
    layer = Sequential(Embedding(4, 3, seed=0), LSTM(3, 2, seed=0), Last(), Dense(2, 1, seed=0))
    assert list(layer.parameters()) == [
        "0.weight",
        "1.weight_ih_l0",
        "1.weight_hh_l0",
        "1.bias_ih_l0",
        "1.bias_hh_l0",
        "3.weight",
        "3.bias",
    ]
    assert len(layer) == 4
    assert layer[3] is list(layer)[3]


class Probe(Layer):
    """Notes the lengths it is given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __call__(self, x, *, lengths=None):
        self.seen.append(lengths)
        return x

    def forward(self, x, *, lengths=None, rng=None):
        self.seen.append(lengths)
        return x, lambda dy, grads: dy


@pytest.mark.parametrize("pool", [Last(), MeanPool(), Sequential(Dropout(0.0), Last())])
def test_lengths_end_where_the_time_axis_does(pool):
    before, after = Probe(), Probe()
    layer = Sequential(before, pool, after)
    x, lengths = np.ones((2, 3, 4)), [1, 3]
    layer(x, lengths=lengths)
    layer.forward(x, lengths=lengths)
    assert before.seen == [lengths, lengths]
    assert after.seen == [None, None]
    assert layer.pools
    assert not Sequential(before).pools


def test_one_generator_feeds_all_dropout():
    layer = Sequential(Dropout(0.5), Dropout(0.5))
    x = np.ones((20, 30))
    (y, _), _ = layer.forward(x, rng=np.random.default_rng(0))
    (again, _), _ = layer.forward(x, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(y, again)
    assert 0.1 < (y > 0).mean() < 0.4  # both masks at work, and not the same one twice


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Sequential(), ValueError, "at least one layer"),
        (lambda: Sequential(Last(), 3), TypeError, r"layers\[1\] must be a Layer; got int"),
        (lambda: Sequential(*[Dropout(0.1)] * 2), ValueError, r"layers\[1\], Dropout\(p=0.1\), came before"),
        (lambda: model()(np.ones((1, 2, 3)), (None, None)), TypeError, "state must be a tuple of 4 .* got 2 of them"),
        (lambda: model()(np.ones((1, 2, 3)), 5), TypeError, "state must be a tuple of 4 entries.* got int"),
        (lambda: model().forward(np.ones((1, 2, 3)), (1, None, None, None)), ValueError, r"state\[0\] must be None"),
        (lambda: model().forward(np.ones((1, 2, 3)), rng=3), TypeError, "rng must be"),
        (lambda: model().forward(np.ones((1, 2, 3)))[1](None, {}, dstate=()), TypeError, "dstate must be a tuple of 4"),
    ],
)
def test_errors(build, error, message):
    with pytest.raises(error, match=message):
        build()
