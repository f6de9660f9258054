"""Exported graphs give in ONNX Runtime what the model gives here."""

from __future__ import annotations

import numpy as np
import pytest
from model_table import MAKERS

from rnnfast import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Dense,
    Dropout,
    Embedding,
    Ends,
    Last,
    LayerNorm,
    MaxPool,
    MeanPool,
    Sequential,
)
from rnnfast.graph import Graph
from rnnfast.io import ConversionError, export_onnx, import_onnx
from rnnfast.io.onnx_layers import EXPORTERS

onnx = pytest.importorskip("onnx", reason="onnx comes with the test extra")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime comes with the test extra")

N, T, I = 4, 6, 5
LENGTHS = np.array([6, 2, 0, 5], np.int32)


def torch_like(cls, *args, **options):
    return cls(*args, init="torch", seed=1, **options)


def normed(*args, **options):
    layer = LayerNorm(*args, **options)
    rng = np.random.default_rng(5)
    layer.load_state_dict({name: rng.standard_normal(array.shape) for name, array in layer.params.items()})
    return layer


def model_of(*parts):
    return Sequential(*(part() for part in parts))


MODELS = {
    "RNN": lambda: torch_like(RNN, I, 7),
    "RNN relu stacked both ways": lambda: torch_like(
        RNN, I, 7, num_layers=2, nonlinearity="relu", bidirectional=True, dropout=0.5
    ),
    "RNN sigmoid without bias": lambda: torch_like(RNN, I, 7, nonlinearity="sigmoid", bias=False),
    "LSTM": lambda: torch_like(LSTM, I, 7),
    "LSTM stacked both ways": lambda: torch_like(LSTM, I, 7, num_layers=3, bidirectional=True),
    "LSTM time first": lambda: torch_like(LSTM, I, 7, num_layers=2, batch_first=False),
    "LSTM peepholes": lambda: torch_like(LSTM, I, 7, num_layers=2, bidirectional=True, peephole=True, weight_drop=0.2),
    "LSTM coupled": lambda: torch_like(LSTM, I, 7, bidirectional=True, coupled=True),
    "LSTM coupled with peepholes": lambda: torch_like(
        LSTM, I, 7, num_layers=2, coupled=True, peephole=True, bias=False
    ),
    "GRU": lambda: torch_like(GRU, I, 7, bidirectional=True),
    "GRU reset before": lambda: torch_like(GRU, I, 7, reset_after=False, num_layers=2),
    "tagger": lambda: Sequential(
        torch_like(LSTM, I, 7, bidirectional=True),
        Dropout(0.5),
        normed(14),
        Sequential(torch_like(Dense, 14, 6, activation="relu"), torch_like(Dense, 6, 3, bias=False)),
        Activation("softmax"),
    ),
    "Last": lambda: Sequential(torch_like(GRU, I, 7), Last(), torch_like(Dense, 7, 2, activation="sigmoid")),
    "Ends": lambda: Sequential(torch_like(GRU, I, 7, bidirectional=True), Ends(), Activation("log_softmax")),
    "MeanPool": lambda: Sequential(torch_like(Dense, I, 6, activation="tanh"), torch_like(RNN, 6, 3), MeanPool()),
    "MaxPool": lambda: Sequential(torch_like(RNN, I, 3), MaxPool(), Activation("tanh")),
    "plain norm": lambda: Sequential(normed(I, 1e-2, False), torch_like(GRU, I, 3), Activation("sigmoid")),
    "norm without bias": lambda: Sequential(normed(I, bias=False), torch_like(GRU, I, 3), Activation("relu")),
    "text": lambda: Sequential(
        torch_like(Embedding, 11, I, 0),
        torch_like(GRU, I, 7),
        torch_like(LSTM, 7, 4),
        torch_like(Dense, 4, 11),
    ),
}


def draw(model, rng, dtype=np.float32):
    if isinstance(model, Sequential) and isinstance(model[0], Embedding):
        return rng.integers(0, 11, (N, T))
    shape = (N, T, I) if getattr(model, "batch_first", True) else (T, N, I)
    return rng.standard_normal(shape).astype(dtype)


def state_feeds(model, rng, prefix=""):
    """Return a random state as the model takes it, and by the names of the graph's inputs."""
    if isinstance(model, Sequential):
        found = [state_feeds(layer, rng, f"{prefix}{k}.") for k, layer in enumerate(model)]
        return tuple(s for s, _ in found), {k: v for _, feeds in found for k, v in feeds.items()}
    if not model.stateful:
        return None, {}
    shape = (model.num_layers * (2 if model.bidirectional else 1), N, model.hidden_size)
    parts = [rng.standard_normal(shape).astype(np.float32) for _ in model.cell.states]
    feeds = {f"{prefix}{name}": part for name, part in zip(model.cell.states, parts, strict=True)}
    return tuple(parts) if len(parts) > 1 else parts[0], feeds


def flat(state):
    if state is None:
        return []
    return [leaf for part in state for leaf in flat(part)] if isinstance(state, tuple) else [state]


def run(proto, feeds):
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


