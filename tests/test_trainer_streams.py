"""Truncated back-propagation: whole length is full back-propagation, state is carried, gradients are not."""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast.layers.dense import Dense
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.recurrent import GRU, LSTM
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import MeanSquared, SoftmaxCrossEntropy
from rnnfast.metrics import BitsPerSymbol
from rnnfast.optimizers import SGD, Adam
from rnnfast.trainer import Trainer

SYMBOLS = 5


def model_of(kind=LSTM, dtype=np.float64):
    return Sequential(
        Embedding(SYMBOLS, 3, dtype=dtype, seed=0),
        kind(3, 4, dtype=dtype, seed=1),
        Dense(4, SYMBOLS, dtype=dtype, seed=2),
    )


def text(length=61, seed=0):
    return np.random.default_rng(seed).integers(0, SYMBOLS, length)


def parameters(model):
    return np.concatenate([p.ravel() for p in model.parameters().values()])


@pytest.mark.parametrize("chunks", [False, True])
def test_a_stream_is_not_read_backwards(chunks):
    model = Sequential(Embedding(SYMBOLS, 3), GRU(3, 4, bidirectional=True), Dense(8, SYMBOLS))
    inputs = [(np.zeros((2, 3), int), np.zeros((2, 3), int))] if chunks else text()
    with pytest.raises(ValueError, match=r"layer 1 \(GRU\) is bidirectional"):
        Trainer(model, SoftmaxCrossEntropy(), SGD(0.1)).fit_stream(inputs, streams=2, steps=5, progress=False)


def test_a_stream_of_text_needs_a_vocabulary():
    with pytest.raises(TypeError, match="inputs must hold numbers; got text: a vocabulary"):
        Trainer(model_of(), SoftmaxCrossEntropy(), SGD(0.1)).fit_stream("abcd" * 100, progress=False)


def gradient(model, chunks):
    """The mean of the chunks' gradients, the state carried from one to the next."""
    loss, state, total = SoftmaxCrossEntropy(), None, 0.0
    for x, y in chunks:
        (pred, state), pullback = model.forward(x, state)
        grads = {name: np.zeros_like(p) for name, p in model.parameters().items()}
        pullback(loss.forward(pred, y)[1](), grads)
        total = total + np.concatenate([g.ravel() for g in grads.values()])
    return total / len(chunks)


def frozen(model):
    return Trainer(model, SoftmaxCrossEntropy(), SGD(0.0), metrics=[BitsPerSymbol()])


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_one_chunk_of_the_whole_length_is_full_back_propagation(kind):
    symbols = text()
    x, y = symbols[:-1].reshape(3, 20), symbols[1:].reshape(3, 20)
    model = model_of(kind)
    full = gradient(model, [(x, y)])
    before = parameters(model)
    Trainer(model, SoftmaxCrossEntropy(), SGD(1.0)).fit_stream(symbols, streams=3, steps=20, progress=False)
    np.testing.assert_allclose(before - parameters(model), full, rtol=0, atol=1e-15)
    # Cut in two, the gradient is another: not because the state is lost but because it stops at the cut.
    cut = gradient(model_of(kind), [(x[:, :10], y[:, :10]), (x[:, 10:], y[:, 10:])])
    assert np.abs(cut - full).max() > 1e-4


def test_truncation_cuts_gradients_and_nothing_else():
    """Two updates of half the length are those of a loop that hands the state on as a constant."""
    symbols = text()
    x, y = symbols[:-1].reshape(3, 20), symbols[1:].reshape(3, 20)
    trained, model, optimizer = model_of(), model_of(), Adam(0.05)
    trainer = Trainer(trained, SoftmaxCrossEntropy(), Adam(0.05))
    trainer.fit_stream(symbols, streams=3, steps=10, epochs=2, progress=False)
    for _ in range(2):
        state = None
        for part in (slice(0, 10), slice(10, 20)):
            (pred, state), pullback = model.forward(x[:, part], state)
            grads = {name: np.zeros_like(p) for name, p in model.parameters().items()}
            pullback(SoftmaxCrossEntropy().forward(pred, y[:, part])[1](), grads)
            optimizer.update(model, grads)
    np.testing.assert_allclose(parameters(trained), parameters(model), rtol=0, atol=1e-13)


@pytest.mark.parametrize("steps", [1, 3, 7, 20])
def test_the_state_is_carried(steps):
    """The loss of a stream does not depend on where it is cut; it would if the state were lost at the cuts."""
    symbols = text()
    model = model_of()
    expected = SoftmaxCrossEntropy()(model(symbols[:-1].reshape(3, 20))[0], symbols[1:].reshape(3, 20))
    lost = SoftmaxCrossEntropy()(model(symbols[:-1].reshape(60, 1))[0], symbols[1:].reshape(60, 1))
    assert abs(expected - lost) > 1e-4
    trainer = frozen(model)
    found = trainer.evaluate_stream(symbols, streams=3, steps=steps)
    assert found["loss"] == pytest.approx(expected, rel=1e-12)
    assert found["bits"] == pytest.approx(expected / np.log(2), rel=1e-12)
    history = trainer.fit_stream(symbols, streams=3, steps=steps, epochs=2, progress=False)
    assert history["loss"] == pytest.approx([expected] * 2, rel=1e-12)  # and each epoch starts from nothing


