"""Graphs that torch exports, by both of its exporters: their values, and what they learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from rnnfast.io import import_onnx

torch = pytest.importorskip("torch", reason="torch is not installed; it is only needed to compare with it")
onnx = pytest.importorskip("onnx", reason="onnx comes with the test extra")
nn = torch.nn


class Tagger(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.embedding = nn.Embedding(11, 5)
        self.rnn = getattr(nn, kind)(5, 7, num_layers=2, bidirectional=True, batch_first=True)
        self.norm, self.head = nn.LayerNorm(14), nn.Linear(14, 3)

    def forward(self, ids):
        y, _ = self.rnn(self.embedding(ids))
        return torch.softmax(self.head(self.norm(y)), -1)


class Stateful(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn = getattr(nn, kind)(5, 7, num_layers=2, bidirectional=True)
        self.pair = kind == "LSTM"
        self.head = nn.Linear(14, 3)

    def forward(self, x, *state):
        _, state = self.rnn(x, state if self.pair else state[0])
        state = state if self.pair else (state,)
        return self.head(torch.cat([state[0][-2], state[0][-1]], 1)), *state


def exported(module, arguments, dynamo, path, axes):
    """Return the path of what torch exports, or skip where that exporter lacks a package."""
    if dynamo:
        pytest.importorskip("onnxscript", reason="torch's newer exporter needs onnxscript")
    names = [f"in{k}" for k in range(len(arguments))]
    options = {} if dynamo else {"dynamic_axes": dict(zip(names, axes, strict=True))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, arguments, path, dynamo=dynamo, input_names=names, verbose=False, **options)
    return path


@pytest.mark.parametrize("dynamo", [False, True], ids=["script", "dynamo"])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_tagger(kind, dynamo, tmp_path):
    torch.manual_seed(0)
    module = Tagger(kind).eval()
    ids = torch.randint(0, 11, (3, 6))
    graph = import_onnx(exported(module, (ids,), dynamo, tmp_path / "m.onnx", [{0: "N", 1: "T"}]))
    np.testing.assert_allclose(graph(ids.numpy())[0], module(ids).detach().numpy(), rtol=0, atol=1e-6)
    if not dynamo:
        longer = torch.randint(0, 11, (5, 9))
        np.testing.assert_allclose(graph(longer.numpy())[0], module(longer).detach().numpy(), rtol=0, atol=1e-6)
    dy = torch.randn(3, 6, 3)
    (module(ids) * dy).sum().backward()
    (_, _), pullback = graph.forward(ids.numpy())
    grads = {}
    assert pullback(dy.numpy(), grads) is None
    twin = dict(module.named_parameters())
    for name in ("embedding.weight", "norm.weight", "head.bias"):
        np.testing.assert_allclose(grads[name], twin[name].grad.numpy(), rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("dynamo", [False, True], ids=["script", "dynamo"])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_state_goes_in_and_out(kind, dynamo, tmp_path):
    torch.manual_seed(0)
    module = Stateful(kind).eval()
    x = torch.randn(6, 3, 5, requires_grad=True)
    state = [torch.randn(4, 3, 7, requires_grad=True) for _ in range(2 if kind == "LSTM" else 1)]
    axes = [{0: "T", 1: "N"}, *({1: "N"} for _ in state)]
    path = exported(module, (x, *state), dynamo, tmp_path / "m.onnx", axes)
    graph = import_onnx(path, batch_first=False)
    y, final = graph(x.detach().numpy(), tuple(s.detach().numpy() for s in state))
    expected, *after = module(x, *state)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=1e-6)
    for part, value in zip(final, after, strict=True):
        np.testing.assert_allclose(part, value.detach().numpy(), rtol=0, atol=1e-6)
    loss = expected.sum() + sum((k + 2) * s.sum() for k, s in enumerate(after))
    loss.backward()
    (_, _), pullback = graph.forward(x.detach().numpy(), tuple(s.detach().numpy() for s in state))
    dstate = tuple((k + 2) * np.ones(s.shape) for k, s in enumerate(after))
    dx, dstart = pullback(np.ones((3, 3)), {}, dstate=dstate)
    np.testing.assert_allclose(dx, x.grad.numpy(), rtol=0, atol=1e-5)
    for found, start in zip(dstart, state, strict=True):
        np.testing.assert_allclose(found, start.grad.numpy(), rtol=0, atol=1e-5)
