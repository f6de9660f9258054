"""`RNNRegressor`: one number, or several, for each sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length, column_or_1d

from rnnfast.checks import check_choice
from rnnfast.losses import Huber, Loss, MeanAbsolute, MeanSquared
from rnnfast.sklearn.base import RNNEstimator, documented
from rnnfast.sklearn.inputs import Sequences

LOSSES: dict[str, type[Loss]] = {"squared_error": MeanSquared, "absolute_error": MeanAbsolute, "huber": Huber}


@documented()
class RNNRegressor(RegressorMixin, RNNEstimator):
    """Predict numbers from sequences with a recurrent network.

    X is as said in ``rnnfast.sklearn``, y (samples,) or (samples, outputs). Targets are standardised for training.

    Parameters
    ----------
    {parameters}
    loss : {"squared_error", "absolute_error", "huber"}, default "squared_error"
        Of standardised targets; that of Huber with a delta of 1.

    Attributes
    ----------
    model_ : Sequential
        The network; ``rnnfast.save_model`` writes it.
    n_iter_ : int
        Passes over the data so far.
    loss_curve_, validation_loss_curve_ : list of float
        Losses by pass, of standardised targets.
    n_features_in_ : int
        Columns of a table in `fit`, else features of a step.
    feature_names_in_ : ndarray of str
        Their names, where `fit` was given DataFrames.
    kind_ : str
        What `fit` was given: "table", "steps" or "tokens".
    mean_, scale_ : ndarray
        What each feature of a step is standardised by.
    target_mean_, target_scale_ : ndarray (outputs,)
        What targets are standardised by.
    vocabulary_ : Vocabulary
        Of texts or tokens.

    Notes
    -----
    Computation is in float32 if X is, and in float64 otherwise; texts are computed in float32.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.sklearn import RNNRegressor
    >>> X = np.random.default_rng(0).standard_normal((200, 10))
    >>> model = RNNRegressor(max_iter=50, random_state=0).fit(X, X.sum(axis=1))
    >>> model.score(X, X.sum(axis=1)) > 0.9
    True
    """

    def __init__(
        self,
        cell: str = "lstm",
        hidden_size: int = 32,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        pooling: str = "auto",
        embedding_size: int = 32,
        analyzer: str = "word",
        min_count: int = 1,
        standardize: bool = True,
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
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.pooling = pooling
        self.embedding_size = embedding_size
        self.analyzer = analyzer
        self.min_count = min_count
        self.standardize = standardize
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
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> RNNRegressor:
        """Train on sequences and their numbers; return the estimator.

        Parameters
        ----------
        X : array_like, DataFrame or list of sequences
            See ``rnnfast.sklearn``.
        y : array_like (samples,) or (samples, outputs)
            Targets.
        sample_weight : array_like (samples,), optional
            Weights of the samples, at least 0. To weigh a sample 2 is to have it twice, up to the order of batches.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit.
        """
        self._train(X, y, sample_weight, begin=self._begins(), epochs=None)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> RNNRegressor:
        """Do one pass over some samples, at the full learning rate; return the estimator.

        Arguments and errors are those of `fit`. The first call learns the scales or the vocabulary.
        """
        self._train(X, y, sample_weight, begin=not hasattr(self, "model_"), epochs=1)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the prediction for each sequence, of the shape that y had."""
        out = self._predicted(X).astype(np.float64) * self.target_scale_ + self.target_mean_
        return out[:, 0] if self._flat else out

    def _loss(self) -> Loss:
        return LOSSES[check_choice("loss", self.loss, tuple(LOSSES))]()

    def _num_outputs(self) -> int:
        return len(self.target_mean_)

    def _encode_targets(self, y: Any, found: Sequences, begin: bool) -> NDArray[np.float64]:
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        target = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", estimator=self)
        if target.ndim > 2:
            raise ValueError(f"y must have shape (samples,) or (samples, outputs); got {target.shape}")
        check_consistent_length(found.data, target)
        flat = target.ndim == 1
        if flat:
            target = column_or_1d(target)[:, None]
        if begin:
            self._flat = flat
        elif target.shape[1] != len(self.target_mean_):
            raise ValueError(f"y must have {len(self.target_mean_)} outputs as in the first fit; got {target.shape[1]}")
        return np.asarray(target)

    def _learn_targets(self, target: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
        total = weights.sum()
        self.target_mean_ = weights @ target / total
        deviation = np.sqrt(weights @ np.square(target - self.target_mean_) / total)
        changes = deviation > 1e-12 * np.maximum(1.0, np.abs(self.target_mean_))
        self.target_scale_ = np.where(changes, deviation, 1.0)

    def _scaled_targets(self, target: NDArray[np.float64]) -> Any:
        return ((target - self.target_mean_) / self.target_scale_).astype(self._dtype)
