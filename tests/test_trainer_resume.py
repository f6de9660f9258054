"""Training that goes on from a checkpoint, within an epoch or between two, ends with the same parameters to the bit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rnnfast import (
    GRU,
    Accuracy,
    Adam,
    Checkpoint,
    Cosine,
    Dense,
    Dropout,
    Embedding,
    Last,
    Plateau,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
    load_checkpoint,
    save_checkpoint,
)
from rnnfast.callbacks import Callback
from rnnfast.io import container

BATCHES, EPOCHS = 7, 3


class Stop(Callback):
    """Writes a checkpoint after some batch and leaves by an interrupt, as a process that is killed would."""

    def __init__(self, path, epoch, batch):
        self.path, self.epoch, self.batch = path, epoch, batch

    def on_epoch_begin(self, trainer, epoch):
        self.now = epoch

    def on_batch_end(self, trainer, batch, loss):
        if (self.now, batch) == (self.epoch, self.batch):
            save_checkpoint(trainer.model, self.path, state=trainer.state_dict())
            raise KeyboardInterrupt


def samples():
    rng = np.random.default_rng(0)
    x = [rng.integers(0, 5, n) for n in rng.integers(1, 9, 4 * BATCHES)]
    return x, np.array([ids.sum() % 3 for ids in x])


def trainer_of(schedule, stream):
    tail = [] if stream else [Last()]
    model = Sequential(Embedding(5, 4, seed=0), GRU(4, 6, 2, dropout=0.2, seed=1), Dropout(0.3), *tail)
    model = Sequential(*model, Dense(6, 5 if stream else 3, seed=2))
    return Trainer(model, SoftmaxCrossEntropy(), Adam(0.02), schedule=schedule(), metrics=[Accuracy()], seed=4)


def fit(trainer, stream, epochs, callbacks=()):
    if stream:
        ids = np.random.default_rng(1).integers(0, 5, 4 * BATCHES * 3 + 1)
        return trainer.fit_stream(ids, streams=4, steps=3, epochs=epochs, callbacks=callbacks, progress=False)
    x, y = samples()
    return trainer.fit(x, y, epochs=epochs, batch_size=4, callbacks=callbacks, progress=False)


SCHEDULES = {
    "none": lambda: None,
    "cosine": lambda: Cosine(),
    "plateau": lambda: Plateau(monitor="loss", factor=0.5, patience=1, min_delta=0.5),
}


@pytest.mark.parametrize(("epoch", "batch"), [(0, 0), (1, 3), (1, BATCHES - 1), (2, 5)])
@pytest.mark.parametrize("stream", [False, True], ids=["samples", "stream"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_interrupted_epoch_goes_on_to_the_bit(schedule, stream, epoch, batch, tmp_path):
    path = tmp_path / "c.npz"
    whole = trainer_of(SCHEDULES[schedule], stream)
    history = fit(whole, stream, EPOCHS)

    first = trainer_of(SCHEDULES[schedule], stream)
    assert fit(first, stream, EPOCHS, [Stop(path, epoch, batch)]).reason == "interrupted"
    second = trainer_of(SCHEDULES[schedule], stream)
    second.resume(path)
    rest = fit(second, stream, EPOCHS - epoch)
    assert second.step == whole.step == EPOCHS * BATCHES and second.epoch == EPOCHS
    for name, array in whole.model.parameters().items():
        np.testing.assert_array_equal(second.model.parameters()[name], array)
    for name in ("epoch", "loss", "accuracy", "lr"):
        assert rest[name] == history[name][epoch:], name
    np.testing.assert_array_equal(second.optimizer.lr, whole.optimizer.lr)
    # What was gone on from is used up: the next fit is a new one in both.
    fit(second, stream, 1)
    fit(whole, stream, 1)
    for name, array in whole.model.parameters().items():
        np.testing.assert_array_equal(second.model.parameters()[name], array)


@pytest.mark.parametrize("batch", [1, 2, 4, BATCHES - 1])
@pytest.mark.parametrize("back", [None, 6])
def test_gathered_gradients_averages_and_steps_back_go_on_to_the_bit(back, batch, tmp_path):
    """What was gathered since the last update is gathered again; the last of 7 batches makes an update of its own."""
    ids = np.random.default_rng(1).integers(0, 5, 4 * BATCHES * 3 + 1)

    def make():
        model = Sequential(Embedding(5, 4, seed=0), GRU(4, 6, 2, dropout=0.2, seed=1), Dense(6, 5, seed=2))
        more = {"schedule": Cosine(), "metrics": [Accuracy()], "accumulate": 3, "ema": 0.9, "clip_norm": 0.5}
        return Trainer(model, SoftmaxCrossEntropy(), Adam(0.02), seed=4, **more)

    def run(trainer, epochs, callbacks=()):
        size = {"streams": 4, "steps": 3, "back": back}
        return trainer.fit_stream(ids, epochs=epochs, callbacks=callbacks, progress=False, **size)

    whole, first, second = make(), make(), make()
    history = run(whole, 3)
    run(first, 3, [Stop(tmp_path / "c.npz", 1, batch)])
    second.resume(tmp_path / "c.npz")
    rest = run(second, 2)
    assert second.step == whole.step == 9
    for name in ("epoch", "loss", "accuracy", "lr"):
        assert rest[name] == history[name][1:], name
    for one, other in (
        (second.model.parameters(), whole.model.parameters()),
        (second.average.arrays, whole.average.arrays),
    ):
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name])


def test_the_callback_writes_within_the_epoch(tmp_path):
    path = tmp_path / "c{epoch}.npz"
    trainer = trainer_of(SCHEDULES["cosine"], False)
    places = []

    class Look(Callback):
        def on_batch_end(self, trainer, batch, loss):
            found = sorted(p.name for p in tmp_path.iterdir())
            if found:
                place = load_checkpoint(tmp_path / found[-1]).state["place"]
                places.append((found[-1], place and place["batches"]))

    fit(trainer, False, 2, [Checkpoint(path, every_batches=3), Look()])
    assert {("c0.npz", 3), ("c0.npz", 6), ("c1.npz", 3), ("c1.npz", 6)} <= set(places)
    for name, done in (("c0.npz", BATCHES), ("c1.npz", 0)):  # the second is of a fit that was at its end
        state = load_checkpoint(tmp_path / name).state
        assert state["place"] is None and state["done_updates"] == done
    with pytest.raises(ValueError, match="cannot both be given"):
        Checkpoint(path, monitor="loss", every_batches=3)
    with pytest.raises(ValueError, match="every_batches must be at least 1"):
        Checkpoint(path, every_batches=0)


def test_between_epochs_the_schedule_goes_on(tmp_path):
    whole = trainer_of(SCHEDULES["cosine"], False)
    history = fit(whole, False, 3, [Checkpoint(tmp_path / "c{epoch}.npz")])
    second = trainer_of(SCHEDULES["cosine"], False)
    second.resume(tmp_path / "c0.npz")
    assert fit(second, False, 2)["lr"] == history["lr"][1:]
    for name, array in whole.model.parameters().items():
        np.testing.assert_array_equal(second.model.parameters()[name], array)


def test_other_data_is_refused(tmp_path):
    trainer = trainer_of(SCHEDULES["none"], False)
    fit(trainer, False, 1, [Stop(tmp_path / "c.npz", 0, 2)])
    second = trainer_of(SCHEDULES["none"], False)
    second.resume(tmp_path / "c.npz")
    x, y = samples()
    with pytest.raises(ValueError, match=r"within an epoch of 7 batches.*; this makes 14"):
        second.fit(x, y, batch_size=2, progress=False)


def test_a_checkpoint_of_version_1_is_gone_on_from(tmp_path):
    """Written before there were places: the epoch it stands after is over."""
    whole = trainer_of(SCHEDULES["none"], False)
    fit(whole, False, 2)
    trainer = trainer_of(SCHEDULES["none"], False)
    fit(trainer, False, 1)
    path = save_checkpoint(trainer.model, tmp_path / "c.npz", state=trainer.state_dict())
    with np.load(path) as archive:
        arrays = dict(archive)
    document = json.loads(arrays.pop("rnnfast.json").tobytes())
    assert document["version"] == 2
    document["version"] = 1
    for name in ("place", "done_updates", "done_seconds"):
        del document["state"][name]
    container.write(path, document, arrays)
    second = trainer_of(SCHEDULES["none"], False)
    second.resume(path)
    fit(second, False, 1)
    for name, array in whole.model.parameters().items():
        np.testing.assert_array_equal(second.model.parameters()[name], array)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"batches": -1}, "batches must be at least 0"),
        ({"noise": None}, "noise must be a dict"),
        ({"report": 3}, "report a list"),
        ({"noise": {"bit_generator": "MT19937"}}, "PCG64"),
        ({"report": ["x"]}, "could not convert"),
        ({"more": 1}, "place must have"),
    ],
)
def test_places_are_checked(change, match, tmp_path):
    trainer = trainer_of(SCHEDULES["none"], False)
    fit(trainer, False, 1, [Stop(tmp_path / "c.npz", 0, 2)])
    state = load_checkpoint(tmp_path / "c.npz").state
    state["place"].update(change)
    second = trainer_of(SCHEDULES["none"], False)
    with pytest.raises((ValueError, TypeError), match=match):
        second.load_state_dict(state)
    assert second.resumed is None and second.step == 0


def test_a_file_that_does_not_fit_leaves_an_interrupted_trainer_as_it_was(tmp_path):
    other = Trainer(Sequential(Dense(2, 3), Last()), SoftmaxCrossEntropy(), Adam(0.02))
    save_checkpoint(other.model, tmp_path / "other.npz", state=other.state_dict())
    trainer = trainer_of(SCHEDULES["cosine"], False)
    fit(trainer, False, 2, [Stop(tmp_path / "c.npz", 1, 2)])
    counts, place = (trainer.step, trainer.epoch, trainer.unfinished), trainer.place
    assert place is not None and counts[:2] == (BATCHES + 3, 2)
    with pytest.raises((KeyError, ValueError)):
        trainer.resume(tmp_path / "other.npz")
    assert (trainer.step, trainer.epoch, trainer.unfinished) == counts and trainer.place is place
