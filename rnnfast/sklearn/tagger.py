"""`RNNTagger`: a label for every step of each sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import compute_class_weight
from sklearn.utils.validation import check_consistent_length

from rnnfast.losses import Loss, SoftmaxCrossEntropy
from rnnfast.sklearn.base import RNNEstimator, documented
from rnnfast.sklearn.classifier import log_softmax
from rnnfast.sklearn.inputs import Sequences


@documented("True", without=("pooling", "analyzer", "step_features"))
class RNNTagger(RNNEstimator):
    """Label every step of sequences with a recurrent network: words, characters or measurements.

    X is as said in ``rnnfast.sklearn``: lists of tokens, lists of arrays (steps, features), or an array of three axes.
    y has a label for each step: a list of as many sequences of labels, or an array (samples, steps). Of an array or
    DataFrame of two axes each row is a sequence of one step with all its columns, and y is (samples,).

    Parameters
    ----------
    {parameters}
    class_weight : dict, "balanced" or None, default None
        Weights of the labels, as in scikit-learn.
    label_smoothing : float, default 0.0
        Share of each target that is spread evenly over all labels.

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
    vocabulary_ : WordVocabulary
        Of tokens.

    Notes
    -----
    In scikit-learn's eyes this is no classifier, whose samples have one label each: so that cross-validation does not
    try to stratify. `score` is the share of right steps.

    Examples
    --------
    >>> from rnnfast.sklearn import RNNTagger
    >>> X = [["the", "dog", "barks"], ["a", "cat", "sleeps"], ["dogs", "bark"]]
    >>> y = [["DET", "NOUN", "VERB"], ["DET", "NOUN", "VERB"], ["NOUN", "VERB"]]
    >>> tagger = RNNTagger(max_iter=50, random_state=0).fit(X, y)
    >>> tagger.predict([["a", "dog", "sleeps"]])[0].tolist()
    ['DET', 'NOUN', 'VERB']
    """

    _pooled = False
    _row_is_step = True
    step_features = 1
    analyzer = "word"

    def __init__(
        self,
        cell: str = "lstm",
        hidden_size: int = 32,
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        embedding_size: int = 32,
        min_count: int = 1,
        standardize: bool = True,
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
        self.embedding_size = embedding_size
        self.min_count = min_count
        self.standardize = standardize
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

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> RNNTagger:
        """Train on sequences and the labels of their steps; return the estimator.

        Parameters
        ----------
        X : array_like, DataFrame or list of sequences
            See the class.
        y : list of sequences of labels, or array_like (samples, steps) or (samples,)
            A label for each step.
        sample_weight : array_like (samples,), optional
            Weights of the sequences, at least 0.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit.
        """
        self._train(X, y, sample_weight, begin=self._begins(), epochs=None)
        return self

    def predict(self, X: Any) -> Any:
        """Return the likeliest label of each step: an array of the shape of y for an array, else a list of arrays."""
        out = self._predicted(X)
        if isinstance(out, list):
            return [self.classes_[scores.argmax(axis=-1)] for scores in out]
        labels = self.classes_[out.argmax(axis=-1)]
        return labels[:, 0] if self.kind_ == "table" else labels

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each label: an array (samples, steps, labels) for an array (without the axis of
        steps for one of two axes), else a list of arrays (steps, labels)."""
        out = self._predicted(X)
        if isinstance(out, list):
            return [np.exp(log_softmax(scores)) for scores in out]
        found = np.exp(log_softmax(out))
        return found[:, 0] if self.kind_ == "table" else found

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of steps that get their label, weighted by sequence where weights are given."""
        predicted = self.predict(X)
        truth = self._aligned(y, [np.atleast_1d(row) for row in predicted])
        weights = self._weights(sample_weight, X, len(predicted))
        right = np.array([np.sum(np.atleast_1d(a) == b) for a, b in zip(predicted, truth, strict=True)])
        steps = np.array([len(labels) for labels in truth])
        return float(weights @ right / (weights @ steps))

    def _loss(self) -> Loss:
        return SoftmaxCrossEntropy(self.label_smoothing)

    def _num_outputs(self) -> int:
        return len(self.classes_)

    def _read(self, X: Any, reset: bool) -> Sequences:
        found = super()._read(X, reset)
        if found.kind == "tokens":
            for k, tokens in enumerate(found.data):
                if isinstance(tokens, str) or not tokens:
                    got = "a text" if isinstance(tokens, str) else "none"
                    raise ValueError(f"X[{k}] must be a list of at least one token, with a label for each; got {got}")
        return found

    def _encode_targets(self, y: Any, found: Sequences, begin: bool) -> Any:
        if y is None:
            raise ValueError("RNNTagger requires y to be passed, but the target y is None")
        labels = self._aligned(y, found.data)
        together = np.concatenate(labels)
        if begin:
            self.classes_ = np.unique(together)
        unknown = np.setdiff1d(together, self.classes_)
        if len(unknown):
            raise ValueError(f"y has the label {unknown.tolist()[0]!r}, which is not among classes_")
        encoded = [np.searchsorted(self.classes_, row) for row in labels]
        return np.stack(encoded) if isinstance(found.data, np.ndarray) else encoded

    def _aligned(self, y: Any, data: Any) -> list[NDArray[Any]]:
        """Return y as a list of arrays of labels, one for each step of the data, or raise."""
        if not isinstance(y, (list, tuple)):
            y = np.asarray(y)
        check_consistent_length(data, y)
        labels = [np.atleast_1d(np.asarray(row)) for row in y]
        for k, (row, item) in enumerate(zip(labels, data, strict=True)):
            if row.shape != (len(item),):
                raise ValueError(f"y[{k}] must have {len(item)} labels, one for each step of X[{k}]; got {row.shape}")
        return labels

    def _mask(self, weights: NDArray[np.float64], target: Any) -> Any:
        table = None
        if self.class_weight is not None:
            together = np.concatenate([np.ravel(row) for row in target])
            present = np.unique(together)
            table = np.ones(len(self.classes_))
            table[present] = compute_class_weight(
                self.class_weight, classes=self.classes_[present], y=self.classes_[together]
            )
        if table is None and (weights == 1).all():
            return None
        parts = [
            np.full(len(row), weight, self._dtype) * (1 if table is None else table[row])
            for row, weight in zip(target, weights, strict=True)
        ]
        parts = [part.astype(self._dtype, copy=False) for part in parts]
        return np.stack(parts) if isinstance(target, np.ndarray) else parts
