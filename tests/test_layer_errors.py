"""Bad input to stateless layers: what came and what was expected is named, and nothing changes."""

import re

import numpy as np
import pytest

from rnnfast.layers import Dense, Dropout, Embedding, Last, MaxPool, MeanPool

ONES = np.ones((2, 3, 4), np.float32)

CONSTRUCTORS = [
    (lambda: Dense(0, 2), ValueError, "in_features must be at least 1; got 0"),
    (lambda: Dense(2, 1.5), TypeError, "out_features must be an integer; got 1.5"),
    (lambda: Dense(2, 2, bias=1), TypeError, "bias must be True or False; got 1"),
    (lambda: Dense(2, 2, activation="gelu"), ValueError, "activation must be one of relu, tanh, sigmoid; got 'gelu'"),
    (lambda: Dense(2, 2, dtype=np.int32), ValueError, "dtype must be float32 or float64; got int32"),
    (lambda: Dense(2, 2, init="he"), ValueError, "init must be one of default, torch; got 'he'"),
    (lambda: Embedding(-1, 2), ValueError, "num_embeddings must be at least 1; got -1"),
    (lambda: Embedding(2, "2"), TypeError, "embedding_dim must be an integer; got '2'"),
    (lambda: Embedding(3, 2, padding_idx=3), ValueError, "padding_idx must lie in -3..2; got 3"),
    (lambda: Embedding(3, 2, padding_idx=-4), ValueError, "padding_idx must be at least -3; got -4"),
    (lambda: Embedding(3, 2, init="one"), ValueError, "init must be one of default, torch, uniform; got 'one'"),
    (
        lambda: Dense(2, 2, seed="one"),
        TypeError,
        "seed must be an integer, a numpy.random.Generator or None",
    ),
    (lambda: Dense(2, 2, seed=-1), ValueError, "seed must be at least 0; got -1"),
    (
        lambda: Embedding(2, 2, seed=1.5),
        TypeError,
        "seed must be an integer, a numpy.random.Generator or None",
    ),
    (lambda: Dropout(1.0), ValueError, "p must lie in [0, 1); got 1"),
    (lambda: Dropout(-0.1), ValueError, "p must lie in [0, 1); got -0.1"),
    (lambda: Dropout(float("nan")), ValueError, "p must be finite; got nan"),
    (lambda: Dropout("half"), TypeError, "p must be a real number; got 'half'"),
]


@pytest.mark.parametrize(("build", "error", "message"), CONSTRUCTORS)
def test_constructors(build, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        build()


INPUTS = [
    (Dense(4, 2), np.ones(4), ValueError, "x must have shape (N, 4) or (N, T, 4); got (4,)"),
    (Dense(4, 2), np.ones((2, 3)), ValueError, "x must have shape (N, 4); got (2, 3)"),
    (Dense(4, 2), np.ones((2, 3, 5)), ValueError, "x must have shape (N, T, 4); got (2, 3, 5)"),
    (Dense(4, 2), np.ones((2, 4), object), TypeError, "x must hold real numbers; got dtype object"),
    (Dense(4, 2), np.ones((2, 4), complex), TypeError, "x must hold real numbers; got dtype complex128"),
    (Dense(4, 2), [[1.0], [1.0, 2.0]], ValueError, "x must be a rectangular array"),
    (Dropout(0.5), np.ones((1, 2, 3, 4)), ValueError, "x must have shape (N, C) or (N, T, C); got (1, 2, 3, 4)"),
    (Dropout(0.5), [["a"]], TypeError, "x must hold real numbers; got dtype <U1"),
    (Embedding(4, 2), np.ones((2, 3)), TypeError, "x must be integers; got dtype float64"),
    (Embedding(4, 2), np.ones((2, 3), bool), TypeError, "x must be integers; got dtype bool"),
    (Embedding(4, 2), [[0, 4]], IndexError, "x must lie in 0..3; got 4"),
    (Embedding(4, 2), [[0, -1]], IndexError, "x must lie in 0..3; got -1"),
    (Embedding(4, 2), 3, ValueError, "x must have shape (N,) or (N, T); got ()"),
    (Last(), np.ones((2, 3)), ValueError, "x must have shape (N, T, C); got (2, 3)"),
    (MeanPool(), np.ones((2, 3), object), TypeError, "x must hold real numbers; got dtype object"),
]


@pytest.mark.parametrize(("layer", "x", "error", "message"), INPUTS)
def test_inputs(layer, x, error, message):
    for call in (layer, layer.forward):
        with pytest.raises(error, match="^" + re.escape(message)):
            call(x)


@pytest.mark.parametrize("layer", [Last(), MeanPool(), MaxPool()])
@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([1, 4], ValueError, "lengths must lie in 0..3, the number of steps; got 4"),
        ([-1, 2], ValueError, "lengths must lie in 0..3, the number of steps; got -1"),
        ([1], ValueError, "lengths must have shape (2,)"),
        ([1.0, 2.0], TypeError, "lengths must be integers; got dtype float64"),
    ],
)
def test_lengths(layer, lengths, error, message):
    for call in (layer, layer.forward):
        with pytest.raises(error, match="^" + re.escape(message)):
            call(ONES, lengths=lengths)


