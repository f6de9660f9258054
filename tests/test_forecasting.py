"""Forecasts of several steps: windows, columns known ahead, conformal intervals, files, and the estimator."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnfast.tasks.conformal import half_widths, least_size
from rnnfast.tasks.forecasting import Frame, SeriesForecaster
from rnnfast.tasks.training import Training

QUICK = Training(epochs=15, batch_size=64, lr=0.02)


def wave(steps=300, noise=0.0, rng=None):
    values = 10 + np.sin(np.arange(steps) / 4)
    return values if rng is None else values + noise * rng.standard_normal(steps)


def test_windows_are_the_columns_and_what_is_known_ahead():
    series = np.arange(60.0).reshape(20, 3)
    scaled, frame = series / 10, Frame(4, 2, (1,), (0, 2))
    own = SeriesForecaster(None, frame, None)
    x, changes = own._windows(scaled)
    assert x.shape == (15, 4, 5) and changes.shape == (15, 2)
    for n in range(15):
        assert np.array_equal(x[n, :, :3], scaled[n : n + 4])
        assert np.array_equal(x[n, :, 3:], scaled[n + 2 : n + 6][:, [0, 2]])
        assert np.allclose(changes[n], scaled[n + 4 : n + 6, 1] - scaled[n + 3, 1])


def test_no_target_is_in_two_parts():
    own = SeriesForecaster.fit([wave(100)[:, None]], Frame(5, 4, (0,)), QUICK._replace(epochs=1), validation=0.2)[0]
    windows = 100 - 5 - 4 + 1
    assert len(own.errors) == round(0.2 * windows) - 3


def test_it_learns_a_wave_and_beats_repetition(rng):
    series = wave(noise=0.05, rng=rng)[:, None]
    own, history = SeriesForecaster.fit([series[:250]], Frame(16, 3, (0,)), QUICK, network={"hidden": 16})
    truth, found = own.backtest(series[230:])
    still = series[230 + 15 : 230 + 15 + len(truth)][:, None]
    assert history.epochs == 15 and np.abs(truth - found).mean() < 0.3 * np.abs(truth - still).mean()
    assert np.allclose(own.predict(series[:250]), own.backtest(series[234:253])[1][0])


def test_what_is_known_ahead_is_used(rng):
    price = rng.standard_normal(400)
    sales = np.concatenate([[0], 2 * price[1:]])  # of the same step, so that the past says nothing
    series = np.stack([sales, price], axis=1)
    blind = SeriesForecaster.fit([series[:350]], Frame(4, 2, (0,)), QUICK, seed=1)[0]
    seeing = SeriesForecaster.fit([series[:350]], Frame(4, 2, (0,), (1,)), QUICK, seed=1)[0]
    wrong = [np.abs(np.subtract(*own.backtest(series[350:]))).mean() for own in (blind, seeing)]
    assert wrong[1] < 0.3 * wrong[0]
    ahead = seeing.predict(series[:350], price[350:352, None])
    assert np.allclose(ahead, seeing.backtest(series[346:352])[1][0]) and ahead.shape == (2, 1)
    for bad in (None, price[350:351, None], np.full((2, 1), np.nan)):
        with pytest.raises(ValueError, match="future"):
            seeing.predict(series[:350], bad)
    with pytest.raises(ValueError, match="future must be left out"):
        blind.predict(series[:350], price[350:352, None])


def test_saved_and_read_again(rng):
    own = SeriesForecaster.fit([wave(noise=0.1, rng=rng)[:, None]], Frame(8, 2, (0,)), QUICK._replace(epochs=2))[0]
    again = SeriesForecaster.from_state_dict(own.model, own.state_dict())
    series = wave(50)[:, None]
    assert np.array_equal(own.predict(series), again.predict(series))
    for coverage in (0.5, 0.9):
        assert np.array_equal(own.half_widths(coverage), again.half_widths(coverage))
    assert (again.half_widths(0.801) == own.half_widths(0.81)).all()
    assert np.isinf(again.half_widths(0.999)).all() and np.isinf(own.half_widths(0.99)).all()


@given(st.integers(1, 200), st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
def test_intervals_hold_at_least_as_many_as_asked(count, coverage, seed):
    errors = np.random.default_rng(seed).standard_normal((count, 2))
    widths = half_widths(errors, coverage)
    held = (np.abs(errors) <= widths).sum(axis=0)
    rank = np.ceil((count + 1) * coverage - 1e-9)
    assert np.isinf(widths).all() if rank > count else (held == rank).all()
    assert np.isfinite(widths).all() == (count >= least_size(coverage))


def test_coverage_of_new_draws(rng):
    """Over many calibrations the chance to hold a new error is what was asked for, or up to 1 / (N + 1) above."""
    errors = rng.standard_t(3, (20_000, 20))
    held = np.mean([abs(row[-1]) <= half_widths(row[:-1], 0.8) for row in errors])
    assert 0.8 - 0.01 < held < 0.8 + 1 / 20 + 0.01


@pytest.mark.parametrize(
    ("frame", "error", "message"),
    [
        (Frame(0, 1, (0,)), ValueError, "window must be at least 1"),
        (Frame(5, 1, (2,)), IndexError, "target must name columns 0..1; got 2"),
        (Frame(5, 1, ()), ValueError, "target must name at least one"),
        (Frame(5, 1, (0,), (0,)), ValueError, "known must not name a target"),
        (Frame(2, 3, (0,), (1,)), ValueError, "window must be at least the horizon"),
        (Frame(28, 3, (0,)), ValueError, r"window \+ horizon = 31 steps; got 30"),
        (Frame(24, 3, (0,)), ValueError, "too short"),
    ],
)
def test_bad_frames(frame, error, message):
    with pytest.raises(error, match=message):
        SeriesForecaster.fit([np.zeros((30, 2))], frame, QUICK)


def test_bad_series(rng):
    own = SeriesForecaster.fit([wave(60)[:, None]], Frame(8, 2, (0,)), QUICK._replace(epochs=1), calibration=0.0)[0]
    with pytest.raises(ValueError, match="at least window = 8 steps; got 5"):
        own.predict(np.zeros((5, 1)))
    with pytest.raises(ValueError, match="nan in step 3, column 0"):
        own.predict(np.array([[0.0]] * 3 + [[np.nan]] + [[0.0]] * 9))
    with pytest.raises(ValueError, match="there are no intervals"):
        own.half_widths(0.9)
    with pytest.raises(ValueError, match="coverage"):
        half_widths(np.ones((3, 1)), 1.0)


class TestEstimator:
    """`RNNForecaster`; that it passes scikit-learn's checks is shown in test_sklearn.py."""

    @pytest.fixture
    def estimator(self):
        pytest.importorskip("sklearn")
        from rnnfast.sklearn import RNNForecaster

        def make(**options):
            return RNNForecaster(
                **{"hidden_size": 16, "max_iter": 15, "learning_rate": 0.02, "random_state": 0, **options}
            )

        return make

    def test_a_series(self, estimator, rng):
        series = wave(noise=0.05, rng=rng)
        model = estimator(window=16, horizon=3).fit(series[:250])
        found = model.forecast()
        assert found.shape == (3,) and np.abs(found - series[250:253]).max() < 0.5
        assert np.array_equal(found, model.predict(series[:250]))
        low, high = model.forecast_interval(0.8)
        assert (low < found).all() and (found < high).all()
        wide = model.predict_interval(series[:250], 0.95)
        assert (wide[0] < low).all() and (high < wide[1]).all()
        truth, forecast = model.backtest(series[200:])
        assert truth.shape == forecast.shape == (82, 3) and model.score(series[200:]) > 0.8
        width = (model.forecast_interval(0.9)[1] - found)[None]
        assert 0.75 < (np.abs(truth - forecast) <= width).mean() <= 1

    def test_tools_of_scikit_learn(self, estimator, rng):
        from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_score
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        series = np.stack([wave(noise=0.05, rng=rng), np.arange(300.0)], axis=1)
        model = estimator(window=12, horizon=2, target=0)
        assert cross_val_score(model, series, cv=TimeSeriesSplit(2)).max() > 0.7
        search = GridSearchCV(model, {"cell": ["gru", "rnn"]}, cv=TimeSeriesSplit(2)).fit(series)
        assert search.best_score_ > 0.7 and search.predict(series).shape == (2,)
        assert make_pipeline(StandardScaler(), model).fit(series).predict(series).shape == (2,)

    def test_data_frames_and_columns_known_ahead(self, estimator, rng):
        pandas = pytest.importorskip("pandas")
        price = rng.standard_normal(300)
        frame = pandas.DataFrame({"sales": 2 * price, "price": price, "noise": rng.standard_normal(300)})
        model = estimator(window=6, horizon=2, target="sales", known=["price"]).fit(frame[:250])
        assert model.score(frame[250:]) > 0.8 and model.feature_names_in_.tolist() == ["sales", "price", "noise"]
        by_frame, by_array = model.forecast(frame[250:252]), model.forecast(price[250:252])
        assert np.array_equal(by_frame, by_array) and by_frame.shape == (2,)
        both = estimator(window=6, target=["sales", "noise"], known="price", max_iter=1).fit(frame)
        assert both.predict(frame, price[:1]).shape == (1, 2)
        for bad, message in (
            ({"target": "cost"}, "target must name a column of X, sales, price, noise; got 'cost'"),
            ({"known": [5], "target": 0}, "known must name columns"),
        ):
            with pytest.raises((ValueError, IndexError), match=message):
                estimator(**bad).fit(frame)
        with pytest.raises(ValueError, match="'price' is missing"):
            model.forecast(frame[["noise"]][:2])
        with pytest.raises(ValueError, match="X must have the columns sales, price, noise"):
            model.predict(frame[["price", "sales", "noise"]], price[:2])

    def test_several_series(self, estimator):
        parts = [wave(80), wave(120)[:, None] + 3]
        model = estimator(window=8, horizon=2).fit(parts)
        assert model.predict(parts).shape == (2, 2) and model.predict(np.stack([parts[1]] * 3)).shape == (3, 2)
        with pytest.raises(ValueError, match="one series"):
            model.forecast()

    def test_windows_that_are_given(self, estimator, rng):
        X = rng.standard_normal((120, 8, 2))
        y = np.stack([X[:, -1, 0], X[:, -1, 1]], axis=1)
        model = estimator(max_iter=40, calibration_fraction=0.25, horizon=2).fit(X, y)
        low, high = model.predict_interval(X, 0.9)
        assert model.errors_.shape == (30, 2) and ((low <= y) & (y <= high)).mean() > 0.8
        assert model.horizon_ == 2 and model.score(X, y) > 0.8
        with pytest.raises(ValueError, match="set calibration_fraction above 0"):
            estimator(max_iter=1).fit(X, y).predict_interval(X)

    @pytest.mark.parametrize(
        ("options", "arguments", "message"),
        [
            ({"window": 3}, {"y": [0, 1]}, "window is for a series"),
            ({"horizon": 3}, {"y": [0, 1]}, "y must have horizon = 3 columns; got 1"),
            ({"warm_start": True}, {}, "warm_start needs windows"),
            ({"step_features": 2}, {}, "step_features is for windows"),
            ({}, {"sample_weight": [1, 1]}, "sample_weight needs windows"),
            ({"calibration_fraction": 1.5}, {}, "calibration_fraction must lie in"),
        ],
    )
    def test_bad_arguments(self, options, arguments, message, estimator):
        with pytest.raises(ValueError, match=message):
            estimator(**options).fit(np.zeros((2, 50)) if "y" in arguments else np.arange(100.0), **arguments)