@pytest.mark.parametrize("lengths", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("states", [False, True], ids=["plain", "states"])
@pytest.mark.parametrize("name", MODELS)
def test_runtime_agrees(name, states, lengths, rng):
    model = MODELS[name]()
    x = draw(model, rng)
    state, feeds = state_feeds(model, rng) if states else (None, {})
    proto = export_onnx(model, lengths=lengths, states=states)
    found = run(proto, {"x": x, **({"lengths": LENGTHS} if lengths else {}), **feeds})
    extra = {"lengths": LENGTHS} if lengths else {}
    y, final = model(x, state, **extra)
    # Both round dots of tens of terms to float32 through six steps and up to three layers; values are below 10.
    np.testing.assert_allclose(found.pop("y"), y, rtol=0, atol=1e-5)
    assert list(found) == [f"{key}_out" for key in feeds]
    for value, expected in zip(found.values(), flat(final), strict=False):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-5)


# The evaluator has this layout for one direction only, and not for LSTM.
@pytest.mark.parametrize("name", ["RNN", "GRU reset before", "Last", "MeanPool", "MaxPool", "plain norm"])
def test_layout_1_by_the_evaluator_of_the_standard(name, rng):
    model = MODELS[name]()
    proto = export_onnx(model, layout=1)
    nodes = [node for node in proto.graph.node if node.op_type in ("RNN", "GRU")]
    assert all(attribute.i == 1 for node in nodes for attribute in node.attribute if attribute.name == "layout")
    x = draw(model, rng)
    from onnx.reference import ReferenceEvaluator

    (found,) = ReferenceEvaluator(proto).run(["y"], {"x": x})
    np.testing.assert_allclose(found, model(x)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", MAKERS)
def test_every_layer_is_said_or_refused(kind):
    layer = MAKERS[kind](np.float32)
    if type(layer) in EXPORTERS or type(layer) is Graph:
        export_onnx(layer)
    else:
        with pytest.raises(ConversionError, match=f"cannot say .* of {kind}"):
            export_onnx(layer)


def test_graphs_go_out_again(rng):
    graph = import_onnx(export_onnx(MODELS["Last"](), lengths=True, states=True))
    with graph.update() as params:
        params["0.R_l0"] *= 0.5
    proto = export_onnx(graph)
    x, h = draw(graph, rng), rng.standard_normal((1, N, 7)).astype(np.float32)
    found = run(proto, {"x": x, "lengths": LENGTHS, "0.h": h})
    y, (final,) = graph(x, (h,), lengths=LENGTHS)
    np.testing.assert_allclose(found["y"], y, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["0.h_out"], final, rtol=0, atol=1e-5)
    with pytest.raises(ConversionError, match=r"cannot say the computation of layer 0 \(Graph\)"):
        export_onnx(Sequential(graph))
    with pytest.raises(ValueError, match="leave lengths, states, layout and time_axis out"):
        export_onnx(graph, lengths=True)


def test_dense_alone_and_files(tmp_path, rng):
    model = torch_like(Dense, I, 3)
    x = rng.standard_normal((N, I)).astype(np.float32)
    export_onnx(model, tmp_path / "m.onnx")
    found = run(onnx.load(tmp_path / "m.onnx"), {"x": x})["y"]
    np.testing.assert_allclose(found, model(x), rtol=0, atol=1e-6)
    timed = export_onnx(model, time_axis=True)
    assert len(timed.graph.input[0].type.tensor_type.shape.dim) == 3


class Own(Dense):
    pass


class Tilted(Dense):
    def __init__(self, in_features, out_features, tilt=0.0):
        super().__init__(in_features, out_features)
        self.tilt = tilt

    def config(self):
        return {**super().config(), "tilt": self.tilt}


@pytest.mark.parametrize(
    "options",
    [{"proj_size": 2}, {"layer_norm": True}, {"cell_clip": 1.0}, {"zoneout": 0.1}],
    ids=lambda options: next(iter(options)),
)
def test_options_that_onnx_has_not_are_named(options):
    with pytest.raises(ConversionError, match=f"cannot say {next(iter(options))}="):
        export_onnx(LSTM(I, 3, **options))


def test_what_cannot_be_said_is_named(monkeypatch):
    with pytest.raises(ConversionError, match=r"cannot say the computation of layer 1 \(Own\)"):
        export_onnx(Sequential(Last(), Own(2, 3)))
    monkeypatch.setitem(EXPORTERS, Tilted, EXPORTERS[Dense])
    export_onnx(Tilted(2, 3))
    with pytest.raises(ConversionError, match=r"cannot say tilt=1.5 of Tilted"):
        export_onnx(Tilted(2, 3, 1.5))
    with pytest.raises(ConversionError, match="float32 and float64 together"):
        export_onnx(Sequential(Dense(2, 3), Dense(3, 2, dtype=np.float64)))
    with pytest.raises(ValueError, match="layout must be 0 or 1; got 2"):
        export_onnx(Dense(2, 3), layout=2)
    with pytest.raises(TypeError, match="model must be a Layer; got str"):
        export_onnx("model")
