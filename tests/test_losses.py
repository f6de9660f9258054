"""Losses: central differences -> reference -> native, in both precisions; masks, lengths, and errors.

Tolerances: a mean over a few dozen terms of size 1 is right to some 1e-15 in float64 and 1e-6 in float32.
"""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnfast.backend import use_backend
from rnnfast.losses import (
    LOSSES,
    Huber,
    MeanAbsolute,
    MeanSquared,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    balanced_class_weight,
)

CASES = {
    "softmax": SoftmaxCrossEntropy(),
    "softmax smoothed": SoftmaxCrossEntropy(label_smoothing=0.1),
    "softmax even": SoftmaxCrossEntropy(1.0),
    "softmax weighted": SoftmaxCrossEntropy(class_weight=[1, 0, 2.5, 0.25, 3]),
    "softmax weighted smoothed": SoftmaxCrossEntropy(0.2, class_weight=[1, 0, 2.5, 0.25, 3]),
    "sigmoid": SigmoidCrossEntropy(),
    "sigmoid weighted": SigmoidCrossEntropy(pos_weight=3.0),
    "squared": MeanSquared(),
    "absolute": MeanAbsolute(),
    "huber": Huber(),
    "huber wide": Huber(delta=2.5),
}
SHAPES = {"numbers": (7,), "rows": (6, 5), "steps": (4, 3, 5)}
WEIGHTS = {
    "all": lambda shape: {},
    "mask": lambda shape: {"mask": np.arange(np.prod(rows_of(shape))).reshape(rows_of(shape)) % 3 > 0},
    "graded": lambda shape: {"mask": np.arange(np.prod(rows_of(shape))).reshape(rows_of(shape)) % 4 / 3},
    "lengths": lambda shape: {"lengths": [3, 0, 1, 2]},
    "both": lambda shape: {"mask": np.arange(12).reshape(4, 3) % 4 / 3, "lengths": [3, 0, 1, 2]},
}
BACKENDS = ["reference", "native"]


def rows_of(shape):
    return shape[: max(1, len(shape) - 1)]


def combinations():
    for name, loss in CASES.items():
        for shape in SHAPES:
            for weights in WEIGHTS:
                alone = isinstance(loss, SoftmaxCrossEntropy) and shape == "numbers"
                if not alone and (shape == "steps" or weights in ("all", "mask", "graded")):
                    yield pytest.param(
                        loss, SHAPES[shape], WEIGHTS[weights](SHAPES[shape]), id=f"{name}-{shape}-{weights}"
                    )


ALL = list(combinations())


def draw(loss, shape, seed=0, dtype=np.float64):
    """Predictions and targets; the numbers are exact in float32, and no difference is near a kink."""
    rng = np.random.default_rng(seed)
    pred = (rng.integers(-40, 40, shape) / 16 + 1 / 32).astype(dtype)
    if isinstance(loss, SoftmaxCrossEntropy):
        return pred, rng.integers(0, shape[-1], shape[:-1])
    if isinstance(loss, SigmoidCrossEntropy):
        return pred, (rng.integers(0, 17, shape) / 16).astype(dtype)
    return pred, (rng.integers(-40, 40, shape) / 16).astype(dtype)


