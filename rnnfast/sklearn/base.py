"""What the estimators share: reading X, scaling it, building the network, training and asking it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from rnnfast.callbacks import EarlyStopping
from rnnfast.checks import check_choice, check_flag, check_number, check_size
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import Loss
from rnnfast.optimizers import AdamW
from rnnfast.schedules import Cosine
from rnnfast.sklearn.inputs import Sequences, encode, length, make_vocabulary, read
from rnnfast.tasks.networks import build
from rnnfast.trainer import Trainer

AUTO_BATCH = 64

PARAMETERS = """cell : {"lstm", "gru", "rnn"}, default "lstm"
        Kind of the recurrent layers.
    hidden_size : int, default 32
        Units of each direction of each layer.
    num_layers : int, default 1
        Recurrent layers, one on top of the other.
    bidirectional : bool, default {bidirectional}
        Whether the layers read in both directions.
    dropout : float, default 0.0
        Chance of each activation between layers to be dropped in training; at least 0 and less than 1.
    pooling : {"auto", "last", "mean", "max"}, default "auto"
        How the outputs of the last layer become one vector; "auto" is "last" in one direction and "mean" in two.
    embedding_size : int, default 32
        Numbers that stand for a token, where X holds texts or tokens.
    analyzer : {"word", "char"}, default "word"
        What the tokens of a text are; words are runs of letters and digits, and each other visible character.
    min_count : int, default 1
        Tokens that come less often in training count as unknown.
    standardize : bool, default True
        Whether each feature of a step is brought to mean 0 and standard deviation 1, as over all steps in training.
    step_features : int, default 1
        How many columns of a table make one step: rows are ``step 1, step 2, ...``, each with all of its features.
    max_iter : int, default 100
        Passes over the data.
    batch_size : int or "auto", default "auto"
        Sequences per update; "auto" is 64, or all of them where they are fewer.
    learning_rate : float, default 0.01
        Of AdamW, at its highest: it rises over the first twentieth of the training and falls with a cosine.
    weight_decay : float, default 0.0
        Of AdamW.
    clip_norm : float or None, default 1.0
        Scale gradients so that their norm is at most this.
    early_stopping : bool, default False
        Whether to stop when the loss on a part that is held out has not got better for ``n_iter_no_change`` passes,
        and to keep the parameters of the best pass.
    validation_fraction : float, default 0.1
        The part held out for that, drawn at random.
    n_iter_no_change : int, default 10
        Passes without progress that stop it.
    max_seconds : float or None, default None
        Stop training after that time; then the result depends on the machine.
    warm_start : bool, default False
        Whether `fit` goes on from the network of the last fit.
    verbose : bool, default False
        Whether to show progress on stderr.
    random_state : int, RandomState or None, default None
        For the initial parameters, the order of batches, dropout and the part held out."""


class RNNEstimator(BaseEstimator):
    """Base of the estimators.

    Subclasses say what their targets and answers are: `_encode_targets`, `_loss`, `_outputs`.
    """

    _pooled = True  # one answer per sequence, not per step
    _row_is_step = False  # a row of a table is a sequence of one step

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        return tags

    def _loss(self) -> Loss:
        raise NotImplementedError

    def _num_outputs(self) -> int:
        raise NotImplementedError

    def _check_options(self) -> None:
        for name in ("hidden_size", "num_layers", "embedding_size", "min_count", "step_features", "max_iter"):
            check_size(name, getattr(self, name))
        check_size("n_iter_no_change", self.n_iter_no_change)
        if self.batch_size != "auto":
            check_size("batch_size", self.batch_size)
        check_choice("analyzer", self.analyzer, ("word", "char"))
        check_number("validation_fraction", self.validation_fraction, 0, 1, above=True, below=True)
        for name in ("bidirectional", "standardize", "early_stopping", "warm_start"):
            check_flag(name, getattr(self, name))

    def _read(self, X: Any, reset: bool) -> Sequences:
        """Return X as sequences that suit the network, or raise."""
        if not reset:
            check_is_fitted(self)
        found = read(self, X, reset, None if self._row_is_step else self.step_features)
        if found.kind == "table" and self._row_is_step:
            found = found._replace(data=found.data.reshape(len(found.data), 1, -1))
        if reset:
            self.kind_ = found.kind
        elif (found.kind == "tokens") != (self.kind_ == "tokens"):
            raise ValueError(f"X must be {self.kind_} as in fit; got {found.kind}")
        elif found.features != self._features:
            raise ValueError(
                f"X has {found.features} features in each step, but {type(self).__name__} is expecting "
                f"{self._features} features as input"
            )
        return found

    def _learn_inputs(self, found: Sequences, weights: NDArray[np.float64]) -> None:
        """Learn the vocabulary, or the scale of each feature of a step."""
        self._features = found.features
        if found.kind == "tokens":
            self.vocabulary_ = make_vocabulary(found.data, self.analyzer, self.min_count)
            return
        self.mean_, self.scale_ = np.zeros(found.features), np.ones(found.features)
        if not self.standardize:
            return
        sums = np.array([np.sum(item, axis=0, dtype=np.float64) for item in found.data])
        steps = np.array([len(item) for item in found.data], np.float64)
        total = weights @ steps
        self.mean_ = weights @ sums / total
        squares = np.array([np.square(item - self.mean_).sum(axis=0) for item in found.data])
        deviation = np.sqrt(weights @ squares / total)
        # Rounding gives a feature that never changes a tiny deviation.
        changes = deviation > 1e-12 * np.maximum(1.0, np.abs(self.mean_))
        self.scale_ = np.where(changes, deviation, 1.0)

    def _prepared(self, found: Sequences) -> Any:
        """Return what the network reads."""
        if found.kind == "tokens":
            return encode(found.data, self.vocabulary_)
        if isinstance(found.data, np.ndarray):
            return ((found.data - self.mean_) / self.scale_).astype(self._dtype, copy=False)
        return [((item - self.mean_) / self.scale_).astype(self._dtype, copy=False) for item in found.data]

    def _weights(self, sample_weight: Any, X: Any, count: int) -> NDArray[np.float64]:
        if sample_weight is None:
            return np.ones(count)
        weights = _check_sample_weight(sample_weight, np.empty((count, 1)), dtype=np.float64, ensure_non_negative=True)
        if not weights.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        return np.asarray(weights)

    def _train(self, X: Any, y: Any, sample_weight: Any, *, begin: bool, epochs: int | None) -> Any:
        """Train on X and y; anew if ``begin``; ``epochs`` None is a whole fit, else so many plain passes."""
        self._check_options()
        found = self._read(X, begin)
        count = length(found.data)
        target = self._encode_targets(y, found, begin)
        weights = self._weights(sample_weight, X, count)
        kept = np.flatnonzero(weights)
        if len(kept) < count:
            found, target, weights = found._replace(data=_take(found.data, kept)), _take(target, kept), weights[kept]
        random = check_random_state(self.random_state)
        seed = int(random.randint(2**31 - 1))
        if begin:
            floats = found.data.dtype if isinstance(found.data, np.ndarray) else getattr(found.data[0], "dtype", None)
            self._dtype = np.dtype(np.float64 if floats == np.float64 else np.float32)
            self._learn_inputs(found, weights)
        weights = weights * self._class_weights(target)
        if begin:
            self._learn_targets(target, weights)
            self._build(seed)
        target = self._scaled_targets(target)
        self._fit_network(self._prepared(found), target, weights, seed, epochs)
        return self

    def _class_weights(self, target: Any) -> Any:
        return 1.0

    def _learn_targets(self, target: Any, weights: NDArray[np.float64]) -> None:
        pass

    def _scaled_targets(self, target: Any) -> Any:
        return target

    def _build(self, seed: int) -> None:
        tokens = self.kind_ == "tokens"
        self.model_: Sequential = build(
            len(self.vocabulary_) if tokens else self._features,
            self._num_outputs(),
            cell=self.cell,
            hidden=self.hidden_size,
            layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            pooling=self.pooling if self._pooled else None,
            embedding=self.embedding_size if tokens else None,
            dtype=self._dtype,
            seed=seed,
        )
        self._optimizer = AdamW(lr=self.learning_rate, weight_decay=self.weight_decay)
        self.n_iter_ = 0
        self.loss_curve_: list[float] = []
        self.validation_loss_curve_: list[float] = []

    def _fit_network(self, x: Any, target: Any, weights: NDArray[np.float64], seed: int, epochs: int | None) -> None:
        whole = epochs is None
        held: Any = None
        if whole and self.early_stopping:
            train, test = self._split(target, length(x), seed)
            held = (_take(x, test), _take(target, test), None, self._mask(weights[test], _take(target, test)))
            x, target, weights = _take(x, train), _take(target, train), weights[train]
        count = length(x)
        self._optimizer.lr = self.learning_rate  # where the schedule of the last fit ended is no place to start
        trainer = Trainer(
            self.model_,
            self._loss(),
            self._optimizer,
            clip_norm=self.clip_norm,
            schedule=Cosine(warmup=0.05) if whole else None,
            seed=seed,
        )
        history = trainer.fit(
            x,
            target,
            mask=self._mask(weights, target),
            epochs=self.max_iter if epochs is None else epochs,
            batch_size=min(AUTO_BATCH, count) if self.batch_size == "auto" else self.batch_size,
            validation_data=held,
            callbacks=[EarlyStopping(patience=self.n_iter_no_change)] if held is not None else [],
            max_seconds=self.max_seconds,
            progress=bool(self.verbose),
        )
        self.n_iter_ += history.epochs
        self.loss_curve_ += history["loss"]
        self.validation_loss_curve_ += history["val_loss"] if held is not None else []

    def _mask(self, weights: NDArray[np.float64], target: Any) -> Any:
        """Return the weights of the targets as the trainer takes them: of its dtype, None where all are 1."""
        return None if (weights == 1).all() else weights.astype(self._dtype)

    def _split(self, target: Any, count: int, seed: int) -> Any:
        if count < 2:
            raise ValueError(f"early_stopping needs at least 2 samples; got n_samples = {count}")
        size = min(max(1, round(self.validation_fraction * count)), count - 1)
        return train_test_split(np.arange(count), test_size=size, random_state=seed, stratify=None)

    def _begins(self) -> bool:
        return not (self.warm_start and hasattr(self, "model_"))

    def _predicted(self, X: Any) -> Any:
        """Return the outputs of the network for X."""
        found = self._read(X, False)
        trainer = Trainer(self.model_, self._loss(), AdamW(lr=1.0))
        return trainer.predict(self._prepared(found), batch_size=256)


def _take(data: Any, rows: NDArray[Any]) -> Any:
    """Return some rows of an array or list."""
    return data[rows] if isinstance(data, np.ndarray) else [data[k] for k in rows]


def documented(bidirectional: str = "False", without: Sequence[str] = ()) -> Any:
    """Return a decorator that puts the shared parameters into the docstring of a class, at ``{parameters}``.

    Parameters
    ----------
    bidirectional : str
        The default of that parameter, as text.
    without : sequence of str
        Parameters that the class does not have.
    """
    entries = re.split(r"\n    (?=\w+ : )", PARAMETERS.replace("{bidirectional}", bidirectional))
    text = "\n    ".join(entry for entry in entries if entry.partition(" : ")[0] not in without)

    def decorate(cls: Any) -> Any:
        cls.__doc__ = (cls.__doc__ or "").replace("{parameters}", text)
        return cls

    return decorate
