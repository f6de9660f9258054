"""What every layer keeps to, whatever it computes: its pullback runs once, for the parameters and on the backend of its
forward pass, and what it has returned cannot be changed behind its back; a copy of the layer gives the same bits."""

import copy
import pickle

import numpy as np
import pytest
from model_table import MAKERS
from test_cell_layer import Peephole

from rnnfast import backend, engine
from rnnfast.backend import use_backend
from rnnfast.layers import LSTM, CellLayer, Chain, Dense, Dropout, OutputFeedback, Sequential, checkpointed
from rnnfast.layers.states import map_state, state_leaves

N, T = 3, 4


def real(*shape):
    return np.random.default_rng(7).standard_normal(shape)


def symbols(count, *shape):
    return np.random.default_rng(7).integers(1, count, shape)


# In every tree each node is the child of the next one, and the last is the root.
PARENTS = np.tile([1, 2, 3, -1], (N, 1))

# What a class reads, where it is not (N, T, 3).
INPUTS = {
    "CRF": lambda: real(N, T, 5),
    "Attention": lambda: (real(N, 2, 3), real(N, T, 4)),
    "Embedding": lambda: symbols(7, N, T),
    "TreeEncoder": lambda: np.stack([symbols(7, N, T), PARENTS], axis=2),
    "LayerNorm": lambda: real(N, T, 6),
    "Ends": lambda: real(N, T, 4),
    "Tagger": lambda: symbols(4, N, T, 3),
    "LanguageModel": lambda: symbols(11, N, T),
    "VectorToSequence": lambda: (real(N, 5), symbols(9, N, T)),
    "EncoderDecoder": lambda: (symbols(9, N, T), symbols(8, N, 3)),
    "Graph": lambda: real(N, 3),
}

# What no file knows, and what draws at random.
OTHERS = {
    "CellLayer": lambda: CellLayer(Peephole(3, 4), seed=0),
    "Sequential": lambda: Sequential(LSTM(3, 4, seed=0), Dropout(0.5), Dense(4, 2, seed=1)),
    "OutputFeedback": lambda: OutputFeedback(Sequential(LSTM(5, 4, seed=0), Dense(4, 2, seed=1)), 2),
    "weight drop": lambda: LSTM(3, 4, 2, dropout=0.5, weight_drop=0.5, seed=0),
    "Dense, sigmoid": lambda: Dense(3, 4, activation="sigmoid", seed=0),
    "checkpointed": lambda: LSTM(3, 4, zoneout=0.5, seed=0),
}
NAMES = [*MAKERS, *OTHERS]


def make(name):
    """Return a new layer and what it reads."""
    layer = OTHERS[name]() if name in OTHERS else MAKERS[name](np.float32)
    return layer, INPUTS.get(name, lambda: real(N, T, 3))()


def forward(name, layer, x):
    rng = np.random.default_rng(3)
    if name == "TreeLSTM":
        return layer.forward(x, PARENTS)
    if name == "checkpointed":
        return checkpointed(layer, x, chunk=2, rng=rng)
    return layer.forward(x, rng=rng)


def pull(name, layer, out, pullback):
    """Return all gradients by name: those of what was read, and of the parameters."""
    grads = {}
    y = out[0] if layer.stateful or name == "TreeLSTM" else out
    dx = pullback(Chain(*map(np.ones_like, y)) if isinstance(y, Chain) else map_state(np.ones_like, y), grads)
    return {**dict(state_leaves(dx, "x")), **grads}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_a_pullback_runs_once(name):
    layer, x = make(name)
    out, pullback = forward(name, layer, x)
    pull(name, layer, out, pullback)
    with pytest.raises(RuntimeError, match="this pullback was called before"):
        pull(name, layer, out, pullback)


@pytest.mark.parametrize("name", [name for name in NAMES if make(name)[0].num_parameters()])
def test_the_parameters_must_stand(name):
    layer, x = make(name)
    out, pullback = forward(name, layer, x)
    with layer.update():
        pass
    with pytest.raises(RuntimeError, match="the parameters changed between forward and pullback"):
        pull(name, layer, out, pullback)


class Asked(dict):
    """Modules by name that remember which were asked for."""

    def __init__(self, modules):
        super().__init__(modules)
        self.names = set()

    def get(self, key):
        self.names.add(key[0] if isinstance(key, tuple) else key.split()[0])
        return super().get(key)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("ahead", "behind"), [("native", "reference"), ("reference", "native")])
def test_a_pullback_runs_on_the_backend_of_its_forward_pass(name, ahead, behind, monkeypatch):
    layer, x = make(name)
    with use_backend(ahead):
        expected = pull(name, layer, *forward(name, layer, x))
        out, pullback = forward(name, layer, x)
    asked = Asked(backend._loaded), Asked(engine._loaded)
    monkeypatch.setattr(backend, "_loaded", asked[0])
    monkeypatch.setattr(engine, "_loaded", asked[1])
    with use_backend(behind):
        found = pull(name, layer, out, pullback)
    assert behind not in asked[0].names | asked[1].names
    assert_same(found, expected)


def test_the_modules_that_are_asked_for_are_seen(monkeypatch):
    asked = Asked(backend._loaded), Asked(engine._loaded)
    monkeypatch.setattr(backend, "_loaded", asked[0])
    monkeypatch.setattr(engine, "_loaded", asked[1])
    with use_backend("reference"):
        Dense(3, 2)(real(N, 3))
        LSTM(3, 2).forward(real(N, T, 3))
    assert asked[0].names == asked[1].names == {"reference"}


@pytest.mark.parametrize("name", NAMES)
def test_what_was_returned_is_read_only_or_not_read_again(name):
    layer, x = make(name)
    expected = pull(name, layer, *forward(name, layer, x))
    out, pullback = forward(name, layer, x)
    for _, array in state_leaves(tuple(out) if isinstance(out, Chain) else out):
        if array.flags.writeable:
            array[...] = np.nan
    assert_same(pull(name, layer, out, pullback), expected)


def pickled(layer):
    return pickle.loads(pickle.dumps(layer))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_gives_the_same_bits(name, clone):
    layer, x = make(name)
    expected = pull(name, layer, *forward(name, layer, x))
    found = pull(name, layer, *forward(name, clone(layer), x))
    assert_same(found, expected)
