"""Diagnosis on networks of which it is known what is to be found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rnnfast import (
    GRU,
    LSTM,
    RNN,
    SGD,
    Adam,
    Dense,
    Dropout,
    Embedding,
    EncoderDecoder,
    Jordan,
    LanguageModel,
    Last,
    MeanSquared,
    Sequential,
    SoftmaxCrossEntropy,
    diagnose,
)
from rnnfast.diagnostics import jacobians
from rnnfast.initializers import orthogonal


def scaled(radius, hidden=12, seed=0):
    """A network whose recurrent matrix is orthogonal but for a factor; without input its Jacobians are that matrix."""
    layer = RNN(2, hidden, dtype=np.float64, seed=seed)
    layer.weight_hh_l0 = radius * orthogonal((hidden, hidden), np.random.default_rng(1), np.dtype(np.float64))
    return Sequential(layer, Last(), Dense(hidden, 1, dtype=np.float64, seed=2))


@pytest.mark.parametrize(("radius", "verdict"), [(0.8, "vanishing"), (1.0, "steady"), (1.25, "exploding")])
def test_scaled_orthogonal_weights_scale_gradients(radius, verdict):
    steps = 60
    found = diagnose(scaled(radius), (np.zeros((3, steps, 2)), np.ones((3, 1))), MeanSquared(), show=False)
    (level,) = found.levels
    assert level.exact and level.steps == steps and level.verdict == verdict
    np.testing.assert_allclose(level.radius, radius, rtol=1e-10)
    np.testing.assert_allclose(level.norm, radius, rtol=1e-10)
    np.testing.assert_allclose(level.gain, np.arange(steps + 1) * math.log10(radius), rtol=0, atol=1e-9)
    assert level.product_norm_log10 == pytest.approx(steps * math.log10(radius), abs=1e-9)
    assert level.growth == pytest.approx(radius, rel=1e-10)
    np.testing.assert_allclose(level.gradient_norms[:-1] / level.gradient_norms[1:], radius, rtol=1e-9)
    words = {"vanishing": "gradients vanish", "exploding": "gradients explode"}
    told = [line for line in found.advice if "gradients" in line]
    assert len(told) == (verdict in words) and all(words[verdict] in line for line in told)


def test_large_states_are_estimated(monkeypatch):
    batch = (np.zeros((2, 40, 2)), np.ones((2, 1)))
    exact = diagnose(scaled(0.9, 40), batch, MeanSquared(), show=False).levels[0]
    monkeypatch.setattr(jacobians, "EXACT", 39)
    found = diagnose(scaled(0.9, 40), batch, MeanSquared(), show=False).levels[0]
    assert exact.exact and not found.exact
    assert found.growth == pytest.approx(0.9, rel=1e-9)
    np.testing.assert_allclose(found.norm, 0.9, rtol=1e-9)
    # A matrix that is not normal: of its 40 eigenvalues the largest stands out.
    model = scaled(0.3, 40)
    outlier = np.array(model.layers[0].weight_hh_l0)
    outlier[0] = 0
    outlier[0, 0] = 0.95
    model.layers[0].weight_hh_l0 = outlier
    found = diagnose(model, batch, MeanSquared(), show=False).levels[0]
    np.testing.assert_allclose(found.radius, np.abs(np.linalg.eigvals(outlier)).max(), rtol=1e-6)


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_jacobians_are_differences(kind, rng):
    layer = kind(2, 3, dtype=np.float64, seed=0, init="torch")
    x = rng.standard_normal((1, 9, 2))
    level = diagnose(layer, (x, np.zeros((1, 9, 3))), MeanSquared(), show=False).levels[0]
    states = [layer(x[:, :t])[1] if t else layer(x[:, :0])[1] for t in range(10)]

    def flat(state):
        return np.concatenate([s[0, 0] for s in (state if isinstance(state, tuple) else (state,))])

    def step(s, t):
        parts = tuple(part[None, None] for part in np.split(s, len(s) // 3))
        return flat(layer(x[:, t : t + 1], parts if len(parts) > 1 else parts[0])[1])

    product = np.eye(len(flat(states[0])))
    radii = []
    for t in range(9):
        s, eps = flat(states[t]), 1e-6
        jacobian = np.stack([(step(s + e, t) - step(s - e, t)) / (2 * eps) for e in eps * np.eye(len(s))], axis=1)
        product = jacobian @ product
        radii.append(np.abs(np.linalg.eigvals(jacobian)).max())
    assert level.product_norm_log10 == pytest.approx(math.log10(np.linalg.norm(product, 2)), abs=1e-6)
    gain = np.linalg.norm(product) / math.sqrt(len(product))
    assert level.gain[-1] == pytest.approx(math.log10(gain), abs=1e-6)
    np.testing.assert_allclose(level.radius, np.array(radii)[np.linspace(0, 8, 8).astype(int)], rtol=1e-6)


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_norms_of_gradients_at_every_step_of_a_stack(kind, rng):
    """dL/dh_t of a level, by moving the level's state and output of one step together."""
    layer = kind(2, 3, num_layers=2, bidirectional=True, dtype=np.float64, seed=0, init="torch")
    x, y = rng.standard_normal((2, 6, 2)), rng.standard_normal((2, 6, 6))
    found = diagnose(layer, (x, y, [6, 4]), MeanSquared(), show=False)
    assert [level.name for level in found.levels] == ["l0", "l0_reverse", "l1", "l1_reverse"]
    # The top level going forwards, taken on its own: its loss is that of its half of the outputs.
    below = kind(2, 3, bidirectional=True, dtype=np.float64)
    below.load_state_dict({name: a for name, a in layer.parameters().items() if "_l0" in name})
    top = kind(6, 3, dtype=np.float64)
    top.load_state_dict(
        {n.replace("_l1", "_l0"): a for n, a in layer.parameters().items() if "_l1" in n and "reverse" not in n}
    )
    middle, _ = below(x, lengths=[6, 4])
    count = (np.arange(6) < np.array([6, 4])[:, None]).sum() * 6

    def loss(t, move):
        first, state = top(middle[:, :t], lengths=np.minimum([6, 4], t))
        h, rest = (state[0], state[1:]) if isinstance(state, tuple) else (state, ())
        first = np.concatenate([first[:, :-1], (first[:, -1] + move)[:, None]], axis=1)
        h = h + move
        out, _ = top(middle[:, t:], (h, *rest) if rest else h, lengths=np.maximum(np.array([6, 4]) - t, 0))
        diff = np.concatenate([first, out], axis=1) - y[:, :, :3]
        return (diff**2 * (np.arange(6) < np.array([6, 4])[:, None])[..., None]).sum() / count

    for t in (1, 3, 4):  # after t steps
        gradient = np.zeros((2, 3))
        for place in np.ndindex(2, 3):
            move = np.zeros((2, 3))
            move[place] = 1e-6
            gradient[place] = (loss(t, move) - loss(t, -move)) / 2e-6
        assert found.levels[2].gradient_norms[t - 1] == pytest.approx(np.linalg.norm(gradient), rel=1e-6)


