"""Live modules of torch become layers that compute the same, and go back."""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast import Ends, Last, Sequential
from rnnfast.io import from_torch, load_torch_state_dict, read_torch_safetensors, to_torch_state_dict

torch = pytest.importorskip("torch", reason="torch is not installed; it is only needed to compare with it")
nn = torch.nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6, padding_idx=0)
        self.rnn = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True, dropout=0.3)
        self.norm = nn.LayerNorm(10)
        self.head = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3), nn.LogSoftmax(-1))

    def forward(self, ids):
        y, (h, _) = self.rnn(self.embedding(ids))
        return self.head(self.norm(y)), torch.cat([h[-2], h[-1]], dim=1)


def perturbed(module, dtype):
    """Return the module in evaluation, its parameters all different from their defaults."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module.to(dtype).eval()


BOUNDS = {torch.float32: 2e-5, torch.float64: 1e-12, torch.bfloat16: 2e-5, torch.float16: 2e-5}


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.RNN(6, 5, num_layers=2, nonlinearity="relu", bidirectional=True, batch_first=True),
        lambda: nn.LSTM(6, 5, bias=False, batch_first=True),
        lambda: nn.LSTM(6, 5, num_layers=2, proj_size=3, bidirectional=True, batch_first=True),
        lambda: nn.GRU(6, 5, num_layers=3),
        lambda: nn.Linear(6, 4, bias=False),
        lambda: nn.LayerNorm(6, eps=1e-3, bias=False),
        lambda: nn.LayerNorm(6, elementwise_affine=False),
    ],
    ids=["RNN", "LSTM", "LSTM with a projection", "GRU", "Linear", "LayerNorm", "plain LayerNorm"],
)
def test_modules(make, dtype):
    twin = perturbed(make(), dtype)
    layer = from_torch(twin)
    if dtype in (torch.float16, torch.bfloat16):
        twin = twin.float()
    x = np.random.default_rng(0).standard_normal((4, 7, 6)).astype(np.float64)
    expected = twin(torch.from_numpy(x).to(next(twin.parameters(), torch.zeros(1)).dtype))
    found = layer(x)
    if layer.stateful:
        found, expected = found[0], expected[0]
    bound = BOUNDS[dtype if layer.parameters() else torch.float32]  # without parameters there is no dtype to learn
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=0, atol=bound)


def test_own_module_and_back(tmp_path):
    twin = perturbed(Tagger(), torch.float64)
    model = from_torch(twin, ["embedding", "rnn", "norm", "head"])
    ids = np.random.default_rng(0).integers(0, 11, (4, 7))
    scores, ends = (value.detach().numpy() for value in twin(torch.from_numpy(ids)))
    np.testing.assert_allclose(model(ids)[0], scores, rtol=0, atol=1e-12)
    final = Sequential(model[0], model[1], Ends())
    np.testing.assert_allclose(final(ids)[0], ends, rtol=0, atol=1e-12)

    names = {"0": "embedding", "1": "rnn", "2": "norm", "3": "head"}
    fresh = Tagger().to(torch.float64).eval()
    fresh.load_state_dict({k: torch.from_numpy(v) for k, v in to_torch_state_dict(model, names).items()})
    np.testing.assert_array_equal(fresh(torch.from_numpy(ids))[0].detach().numpy(), scores)

    pytest.importorskip("safetensors")
    from safetensors.torch import save_file

    save_file(twin.to(torch.bfloat16).state_dict(), tmp_path / "m.safetensors")
    load_torch_state_dict(model, read_torch_safetensors(tmp_path / "m.safetensors"), names)
    for name, tensor in twin.float().state_dict().items():
        ours = name.replace("embedding", "0").replace("rnn", "1").replace("norm", "2").replace("head", "3")
        np.testing.assert_array_equal(model.parameters()[ours], tensor.numpy())


def test_sequential_of_torch():
    twin = perturbed(
        nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Identity(), nn.Linear(5, 3), nn.Softmax(-1)), torch.float64
    )
    x = np.random.default_rng(0).standard_normal((6, 4))
    found = from_torch(twin)
    np.testing.assert_allclose(found(x)[0], twin(torch.from_numpy(x)).detach().numpy(), rtol=0, atol=1e-14)
    assert list(found.parameters()) == list(twin.state_dict())


def test_gradients_go_on_as_in_torch():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.norm, self.fc = nn.GRU(3, 5, batch_first=True), nn.LayerNorm(5), nn.Linear(5, 2)

        def forward(self, x):
            return self.fc(self.norm(self.rnn(x)[0][:, -1]))

    twin = perturbed(Net(), torch.float64)
    model = from_torch(twin, ["rnn", Last(), "norm", "fc"])
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((4, 6, 3)), rng.standard_normal((4, 2))
    (twin(torch.from_numpy(x)) * torch.from_numpy(dy)).sum().backward()
    (_, _), pullback = model.forward(x)
    grads = {}
    pullback(dy, grads)
    names = {"0": "rnn", "2": "norm", "3": "fc"}
    for name, gradient in grads.items():
        place, _, own = name.partition(".")
        expected = dict(twin.named_parameters())[f"{names[place]}.{own}"].grad.numpy()
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-12, err_msg=name)
