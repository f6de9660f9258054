"""Checkpoints: training goes on from one as if it had not stopped."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rnnfast import optimizers
from rnnfast.io import ModelFileError, checkpoint, load_checkpoint, load_model, save_checkpoint, save_model
from rnnfast.layers.dense import Dense
from rnnfast.layers.pooling import Last
from rnnfast.layers.recurrent import GRU

SUFFIXES = [".npz", ".safetensors"]
MAKERS = {
    "SGD": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "RMSProp": lambda: optimizers.RMSProp(0.02),
    "Adagrad": lambda: optimizers.Adagrad(0.02, eps=1e-9),
    "Adam": lambda: optimizers.Adam(0.01, betas=(0.8, 0.95)),
    "AdamW": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
}


def train(model, optimizer, rng, steps):
    for _ in range(steps):
        grads = {name: rng.normal(size=array.shape).astype(array.dtype) for name, array in model.parameters().items()}
        optimizer.update(model, grads)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("given", [False, True], ids=["new", "given"])
@pytest.mark.parametrize("name", checkpoint.OPTIMIZERS)
def test_training_goes_on_to_the_bit(name, given, suffix, tmp_path):
    model, optimizer, rng = GRU(2, 3, seed=0), MAKERS[name](), np.random.default_rng(1)
    train(model, optimizer, rng, 3)
    optimizer.lr *= 0.5
    path = save_checkpoint(model, tmp_path / f"c{suffix}", optimizer, 3, {"rng": rng.bit_generator.state})
    train(model, optimizer, rng, 3)

    others = (GRU(2, 3, seed=9), MAKERS[name]()) if given else ()
    found = load_checkpoint(path, *others)
    assert found.step == 3 and type(found.optimizer) is type(optimizer)
    if given:
        assert found.model is others[0] and found.optimizer is others[1]
    again = np.random.default_rng()
    again.bit_generator.state = found.state["rng"]
    train(found.model, found.optimizer, again, 3)
    for key, array in model.parameters().items():
        np.testing.assert_array_equal(found.model.parameters()[key], array)


def test_state_of_any_shape(tmp_path):
    state = {"a": [np.arange(3), {"b": np.float32(2)}, (1, None)], "best": np.inf, "worst": float("-inf"), "t": True}
    path = save_checkpoint(Last(), tmp_path / "c", state=state)
    found = load_checkpoint(path)
    assert found.optimizer is None and found.step == 0
    np.testing.assert_array_equal(found.state["a"][0], np.arange(3))
    assert found.state["a"][1:] == [{"b": 2.0}, [1, None]]
    assert found.state["best"] == np.inf and found.state["worst"] == -np.inf and found.state["t"] is True
    found.state["a"][0][0] = 5
    path = save_checkpoint(Last(), path, state=[np.nan])
    assert np.isnan(load_checkpoint(path).state[0])


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"step": -1}, ValueError, "step must be at least 0"),
        ({"optimizer": "adam"}, TypeError, "optimizer must be one of"),
        ({"state": {1: 2}}, TypeError, "strings for keys"),
        ({"state": {"$array": "x"}}, ValueError, "must not have the key"),
        ({"state": {"f": print}}, TypeError, "state/f must be"),
        ({"state": np.array([None])}, TypeError, "real numbers"),
    ],
)
def test_saving_refuses(arguments, error, match, tmp_path):
    with pytest.raises(error, match=match):
        save_checkpoint(Last(), tmp_path / "c", **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def saved(tmp_path):
    model, optimizer = Dense(2, 3, seed=0), optimizers.Adam()
    train(model, optimizer, np.random.default_rng(0), 1)
    return save_checkpoint(model, tmp_path / "c.npz", optimizer, 1)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: (Dense(2, 4, seed=1), optimizers.Adam()), "shape"),
        (lambda: (Dense(2, 3, bias=False, seed=1), optimizers.Adam()), "unknown"),
        (lambda: (Dense(2, 3, dtype=np.float64, seed=1), optimizers.Adam()), "float64"),
        (lambda: (Dense(2, 3, seed=1), optimizers.SGD(0.1)), "is Adam, not SGD"),
    ],
)
def test_what_does_not_fit_changes_nothing(saved, make, match):
    model, optimizer = make()
    before, state = model.state_dict(), optimizer.state_dict()
    with pytest.raises(ModelFileError, match=match):
        load_checkpoint(saved, model, optimizer)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert list(optimizer.state_dict()) == list(state)


def test_kinds_are_not_mixed_up(saved, tmp_path):
    model = load_checkpoint(saved).model
    for name, array in load_model(saved).state_dict().items():  # of a checkpoint it takes the model alone
        np.testing.assert_array_equal(array, model.state_dict()[name])
    with pytest.raises(ModelFileError, match="not a checkpoint of rnnfast"):
        load_checkpoint(save_model(Last(), tmp_path / "m"))
    with pytest.raises(ModelFileError, match="no optimiser"):
        load_checkpoint(save_checkpoint(Last(), tmp_path / "d"), optimizer=optimizers.Adam())


CHANGES = {
    "step": (lambda d: d.update(step=-1), "step must be"),
    "step true": (lambda d: d.update(step=True), "step must be"),
    "field": (lambda d: d.pop("state"), "fields"),
    "optimizer list": (lambda d: d.update(optimizer=[]), "optimiser must have"),
    "optimizer class": (lambda d: d["optimizer"].update({"class": "Layer"}), "no optimiser called 'Layer'"),
    "optimizer option": (lambda d: d["optimizer"]["config"].update(x=1), "does not fit"),
    "optimizer config": (lambda d: d["optimizer"].update(config=3), "does not fit"),
    "optimizer lr": (lambda d: d["optimizer"]["config"].update(lr="a"), "does not fit"),
    "optimizer state": (lambda d: d["optimizer"].update(state=[]), "does not fit"),
    "no array": (lambda d: d["optimizer"]["state"].update(lr={"$array": "x"}), "no array 'x'"),
    "array a list": (lambda d: d.update(state={"$array": []}), "no array"),
    "float": (lambda d: d.update(state={"$float": "1"}), "not nan"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_hostile(case, saved):
    change, match = CHANGES[case]
    with np.load(saved) as archive:
        arrays = dict(archive)
    document = json.loads(arrays["rnnfast.json"].tobytes())
    change(document)
    arrays["rnnfast.json"] = np.frombuffer(json.dumps(document).encode(), np.uint8)
    np.savez(saved, **arrays)
    with pytest.raises(ModelFileError, match=match):
        load_checkpoint(saved)
