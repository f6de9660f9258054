"""A cell of one's own: the package's cells rebuilt with it, a peephole LSTM and a clockwork network, and errors."""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast import GRU, LSTM, Adam, Cell, CellLayer, Dense, Last, MeanSquared, Sequential, Trainer, gradcheck
from rnnfast.callbacks import Checkpoint
from rnnfast.io import save_model
from rnnfast.layers import checkpointed
from rnnfast.reference import lstm


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Plain(Cell):
    """The package's LSTM, by its reference step."""

    def __init__(self, layer):
        self.layer = layer
        self.input_size, self.state_sizes = layer.input_size, (layer.hidden_size,) * 2

    def parameters(self, rng):
        return self.layer.state_dict()

    def forward(self, params, x, state):
        a = x @ params["weight_ih_l0"].T + params["bias_ih_l0"]
        new, saved = lstm.forward(a, state, params["weight_hh_l0"], params["bias_hh_l0"])
        return new, (x, saved)

    def backward(self, params, dstate, saved):
        x, inner = saved
        da, du, dold = lstm.backward(dstate, inner, params["weight_hh_l0"])
        grads = {"weight_ih_l0": da.T @ x, "bias_ih_l0": da.sum(0)}
        grads |= {"weight_hh_l0": du.T @ inner[0], "bias_hh_l0": du.sum(0)}
        return da @ params["weight_ih_l0"], dold, grads


class Peephole(Cell):
    """LSTM whose gates see the cell state through diagonal weights (Gers and Schmidhuber 2000)."""

    def __init__(self, input_size, hidden_size):
        self.input_size, self.state_sizes = input_size, (hidden_size, hidden_size)

    def parameters(self, rng):
        inputs, hidden = self.input_size, self.state_sizes[0]
        w = rng.standard_normal((4 * hidden, inputs + hidden)) / np.sqrt(inputs + hidden)
        return {"w": w, "b": 0.1 * rng.standard_normal(4 * hidden), "p": 0.5 * rng.standard_normal((3, hidden))}

    def forward(self, params, x, state):
        h, c = state
        xh = np.concatenate([x, h], axis=1)
        i, f, g, o = np.split(xh @ params["w"].T + params["b"], 4, axis=1)
        p_i, p_f, p_o = params["p"]
        i, f, g = sigmoid(i + p_i * c), sigmoid(f + p_f * c), np.tanh(g)
        new = f * c + i * g
        o = sigmoid(o + p_o * new)
        tanh = np.tanh(new)
        return (o * tanh, new), (xh, c, i, f, g, o, new, tanh)

    def backward(self, params, dstate, saved):
        (dh, dc), (xh, c, i, f, g, o, new, tanh) = dstate, saved
        p_i, p_f, p_o = params["p"]
        do = dh * tanh * o * (1 - o)
        dc = dc + dh * o * (1 - tanh * tanh) + do * p_o
        di, df, dg = dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g)
        du = np.concatenate([di, df, dg, do], axis=1)
        dxh = du @ params["w"]
        dp = np.stack([(di * c).sum(0), (df * c).sum(0), (do * new).sum(0)])
        dold = (dxh[:, self.input_size :], dc * f + di * p_i + df * p_f)
        return dxh[:, : self.input_size], dold, {"w": du.T @ xh, "b": du.sum(0), "p": dp}


class Clockwork(Cell):
    """Groups of units that move every 1, 2, 4 ... steps (Koutnik et al. 2014); the second state counts the steps."""

    def __init__(self, input_size, group, groups):
        self.input_size, self.state_sizes = input_size, (group * groups, 1)
        self.periods = np.repeat(2 ** np.arange(groups), group)
        self.slower = self.periods >= self.periods[:, None]  # units listen to their own group and slower ones

    def parameters(self, rng):
        hidden = self.state_sizes[0]
        return {"w": rng.standard_normal((hidden, self.input_size)), "u": rng.standard_normal((hidden, hidden))}

    def forward(self, params, x, state):
        h, count = state
        moves = np.round(count) % self.periods == 0
        u = params["u"] * self.slower
        g = np.tanh(x @ params["w"].T + h @ u.T)
        return (np.where(moves, g, h), count + 1), (x, h, g, moves)

    def backward(self, params, dstate, saved):
        (dh, dcount), (x, h, g, moves) = dstate, saved
        du = np.where(moves, dh * (1 - g * g), 0)
        dold = np.where(moves, 0, dh) + du @ (params["u"] * self.slower)
        return du @ params["w"], (dold, dcount), {"w": du.T @ x, "u": du.T @ h * self.slower}


