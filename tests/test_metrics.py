"""Metrics: by hand, with masks and lengths, and added up over batches of different sizes."""

import math

import numpy as np
import pytest

from rnnfast.metrics import (
    MAE,
    MSE,
    RMSE,
    Accuracy,
    BinaryAccuracy,
    BitsPerSymbol,
    Perplexity,
    bits_per_symbol,
    perplexity,
    valid_weights,
)

PRED = np.array([[[1.0, 2.0], [3.0, 0.0], [0.0, 5.0]], [[0.0, 1.0], [4.0, 1.0], [1.0, 0.0]]])  # (N=2, T=3, C=2)
CLASSES = np.array([[1, 0, 0], [0, 0, 1]])  # hits: 1 1 0 / 0 1 0
VALUES = PRED + np.array([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [6.0]]])  # off by 1 2 3 / 4 5 6
MASK = np.array([[1, 0, 1], [0, 1, 1]])
LENGTHS = np.array([2, 3])
CASES = [
    (Accuracy(), CLASSES, None, None, 3 / 6),
    (Accuracy(), CLASSES, MASK, None, 2 / 4),
    (Accuracy(), CLASSES, None, LENGTHS, 3 / 5),
    (Accuracy(), CLASSES, MASK, LENGTHS, 2 / 3),
    (Accuracy(), CLASSES, MASK * 0.5, LENGTHS, 2 / 3),
    (MSE(), VALUES, None, None, 91 / 6),
    (MSE(), VALUES, MASK, None, (1 + 9 + 25 + 36) / 4),
    (MSE(), VALUES, MASK[:, 0], None, (1 + 4 + 9) / 3),
    (RMSE(), VALUES, None, LENGTHS, math.sqrt((1 + 4 + 16 + 25 + 36) / 5)),
    (MAE(), VALUES, MASK, LENGTHS, (1 + 5 + 6) / 3),
    (BinaryAccuracy(2.5), (PRED > 2.5) ^ (PRED == 4.0), None, None, 11 / 12),
    (BinaryAccuracy(), PRED > 0, None, LENGTHS, 1.0),
]


@pytest.mark.parametrize(("metric", "target", "mask", "lengths", "expected"), CASES)
def test_by_hand(metric, target, mask, lengths, expected):
    assert metric.finish(*metric(PRED, target, mask=mask, lengths=lengths)) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(("metric", "target", "mask", "lengths", "expected"), CASES)
def test_batches_of_different_sizes_add_up(metric, target, mask, lengths, expected):
    wide = [PRED, target, mask, lengths]
    many = [None if a is None else np.concatenate([a, a, a]) for a in wide]
    total = weight = 0.0
    for rows in (slice(0, 1), slice(1, 3), slice(3, 6)):
        pred, goal, *more = (None if a is None else a[rows] for a in many)
        part = metric(pred, goal, mask=more[0], lengths=more[1])
        total, weight = total + part[0], weight + part[1]
    assert metric.finish(total, weight) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(("metric", "target"), [(m, t) for m, t, *_ in CASES[::5]])
def test_what_is_left_out_may_be_anything(metric, target):
    expected = metric(PRED, target, lengths=[2, 3])
    pred, target = PRED.copy(), np.array(target)
    pred[0, 2] = np.nan
    if target.dtype.kind == "f":
        target[0, 2] = np.nan
    got = metric(pred, target, lengths=[2, 3])
    assert got == pytest.approx(expected)
    assert math.isfinite(got[0])


def test_nothing_valid_is_nan():
    metric = Accuracy()
    assert math.isnan(metric.finish(*metric(PRED, CLASSES, mask=np.zeros((2, 3)))))
    assert metric(PRED[:0], CLASSES[:0]) == (0.0, 0.0)


def test_functions_of_the_loss():
    assert Perplexity().of_loss(math.log(7)) == pytest.approx(7)
    assert perplexity(1e6) == math.inf
    assert BitsPerSymbol().of_loss(math.log(2)) == bits_per_symbol(math.log(2)) == 1.0


def test_weights():
    assert valid_weights((2, 3), None, None) is None
    np.testing.assert_array_equal(valid_weights((2, 3), None, [0, 2]), [[0, 0, 0], [1, 1, 0]])
    np.testing.assert_array_equal(valid_weights((2, 3), [2, 3], [1, 2]), [[2, 0, 0], [3, 3, 0]])


@pytest.mark.parametrize(
    ("metric", "target", "mask", "lengths", "word"),
    [
        (Accuracy(), CLASSES[:, :2], None, None, "target"),
        (MSE(), VALUES[..., 0], None, None, "target"),
        (Accuracy(), CLASSES, np.ones((2, 2)), None, "mask"),
    ],
)
def test_bad_shapes(metric, target, mask, lengths, word):
    with pytest.raises(ValueError, match=word):
        metric(PRED, target, mask=mask, lengths=lengths)


def test_lengths_need_a_time_axis():
    with pytest.raises(ValueError, match="lengths"):
        Accuracy()(PRED[:, 0], CLASSES[:, 0], lengths=LENGTHS)