def test_a_stack_taken_apart_is_the_stack(rng):
    """Every level's outputs are those that it has in the stack, in both directions."""
    from rnnfast.diagnostics.levels import levels
    from rnnfast.diagnostics.record import record

    layer = LSTM(2, 3, num_layers=2, bidirectional=True, dtype=np.float64, seed=0, init="torch")
    state = tuple(rng.standard_normal((4, 3, 3)) for _ in range(2))
    x, y, lengths = rng.standard_normal((3, 5, 2)), rng.standard_normal((3, 5, 6)), [5, 0, 3]
    out, _ = layer(x, state, lengths=lengths)
    _, grads, (seen,) = record(layer, MeanSquared(), x, y, state, lengths, None, np.random.default_rng(0))
    forwards, backwards = levels(seen)[2:]
    np.testing.assert_allclose(forwards.y, out[:, :, :3], rtol=0, atol=1e-14)
    for n, length in enumerate(lengths):
        np.testing.assert_allclose(backwards.y[n, :length], out[n, :length, 3:][::-1], rtol=0, atol=1e-14)
    for level, suffix in zip(levels(seen), ("l0", "l0_reverse", "l1", "l1_reverse"), strict=True):
        own = {}
        level.layer.forward(level.x, level.state, lengths=level.lengths)[1](level.dy, own)
        for kind in ("weight_ih", "weight_hh", "bias_ih"):
            np.testing.assert_allclose(own[f"{kind}_l0"], grads[f"{kind}_{suffix}"], rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_saturated_gates(kind, rng):
    layer = kind(2, 8, seed=0)
    names = {LSTM: {"input": 0, "forget": 1, "output": 3}, GRU: {"reset": 0, "update": 1}}[kind]
    batch = (rng.standard_normal((4, 10, 2)), np.zeros((4, 10, 8)), [10, 3, 7, 1])
    plain = diagnose(layer, batch, MeanSquared(), show=False).levels[0]
    assert list(plain.gates) == list(names) and all(low + high < 0.3 for low, high in plain.gates.values())
    for gate, place in names.items():
        for sign in (-1, 1):
            bias = np.zeros(len(layer.bias_hh_l0), np.float32)
            bias[8 * place : 8 * place + 6] = 50 * sign  # six of eight units
            layer.bias_hh_l0 = bias
            found = diagnose(layer, batch, MeanSquared(), show=False)
            low, high = found.levels[0].gates[gate]
            assert (low if sign < 0 else high) >= 0.75 > (high if sign < 0 else low)
            assert any(gate in line and "saturated" in line for line in found.advice)
    layer.bias_hh_l0 = np.zeros(len(layer.bias_hh_l0))


def test_gates_are_those_of_the_reference(rng):
    from rnnfast.diagnostics.gates import saturation
    from rnnfast.diagnostics.levels import Level
    from rnnfast.reference import lstm

    layer = LSTM(2, 5, dtype=np.float64, seed=0, init="torch")
    layer.weight_ih_l0 = 9 * layer.weight_ih_l0
    x, state = rng.standard_normal((3, 7, 2)), tuple(rng.standard_normal((1, 3, 5)) for _ in range(2))
    y, _ = layer(x, state)
    found = saturation(Level("", layer, x, y, y, state, np.full(3, 7)))
    gates, (h, c) = [], (s[0] for s in state)
    for t in range(7):
        a = x[:, t] @ layer.weight_ih_l0.T + layer.bias_ih_l0
        (h, c), (_, _, i, f, _, o, _) = lstm.forward(a, (h, c), layer.weight_hh_l0, layer.bias_hh_l0)
        gates.append((i, f, o))
    for values, name in zip(np.array(gates).transpose(1, 0, 2, 3), ("input", "forget", "output"), strict=True):
        assert found[name] == pytest.approx(((values < 0.05).mean(), (values > 0.95).mean()), abs=1e-12)
        assert sum(found[name]) > 0


def test_dead_units_and_updates(rng, capsys):
    model = Sequential(
        Embedding(5, 4, seed=0), RNN(4, 6, nonlinearity="relu", seed=1), Dropout(0.1), Last(), Dense(6, 3, seed=2)
    )
    bias = np.zeros(6)
    bias[:3] = -100
    model.layers[1].bias_ih_l0 = bias
    batch = (rng.integers(0, 5, (6, 9)), rng.integers(0, 3, 6), [9, 9, 4, 1, 2, 9])
    before, optimizer = model.state_dict(), SGD(0.5)
    found = diagnose(model, batch, SoftmaxCrossEntropy(), optimizer=optimizer)
    printed = capsys.readouterr().out
    assert printed.strip() == str(found) and "3 of 6 units never change" in printed
    (rnn,) = (layer for layer in found.layers if layer.kind == "RNN")
    assert (rnn.units, rnn.dead, rnn.name) == (6, 3, "1") and rnn.zeros >= 0.5
    assert any("3 of 6 units" in line for line in found.advice)
    for name, report in found.parameters.items():
        assert report.weight == pytest.approx(np.linalg.norm(before[name]), rel=1e-6)
        assert report.update == pytest.approx(0.5 * report.gradient, rel=1e-4, abs=1e-7)  # plain descent
        if report.weight:
            assert report.ratio == report.update / report.weight
        assert np.array_equal(model.parameters()[name], before[name])
    assert optimizer.state_dict().keys() == {"lr"}
    fast = diagnose(model, batch, SoftmaxCrossEntropy(), optimizer=Adam(1.0), show=False)
    assert any("lower the rate" in line and "more than a tenth" in line for line in fast.advice)
    slow = diagnose(model, batch, SoftmaxCrossEntropy(), optimizer=Adam(1e-9), show=False)
    assert any("raise the rate" in line for line in slow.advice)
    assert math.isnan(diagnose(model, batch, SoftmaxCrossEntropy(), show=False).parameters["4.weight"].ratio)


def test_what_has_no_stack_and_what_is_not_finite(rng):
    x = rng.standard_normal((2, 5, 3))
    found = diagnose(Jordan(3, 4, 2, dtype=np.float64, seed=0), (x, np.zeros((2, 5, 2))), MeanSquared(), show=False)
    assert found.levels[0].gradient_norms.shape == (5,) and str(found)
    model = Dense(3, 2, seed=0)
    found = diagnose(model, (x, np.zeros((2, 5, 2))), MeanSquared(), show=False)
    assert found.levels == [] and found.advice == [] and "nothing stands out" in str(found)
    with np.errstate(all="ignore"):
        found = diagnose(model, (x, np.full((2, 5, 2), 1e30)), MeanSquared(), optimizer=SGD(0.1), show=False)
    assert "not finite" in found.advice[0]


def test_models_that_write_are_seen_layer_by_layer(rng):
    tokens, source = rng.integers(0, 7, (3, 5)), rng.integers(0, 4, (3, 6))
    lengths = [5, 2, 1]
    writer, reader = LanguageModel(7, 4, 6, 2, cell="gru", seed=0), EncoderDecoder(4, 7, 4, 6, seed=0)
    found = diagnose(writer, (tokens, tokens, lengths), SoftmaxCrossEntropy(), show=False)
    assert [level.name for level in found.levels] == ["decoder.recurrent l0", "decoder.recurrent l1"]
    assert found.loss == pytest.approx(SoftmaxCrossEntropy()(writer(tokens)[0], tokens, lengths=lengths), rel=1e-5)
    both = ([6, 3, 0], lengths)
    found = diagnose(reader, ((source, tokens), tokens, both), SoftmaxCrossEntropy(), show=False)
    names = ["encoder.recurrent l0", "encoder.recurrent l0_reverse", "decoder.recurrent l0"]
    assert [level.name for level in found.levels] == names
    expected = SoftmaxCrossEntropy()(reader((source, tokens), lengths=both), tokens, lengths=lengths)
    assert found.loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        ((3, (1, 2), MeanSquared()), {}, TypeError, "model must be of Layer"),
        ((Dense(2, 2), (1,), MeanSquared()), {}, TypeError, r"batch must be \(x, y\)"),
        ((Dense(2, 2), (1, 2), MeanSquared), {}, TypeError, "loss must be callable"),
        ((Dense(2, 2), (1, 2), MeanSquared()), {"optimizer": Adam}, TypeError, "optimizer must be of Optimizer"),
        ((Dense(2, 2), (1, 2), MeanSquared()), {"steps": 0}, ValueError, "steps"),
        (
            (GRU(2, 2, batch_first=False), (np.ones((3, 1, 2)), np.ones((3, 1, 2))), MeanSquared()),
            {},
            ValueError,
            "batch first",
        ),
    ],
)
def test_bad_arguments(arguments, options, error, match):
    with pytest.raises(error, match=match):
        diagnose(*arguments, **options)
