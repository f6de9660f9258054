"""Every argument of every public name refuses what it is not, naming itself, before anything else goes wrong.

Those of ``rnnfast.io`` are in test_io_arguments.py.
"""

import contextlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from wrong_arguments import WRONG, check_refusals

import rnnfast
from rnnfast import (
    LSTM,
    Adam,
    Dense,
    Embedding,
    Last,
    Sequential,
    SoftmaxCrossEntropy,
    Stepper,
    Stream,
    Trainer,
    data,
    initializers,
)

X = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
WRITER = Sequential(Embedding(9, 4, seed=0), LSTM(4, 5, seed=0), Dense(5, 9, seed=0))
READER = Sequential(LSTM(3, 4, seed=0), Last(), Dense(4, 2, seed=0))
STATE, FIRST = Stepper(WRITER).start([[1, 2, 3], [4, 5, 6]])


def rng():
    return np.random.default_rng(0)


DTYPE = {"dtype": "float32", "seed": 0}
STACK = {
    "input_size": 3,
    "hidden_size": 3,
    "num_layers": 2,
    "bias": True,
    "batch_first": True,
    "dropout": 0.1,
    "bidirectional": False,
    **DTYPE,
    "init": "default",
}
NOISE = {"zoneout": 0.1, "recurrent_dropout": 0.1, "weight_drop": 0.1, "chrono": 10}
DECODING = {"model": WRITER, "state": STATE, "first": FIRST, "max_length": 3, "end": 0, "forbidden": [1]}
DRAWING = {"temperature": 1.0, "top_k": 2, "top_p": 0.5, "rng": rng(), "forbidden": [1]}
WRITING = {"embedding_dim": 4, "hidden_size": 4, "cell": "lstm", "tied": False, "dropout": 0.0, **DTYPE}
RATES = {"weight_decay": 0.0, "decay_bias": False}
GRADS = {"grads": {"weight": np.ones(3)}}

