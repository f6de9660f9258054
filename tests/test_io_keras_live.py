"""Keras itself, live and by its files, on whichever of its backends is installed."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest

from rnnfast import LSTM
from rnnfast.io import (
    ConversionError,
    from_keras,
    import_onnx,
    load_keras_weights,
    read_keras_weights,
    to_keras_weights,
)

BACKENDS = [name for name in ("torch", "jax", "tensorflow") if importlib.util.find_spec(name)]
if importlib.util.find_spec("keras") is None or not BACKENDS:
    pytest.skip(
        "keras, or what it computes with, is not installed; .ci/run has a stage that runs this with both",
        allow_module_level=True,
    )
os.environ.setdefault("KERAS_BACKEND", BACKENDS[0])

import keras  # noqa: E402

layers = keras.layers
X = np.random.default_rng(0).standard_normal((3, 6, 5)).astype(np.float32)


def perturbed(model):
    """Return the layer or model with weights that are all different from their defaults."""
    rng = np.random.default_rng(1)
    model.set_weights([w + 0.3 * rng.standard_normal(w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


def computed(model, x):
    return keras.ops.convert_to_numpy(model(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.LSTM(4, return_sequences=True),
        lambda: layers.LSTM(4, use_bias=False),
        lambda: layers.GRU(4, return_sequences=True),
        lambda: layers.GRU(4, reset_after=False),
        lambda: layers.SimpleRNN(4, activation="relu"),
        lambda: layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
        lambda: layers.Bidirectional(layers.GRU(4)),
        lambda: layers.LayerNormalization(),
        lambda: layers.TimeDistributed(layers.Dense(3, activation="softmax")),
    ],
)
def test_layers(make):
    twin = make()
    twin(X)
    perturbed(twin)
    layer = from_keras(twin)
    found = layer(X)[0] if layer.stateful else layer(X)
    np.testing.assert_allclose(found, computed(twin, X), rtol=0, atol=2e-6)


def test_models_and_files(tmp_path):
    twin = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(11, 5),
            layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
            layers.Dropout(0.2),
            layers.GRU(3, return_sequences=True),
            layers.LayerNormalization(),
            layers.GlobalAveragePooling1D(),
            layers.Dense(6, activation="relu"),
            layers.Dense(2),
            layers.Activation("softmax"),
        ]
    )
    perturbed(twin)
    ids = np.random.default_rng(0).integers(0, 11, (3, 7))
    expected = computed(twin, ids)
    model = from_keras(twin)
    np.testing.assert_allclose(model(ids)[0], expected, rtol=0, atol=2e-6)
    twin.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(from_keras(tmp_path / "m.keras")(ids)[0], model(ids)[0])
    twin.save_weights(tmp_path / "m.weights.h5")
    found = read_keras_weights(tmp_path / "m.weights.h5")
    order = ["embedding", "bidirectional", "gru", "layer_normalization", "dense", "dense_1"]
    for array, weight in zip([a for name in order for a in found[name]], twin.get_weights(), strict=True):
        np.testing.assert_array_equal(array, weight)
    load_keras_weights(model, [2 * weight for weight in twin.get_weights()])
    twin.set_weights(to_keras_weights(model))
    np.testing.assert_allclose(model(ids)[0], computed(twin, ids), rtol=0, atol=2e-6)


def test_functional_nested_and_older_files(tmp_path):
    start = keras.Input((None, 5))
    inner = keras.Sequential([layers.LSTM(4, return_sequences=True, recurrent_dropout=0.2), layers.Dropout(0.1)])
    twin = keras.Model(start, layers.Dense(2, activation="relu")(layers.GRU(3)(layers.Dense(6)(inner(start)))))
    perturbed(twin)
    expected = computed(twin, X)
    np.testing.assert_allclose(from_keras(twin)(X)[0], expected, rtol=0, atol=2e-6)
    twin.save(tmp_path / "m.keras")
    np.testing.assert_allclose(from_keras(tmp_path / "m.keras")(X)[0], expected, rtol=0, atol=2e-6)
    flat = keras.Sequential([keras.Input((None, 5)), layers.Bidirectional(layers.GRU(3)), layers.Dense(2)])
    perturbed(flat)
    flat.save(tmp_path / "m.h5")
    np.testing.assert_allclose(from_keras(tmp_path / "m.h5")(X)[0], computed(flat, X), rtol=0, atol=2e-6)
    both = keras.Model(start, layers.Add()([layers.LSTM(4)(start), layers.GRU(4)(start)]))
    with pytest.raises(ConversionError, match="reads 2 tensors"):
        from_keras(both)
    _, h, _ = layers.LSTM(4, return_state=True)(start)
    with pytest.raises(ConversionError, match=r"the state of 'lstm.*' is read"):
        from_keras(keras.Model(start, layers.Dense(2)(h)))


@pytest.mark.parametrize("pool", [None, layers.GlobalAveragePooling1D])
def test_masks_are_lengths(pool):
    recurrent = layers.Bidirectional(layers.LSTM(4, return_sequences=pool is not None, dropout=0.3))
    parts = [layers.Embedding(11, 5, mask_zero=True), recurrent, *([pool()] if pool else []), layers.Dense(2)]
    start = keras.Input((None,), dtype="int32")
    twin = keras.Sequential([start, *parts])
    perturbed(twin)
    ids, lengths = np.random.default_rng(0).integers(1, 11, (3, 7)), [7, 2, 5]
    for row, length in zip(ids, lengths, strict=True):
        row[length:] = 0
    ours = from_keras(twin, masks=True, inference=True)
    np.testing.assert_allclose(ours(ids, lengths=lengths)[0], computed(twin, ids), rtol=0, atol=2e-6)
    y = start
    for part in parts:
        y = part(y)
    functional = from_keras(keras.Model(start, y), masks=True, inference=True)
    np.testing.assert_array_equal(functional(ids, lengths=lengths)[0], ours(ids, lengths=lengths)[0])


def test_weights_of_a_trained_layer_go_out():
    layer = LSTM(5, 4, init="torch", seed=0)
    twin = layers.LSTM(4, return_sequences=True)
    twin(X)
    twin.set_weights(to_keras_weights(layer))
    np.testing.assert_allclose(layer(X)[0], computed(twin, X), rtol=0, atol=2e-6)


@pytest.mark.skipif(
    keras.config.backend() != "torch" or importlib.util.find_spec("onnxscript") is None,
    reason="Keras exports to ONNX by torch and onnxscript, where it computes with torch",
)
@pytest.mark.parametrize(
    "parts",
    [
        lambda: [layers.LSTM(4, return_sequences=True)],
        lambda: [layers.LSTM(4), layers.Dense(2)],
        lambda: [layers.GRU(4, return_sequences=True), layers.Dense(2, activation="softmax")],
        lambda: [layers.SimpleRNN(4, return_sequences=True)],
        lambda: [layers.Bidirectional(layers.LSTM(4, return_sequences=True))],
    ],
    ids=["lstm", "lstm last", "gru", "rnn", "bidirectional"],
)
def test_what_keras_exports_to_onnx_is_imported(parts, tmp_path):
    model = perturbed(keras.Sequential([keras.Input(X.shape[1:]), *parts()]))
    model.predict(X, verbose=0)  # Keras exports what has been called
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    found = import_onnx(tmp_path / "model.onnx")(X)
    found = found[0] if isinstance(found, tuple) else found
    np.testing.assert_allclose(found, computed(model, X), rtol=0, atol=2e-6)
