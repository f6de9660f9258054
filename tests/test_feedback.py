"""Networks fed with their own outputs: equations, gradients, teachers, coins, training and files."""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast import GRU, LSTM, SGD, Adam, Dense, Dropout, Embedding, Jordan, Last, OutputFeedback, Sequential, Trainer
from rnnfast.backend import use_backend
from rnnfast.gradient_check import gradcheck
from rnnfast.io import ModelFileError, load_model, save_model
from rnnfast.losses import MeanSquared, SoftmaxCrossEntropy
from rnnfast.metrics import Accuracy
from rnnfast.schedules import ScheduledSampling

N, T, I, O = 4, 7, 3, 2
LENGTHS = [7, 0, 3, 5]


def feedback_of(kind, feedback="output", dtype=np.float64):
    body = Sequential(kind(I + O, 5, dtype=dtype, seed=0, init="torch"), Dense(5, O, dtype=dtype, seed=1, init="torch"))
    return OutputFeedback(body, O, feedback)


LAYERS = {
    "jordan": lambda feedback="output", dtype=np.float64: Jordan(I, 5, O, feedback=feedback, dtype=dtype, seed=0),
    "jordan relu sigmoid": lambda feedback="output", dtype=np.float64: Jordan(
        I, 5, O, "relu", "sigmoid", feedback, dtype=dtype, seed=3
    ),
    "lstm": lambda feedback="output", dtype=np.float64: feedback_of(LSTM, feedback, dtype),
    "gru": lambda feedback="output", dtype=np.float64: feedback_of(GRU, feedback, dtype),
}


def targets(feedback, rng):
    return rng.standard_normal((N, T, O)) if feedback == "output" else rng.integers(0, O, (N, T))


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu", "sigmoid"])
@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_jordan_is_its_equations(dtype, backend, nonlinearity, rng):
    layer = Jordan(I, 5, O, nonlinearity, "tanh", dtype=dtype, seed=0)
    layer.load_state_dict({name: rng.standard_normal(p.shape) for name, p in layer.parameters().items()})
    w, b, v, c = (layer.parameters()[f"body.{k}"] for k in ("0.weight", "0.bias", "1.weight", "1.bias"))
    f = {"tanh": np.tanh, "relu": lambda a: np.maximum(a, 0), "sigmoid": lambda a: 1 / (1 + np.exp(-a))}[nonlinearity]
    x, fed = rng.standard_normal((N, T, I)).astype(dtype), rng.standard_normal((N, O)).astype(dtype)
    with use_backend(backend):
        y, (last, _) = layer(x, (fed[None], None), lengths=LENGTHS)
        (again, (other, _)), _ = layer.forward(x, (fed[None], None), lengths=LENGTHS)
        taught = rng.standard_normal((N, T, O)).astype(dtype)
        (forced, (after, _)), _ = layer.forward(x, (fed[None], None), lengths=LENGTHS, target=taught)
    assert np.array_equal(y, again) and np.array_equal(last, other)
    bound = 1e-5 if dtype == np.float32 else 1e-13
    for n, length in enumerate(LENGTHS):
        own, goal = fed[n].astype(float), fed[n].astype(float)
        for t in range(length):
            own = np.tanh(v @ f(w @ np.concatenate([x[n, t], own]) + b) + c)
            np.testing.assert_allclose(y[n, t], own, rtol=0, atol=bound)
            with_teacher = np.tanh(v @ f(w @ np.concatenate([x[n, t], goal]) + b) + c)
            np.testing.assert_allclose(forced[n, t], with_teacher, rtol=0, atol=bound)
            goal = taught[n, t]
        np.testing.assert_allclose(last[0, n], own, rtol=0, atol=bound)
        np.testing.assert_array_equal(after[0, n], np.asarray(goal, dtype))
        assert not y[n, length:].any() and not forced[n, length:].any()


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("share", [None, 1.0, 0.5, 0.0])
@pytest.mark.parametrize("feedback", ["output", "softmax"])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name, feedback, share, lengths, rng):
    layer = LAYERS[name](feedback)
    x = rng.standard_normal((N, T, I))
    state = rng.standard_normal((1, N, O)), layer.forward(x)[0][1][1]
    options = {} if share is None else {"target": targets(feedback, rng), "teacher": share}
    result = gradcheck(layer, x, state, lengths=lengths, options=options)
    assert result, result
    if share != 1.0 and lengths is None:  # an error goes back through what is fed
        (y, _), pullback = layer.forward(x, state, **options, rng=np.random.default_rng(0))
        dy = np.zeros_like(y)
        dy[:, -1] = 1
        dx = pullback(dy, {})
        assert np.abs(dx[:, -2]).max() > 1e-6


