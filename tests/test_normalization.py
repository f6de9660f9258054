"""Native layer normalisation against its twin in NumPy, on every instruction set.

Tolerances. Results are compared with the reference in float64 on the same numbers, in long double for float64. A row's
normalised numbers, of sqrt(C) at most, err by the rounding of the variance, which is a sum of C positive terms in
chains of C / 2 at most, and by a few eps of their own; its gradients by a few eps of the largest |dy w|, times the
row's scale. Both are seen to be a few eps; 16 eps are allowed. Sums over R rows, of terms up to sqrt(C) |dy|, add eps
sqrt(R).
"""

import numpy as np
import pytest

from rnnfast._native import normalization as native
from rnnfast.layers import LayerNorm
from rnnfast.reference import normalization as reference
from rnnfast.threads import limit_threads

ROWS = [1, 2, 3, 4, 5, 7, 64, 65, 131]
COLUMNS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 65, 100]
EPS = 1e-5


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


def wide(dtype):
    return float if dtype == np.float32 else np.longdouble


def both_ways(module, x, dy, weight, bias, eps=EPS):
    """Return y, dx, dw and db."""
    y, saved = module.layer_norm(x, weight, bias, eps, True)
    return y, *module.layer_norm_gradients(dy, saved, weight)


def compare(x, dy, weight, bias, dtype, far=0.0):
    """Compare native with the reference in a wider type, all bounds as above; it gets x - far, which is exact there."""
    eps = 16 * np.finfo(dtype).eps
    found = both_ways(native, x, dy, weight, bias)
    more = [None if a is None else a.astype(wide(dtype)) for a in (x - wide(dtype)(far), dy, weight, bias)]
    expected = both_ways(reference, *more)
    factor = 1.0 if weight is None else np.abs(weight).max()
    rows, columns = x.shape
    deviation = 1 / np.sqrt(more[0].var(axis=1, keepdims=True) + EPS)
    given = np.abs(dy).max(initial=0)
    bounds = [
        eps * (factor * columns**0.5 + (0 if bias is None else np.abs(bias).max())),
        eps * factor * given * columns**0.5 * deviation,
        eps * given * columns**0.5 * rows**0.5,
        eps * given * rows**0.5,
    ]
    for what, a, b, bound in zip(("y", "dx", "dw", "db"), found, expected, bounds, strict=True):
        assert a.shape == b.shape
        assert a.dtype == dtype
        assert a.flags.c_contiguous
        worst = (np.abs(a - b) / bound).max(initial=0)
        assert worst <= 1, (what, x.shape, float(worst))


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_native_is_the_reference(isa, dtype, rng, weighted, biased):
    for rows in ROWS:
        for columns in COLUMNS:
            x, dy = rng.standard_normal((2, rows, columns)).astype(dtype)
            weight, bias = rng.standard_normal((2, columns)).astype(dtype)
            compare(x, dy, weight if weighted else None, bias if biased else None, dtype)


def test_native_is_the_reference_for_long_rows(isa, dtype, rng):
    for shape in ((2, 1001), (5, 4099), (37, 2050)):
        x, dy = rng.standard_normal((2, *shape)).astype(dtype)
        weight, bias = rng.standard_normal((2, shape[1])).astype(dtype)
        compare(x, dy, weight, bias, dtype)


@pytest.mark.parametrize("far", [100.0, -1e5])
def test_rows_far_from_zero_lose_nothing(isa, dtype, rng, far):
    """A mean that is rounded moves results by eps * far, up to thousands of times what is allowed here."""
    for columns in (3, 17, 64, 301):
        x = (rng.standard_normal((9, columns)) + far).astype(dtype)
        dy = rng.standard_normal(x.shape).astype(dtype)
        compare(x, dy, None, None, dtype, far)


def test_rows_of_one_value_give_the_bias(isa, dtype, rng):
    for columns in COLUMNS:
        x = np.repeat(rng.standard_normal((7, 1)) * 1e4, columns, axis=1).astype(dtype)
        weight, bias = rng.standard_normal((2, columns)).astype(dtype)
        y, saved = native.layer_norm(x, weight, bias, EPS, True)
        np.testing.assert_allclose(y, np.broadcast_to(bias, y.shape), rtol=0, atol=16 * np.finfo(dtype).eps)
        dx, _, _ = native.layer_norm_gradients(x, saved, None)
        assert np.isfinite(dx).all()


def test_a_small_eps_is_not_rounded_away(isa, dtype):
    x = np.array([[1e-12, -1e-12]], dtype)
    y, _ = native.layer_norm(x, None, None, 1e-24, False)
    np.testing.assert_allclose(y, [[0.5**0.5, -(0.5**0.5)]], rtol=4e-7)