def textbook(loss, pred, target, mask=None, lengths=None):
    """The value as a loop over rows says it."""
    shape = rows_of(pred.shape)
    weights = np.ones(shape) if mask is None else np.array(mask, float)
    if lengths is not None:
        weights = weights * (np.arange(shape[1]) < np.array(lengths)[:, None])
    total, count = 0.0, 0.0
    for place in np.ndindex(shape):
        x, t = pred[place], target[place]
        if isinstance(loss, SoftmaxCrossEntropy):
            e = loss.label_smoothing
            w = np.ones(len(x)) if loss.class_weight is None else loss.class_weight
            goal = e / len(x) * w
            goal[t] += (1 - e) * w[t]
            each = -(goal * (x - np.log(np.exp(x).sum()))).sum()
        elif isinstance(loss, SigmoidCrossEntropy):
            s = 1 / (1 + np.exp(-x))
            misses = 1 if loss.pos_weight is None else loss.pos_weight
            each = np.mean(-misses * t * np.log(s) - (1 - t) * np.log(1 - s))
        elif isinstance(loss, MeanSquared):
            each = np.mean((x - t) ** 2)
        else:
            d = np.abs(x - t)
            delta = loss.delta if isinstance(loss, Huber) else None
            each = np.mean(d if delta is None else np.where(d <= delta, d * d / 2, delta * (d - delta / 2)))
        total += weights[place] * each
        of_class = isinstance(loss, SoftmaxCrossEntropy) and loss.class_weight is not None
        count += weights[place] * (loss.class_weight[t] if of_class else 1)
    return total / count


@pytest.mark.parametrize(("loss", "shape", "weights"), ALL)
@pytest.mark.parametrize("backend", BACKENDS)
def test_value_and_central_differences(loss, shape, weights, backend):
    pred, target = draw(loss, shape)
    with use_backend(backend):
        value, pullback = loss.forward(pred, target, **weights)
        dpred = pullback(0.5)
        assert value == loss(pred, target, **weights)
        assert isinstance(value, float)
        assert value == pytest.approx(textbook(loss, pred, target, **weights), rel=1e-13)
        assert dpred.shape == pred.shape
        rng = np.random.default_rng(1)
        for _ in range(3):
            v = rng.standard_normal(shape)
            v /= np.linalg.norm(v)
            eps = 1e-5
            slope = (loss(pred + eps * v, target, **weights) - loss(pred - eps * v, target, **weights)) / (2 * eps)
            assert np.vdot(dpred, v) == pytest.approx(0.5 * slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("loss", "shape", "weights"), ALL)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_native_is_the_reference(loss, shape, weights, dtype):
    pred, target = draw(loss, shape)
    with use_backend("reference"):
        value, pullback = loss.forward(pred, target, **weights)
        expected = pullback()
    found, pullback = loss.forward(pred.astype(dtype), target, **weights)
    dpred = pullback()
    assert dpred.dtype == dtype
    eps = float(np.finfo(dtype).eps)
    assert found == pytest.approx(value, rel=16 * eps)
    np.testing.assert_allclose(dpred, expected, rtol=0, atol=16 * eps)


