"""Sampling: temperature, top-k, the carried state, and what is never drawn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rnnfast.data import CharVocabulary
from rnnfast.generation import generate, generate_text, sample
from rnnfast.layers.dense import Dense
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.pooling import Last
from rnnfast.layers.recurrent import LSTM
from rnnfast.layers.sequential import Sequential

LOGITS = np.log([0.5, 0.3, 0.15, 0.05])


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.5, None), (2.0, 3), (1.0, 2), (1.0, 9)])
def test_frequencies_are_the_softmax(temperature, top_k):
    rng = np.random.default_rng(0)
    count = 20_000
    drawn = np.bincount(
        [sample(LOGITS, temperature=temperature, top_k=top_k, rng=rng) for _ in range(count)], minlength=4
    )
    expected = np.exp(LOGITS / temperature)
    if top_k is not None:
        expected[top_k:] = 0
    expected /= expected.sum()
    # Five standard deviations of a binomial share.
    assert (np.abs(drawn / count - expected) <= 5 * np.sqrt(expected * (1 - expected) / count)).all()


def test_cold_takes_the_largest():
    assert sample([1, 3, 3, 2], temperature=0) == 1
    assert sample([1, 3, 3, 2], temperature=0, forbidden=[1]) == 2
    assert {sample([0.0, 1.0], temperature=1e-300, rng=np.random.default_rng(k)) for k in range(20)} == {1}
    assert {sample([1e30, -1e30, -np.inf], rng=np.random.default_rng(k)) for k in range(20)} == {0}
    assert {sample(LOGITS, top_k=1, forbidden=[0], rng=np.random.default_rng(k)) for k in range(20)} == {1}


@pytest.mark.parametrize(
    ("logits", "options", "error", "match"),
    [
        ([[1.0]], {}, TypeError, "shape"),
        (["a"], {}, TypeError, "real numbers"),
        ([], {}, ValueError, "at least one finite"),
        ([np.nan, 1], {}, ValueError, "NaN"),
        ([np.inf, 1], {}, ValueError, "inf"),
        ([1.0], {"forbidden": [0]}, ValueError, "at least one finite"),
        ([1.0], {"forbidden": [1]}, IndexError, "forbidden must lie in 0..0; got 1"),
        ([1.0], {"forbidden": 0}, TypeError, "forbidden must be integers; got int"),
        ([1.0], {"forbidden": "0"}, TypeError, "forbidden must be integers; got str"),
        ([1.0], {"forbidden": ["0"]}, TypeError, "forbidden must be an integer; got '0'"),
        ([1.0], {"temperature": -1}, ValueError, "temperature"),
        ([1.0, 2.0], {"top_k": 0}, ValueError, "top_k"),
    ],
)
def test_sample_refuses(logits, options, error, match):
    with pytest.raises(error, match=match):
        sample(logits, **options)


VOCABULARY = CharVocabulary.build("hello wörld 春", unknown="\ufffd")


@pytest.fixture(scope="module")
def model():
    size = len(VOCABULARY)
    return Sequential(Embedding(size, 5, seed=0), LSTM(5, 6, num_layers=2, seed=1), Dense(6, size, seed=2))


def test_state_is_carried(model):
    prime = VOCABULARY.encode("hell")
    drawn = list(generate(model, prime, 12, temperature=0))
    text = list(prime)
    for number in drawn:
        logits, _ = model(np.array([text]))
        # Step by step or in one go, sums may be rounded in another order.
        assert logits[0, -1, number] >= logits[0, -1].max() - 1e-5
        text.append(number)


def test_seeded_and_lazy(model):
    def run(seed):
        return "".join(generate_text(model, VOCABULARY, 30, "he", rng=np.random.default_rng(seed)))

    assert run(1) == run(1) != run(2)
    assert len(run(1)) == 30 and "\ufffd" not in run(1)
    endless = generate_text(model, VOCABULARY, 10**12, "h")
    assert len(list(itertools.islice(endless, 5))) == 5
    assert list(generate_text(model, VOCABULARY, 0, "h")) == []


def test_unknown_prime(model):
    assert len(list(generate_text(model, VOCABULARY, 3, "日本"))) == 3
    with pytest.raises(KeyError):
        generate_text(model, CharVocabulary.build("ab"), 3, "x")


@pytest.mark.parametrize(
    ("prime", "length", "options", "error", "match"),
    [
        ([], 3, {}, ValueError, "prime must be integers"),
        ([0.5], 3, {}, ValueError, "prime must be integers"),
        ([0], -1, {}, ValueError, "length"),
        ([0], 1, {"temperature": -1.0}, ValueError, "temperature"),
        ([0], 1, {"top_k": 0}, ValueError, "top_k"),
        ([0], 1, {"rng": 3}, TypeError, r"rng must be a numpy\.random\.Generator; got int"),
        ([0], 1, {"forbidden": None}, TypeError, "forbidden must be integers; got NoneType"),
    ],
)
def test_generate_refuses_at_once(model, prime, length, options, error, match):
    with pytest.raises(error, match=match):
        generate(model, prime, length, **options)


def test_generate_text_needs_a_vocabulary(model):
    with pytest.raises(TypeError, match="vocabulary must be a Vocabulary; got str"):
        generate_text(model, "abc", 1)


def test_generate_needs_a_state():
    with pytest.raises(TypeError, match="got Last"):
        generate(Last(), [0], 1)
