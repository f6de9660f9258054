"""Greedy decoding and prefix beam search, against all paths and all labellings of small cases; reference -> native."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnfast import CTCLoss, LabelErrorRate, ctc_beam_search, ctc_greedy, limit_threads
from rnnfast.backend import use_backend
from rnnfast.metrics import edit_distance

BACKENDS = ["reference", "native"]


def log_softmax(x):
    return x - np.logaddexp.reduce(x, axis=-1, keepdims=True)


def spelt(path, blank):
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def all_labellings(x, blank):
    """log p of every labelling of x (T, C) that has a path."""
    y = log_softmax(x)
    found = {}
    for path in itertools.product(range(x.shape[1]), repeat=len(x)):
        labels = spelt(path, blank)
        found[labels] = np.logaddexp(found.get(labels, -np.inf), y[range(len(x)), path].sum())
    return found


def draw(rows, steps, classes, seed, scale=1.0):
    return scale * np.random.default_rng(seed).standard_normal((rows, steps, classes))


@pytest.mark.parametrize("blank", [0, 2])
def test_greedy_spells_the_likeliest_path(blank):
    x = draw(6, 9, 3, 0).astype(np.float32)
    lengths = np.array([9, 0, 1, 4, 9, 2])
    found = ctc_greedy(x, lengths=lengths, blank=blank)
    for row, t, labels in zip(x, lengths, found, strict=True):
        assert labels.dtype == np.int64
        assert tuple(labels) == spelt(row[:t].argmax(axis=1), blank)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("blank", [0, 2])
def test_a_wide_beam_finds_all_labellings(backend, blank):
    x = draw(4, 5, 3, 1, 2.0)
    lengths = np.array([5, 3, 1, 0])
    with use_backend(backend):
        found = ctc_beam_search(x, lengths=lengths, blank=blank, beam=200, n_best=200)
    for row, t, labellings in zip(x, lengths, found, strict=True):
        expected = all_labellings(row[:t], blank)
        assert {tuple(entry.labels): entry.log_prob for entry in labellings} == pytest.approx(expected, rel=1e-12)
        assert [entry.score for entry in labellings] == sorted((entry.log_prob for entry in labellings), reverse=True)


def bigrams(classes, seed):
    """A language model that looks at the last label, and forbids one pair."""
    table = log_softmax(draw(1, classes, classes, seed)[0])
    table[1, 1] = -np.inf
    return table, lambda labels: table[labels[-1] if labels else 0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_language_model_and_bonus(backend):
    x = draw(1, 6, 3, 2)
    table, model = bigrams(3, 3)
    with use_backend(backend):
        found = ctc_beam_search(x, beam=300, n_best=300, language_model=model, lm_weight=0.7, insertion_bonus=0.3)[0]
    expected = {}
    for labels, log_prob in all_labellings(x[0], 0).items():
        said = sum(table[a, b] for a, b in itertools.pairwise((0, *labels)))
        if np.isfinite(said):
            expected[labels] = log_prob + 0.7 * said + 0.3 * len(labels)
    assert {tuple(entry.labels): entry.score for entry in found} == pytest.approx(expected, rel=1e-12)
    assert tuple(found[0].labels) == max(expected, key=expected.get)


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("width", [1, 2, 3, 10, 25])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 8), blank=st.integers(0, 1))
def test_native_is_the_reference(scored, width, seed, classes, blank):
    """Narrow beams drop labellings and find them again later, with longer ones still there."""
    x = draw(3, 25, classes, seed, 1.5)
    options = {"lengths": [25, 12, 20], "blank": blank, "beam": width, "n_best": width}
    if scored:
        table = draw(1, classes, classes, seed + 1)[0]
        options.update(language_model=lambda k: table[k[-1] if k else 0], lm_weight=0.5, insertion_bonus=-0.1)
    with use_backend("reference"):
        expected = ctc_beam_search(x, **options)
    found = ctc_beam_search(x, **options)
    for ours, theirs in zip(found, expected, strict=True):
        assert [tuple(e.labels) for e in ours] == [tuple(e.labels) for e in theirs]
        np.testing.assert_allclose([e[1:] for e in ours], [e[1:] for e in theirs], rtol=1e-12)
        assert len({tuple(e.labels) for e in ours}) == len(ours)


def test_the_probability_is_that_of_the_loss():
    x = draw(1, 12, 4, 5)
    for entry in ctc_beam_search(x, beam=3000, n_best=5)[0]:
        assert -entry.log_prob == pytest.approx(CTCLoss(reduction="sequence")(x, [entry.labels]), rel=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_forbidden_classes_and_empty_input(backend):
    x = np.full((1, 3, 3), -np.inf)
    x[0, :, 1] = 0.0  # every step is a 1 for certain
    with use_backend(backend):
        assert [(e.labels.tolist(), e.score) for e in ctc_beam_search(x, n_best=10)[0]] == [([1], 0.0)]
        assert ctc_beam_search(np.zeros((0, 3, 2))) == []
        assert [e.labels.tolist() for e in ctc_beam_search(np.zeros((1, 0, 2)), n_best=3)[0]] == [[]]
        nothing = ctc_beam_search(x, language_model=lambda labels: np.full(3, -np.inf))
        assert nothing == [[]]
        assert len(ctc_beam_search(x, language_model=lambda k: np.full(3, -np.inf), lm_weight=0)[0]) == 1
    assert ctc_greedy(x)[0].tolist() == [1]
    assert ctc_greedy(np.zeros((0, 3, 2))) == [] and ctc_greedy(np.zeros((1, 0, 2)))[0].tolist() == []


def test_the_language_model_is_asked_once_for_each_labelling_kept():
    asked = []

    def model(labels):
        asked.append(labels)
        return np.zeros(3)

    ctc_beam_search(draw(1, 8, 3, 0), beam=400, language_model=model)
    assert len(asked) == len(set(asked)) > 50


def test_threads_change_no_bit():
    x = draw(7, 60, 20, 6)
    results = []
    for threads in (1, 2, 3):
        with limit_threads(threads):
            found = ctc_beam_search(x, n_best=10)
            results.append(str([[(*e.labels, e.score, e.log_prob) for e in row] for row in found]))
    assert len(set(results)) == 1


def slow_distance(a, b):
    if not a or not b:
        return len(a) + len(b)
    return min(slow_distance(a[1:], b) + 1, slow_distance(a, b[1:]) + 1, slow_distance(a[1:], b[1:]) + (a[0] != b[0]))


@settings(max_examples=60, deadline=None)
@given(st.text("abc", max_size=5), st.text("abc", max_size=5))
def test_edit_distance(a, b):
    assert edit_distance(a, b) == slow_distance(a, b) == edit_distance(list(map(ord, a)), np.array([*map(ord, b)]))


def test_label_error_rate():
    rate = LabelErrorRate()
    x = np.full((3, 4, 4), -1.0)
    for n, path in enumerate([(1, 0, 1, 2), (0, 0, 0, 0), (3, 3, 0, 1)]):
        x[n, range(4), path] = 1.0
    target = [[1, 1, 3], [2], [3]]
    assert rate(x, target) == (1 + 1 + 1, 5.0)
    assert rate(x, target, lengths=[4, 4, 2]) == (2.0, 5.0)
    assert rate(x, np.array([[1, 1, 3], [2, -1, -1], [3, -1, -1]]), mask=[1, 0, 2]) == (1 + 2, 5.0)
    assert rate.finish(3.0, 5.0) == 0.6


ZEROS = np.zeros((1, 2, 3))
NAN = np.array([[[0.0, 1.0], [np.nan, 0.0]]])
ERRORS = [
    (ZEROS[0], {}, ValueError, "logits must have shape (N, T, C); got (2, 3)"),
    (ZEROS, {"blank": 3}, ValueError, "blank must be a class of logits, 0..2; got 3"),
    (ZEROS, {"lengths": [3]}, ValueError, "lengths must lie in 0..2"),
    (NAN, {}, ValueError, "logits must have a finite number in each step, and neither NaN nor +inf; logits[0, 1] does"),
    (NAN - np.inf, {}, ValueError, "logits must have a finite number in each step"),
    (ZEROS + np.inf, {}, ValueError, "logits must have a finite number in each step"),
]
SEARCH_ERRORS = [
    ({"beam": 0}, ValueError, "beam must be at least 1; got 0"),
    ({"beam": 2, "n_best": 3}, ValueError, "n_best must be at most beam, 2; got 3"),
    ({"lm_weight": -1}, ValueError, "lm_weight must lie in [0, inf)"),
    ({"insertion_bonus": np.inf}, ValueError, "insertion_bonus must be finite"),
    ({"language_model": 3}, TypeError, "language_model must be callable; got int"),
    ({"language_model": lambda k: [0, 0]}, ValueError, "language_model must return 3 real numbers, one for each class"),
    ({"language_model": lambda k: [0, np.nan, 0]}, ValueError, "language_model must return neither NaN nor +inf"),
]


@pytest.mark.parametrize(("logits", "options", "error", "message"), ERRORS)
def test_errors(logits, options, error, message):
    for decode in (ctc_greedy, ctc_beam_search):
        with pytest.raises(error, match="^" + re.escape(message)):
            decode(logits, **options)
    assert ctc_greedy(NAN, lengths=[1])[0].tolist() == [1]


@pytest.mark.parametrize(("options", "error", "message"), SEARCH_ERRORS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_errors_of_the_search(options, error, message, backend):
    with use_backend(backend), pytest.raises(error, match="^" + re.escape(message)):
        ctc_beam_search(ZEROS, **options)


def test_an_error_in_the_language_model_comes_through():
    def model(labels):
        raise RuntimeError("no such word")

    with pytest.raises(RuntimeError, match="no such word"):
        ctc_beam_search(ZEROS, language_model=model)