@pytest.mark.parametrize("loss", CASES.values(), ids=CASES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_strides_and_read_only_input(loss, backend):
    pred, target = draw(loss, SHAPES["steps"])
    mask = WEIGHTS["graded"](pred.shape)["mask"]

    def major(a):
        return a.swapaxes(0, 1).copy().swapaxes(0, 1)

    with use_backend(backend):
        value, pullback = loss.forward(pred, target, mask=mask)
        expected = pullback()
        for views in (
            (major(pred), major(target), major(mask)),
            (pred[:, :, ::-1].copy()[:, :, ::-1], major(target), mask),
            (pred.repeat(2, 1)[:, ::2], target.repeat(2, 1)[:, ::2], mask.repeat(2, 1)[:, ::2]),
        ):
            for view in views:
                view.flags.writeable = False
            found, pullback = loss.forward(*views[:2], mask=views[2])
            assert found == pytest.approx(value, rel=1e-14)
            np.testing.assert_allclose(pullback(), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("loss", CASES.values(), ids=CASES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("garbage", [-1, 99, np.nan, np.inf])
def test_what_does_not_count_may_be_anything(loss, backend, garbage):
    pred, target = draw(loss, SHAPES["steps"])
    lengths = np.array([3, 0, 1, 2])
    outside = np.arange(3) >= lengths[:, None]
    with use_backend(backend):
        value, pullback = loss.forward(pred, target, lengths=lengths)
        expected = pullback()
        pred, target = pred.copy(), target.copy()
        pred[outside] = garbage
        if target.dtype.kind == "f" or np.isfinite(garbage):
            target[outside] = garbage
        found, pullback = loss.forward(pred, target, lengths=lengths)
        assert found == value
        np.testing.assert_array_equal(pullback(), expected)
        assert (expected[outside] == 0).all()


@pytest.mark.parametrize("loss", CASES.values(), ids=CASES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((4, 3, 5), {"mask": np.zeros((4, 3))}),
        ((4, 3, 5), {"lengths": [0, 0, 0, 0]}),
        ((4, 3, 5), {"mask": np.arange(3) == 2 * np.ones((4, 1)), "lengths": [2, 2, 2, 2]}),
        ((0, 3, 5), {}),
        ((4, 0, 5), {"lengths": [0, 0, 0, 0]}),
        ((0, 5), {"mask": []}),
    ],
)
def test_nothing_that_counts_is_zero(loss, backend, shape, options):
    with use_backend(backend):
        pred, target = draw(loss, shape, dtype=np.float32)
        value, pullback = loss.forward(pred, target, **options)
        assert value == 0.0
        dpred = pullback()
        assert dpred.shape == shape
        assert dpred.dtype == np.float32
        assert (dpred == 0).all()


def test_numbers_known_by_heart():
    assert SoftmaxCrossEntropy()(np.zeros((2, 4)), [0, 3]) == pytest.approx(np.log(4), rel=1e-6)
    assert SigmoidCrossEntropy()(np.zeros((2, 4)), np.ones((2, 4))) == pytest.approx(np.log(2), rel=1e-6)
    assert MeanSquared()([1.0, 5.0], [0.0, 3.0]) == 2.5
    assert MeanAbsolute()([1.0, 5.0], [0.0, 3.0]) == 1.5
    assert Huber()([0.5, 5.0], [0.0, 3.0]) == (0.125 + 1.5) / 2
    assert SigmoidCrossEntropy()(np.array([[1000.0, -1000.0]]), [[1.0, 0.0]]) == 0.0
    assert SoftmaxCrossEntropy()(np.array([[1000.0, -1000.0]]), [1]) == 2000.0


def test_a_bad_prediction_shows_in_the_value():
    for loss in CASES.values():
        for bad in (np.nan, np.inf):
            pred, target = draw(loss, (2, 5))
            pred[1, 1] = bad
            for backend in BACKENDS:
                with use_backend(backend), np.errstate(all="ignore"):
                    assert not np.isfinite(loss(pred, target))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_gradient_rows_of_softmax_sum_to_zero(data):
    rows, classes = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 70))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    pred = 10 * rng.standard_normal((rows, classes))
    weights = rng.random(rows) + 0.1
    loss = SoftmaxCrossEntropy(data.draw(st.sampled_from([0.0, 0.2])))
    _, pullback = loss.forward(pred, rng.integers(0, classes, rows), mask=weights)
    np.testing.assert_allclose(pullback().sum(axis=1), 0, rtol=0, atol=1e-15 * classes)


def test_table_and_configuration():
    assert set(LOSSES) == {"SoftmaxCrossEntropy", "SigmoidCrossEntropy", "MeanSquared", "MeanAbsolute", "Huber"}
    for loss in CASES.values():
        again = LOSSES[type(loss).__name__](**loss.config())
        assert repr(again) == repr(loss)
    assert repr(Huber(2)) == "Huber(delta=2.0)"


