"""The trainer against loops written out by hand, and what it promises besides: weights, repeatability, faults."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rnnfast.backend import use_backend
from rnnfast.callbacks import Callback
from rnnfast.layers.base import Layer
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.pooling import Last
from rnnfast.layers.recurrent import GRU, LSTM
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import MeanSquared, SoftmaxCrossEntropy
from rnnfast.metrics import MSE, Accuracy, Perplexity
from rnnfast.optimizers import SGD, Adam
from rnnfast.schedules import Cosine, Plateau, StepDecay
from rnnfast.trainer import Trainer, TrainingError

SYMBOLS = 7


def tagger(dtype=np.float64, dropout=0.0):
    parts = [Embedding(SYMBOLS, 4, dtype=dtype, seed=0), LSTM(4, 6, dtype=dtype, seed=1)]
    parts += [Dropout(dropout)] if dropout else []
    return Sequential(*parts, Dense(6, SYMBOLS, dtype=dtype, seed=2))


def classifier(dtype=np.float64):
    return Sequential(GRU(3, 5, dtype=dtype, seed=0), Last(), Dense(5, 4, dtype=dtype, seed=1))


def symbols(count=10, steps=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, SYMBOLS, (count, steps)), rng.integers(0, SYMBOLS, (count, steps))


def ragged_symbols(count=13, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, count)
    return tuple([rng.integers(0, SYMBOLS, n) for n in sizes] for _ in range(2))


def parameters(model):
    return np.concatenate([p.ravel() for p in model.parameters().values()])


def quiet(trainer, *args, **kwargs):
    return trainer.fit(*args, progress=False, **kwargs)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fit_is_the_loop_one_would_write(dtype, backend):
    x, y = symbols()
    trained, model = tagger(dtype), tagger(dtype)
    with use_backend(backend):
        trainer = Trainer(trained, SoftmaxCrossEntropy(), Adam(0.01), clip_norm=0.5)
        history = quiet(trainer, x, y, epochs=2, batch_size=4, shuffle=False)
        optimizer, loss, losses = Adam(0.01), SoftmaxCrossEntropy(), []
        for _ in range(2):
            for start in range(0, 10, 4):
                (pred, _), pullback = model.forward(x[start : start + 4])
                value, loss_pullback = loss.forward(pred, y[start : start + 4])
                grads = {name: np.zeros_like(p) for name, p in model.parameters().items()}
                pullback(loss_pullback(), grads)
                norm = math.sqrt(sum(float((g.astype(float) ** 2).sum()) for g in grads.values()))
                optimizer.update(model, grads, scale=min(1.0, 0.5 / norm))
                losses.append(value)
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(parameters(trained), parameters(model), rtol=0, atol=tolerance)
    means = [np.average(losses[k : k + 3], weights=[4, 4, 2]) for k in (0, 3)]
    np.testing.assert_allclose(history["loss"], means, rtol=1e-6 if dtype == np.float32 else 1e-13)
    assert history["epoch"] == [0, 1]
    assert (trainer.step, trainer.epoch, history.reason) == (6, 2, "completed")


def still(model, loss, **kwargs):
    """A trainer that changes nothing."""
    return Trainer(model, loss, SGD(0.0), **kwargs)


@pytest.mark.parametrize("batch_size", [1, 4, 13])
@pytest.mark.parametrize("bucket", [False, True])
def test_ragged_batches_give_the_mean_over_all_steps(batch_size, bucket):
    """Lists in shuffled and bucketed batches of any size measure what one padded batch with lengths measures."""
    x, y = ragged_symbols()
    sizes = np.array([len(a) for a in x])
    padded = np.zeros((2, len(x), 8), int)
    for k, n in enumerate(sizes):
        padded[0, k, :n], padded[1, k, :n] = x[k], y[k]
    model = tagger()
    pred, _ = model(padded[0], lengths=sizes)
    valid = np.arange(8) < sizes[:, None]
    expected = {
        "loss": SoftmaxCrossEntropy()(pred, padded[1], lengths=sizes),
        "accuracy": (pred.argmax(-1) == padded[1])[valid].mean(),
    }
    expected["perplexity"] = math.exp(expected["loss"])
    trainer = still(model, SoftmaxCrossEntropy(), metrics=[Accuracy(), Perplexity()])
    history = quiet(trainer, x, y, batch_size=batch_size, bucket=bucket)
    found = [trainer.evaluate(x, y, batch_size=batch_size)]
    found.append(trainer.evaluate(*padded, lengths=sizes, batch_size=batch_size))
    found.append({name: history[name][0] for name in expected})
    for values in found:
        assert values == pytest.approx(expected, rel=1e-13)


def test_masks_weigh_the_mean():
    x, y = symbols()
    mask = np.random.default_rng(0).integers(0, 2, x.shape)
    mask[3] = 0
    model = tagger()
    trainer = still(model, SoftmaxCrossEntropy(), metrics=[Accuracy()])
    expected = SoftmaxCrossEntropy()(model(x)[0], y, mask=mask)
    for batch_size in (1, 3, 10):  # with 1, one batch has nothing that counts
        assert trainer.evaluate(x, y, mask=mask, batch_size=batch_size)["loss"] == pytest.approx(expected, rel=1e-13)
        assert quiet(trainer, x, y, mask=mask, batch_size=batch_size)["loss"][0] == pytest.approx(expected, rel=1e-13)


def test_predict_keeps_order_and_lengths():
    x, _ = ragged_symbols()
    model = tagger()
    trainer = still(model, SoftmaxCrossEntropy())
    outputs = trainer.predict(x, batch_size=4)
    for sequence, output in zip(x, outputs, strict=True):
        np.testing.assert_allclose(output, model(sequence[None])[0][0], rtol=1e-12, atol=1e-14)
    padded = np.zeros((len(x), 8), int)
    for row, sequence in zip(padded, x, strict=True):
        row[: len(sequence)] = sequence
    sizes = [len(a) for a in x]
    array = trainer.predict(padded, lengths=sizes, batch_size=4)
    assert array.shape == (len(x), 8, SYMBOLS)
    for row, output in zip(array, outputs, strict=True):
        np.testing.assert_allclose(row[: len(output)], output, rtol=1e-12, atol=1e-14)
        assert not row[len(output) :].any()
    whole = trainer.predict(padded, batch_size=4)
    np.testing.assert_allclose(whole, model(padded)[0], rtol=1e-12, atol=1e-14)


def test_sequences_with_one_target_each():
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((n, 3)) for n in (4, 1, 0, 6, 2)]  # a sequence of no steps has a class too
    y = [0, 3, 1, 2, 0]
    model = classifier()
    trainer = still(model, SoftmaxCrossEntropy(), metrics=[Accuracy()])
    outputs = trainer.predict(x, batch_size=2)
    assert outputs.shape == (5, 4)
    padded = np.zeros((5, 6, 3))
    for row, a in zip(padded, x, strict=True):
        row[: len(a)] = a
    expected, _ = model(padded, lengths=[len(a) for a in x])
    np.testing.assert_allclose(outputs, expected, rtol=1e-12, atol=1e-14)
    assert trainer.evaluate(x, y, batch_size=2)["loss"] == pytest.approx(SoftmaxCrossEntropy()(expected, y), rel=1e-13)


def test_plain_rows():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 3)), rng.standard_normal((9, 2))
    layer = Dense(3, 2, dtype=np.float64, seed=0)
    trainer = still(layer, MeanSquared(), metrics=[MSE()])
    expected = ((layer(x) - y) ** 2).mean()
    assert trainer.evaluate(x, y, batch_size=4) == pytest.approx({"loss": expected, "mse": expected}, rel=1e-13)
    np.testing.assert_allclose(trainer.predict(x, batch_size=4), layer(x), rtol=1e-13)


def test_validation_holds_out_the_last_part():
    x, y = symbols(20)
    trainer = still(tagger(), SoftmaxCrossEntropy(), metrics=[Accuracy()])
    history = quiet(trainer, x, y, validation_split=0.3, batch_size=4)
    for name in ("loss", "accuracy"):
        assert history[name][0] == pytest.approx(trainer.evaluate(x[:14], y[:14])[name], rel=1e-13)
        assert history[f"val_{name}"][0] == pytest.approx(trainer.evaluate(x[14:], y[14:])[name], rel=1e-13)
    other = quiet(trainer, x[:14], y[:14], validation_data=(x[14:], y[14:]))
    assert other["val_loss"] == history["val_loss"]
    lengths = np.full(6, 3)
    other = quiet(trainer, x[:14], y[:14], validation_data=(x[14:], y[14:], lengths))
    assert other["val_loss"][0] == pytest.approx(trainer.evaluate(x[14:, :3], y[14:, :3])["loss"], rel=1e-13)


def test_the_same_seed_gives_the_same_bits():
    x, y = ragged_symbols(40)
    found = []
    for seed in (5, 5, 6):
        model = tagger(np.float32, dropout=0.3)
        quiet(Trainer(model, SoftmaxCrossEntropy(), Adam(0.01), clip_norm=1.0, seed=seed), x, y, epochs=2, batch_size=8)
        found.append(parameters(model))
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_training_goes_on_where_it_was_saved():
    x, y = ragged_symbols(20)

    def make():
        schedule = Plateau("loss", factor=0.5, patience=0, min_delta=10.0)  # falls at every epoch but the first
        return Trainer(tagger(np.float32, 0.2), SoftmaxCrossEntropy(), Adam(0.01), schedule=schedule, seed=3)

    straight, first, second = make(), make(), make()
    quiet(straight, x, y, epochs=4, batch_size=8)
    quiet(first, x, y, epochs=2, batch_size=8)
    second.load_state_dict(first.state_dict())
    second.model.load_state_dict(first.model.state_dict())
    history = quiet(second, x, y, epochs=2, batch_size=8)
    assert np.array_equal(parameters(straight.model), parameters(second.model))
    assert history["lr"] == straight.history["lr"][2:] == [0.005, 0.0025]
    assert history["epoch"] == [2, 3]
    for bad in ({}, {**first.state_dict(), "more": 1}, {**first.state_dict(), "schedule/more": 1}):
        with pytest.raises(KeyError):
            second.load_state_dict(bad)


@pytest.mark.parametrize("clip", ["norm", "value"])
def test_clipping_bounds_the_step(clip):
    x, y = symbols()
    model = tagger()
    before = parameters(model)
    trainer = Trainer(model, SoftmaxCrossEntropy(), SGD(1.0), **{f"clip_{clip}": 1e-3})
    quiet(trainer, x, y, batch_size=10)
    change = parameters(model) - before
    if clip == "norm":
        assert np.linalg.norm(change) == pytest.approx(1e-3, rel=1e-10)
    else:
        assert np.abs(change).max() == pytest.approx(1e-3, rel=1e-10)
        assert np.linalg.norm(change) > 2e-3


def test_schedules_set_the_rate_before_each_update():
    x, y = symbols(8)
    rates = []

    class Watch(Callback):
        def on_batch_end(self, trainer, batch, loss):
            rates.append(trainer.optimizer.lr)

    trainer = Trainer(tagger(), SoftmaxCrossEntropy(), SGD(0.5), schedule=Cosine())
    history = quiet(trainer, x, y, epochs=2, batch_size=4, callbacks=[Watch()])
    expected = [0.25 * (1 + math.cos(math.pi * k / 4)) for k in range(4)]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert history["lr"] == pytest.approx(expected[1::2], rel=1e-12)
    rates.clear()
    trainer = Trainer(tagger(), SoftmaxCrossEntropy(), SGD(0.5), schedule=StepDecay(1, 0.5))
    quiet(trainer, x, y, epochs=2, batch_size=4, callbacks=[Watch()])
    quiet(trainer, x, y, epochs=1, batch_size=4, callbacks=[Watch()])
    assert rates == [0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_time_runs_out_after_a_batch():
    x, y = symbols(40)
    model = tagger()
    trainer = Trainer(model, SoftmaxCrossEntropy(), SGD(0.1))
    history = quiet(trainer, x, y, epochs=5, batch_size=4, max_seconds=1e-9, validation_split=0.1)
    assert (history.reason, trainer.step, history.epochs) == ("time", 1, 1)
    assert math.isfinite(history["val_loss"][0])


class Poison(Layer):
    """The identity, until the chosen call: then its output or its gradient is not finite."""

    def __init__(self, call, backward, value=np.nan):
        super().__init__({"unused": np.zeros(2)})
        self.call, self.backward, self.value, self.seen = call, backward, value, 0

    def __call__(self, x, *, lengths=None):
        return x

    def forward(self, x, *, lengths=None, rng=None):
        self.seen += 1
        bad = self.seen > self.call

        def pullback(dy, grads):
            return np.full_like(dy, self.value) if bad and self.backward else dy

        return np.full_like(x, self.value) if bad and not self.backward else x, pullback


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("backward", "what", "place"),
    [
        (False, "loss", r"the output of layer 1 \(Poison\)"),
        (True, "gradient", r"the gradient of the input of layer 1 \(Poison\)"),
    ],
)
@pytest.mark.parametrize("clip", [{}, {"clip_norm": 1.0}, {"clip_value": 1.0}])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_faults_name_epoch_batch_and_layer_and_change_nothing(backward, what, place, value, clip):
    x, y = symbols(8)
    model = Sequential(
        Embedding(SYMBOLS, 4, dtype=np.float64, seed=0),
        Poison(5, backward, value),
        Dense(4, SYMBOLS, dtype=np.float64, seed=1),
    )
    before, counted = [], []

    class Watch(Callback):
        def on_batch_end(self, trainer, batch, loss):
            before[:] = [parameters(model)]
            counted.append(trainer.optimizer.state_dict()["0.weight/step"])

    trainer = Trainer(model, SoftmaxCrossEntropy(), Adam(0.01), **clip)
    with pytest.raises(TrainingError, match=f"the {what} is not finite in epoch 2, batch 2: {place}") as info:
        quiet(trainer, x, y, epochs=3, batch_size=2, callbacks=[Watch()])
    assert isinstance(info.value, ArithmeticError)
    assert (info.value.epoch, info.value.batch) == (1, 1)  # these count from 0, as callbacks do
    assert np.array_equal(parameters(model), before[0])
    assert counted == [1, 2, 3, 4, 5]
    assert trainer.step == 5
    assert trainer.history.reason == "error"


def test_a_parameter_that_is_not_finite_is_named():
    model = tagger()
    model.layers[1].weight_hh_l0 = np.full((24, 6), np.inf)
    with pytest.raises(TrainingError, match=r"layer 1 \(LSTM\), whose parameter weight_hh_l0"):
        quiet(Trainer(model, SoftmaxCrossEntropy(), SGD(0.1)), *symbols(), epochs=1)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_is_named():
    layer = Dense(2, 1, dtype=np.float64, seed=0)
    with pytest.raises(TrainingError, match=r"the loss \(MeanSquared\), of finite outputs"):
        quiet(Trainer(layer, MeanSquared(), SGD(0.1)), np.ones((3, 2)), np.full((3, 1), 1e200))


def test_callbacks_are_called_in_order_and_may_stop():
    x, y = symbols(8)
    calls = []

    class Watch(Callback):
        def on_fit_begin(self, trainer):
            calls.append("begin")

        def on_epoch_begin(self, trainer, epoch):
            calls.append(f"epoch {epoch}")

        def on_batch_end(self, trainer, batch, loss):
            calls.append(f"batch {batch}")
            if trainer.step == 3:
                trainer.stop("enough")

        def on_epoch_end(self, trainer, epoch, values):
            calls.append(f"end {epoch}")
            assert trainer.history["loss"][-1] == values["loss"]

        def on_fit_end(self, trainer, history):
            calls.append(history.reason)

    trainer = still(tagger(), SoftmaxCrossEntropy())
    history = quiet(trainer, x, y, epochs=5, batch_size=4, callbacks=[Watch()])
    assert calls == ["begin", "epoch 0", "batch 0", "batch 1", "end 0", "epoch 1", "batch 0", "end 1", "enough"]
    assert history.reason == "enough"
    assert quiet(trainer, x, y, batch_size=8).reason == "completed"


@pytest.mark.parametrize("where", ["on_fit_begin", "on_epoch_begin", "on_batch_end", "on_epoch_end", "on_fit_end"])
def test_an_error_in_a_callback_leaves_a_usable_model(where):
    x, y = symbols(8)
    callback = Callback()
    setattr(callback, where, lambda *args: 1 / 0)
    model = tagger()
    trainer = Trainer(model, SoftmaxCrossEntropy(), Adam(0.01))
    with pytest.raises(ZeroDivisionError):
        quiet(trainer, x, y, batch_size=4, callbacks=[callback])
    assert np.isfinite(parameters(model)).all()
    steps = {"on_fit_begin": 0, "on_epoch_begin": 0, "on_batch_end": 1}.get(where, 2)
    assert trainer.step == steps
    assert quiet(trainer, x, y, batch_size=4).reason == "completed"
    assert trainer.step == steps + 2


X, Y = symbols(4)
BAD_FITS = {
    "epochs": ({"epochs": 0}, ValueError, "epochs"),
    "batch_size": ({"batch_size": 0}, ValueError, "batch_size"),
    "split": ({"validation_split": 1.0}, ValueError, "validation_split"),
    "both": ({"validation_split": 0.5, "validation_data": (X, Y)}, ValueError, "validation_split"),
    "data": ({"validation_data": X}, TypeError, "validation_data"),
    "data y": ({"validation_data": (X, Y[:2])}, ValueError, r"validation_data\[1\]"),
    "seconds": ({"max_seconds": 0}, ValueError, "max_seconds"),
    "callbacks": ({"callbacks": [print]}, TypeError, "callbacks"),
    "shuffle": ({"shuffle": "yes"}, TypeError, "shuffle"),
    "no x": ({"x": None}, TypeError, "x must be an array or a list of sequences; got NoneType"),
    "text x": ({"x": "abc"}, TypeError, "x must be an array or a list of sequences; got str"),
    "class": ({"y": Y + 1}, IndexError, "target"),
    "index": ({"x": X + 1}, IndexError, "x"),
}


@pytest.mark.parametrize("case", BAD_FITS)
def test_bad_fits_change_nothing(case):
    options, error, match = BAD_FITS[case]
    model = tagger()
    before = parameters(model)
    trainer = Trainer(model, SoftmaxCrossEntropy(), SGD(0.1))
    with pytest.raises(error, match=match):
        trainer.fit(**{"x": X, "y": Y, "progress": False, **options})
    assert np.array_equal(parameters(model), before)
    assert (trainer.step, trainer.epoch) == (0, 0)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"model": 3}, TypeError, "model"),
        ({"loss": 3}, TypeError, "loss"),
        ({"optimizer": 3}, TypeError, "optimizer"),
        ({"schedule": 3}, TypeError, "schedule"),
        ({"metrics": [3]}, TypeError, "metrics"),
        (
            {"model": Sequential(Embedding(2, 3), GRU(3, 4, batch_first=False))},
            ValueError,
            "model must be batch first; layer 1 is GRU",
        ),
        ({"model": GRU(3, 4, batch_first=False)}, ValueError, "model must be batch first; got GRU"),
        ({"metrics": [Accuracy(), Accuracy()]}, ValueError, "metrics"),
        ({"clip_norm": 0}, ValueError, "clip_norm"),
        ({"clip_value": -1}, ValueError, "clip_value"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_bad_trainers(options, error, match):
    with pytest.raises(error, match=match):
        Trainer(**{"model": tagger(), "loss": SoftmaxCrossEntropy(), "optimizer": SGD(0.1), **options})


def test_a_fraction_of_unknown_length_is_refused_before_any_work():
    trainer = Trainer(tagger(), SoftmaxCrossEntropy(), SGD(0.1), schedule=Cosine())
    with pytest.raises(ValueError, match="max_seconds"):
        trainer.fit_stream(iter([(X, Y)]), progress=False)
    assert trainer.fit_stream(iter([(X, Y)]), max_seconds=100, progress=False).reason == "completed"
