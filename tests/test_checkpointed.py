"""Gradient checkpointing: the gradients of a plain pass, in a fraction of its memory."""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast._native import kernels
from rnnfast.backend import get_backend, use_backend
from rnnfast.cells import CELLS
from rnnfast.layers import Dense, Dropout, Embedding, Last, MeanPool, Sequential, checkpointed
from rnnfast.layers.recurrent import GRU, LSTM
from rnnfast.losses import SoftmaxCrossEntropy
from rnnfast.optimizers import SGD
from rnnfast.threads import limit_threads
from rnnfast.trainer import Trainer

pytestmark = pytest.mark.usefixtures("packed_gemm", "no_collection")  # which promise the bits, and the memory
BOUND = {np.float32: 2e-5, np.float64: 1e-12}  # of the largest: sums over steps in another order


def normal(rng, tree):
    if isinstance(tree, tuple):
        return tuple(normal(rng, part) for part in tree)
    return None if tree is None else rng.standard_normal(tree.shape).astype(tree.dtype)


def same(one, other):
    """Return whether two trees of arrays are the same to the bit; on the reference path, which is BLAS's, nearly so."""
    if isinstance(one, tuple):
        return all(same(a, b) for a, b in zip(one, other, strict=True))
    if get_backend() == "reference" and one is not None:
        return np.allclose(one, other, rtol=0, atol=(1e-5 if one.dtype == np.float32 else 1e-13))
    return one is other is None or np.array_equal(one, other)


def compare(layer, x, lengths, chunk, state=None, dtype=np.float64):
    """Hold a checkpointed pass against a plain one."""
    source = np.random.default_rng(7)
    (y, final), plain = layer.forward(x, state, lengths=lengths)
    (again, last), pullback = checkpointed(layer, x, state, lengths=lengths, chunk=chunk)
    assert same((y, final), (again, last))
    dy, dstate = normal(source, y), normal(source, final)
    one, other = {}, {}
    for given in (dy, None):
        (_, _), plain = layer.forward(x, state, lengths=lengths)
        (_, _), pullback = checkpointed(layer, x, state, lengths=lengths, chunk=chunk)
        expected, found = plain(given, one, dstate=dstate), pullback(given, other, dstate=dstate)
        assert same(expected, found)
    (_, _), plain = layer.forward(x, state, lengths=lengths)
    (_, _), pullback = checkpointed(layer, x, state, lengths=lengths, chunk=chunk)
    assert same(plain(dy, one), pullback(dy, other))
    assert set(one) == set(other)
    for name, gradient in one.items():
        np.testing.assert_allclose(other[name], gradient, rtol=0, atol=BOUND[dtype] * np.abs(gradient).max())


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_those_of_a_plain_pass(make_layer, random_state, rng, cell, dtype, backend):
    layer = make_layer(cell, 3, 5, num_layers=2, dtype=dtype)
    x = rng.standard_normal((4, 23, 3)).astype(dtype)
    with use_backend(backend):
        for lengths in (None, [23, 0, 7, 12]):
            for chunk in (1, 4, 23, 100):
                if backend == "native" or chunk == 4:
                    compare(layer, x, lengths, chunk, random_state(layer, 4), dtype)


def test_models(rng):
    tokens = rng.integers(0, 9, (3, 17))
    head = (Embedding(9, 4, dtype=np.float64, seed=0), LSTM(4, 5, dtype=np.float64, seed=1))
    compare(Sequential(*head, Dense(5, 2, dtype=np.float64, seed=2)), tokens, [17, 3, 9], 5)
    for pool in (Last(), MeanPool()):
        model = Sequential(*head, GRU(5, 3, dtype=np.float64, seed=3), pool, Dense(3, 2, dtype=np.float64, seed=4))
        compare(model, tokens, [17, 3, 9], 5)
        compare(model, tokens, None, None)
    compare(LSTM(2, 3, dtype=np.float64, seed=0), np.zeros((2, 0, 2)), None, None)


