"""A model of every class that files know, and files of models written by hand."""

from __future__ import annotations

import json
import struct

import numpy as np

from rnnfast.graph import Graph
from rnnfast.graph.layer import constant_of
from rnnfast.layers.activation import Activation
from rnnfast.layers.attention import Attention
from rnnfast.layers.crf import CRF
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.feedback import Jordan
from rnnfast.layers.normalization import LayerNorm
from rnnfast.layers.pooling import Ends, Last, MaxPool, MeanPool
from rnnfast.layers.recurrent import GRU, LSTM, MGU, RNN
from rnnfast.layers.scan import QRNN, SRU, IndRNN, MinGRU, MinLSTM
from rnnfast.layers.sequential import Sequential
from rnnfast.layers.tree import TreeEncoder, TreeLSTM
from rnnfast.models import EncoderDecoder, LanguageModel, Tagger, VectorToSequence

SUFFIXES = [".npz", ".safetensors"]


# One configuration for each class of the table: a new layer fails here until it is added.
MAKERS = {
    "RNN": lambda dtype: RNN(3, 4, nonlinearity="relu", bias=False, dtype=dtype),
    "LSTM": lambda dtype: LSTM(3, 4, num_layers=2, dropout=0.25, bidirectional=True, dtype=dtype),
    "GRU": lambda dtype: GRU(3, 4, reset_after=False, batch_first=False, dtype=dtype),
    "MGU": lambda dtype: MGU(3, 4, num_layers=2, dtype=dtype),
    "SRU": lambda dtype: SRU(3, 5, 2, bidirectional=True, rescale=True, dtype=dtype),
    "QRNN": lambda dtype: QRNN(3, 5, 2, window=2, zoneout=0.1, dtype=dtype),
    "MinGRU": lambda dtype: MinGRU(3, 5, activation="tanh", dtype=dtype),
    "MinLSTM": lambda dtype: MinLSTM(3, 5, bias=False, dtype=dtype),
    "IndRNN": lambda dtype: IndRNN(3, 5, recurrent_bounds=(0.5, 1.0), dtype=dtype),
    "CRF": lambda dtype: CRF(5, dtype=dtype),
    "Dense": lambda dtype: Dense(3, 5, dtype=dtype),
    "Attention": lambda dtype: Attention(3, 4, "additive", 5, dtype=dtype),
    "Embedding": lambda dtype: Embedding(7, 3, dtype=dtype),
    "TreeLSTM": lambda dtype: TreeLSTM(3, 5, bias=False, dtype=dtype),
    "TreeEncoder": lambda dtype: TreeEncoder(7, 3, 5, "binary", output="nodes", dtype=dtype),
    "LayerNorm": lambda dtype: LayerNorm(6, eps=1e-3, bias=False, dtype=dtype),
    "Activation": lambda dtype: Activation("softmax"),
    "Dropout": lambda dtype: Dropout(0.5),
    "Ends": lambda dtype: Ends(),
    "Last": lambda dtype: Last(),
    "Tagger": lambda dtype: Tagger(
        9, 4, 7, word_dim=3, character_dim=2, character_hidden=2, hidden_size=5, num_layers=2, crf=True, dtype=dtype
    ),
    "MeanPool": lambda dtype: MeanPool(),
    "MaxPool": lambda dtype: MaxPool(),
    "LanguageModel": lambda dtype: LanguageModel(11, 5, 6, 2, cell="gru", dropout=0.25, dtype=dtype),
    "VectorToSequence": lambda dtype: VectorToSequence(5, 9, 4, 6, 2, use="input", tied=True, dtype=dtype),
    "EncoderDecoder": lambda dtype: EncoderDecoder(
        9,
        8,
        4,
        6,
        cell="gru",
        encoder_hidden_size=5,
        encoder_layers=2,
        decoder_layers=2,
        bidirectional=False,
        attention="additive",
        attention_size=7,
        feeding="context",
        dropout=0.25,
        dtype=dtype,
    ),
    "Graph": lambda dtype: tanh_graph(dtype),
    "Jordan": lambda dtype: Jordan(3, 4, 2, "relu", "sigmoid", "softmax", bias=False, dtype=dtype),
}


def tanh_graph(dtype):
    kind = np.dtype(dtype).name
    return Graph(
        [{"name": "x", "role": "x", "dtype": kind, "shape": ["N", 3]}],
        [{"name": "y", "role": "y", "dtype": kind, "shape": ["N", None]}],
        [
            {"op": "Gemm", "inputs": ["x", "w"], "outputs": ["u"], "attributes": {"transB": 1, "alpha": 0.5}},
            {"op": "Mul", "inputs": ["u", "two"], "outputs": ["y"], "attributes": {}},
        ],
        {"w": [4, 3]},
        {"two": constant_of(np.array(2, dtype))},
        dtype=dtype,
    )


def text_model(dtype=np.float32):
    return Sequential(
        Embedding(11, 3, dtype=dtype, seed=1),
        LSTM(3, 4, dtype=dtype, seed=2),
        Dropout(0.1),
        Sequential(Dense(4, 11, dtype=dtype, seed=3)),
    )


def assert_same(a, b):
    assert type(a) is type(b) and a.config() == b.config()
    assert list(a.parameters()) == list(b.parameters())
    for name, array in a.parameters().items():
        assert array.dtype == b.parameters()[name].dtype
        np.testing.assert_array_equal(array, b.parameters()[name])


GOOD = {
    "format": "rnnfast model",
    "version": 1,
    "model": {"class": "Dense", "config": {"in_features": 2, "out_features": 3, "bias": True, "dtype": "float32"}},
    "extra": {},
}


ARRAYS = {"model/weight": np.zeros((3, 2), np.float32), "model/bias": np.zeros(3, np.float32)}


def write_file(path, text, arrays):
    """Write a file whose outer format is sound whatever ``text`` is."""
    text = text if isinstance(text, str) else json.dumps(text)
    if path.suffix == ".safetensors":
        from rnnfast.io.safetensors import checksum

        header, blob = {"__metadata__": {"rnnfast": f"{checksum(text, arrays):08x} {text}"}}, b""
        for name, array in arrays.items():
            kind = {"f4": "F32", "f8": "F64", "i8": "I64"}[array.dtype.str[1:]]
            header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [len(blob), len(blob) + array.nbytes]}
            blob += array.tobytes()
        raw = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(raw)) + raw + blob)
    else:
        np.savez(path, **{"rnnfast.json": np.frombuffer(text.encode(), np.uint8)}, **arrays)
    return path
