"""Estimators for scikit-learn: `RNNClassifier`, `RNNRegressor`, `RNNForecaster` and `RNNTagger`.

They work wherever scikit-learn's own do: in ``Pipeline``, ``GridSearchCV``, ``cross_val_score``, with ``clone`` and
joblib. A sample is a whole sequence, and X may be

- an array or DataFrame of two axes: each row is a sequence of ``n_features / step_features`` steps, one after the
  other, so that by default the columns are the steps of one variable (for `RNNTagger` each row is a sequence of one
  step);
- an array of three axes (samples, steps, features);
- a list of sequences of any lengths, each an array or DataFrame (steps, features), or (steps,) of one variable;
- a list of texts, or a list of lists of tokens (strings).

``n_features_in_`` counts the columns of a table and otherwise the features of a step.
"""

try:
    import sklearn  # noqa: F401
except ImportError:
    raise ImportError("rnnfast.sklearn needs scikit-learn: pip install 'rnnfast[sklearn]'") from None

from rnnfast.sklearn.classifier import RNNClassifier
from rnnfast.sklearn.forecaster import RNNForecaster
from rnnfast.sklearn.regressor import RNNRegressor
from rnnfast.sklearn.tagger import RNNTagger

__all__ = ["RNNClassifier", "RNNForecaster", "RNNRegressor", "RNNTagger"]
