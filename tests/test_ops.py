"""Native dropout, losses, embedding and pooling against their twins in NumPy, on every instruction set.

Tolerances. Float32 results are compared with the reference in float64 on the same float32 numbers. A softmax of C terms
and its logarithm round each step to one half eps and exp errs by a few, relative to numbers of the size of the largest
logit: 16 eps by that size is a few times what is seen. Sums over columns add eps * sqrt(C).
"""

import numpy as np
import pytest

from rnnfast._native import ops as native
from rnnfast.reference import ops as reference
from rnnfast.threads import limit_threads

COLUMNS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 65, 100]
WEIGHTS = {
    "none": lambda r: None,
    "mask": lambda r: (np.arange(r) % 3 > 0).astype(float),
    "graded": lambda r: np.arange(r) % 4 / 4,
    "zeros": np.zeros,
}


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


def compare(found, expected, eps, size):
    """Losses and gradient within 16 eps of numbers of that size."""
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=16 * eps * size, strict=True)
    if expected[1] is None:
        assert found[1] is None
    else:
        assert found[1].shape == expected[1].shape
        np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=16 * eps)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("gradient", [True, False])
def test_softmax_cross_entropy(isa, dtype, weights, smoothing, gradient):
    rng = np.random.default_rng(1)
    for columns in COLUMNS:
        x = (4 * rng.standard_normal((13, columns)) + 20).astype(dtype)
        targets = rng.integers(0, columns, 13)
        w = WEIGHTS[weights](13)
        expected = reference.softmax_cross_entropy(x.astype(float), targets, w, 0.25, smoothing, gradient)
        w = None if w is None else w.astype(dtype)
        found = native.softmax_cross_entropy(x, targets, w, 0.25, smoothing, gradient)
        compare(found, expected, np.finfo(dtype).eps, 35 * (1 + smoothing * columns**0.5))
        compare(
            reference.softmax_cross_entropy(x, targets, w, 0.25, smoothing, gradient),
            expected,
            np.finfo(dtype).eps,
            35 * (1 + smoothing * columns**0.5),
        )
        if gradient:
            assert found[1].dtype == dtype


def test_softmax_cross_entropy_at_the_ends_of_the_range(isa, dtype):
    inf, big = np.inf, np.finfo(dtype).max / 4
    x = np.array([[0, -inf, 0], [1e4, 0, -1e4], [big, -big, 0], [-1e4, -1e4, -1e4]], dtype)
    targets = np.array([0, 0, 0, 2])
    with np.errstate(over="ignore"):
        losses, dx = native.softmax_cross_entropy(x, targets, None, 1.0, 0.0, True)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(losses, [np.log(2), 0, 0, np.log(3)], rtol=0, atol=1e4 * eps)
    np.testing.assert_allclose(dx, [[-0.5, 0, 0.5], [0, 0, 0], [0, 0, 0], [1 / 3, 1 / 3, -2 / 3]], rtol=0, atol=8 * eps)
    for bad in (np.nan, inf):
        for place in range(20):
            x = np.zeros((1, 20), dtype)
            x[0, place] = bad
            losses, dx = native.softmax_cross_entropy(x, np.array([3]), None, 1.0, 0.0, True)
            assert np.isnan(losses).all()
            assert np.isnan(dx).any()


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("gradient", [True, False])
def test_sigmoid_cross_entropy(isa, dtype, weights, gradient):
    rng = np.random.default_rng(2)
    for columns in COLUMNS:
        x = (4 * rng.standard_normal((11, columns))).astype(dtype)
        targets = rng.random((11, columns)).astype(dtype)
        w = WEIGHTS[weights](11)
        expected = reference.sigmoid_cross_entropy(x.astype(float), targets.astype(float), w, 0.5, gradient)
        w = None if w is None else w.astype(dtype)
        size = columns * 4  # losses of about that much are summed
        for ops in (native, reference):
            compare(ops.sigmoid_cross_entropy(x, targets, w, 0.5, gradient), expected, np.finfo(dtype).eps, size)


def test_sigmoid_cross_entropy_keeps_relative_precision_everywhere(isa, dtype):
    x = np.concatenate([np.linspace(-80, 80, 4001), [0.0, -0.0, 1e-30, -1e-30]]).astype(dtype)[:, None]
    losses, dx = native.sigmoid_cross_entropy(x, np.zeros_like(x), None, 1.0, True)
    wide = x.astype(np.longdouble)
    np.testing.assert_allclose(losses, np.logaddexp(0, wide)[:, 0].astype(float), rtol=8 * np.finfo(dtype).eps)
    np.testing.assert_allclose(dx, (1 / (1 + np.exp(-wide))).astype(float), rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("start", [0, 2**32 - 5, 2**32 - 300, 3 * 2**40 + 7])
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1, 0x123456789ABCDEF])
def test_dropout_has_the_same_bits_in_both(isa, dtype, start, seed):
    for n in (0, 1, 255, 256, 257, 1500):
        x = np.random.default_rng(n).standard_normal(n).astype(dtype) + 3
        for p in (0.0, 0.1, 0.5, 0.999, 1 - 1e-12):
            found = native.dropout(x, p, seed, start)
            np.testing.assert_array_equal(found, reference.dropout(x, p, seed, start), strict=True)
            np.testing.assert_array_equal(found != 0, reference.keep(n, p, seed, start))


def test_dropout_drops_what_is_not_a_number_too(isa, dtype):
    x = np.full(1000, np.nan, dtype)
    kept = reference.keep(1000, 0.5, 5)
    np.testing.assert_array_equal(np.isnan(native.dropout(x, 0.5, 5)), kept)