def test_a_choice_has_no_gradient(rng):
    layer = Jordan(I, 5, O, feedback="choice", dtype=np.float64, seed=0)
    x = rng.standard_normal((N, T, I))
    (y, (fed, _)), pullback = layer.forward(x)
    assert np.array_equal(fed[0], np.eye(O)[y[:, -1].argmax(1)])
    dy = np.zeros_like(y)
    dy[:, -1] = 1
    assert not pullback(dy, {})[:, :-1].any()
    # Forced, all is smooth in the parameters.
    assert gradcheck(layer, x, lengths=LENGTHS, options={"target": targets("choice", rng)})


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_at_once_is_step_by_step(name, dtype, rng):
    """A share that no coin can miss goes the other way and must give the same."""
    layer = LAYERS[name](dtype=dtype)
    x, target = rng.standard_normal((N, T, I)).astype(dtype), targets("output", rng)
    bound = 1e-13 if dtype == np.float64 else 1e-5
    found = []
    for share in (1.0, np.nextafter(1.0, 0.0)):
        grads = {}
        (y, state), pullback = layer.forward(x, lengths=LENGTHS, target=target, teacher=share)
        dx, dstate = pullback(np.cos(np.arange(y.size)).reshape(y.shape), grads, dstate=(np.ones((1, N, O)), None))
        found.append([y, state[0], dx, dstate[0], *grads.values()])
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=bound)


def test_the_teacher_has_his_share(rng):
    layer = Jordan(1, 3, 1, dtype=np.float64, seed=0)
    x, target = np.zeros((200, 50, 1)), np.full((200, 50, 1), 100.0)
    for share in (0.0, 0.3, 1.0):
        (y, _), _ = layer.forward(x, target=target, teacher=share, rng=np.random.default_rng(0))
        own, _ = layer(x)
        taught = np.abs(y - own)[:, 1:] > 1e-3  # what is fed 100 comes out otherwise
        alone = taught[:, 0].mean() if share < 1 else taught.mean()
        assert alone == pytest.approx(share, abs=0.08 if 0 < share < 1 else 0)
    (one, _), _ = layer.forward(x, target=target, teacher=0.5, rng=np.random.default_rng(1))
    (other, _), _ = layer.forward(x, target=target, teacher=0.5, rng=np.random.default_rng(1))
    assert np.array_equal(one, other)


def test_a_stream_goes_on_with_its_state(rng):
    layer = feedback_of(LSTM)
    x = rng.standard_normal((N, T, I))
    whole, final = layer(x)
    first, state = layer(x[:, :3])
    rest, last = layer(x[:, 3:], state)
    assert np.array_equal(np.concatenate([first, rest], axis=1), whole)
    assert np.array_equal(last[0], final[0])


def echo(count, steps, rng):
    """Classes that follow from the class before and the input: c_t = (c_{t-1} + x_t) mod 3."""
    moves = rng.integers(0, 3, (count, steps))
    return np.eye(3)[moves], moves.cumsum(axis=1) % 3


@pytest.mark.parametrize("teacher", [1.0, ScheduledSampling("inverse_sigmoid", 30.0)])
def test_a_jordan_network_learns_what_needs_its_own_outputs(teacher):
    x, y = echo(300, 12, np.random.default_rng(0))
    model = Jordan(3, 24, 3, feedback="choice", seed=0)
    trainer = Trainer(model, SoftmaxCrossEntropy(), Adam(0.01), metrics=[Accuracy()], teacher=teacher)
    trainer.fit(x[:250], y[:250], epochs=40, batch_size=25, progress=False)
    assert trainer.evaluate(x[250:], y[250:])["accuracy"] > 0.95  # on its own
    if teacher != 1.0:
        assert trainer.one.manner.teacher == teacher(399)


