"""An embedding straight before a recurrent layer: the table is projected, not the steps, and nothing else changes."""

import numpy as np
import pytest

from rnnfast import gradcheck
from rnnfast.backend import use_backend
from rnnfast.layers import GRU, LSTM, RNN, Dense, Embedding, Sequential
from rnnfast.rows import Lookup
from rnnfast.threads import limit_threads

KINDS = {
    "rnn": lambda *a, **k: RNN(*a, nonlinearity="relu", **k),
    "lstm": LSTM,
    "gru": GRU,
    "gru_reset_before": lambda *a, **k: GRU(*a, reset_after=False, **k),
}
OPTIONS = [
    {},
    {"bidirectional": True},
    {"bidirectional": True, "num_layers": 2, "bias": False},
    {"batch_first": False},
]


def make(kind, dtype, hidden=21, vocabulary=9, padding_idx=None, **options):
    embedding = Embedding(vocabulary, 6, padding_idx, dtype=dtype, seed=0)
    layer = KINDS[kind](6, hidden, dtype=dtype, seed=1, **options)
    rng = np.random.default_rng(2)
    with layer.update() as params:
        for value in params.values():
            value[...] = rng.standard_normal(value.shape) / np.sqrt(hidden)
    return embedding, layer


def run(embedding, layer, x, dy, lengths, together):
    """Return output, state and gradients, of the two layers as one model or one after the other."""
    grads = {}
    if together:
        model = Sequential(embedding, layer)
        plain, _ = model(x, lengths=lengths)
        (y, state), pullback = model.forward(x, lengths=lengths)
        pullback(dy, grads)
        np.testing.assert_array_equal(plain, y)
        return y, state[1], grads
    rows, pull_rows = embedding.forward(x)
    (y, state), pullback = layer.forward(rows, lengths=lengths)
    own = {}
    drows = pullback(dy, own)
    table = {}
    pull_rows(drows, table)
    return y, state, {"0.weight": table["weight"], **{f"1.{name}": g for name, g in own.items()}}


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_model_equals_its_layers(backend, kind, dtype, options, ragged):
    embedding, layer = make(kind, dtype, padding_idx=4, **options)
    rng = np.random.default_rng(3)
    batch, steps = 7, 8
    shape = (batch, steps) if layer.batch_first else (steps, batch)
    x = rng.integers(0, 9, shape)
    dy = rng.standard_normal((*shape, 21 * (2 if layer.bidirectional else 1))).astype(dtype)
    lengths = rng.integers(0, steps + 1, batch) if ragged else None
    assert isinstance(embedding.lookup(x), Lookup)
    with use_backend(backend):
        y, state, grads = run(embedding, layer, x, dy, lengths, True)
        y0, state0, grads0 = run(embedding, layer, x, dy, lengths, False)
    compare = np.testing.assert_array_equal if backend == "native" else np.testing.assert_allclose
    exact = {} if backend == "native" else {"rtol": 1e-5, "atol": 1e-6}
    compare(y, y0, **exact)  # the same chain of operations, wherever it runs
    for part, part0 in zip(np.atleast_1d(state), np.atleast_1d(state0), strict=True):
        compare(part, part0, **exact)
    bound = 2e-5 if dtype is np.float32 else 1e-13  # sums over steps in another order
    assert grads.keys() == grads0.keys()
    for name in grads:
        np.testing.assert_allclose(grads[name], grads0[name], rtol=0, atol=bound * (1 + np.abs(grads0[name]).max()))
    assert not grads["0.weight"][4].any()


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_threads_change_no_bit(kind, ragged):
    embedding, layer = make(kind, np.float32, hidden=130, vocabulary=50)
    rng = np.random.default_rng(4)
    x = rng.integers(0, 50, (40, 30))
    dy = rng.standard_normal((40, 30, 130)).astype(np.float32)
    lengths = rng.integers(0, 31, 40) if ragged else None
    found = []
    for threads in (1, 2, 5):
        with limit_threads(threads):
            found.append(run(embedding, layer, x, dy, lengths, True))
    for y, _, grads in found[1:]:
        np.testing.assert_array_equal(y, found[0][0])
        for name, value in grads.items():
            np.testing.assert_array_equal(value, found[0][2][name])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_central_differences(kind):
    embedding, layer = make(kind, np.float64, hidden=5, bidirectional=True)
    model = Sequential(embedding, layer, Dense(10, 3, dtype=np.float64, seed=5))
    x = np.random.default_rng(6).integers(0, 9, (4, 6))
    found = gradcheck(model, x, lengths=[6, 0, 3, 5])
    assert found, found


def test_a_long_table_is_gathered():
    embedding, layer = make("lstm", np.float32, vocabulary=9)
    assert not isinstance(embedding.lookup([[1, 2, 3]]), Lookup)
    y, _ = Sequential(embedding, layer)([[1, 2, 3]])
    np.testing.assert_array_equal(y, layer(embedding([[1, 2, 3]]))[0])


def test_a_table_that_does_not_fit_names_the_shape():
    embedding, _ = make("lstm", np.float32)
    with pytest.raises(ValueError, match=r"x must have shape \(N, T, 5\); got \(3, 8, 6\)"):
        Sequential(embedding, LSTM(5, 4))(np.zeros((3, 8), int))
