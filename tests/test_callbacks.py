"""Callbacks, history and progress, on values given epoch by epoch and on real fits."""

from __future__ import annotations

import builtins
import csv
import io
import math
import sys
import types
from contextlib import contextmanager

import numpy as np
import pytest

from rnnfast.callbacks import Callback, Checkpoint, CSVLogger, EarlyStopping
from rnnfast.io import save_checkpoint
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import MeanSquared
from rnnfast.metrics import MAE
from rnnfast.optimizers import SGD, Adam
from rnnfast.schedules import Plateau, StepDecay
from rnnfast.trainer import Trainer
from rnnfast.training import progress
from rnnfast.training.history import History

X = np.random.default_rng(0).standard_normal((12, 3))
Y = X @ np.ones((3, 1))


def make(lr=0.1):
    model = Sequential(Dense(3, 1, dtype=np.float64, seed=0))
    return Trainer(model, MeanSquared(), SGD(lr), metrics=[MAE()])


def weights(model):
    return np.concatenate([p.ravel() for p in model.parameters().values()])


class Script:
    """Stands for a trainer: hands callbacks the values of a script and marks the model with the epoch."""

    def __init__(self, values):
        self.values = values
        self.model = Dense(1, 1, dtype=np.float64)
        self.stopped = None
        self.step = 0

    def state_dict(self):
        return {}

    def stop(self, reason):
        self.stopped = reason

    @contextmanager
    def averaged(self):
        yield self.model

    def set_parameters(self, parameters):
        self.model.load_state_dict(parameters)

    def run(self, callback, reason="completed", name="val_loss"):
        history = History()
        history.reason = reason
        callback.on_fit_begin(self)
        for epoch, value in enumerate(self.values):
            self.model.load_state_dict({"weight": [[epoch]], "bias": [epoch]})
            callback.on_epoch_end(self, epoch, {"epoch": epoch, name: value, "loss": -1.0})
            if self.stopped:
                break
        last = epoch
        callback.on_fit_end(self, history)
        return last, int(self.model.params["bias"][0])


@pytest.mark.parametrize(
    ("values", "options", "last", "restored", "stopped"),
    [
        ([5, 4, 3, 2], {"patience": 1}, 3, 3, False),
        ([5, 4, 4, 3], {"patience": 1}, 2, 1, True),
        ([5, 4, 4.1, 3, 3, 3, 3], {"patience": 2}, 5, 3, True),
        ([5, 4, 3.5, 3.5, 3.1], {"patience": 2, "min_delta": 0.6}, 3, 1, True),
        ([5, math.nan, math.nan, 1], {"patience": 2}, 2, 0, True),
        ([1, 2, 3, 2.5, 2.4], {"patience": 2, "mode": "max"}, 4, 2, True),
        ([5, 4, 4, 3], {"patience": 1, "restore_best": False}, 2, 2, True),
        ([5, 4, 6, 6, 6], {"patience": 9}, 4, 1, False),
    ],
)
def test_early_stopping(values, options, last, restored, stopped):
    callback, script = EarlyStopping(**options), Script(values)
    assert script.run(callback) == (last, restored)
    assert script.stopped == ("early stopping" if stopped else None)
    again = Script(values)
    assert again.run(callback) == (last, restored)  # a fit begins anew


def test_early_stopping_keeps_the_last_update_after_an_interrupt():
    assert Script([5, 4, 6]).run(EarlyStopping(), reason="interrupted") == (2, 2)


def test_early_stopping_ends_a_fit():
    trainer = make(lr=0.0)
    history = trainer.fit(X, Y, epochs=50, validation_split=0.25, callbacks=[EarlyStopping(patience=3)], progress=False)
    assert (history.reason, history.epochs) == ("early stopping", 4)


def test_checkpoint_writes_what_it_says(tmp_path):
    every, best = Checkpoint(tmp_path / "e{epoch}.npz", every=2), Checkpoint(tmp_path / "best.npz", monitor="val_loss")
    Script([5, 4, 6, 3, 7]).run(every)
    Script([5, 4, 6, 3, 7]).run(best)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.npz", "e1.npz", "e3.npz"]
    from rnnfast.io import load_model

    for name, epoch in [("best", 3), ("e1", 1), ("e3", 3)]:
        assert load_model(tmp_path / f"{name}.npz").params["bias"][0] == epoch


def test_checkpoints_need_their_folder_before_any_work(tmp_path):
    trainer = make()
    before = weights(trainer.model)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        trainer.fit(X, Y, callbacks=[Checkpoint(tmp_path / "nowhere" / "c")], progress=False)
    assert np.array_equal(weights(trainer.model), before)