def test_truncated_training_and_gathering_with_a_teacher(rng):
    x = rng.standard_normal((41, I))
    y = np.cumsum(x[:, :O], axis=0) / 4
    for share in (1.0, 0.5):
        model = feedback_of(GRU)
        trainer = Trainer(model, MeanSquared(), SGD(0.1), teacher=share, accumulate=2)
        history = trainer.fit_stream(x, y, streams=2, steps=4, back=8, epochs=30, progress=False)
        assert history["loss"][-1] < 0.9 * history["loss"][0]
    assert trainer.step == 90


def test_within_a_sequential(rng):
    model = Sequential(Embedding(9, I, dtype=np.float64, seed=0), feedback_of(LSTM), Dropout(0.0))
    assert model.takes_target and not Sequential(Dense(2, 2)).takes_target
    tokens, target = rng.integers(0, 9, (N, T)), rng.standard_normal((N, T, O))
    (forced, _), _ = model.forward(tokens, target=target)
    inner, table = model.layers[1], model.layers[0]
    np.testing.assert_array_equal(forced, inner.forward(table(tokens), target=target)[0][0])
    result = gradcheck(model, tokens, lengths=LENGTHS, options={"target": target, "teacher": 0.5})
    assert result, result


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("name", LAYERS)
def test_files(name, suffix, tmp_path, rng):
    model = Sequential(Dense(2, I, seed=5), LAYERS[name]("softmax", np.float32))
    again = load_model(save_model(model, tmp_path / f"m{suffix}"))
    x = rng.standard_normal((N, T, 2)).astype(np.float32)
    assert np.array_equal(again(x)[0], model(x)[0]) and repr(again) == repr(model)


def test_a_file_that_is_wrong(tmp_path):
    from rnnfast.io import spec

    good = spec.describe(feedback_of(LSTM))
    for change, match in (
        ({"layers": []}, "must have one layer"),
        ({"layers": good["layers"] * 2}, "must have one layer"),
        ({"layers": None}, "must have one layer"),
        ({"config": {"output_size": O, "body": 1}}, "no option 'body'"),
        ({"config": {"output_size": -1}}, "at least 1"),
        ({"more": 1}, "must have the fields class, config and layers"),
    ):
        with pytest.raises(ModelFileError, match=match):
            spec.build({**good, **change}, 10**6, 100)
    with pytest.raises(ModelFileError, match="at least"):
        spec.build(good, 10, 100)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: OutputFeedback(3, 2), TypeError, "body must be a Layer"),
        (lambda: OutputFeedback(Sequential(LSTM(5, 2), Last()), 2), ValueError, "must keep the time axis"),
        (lambda: OutputFeedback(LSTM(5, 1, bidirectional=True), 2), ValueError, "must read forwards"),
        (lambda: OutputFeedback(LSTM(5, 2), 2, "logits"), ValueError, "feedback must be one of"),
        (lambda: OutputFeedback(LSTM(5, 4), 2)(np.ones((1, 2, 3))), ValueError, "must give output_size=2 features"),
        (lambda: Jordan(3, 4, 2, "step"), ValueError, "nonlinearity must be one of"),
        (lambda: Jordan(3, 4, 2)(np.ones((2, 3))), ValueError, r"x must have shape \(N, T, C\)"),
        (lambda: Jordan(3, 4, 2)(np.ones((1, 2, 3)), 5), TypeError, "state must be a pair"),
        (lambda: Jordan(3, 4, 2)(np.ones((1, 2, 3)), (np.ones((1, 2)), None)), ValueError, r"state\[0\] must have"),
        (lambda: Jordan(3, 4, 2).forward(np.ones((1, 2, 3)), target=[[0, 1]]), ValueError, "target must have shape"),
        (lambda: Jordan(3, 4, 2).forward(np.ones((1, 2, 3)), teacher=2), ValueError, "teacher must lie"),
        (
            lambda: Jordan(3, 4, 2, feedback="choice").forward(np.ones((1, 2, 3)), target=[[0, 2]]),
            IndexError,
            r"target must lie in 0\.\.1; got 2",
        ),
        (lambda: Trainer(Jordan(3, 4, 2), MeanSquared(), SGD(0.1), checkpoint=9), ValueError, "fed with their outputs"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call()
