"""Public objects can be copied and pickled, and say what they are."""

import copy
import pickle

import numpy as np
import pytest
from test_public_arguments import GOOD, READER, WRITER, X

import rnnfast
from rnnfast import LSTM, Adam, Cosine, SoftmaxCrossEntropy, StepDecay, Stream, Trainer, TrainingError, WarmUp, data

# Open files cannot be copied.
CLASSES = [name for name in GOOD if isinstance(getattr(rnnfast, name), type) and name != "TensorBoardLogger"]


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, pickled])
def test_copies(name, clone):
    thing = getattr(rnnfast, name)(**GOOD[name])
    again = clone(thing)
    assert type(again) is type(thing) and again is not thing
    assert repr(again) == repr(thing) and " object at 0x" not in repr(thing)


def test_schedules_are_shown_as_they_are_made():
    for schedule in (Cosine(0.5, warmup=0.1), StepDecay([2, 5], unit="step"), StepDecay(3), WarmUp(10, Cosine())):
        again = eval(repr(schedule), {**vars(rnnfast), **{n: getattr(rnnfast, n) for n in rnnfast.__all__}})
        assert repr(again) == repr(schedule)
    assert repr(rnnfast.Constant()) == "Constant()" and repr(rnnfast.RMSE()) == "RMSE()"


def test_errors_cross_from_process_to_process():
    error = pickled(TrainingError("the loss is not finite", 1, 2, "layer 0"))
    assert (str(error), error.epoch, error.batch, error.place) == ("the loss is not finite", 1, 2, "layer 0")


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, pickled])
def test_a_stream_that_is_copied_goes_on_by_itself(clone):
    model = LSTM(3, 4, seed=0)
    stream = Stream(model, 2)
    stream.step(X[:, 0])
    again = clone(stream)
    assert (again.model is model) == (clone is copy.copy)
    expected = stream.step(X[:, 1])
    np.testing.assert_array_equal(again.step(X[:, 1]), expected)
    stream.reset()
    assert np.any(again.state[0])


@pytest.mark.parametrize("clone", [copy.deepcopy, pickled])
def test_a_trainer_that_is_copied_trains_on_by_itself(clone):
    trainer = Trainer(READER, SoftmaxCrossEntropy(), Adam(), schedule=Cosine(), ema=0.9)
    trainer = copy.deepcopy(trainer)  # the model is shared by these tests
    trainer.fit(X, [0, 1], progress=False)
    again = clone(trainer)
    told = f"Trainer(Sequential, {trainer.loss!r}, {trainer.optimizer!r}, epoch=1, step=1)"
    assert repr(again) == repr(trainer) == told
    for one in (trainer, again):
        one.fit(X, [0, 1], progress=False)
    for name, array in trainer.model.parameters().items():
        np.testing.assert_array_equal(again.model.parameters()[name], array)


def test_data_keeps_what_it_has_learnt():
    scaler = data.Standardizer().fit(X[0])
    np.testing.assert_array_equal(pickled(scaler).transform(X[0]), scaler.transform(X[0]))
    vocabulary = data.CharVocabulary(["a", "b"])
    assert pickled(vocabulary) == copy.deepcopy(vocabulary) == vocabulary
    assert pickled(rnnfast.Stepper(WRITER)).model.config() == WRITER.config()
