"""Models shown as tables: one row for each layer, what it puts out, its parameters and bytes."""

import re

import numpy as np
import pytest

from rnnfast import GRU, LSTM, Dense, Dropout, Embedding, Last, MaxPool, MeanPool, Sequential
from rnnfast.io import export_onnx, import_onnx
from rnnfast.layers.base import Layer
from rnnfast.layers.summary import rows, spell_bytes, table

MODEL = Sequential(
    Embedding(65, 64),
    LSTM(64, 32, num_layers=2, dropout=0.1),
    Dropout(0.2),
    Sequential(GRU(32, 16, bidirectional=True), MeanPool()),
    Dense(32, 10, activation="relu"),
)


def test_the_table_of_a_model():
    lines = repr(MODEL).splitlines()
    total = sum(array.size for array in MODEL.parameters().values())
    assert lines[0] == f"Sequential: {total:,} parameters, {4 * total / 1024:,.1f} KiB"
    assert re.split(r"\s{2,}", lines[1].strip()) == ["layer", "output", "parameters", "bytes"]
    assert [re.split(r"\s{2,}", line.strip())[:2] for line in lines[2:]] == [
        ["0 Embedding(65, 64)", "(N, T, 64)"],
        ["1 LSTM(64, 32, num_layers=2, dropout=0.1)", "(N, T, 32)"],
        ["2 Dropout(p=0.2)", "(N, T, 32)"],
        ["3 Sequential", "(N, 32)"],
        ["0 GRU(32, 16, bidirectional=True)", "(N, T, 32)"],
        ["1 MeanPool()", "(N, 32)"],
        ["4 Dense(32, 10, activation='relu')", "(N, 10)"],
    ]
    assert len({len(line) for line in lines[1:]}) == 1
    numbers = [int(re.split(r"\s{2,}", line.strip())[2].replace(",", "")) for line in lines[2:]]
    assert sum(numbers) == total


@pytest.mark.parametrize(
    "model",
    [
        Sequential(Embedding(7, 3), LSTM(3, 5), Dense(5, 2)),
        Sequential(LSTM(3, 5, bidirectional=True), MaxPool(), Dense(10, 2)),
        Sequential(GRU(3, 5), Last()),
    ],
    ids=["tokens", "pooled", "last"],
)
def test_outputs_are_those_of_a_call(model):
    x = np.zeros((4, 6), int) if isinstance(model[0], Embedding) else np.zeros((4, 6, 3))
    for layer, row in zip(model, rows(model)[1:], strict=True):
        x = layer(x)[0] if layer.stateful else layer(x)
        assert tuple({"N": 4, "T": 6}.get(size, size) for size in row.output) == x.shape


def test_a_layer_alone_stays_a_call():
    assert repr(Dense(2, 3)).startswith("Dense(in_features=2, out_features=3")
    assert "\n" not in repr(LSTM(2, 3)) and table(LSTM(2, 3)).count("\n") == 2


def test_a_graph_tells_how_long_its_tables_are():
    pytest.importorskip("onnx", reason="onnx comes with the test extra")
    lines = table(import_onnx(export_onnx(Sequential(Dense(2, 3), Dense(3, 4))))).splitlines()
    assert "Graph(inputs: 1, outputs: 1, nodes: 5, weights: 4" in lines[2] and max(map(len, lines)) < 120


def test_other_compositions_and_unknown_layers():
    class Own(Layer):
        def config(self):
            return {"size": 3}

        def __init__(self, size=3):
            super().__init__({"weight": np.zeros((size, size))})

    class Pair(Layer):
        def __init__(self):
            super().__init__({"scale": np.zeros(2)})
            self.left, self.right = Own(), Dense(3, 4)

        def children(self):
            return {"left": self.left, "right": self.right}

    lines = repr(Sequential(Pair(), Dense(4, 2))).splitlines()
    assert [line.split("  ")[1].strip() for line in lines[2:3]] == ["0 Pair"]
    assert "left Own()" in lines[3] and "right Dense(3, 4)" in lines[4] and "(..., 2)" in lines[5]
    assert lines[2].split()[-3:] == ["2", "16", "bytes"]


def test_html_is_escaped_and_has_every_parameter():
    text = MODEL._repr_html_()
    assert text.count("<tr>") == 8 and "weight_hh_l1" in text and "(128, 32) float32" in text
    assert "activation=&#x27;relu&#x27;" in text
    for tag in ("table", "tbody", "thead", "details", "summary", "div", "tr"):
        assert len(re.findall(f"<{tag}[ >]", text)) == text.count(f"</{tag}>")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB"), (5 << 30, "5.0 GiB")],
)
def test_bytes(size, text):
    assert spell_bytes(size) == text