def test_a_row_does_not_know_its_neighbours(isa, dtype, rng):
    """Rows go four side by side where there are four: those alone must have the same bits."""
    for columns in COLUMNS:
        x, dy = rng.standard_normal((2, 71, columns)).astype(dtype)
        weight, bias = rng.standard_normal((2, columns)).astype(dtype)
        y, dx, _, _ = both_ways(native, x, dy, weight, bias)
        for r in (0, 3, 5, 70):
            own = both_ways(native, x[r : r + 1], dy[r : r + 1], weight, bias)
            np.testing.assert_array_equal(own[0], y[r : r + 1])
            np.testing.assert_array_equal(own[1], dx[r : r + 1])
            np.testing.assert_array_equal(own[3], dy[r])
        np.testing.assert_array_equal(native.layer_norm(x, weight, bias, EPS, False)[0], y)


def test_threads_change_no_bit(isa, dtype, rng):
    for shape in ((1501, 211), (40, 5003), (3, 70001)):
        x, dy = rng.standard_normal((2, *shape)).astype(dtype)
        weight, bias = rng.standard_normal((2, shape[1])).astype(dtype)
        results = []
        for threads in (1, 2, 3, 7):
            with limit_threads(threads):
                results.append(both_ways(native, x, dy, weight, bias))
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(a, b)


def test_many_rows_are_summed_as_exactly_as_few(isa):
    """One chain of float32 through all of them would be off by some 1e-3 of the sum."""
    dy = np.full((200_000, 1), 0.1, np.float32)
    _, _, dw, db = both_ways(native, np.zeros_like(dy), dy, None, None)
    np.testing.assert_allclose(db, dy.astype(float).sum(axis=0), rtol=1e-6)
    assert dw == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_stays_in_its_row_and_column(isa, dtype, rng, bad):
    for columns in (1, 5, 16, 37):
        for place in {0, columns // 2, columns - 1}:
            x, dy = rng.standard_normal((2, 6, columns)).astype(dtype)
            others = np.arange(6) != 2
            broken = x.copy()
            broken[2, place] = bad
            y, dx, dw, db = both_ways(native, broken, dy, None, None)
            whole = both_ways(native, x, dy, None, None)
            assert np.isnan(y[2]).all()
            assert np.isnan(dx[2]).all()
            assert np.isnan(dw).all()  # every column had a part of that row
            for k, part in enumerate((y, dx)):
                np.testing.assert_array_equal(part[others], whole[k][others])
            np.testing.assert_array_equal(db, whole[3])
            broken = dy.copy()
            broken[2, place] = bad
            y, dx, dw, db = both_ways(native, x, broken, None, None)
            assert not np.isfinite(dx[2]).any()
            np.testing.assert_array_equal(dx[others], whole[1][others])
            np.testing.assert_array_equal(np.isfinite(db), np.arange(columns) != place)
            if columns > 1:  # the normalised number of a row of one is 0
                np.testing.assert_array_equal(np.isfinite(dw), np.arange(columns) != place)


def test_strides_and_other_dtypes(isa, dtype, rng):
    x, dy = rng.standard_normal((2, 13, 19)).astype(dtype)
    weight, bias = rng.standard_normal((2, 19)).astype(dtype)
    expected = both_ways(native, x, dy, weight, bias)
    views = [
        lambda a: np.asfortranarray(a),
        lambda a: a[..., ::-1].copy()[..., ::-1],
        lambda a: a.repeat(2, -1)[..., ::2],
    ]
    for view in views:
        arrays = [view(a) for a in (x, dy, weight, bias)]
        for a in arrays:
            a.flags.writeable = False
        for a, b in zip(both_ways(native, *arrays), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    others = [a.astype(np.longdouble) for a in (dy, weight, bias)]  # as a graph may mix them
    for a, b in zip(both_ways(native, x, *others), expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("other", ["f2", "i4", "i8", ">f4", ">f8", "?"])
def test_other_numbers_are_refused(other):
    with pytest.raises(TypeError, match="x must be float32 or float64; got"):
        native.layer_norm(np.zeros((2, 3), other), None, None, EPS, False)


def test_nothing_comes_of_nothing(dtype):
    for shape in ((0, 5), (0, 0)):
        none = np.empty(shape, dtype)
        for save in (True, False):
            y, saved = native.layer_norm(none, None, None, EPS, save)
            assert y.shape == shape
            assert (saved is None) == (not save)
        dx, dw, db = both_ways(native, none, none, None, None)[1:]
        assert dx.shape == shape
        np.testing.assert_array_equal(dw, np.zeros(shape[1], dtype), strict=True)
        np.testing.assert_array_equal(db, np.zeros(shape[1], dtype), strict=True)


def test_what_is_kept_is_x_and_three_numbers_for_each_row(dtype, rng):
    x = rng.standard_normal((50, 40)).astype(dtype)
    _, saved = native.layer_norm(x, None, None, EPS, True)
    assert [a.shape for a in saved if not np.shares_memory(a, x)] == [(50, 3)]


def test_the_parameters_gradients_can_be_added_to(rng):
    """They come out of one block of memory, and a caller goes on adding to what it was given."""
    layer = LayerNorm(5)
    x, dy = rng.standard_normal((2, 200, 5)).astype(np.float32)
    grads = {}
    layer.forward(x)[1](dy, grads)
    once = {name: total.copy() for name, total in grads.items()}
    layer.forward(x)[1](dy, grads)
    for name, total in grads.items():
        np.testing.assert_array_equal(total, 2 * once[name])
