"""`RNNClassifier`: one of several classes for each sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, column_or_1d

from rnnfast.losses import Loss, SoftmaxCrossEntropy
from rnnfast.sklearn.base import RNNEstimator, documented
from rnnfast.sklearn.inputs import Sequences


@documented()
class RNNClassifier(ClassifierMixin, RNNEstimator):
    """Classify sequences with a recurrent network.

    X is as said in ``rnnfast.sklearn``, y one label for each sequence, of any kind.

    Parameters
    ----------
    {parameters}
    class_weight : dict, "balanced" or None, default None
        Weights of the classes, as in scikit-learn.
    label_smoothing : float, default 0.0
        Share of each target that is spread evenly over all classes.

    Attributes
    ----------
    classes_ : ndarray
        The labels.
    model_ : Sequential
        The network; ``rnnfast.save_model`` writes it.
    n_iter_ : int
        Passes over the data so far.
    loss_curve_, validation_loss_curve_ : list of float
        Losses by pass.
    n_features_in_ : int
        Columns of a table in `fit`, else features of a step.
    feature_names_in_ : ndarray of str
        Their names, where `fit` was given DataFrames.
    kind_ : str
        What `fit` was given: "table", "steps" or "tokens".
    mean_, scale_ : ndarray
        What each feature of a step is standardised by.
    vocabulary_ : Vocabulary
        Of texts or tokens.

    Notes
    -----
    Computation is in float32 if X is, and in float64 otherwise; texts are computed in float32.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.sklearn import RNNClassifier
    >>> X = np.random.default_rng(0).standard_normal((200, 10)).cumsum(axis=1)
    >>> y = np.where(X[:, -1] > 0, "up", "down")
    >>> RNNClassifier(max_iter=30, random_state=0).fit(X, y).score(X, y) > 0.9
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
        class_weight: Any = None,
        label_smoothing: float = 0.0,
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
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> RNNClassifier:
        """Train on sequences and their labels; return the estimator.

        Parameters
        ----------
        X : array_like, DataFrame or list of sequences
            See ``rnnfast.sklearn``.
        y : array_like (samples,)
            Labels.
        sample_weight : array_like (samples,), optional
            Weights of the samples, at least 0. To weigh a sample 2 is to have it twice, up to the order of batches.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit.
        """
        self._train(X, y, sample_weight, begin=self._begins(), epochs=None)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> RNNClassifier:
        """Do one pass over some samples, at the full learning rate; return the estimator.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`. The first call learns scales or the vocabulary.
        classes : array_like, optional
            All labels that will ever come; needed in the first call.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit.
        """
        first = not hasattr(self, "model_")
        if first:
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit")
            self._all_classes = np.unique(np.asarray(classes))
        elif classes is not None and not np.array_equal(np.unique(np.asarray(classes)), self.classes_):
            raise ValueError(f"classes must be those of the first call, {self.classes_}; got {classes}")
        try:
            self._train(X, y, sample_weight, begin=first, epochs=1)
        finally:
            self.__dict__.pop("_all_classes", None)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the likeliest label of each sequence, (samples,)."""
        scores = self._predicted(X)
        return self.classes_[scores.argmax(axis=1)]

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Return the probability of each class, (samples, classes), in the order of ``classes_``."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Return the logarithm of `predict_proba`."""
        return log_softmax(self._predicted(X))

    def _loss(self) -> Loss:
        return SoftmaxCrossEntropy(self.label_smoothing)

    def _num_outputs(self) -> int:
        return len(self.classes_)

    def _encode_targets(self, y: Any, found: Sequences, begin: bool) -> NDArray[np.int64]:
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        labels = column_or_1d(y, warn=True)
        check_consistent_length(found.data, labels)
        check_classification_targets(labels)
        if begin:
            known = getattr(self, "_all_classes", None)
            self.classes_ = np.unique(labels) if known is None else known
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise ValueError(f"y has the label {unknown.tolist()[0]!r}, which is not among classes_")
        return np.searchsorted(self.classes_, labels)

    def _class_weights(self, target: Any) -> Any:
        if self.class_weight is None:
            return 1.0
        present = np.unique(target)
        values = compute_class_weight(self.class_weight, classes=self.classes_[present], y=self.classes_[target])
        table = np.ones(len(self.classes_))
        table[present] = values
        return table[target]

    def _split(self, target: Any, count: int, seed: int) -> Any:
        size = min(max(len(self.classes_), round(self.validation_fraction * count)), count - 1)
        counts = np.bincount(target, minlength=len(self.classes_))
        if counts.min() < 2 or count - size < len(self.classes_):
            return super()._split(target, count, seed)
        return train_test_split(np.arange(count), test_size=size, random_state=seed, stratify=target)


def log_softmax(scores: NDArray[Any]) -> NDArray[Any]:
    """Return the logarithms of probabilities over the last axis, in float64."""
    shifted = scores.astype(np.float64) - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
