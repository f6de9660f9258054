"""Habits of other libraries: what is not done here in their way says how it is done."""

import copy
import pickle

import numpy as np
import pytest

import rnnfast
from rnnfast import GRU, LSTM, Adam, Dense, Dropout, Last, MeanSquared, Sequential, Trainer, elsewhere, load_model
from rnnfast.io import ModelFileError, from_torch

LAYERS = [LSTM(3, 4, seed=0), Dense(3, 4, seed=0), Dropout(0.5), Sequential(GRU(3, 4, seed=0), Last())]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_methods_of_other_libraries(layer):
    for name, words in elsewhere.OF_LAYERS.items():
        assert not hasattr(layer, name)
        with pytest.raises(AttributeError) as caught:
            getattr(layer, name)
        assert str(caught.value) == f"{type(layer).__name__} has no attribute {name!r}; {words}"
    with pytest.raises(AttributeError, match=f"^{type(layer).__name__} has no attribute 'nonsense'$"):
        _ = layer.nonsense
    assert copy.deepcopy(layer).parameters().keys() == pickle.loads(pickle.dumps(layer)).parameters().keys()


def test_names_of_other_libraries():
    for name, words in elsewhere.OF_PACKAGE.items():
        assert not hasattr(rnnfast, name)
        with pytest.raises(AttributeError) as caught:
            getattr(rnnfast, name)
        assert str(caught.value) == f"module 'rnnfast' has no attribute {name!r}; here it is {words}"
    with pytest.raises(AttributeError, match=r"^module 'rnnfast' has no attribute 'nonsense'$"):
        _ = rnnfast.nonsense
    with pytest.raises(ImportError):
        from rnnfast import nonsense  # noqa: F401


def test_what_is_said_is_there():
    """The names that the hints give are names of the package."""
    for words in [*elsewhere.OF_PACKAGE.values(), *elsewhere.OF_LAYERS.values()]:
        for word in words.replace("(", " ").replace(",", " ").replace(";", " ").split():
            if word[0].isupper() and word not in ("CPU", "NumPy's", "Keras's"):
                assert hasattr(rnnfast, word), word
    assert hasattr(rnnfast.data, "pad_sequences") and hasattr(Dense(1, 1), "num_parameters")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Sequential([Dense(1, 1)]), TypeError, r"got list; of a list it is Sequential\(\*layers\)"),
        (
            lambda: LSTM(3, 4)(np.zeros((5, 3))),
            ValueError,
            r"got \(5, 3\); one sequence alone is np.asarray\(x\)\[None\]",
        ),
        (
            lambda: LSTM(3, 4)([np.ones((2, 3)), np.ones((1, 3))]),
            ValueError,
            "rows of different lengths; .*pad_sequences",
        ),
        (lambda: LSTM(3, 4)(np.zeros(3)), ValueError, r"got \(3,\)$"),
        (lambda: LSTM(3, 4)(np.zeros((1, 5, 2))), ValueError, r"got \(1, 5, 2\)$"),
        (lambda: Trainer(Dense(1, 1), "mse", Adam()), TypeError, r"loss must .* as MeanSquared\(\) has; got"),
        (lambda: Trainer(Dense(1, 1), MeanSquared(), "adam"), TypeError, "optimizer must .* such as Adam"),
        (lambda: from_torch("weights.pt"), TypeError, "module must be a module of torch.*; got str .*read_torch_safe"),
        (lambda: from_torch({}), TypeError, "got dict .*load_torch_state_dict"),
    ],
)
def test_first_tries(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m.pt", "pickle can run anything"),
        ("m.pth", "safetensors.torch.save_file"),
        ("m.onnx", "import_onnx"),
        ("m.keras", "from_keras"),
        ("m.h5", "read_keras_weights"),
    ],
)
def test_files_of_other_libraries(tmp_path, name, words):
    path = tmp_path / name
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(ModelFileError, match=words):
        load_model(path)


def test_weights_by_the_names_of_torch(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy", reason="it writes the file")
    safetensors.save_file({"weight": np.zeros((2, 2), np.float32)}, tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match=r"not a file of rnnfast .*read_torch_safetensors, convert"):
        load_model(tmp_path / "m.safetensors")
