"""Ways to train: k1 and k2, gathered gradients, averaged weights, weights of samples, schedules that go on."""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast.callbacks import Callback, Checkpoint, EarlyStopping
from rnnfast.io import load_model, save_model
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.pooling import Last
from rnnfast.layers.recurrent import GRU, LSTM
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import MeanSquared, SoftmaxCrossEntropy
from rnnfast.metrics import Accuracy
from rnnfast.optimizers import SGD, Adam
from rnnfast.schedules import Cosine, OneCycle, ScheduledSampling
from rnnfast.trainer import Trainer, TrainingError

SYMBOLS = 5


def reader(dtype=np.float64, dropout=0.0):
    parts = [Embedding(SYMBOLS, 3, dtype=dtype, seed=0), LSTM(3, 4, dtype=dtype, seed=1)]
    parts += [Dropout(dropout)] if dropout else []
    return Sequential(*parts, Dense(4, SYMBOLS, dtype=dtype, seed=2))


def ragged(count=12, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, count)
    return [rng.integers(0, SYMBOLS, n) for n in sizes], [rng.integers(0, SYMBOLS, n) for n in sizes]


def parameters(model):
    return np.concatenate([p.ravel() for p in model.parameters().values()])


def truncated(model, symbols, k1, k2, lr):
    """Williams and Peng's BPTT(k2; k1) by hand, for one stream: every k1 steps, back through the last k2."""
    states = {0: None}
    end = k1
    while end <= len(symbols) - 1:
        begin = max(0, end - k2)
        x, y = symbols[None, begin:end], symbols[None, begin + 1 : end + 1]
        mask = (np.arange(begin, end) >= end - k1)[None]
        (pred, _), pullback = model.forward(x, states[begin])
        _, loss_pullback = SoftmaxCrossEntropy().forward(pred, y, mask=mask)
        grads = {}
        pullback(loss_pullback(), grads)
        for stop in range(begin + 1, end + 1):  # states are kept as the parameters of this window made them
            if stop == end + k1 - k2 or (stop == end and k1 == k2):
                states[stop] = model(symbols[None, begin:stop], states[begin])[1]
        SGD(lr).update(model, grads)
        end += k1


@pytest.mark.parametrize(("k1", "k2"), [(4, 4), (4, 8), (4, 6), (3, 10), (1, 5), (2, 100)])
def test_updates_every_k1_steps_from_gradients_over_k2(k1, k2):
    symbols = np.random.default_rng(0).integers(0, SYMBOLS, 25)
    by_hand, trained = reader(), reader()
    truncated(by_hand, symbols, k1, k2, 0.5)
    Trainer(trained, SoftmaxCrossEntropy(), SGD(0.5)).fit_stream(symbols, streams=1, steps=k1, back=k2, progress=False)
    np.testing.assert_allclose(parameters(trained), parameters(by_hand), rtol=0, atol=1e-13)
    if k2 > k1:
        plain = reader()
        Trainer(plain, SoftmaxCrossEntropy(), SGD(0.5)).fit_stream(symbols, streams=1, steps=k1, progress=False)
        assert np.abs(parameters(plain) - parameters(trained)).max() > 1e-5


def test_going_back_over_chunks_of_any_length_and_resets():
    rng = np.random.default_rng(1)
    symbols = rng.integers(0, SYMBOLS, (2, 13))
    x, y = symbols[:, :-1], symbols[:, 1:]
    chunks = [(x[:, a:b], y[:, a:b], a == 7) for a, b in ((0, 3), (3, 5), (5, 7), (7, 11), (11, 12))]
    one, other = reader(), reader()
    trainer = Trainer(one, SoftmaxCrossEntropy(), SGD(0.5))
    history = trainer.fit_stream(chunks, back=100, progress=False)
    losses, weights = [], []
    for first, stops in ((0, (3, 5, 7)), (7, (11, 12))):  # back to the reset: the whole past, every time
        start = first
        for stop in stops:
            mask = np.broadcast_to(np.arange(first, stop) >= start, (2, stop - first))
            (pred, _), pullback = other.forward(x[:, first:stop])
            value, loss_pullback = SoftmaxCrossEntropy().forward(pred, y[:, first:stop], mask=mask)
            grads = {}
            pullback(loss_pullback(), grads)
            SGD(0.5).update(other, grads)
            losses.append(value)
            weights.append(stop - start)
            start = stop
    np.testing.assert_allclose(parameters(one), parameters(other), rtol=0, atol=1e-13)
    assert history["loss"][0] == pytest.approx(np.average(losses, weights=weights), rel=1e-12)
    assert trainer.step == 5


