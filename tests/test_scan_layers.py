"""Layers with an elementwise recurrence as objects: parameters, files, training, errors, what they say of
themselves."""

import pickle

import numpy as np
import pytest

from rnnfast import (
    QRNN,
    SRU,
    Adam,
    Dense,
    Embedding,
    IndRNN,
    Last,
    MinGRU,
    MinLSTM,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
    limit_threads,
    load_model,
    save_model,
    use_backend,
)

LAYERS = [
    SRU(3, 4, 2, dropout=0.25, bidirectional=True, highway_bias=-1.5, rescale=True, seed=0),
    QRNN(3, 4, 2, window=2, zoneout=0.1, output_gate=False, dtype=np.float64, seed=0),
    MinGRU(3, 4, bias=False, batch_first=False, activation="identity", seed=0),
    MinLSTM(3, 4, init="torch", activation="tanh", seed=0),
    IndRNN(3, 4, nonlinearity="tanh", recurrent_bounds=(-0.5, 0.5), seed=0),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_configuration_copies_and_files(layer, tmp_path):
    x = np.random.default_rng(0).standard_normal((2, 2, 3))
    y = layer(x)[0]
    other = type(layer)(**layer.config())
    assert repr(other) == repr(layer)
    other.load_state_dict(layer.state_dict())
    for copy in (other, pickle.loads(pickle.dumps(layer)), load_model(save_model(layer, tmp_path / "model"))):
        assert repr(copy) == repr(layer)
        np.testing.assert_array_equal(copy(x)[0], y)
    with other.update() as params:
        params["weight_ih_l0"] *= 2
    assert not np.array_equal(other(x)[0], y)


def test_initial_values():
    sru = SRU(300, 200, highway_bias=-2.0, seed=0)
    assert sru.weight_ih_l0.shape == (800, 300) and SRU(200, 200).weight_ih_l0.shape == (600, 200)
    bound = np.sqrt(6 / 500)
    assert 0.99 * bound < np.abs(sru.weight_ih_l0).max() <= np.float32(bound)
    assert 1.2 < np.abs(sru.weight_c_l0).max() <= np.float32(np.sqrt(1.5))
    np.testing.assert_array_equal(sru.bias_ih_l0, np.repeat([0, -2], 200))
    np.testing.assert_array_equal(QRNN(3, 2, seed=0).bias_ih_l0, [0, 0, 1, 1, 0, 0])
    np.testing.assert_array_equal(MinLSTM(3, 2, seed=0).bias_ih_l0, [1, 1, 0, 0, 0, 0])
    assert not MinGRU(3, 2, seed=0).bias_ih_l0.any()
    u = IndRNN(3, 500, recurrent_bounds=(0.9, 1.1), seed=0).weight_hh_l0
    assert 0.9 <= u.min() < 0.91 and 1.09 < u.max() <= 1.1
    plain = IndRNN(3, 100, init="torch", seed=0)
    assert all(0.09 < np.abs(a).max() <= np.float32(0.1) for a in plain.parameters().values())


@pytest.mark.parametrize("kind", [SRU, QRNN, MinGRU, MinLSTM, IndRNN])
def test_a_layer_learns(kind):
    """Whether the first of eight numbers was above zero: the state has to carry it."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 8, 1)).astype(np.float32)
    label = (x[:, 0, 0] > 0).astype(int)
    model = Sequential(kind(1, 24, 2, seed=1), Last(), Dense(24, 2, seed=2))
    trainer = Trainer(model, SoftmaxCrossEntropy(), Adam(lr=0.02))
    trainer.fit(x[:500], label[:500], epochs=20, progress=False)
    assert (trainer.predict(x[500:]).argmax(1) == label[500:]).mean() > 0.9


def test_a_stream_of_text_is_learned():
    text = np.tile([0, 1, 2, 3, 1, 0], 200)
    model = Sequential(Embedding(4, 8, seed=0), QRNN(8, 16, window=2, zoneout=0.05, seed=1), SRU(16, 16, seed=2))
    model = Sequential(*model, Dense(16, 4, seed=3))
    trainer = Trainer(model, SoftmaxCrossEntropy(), Adam(lr=0.02))
    history = trainer.fit_stream(text, streams=4, steps=20, epochs=6, progress=False)
    assert history["loss"][-1] < 0.1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: QRNN(3, 4, window=0), ValueError, "window must be at least 1"),
        (lambda: QRNN(3, 4, zoneout=1.0), ValueError, r"zoneout must lie in \[0, 1\)"),
        (lambda: QRNN(3, 4, output_gate=1), TypeError, "output_gate must be True or False"),
        (lambda: MinGRU(3, 4, activation="relu"), ValueError, "activation must be one of positive, identity, tanh"),
        (lambda: IndRNN(3, 4, nonlinearity="sigmoid"), ValueError, "nonlinearity must be one of relu, tanh"),
        (lambda: IndRNN(3, 4, recurrent_bounds=1.0), TypeError, "recurrent_bounds must be a pair"),
        (lambda: IndRNN(3, 4, recurrent_bounds=(1, 0)), ValueError, r"recurrent_bounds\[1\] must lie in \[1, inf"),
        (lambda: SRU(3, 4, rescale=None), TypeError, "rescale must be True or False"),
        (lambda: SRU(3, 4, highway_bias="x"), TypeError, "highway_bias must be a real number"),
        (lambda: SRU(3, 4, dropout=0.5), ValueError, "dropout acts between layers"),
        (lambda: SRU(3, 4)(np.zeros((2, 5, 4))), ValueError, r"x must have shape \(N, T, 3\)"),
        (lambda: SRU(3, 4)(np.zeros((2, 5, 3)), np.zeros((1, 3, 4))), ValueError, r"state must have shape \(1, 2, 4\)"),
        (lambda: QRNN(3, 4, window=2)(np.zeros((2, 5, 3)), np.zeros((1, 2, 4))), TypeError, "tuple of 2 arrays"),
        (
            lambda: QRNN(3, 4, window=2)(np.zeros((2, 5, 3)), (np.zeros((1, 2, 4)), np.zeros((1, 2, 2, 3)))),
            ValueError,
            r"state\[1\] \(past\) must have shape \(1, 2, 1, 3\)",
        ),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_explanation():
    layer = SRU(64, 256, 2, seed=0)
    first, second = layer.explain(batch=8, steps=512, threads=2).layers
    assert (first.threads, first.shared) == (2, "units") and first.recurrent_bytes == 0
    assert first.input_bytes == 4 * 256 * 64 * 4 and second.input_bytes == 3 * 256 * 256 * 4
    assert layer.explain(threads=2).layers[0].reason == "too little work for two threads"
    narrow = MinGRU(64, 16, seed=0).explain(batch=64, steps=100, threads=2, training=True)
    assert narrow.layers[0].shared == "rows" and narrow.layers[0].bytes_per_step == 3 * 16 * 4
    assert "mingru_positive float32, training of 64 x 100 steps" in str(narrow)
    with use_backend("reference"):
        assert not layer.explain().layers


def test_dropout_acts_between_layers():
    layer = MinGRU(5, 40, 2, dropout=0.5, seed=0)
    x = np.random.default_rng(0).standard_normal((3, 9, 5)).astype(np.float32)
    one, again, other = (layer.forward(x, rng=np.random.default_rng(s))[0][0] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    with use_backend("reference"):
        np.testing.assert_allclose(layer.forward(x, rng=np.random.default_rng(1))[0][0], one, rtol=0, atol=1e-5)
    with limit_threads(2):
        np.testing.assert_array_equal(layer(x)[0], layer(x)[0])