CELLS = {"peephole": lambda: Peephole(3, 4), "clockwork": lambda: Clockwork(3, 2, 3)}


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("lengths", [None, [9, 0, 4, 7]])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients(cell, lengths, batch_first, rng):
    layer = CellLayer(CELLS[cell](), batch_first, dtype=np.float64, seed=0)
    x = rng.standard_normal((4, 9, 3) if batch_first else (9, 4, 3))
    state = tuple(rng.standard_normal((1, 4, size)) for size in layer.state_sizes)
    if cell == "clockwork":
        state = state[0], np.zeros((1, 4, 1))
    result = gradcheck(layer, x, state, lengths=lengths)
    assert result, result


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lengths", [None, [9, 0, 4, 7]])
def test_it_is_the_layer_it_rebuilds(lengths, dtype, rng):
    native = LSTM(3, 4, dtype=dtype, seed=0, init="torch")
    layer = CellLayer(Plain(native), dtype=dtype)
    x = rng.standard_normal((4, 9, 3)).astype(dtype)
    state = tuple(rng.standard_normal((1, 4, 4)).astype(dtype) for _ in range(2))
    bound = 1e-12 if dtype == np.float64 else 2e-5
    one, other = {}, {}
    (y, final), pullback = native.forward(x, state, lengths=lengths)
    (again, last), twin = layer.forward(x, state, lengths=lengths)
    dx, dinitial = pullback(np.ones_like(y), one, dstate=(final[0], None))
    found, dfirst = twin(np.ones_like(y), other, dstate=(final[0], None))
    for a, b in ((y, again), (final, last), (dx, found), (dinitial, dfirst), *((one[k], other[k]) for k in one)):
        np.testing.assert_allclose(a, b, rtol=0, atol=bound)
    assert again.dtype == found.dtype == dtype
    inferred, _ = layer(x, state, lengths=lengths)
    assert np.array_equal(inferred, again)
    whole, _ = layer(x, state)
    half, middle = layer(x[:, :5], state)
    rest, _ = layer(x[:, 5:], middle)
    assert np.array_equal(np.concatenate([half, rest], axis=1), whole)


def test_it_trains_in_a_model():
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((n, 3)) for n in rng.integers(3, 9, 60)]
    y = np.array([[a[:, 0].sum()] for a in x])
    model = Sequential(CellLayer(Peephole(3, 8), seed=0), GRU(8, 8, seed=1), Last(), Dense(8, 1, seed=2))
    history = Trainer(model, MeanSquared(), Adam(0.01)).fit(x, y, epochs=25, batch_size=10, progress=False)
    assert history["loss"][-1] < 0.1 * history["loss"][0]


def test_it_can_be_checkpointed(rng):
    layer = CellLayer(Peephole(3, 4), dtype=np.float64, seed=0)
    x = rng.standard_normal((2, 11, 3))
    one, other = {}, {}
    (y, _), pullback = layer.forward(x, lengths=[11, 6])
    (again, _), sparing = checkpointed(layer, x, lengths=[11, 6], chunk=4)
    assert np.array_equal(y, again)
    np.testing.assert_allclose(pullback(y, one), sparing(y, other), rtol=0, atol=1e-13)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=0, atol=1e-13)


def test_a_file_cannot_hold_it(tmp_path):
    model = Sequential(CellLayer(Peephole(3, 4), seed=0), Dense(4, 1, seed=1))
    with pytest.raises(TypeError, match=r"CellLayer.*state_dict\(\)"):
        save_model(model, tmp_path / "m.npz")
    trainer = Trainer(model, MeanSquared(), Adam())
    with pytest.raises(TypeError, match="CellLayer"):  # before the first epoch, not after it
        trainer.fit(np.ones((2, 3, 3)), np.ones((2, 3, 1)), callbacks=[Checkpoint(tmp_path / "c")], progress=False)
    assert trainer.step == 0 and list(tmp_path.iterdir()) == []
    np.savez(tmp_path / "weights.npz", **model.state_dict())
    again = Sequential(CellLayer(Peephole(3, 4), seed=5), Dense(4, 1, seed=6))
    with np.load(tmp_path / "weights.npz") as found:
        again.load_state_dict(found)
    x = np.ones((2, 3, 3))
    assert np.array_equal(again(x)[0], model(x)[0])