def test_rng():
    with pytest.raises(TypeError, match=r"rng must be a numpy.random.Generator; got int"):
        Dropout(0.5).forward(ONES, rng=3)


@pytest.mark.parametrize(
    ("dy", "error", "message"),
    [
        (np.ones((2, 3)), ValueError, "dy must have shape (2, 3, 5); got (2, 3)"),
        (np.ones((2, 3, 5), object), TypeError, "dy must hold real numbers; got dtype object"),
        (None, TypeError, "dy must hold real numbers; got dtype object"),
    ],
)
def test_bad_gradients_leave_the_pullback_usable(dy, error, message):
    y, pullback = Dense(4, 5, seed=0).forward(ONES)
    grads = {}
    with pytest.raises(error, match="^" + re.escape(message)):
        pullback(dy, grads)
    assert not grads
    pullback(np.ones_like(y), grads)
    assert grads.keys() == {"weight", "bias"}


@pytest.mark.parametrize("bad", [np.zeros((4, 5), np.float32), np.zeros((5, 4), np.float64)])
def test_gradient_stores_must_fit(bad):
    y, pullback = Dense(4, 5, seed=0).forward(ONES)
    bias = np.zeros(5, np.float32)
    with pytest.raises(ValueError, match=r"grads\['weight'\] must have shape \(5, 4\) and dtype float32; got"):
        pullback(np.ones_like(y), {"bias": bias, "weight": bad})
    assert (bias == 0).all()


def frozen(shape):
    array = np.zeros(shape, np.float32)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("layer", "x", "shape"),
    [(Dense(4, 5, seed=0), ONES, (5, 4)), (Embedding(7, 5, seed=0), np.ones((2, 3), int), (7, 5))],
)
def test_gradient_stores_must_be_written_to(layer, x, shape):
    y, pullback = layer.forward(x)
    for bad, name in ((frozen(shape), "ndarray that is read-only"), ([[0.0]], "list"), (0.0, "float")):
        with pytest.raises(TypeError, match=rf"grads\['weight'\] must be an array that can be written to; got {name}"):
            pullback(np.ones_like(y), {"weight": bad})
        assert not np.any(bad)
    with pytest.raises(TypeError, match="grads must be a dict of arrays by parameter name; got list"):
        pullback(np.ones_like(y), [])
    pullback(np.ones_like(y), {})


@pytest.mark.parametrize("layer", [Dense(4, 2, seed=0), Dropout(0.5), Last()])
def test_a_pullback_runs_once(layer):
    y, pullback = layer.forward(ONES)
    pullback(np.ones_like(y), {})
    with pytest.raises(RuntimeError, match="called before"):
        pullback(np.ones_like(y), {})


def test_parameters_must_stand_between_forward_and_pullback():
    layer = Dense(4, 2, seed=0)
    y, pullback = layer.forward(ONES)
    with layer.update() as params:
        params["bias"] += 1
    with pytest.raises(RuntimeError, match="parameters changed"):
        pullback(np.ones_like(y), {})