@pytest.mark.parametrize("epochs", [1, 2])
def test_resume_goes_on_to_the_bit(epochs, tmp_path):
    def prepared():
        model = Sequential(Dense(3, 4, seed=0), Dropout(0.5), Dense(4, 1, seed=1))
        return Trainer(model, MeanSquared(), Adam(0.05), schedule=StepDecay(2), metrics=[MAE()], seed=3)

    whole, first, second = prepared(), prepared(), prepared()
    expected = whole.fit(X, Y, epochs=3, batch_size=4, progress=False)
    first.fit(X, Y, epochs=epochs, batch_size=4, callbacks=[Checkpoint(tmp_path / "c.npz")], progress=False)
    second.resume(tmp_path / "c")
    history = second.fit(X, Y, epochs=3 - epochs, batch_size=4, progress=False)
    assert second.step == whole.step
    assert history["epoch"] == expected["epoch"][epochs:]
    assert history["loss"] == expected["loss"][epochs:]
    assert np.array_equal(weights(second.model), weights(whole.model))


def test_resume_leaves_what_does_not_fit(tmp_path):
    make().fit(X, Y, callbacks=[Checkpoint(tmp_path / "c.npz")], progress=False)
    other = Trainer(Sequential(Dense(3, 2, seed=0)), MeanSquared(), SGD(0.5))
    before = weights(other.model)
    with pytest.raises(ValueError, match="weight"):
        other.resume(tmp_path / "c.npz")
    assert (other.step, other.epoch, other.optimizer.lr) == (0, 0, 0.5)
    assert np.array_equal(weights(other.model), before)
    save_checkpoint(other.model, tmp_path / "bare.npz")
    with pytest.raises(ValueError, match="state of a trainer"):
        other.resume(tmp_path / "bare.npz")


def test_csv_log(tmp_path):
    path = tmp_path / "log.csv"
    trainer = make()
    for append in (False, True, False):
        history = trainer.fit(
            X, Y, epochs=2, validation_split=0.25, callbacks=[CSVLogger(path, append=append)], progress=False
        )
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == (4 if append else 2)
        for k in range(2):
            assert {name: float(value) for name, value in rows[k - 2].items()} == {n: c[k] for n, c in history.items()}
    with pytest.raises(ValueError, match="columns"):
        trainer.fit(X, Y, callbacks=[CSVLogger(path, append=True)], progress=False)