# Arguments that fit, by public name.
GOOD = {
    "use_backend": {"name": "native"},
    "Checkpoint": {"path": "a.npz", "monitor": "loss", "every": 1, "mode": "min", "every_batches": None},
    "CSVLogger": {"path": "a.csv", "append": False},
    "EarlyStopping": {"monitor": "loss", "patience": 1, "min_delta": 0.0, "mode": "min", "restore_best": True},
    "JSONLLogger": {"path": "a.jsonl", "append": False, "every": 0},
    "TensorBoardLogger": {"folder": "board", "every": 0, "histograms": False},
    "clip_by_global_norm": {**GRADS, "max_norm": 1.0},
    "clip_by_value": {**GRADS, "limit": 1.0},
    "global_norm": GRADS,
    "CTCLoss": {"blank": 0, "zero_infinity": False, "reduction": "mean"},
    "LabelErrorRate": {"blank": 0},
    "ctc_beam_search": {
        "logits": X,
        "lengths": [5, 2],
        "blank": 0,
        "beam": 3,
        "n_best": 1,
        "language_model": None,
        "lm_weight": 1.0,
        "insertion_bonus": 0.0,
    },
    "ctc_greedy": {"logits": X, "lengths": [5, 2], "blank": 0},
    "Stepper": {"model": WRITER},
    "beam_search": {**DECODING, "beam": 2, "n_best": 1, "length_penalty": 0.0},
    "greedy": DECODING,
    "sample_sequences": {**DECODING, **DRAWING},
    "stream_tokens": {**DECODING, **DRAWING},
    "generate": {"model": WRITER, "prime": [1, 2], "length": 3, **DRAWING},
    "sample": {"logits": X[0, 0], **DRAWING},
    "gate_activations": {"layer": LSTM(3, 4), "x": X, "state": None, "lengths": [5, 2], "index": 0, "reverse": False},
    "diagnose": {
        "model": READER,
        "loss": SoftmaxCrossEntropy(),
        "optimizer": Adam(),
        "steps": 5,
        "seed": 0,
        "show": False,
        "batch": (X, [0, 1]),
    },
    "gradcheck": {
        "layer": Dense(3, 2, dtype="float64"),
        "x": X,
        "eps": 1e-5,
        "rtol": 1e-6,
        "directions": 1,
        "seed": 0,
        "options": None,
    },
    "RNN": {**STACK, "nonlinearity": "tanh"},
    "LSTM": {
        **STACK,
        **NOISE,
        "proj_size": 2,
        "peephole": True,
        "coupled": False,
        "layer_norm": True,
        "cell_clip": 1.0,
    },
    "GRU": {**STACK, **NOISE, "reset_after": True, "peephole": True, "layer_norm": True},
    "MGU": {**STACK, **NOISE, "reset_after": True, "peephole": True, "layer_norm": True},
    "QRNN": {**STACK, "window": 2, "output_gate": True, "zoneout": 0.1},
    "SRU": {**STACK, "highway_bias": 0.0, "rescale": False},
    "IndRNN": {**STACK, "nonlinearity": "relu", "recurrent_bounds": (0.0, 1.0)},
    "MinGRU": {**STACK, "activation": "positive"},
    "MinLSTM": {**STACK, "activation": "positive"},
    "CRF": {"num_tags": 3, **DTYPE, "init": "default"},
    "Attention": {"query_size": 3, "memory_size": 3, "score": "additive", "attention_size": 4, **DTYPE},
    "Activation": {"kind": "relu"},
    "Dense": {"in_features": 3, "out_features": 2, "bias": True, "activation": None, **DTYPE, "init": "default"},
    "Dropout": {"p": 0.5},
    "Embedding": {"num_embeddings": 3, "embedding_dim": 2, "padding_idx": 0, **DTYPE, "init": "default"},
    "Jordan": {
        "input_size": 3,
        "hidden_size": 4,
        "output_size": 2,
        "nonlinearity": "tanh",
        "activation": None,
        "feedback": "output",
        "bias": True,
        **DTYPE,
    },
    "OutputFeedback": {"body": LSTM(3, 3), "output_size": 3, "feedback": "output"},
    "LayerNorm": {"normalized_shape": 3, "eps": 1e-5, "elementwise_affine": True, "bias": True, "dtype": "float32"},
    "TreeLSTM": {
        "input_size": 3,
        "hidden_size": 3,
        "kind": "child_sum",
        "bias": True,
        **DTYPE,
        "init": "default",
    },
    "TreeEncoder": {
        "num_embeddings": 3,
        "embedding_dim": 3,
        "hidden_size": 3,
        "kind": "child_sum",
        "output": "root",
        **DTYPE,
    },
    "checkpointed": {"layer": LSTM(3, 4), "x": X, "state": None, "lengths": [5, 2], "rng": rng(), "chunk": 2},
    "Huber": {"delta": 1.0},
    "SigmoidCrossEntropy": {"pos_weight": 1.0},
    "SoftmaxCrossEntropy": {"label_smoothing": 0.0, "class_weight": [1.0, 1.0]},
    "balanced_class_weight": {"target": [0, 1], "classes": 2, "mask": None},
    "BinaryAccuracy": {"threshold": 0.0},
    "LanguageModel": {"size": 5, "num_layers": 1, **WRITING},
    "VectorToSequence": {"vector_size": 4, "target_size": 5, "num_layers": 1, "use": "both", **WRITING},
    "EncoderDecoder": {
        "source_size": 5,
        "target_size": 6,
        "encoder_hidden_size": 3,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "bidirectional": True,
        "attention": "general",
        "attention_size": None,
        "feeding": None,
        "source": "tokens",
        "bridge": "dense",
        **WRITING,
    },
    "Tagger": {
        "num_words": 5,
        "num_tags": 3,
        "num_characters": 5,
        "word_dim": 4,
        "character_dim": 4,
        "character_hidden": 4,
        "hidden_size": 4,
        "num_layers": 1,
        "cell": "lstm",
        "dropout": 0.0,
        "word_dropout": 0.0,
        "unknown": 0,
        "crf": False,
        **DTYPE,
    },
    "SGD": {"lr": 0.1, "momentum": 0.0, "nesterov": False, **RATES},
    "Adagrad": {"lr": 0.1, "eps": 1e-8, **RATES},
    "Adam": {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, **RATES},
    "AdamW": {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, **RATES},
    "RMSProp": {"lr": 0.1, "alpha": 0.9, "eps": 1e-8, **RATES},
    "Cosine": {"length": 1.0, "warmup": 0, "min_lr": 0.0},
    "OneCycle": {"length": 1.0, "peak": 0.3, "start_factor": 0.04, "end_factor": 1e-4},
    "Plateau": {"monitor": "loss", "factor": 0.1, "patience": 1, "min_delta": 1e-4, "mode": "min", "min_lr": 0.0},
    "ScheduledSampling": {"decay": "linear", "k": 0.1, "least": 0.0},
    "StepDecay": {"every": 2, "factor": 0.1, "unit": "epoch"},
    "WarmUp": {"length": 0.1, "after": None, "start": 0.0},
    "Stream": {"model": WRITER, "batch": 1},
    "limit_threads": {"n": 1},
    "set_num_threads": {"n": None},
    "Trainer": {
        "model": WRITER,
        "loss": SoftmaxCrossEntropy(),
        "optimizer": Adam(),
        "clip_norm": 1.0,
        "clip_value": 1.0,
        "schedule": None,
        "metrics": (),
        "accumulate": 1,
        "ema": None,
        "teacher": 1.0,
        "checkpoint": False,
        "seed": 0,
    },
}
# Results, errors, bases and what takes nothing; and what reads a user's program or files, which has tests of its own.
OTHERS = {
    *("Chain", "Diagnosis", "GradcheckResult", "Hypothesis", "Labelling", "ModelFileError", "ConversionError"),
    *("TrainingError", "Callback", "Cell", "CellLayer", "Layer", "Sequential", "Graph", "generate_text"),
}


