"""What estimators take as X, made into sequences: tables, arrays of three axes, ragged lists, texts and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from rnnfast.data.vocabulary import CharVocabulary, Vocabulary, WordVocabulary
from rnnfast.training.feeds import Data, check_data

UNKNOWN = "\N{REPLACEMENT CHARACTER}unknown"


class Sequences(NamedTuple):
    """Sequences, whatever they came as.

    Attributes
    ----------
    kind : str
        "table", "steps" or "tokens".
    data : ndarray (N, T, C), list of (T_n, C), or list of sequences of str
    features : int
        C; 0 for tokens.
    """

    kind: str
    data: Any
    features: int


def read(estimator: Any, X: Any, reset: bool, step_features: int | None) -> Sequences:
    """Return X as sequences, or raise what scikit-learn's own estimators raise.

    Parameters
    ----------
    estimator : BaseEstimator
        Gets ``n_features_in_`` and ``feature_names_in_`` if ``reset``, else is held against them.
    X : object
        See ``rnnfast.sklearn``.
    reset : bool
        Whether it is being fitted.
    step_features : int or None
        How many columns of a table make a step; None: all of them.
    """
    kind = kind_of(X)
    if kind == "tokens":
        if reset:
            _forget_columns(estimator)
        return Sequences(kind, [item if isinstance(item, str) else list(item) for item in X], 0)
    if kind == "table":
        # What was fitted on sequences takes rows of any number of steps.
        free = not reset and getattr(estimator, "kind_", "table") == "steps"
        if getattr(X, "ndim", 0) > 3:
            raise ValueError(
                f"Found array with dim {X.ndim}. {type(estimator).__name__} expected <= 3: (samples, steps, features)."
            )
        try:
            table = (
                _plain_table(X) if free else validate_data(estimator, X, reset=reset, dtype=[np.float64, np.float32])
            )
        except (ValueError, TypeError) as error:
            hint = _no_numbers(X)
            if not hint:
                raise
            raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{error}{hint}") from None
        size = table.shape[1] if step_features is None else step_features
        return Sequences(kind, _to_steps("X", table, size), size)
    found = _steps(X, step_features or 1)
    features = found.shape[2] if isinstance(found, np.ndarray) else found[0].shape[1]
    if not features:
        raise ValueError("X has 0 feature(s) in each step while a minimum of 1 is required.")
    names = _column_names(X)
    if reset:
        _forget_columns(estimator)
        estimator.n_features_in_ = features
        if names is not None:
            estimator.feature_names_in_ = names
    elif names is not None and list(names) != list(getattr(estimator, "feature_names_in_", names)):
        raise ValueError(
            "The feature names should match those that were passed during fit: "
            f"{', '.join(map(str, estimator.feature_names_in_))}; got {', '.join(map(str, names))}"
        )
    return Sequences("steps", found, features)


def _no_numbers(X: Any) -> str:
    """Return which columns of a DataFrame are no numbers, and what is done about it; nothing if all are."""
    found = []
    for name, kind in zip(getattr(X, "columns", ()), getattr(X, "dtypes", ()), strict=False):
        if getattr(kind, "kind", "O") not in "biuf" and len(X):
            value = np.asarray(X[name])[0]
            if not isinstance(value, (int, float, np.number)):
                found.append(f"{name!r} ({value!r:.40})")
    if not found:
        return ""
    return (
        f". X has columns that are no numbers: {', '.join(found[:5])}; encode them first, as by OneHotEncoder. A "
        "column of texts to be read is given alone, as X['name']"
    )


def kind_of(X: Any) -> str:
    """Return "table", "steps" or "tokens"."""
    ndim = getattr(X, "ndim", None)
    if ndim == 3:
        return "steps"
    if not (isinstance(X, (list, tuple)) or ndim == 1) or not len(X):
        return "table"
    items = list(X)
    if isinstance(items[0], str):
        if not all(isinstance(item, str) for item in items):
            raise TypeError("X must hold texts only, or no text; got both")
        return "tokens"
    if not all(hasattr(item, "__len__") for item in items):
        return "table"
    filled = next((item for item in items if len(item)), None)
    if filled is None:
        return "steps"
    if _is_tokens(filled):
        return "tokens"
    if (filled.ndim if hasattr(filled, "ndim") else 1 + hasattr(filled[0], "__len__")) >= 2:
        return "steps"
    return "table" if len({len(item) for item in items}) == 1 else "steps"


def length(X: Any) -> int:
    """Return the number of samples of X."""
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def make_vocabulary(texts: Sequence[Any], analyzer: str, min_count: int) -> Vocabulary:
    """Return a vocabulary of texts, or of lists of tokens, which are words as they are."""
    kind = CharVocabulary if analyzer == "char" else WordVocabulary
    if all(isinstance(text, str) for text in texts):
        return kind.build(texts, min_count=min_count, unknown=UNKNOWN)
    counts: dict[str, int] = {}
    for text in texts:
        for token in text:
            counts[token] = counts.get(token, 0) + 1
    kept = sorted((token for token, n in counts.items() if n >= min_count), key=lambda token: (-counts[token], token))
    return WordVocabulary([UNKNOWN, *kept], UNKNOWN)


def encode(texts: Sequence[Any], vocabulary: Vocabulary) -> list[NDArray[np.int64]]:
    """Return the numbers of the tokens of each text; one without any token counts as an unknown one."""
    found = [vocabulary.encode(text) for text in texts]
    return [numbers if len(numbers) else np.array([vocabulary.number(UNKNOWN)]) for numbers in found]


def _is_tokens(item: Any) -> bool:
    if isinstance(item, np.ndarray) and item.dtype.kind != "O":
        return item.dtype.kind == "U" and item.ndim == 1
    return not hasattr(item, "columns") and all(isinstance(token, str) for token in item)


def _steps(X: Any, step_features: int) -> Data:
    """Return an array (N, T, C), or a list of (T_n, C), all float64 or all float32."""
    data = check_data("X", np.asarray(X) if getattr(X, "ndim", 0) == 3 else [np.asarray(item) for item in X])
    if isinstance(data, np.ndarray):
        if data.ndim != 3:
            raise ValueError(f"X must have shape (samples, steps, features); got {data.shape}")
        if not data.shape[1]:
            raise ValueError("Found array with 0 step(s) in each sequence while a minimum of 1 is required.")
        return data.astype(np.float32 if data.dtype == np.float32 else np.float64, copy=False)
    if data[0].ndim not in (1, 2):
        raise ValueError(f"X[0] must have shape (steps,) or (steps, features); got {data[0].shape}")
    for k, item in enumerate(data):
        if not len(item):
            raise ValueError(f"X[{k}] must have at least one step; got shape {item.shape}")
    dtype = np.float32 if all(item.dtype == np.float32 for item in data) else np.float64
    data = [item.astype(dtype, copy=False) for item in data]
    if data[0].ndim == 1:
        data = [_to_steps(f"X[{k}]", item[None], step_features)[0] for k, item in enumerate(data)]
    return data


def _to_steps(name: str, table: NDArray[Any], size: int) -> NDArray[Any]:
    """Return rows (N, F) as sequences (N, F / size, size)."""
    if table.shape[1] % size:
        raise ValueError(f"{name} must have a multiple of step_features={size} columns; got {table.shape[1]}")
    return np.ascontiguousarray(table).reshape(len(table), -1, size)


def _plain_table(X: Any) -> NDArray[Any]:
    data = check_data("X", np.asarray(X))
    if not isinstance(data, np.ndarray) or data.ndim != 2:
        raise ValueError(f"X must have 2 or 3 axes; got shape {np.shape(X)}")
    return data.astype(np.float32 if data.dtype == np.float32 else np.float64, copy=False)


def _column_names(X: Any) -> NDArray[Any] | None:
    """Return the columns of the DataFrames in a list, if those are strings."""
    if not isinstance(X, (list, tuple)) or not hasattr(X[0], "columns"):
        return None
    names = list(X[0].columns)
    for k, frame in enumerate(X):
        if not hasattr(frame, "columns") or list(frame.columns) != names:
            raise ValueError(f"X[{k}] must be a DataFrame with the columns of X[0]: {', '.join(map(str, names))}")
    return np.array(names, dtype=object) if all(isinstance(name, str) for name in names) else None


def _forget_columns(estimator: Any) -> None:
    for name in ("feature_names_in_", "n_features_in_"):
        if hasattr(estimator, name):
            delattr(estimator, name)
