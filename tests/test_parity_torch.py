"""RNN, LSTM and GRU against torch, forwards and backwards, with the same parameters and nonzero biases."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; it is only needed to compare with it")

# Torch's class and arguments, and what ours has beside the cell's.
KINDS = {
    "rnn_tanh": (torch.nn.RNN, {"nonlinearity": "tanh"}, {}),
    "rnn_relu": (torch.nn.RNN, {"nonlinearity": "relu"}, {}),
    "lstm": (torch.nn.LSTM, {}, {}),
    "lstm proj_size": (torch.nn.LSTM, {"proj_size": 3}, {"proj_size": 3}),
    "gru": (torch.nn.GRU, {}, {}),
}
# Values and their gradients are of order 1 to 10; rounding of sums of up to 100 terms through 7 steps and 2 layers.
BOUNDS = {np.float64: 1e-12, np.float32: 5e-5}


@pytest.fixture
def pair(make_layer):
    """A function that makes a layer and torch's twin of it."""

    def make(cell, *args, dtype=np.float64, batch_first=True, **kwargs):
        kind, options, own = KINDS[cell]
        layer = make_layer(cell.split()[0], *args, dtype=dtype, batch_first=batch_first, **own, **kwargs)
        twin = kind(*args, batch_first=batch_first, **options, **kwargs).to(torch.from_numpy(np.empty(0, dtype)).dtype)
        twin.load_state_dict({name: torch.from_numpy(array) for name, array in layer.state_dict().items()})
        return layer, twin

    return make


def as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


def tensors(state):
    parts = [torch.from_numpy(part).requires_grad_() for part in as_tuple(state)]
    return parts, tuple(parts) if len(parts) > 1 else parts[0]


@pytest.mark.parametrize("lengths", [None, [7, 1, 3, 7, 2]], ids=["full", "ragged"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("layers, bidirectional", [(1, False), (2, False), (2, True)])
@pytest.mark.parametrize("cell", KINDS)
def test_forward_and_backward(cell, layers, bidirectional, batch_first, dtype, lengths, pair, random_state, rng):
    layer, twin = pair(cell, 3, 17, layers, bidirectional=bidirectional, batch_first=batch_first, dtype=dtype)
    shape = (5, 7) if batch_first else (7, 5)
    x = rng.standard_normal((*shape, 3)).astype(dtype)
    dy = rng.standard_normal((*shape, layer.state_sizes[0] * (1 + bidirectional))).astype(dtype)
    start, dfinal = random_state(layer, 5), random_state(layer, 5)

    (y, final), pullback = layer.forward(x, start, lengths=lengths)
    grads = {}
    dx, dstart = pullback(dy, grads, dstate=dfinal)

    x_twin = torch.from_numpy(x).requires_grad_()
    starts, start_twin = tensors(start)
    if lengths is None:
        y_twin, final_twin = twin(x_twin, start_twin)
    else:
        pack = torch.nn.utils.rnn.pack_padded_sequence
        unpack = torch.nn.utils.rnn.pad_packed_sequence
        packed = pack(x_twin, lengths, batch_first=batch_first, enforce_sorted=False)
        y_packed, final_twin = twin(packed, start_twin)
        y_twin, _ = unpack(y_packed, batch_first=batch_first, total_length=7)
    loss = (y_twin * torch.from_numpy(dy)).sum()
    for part, d in zip(as_tuple(final_twin), as_tuple(dfinal), strict=True):
        loss = loss + (part * torch.from_numpy(d)).sum()
    loss.backward()

    found = {"y": y, "dx": dx, **grads}
    expected = {"y": y_twin, "dx": x_twin.grad, **{name: p.grad for name, p in twin.named_parameters()}}
    for k, part in enumerate(as_tuple(final)):
        found[f"state {k}"], expected[f"state {k}"] = part, as_tuple(final_twin)[k]
        found[f"dstate {k}"], expected[f"dstate {k}"] = as_tuple(dstart)[k], starts[k].grad
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        value = value.detach().numpy()
        bound = BOUNDS[dtype] * max(1.0, np.abs(value).max())
        np.testing.assert_allclose(found[name], value, rtol=0, atol=bound, err_msg=name)


@pytest.mark.parametrize("cell", KINDS)
def test_names_and_shapes_of_parameters(cell, pair):
    layer, twin = pair(cell, 3, 4, 2, bidirectional=True)
    assert {n: p.shape for n, p in layer.parameters().items()} == {
        n: tuple(p.shape) for n, p in twin.named_parameters()
    }
    assert list(layer.parameters()) == [name for name, _ in twin.named_parameters()]
    plain, twin = pair(cell, 3, 4, bias=False)
    assert list(plain.parameters()) == [name for name, _ in twin.named_parameters()]