def names():
    """Return the public names that can be called with arguments, without those of ``rnnfast.io``."""
    found = {name: getattr(rnnfast, name) for name in rnnfast.__all__}
    io = rnnfast._HOMES["io"]
    return {
        name
        for name, value in found.items()
        if callable(value) and name not in io and name not in OTHERS and inspect.signature(value).parameters
    }


def call(name, arguments):
    found = getattr(rnnfast, name)(**arguments)
    if isinstance(found, contextlib.AbstractContextManager) and name in {"use_backend", "limit_threads"}:
        with found:
            pass
    elif isinstance(found, Iterator):
        list(found)


def test_the_check_of_refusals_can_fail():
    def refuse(path):
        if path != "good":
            raise TypeError("unhashable")

    for function, match in ((refuse, "path=None"), (lambda path: None, "takes nearly everything")):
        with pytest.raises(AssertionError, match=match):
            check_refusals(function, {"path": "good"}, "path")
    with pytest.raises(AssertionError, match="path=None"):
        check_refusals(lambda path: Path("absent").read_text(), {"path": "good"}, "path")


def test_every_name_is_here():
    assert names() == set(GOOD)


@pytest.mark.parametrize("name", GOOD)
def test_wrong_arguments_name_themselves(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call(name, GOOD[name])
    for argument in GOOD[name]:
        # A class may be called with labels, as a language model is, and says itself what it wants.
        wrong = WRONG[:-1] if argument == "language_model" else WRONG
        check_refusals(lambda **arguments: call(name, arguments), GOOD[name], argument, wrong=wrong)


def trainer(model):
    return Trainer(model, SoftmaxCrossEntropy(), Adam())


TEXT = np.arange(200) % 9
Y = [0, 1]
GENERATED = {"shape": (4, 4), "rng": rng(), "dtype": "float32"}
FITTING = {"epochs": 1, "validation_split": 0.0, "max_seconds": 9.0, "callbacks": (), "progress": False}
SAMPLES = {"x": X, "lengths": [5, 5], "batch_size": 2}
ROWS = {"pred": X[:, 0], "mask": [1.0, 1.0], "lengths": None}

# Methods, and functions of the submodules, with arguments that fit.
CALLS = {
    "Trainer.fit": (
        lambda **a: trainer(READER).fit(**a),
        {
            **SAMPLES,
            **FITTING,
            "y": Y,
            "mask": [1.0, 1.0],
            "sample_weight": [1.0, 1.0],
            "validation_data": (X, Y),
            "shuffle": True,
            "bucket": True,
        },
    ),
    "Trainer.fit_stream": (
        lambda **a: trainer(WRITER).fit_stream(**a),
        {**FITTING, "inputs": TEXT, "targets": TEXT, "streams": 4, "steps": 8, "back": 10, "validation_data": TEXT},
    ),
    "Trainer.evaluate": (
        lambda **a: trainer(READER).evaluate(**a),
        {**SAMPLES, "y": Y, "mask": [1.0, 1.0], "sample_weight": [1.0, 1.0]},
    ),
    "Trainer.predict": (lambda **a: trainer(READER).predict(**a), SAMPLES),
    "LSTM()": (LSTM(3, 4), {"x": X, "state": None, "lengths": [5, 2]}),
    "LSTM.forward": (LSTM(3, 4).forward, {"x": X, "state": None, "lengths": [5, 2], "rng": rng()}),
    "LSTM.explain": (LSTM(3, 4).explain, {"batch": 2, "steps": 5, "lengths": [5, 2], "training": False, "threads": 1}),
    "Dense.forward": (Dense(3, 4).forward, {"x": X}),
    "Last()": (Last(), {"x": X, "lengths": [5, 2]}),
    "Layer.load_state_dict": (Dense(3, 4).load_state_dict, {"state_dict": Dense(3, 4).state_dict(), "strict": True}),
    "Stream.step": (
        lambda **a: Stream(LSTM(3, 4), 2).step(**a),
        {"x": X[:, 0], "out": np.zeros((2, 4), np.float32), "rows": [0, 1]},
    ),
    "Stream.set_state": (lambda **a: Stream(LSTM(3, 4), 2).set_state(**a), {"state": None, "rows": [1]}),
    "Stream.reset": (lambda **a: Stream(LSTM(3, 4), 2).reset(**a), {"rows": [1]}),
    "SoftmaxCrossEntropy()": (SoftmaxCrossEntropy(), {**ROWS, "target": Y}),
    "SigmoidCrossEntropy()": (rnnfast.SigmoidCrossEntropy(), {**ROWS, "target": np.ones((2, 3))}),
    "MeanSquared()": (rnnfast.MeanSquared(), {"pred": X, "target": X, "mask": None, "lengths": [5, 2]}),
    "CTCLoss()": (rnnfast.CTCLoss(), {"pred": X, "target": [[1], [2]], "mask": None, "lengths": [5, 2]}),
    "Optimizer.load_state_dict": (Adam().load_state_dict, {"state_dict": Adam().state_dict()}),
    "Optimizer.update": (
        Adam().update,
        {"layer": Dense(3, 2, seed=0), "grads": {"bias": np.zeros(2, np.float32)}, "scale": 1.0},
    ),
    "sliding_windows": (data.sliding_windows, {"series": np.arange(20.0), "window": 5, "horizon": 1, "step": 1}),
    "split_chronologically": (data.split_chronologically, {"values": np.arange(20), "fractions": (0.5, 0.5), "gap": 0}),
    "pad_sequences": (data.pad_sequences, {"sequences": [[1, 2], [3]], "length": 2}),
    "teacher_forcing": (data.teacher_forcing, {"sequences": [[1, 2], [3]], "start": 1, "end": 2}),
    "bucket_by_length": (data.bucket_by_length, {"lengths": [3, 4, 5], "batch_size": 2, "rng": rng(), "pool": 2}),
    "fill_missing": (data.fill_missing, {"series": [1.0, np.nan], "method": "linear", "value": None}),
    "Standardizer.fit": (lambda **a: data.Standardizer().fit(**a), {"x": X[0]}),
    "CharVocabulary": (data.CharVocabulary, {"tokens": ["a", "b"], "unknown": "a", "special": ["b"]}),
    "log_mel": (data.log_mel, {"samples": np.zeros(8000), "rate": 8000.0}),
    "uniform": (initializers.uniform, {**GENERATED, "low": -1.0, "high": 1.0}),
    "normal": (initializers.normal, {**GENERATED, "mean": 0.0, "std": 1.0}),
    "xavier_uniform": (initializers.xavier_uniform, {**GENERATED, "gain": 1.0, "gates": 1}),
    "xavier_normal": (initializers.xavier_normal, {**GENERATED, "gain": 1.0, "gates": 1}),
    "he_uniform": (initializers.he_uniform, {**GENERATED, "gain": 1.0}),
    "he_normal": (initializers.he_normal, {**GENERATED, "gain": 1.0}),
    "orthogonal": (initializers.orthogonal, {**GENERATED, "gain": 1.0, "gates": 1}),
    "chrono": (initializers.chrono, {**GENERATED, "t_max": 10}),
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments_of_calls_are_named(name):
    function, good = CALLS[name]
    function(**good)
    for argument in good:
        check_refusals(function, good, argument, either=True)