def test_bad_lengths_of_truncation():
    trainer = Trainer(reader(), SoftmaxCrossEntropy(), SGD(0.1))
    symbols = np.zeros(30, int)
    with pytest.raises(ValueError, match="back must be at least steps, 8; got 4"):
        trainer.fit_stream(symbols, streams=1, steps=8, back=4, progress=False)
    with pytest.raises(ValueError, match="back must be at least 1"):
        trainer.fit_stream(symbols, streams=1, steps=8, back=0, progress=False)
    with pytest.raises(ValueError, match="back needs a model with a state"):
        Trainer(Dense(2, 2), MeanSquared(), SGD(0.1)).fit_stream(np.ones((9, 2)), streams=1, back=64, progress=False)
    with pytest.raises(ValueError, match="at least the 9 steps of a chunk; got 8"):
        trainer.fit_stream([(np.zeros((1, 9), int), np.zeros((1, 9), int))], back=8, progress=False)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("checkpoint", [False, 2])
def test_a_fault_within_a_window_is_found(checkpoint):
    model = reader()
    model.layers[1].weight_hh_l0 = np.full((16, 4), np.inf)
    with pytest.raises(TrainingError, match=r"layer 1 \(LSTM\), whose parameter weight_hh_l0"):
        Trainer(model, SoftmaxCrossEntropy(), SGD(0.1), checkpoint=checkpoint).fit_stream(
            np.arange(40) % SYMBOLS, streams=1, steps=4, back=9, progress=False
        )