def test_dropout_falls_the_same_way_twice(rng):
    layer = LSTM(3, 4, num_layers=2, dropout=0.5, dtype=np.float64, seed=0)
    x = rng.standard_normal((2, 9, 3))
    (y, _), pullback = checkpointed(layer, x, rng=np.random.default_rng(3), chunk=4)
    (again, _), _ = checkpointed(layer, x, rng=np.random.default_rng(3), chunk=4)
    assert np.array_equal(y, again)
    assert not np.array_equal(y, layer(x)[0])
    dy, eps, v = rng.standard_normal(y.shape), 1e-6, rng.standard_normal(x.shape)

    def value(moved):
        return float(np.vdot(checkpointed(layer, moved, rng=np.random.default_rng(3), chunk=4)[0][0], dy))

    slope = (value(x + eps * v) - value(x - eps * v)) / (2 * eps)
    assert np.vdot(pullback(dy, {}), v) == pytest.approx(slope, rel=1e-7)


def peaks(run):
    """Return the most native bytes that a call took at a time beyond what there was."""
    kernels.memory_use(restart=True)
    _, before, _ = kernels.memory_use()
    run()
    return kernels.memory_use()[2] - before


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_ten_thousand_steps_take_a_fifth_of_the_memory(kind):
    model = Sequential(kind(8, 32, seed=0), Dense(32, 4, seed=1))
    x, dy = np.zeros((2, 10_000, 8), np.float32), np.zeros((2, 10_000, 4), np.float32)

    def plain():
        model.forward(x)[1](dy, {})

    def sparing():
        checkpointed(model, x)[1](dy, {})

    with limit_threads(1):
        plain(), sparing()  # packs the weights
        most, least = peaks(plain), peaks(sparing)
    assert most > 2 * 10_000 * 32 * 4 * 4  # what a step keeps is seen
    assert least * 9 < most
    # Beside it NumPy holds the outputs of the layers, where the plain pass has them whole, and the gradient of x.
    ends = 2 * 10_000 * (8 + 4) * 4
    assert (least + ends) * 5 < most + ends + 2 * 10_000 * 32 * 4


def test_a_trainer_does_so(rng):
    tokens = [rng.integers(0, 9, n) for n in (40, 3, 22, 31)]
    labels = [0, 1, 1, 0]

    def train(**options):
        model = Sequential(
            Embedding(9, 4, dtype=np.float64, seed=0),
            GRU(4, 5, dtype=np.float64, seed=1),
            Last(),
            Dense(5, 2, dtype=np.float64, seed=2),
        )
        history = Trainer(model, SoftmaxCrossEntropy(), SGD(0.5), **options).fit(
            tokens, labels, epochs=3, batch_size=2, progress=False
        )
        return history["loss"], np.concatenate([p.ravel() for p in model.parameters().values()])

    losses, plain = train()
    for checkpoint in (7, True):
        found, sparing = train(checkpoint=checkpoint)
        assert found == pytest.approx(losses, rel=1e-12)
        np.testing.assert_allclose(sparing, plain, rtol=0, atol=1e-13)


def test_a_pullback_can_be_called_once_and_while_the_parameters_stand():
    layer, x = LSTM(2, 3, seed=0), np.zeros((1, 6, 2))
    (y, _), pullback = checkpointed(layer, x, chunk=2)
    pullback(y, {})
    with pytest.raises(RuntimeError, match="called before"):
        pullback(y, {})
    (y, _), pullback = checkpointed(layer, x, chunk=2)
    layer.weight_hh_l0 = np.zeros((12, 3))
    with pytest.raises(RuntimeError, match="parameters changed"):
        pullback(y, {})
    (y, _), pullback = checkpointed(layer, x, chunk=2)
    with pytest.raises(ValueError, match="dy must have shape"):
        pullback(y[:, :3], {})


@pytest.mark.parametrize(
    ("layer", "options", "error", "match"),
    [
        (LSTM(2, 3, bidirectional=True), {}, ValueError, "is bidirectional"),
        (LSTM(2, 3, batch_first=False), {}, ValueError, "batch first"),
        (Dense(2, 3), {}, TypeError, "must carry a state"),
        (Sequential(Last(), Dense(2, 2)), {}, ValueError, "must not begin by"),
        (Sequential(Dropout(0.5), GRU(2, 2, bidirectional=True)), {}, ValueError, "is bidirectional"),
        (LSTM(2, 3), {"chunk": 0}, ValueError, "chunk must be at least 1"),
        (LSTM(2, 3), {"lengths": [7, 1]}, ValueError, "lengths"),
        (LSTM(2, 3), {"rng": 3}, TypeError, "rng"),
    ],
)
def test_bad_arguments(layer, options, error, match):
    with pytest.raises(error, match=match):
        checkpointed(layer, np.zeros((2, 6, 2)), **options)