def test_chunks_of_the_users_own():
    symbols = text()
    x, y = symbols[:-1].reshape(3, 20), symbols[1:].reshape(3, 20)
    model = model_of()
    expected = SoftmaxCrossEntropy()(model(x)[0], y)
    trainer = frozen(model)
    chunks = [(x[:, :7], y[:, :7]), (x[:, 7:8], y[:, 7:8]), (x[:, 8:], y[:, 8:], False)]
    for inputs in (chunks, iter(chunks), (c for c in chunks)):
        assert trainer.evaluate_stream(inputs)["loss"] == pytest.approx(expected, rel=1e-12)
    assert trainer.fit_stream(chunks, epochs=2, progress=False)["loss"] == pytest.approx([expected] * 2, rel=1e-12)
    with_reset = [(x[:, :10], y[:, :10]), (x[:, 10:], y[:, 10:], True)]
    separate = [SoftmaxCrossEntropy()(model(x[:, part])[0], y[:, part]) for part in (slice(0, 10), slice(10, 20))]
    assert trainer.evaluate_stream(with_reset)["loss"] == pytest.approx(np.mean(separate), rel=1e-12)
    assert abs(np.mean(separate) - expected) > 1e-5


def test_validation_of_a_stream():
    symbols = text(101)
    trainer = frozen(model_of())
    history = trainer.fit_stream(symbols, streams=2, steps=8, validation_split=0.3, progress=False)
    expected = trainer.evaluate_stream(symbols[71:], streams=2, steps=8)["loss"]
    assert history["val_loss"] == [expected]
    assert history["loss"][0] == pytest.approx(trainer.evaluate_stream(symbols[:71], streams=2)["loss"], rel=1e-12)
    pair = (symbols[71:-1], symbols[72:])
    for data in (symbols[71:], pair):
        history = trainer.fit_stream(symbols[:71], streams=2, steps=8, validation_data=data, progress=False)
        assert history["val_loss"] == [expected]
    shifted = trainer.fit_stream(symbols[:-1], symbols[1:], streams=2, steps=8, validation_split=0.3, progress=False)
    assert shifted["val_loss"] == [trainer.evaluate_stream(symbols[70:], streams=2, steps=8)["loss"]]


def test_a_series_of_numbers():
    series = np.random.default_rng(0).standard_normal((41, 2))
    model = Sequential(GRU(2, 3, dtype=np.float64, seed=0), Dense(3, 2, dtype=np.float64, seed=1))
    trainer = Trainer(model, MeanSquared(), SGD(0.0))
    x, y = series[:-1].reshape(4, 10, 2), series[1:].reshape(4, 10, 2)
    expected = MeanSquared()(model(x)[0], y)
    assert trainer.evaluate_stream(series, streams=4, steps=3)["loss"] == pytest.approx(expected, rel=1e-12)


def test_the_same_seed_gives_the_same_bits():
    found = []
    for _ in range(2):
        model = model_of(dtype=np.float32)
        Trainer(model, SoftmaxCrossEntropy(), Adam(0.01)).fit_stream(
            text(), streams=3, steps=7, epochs=3, progress=False
        )
        found.append(parameters(model))
    assert np.array_equal(*found)


SYMBOL_TEXT = text()
BAD = {
    "symbol": ({"inputs": SYMBOL_TEXT + 1}, IndexError, "x"),
    "empty": ({"inputs": np.zeros(0, int)}, ValueError, "inputs must not be empty"),
    "streams": ({"streams": 0}, ValueError, "streams"),
    "steps": ({"steps": 0}, ValueError, "steps"),
    "short": ({"streams": 61}, ValueError, "inputs must have at least one step"),
    "targets": ({"targets": SYMBOL_TEXT[1:]}, ValueError, "targets"),
    "target class": ({"targets": SYMBOL_TEXT + 1}, IndexError, "target"),
    "both": ({"validation_split": 0.2, "validation_data": SYMBOL_TEXT}, ValueError, "validation_split"),
    "validation": ({"validation_data": SYMBOL_TEXT + 1}, IndexError, "x"),
    "split of chunks": ({"inputs": iter([]), "validation_split": 0.2}, ValueError, "validation_split"),
    "targets of chunks": ({"inputs": iter([]), "targets": SYMBOL_TEXT}, ValueError, "targets"),
    "no chunks": ({"inputs": iter([])}, ValueError, "nothing to train on"),
    "epochs of an iterator": ({"inputs": iter([]), "epochs": 2}, ValueError, "iterator"),
    "monitor": ({"max_seconds": -1}, ValueError, "max_seconds"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_streams_change_nothing(case):
    options, error, match = BAD[case]
    model = model_of()
    before = parameters(model)
    trainer = Trainer(model, SoftmaxCrossEntropy(), SGD(0.1))
    with pytest.raises(error, match=match):
        trainer.fit_stream(**{"inputs": SYMBOL_TEXT, "streams": 4, "steps": 5, "progress": False, **options})
    assert np.array_equal(parameters(model), before)