@pytest.mark.parametrize(
    "clip", [{}, {"clip_norm": 1e-2}, {"clip_value": 1e-3}, {"clip_norm": 1e-2, "clip_value": 2e-3}]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_gathered_gradients_are_those_of_the_large_batch(clip, weighted):
    x, y = ragged()
    loss = SoftmaxCrossEntropy(class_weight=[1, 2, 0.5, 1, 3]) if weighted else SoftmaxCrossEntropy()
    options = {"shuffle": False, "bucket": False, "progress": False}
    if weighted:
        options["sample_weight"] = np.random.default_rng(0).random(12)
    large, small = reader(), reader()
    one = Trainer(large, loss, SGD(0.5), **clip).fit(x, y, epochs=3, batch_size=9, **options)
    trainer = Trainer(small, loss, SGD(0.5), accumulate=3, **clip)
    other = trainer.fit(x, y, epochs=3, batch_size=3, **options)
    assert trainer.step == 6  # nine sequences, then the three that are left
    np.testing.assert_allclose(parameters(small), parameters(large), rtol=0, atol=1e-13)
    assert np.abs(parameters(small) - parameters(reader())).max() > 1e-4
    assert other["loss"] == pytest.approx(one["loss"], rel=1e-12)


def test_a_weighted_loss_adds_up_over_batches():
    x, y = ragged()
    loss = SoftmaxCrossEntropy(class_weight=[1, 2, 0.5, 0, 3])
    trainer = Trainer(reader(), loss, SGD(0.0), metrics=[Accuracy()])
    whole = trainer.evaluate(x, y, batch_size=12)
    assert trainer.evaluate(x, y, batch_size=5) == pytest.approx(whole, rel=1e-12)
    fitted = trainer.fit(x, y, batch_size=5, progress=False)
    assert fitted["loss"][0] == pytest.approx(whole["loss"], rel=1e-12)


def test_sample_weights_are_masks():
    x, y = ragged()
    weight = np.random.default_rng(3).random(12)
    weight[4] = 0
    y[4] = np.full(len(y[4]), 99)  # what does not count may be anything
    trainer = Trainer(reader(), SoftmaxCrossEntropy(), SGD(0.0), metrics=[Accuracy()])
    mask = [np.full(len(a), w) for a, w in zip(x, weight, strict=True)]
    expected = trainer.evaluate(x, y, mask=mask)
    assert trainer.evaluate(x, y, sample_weight=weight, batch_size=5) == pytest.approx(expected, rel=1e-12)
    both = trainer.evaluate(x, y, mask=mask, sample_weight=weight)
    squared = trainer.evaluate(x, y, mask=[m * m for m in mask])
    assert both == pytest.approx(squared, rel=1e-12)
    rows, goals = np.ones((4, 3, 2)), np.arange(4) % 2
    one = Trainer(
        Sequential(GRU(2, 3, dtype=np.float64, seed=0), Last(), Dense(3, 2, dtype=np.float64, seed=1)),
        SoftmaxCrossEntropy(),
        SGD(0.0),
    )
    assert one.evaluate(rows, goals, sample_weight=[1, 0, 2, 0]) == one.evaluate(rows, goals, mask=[1, 0, 2, 0])


@pytest.mark.parametrize(
    ("weight", "error", "match"),
    [
        ([1.0], ValueError, "sample_weight must have shape"),
        ([-1.0] + [1.0] * 11, ValueError, "at least 0"),
        ([0.0] * 12, ValueError, "not all 0"),
        ([np.nan] * 12, ValueError, "finite"),
        (["a"] * 12, TypeError, "sample_weight must hold real numbers"),
    ],
)
def test_bad_sample_weights(weight, error, match):
    trainer = Trainer(reader(), SoftmaxCrossEntropy(), SGD(0.1))
    with pytest.raises(error, match=match):
        trainer.fit(*ragged(), sample_weight=weight, progress=False)


def averaged_by_hand(decay, epochs):
    """The average after every update of a training, by its formula."""
    seen = []

    class Watch(Callback):
        def on_batch_end(self, trainer, batch, loss):
            seen.append(parameters(trainer.model))

    model = reader()
    Trainer(model, SoftmaxCrossEntropy(), SGD(0.5), seed=4).fit(
        *ragged(), epochs=epochs, batch_size=4, callbacks=[Watch()], progress=False
    )
    average = seen[0]
    for t, found in enumerate(seen[1:], 1):
        d = min(decay, t / (t + 10))
        average = d * average + (1 - d) * found
    return average, seen[-1]


def test_averaged_weights_are_evaluated_saved_and_resumed(tmp_path):
    average, last = averaged_by_hand(0.3, 4)

    def make(seed=4):
        return Trainer(reader(), SoftmaxCrossEntropy(), SGD(0.5), ema=0.3, seed=seed)

    x, y = ragged()
    trainer = make()
    before = trainer.evaluate(x, y)  # there is no average yet
    assert before["loss"] == Trainer(reader(), SoftmaxCrossEntropy(), SGD(0.5)).evaluate(x, y)["loss"]
    history = trainer.fit(x, y, epochs=4, batch_size=4, validation_data=(x, y), progress=False)
    np.testing.assert_array_equal(parameters(trainer.model), last)
    with trainer.averaged() as model:
        np.testing.assert_allclose(parameters(model), average, rtol=0, atol=1e-14)
        path = save_model(model, tmp_path / "m.npz")
    np.testing.assert_array_equal(parameters(trainer.model), last)
    other = Trainer(load_model(path), SoftmaxCrossEntropy(), SGD(0.5))
    assert history["val_loss"][-1] == pytest.approx(trainer.evaluate(x, y)["loss"], rel=1e-12)
    assert other.evaluate(x, y) == trainer.evaluate(x, y)
    assert Trainer(trainer.model, SoftmaxCrossEntropy(), SGD(0.5)).evaluate(x, y) != trainer.evaluate(x, y)
    for one, another in zip(trainer.predict(x), other.predict(x), strict=True):
        np.testing.assert_array_equal(one, another)

    first, second = make(), make()
    first.fit(x, y, epochs=2, batch_size=4, callbacks=[Checkpoint(tmp_path / "c.npz")], progress=False)
    second.resume(tmp_path / "c.npz")
    second.fit(x, y, epochs=2, batch_size=4, progress=False)
    assert second.evaluate(x, y) == trainer.evaluate(x, y)
    with pytest.raises(KeyError, match="the trainer has none"):
        Trainer(reader(), SoftmaxCrossEntropy(), SGD(0.5)).resume(tmp_path / "c.npz")
    Trainer(reader(), SoftmaxCrossEntropy(), SGD(0.5)).fit(x, y, callbacks=[Checkpoint(tmp_path / "d")], progress=False)
    with pytest.raises(KeyError, match="made with ema"):
        make().resume(tmp_path / "d")


def test_early_stopping_restores_what_was_measured():
    x, y = ragged()
    trainer = Trainer(reader(), SoftmaxCrossEntropy(), SGD(3.0), ema=0.5)
    history = trainer.fit(
        x, y, epochs=8, batch_size=4, validation_data=(y, x), callbacks=[EarlyStopping(patience=8)], progress=False
    )
    best = min(history["val_loss"])
    assert best < history["val_loss"][-1]
    assert trainer.evaluate(y, x, batch_size=4)["loss"] == pytest.approx(best, rel=1e-12)
    assert Trainer(trainer.model, SoftmaxCrossEntropy(), SGD(0.1)).evaluate(y, x)["loss"] == pytest.approx(
        best, rel=1e-12
    )


@pytest.mark.parametrize("schedule", [lambda: Cosine(warmup=0.2), lambda: OneCycle(peak=0.4)])
def test_a_schedule_goes_on_where_its_training_was_saved(schedule, tmp_path):
    x, y = ragged()

    def make():
        return Trainer(reader(np.float32), SoftmaxCrossEntropy(), Adam(0.05), schedule=schedule(), seed=1)

    whole = make()
    keep = [Checkpoint(tmp_path / "e{epoch}.npz")]
    expected = whole.fit(x, y, epochs=4, batch_size=4, callbacks=keep, progress=False)
    for epochs in (1, 3):
        second = make()
        second.resume(tmp_path / f"e{epochs - 1}.npz")
        history = second.fit(x, y, epochs=4 - epochs, batch_size=4, progress=False)
        assert history["lr"] == expected["lr"][epochs:]
        assert np.array_equal(parameters(second.model), parameters(whole.model))
    assert len(set(expected["lr"])) == 4
    third = make()
    third.resume(tmp_path / "e3.npz")  # of a training that had come to its end: a new one begins, as in one process
    again = third.fit(x, y, epochs=4, batch_size=4, progress=False)
    assert again["lr"] == whole.fit(x, y, epochs=4, batch_size=4, progress=False)["lr"] == expected["lr"]


def test_a_schedule_goes_on_after_an_interrupt():
    x, y = ragged()

    class Interrupt(Callback):
        def on_batch_end(self, trainer, batch, loss):
            if trainer.step == 4:
                raise KeyboardInterrupt

    def trainer():
        return Trainer(reader(), SoftmaxCrossEntropy(), SGD(0.5), schedule=Cosine())

    straight, broken = trainer(), trainer()
    expected = straight.fit(x, y, epochs=3, batch_size=6, progress=False)["lr"]
    assert broken.fit(x, y, epochs=3, batch_size=6, callbacks=[Interrupt()], progress=False).reason == "interrupted"
    assert broken.fit(x, y, epochs=1, batch_size=6, progress=False)["lr"] == expected[2:]
    assert broken.unfinished == (0, 0.0)


def test_the_share_of_the_teacher():
    linear = ScheduledSampling("linear", 4, least=0.1)
    assert [linear(i) for i in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.1, 0.1]
    assert ScheduledSampling("exponential", 0.5)(3) == 0.125
    inverse = ScheduledSampling("inverse_sigmoid", 10)
    for i in (0, 7, 23, 100):
        assert inverse(i) == pytest.approx(10 / (10 + np.exp(i / 10)), rel=1e-12)
    assert inverse(10**9) < 1e-300


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: ScheduledSampling("steep", 1), ValueError, "decay must be one of"),
        (lambda: ScheduledSampling("linear", 0), ValueError, "k must lie"),
        (lambda: ScheduledSampling("exponential", 1.0), ValueError, "k must lie"),
        (lambda: ScheduledSampling("inverse_sigmoid", 0.5), ValueError, "k must lie"),
        (lambda: ScheduledSampling("linear", 1, least=2), ValueError, "least must lie"),
        (lambda: Trainer(reader(), MeanSquared(), SGD(0.1), accumulate=0), ValueError, "accumulate"),
        (lambda: Trainer(reader(), MeanSquared(), SGD(0.1), ema=1.0), ValueError, "ema"),
        (lambda: Trainer(reader(), MeanSquared(), SGD(0.1), teacher=1.1), ValueError, "teacher must lie"),
        (lambda: Trainer(reader(), MeanSquared(), SGD(0.1), teacher=0.5), ValueError, "fed with their outputs"),
        (lambda: Trainer(reader(), MeanSquared(), SGD(0.1), checkpoint=0), ValueError, "checkpoint"),
        (lambda: Trainer(Dense(2, 2), MeanSquared(), SGD(0.1), checkpoint=5), TypeError, "checkpoint does not suit"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call()