@pytest.mark.parametrize(
    "watcher",
    [EarlyStopping(), EarlyStopping("val_mae"), EarlyStopping("speed"), Checkpoint("never", monitor="val_loss")],
)
def test_what_is_watched_must_be_there(watcher):
    trainer = make()
    before = weights(trainer.model)
    with pytest.raises(ValueError, match="monitor"):
        trainer.fit(X, Y, callbacks=[watcher], progress=False)
    trainer.schedule = Plateau()
    with pytest.raises(ValueError, match="no validation"):
        trainer.fit(X, Y, progress=False)
    assert np.array_equal(weights(trainer.model), before)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: EarlyStopping(patience=0), "patience"),
        (lambda: EarlyStopping(mode="up"), "mode"),
        (lambda: EarlyStopping(min_delta=-1), "min_delta"),
        (lambda: Checkpoint("x", every=0), "every"),
        (lambda: Checkpoint("x", mode="up"), "mode"),
    ],
)
def test_bad_arguments(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_history_keeps_its_columns_in_step():
    history = History()
    history.add({"loss": 1.0})
    history.add({"loss": 2.0, "val_loss": 3.0})
    history.add({"val_loss": 4.0})
    np.testing.assert_array_equal(history["loss"], [1, 2, math.nan])
    np.testing.assert_array_equal(history["val_loss"], [math.nan, 3, 4])
    assert history.epochs == 3
    assert "running" in repr(history)


def test_fit_records_an_epoch_a_row():
    history = make().fit(X, Y, epochs=3, validation_split=0.25, progress=False)
    assert list(history) == ["epoch", "loss", "mae", "lr", "seconds", "per_second", "val_loss", "val_mae"]
    assert all(len(column) == 3 for column in history.values())


class Terminal(io.StringIO):
    def isatty(self):
        return True


def fit_showing(monkeypatch, stream, epochs=2):
    monkeypatch.setattr(sys, "stderr", stream)
    make().fit(X, Y, epochs=epochs, batch_size=4, validation_split=0.25)
    return stream.getvalue()


def test_a_file_gets_a_line_per_epoch(monkeypatch):
    shown = fit_showing(monkeypatch, io.StringIO())
    lines = shown.splitlines()
    assert "\r" not in shown
    assert [line.split(":")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    for word in ("loss", "mae", "val_loss", "samples/s"):
        assert all(word in line for line in lines)


def without_tqdm(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("tqdm"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_a_terminal_without_tqdm_gets_a_line_that_rewrites_itself(monkeypatch):
    without_tqdm(monkeypatch)
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    shown = fit_showing(monkeypatch, Terminal())
    assert shown.count("\n") == 2
    first = shown.split("\n")[0].split("\r")[1:]
    assert [text.split(" loss")[0] for text in first[:3]] == [f"epoch 1/2: {k}/3" for k in (1, 2, 3)]
    assert all("samples/s" in text and "left" in text for text in first[:3])
    assert "val_loss" in first[3]
    assert len({len(text) for text in first[:3]}) == 1 or len(first[3]) >= max(map(len, first[:3]))


def test_a_terminal_with_tqdm_gets_its_bar(monkeypatch):
    pytest.importorskip("tqdm")
    shown = fit_showing(monkeypatch, Terminal())
    assert "0/3" in shown and "%|" in shown
    assert "val_loss" in shown
    assert "epoch 2/2" in shown


def test_silence(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    make().fit(X, Y, progress=False)
    assert sys.stderr.getvalue() == ""


def test_the_line_that_is_rewritten_keeps_within_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    bar = progress.PlainBar(stream)
    bar.begin_epoch("epoch 1/1", 9)
    bar.advance("loss 1, " + "metric 1, " * 9, 3.0)
    assert len(stream.getvalue()) == 1 + 39
    bar.end_epoch("loss 1, " + "metric 1, " * 9)
    assert stream.getvalue().count("metric") > 9


def test_a_bar_leaves_the_whole_summary_behind():
    tqdm, stream = pytest.importorskip("tqdm").tqdm, io.StringIO()
    bar = progress.TqdmBar(lambda **kwargs: tqdm(file=stream, ncols=40, **kwargs))
    bar.begin_epoch("epoch 1/1", 1)
    bar.advance("loss 1", 0.0)
    summary = "loss 1, " + "metric 1, " * 9
    bar.end_epoch(summary)
    bar.close()
    assert stream.getvalue().splitlines()[-1].lstrip("\r ") == f"epoch 1/1: {summary}"


def test_a_history_lists_what_it_has():
    history = History()
    history.add({"epoch": 0, "loss": 1.0})
    with pytest.raises(KeyError, match="accuracy is not on record; there are epoch, loss"):
        history["accuracy"]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"metrics": MAE()}, "metrics must be a list of Metric objects; got MAE"),
        ({"metrics": None}, "metrics must be a list of Metric objects; got NoneType"),
        ({"metrics": [MAE]}, r"metrics\[0\] must be a Metric; got the class MAE itself"),
        ({"metrics": ["mae"]}, r"metrics\[0\] must be a Metric; got str"),
        ({"loss": MeanSquared}, "loss must be .*; got the class MeanSquared itself"),
        ({"optimizer": SGD}, "optimizer must be of Optimizer, such as .*; got the class SGD itself"),
    ],
)
def test_a_trainer_says_what_it_needs(arguments, match):
    with pytest.raises(TypeError, match=match):
        Trainer(**{"model": Dense(3, 1), "loss": MeanSquared(), "optimizer": SGD(0.1), **arguments})


@pytest.mark.parametrize("callbacks", [EarlyStopping("loss"), None, [Plateau()], [EarlyStopping]])
def test_callbacks_must_be_such(callbacks):
    with pytest.raises(TypeError, match="callbacks"):
        make().fit(X, Y, callbacks=callbacks, progress=False)


@pytest.mark.parametrize("shown", [True, False])
def test_an_interrupt_is_told_of_where_progress_is(shown, capsys):
    class Interrupt(Callback):
        def on_batch_end(self, trainer, batch, loss):
            raise KeyboardInterrupt

    history = make().fit(X, Y, callbacks=[Interrupt()], progress=shown)
    assert history.reason == "interrupted"
    assert capsys.readouterr().err.count("interrupted: the model is as after the last update") == shown


@pytest.mark.parametrize("bar", [progress.Silent, progress.Lines, progress.PlainBar, progress.TqdmBar])
def test_bars_survive_an_end_at_any_point(bar):
    stream = io.StringIO()
    argument = {
        progress.Silent: (),
        progress.TqdmBar: (lambda **kwargs: pytest.importorskip("tqdm").tqdm(file=stream, **kwargs),),
    }.get(bar, (stream,))
    for calls in range(4):
        one = bar(*argument)
        if calls > 0:
            one.begin_epoch("epoch 1/1", 0)  # of unknown length
        if calls > 1:
            one.advance("loss 1", None)
            one.advance("", 3.0)
        if calls > 2:
            one.end_epoch("loss 1")
        one.close()
        one.close()


def test_notebooks_are_known_by_their_kernel(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    without_tqdm(monkeypatch)
    assert type(progress.make_progress(True)) is progress.Lines
    monkeypatch.undo()
    pytest.importorskip("tqdm")
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert type(progress.make_progress(True)) is progress.TqdmBar


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.2, "1:00"), (61, "1:01"), (3725, "1:02:05"), (-1, "0:00")]
)
def test_clock(seconds, text):
    assert progress.clock(seconds) == text
