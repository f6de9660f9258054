"""Gates of recurrent layers at every step: held against the layer's own states and one step at a time."""

import numpy as np
import pytest

from rnnfast import LSTM, Dense, gate_activations
from rnnfast.cells import CELLS

NAMES = {"lstm": "ifgohc", "gru": "rznh", "gru_reset_before": "rznh"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lengths", [None, [6, 0, 3]], ids=["full", "ragged"])
@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "rnn_sigmoid", *NAMES])
def test_states_are_those_of_the_layer(cell, lengths, dtype, make_layer, random_state, rng):
    layer = make_layer(cell, 4, 5, num_layers=2, bidirectional=True, dtype=dtype)
    x, state = rng.standard_normal((3, 6, 4)), random_state(layer, 3)
    y, final = layer(x, state, lengths=lengths)
    finals = final if isinstance(final, tuple) else (final,)
    valid = np.arange(6) < np.array([6, 6, 6] if lengths is None else lengths)[:, None]
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-12}
    for reverse in (False, True):
        found = gate_activations(layer, x, state, lengths=lengths, index=1, reverse=reverse)
        assert set(found) == set(NAMES.get(cell, "h"))
        half = y[..., 5:] if reverse else y[..., :5]
        assert np.allclose(np.where(valid[..., None], found["h"], 0), half, **tolerance)
        for name, values in zip(CELLS[layer.cell.name].states, finals, strict=True):
            for n in np.flatnonzero(valid.any(axis=1)):
                last = 0 if reverse else valid[n].sum() - 1
                assert np.allclose(found[name][n, last], values[3 if reverse else 2][n], **tolerance)
        for name, values in found.items():
            assert values.shape == (3, 6, 5) and np.array_equal(np.isfinite(values).all(axis=2), valid)
            if name in "ifoz" or name == "r":
                assert ((values[valid] >= 0) & (values[valid] <= 1)).all()


def test_gates_obey_their_equations(make_layer, rng):
    x = rng.standard_normal((2, 5, 3))
    found = gate_activations(make_layer("lstm", 3, 4, dtype="float64"), x)
    before = np.concatenate([np.zeros((2, 1, 4)), found["c"][:, :-1]], axis=1)
    assert np.allclose(found["c"], found["f"] * before + found["i"] * found["g"], atol=1e-14)
    assert np.allclose(found["h"], found["o"] * np.tanh(found["c"]), atol=1e-14)
    for cell in ("gru", "gru_reset_before"):
        found = gate_activations(make_layer(cell, 3, 4, dtype="float64"), x)
        before = np.concatenate([np.zeros((2, 1, 4)), found["h"][:, :-1]], axis=1)
        assert np.allclose(found["h"], (1 - found["z"]) * found["n"] + found["z"] * before, atol=1e-14)


def test_time_major_and_without_biases(make_layer, rng):
    x = rng.standard_normal((2, 5, 3))
    options = {"bias": False, "dtype": "float64"}
    first = gate_activations(make_layer("gru", 3, 4, **options), x)
    second = gate_activations(make_layer("gru", 3, 4, batch_first=False, **options), x.transpose(1, 0, 2))
    assert all(np.allclose(first[name], second[name], atol=1e-14) for name in first)
    assert gate_activations(make_layer("gru", 3, 4), x[:, :0])["z"].shape == (2, 0, 4)


def test_what_cannot_be_looked_into():
    x = np.zeros((1, 2, 3))
    with pytest.raises(TypeError, match="layer must be an RNN, LSTM or GRU; got Dense"):
        gate_activations(Dense(3, 3), x)
    with pytest.raises(ValueError, match="index must be less than num_layers = 1; got 1"):
        gate_activations(LSTM(3, 4), x, index=1)
    with pytest.raises(ValueError, match="reverse needs a bidirectional layer"):
        gate_activations(LSTM(3, 4), x, reverse=True)
    with pytest.raises(ValueError, match="x must have shape"):
        gate_activations(LSTM(3, 4), x[0])


def test_an_option_that_is_not_known_is_refused():
    class Other(LSTM):
        def __call__(self, x, state=None, *, lengths=None):
            y, state = super().__call__(x, state, lengths=lengths)
            return 1.01 * y, state

    with pytest.raises(ValueError, match="equations are not known here"):
        gate_activations(Other(3, 4), np.ones((1, 2, 3)))
