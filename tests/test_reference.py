"""The reference path against central differences, for every cell and every way to use it."""

import itertools

import numpy as np
import pytest

from rnnfast import gradcheck
from rnnfast.backend import use_backend
from rnnfast.cells import CELLS
from rnnfast.layers.dense import Dense
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.pooling import Last
from rnnfast.layers.recurrent import LSTM
from rnnfast.layers.sequential import Sequential

LENGTHS = {"full": None, "ragged": [3, 0, 5, 1]}


@pytest.mark.parametrize("start", ["zero", "given"])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("layers, bidirectional", list(itertools.product([1, 2], [False, True])))
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients(cell, bias, layers, bidirectional, lengths, start, make_layer, random_state, rng):
    layer = make_layer(cell, 3, 4, layers, bias=bias, bidirectional=bidirectional, dtype=np.float64)
    state = random_state(layer, 4) if start == "given" else None
    with use_backend("reference"):
        result = gradcheck(layer, rng.standard_normal((4, 5, 3)), state, lengths=LENGTHS[lengths])
    assert result, result
    assert set(result.errors) >= {"x", *layer.parameters()}
    assert len(result.errors) == 1 + len(layer.cell.states) + len(layer.parameters())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", [(1, 1, 2), (3, 1, 1), (1, 4, 2)])
def test_gradients_of_small_shapes(cell, shape, make_layer, random_state, rng):
    layer = make_layer(cell, shape[2], 1, dtype=np.float64)
    with use_backend("reference"):
        assert gradcheck(layer, rng.standard_normal(shape), random_state(layer, shape[0]))


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_with_dropout(cell, make_layer, rng):
    layer = make_layer(cell, 3, 8, 3, dropout=0.4, bidirectional=True, dtype=np.float64)
    with use_backend("reference"):
        result = gradcheck(layer, rng.standard_normal((4, 5, 3)), lengths=[5, 2, 0, 4])
    assert result, result


@pytest.mark.parametrize("cell", CELLS)
def test_time_major_is_the_same_transposed(cell, make_layer, rng):
    first = make_layer(cell, 3, 4, 2, bidirectional=True, dtype=np.float64)
    second = make_layer(cell, 3, 4, 2, bidirectional=True, dtype=np.float64, batch_first=False)
    x, dy = rng.standard_normal((2, 5, 3)), rng.standard_normal((2, 5, 8))
    with use_backend("reference"):
        (y, _), pullback = first.forward(x, lengths=[4, 5])
        (y_t, _), pullback_t = second.forward(x.transpose(1, 0, 2), lengths=[4, 5])
        grads, grads_t = {}, {}
        dx, dx_t = pullback(dy, grads), pullback_t(dy.transpose(1, 0, 2), grads_t)
    assert y_t.flags.c_contiguous and dx_t.flags.c_contiguous and y.flags.c_contiguous
    np.testing.assert_array_equal(y, y_t.transpose(1, 0, 2))
    np.testing.assert_array_equal(dx, dx_t.transpose(1, 0, 2))
    assert all(np.array_equal(grads[name], grads_t[name]) for name in grads)


def test_gradcheck_of_a_stack(make_layer, rng):
    model = Sequential(
        Embedding(7, 3, dtype=np.float64, seed=0),
        make_layer("gru", 3, 4, 2, bidirectional=True, dtype=np.float64),
        make_layer("lstm", 8, 4, dtype=np.float64),
        Last(),
        Dense(4, 2, dtype=np.float64, seed=0),
    )
    result = gradcheck(model, rng.integers(0, 7, (3, 5)), lengths=[2, 5, 3])
    assert result, result
    assert set(result.errors) == {"state[1]", "state[2][0]", "state[2][1]", *model.parameters()}


def test_a_wrong_gradient_is_found(rng):
    class Wrong(LSTM):
        def forward(self, *args, **kwargs):
            out, pullback = super().forward(*args, **kwargs)

            def wrong(dy, grads, dstate=None):
                result = pullback(dy, grads, dstate)
                grads["weight_hh_l0"][1, 2] += 1e-3
                return result

            return out, wrong

    layer = Wrong(3, 4, dtype=np.float64)
    before = layer.state_dict()
    result = gradcheck(layer, rng.standard_normal((2, 3, 3)))
    assert not result
    assert result.failed() == ["weight_hh_l0"]
    assert "weight_hh_l0" in repr(result) and "FAILED" in repr(result)
    assert all(np.array_equal(before[name], array) for name, array in layer.parameters().items())


def test_gradcheck_wants_float64(rng):
    with pytest.raises(ValueError, match=r"float64.*float32"):
        gradcheck(LSTM(3, 4), rng.standard_normal((2, 3, 3)))


def test_every_cell_has_a_layer():
    from conftest import MAKERS

    assert set(MAKERS) == set(CELLS)
    for name, (kind, options) in MAKERS.items():
        assert kind(1, 1, **options).cell is CELLS[name]