class Wrong(Peephole):
    """A cell with one thing wrong."""

    def __init__(self, fault):
        super().__init__(3, 4)
        self.fault = fault
        if fault == "sizes":
            self.state_sizes = ()

    def parameters(self, rng):
        found = super().parameters(rng)
        return [] if self.fault == "list" else {"a.b": 1.0} if self.fault == "dot" else found

    def forward(self, params, x, state):
        new, saved = super().forward(params, x, state)
        return {"tuple": new[0], "shape": (new[0], new[1][:, :2])}.get(self.fault, new), saved

    def backward(self, params, dstate, saved):
        dx, dold, grads = super().backward(params, dstate, saved)
        if self.fault == "gradient":
            grads["p"] = grads["p"][:2]
        if self.fault == "unknown":
            grads["q"] = grads["p"]
        return dx[:, :2] if self.fault == "dx" else dx, dold[:1] if self.fault == "dold" else dold, grads


@pytest.mark.parametrize(
    ("fault", "error", "match"),
    [
        ("sizes", TypeError, "cell.state_sizes must be a tuple of at least one"),
        ("list", TypeError, "cell.parameters must return arrays by name; got list"),
        ("dot", ValueError, "without a dot; got 'a.b'"),
        ("tuple", TypeError, "Wrong.forward must return its state as a tuple of 2"),
        ("shape", ValueError, r"Wrong.forward must return states of shape \(2, 4\); got \(2, 2\)"),
        ("dx", ValueError, r"Wrong.backward must return dx of shape \(2, 3\); got \(2, 2\)"),
        ("dold", TypeError, "Wrong.backward must return its state as a tuple of 2"),
        ("gradient", ValueError, r"got 'p' of shape \(2, 4\)"),
        ("unknown", ValueError, r"got 'q' of shape \(3, 4\)"),
    ],
)
def test_a_cell_that_is_wrong_is_told_of(fault, error, match):
    with pytest.raises(error, match=match):
        layer = CellLayer(Wrong(fault), dtype=np.float64, seed=0)
        (y, _), pullback = layer.forward(np.ones((2, 3, 3)))
        pullback(y, {})


def test_a_wrong_gradient_does_not_pass(rng):
    class Sign(Peephole):
        def backward(self, params, dstate, saved):
            dx, dold, grads = super().backward(params, dstate, saved)
            return dx, dold, {**grads, "p": -grads["p"]}

    result = gradcheck(CellLayer(Sign(3, 4), dtype=np.float64, seed=0), rng.standard_normal((2, 5, 3)))
    assert result.failed() == ["p"]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda layer: layer(np.ones((2, 3, 4))), ValueError, r"x must have shape \(N, T, 3\)"),
        (lambda layer: layer(np.ones((2, 3, 3)), np.ones((1, 2, 4))), TypeError, "state must be a tuple of 2 arrays"),
        (lambda layer: layer(np.ones((2, 3, 3)), (np.ones((1, 2, 4)),) * 3), TypeError, "state must be a tuple of 2"),
        (lambda layer: layer(np.ones((2, 3, 3)), (np.ones((2, 4)),) * 2), ValueError, r"state\[0\] must have shape"),
        (lambda layer: layer(np.ones((2, 3, 3)), lengths=[4, 1]), ValueError, "lengths must lie"),
        (lambda layer: layer.forward(np.ones((2, 3, 3)), rng=1), TypeError, "rng"),
        (lambda layer: layer.forward(np.ones((2, 3, 3)))[1](np.ones((2, 3, 3)), {}), ValueError, "dy must have shape"),
        (lambda layer: CellLayer(Peephole), TypeError, "cell must be a Cell; got the class Peephole itself"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call(CellLayer(Peephole(3, 4), seed=0))
