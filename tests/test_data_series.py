"""Windows, chronological splits, scalers and gaps."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnfast.data import (
    MinMaxScaler,
    Standardizer,
    fill_missing,
    scaler_from_state_dict,
    sliding_windows,
    split_chronologically,
)

nan = np.nan


@given(
    steps=st.integers(1, 30),
    columns=st.integers(0, 3),
    window=st.integers(1, 6),
    horizon=st.integers(0, 4),
    step=st.integers(1, 5),
)
def test_windows_equal_a_loop(steps, columns, window, horizon, step):
    series = np.arange(steps * max(columns, 1), dtype=np.float32).reshape((steps, columns) if columns else (steps,))
    starts = range(0, steps - window - horizon + 1, step)
    if not len(starts):
        with pytest.raises(ValueError, match="at least window"):
            sliding_windows(series, window, horizon, step)
        return
    x, y = sliding_windows(series, window, horizon, step)
    flat = series.reshape(steps, -1)
    np.testing.assert_array_equal(x, np.stack([flat[s : s + window] for s in starts]))
    np.testing.assert_array_equal(y, np.stack([series[s + window : s + window + horizon] for s in starts]))
    assert x.dtype == y.dtype == np.float32


def test_windows_are_views_and_read_only():
    series = np.arange(20.0).reshape(10, 2)[:, ::-1]
    x, y = sliding_windows(series, 3, 2, target=0)
    assert np.shares_memory(x, series) and np.shares_memory(y, series)
    assert not x.flags.writeable and not y.flags.writeable


@pytest.mark.parametrize(
    ("target", "shape"), [(0, (7, 1)), (-1, (7, 1)), ([1], (7, 1, 1)), ([2, 0], (7, 1, 2)), (None, (7, 1, 3))]
)
def test_windows_target(target, shape):
    series = np.arange(30.0).reshape(10, 3)
    _, y = sliding_windows(series, 3, target=target)
    assert y.shape == shape
    wanted = series if target is None else series[:, target]
    np.testing.assert_array_equal(y[:, 0], wanted[3:])


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((np.zeros((2, 2, 2)), 1), ValueError, "series must have shape"),
        ((["a", "b"], 1), TypeError, "series must hold real"),
        (([[1, 2], [3]], 1), ValueError, "series must be a rectangular"),
        ((np.zeros(4), 0), ValueError, "window must be at least 1"),
        ((np.zeros(4), 1.5), TypeError, "window must be an integer"),
        ((np.zeros(4), 2, -1), ValueError, "horizon must be at least 0"),
        ((np.zeros(4), 2, 1, 0), ValueError, "step must be at least 1"),
        ((np.zeros(4), 4), ValueError, "at least window \\+ horizon = 5 steps; got 4"),
        ((np.zeros((4, 2)), 2, 1, 1, 2), IndexError, "target must lie in 0..1"),
        ((np.zeros((4, 2)), 2, 1, 1, -3), IndexError, "target must lie in 0..1"),
        ((np.zeros((4, 2)), 2, 1, 1, "a"), TypeError, "target must be integers"),
        ((np.zeros((4, 2)), 2, 1, 1, []), ValueError, "target must be a column"),
    ],
)
def test_windows_refuse(arguments, error, match):
    with pytest.raises(error, match=match):
        sliding_windows(*arguments)


def test_split_keeps_order_and_every_row():
    rows = np.arange(3650)
    train, test = split_chronologically(rows)
    assert len(train) == 2920 and np.shares_memory(train, rows)
    np.testing.assert_array_equal(np.concatenate([train, test]), rows)
    parts = split_chronologically(np.arange(10), (0.1, 0.2, 0.7), gap=0)
    assert [part.tolist() for part in parts] == [[0], [1, 2], [3, 4, 5, 6, 7, 8, 9]]
    train, test = split_chronologically(np.arange(10), gap=3)
    assert train.tolist() == [0, 1, 2, 3, 4] and test.tolist() == [8, 9]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((np.zeros(10), (0.5, 0.4)), ValueError, "fractions must add up to 1"),
        ((np.zeros(10), (0.0, 1.0)), ValueError, "fractions must lie in"),
        ((np.zeros(10), ("a", 1.0)), TypeError, "fractions must be a real number"),
        ((np.zeros(3), (0.9, 0.05, 0.05)), ValueError, "too few"),
        ((np.zeros(10), (0.8, 0.2), 8), ValueError, "too few"),
        ((5.0,), ValueError, "first axis"),
    ],
)
def test_split_refuses(arguments, error, match):
    with pytest.raises(error, match=match):
        split_chronologically(*arguments)


SCALERS = [Standardizer, MinMaxScaler, lambda: MinMaxScaler(-1.0, 3.0)]


@pytest.mark.parametrize("make", SCALERS)
@pytest.mark.parametrize("shape", [(7,), (7, 3), (4, 7, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_scaler_inverts(make, shape, dtype):
    x = (np.random.default_rng(0).normal(size=shape) * 100).astype(dtype)
    scaler = make().fit(x[::1])
    back = scaler.inverse_transform(scaler.transform(x))
    assert back.dtype == (np.float32 if dtype == np.float32 else np.float64)
    np.testing.assert_allclose(back, x, rtol=1e-5 if dtype == np.float32 else 1e-13, atol=1e-4 * (dtype == np.float32))


def test_standardizer_statistics_leave_nan_out():
    x = np.random.default_rng(1).normal(5, 2, (50, 3))
    x[3:9, 1] = nan
    scaled = Standardizer().fit_transform(x)
    np.testing.assert_allclose(np.nanmean(scaled, axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(np.nanstd(scaled, axis=0), 1, rtol=1e-13)
    np.testing.assert_array_equal(np.isnan(scaled), np.isnan(x))


def test_minmax_range():
    scaled = MinMaxScaler(-1, 3).fit_transform(np.array([[1.0, nan], [5.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(scaled, [[-1, nan], [3, -1], [1, 3]])


@pytest.mark.parametrize("make", SCALERS)
@pytest.mark.parametrize("value", [0.1, 0.0, -7.3, 1e150])
def test_scaler_constant_column(make, value):
    x = np.full((10, 1), value)
    scaler = make().fit(x)
    scaled = scaler.transform(x)
    assert np.isfinite(scaled).all() and np.ptp(scaled) == 0
    np.testing.assert_allclose(scaler.inverse_transform(scaled), x, rtol=1e-15)


@pytest.mark.parametrize("make", SCALERS)
def test_scaler_extremes(make):
    x = np.array([-1e150, 0.0, 1e150, 5e-324])
    scaled = make().fit_transform(x)
    assert np.isfinite(scaled).all() and scaled[0] < scaled[1] < scaled[2]
    assert np.isfinite(make().fit_transform(np.array([0.0, 5e-324]))).all()


@pytest.mark.parametrize("make", SCALERS)
def test_scaler_state_survives_json(make):
    x = np.random.default_rng(2).normal(size=(20, 3))
    for fitted in (make().fit(x), make().fit(x[:, 0])):
        again = scaler_from_state_dict(json.loads(json.dumps(fitted.state_dict())))
        assert type(again) is type(fitted)
        y = x if np.ndim(fitted.offset) else x[:, 0]
        np.testing.assert_array_equal(again.transform(y), fitted.transform(y))


def test_scaler_column():
    x = np.random.default_rng(2).normal(size=(20, 3))
    scaler = Standardizer().fit(x)
    np.testing.assert_array_equal(scaler.column(-1).transform(x[:, 2]), scaler.transform(x)[:, 2])
    with pytest.raises(IndexError, match="3 columns; got 3"):
        scaler.column(3)


def test_scaler_fit_does_not_change_its_input():
    x = np.arange(6.0).reshape(3, 2)
    x.flags.writeable = False
    Standardizer().fit_transform(x)
    MinMaxScaler().fit_transform(x)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: Standardizer().transform([1.0]), ValueError, "call fit first"),
        (lambda: Standardizer().fit([nan, nan]), ValueError, "no value to learn from"),
        (lambda: Standardizer().fit([[1, nan], [2, nan]]), ValueError, "in column 1"),
        (lambda: Standardizer().fit(np.zeros((0, 2))), ValueError, "no value"),
        (lambda: Standardizer().fit([np.inf, 1]), ValueError, "infinite"),
        (lambda: MinMaxScaler().fit([1e151, 1]), ValueError, "beyond 1e150"),
        (lambda: Standardizer().fit(["a"]), TypeError, "real numbers"),
        (lambda: Standardizer().fit(np.zeros((2, 3))).transform(np.zeros((2, 2))), ValueError, "3 columns"),
        (lambda: MinMaxScaler(1, 1), ValueError, "high must lie in"),
        (lambda: MinMaxScaler(nan), ValueError, "low must be finite"),
        (lambda: scaler_from_state_dict({"kind": "os.system"}), ValueError, "kind 'os.system'"),
        (lambda: scaler_from_state_dict({"kind": "minmax", "offset": 1}), KeyError, "fields"),
        (
            lambda: scaler_from_state_dict({"kind": "standard", "offset": [0.0], "scale": [0.0]}),
            ValueError,
            "positive scales",
        ),
        (
            lambda: scaler_from_state_dict({"kind": "standard", "offset": [0.0], "scale": [1.0, 2.0]}),
            ValueError,
            "as many",
        ),
        (lambda: scaler_from_state_dict({"kind": "standard", "offset": "a", "scale": "b"}), TypeError, "offset"),
    ],
)
def test_scaler_refuses(call, error, match):
    with pytest.raises(error, match=match):
        call()


SERIES = [nan, 2.0, nan, nan, 8.0, nan]


@pytest.mark.parametrize(
    ("method", "value", "filled"),
    [
        ("forward", None, [2, 2, 2, 2, 8, 8]),
        ("linear", None, [2, 2, 4, 6, 8, 8]),
        ("mean", None, [5, 2, 5, 5, 8, 5]),
        ("constant", -1, [-1, 2, -1, -1, 8, -1]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fill_missing(method, value, filled, dtype):
    series = np.array(SERIES, dtype)
    before = series.copy()
    result = fill_missing(series, method, value)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, filled)
    np.testing.assert_array_equal(series, before)
    two = np.stack([series, np.arange(6, dtype=dtype)], axis=1)[:, ::-1]
    np.testing.assert_array_equal(fill_missing(two, method, value), np.stack([np.arange(6), filled], axis=1))


def test_fill_missing_without_gaps_copies():
    assert fill_missing([1, 2]).tolist() == [1.0, 2.0]
    assert fill_missing([]).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (([nan],), ValueError, "no value to fill"),
        (([[1, nan]], "linear"), ValueError, "in column 1"),
        (([1.0], "cubic"), ValueError, "method must be one of"),
        (([1.0], "constant"), ValueError, "value must be given"),
        (([1.0], "mean", 3), ValueError, "value must be given"),
        (([1.0], "constant", nan), ValueError, "value must be finite"),
        (([np.inf],), ValueError, "infinite"),
        ((["x"],), TypeError, "real numbers"),
        ((np.zeros((1, 1, 1)),), ValueError, "shape"),
    ],
)
def test_fill_missing_refuses(arguments, error, match):
    with pytest.raises(error, match=match):
        fill_missing(*arguments)
