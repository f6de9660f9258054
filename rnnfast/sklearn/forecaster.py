"""`RNNForecaster`: several steps ahead, with exogenous columns and prediction intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import check_is_fitted

from rnnfast.checks import check_number
from rnnfast.sklearn.base import AUTO_BATCH, documented
from rnnfast.sklearn.inputs import kind_of, length
from rnnfast.sklearn.regressor import RNNRegressor
from rnnfast.tasks.conformal import half_widths
from rnnfast.tasks.forecasting import Frame, SeriesForecaster
from rnnfast.tasks.training import Training

WITHOUT = ("pooling", "embedding_size", "analyzer", "min_count", "standardize")


@documented(without=WITHOUT)
class RNNForecaster(RNNRegressor):
    """Forecast the steps after a window, all at once, with a recurrent network.

    Two ways to use it:

    **A series.** ``fit(series)`` without y takes rows in the order of time: an array (steps,) or (steps, columns), a
    DataFrame, or a list of these. The network learns from all windows in it; the columns that are not targets are
    exogenous: read, not forecast. ``forecast()`` tells what comes after the end of what was fitted and
    ``predict(history)`` what comes after another history. ``score(series)`` measures all forecasts within a series, so
    that ``cross_val_score(forecaster, series, cv=TimeSeriesSplit())`` works where each part holds at least a window
    and a horizon.

    **Windows.** ``fit(X, y)`` with X as said in ``rnnfast.sklearn``, each sample a window, and y what came after it,
    (samples,) or (samples, horizon), is `RNNRegressor` with intervals.

    Parameters
    ----------
    window : int or None, default None
        Steps that are read; None: 48, or a quarter of the shortest series if that is less. Windows that are given say
        it themselves: the number of their steps.
    horizon : int or None, default None
        Steps that are forecast; None: 1 for a series, for windows the columns of y.
    target : int, str, list of them or None, default None
        The column or columns of a series that are forecast; None: all.
    known : int, str, list of them or None, default None
        Exogenous columns whose values are known ahead, such as the day of the week. Forecasts then take ``future``.
    calibration_fraction : float or "auto", default "auto"
        Share at the end of what is fitted that training does not see, for intervals; 0: no intervals. "auto": 0.2 for
        a series, 0 for windows.
    {parameters}
    loss : {"squared_error", "absolute_error", "huber"}, default "squared_error"
        Of standardised targets; that of Huber with a delta of 1.

    Attributes
    ----------
    model_ : Sequential
        The network; ``rnnfast.save_model`` writes it.
    forecaster_ : SeriesForecaster
        The forecaster, if a series was fitted.
    errors_ : ndarray or None
        Truth less forecast on the calibration part; the first axis counts windows.
    window_, horizon_ : int
        As they are.
    n_features_in_, feature_names_in_
        Columns of the series, or as for `RNNRegressor`.
    n_iter_, loss_curve_, validation_loss_curve_
        As for `RNNRegressor`; with ``early_stopping`` the last part of a series before the calibration is held out.

    Notes
    -----
    Intervals are split conformal ones, ``forecast +- quantile of the absolute errors`` for each step of the horizon.
    They hold the truth as often as asked for, as far as the future errs like the calibration part.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.sklearn import RNNForecaster
    >>> series = np.sin(np.arange(400) / 5)
    >>> model = RNNForecaster(window=20, horizon=3, max_iter=20, random_state=0).fit(series)
    >>> model.forecast().shape
    (3,)
    >>> low, high = model.forecast_interval(0.9)
    >>> bool((low < high).all())
    True
    """

    pooling = "auto"
    embedding_size = 1
    analyzer = "word"
    min_count = 1
    standardize = True

    def __init__(
        self,
        window: int | None = None,
        horizon: int | None = None,
        target: Any = None,
        known: Any = None,
        calibration_fraction: float | str = "auto",
        cell: str = "lstm",
        hidden_size: int = 32,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        step_features: int = 1,
        max_iter: int = 100,
        batch_size: int | str = "auto",
        learning_rate: float = 0.01,
        weight_decay: float = 0.0,
        clip_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        max_seconds: float | None = None,
        warm_start: bool = False,
        verbose: bool = False,
        random_state: Any = None,
        loss: str = "squared_error",
    ) -> None:
        self.window = window
        self.horizon = horizon
        self.target = target
        self.known = known
        self.calibration_fraction = calibration_fraction
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.step_features = step_features
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.max_seconds = max_seconds
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state
        self.loss = loss

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> RNNForecaster:
        """Train on a series, or on windows and what came after them; return the estimator.

        Parameters
        ----------
        X : array_like or DataFrame (steps, columns) or (steps,), or list of them; windows where y is given
            The series.
        y : array_like (samples,) or (samples, horizon), optional
            What came after each window.
        sample_weight : array_like (samples,), optional
            Weights of windows.

        Raises
        ------
        TypeError, ValueError, IndexError
            If an argument does not fit.
        """
        if y is not None:
            return self._fit_windows(X, y, sample_weight)
        for name, value, plain in (("sample_weight", sample_weight, None), ("warm_start", self.warm_start, False)):
            if value is not plain:
                raise ValueError(f"{name} needs windows and y; got a series")
        if self.step_features != 1:
            raise ValueError(f"step_features is for windows; got {self.step_features} with a series")
        self._check_options()
        return self._fit_series(X)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> RNNForecaster:
        """Do one pass over some windows, at the full learning rate; return the estimator; as in `RNNRegressor`."""
        if hasattr(self, "forecaster_"):
            raise ValueError("partial_fit needs windows; this forecaster was fitted on a series")
        self._check_windows(y)
        super().partial_fit(X, y, sample_weight)
        self.horizon_, self.errors_ = len(self.target_mean_), getattr(self, "errors_", None)
        return self

    def predict(self, X: Any, future: Any = None) -> NDArray[np.float64]:
        """Return the forecast for what comes after X.

        Parameters
        ----------
        X : object
            Fitted on windows: windows. Fitted on a series: a history of at least ``window_`` steps, or a list of them.
        future : array_like or DataFrame (horizon, known columns), or list of them, optional
            Needed if and only if columns are known ahead.

        Returns
        -------
        ndarray
            (horizon,), or (horizon, targets) unless ``target`` is one column; for lists, windows and arrays of three
            axes with an axis of samples in front.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit.
        """
        check_is_fitted(self)
        if not hasattr(self, "forecaster_"):
            if future is not None:
                raise ValueError("future needs a forecaster that was fitted on a series with known columns")
            return super().predict(X)
        if not _is_many(X):
            return self._squeezed(self.forecaster_.predict(self._values(X), self._future(future)))
        futures = [None] * len(X) if future is None else future
        if len(futures) != len(X):
            raise ValueError(f"future must have {len(X)} entries, one for each history; got {len(futures)}")
        pairs = zip(X, futures, strict=True)
        return np.stack(
            [self._squeezed(self.forecaster_.predict(self._values(x), self._future(ahead))) for x, ahead in pairs]
        )

    def predict_interval(self, X: Any, coverage: float = 0.9, future: Any = None) -> tuple[Any, Any]:
        """Return the lower and upper ends of prediction intervals, each of the shape of `predict`.

        Parameters
        ----------
        X, future
            As in `predict`.
        coverage : float, default 0.9
            How often an interval of one step is to hold the truth. Ends are infinite where the calibration part is
            too small for it.

        Raises
        ------
        ValueError
            If there was no calibration, or an argument does not fit.
        """
        middle = self.predict(X, future) if hasattr(self, "forecaster_") else self.predict(X)
        width = self._half_widths(coverage)
        return middle - width, middle + width

    def forecast(self, future: Any = None) -> NDArray[np.float64]:
        """Return the forecast for what comes after the series that was fitted, as `predict` does for a history."""
        check_is_fitted(self)
        if getattr(self, "_end", None) is None:
            raise ValueError("forecast needs a forecaster that was fitted on one series; use predict")
        return self._squeezed(self.forecaster_.predict(self._end, self._future(future)))

    def forecast_interval(self, coverage: float = 0.9, future: Any = None) -> tuple[Any, Any]:
        """Return the ends of prediction intervals around `forecast`, as `predict_interval` does."""
        middle = self.forecast(future)
        width = self._half_widths(coverage)
        return middle - width, middle + width

    def backtest(self, X: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what came after each window of a series, and its forecast.

        Returns
        -------
        truth, forecast : ndarray (windows, horizon) or (windows, horizon, targets)
        """
        check_is_fitted(self)
        if not hasattr(self, "forecaster_"):
            raise ValueError("backtest needs a forecaster that was fitted on a series")
        truth, found = self.forecaster_.backtest(self._values(X))
        return (truth[..., 0], found[..., 0]) if self._single else (truth, found)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return R2, uniformly averaged over the steps of the horizon (and targets).

        Parameters
        ----------
        X : object
            With y: what `predict` takes. Without: a series, whose windows are forecast.
        y : array_like, optional
            The truth.
        sample_weight : array_like (samples,), optional
            Weights of windows.
        """
        if y is None:
            truth, found = self.backtest(X)
        else:
            truth, found = np.asarray(y, np.float64), self.predict(X)
            if hasattr(self, "forecaster_") and not _is_many(X):  # one sample
                return float(r2_score(truth.ravel(), found.ravel()))
        rows = len(truth)
        return float(r2_score(truth.reshape(rows, -1), found.reshape(rows, -1), sample_weight=sample_weight))

    def _fit_windows(self, X: Any, y: Any, sample_weight: Any) -> RNNForecaster:
        self._check_windows(y)
        share = 0.0 if self.calibration_fraction == "auto" else self._share()
        for name in ("forecaster_", "_end"):
            self.__dict__.pop(name, None)
        if not share:
            super().fit(X, y, sample_weight)
            self.errors_ = None
        else:
            count = length(X)
            first = count - max(1, round(share * count))
            if first < 1:
                raise ValueError(f"calibration_fraction={share:g} leaves nothing of n_samples = {count} to train on")
            early, late = np.arange(first), np.arange(first, count)
            weights = None if sample_weight is None else _safe_indexing(sample_weight, early)
            super().fit(_safe_indexing(X, early), _safe_indexing(y, early), weights)
            found = RNNRegressor.predict(self, _safe_indexing(X, late))
            self.errors_ = np.asarray(_safe_indexing(y, late), np.float64) - found
        self.horizon_ = len(self.target_mean_)
        return self

    def _check_windows(self, y: Any) -> None:
        for name in ("window", "target", "known"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} is for a series; with y, each sample is a window. Got {getattr(self, name)!r}"
                )
        truth = np.asarray(y)
        steps = truth.shape[1] if truth.ndim > 1 else 1
        if self.horizon is not None and self.horizon != steps:
            raise ValueError(f"y must have horizon = {self.horizon} columns; got {steps}")

    def _fit_series(self, X: Any) -> RNNForecaster:
        many = _is_many(X)
        parts = list(X) if many else [X]
        if not parts:
            raise ValueError("X must hold at least one series; got none")
        for name in ("feature_names_in_", "n_features_in_"):
            self.__dict__.pop(name, None)
        names = getattr(parts[0], "columns", None)
        if names is not None and all(isinstance(name, str) for name in names):
            self.feature_names_in_ = np.array(list(names), dtype=object)
        values = [self._values(part) for part in parts]
        self.n_features_in_ = values[0].shape[1]
        self._single = self.n_features_in_ == 1 or isinstance(self.target, (int, np.integer, str))
        targets = tuple(range(self.n_features_in_)) if self.target is None else self._places("target", self.target)
        known = () if self.known is None else self._places("known", self.known)
        shortest = min(map(len, values))
        window = max(1, min(48, shortest // 4)) if self.window is None else self.window
        frame = Frame(window, 1 if self.horizon is None else self.horizon, targets, known)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        training = Training(
            epochs=self.max_iter,
            seconds=self.max_seconds,
            batch_size=AUTO_BATCH if self.batch_size == "auto" else int(self.batch_size),
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            patience=self.n_iter_no_change,
            seed=seed,
            progress=bool(self.verbose),
        )
        floats = all(getattr(part, "dtype", None) == np.float32 for part in parts)
        self.forecaster_, history = SeriesForecaster.fit(
            values,
            frame,
            training,
            validation=self.validation_fraction if self.early_stopping else 0.0,
            calibration=0.2 if self.calibration_fraction == "auto" else self._share(),
            dtype=np.float32 if floats else np.float64,
            loss=self._loss(),
            seed=seed,
            network={
                "cell": self.cell,
                "hidden": self.hidden_size,
                "layers": self.num_layers,
                "bidirectional": self.bidirectional,
                "dropout": self.dropout,
            },
        )
        self.model_ = self.forecaster_.model  # type: ignore[assignment]
        self.window_, self.horizon_ = self.forecaster_.frame.window, self.forecaster_.frame.horizon
        self.errors_ = self.forecaster_.errors
        self.n_iter_ = history.epochs
        self.loss_curve_ = list(history["loss"])
        self.validation_loss_curve_ = list(history["val_loss"]) if self.early_stopping else []
        self._end = None if many else values[0][-self.window_ :].copy()
        return self

    def _half_widths(self, coverage: float) -> NDArray[np.float64]:
        if self.errors_ is None:
            raise ValueError("there are no intervals: set calibration_fraction above 0 and fit again")
        widths = half_widths(self.errors_, coverage)
        return widths[..., 0] if hasattr(self, "forecaster_") and self._single else widths

    def _share(self) -> float:
        return check_number("calibration_fraction", self.calibration_fraction, 0, 1, below=True)

    def _squeezed(self, found: NDArray[np.float64]) -> NDArray[np.float64]:
        return found[:, 0] if self._single else found

    def _values(self, series: Any) -> NDArray[np.float64]:
        """Return a series as an array (steps, columns); the names of a DataFrame must be those that were fitted."""
        columns = getattr(series, "columns", None)
        names = getattr(self, "feature_names_in_", None)
        if columns is not None and names is not None and list(columns) != list(names):
            raise ValueError(f"X must have the columns {', '.join(names)}; got {', '.join(map(str, columns))}")
        values = np.asarray(series)
        if values.dtype.kind not in "biuf":
            raise TypeError(f"X must hold real numbers; got dtype {values.dtype}")
        if values.ndim not in (1, 2):
            raise ValueError(f"X must have shape (steps,) or (steps, columns); got {values.shape}")
        return (values[:, None] if values.ndim == 1 else values).astype(np.float64)

    def _places(self, name: str, wanted: Any) -> tuple[int, ...]:
        """Return columns by name or place as places."""
        places = []
        for one in [wanted] if isinstance(wanted, (int, np.integer, str)) else list(wanted):
            if isinstance(one, str):
                names = list(getattr(self, "feature_names_in_", ()))
                if one not in names:
                    raise ValueError(
                        f"{name} must name a column of X, {', '.join(names) or 'which has no names'}; got {one!r}"
                    )
                places.append(names.index(one))
            else:
                places.append(int(one) + (self.n_features_in_ if one < 0 else 0))
        return tuple(places)

    def _future(self, future: Any) -> Any:
        """Return the values known ahead as an array (horizon, K), those of a DataFrame picked by name."""
        known = self.forecaster_.frame.known
        names = getattr(self, "feature_names_in_", None)
        if hasattr(future, "columns") and names is not None and known:
            wanted = [names[k] for k in known]
            missing = [name for name in wanted if name not in future.columns]
            if missing:
                raise ValueError(f"future must have the columns {', '.join(wanted)}; {missing[0]!r} is missing")
            future = future[wanted]
        if future is None:
            return None
        values = np.asarray(future)
        return values[:, None] if values.ndim == 1 else values


def _is_many(X: Any) -> bool:
    """Return whether X is several series."""
    if getattr(X, "ndim", 0) == 3:
        return True
    if not isinstance(X, (list, tuple)) or not len(X):
        return False
    return (hasattr(X[0], "ndim") and X[0].ndim > 0) or kind_of(X) == "steps"