def test_dropout_counts_in_c_order_whatever_the_strides(dtype):
    x = np.arange(1.0, 61.0).reshape(3, 4, 5).astype(dtype)
    for view in (x.transpose(1, 0, 2), x[:, ::-1], x[:, :, ::2]):
        for ops in (native, reference):
            np.testing.assert_array_equal(ops.dropout(view, 0.4, 9), ops.dropout(view.copy(), 0.4, 9))


N = 2**20
SEEDS = [0, 1, 2, 3, 12345, 2**32, 2**63, 2**64 - 1]


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_dropout_rate(p):
    for seed in SEEDS:
        dropped = N - np.count_nonzero(reference.keep(N, p, seed))
        assert abs(dropped - N * p) < 5 * np.sqrt(N * p * (1 - p))


def correlation(a, b):
    """The correlation of two sequences of fair bits in standard deviations of chance."""
    return abs(np.mean((2.0 * a - 1) * (2.0 * b - 1))) * np.sqrt(len(a))


def test_dropout_masks_of_places_and_seeds_are_independent():
    base = {seed: reference.keep(N, 0.5, seed) for seed in SEEDS}
    for mask in base.values():
        for lag in (*(2**k for k in range(18)), 3, 7, 65, 255, 768, 1000, 3 * 4096, 10**5):
            assert correlation(mask[lag:], mask[:-lag]) < 5
    for k, one in enumerate(SEEDS):
        for other in SEEDS[:k]:
            assert correlation(base[one], base[other]) < 5
    for bit in range(64):
        assert correlation(base[0], reference.keep(N, 0.5, 1 << bit)) < 5
    assert correlation(base[0], reference.keep(N, 0.5, 0, start=2**32)) < 5


def test_dropout_masks_have_all_patterns_equally_often():
    for seed in SEEDS:
        words = np.packbits(reference.keep(N, 0.5, seed))
        counts = np.bincount(words, minlength=256)
        chance = len(words) / 256
        square = float(((counts - chance) ** 2 / chance).sum())
        assert abs(square - 255) < 5 * np.sqrt(2 * 255)


def test_scatter_add(isa, dtype):
    rng = np.random.default_rng(4)
    for columns in COLUMNS:
        rows = rng.integers(0, 6, 40)
        values = rng.standard_normal((40, columns)).astype(dtype)
        start = rng.standard_normal((6, columns)).astype(dtype)
        found, expected = start.copy(), start.copy()
        native.scatter_add(found, rows, values)
        reference.scatter_add(expected, rows, values)
        np.testing.assert_array_equal(found, expected)  # the same sums in the same order
        spread = np.zeros((6, 2 * columns), dtype)
        spread[:, ::2] = start
        native.scatter_add(spread[:, ::2], rows[::-1], values[::-1])
        native.scatter_add(start, rows[::-1].copy(), values[::-1].copy())
        np.testing.assert_array_equal(spread[:, ::2], start)


def test_max_pool(isa, dtype):
    rng = np.random.default_rng(5)
    for columns in COLUMNS:
        x = rng.integers(-3, 3, (5, 7, columns)).astype(dtype)  # many equals
        x[1, 4, 0] = x[1, 6, 0] = np.nan
        x[2] = -np.inf
        for lengths in (None, np.array([7, 6, 3, 0, 1])):
            found, expected = native.max_pool(x, lengths), reference.max_pool(x, lengths)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_activate(isa, dtype, name):
    x = np.linspace(-20, 20, 1001).astype(dtype)
    expected = x.astype(float)
    reference.activate(name, expected)
    for ops in (native, reference):
        found = x.copy()
        ops.activate(name, found)
        np.testing.assert_allclose(found, expected, rtol=8 * np.finfo(dtype).eps)


def test_threads_change_no_bit(isa, dtype):
    rng = np.random.default_rng(6)
    x = rng.standard_normal((1501, 211)).astype(dtype)
    targets = rng.integers(0, 211, 1501)
    goal = rng.random(x.shape).astype(dtype)
    weights = rng.random(1501).astype(dtype)
    results = []
    for threads in (1, 2, 3, 7):
        with limit_threads(threads):
            table = np.zeros((211, 211), dtype)
            native.scatter_add(table, targets, x)
            active = x.copy()
            native.activate("tanh", active)
            results.append(
                [
                    *native.softmax_cross_entropy(x, targets, weights, 0.5, 0.1, True),
                    *native.sigmoid_cross_entropy(x, goal, weights, 0.5, True),
                    *native.max_pool(x.reshape(19, 79, 211), np.arange(19)),
                    native.dropout(x, 0.3, 11),
                    table,
                    active,
                ]
            )
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_nothing_comes_of_nothing(dtype):
    none, some = np.empty((0, 5), dtype), np.empty(0, np.int64)
    for ops in (native, reference):
        losses, dx = ops.softmax_cross_entropy(none, some, None, 1.0, 0.0, True)
        assert losses.shape == (0,)
        assert dx.shape == (0, 5)
        assert ops.sigmoid_cross_entropy(none, none, None, 1.0, False)[1] is None
        assert ops.dropout(none, 0.5, 0).shape == (0, 5)
        ops.scatter_add(np.ones((3, 5), dtype), some, none)
        y, steps = ops.max_pool(np.empty((2, 0, 5), dtype), None)
        assert (y == 0).all()
        assert (steps == -1).all()