TWO = np.zeros((2, 3))
ERRORS = [
    (SoftmaxCrossEntropy(), (TWO, [0, 3]), {}, IndexError, "target must lie in 0..2, the classes of pred; got 3"),
    (SoftmaxCrossEntropy(), (TWO, [-1, 0]), {}, IndexError, "target must lie in 0..2, the classes of pred; got -1"),
    (SoftmaxCrossEntropy(), (TWO, [-1, 0]), {"mask": [1, 0]}, IndexError, "target must lie in 0..2"),
    (SoftmaxCrossEntropy(), (TWO, [0.0, 1.0]), {}, TypeError, "target must be integers, the class indices; got dtype"),
    (SoftmaxCrossEntropy(), (TWO, [0, 1, 2]), {}, ValueError, "target must have shape (2,), one class for each row"),
    (SoftmaxCrossEntropy(), (TWO, TWO.astype(int)), {}, ValueError, "target must have shape (2,)"),
    (SoftmaxCrossEntropy(), (TWO[:, :0], [0, 0]), {}, ValueError, "pred must have at least one class; got shape"),
    (SoftmaxCrossEntropy(), (TWO[0], 0), {}, ValueError, "pred must have shape (N, C) or (N, T, C); got (3,)"),
    (SigmoidCrossEntropy(), (TWO, TWO + 1.5), {}, ValueError, "target must be in 0..1; got 1.5"),
    (SigmoidCrossEntropy(), (TWO, TWO - 0.5), {}, ValueError, "target must be in 0..1; got -0.5"),
    (SigmoidCrossEntropy(), (TWO, TWO * np.nan), {}, ValueError, "target must be in 0..1; got nan"),
    (MeanSquared(), (TWO, TWO + np.nan), {}, ValueError, "target must be finite; got nan"),
    (MeanAbsolute(), (TWO, TWO - np.inf), {}, ValueError, "target must be finite; got -inf"),
    (Huber(), (TWO, TWO[:, :2]), {}, ValueError, "target must have shape (2, 3); got (2, 2)"),
    (MeanSquared(), (TWO.astype(object), TWO), {}, TypeError, "pred must hold real numbers; got dtype object"),
    (MeanSquared(), (TWO, TWO.astype(str)), {}, TypeError, "target must hold real numbers"),
    (MeanSquared(), (np.zeros((1, 1, 1, 1)), 0), {}, ValueError, "pred must have shape (N,) or (N, C) or (N, T, C)"),
    (MeanSquared(), (TWO, TWO), {"mask": np.ones(3)}, ValueError, "mask must have shape (2,); got (3,)"),
    (MeanSquared(), (TWO, TWO), {"mask": [1, -1]}, ValueError, "mask must be finite and at least 0; got -1.0"),
    (MeanSquared(), (TWO, TWO), {"mask": [1, np.nan]}, ValueError, "mask must be finite and at least 0; got nan"),
    (MeanSquared(), (TWO, TWO), {"mask": ["a", "b"]}, TypeError, "mask must hold real numbers"),
    (MeanSquared(), (TWO, TWO), {"lengths": [1, 1]}, ValueError, "lengths needs predictions (N, T, C); got (2, 3)"),
    (MeanSquared(), (TWO[None], TWO[None]), {"lengths": [3]}, ValueError, "lengths must lie in 0..2"),
    (SoftmaxCrossEntropy(class_weight=[1, 2]), (TWO, [0, 1]), {}, ValueError, "class_weight must have 3 entries, one"),
    (
        SigmoidCrossEntropy([1, 2]),
        (TWO, TWO),
        {},
        ValueError,
        "pos_weight must fit the outputs, of shape (2, 3); got 2",
    ),
    (MeanSquared(), (TWO[None], TWO[None]), {"lengths": [0.5]}, TypeError, "lengths must be integers"),
]


