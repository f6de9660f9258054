"""Estimators of rnnfast.sklearn: scikit-learn's own checks, its tools, and every kind of input."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from rnnfast import load_model, save_model
from rnnfast.sklearn import RNNClassifier, RNNForecaster, RNNRegressor, RNNTagger

ROOT = Path(__file__).resolve().parents[1]
# Fewer passes than by default, so that several hundred fits take seconds.
SMALL = {"hidden_size": 16, "max_iter": 40, "learning_rate": 0.03, "batch_size": 128}

# The checks make some three hundred fits of data that takes little to learn.
SMALLER = {**SMALL, "max_iter": 25, "learning_rate": 0.1, "batch_size": 50}


@parametrize_with_checks([kind(**SMALLER) for kind in (RNNClassifier, RNNRegressor, RNNForecaster, RNNTagger)])
def test_scikit_learn_is_content(estimator, check):
    check(estimator)


def test_the_array_api_check_that_needs_an_environment():
    code = (
        "from sklearn.utils.estimator_checks import check_array_api_input as check\n"
        "from rnnfast.sklearn import *\n"
        "for kind in (RNNClassifier, RNNRegressor, RNNForecaster, RNNTagger):\n"
        "    check(kind.__name__, kind(max_iter=2), array_namespace='numpy', expect_only_array_outputs=False)\n"
    )
    environment = {"SCIPY_ARRAY_API": "1", "PATH": "", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=True)


def walks(count, rng, features=1, ragged=False):
    """Return random walks, and whether the first feature of each ends above its start."""
    steps = rng.integers(5, 12, count) if ragged else np.full(count, 10)
    found = [rng.standard_normal((n, features)).cumsum(axis=0) for n in steps]
    return found, np.array(["up" if walk[-1, 0] > 0 else "down" for walk in found])


FORMS = {
    "table": lambda walks: np.stack([walk[:, 0] for walk in walks]),
    "lists": lambda walks: [walk[:, 0].tolist() for walk in walks],
    "three axes": np.stack,
    "arrays": list,
    "arrays of one axis": lambda walks: [walk[:, 0] for walk in walks],
    "tuple": tuple,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_input_means_the_same(form, rng):
    found, y = walks(60, rng)
    expected = RNNClassifier(**SMALL, random_state=0).fit(np.stack(found)[:, :, 0], y)
    X = FORMS[form](found)
    model = RNNClassifier(**SMALL, random_state=0).fit(X, y)
    assert np.allclose(model.predict_proba(X), expected.predict_proba(FORMS["table"](found)), atol=1e-12)
    assert model.score(X, y) > 0.9 and model.n_features_in_ == (
        10 if form in ("table", "lists", "arrays of one axis") else 1
    )


def test_ragged_sequences(rng):
    found, y = walks(80, rng, features=2, ragged=True)
    model = RNNClassifier(**SMALL, random_state=0).fit(found, y)
    assert model.score(found, y) > 0.9 and model.n_features_in_ == 2 and model.kind_ == "steps"
    # Padding is no input: one by one is the same as all at once; rows of equal length are taken as well.
    alone = np.concatenate([model.predict_proba([walk]) for walk in found[:5]])
    assert np.allclose(alone, model.predict_proba(found)[:5], atol=1e-12)
    assert model.predict(np.stack([found[0], found[0]])).tolist() == [model.predict(found[:1])[0]] * 2
    single = [walk[:, 0] for walk in found]
    model.fit(single, y)
    assert model.predict(np.stack([single[0][:5]] * 2)).shape == (2,)


def test_columns_as_steps_of_several_features(rng):
    found, y = walks(50, rng, features=3)
    table = np.stack(found).reshape(50, 30)
    by_table = RNNClassifier(**SMALL, step_features=3, random_state=0).fit(table, y)
    by_steps = RNNClassifier(**SMALL, random_state=0).fit(np.stack(found), y)
    assert np.allclose(by_table.predict_proba(table), by_steps.predict_proba(found), atol=1e-12)
    assert by_table.n_features_in_ == 30 and by_table.mean_.shape == (3,)
    with pytest.raises(ValueError, match="multiple of step_features=4"):
        RNNClassifier(step_features=4).fit(table, y)


def test_data_frames(rng):
    pandas = pytest.importorskip("pandas")
    found, y = walks(40, rng, features=2, ragged=True)
    frames = [pandas.DataFrame(walk, columns=["height", "width"]) for walk in found]
    model = RNNClassifier(**SMALL, random_state=0).fit(frames, pandas.Series(y))
    assert model.feature_names_in_.tolist() == ["height", "width"]
    assert np.array_equal(model.predict(frames), RNNClassifier(**SMALL, random_state=0).fit(found, y).predict(found))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict([frame[["width", "height"]] for frame in frames])
    with pytest.raises(ValueError, match=r"X\[1\] must be a DataFrame with the columns"):
        model.fit([frames[0], frames[1].rename(columns={"width": "depth"})], y[:2])
    table = pandas.DataFrame(np.stack([walk[:5, 0] for walk in found]), columns=list("abcde"))
    assert RNNClassifier(**SMALL).fit(table, y).feature_names_in_.tolist() == list("abcde")


def test_columns_that_are_no_numbers_are_named(rng):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rng.standard_normal((4, 2)), columns=["a", "b"])
    y = [0, 1, 0, 1]
    for column, shown in (
        (["red", "blue"] * 2, "'c' \\('red'\\)"),
        (pandas.Categorical(["u", "v"] * 2), "'c' \\('u'\\)"),
        (pandas.date_range("2020", periods=4), "'c' \\(.*2020"),
    ):
        with pytest.raises((ValueError, TypeError), match=f"no numbers: {shown}.*X\\['name'\\]"):
            RNNClassifier(max_iter=1).fit(frame.assign(c=column), y)
    whole = frame.assign(c=pandas.array([1, None, 2, 3], "Int64"))
    with pytest.raises(ValueError, match="contains NaN") as caught:
        RNNClassifier(max_iter=1).fit(whole, y)
    assert "no numbers" not in str(caught.value)
    assert RNNClassifier(max_iter=1).fit(frame.assign(c=[1, 2.5, 3, True]).astype({"c": object}), y).n_features_in_ == 3


TEXTS = ["a good film", "good, so good", "the best of all", "a bad film", "bad and dull", "the worst of all"] * 5
MOODS = ["+", "+", "+", "-", "-", "-"] * 5


@pytest.mark.parametrize("analyzer", ["word", "char"])
def test_texts(analyzer):
    model = RNNClassifier(**SMALL, analyzer=analyzer, random_state=0).fit(TEXTS, MOODS)
    assert model.score(TEXTS, MOODS) == 1 and model.kind_ == "tokens"
    assert model.predict(["a good one", "", "dull"]).shape == (3,)  # unknown words, and none at all
    with pytest.raises(ValueError, match="X must be tokens as in fit; got table"):
        model.predict([[1.0, 2.0]])


def test_tokens_and_numbers_of_texts():
    split = [text.split() for text in TEXTS]
    assert RNNClassifier(**SMALL, random_state=0).fit(split, MOODS).score(split, MOODS) == 1
    stars = np.array([5.0, 5, 5, 1, 1, 1] * 5)
    assert RNNRegressor(**SMALL, random_state=0).fit(TEXTS, stars).score(TEXTS, stars) > 0.9


def test_tools_of_scikit_learn(rng):
    found, y = walks(60, rng)
    table = FORMS["table"](found)
    pipeline = make_pipeline(StandardScaler(), RNNClassifier(**SMALL, random_state=0))
    with joblib.parallel_config(backend="threading"):  # that it can be pickled is among scikit-learn's checks
        assert cross_val_score(pipeline, table, y, cv=2, n_jobs=2).mean() > 0.8
    grid = {"cell": ["lstm", "gru", "rnn"], "hidden_size": [4, 16]}
    search = GridSearchCV(RNNClassifier(max_iter=20, random_state=0), grid, cv=2).fit(found, y)
    assert set(search.best_params_) == {"cell", "hidden_size"} and search.best_score_ > 0.7
    copy = clone(search.best_estimator_)
    assert copy.get_params() == search.best_estimator_.get_params() and not hasattr(copy, "model_")
    with pytest.raises(NotFittedError):
        copy.predict(found)


def test_the_seed_decides(rng):
    found, y = walks(40, rng, ragged=True)
    one, same, other = (RNNClassifier(**SMALL, random_state=s).fit(found, y).predict_proba(found) for s in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_weights_of_samples_and_classes(rng):
    found, y = walks(30, rng, ragged=True)
    twice = RNNClassifier(**SMALL, random_state=0).fit(found + found[:5], [*y, *y[:5]])
    weighed = RNNClassifier(**SMALL, random_state=0).fit(found, y, sample_weight=[2] * 5 + [1] * 25)
    assert np.allclose(twice.predict_proba(found), weighed.predict_proba(found), rtol=1e-6, atol=1e-9)
    noise = rng.standard_normal((90, 4))
    rare = np.array([0] * 80 + [1] * 10)
    plain, even = (RNNClassifier(**SMALL, random_state=0, class_weight=w).fit(noise, rare) for w in (None, "balanced"))
    # Of the rare class as a whole: a tenth, or a half.
    assert plain.predict_proba(noise)[:, 1].mean() < 0.2 < 0.3 < even.predict_proba(noise)[:, 1].mean()


def test_early_stopping(rng):
    found, _ = walks(60, rng)
    noise = rng.integers(0, 2, 60)
    model = RNNClassifier(max_iter=200, early_stopping=True, n_iter_no_change=3, random_state=0).fit(found, noise)
    assert model.n_iter_ < 100 and len(model.loss_curve_) == len(model.validation_loss_curve_) == model.n_iter_


def test_warm_start_and_partial_fit(rng):
    found, y = walks(60, rng)
    model = RNNClassifier(**{**SMALL, "max_iter": 3}, warm_start=True, random_state=0).fit(found, y)
    network = model.model_
    model.fit(found, y)
    assert model.model_ is network and model.n_iter_ == 6 and len(model.loss_curve_) == 6
    with pytest.raises(ValueError, match="'sideways', which is not among classes_"):
        model.fit(found, ["sideways", *y[1:]])
    assert RNNClassifier(**{**SMALL, "max_iter": 3}, random_state=0).fit(found, y).n_iter_ == 3

    model = RNNClassifier(**SMALL, random_state=0)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(found, y)
    for _ in range(30):
        model.partial_fit(found[:30], y[:30], classes=["up", "down"])
        model.partial_fit(found[30:], y[30:])
    assert model.score(found, y) > 0.9 and model.n_iter_ == 60

    # A whole fit ends with a rate of next to nothing, which must not be that of what follows.
    model = RNNClassifier(**{**SMALL, "max_iter": 3}, random_state=0).fit(found, y)
    before = model.predict_proba(found)
    assert np.abs(model.partial_fit(found, y).predict_proba(found) - before).max() > 0.01


def test_several_outputs_and_losses(rng):
    X = rng.standard_normal((80, 6, 2))
    y = np.stack([X[:, :, 0].sum(axis=1), 100 + X[:, -1, 1]], axis=1)
    for loss in ("squared_error", "absolute_error", "huber"):
        model = RNNRegressor(**SMALL, loss=loss, random_state=0).fit(X, y)
        assert model.predict(X).shape == (80, 2) and model.score(X, y) > 0.8
    with pytest.raises(ValueError, match="2 outputs as in the first fit; got 1"):
        model.partial_fit(X, y[:, 0])
    single = X.astype(np.float32)
    assert {a.dtype.name for a in model.fit(single, y).model_.parameters().values()} == {"float32"}


def test_a_model_can_be_saved(rng, tmp_path):
    found, y = walks(20, rng)
    model = RNNClassifier(**{**SMALL, "max_iter": 2}, random_state=0).fit(found, y)
    again = load_model(save_model(model.model_, tmp_path / "m"))
    assert np.array_equal(again.parameters()["0.weight_hh_l0"], model.model_.parameters()["0.weight_hh_l0"])


SENTENCES = [["the", "dog", "barks"], ["a", "cat", "sleeps", "here"], ["dogs", "bark"]] * 4
TAGS = [["D", "N", "V"], ["D", "N", "V", "A"], ["N", "V"]] * 4


def test_tagging_words():
    model = RNNTagger(**SMALL, random_state=0).fit(SENTENCES, TAGS)
    assert model.score(SENTENCES, TAGS) == 1 and model.classes_.tolist() == ["A", "D", "N", "V"]
    assert [labels.tolist() for labels in model.predict(SENTENCES[:3])] == TAGS[:3]
    chances = model.predict_proba([["the", "unseen", "dog"]])
    assert chances[0].shape == (3, 4) and np.allclose(chances[0].sum(axis=1), 1)
    assert cross_val_score(RNNTagger(**SMALL, random_state=0), SENTENCES, TAGS, cv=2).min() == 1
    search = GridSearchCV(RNNTagger(**SMALL, random_state=0), {"bidirectional": [True, False]}, cv=KFold(2))
    assert search.fit(SENTENCES, TAGS).best_score_ == 1


def test_tagging_numbers(rng):
    X = rng.standard_normal((40, 9, 2))
    y = (X[:, :, 0].cumsum(axis=1) > 0).astype(int)
    model = RNNTagger(**SMALL, random_state=0).fit(X, y)
    assert model.predict(X).shape == (40, 9) and model.predict_proba(X).shape == (40, 9, 2)
    assert model.score(X, y) > 0.9
    ragged = [x[: 3 + k % 6] for k, x in enumerate(X)]
    labels = [row[: 3 + k % 6] for k, row in enumerate(y)]
    assert model.fit(ragged, labels, sample_weight=np.arange(40)).score(ragged, labels) > 0.9
    assert model.set_params(class_weight="balanced").fit(ragged, labels).score(ragged, labels) > 0.85


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (SENTENCES, TAGS[:-1], "inconsistent numbers of samples"),
        (SENTENCES, [*TAGS[:-1], ["N"]], r"y\[11\] must have 2 labels, one for each step of X\[11\]; got \(1,\)"),
        (["the dog"], [["D", "N"]], r"X\[0\] must be a list of at least one token.*; got a text"),
        ([["the"], []], [["D"], []], r"X\[1\] must be a list of at least one token.*; got none"),
        (SENTENCES, None, "requires y"),
    ],
)
def test_bad_tags(X, y, message):
    with pytest.raises(ValueError, match=message):
        RNNTagger().fit(X, y)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cell": "lstn"}, ValueError, "cell must be one of lstm, gru, rnn; got 'lstn'"),
        ({"hidden_size": 0}, ValueError, "hidden_size must be at least 1"),
        ({"max_iter": 1.5}, TypeError, "max_iter must be an integer"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"pooling": "first"}, ValueError, "pooling must be one of"),
        ({"learning_rate": -1}, ValueError, "lr must"),
        ({"early_stopping": "yes"}, TypeError, "early_stopping must be True or False"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction must lie in"),
        ({"analyzer": "syllable"}, ValueError, "analyzer must be one of word, char"),
        ({"label_smoothing": 2}, ValueError, "label_smoothing"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        RNNClassifier(**options).fit([[1.0, 2.0], [2.0, 1.0]], [0, 1])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([np.ones((3, 2)), np.ones((3, 1))], r"X\[1\] must have shape"),
        ([np.ones((3, 2)), np.ones((0, 2))], r"X\[1\] must have at least one step"),
        ([np.ones((3, 1)), np.full((2, 1), np.nan)], r"X\[1\] must be finite"),
        (np.ones((2, 0, 3)), "0 step"),
        (np.ones((2, 3, 0)), "0 feature"),
        (np.ones((2, 3, 4, 5)), r"dim 4\. RNNClassifier expected <= 3: \(samples, steps, features\)"),
        (["text", 3], "texts only"),
        ([], "Expected 2D array"),
    ],
)
def test_bad_sequences(X, message):
    with pytest.raises((ValueError, TypeError), match=message):
        RNNClassifier(max_iter=1).fit(X, [0, 1][: len(X)])


def test_features_must_stay_the_same(rng):
    found, y = walks(10, rng, features=2)
    model = RNNClassifier(**{**SMALL, "max_iter": 1}).fit(found, y)
    with pytest.raises(ValueError, match="X has 1 features in each step, but RNNClassifier is expecting 2"):
        model.predict([np.ones((4, 1)), np.ones((3, 1))])


def test_it_is_imported_on_use_only_and_names_its_extra():
    code = "import sys, rnnfast; print('sklearn' in sys.modules); sys.modules['sklearn'] = None; import rnnfast.sklearn"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n"
    assert done.stderr.strip().splitlines()[-1].endswith("needs scikit-learn: pip install 'rnnfast[sklearn]'")


@pytest.mark.parametrize("kind", [RNNClassifier, RNNRegressor, RNNForecaster, RNNTagger])
def test_every_parameter_is_documented(kind):
    documented = kind.__doc__.partition("Attributes\n")[0]
    assert [name for name in kind().get_params() if f"{name} : " not in documented] == []
    for name in ("pooling", "embedding_size", "analyzer", "step_features"):
        assert (f"\n    {name} : " in documented) == (name in kind().get_params())
    assert "{parameters}" not in kind.__doc__ and "{bidirectional}" not in kind.__doc__