@pytest.mark.parametrize(("loss", "arguments", "options", "error", "message"), ERRORS)
def test_errors(loss, arguments, options, error, message):
    for call in (loss, loss.forward):
        with pytest.raises(error, match="^" + re.escape(message)):
            call(*arguments, **options)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SoftmaxCrossEntropy(-0.1), "label_smoothing must lie in [0, 1]; got -0.1"),
        (lambda: SoftmaxCrossEntropy(label_smoothing=1.5), "label_smoothing must lie in [0, 1]; got 1.5"),
        (
            lambda: SoftmaxCrossEntropy(class_weight=[1, -1]),
            "class_weight must be finite and at least 0, and not all 0",
        ),
        (lambda: SoftmaxCrossEntropy(class_weight=[0, 0]), "class_weight must be finite and at least 0, and not all 0"),
        (lambda: SoftmaxCrossEntropy(class_weight=2.0), "class_weight must have shape (C,); got ()"),
        (lambda: SigmoidCrossEntropy([[1]]), "pos_weight must have shape (C,) or be a number; got (1, 1)"),
        (lambda: SigmoidCrossEntropy(np.nan), "pos_weight must be finite"),
        (lambda: Huber(0), "delta must lie in (0, inf); got 0"),
        (lambda: Huber(np.inf), "delta must be finite; got inf"),
        (lambda: MeanSquared().forward(TWO, TWO)[1](np.nan), "scale must be finite; got nan"),
    ],
)
def test_bad_options(build, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        build()


def test_a_pullback_runs_once():
    _, pullback = MeanSquared().forward(TWO, TWO)
    pullback()
    with pytest.raises(RuntimeError, match="called before"):
        pullback()


def test_booleans_are_two_classes():
    pred = np.random.default_rng(0).standard_normal((6, 2))
    target = pred[:, 0] > 0
    loss = SoftmaxCrossEntropy()
    assert loss(pred, target) == loss(pred, target.astype(int))


def test_balanced_weights_make_classes_count_alike():
    target = np.array([0, 0, 0, 0, 2, 2, 1])
    weight = balanced_class_weight(target)
    np.testing.assert_allclose(np.bincount(target) * weight, 7 / 3, rtol=1e-15)
    np.testing.assert_allclose(weight[target].mean(), 1, rtol=1e-15)
    assert np.array_equal(balanced_class_weight([target[:3], target[3:]]), weight)
    np.testing.assert_allclose(balanced_class_weight([0, 0, 1], 3), [0.75, 1.5, 0], rtol=1e-15)
    np.testing.assert_allclose(balanced_class_weight([[0, 1], [1, 1]], mask=[[3, 1], [0, 0]]), [2 / 3, 2], rtol=1e-15)
    for bad, options, error, match in (
        ([0.5], {}, TypeError, "target must be integers"),
        ([], {}, (TypeError, ValueError), "target must"),
        ([0, 3], {"classes": 3}, ValueError, "target must lie in 0..2, the classes; got 3"),
        ([-1, 3], {}, ValueError, "got -1"),
        ([0, 1], {"mask": [1]}, ValueError, "mask must have a weight for each of 2 targets"),
    ):
        with pytest.raises(error, match=match):
            balanced_class_weight(bad, **options)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_class_weights_are_those_of_torch(smoothing):
    torch = pytest.importorskip("torch", reason="torch is not installed; it is only needed to compare with it")
    rng = np.random.default_rng(0)
    pred, target, weight = rng.standard_normal((9, 4)), rng.integers(0, 4, 9), np.array([1.0, 0.0, 2.0, 0.3])
    value, pullback = SoftmaxCrossEntropy(smoothing, weight).forward(pred, target)
    twin = torch.from_numpy(pred).requires_grad_()
    kind = torch.nn.CrossEntropyLoss(torch.from_numpy(weight), label_smoothing=smoothing)
    expected = kind(twin, torch.from_numpy(target))
    expected.backward()
    assert value == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(pullback(), twin.grad.numpy(), rtol=0, atol=1e-14)


def test_positive_weights_are_those_of_torch():
    torch = pytest.importorskip("torch", reason="torch is not installed; it is only needed to compare with it")
    rng = np.random.default_rng(0)
    pred, target, weight = 5 * rng.standard_normal((9, 4)), rng.random((9, 4)), np.array([1.0, 0.0, 2.0, 0.3])
    value, pullback = SigmoidCrossEntropy(weight).forward(pred, target)
    twin = torch.from_numpy(pred).requires_grad_()
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=torch.from_numpy(weight))(twin, torch.from_numpy(target))
    expected.backward()
    assert value == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(pullback(), twin.grad.numpy(), rtol=0, atol=1e-14)
