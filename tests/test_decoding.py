"""Decoding: beam search against all sequences there are, sampling against probabilities, rows against one another."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnfast.decoding import Stepper, beam_search, draw, greedy, sample_sequences, stream_tokens
from rnnfast.generation import generate
from rnnfast.layers.dense import Dense
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.pooling import Last
from rnnfast.layers.recurrent import GRU, LSTM
from rnnfast.layers.sequential import Sequential

END = 0
PROBABILITIES = np.array([0.5, 0.3, 0.15, 0.05])


LONGEST = 16


class Table:
    """A toy: the logits of the next token follow from the last two and their place; the state is (table, place, last).

    Were it not for the place, sequences of the same transitions in another order would be equally likely.
    """

    def __init__(self, vocabulary, tables, seed=0):
        rng = np.random.default_rng(seed)
        self.logits = 2.0 * rng.standard_normal((tables, LONGEST, vocabulary, vocabulary, vocabulary))
        self.rows = []

    def start(self):
        return np.array([[table, 0, 1] for table in range(len(self.logits))])

    def step(self, tokens, state):
        self.rows.append(len(tokens))
        table, place, before = state.T
        return self.logits[table, place, before, tokens], np.stack([table, place + 1, tokens], axis=1)

    def reorder(self, state, index):
        return state[index]

    def log_prob(self, table, tokens, first=1):
        total, before, last = 0.0, 1, first
        for place, token in enumerate(tokens):
            logits = self.logits[table, place, before, last]
            total += logits[token] - np.log(np.exp(logits).sum())
            before, last = last, token
        return total


def everything(model, table, vocabulary, max_length, end, penalty, forbidden=()):
    """Return all sequences with their scores, best first."""
    allowed = [token for token in range(vocabulary) if token not in forbidden]
    found = []
    for length in range(1, max_length + 1):
        for tokens in itertools.product(allowed, repeat=length):
            ends = tokens[-1] == end
            if end in tokens[:-1] or (length < max_length and not ends):
                continue
            log_prob = model.log_prob(table, tokens)
            found.append((log_prob / ((5 + length) / 6) ** penalty, tokens[:-1] if ends else tokens, log_prob, ends))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("end", [END, None])
@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("forbidden", [(), (2,)])
def test_a_wide_beam_finds_the_best_of_all_sequences(end, penalty, forbidden):
    vocabulary, tables, longest = 4, 3, 4
    model = Table(vocabulary, tables)
    found = beam_search(
        model,
        model.start(),
        np.ones(tables, int),
        max_length=longest,
        end=end,
        beam=vocabulary**longest,
        n_best=7,
        length_penalty=penalty,
        forbidden=forbidden,
    )
    for table, best in enumerate(found):
        expected = everything(model, table, vocabulary, longest, end, penalty, forbidden)[:7]
        assert len(best) == 7
        for hypothesis, (score, tokens, log_prob, ends) in zip(best, expected, strict=True):
            assert tuple(hypothesis.tokens) == tokens and hypothesis.ended == ends
            # Sums of up to four logarithms, in another order.
            assert hypothesis.score == pytest.approx(score, rel=1e-12)
            assert hypothesis.log_prob == pytest.approx(log_prob, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 4), st.integers(1, 6), st.floats(0.0, 2.0))
def test_a_wider_beam_is_right_about_its_scores(seed, vocabulary, beam, longest, penalty):
    model = Table(vocabulary, 2, seed)
    found = beam_search(
        model,
        model.start(),
        [1, 1],
        max_length=longest,
        end=END,
        beam=beam,
        n_best=beam,
        length_penalty=penalty,
    )
    for table, best in enumerate(found):
        assert 1 <= len(best) <= beam
        scores = [h.score for h in best]
        assert scores == sorted(scores, reverse=True)
        assert len({(tuple(h.tokens), h.ended) for h in best}) == len(best)
        for h in best:
            whole = [*h.tokens, *([END] if h.ended else [])]
            assert END not in h.tokens and len(whole) <= longest and (h.ended or len(whole) == longest)
            assert h.log_prob == pytest.approx(model.log_prob(table, whole), rel=1e-12)
            assert h.score == pytest.approx(h.log_prob / ((5 + len(whole)) / 6) ** penalty, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 8))
def test_greedy_is_a_beam_of_one(seed, vocabulary, longest):
    model = Table(vocabulary, 5, seed)
    options = {"max_length": longest, "end": END}
    one = beam_search(model, model.start(), np.ones(5, int), beam=1, **options)
    for (best,), other in zip(one, greedy(model, model.start(), np.ones(5, int), **options), strict=True):
        assert np.array_equal(best.tokens, other.tokens) and best.ended == other.ended
        assert best.log_prob == pytest.approx(other.log_prob, rel=1e-12)


def test_beam_search_gains_on_greedy():
    gains = []
    for seed in range(20):
        model = Table(6, 4, seed)
        options = {"max_length": 6, "end": END}
        wide = beam_search(model, model.start(), np.ones(4, int), beam=8, **options)
        small = greedy(model, model.start(), np.ones(4, int), **options)
        gains += [best.log_prob - one.log_prob for (best,), one in zip(wide, small, strict=True)]
    assert min(gains) >= -1e-12 and np.mean(gains) > 0.1


def test_rows_do_not_touch_each_other():
    model = Table(5, 6, seed=3)
    options = {"max_length": 7, "end": END, "beam": 3, "n_best": 2, "length_penalty": 1.0}
    together = beam_search(model, model.start(), np.ones(6, int), **options)
    for row, found in enumerate(together):
        (alone,) = beam_search(model, model.start()[[row]], [1], **options)
        assert [(*h.tokens, h.score) for h in found] == [(*h.tokens, h.score) for h in alone]


def test_rows_that_have_ended_cost_nothing():
    model = Table(4, 30, seed=1)
    found = greedy(model, model.start(), np.ones(30, int), max_length=12, end=END)
    lengths = [len(h.tokens) + h.ended for h in found]
    assert model.rows == [sum(length >= step for length in lengths) for step in range(1, max(lengths) + 1)]
    assert len(set(lengths)) > 3


def test_a_search_stops_when_nothing_can_be_gained():
    model = Table(3, 1)
    model.logits[:] = [5.0, 0.0, 0.0]  # the end is far likelier than all that could follow
    (best,) = beam_search(model, model.start(), [1], max_length=LONGEST, end=END, beam=4)
    assert not len(best[0].tokens) and len(model.rows) == 1


def test_max_length_is_kept():
    model = Table(4, 2)
    model.logits[..., END] = -50.0
    for found in greedy(model, model.start(), [1, 1], max_length=6, end=END):
        assert len(found.tokens) == 6 and not found.ended
    (found, _) = beam_search(model, model.start(), [1, 1], max_length=6, end=END)
    assert len(found[0].tokens) == 6 and not found[0].ended
    assert [len(h.tokens) for h in greedy(model, model.start(), [1, 1], max_length=0)] == [0, 0]
    assert greedy(model, model.start()[:0], np.zeros(0, int), max_length=3) == []
    assert beam_search(model, model.start()[:0], np.zeros(0, int), max_length=3) == []


def shares(**options):
    drawn = draw(np.tile(np.log(PROBABILITIES), (20_000, 1)), rng=np.random.default_rng(0), **options)
    return np.bincount(drawn, minlength=4) / 20_000


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 1, 2, 3]),
        ({"top_k": 2}, [0, 1]),
        ({"top_p": 0.5}, [0]),
        ({"top_p": 0.51}, [0, 1]),
        ({"top_p": 0.8 + 1e-9}, [0, 1, 2]),
        ({"top_p": 1.0}, [0, 1, 2, 3]),
        ({"top_p": 1e-9}, [0]),
        ({"top_k": 3, "top_p": 0.84}, [0, 1]),  # of the three the first two have 0.842
        ({"temperature": 0.5, "top_p": 0.65}, [0]),  # squared, the first has 0.685
        ({"temperature": 2.0, "top_p": 0.7}, [0, 1, 2]),  # their roots: the first two have 0.673
        ({"forbidden": [0], "top_p": 0.6}, [1]),
    ],
)
def test_shares_are_those_of_what_is_kept(options, kept):
    expected = np.zeros(4)
    expected[kept] = PROBABILITIES[kept] ** (1 / options.get("temperature", 1.0))
    expected /= expected.sum()
    # Five standard deviations of a binomial share.
    assert (np.abs(shares(**options) - expected) <= 5 * np.sqrt(expected * (1 - expected) / 20_000)).all()


def test_cold_and_narrow():
    logits = np.random.default_rng(0).standard_normal((50, 9))
    for options in ({"temperature": 0}, {"top_k": 1}, {"top_p": 1e-12}, {"temperature": 1e-300, "top_p": 0.9}):
        assert np.array_equal(draw(logits, **options), logits.argmax(axis=1))


def make_model(vocabulary=9):
    return Sequential(
        Embedding(vocabulary, 5, seed=0),
        GRU(5, 6, seed=1),
        LSTM(6, 7, num_layers=2, seed=2),
        Dense(7, vocabulary, seed=3),
    )


def test_a_seed_decides_and_tokens_come_as_they_are_drawn():
    model, prompt = make_model(), np.array([[1, 2], [3, 4], [5, 6]])

    def run(seed):
        steps = Stepper(model)
        state, first = steps.start(prompt)
        options = {"max_length": 20, "end": END, "top_p": 0.95, "rng": np.random.default_rng(seed)}
        return [(*h.tokens, h.log_prob) for h in sample_sequences(steps, state, first, **options)]

    assert run(1) == run(1) != run(2)
    steps = Stepper(model)
    endless = stream_tokens(steps, *steps.start(prompt), max_length=10**12)
    for picked in itertools.islice(endless, 4):
        assert np.array_equal(picked.rows, [0, 1, 2]) and picked.tokens.shape == picked.log_probs.shape == (3,)


def test_sequences_have_the_probability_that_the_model_gives_them():
    model, prompt = make_model(), np.array([[1, 2, 3, 4], [5, 6, 0, 0], [7, 0, 0, 0]])
    lengths = [4, 2, 1]
    steps = Stepper(model)
    state, first = steps.start(prompt, lengths=lengths)
    assert first.tolist() == [4, 6, 7]
    found = sample_sequences(
        steps, state, first, max_length=6, end=8, temperature=1.5, top_k=7, rng=np.random.default_rng(0), forbidden=[3]
    )
    wide = beam_search(steps, state, first, max_length=6, end=8, beam=3, n_best=3, forbidden=[3])
    for row, length in enumerate(lengths):
        for hypothesis in [found[row], *wide[row]]:
            assert 3 not in hypothesis.tokens
            whole = [*prompt[row, :length], *hypothesis.tokens, *([8] if hypothesis.ended else [])]
            logits = model(np.array([whole[:-1]]))[0][0, length - 1 :].astype(float)
            logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
            expected = logits[np.arange(len(logits)), whole[length:]].sum()
            assert hypothesis.log_prob == pytest.approx(expected, abs=1e-5)  # float32 logits


def test_a_single_sequence_is_that_of_generate():
    model, prime = make_model(), [2, 5, 1]
    steps = Stepper(model)
    state, first = steps.start([prime])
    options = {"temperature": 0.8, "top_k": 5, "top_p": 0.9}
    (found,) = sample_sequences(steps, state, first, max_length=15, rng=np.random.default_rng(4), **options)
    assert list(generate(model, prime, 15, rng=np.random.default_rng(4), **options)) == found.tokens.tolist()


def search(**options):
    model = Table(4, 2)
    return beam_search(model, model.start(), options.pop("first", [1, 1]), **{"max_length": 3, **options})


def stream(**options):
    model = Table(4, 2)
    return list(stream_tokens(model, model.start(), options.pop("first", [1, 1]), **{"max_length": 3, **options}))


@pytest.mark.parametrize("call", [search, stream])
@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"max_length": -1}, ValueError, "max_length must be at least [01]; got -1"),
        ({"max_length": 2.5}, TypeError, "max_length must be an integer"),
        ({"end": -1}, ValueError, "end must be at least 0; got -1"),
        ({"end": 4}, IndexError, r"end must lie in 0\.\.3; got 4"),
        ({"forbidden": [7]}, IndexError, r"forbidden must lie in 0\.\.3; got 7"),
        ({"forbidden": [0, 1, 2, 3]}, ValueError, "at least one finite"),
        ({"first": [1.0, 2.0]}, ValueError, r"first must be .* shape \(N,\)"),
        ({"first": 3}, ValueError, r"first must be .* shape \(N,\)"),
        ({"first": [1, -1]}, ValueError, "at least 0"),
    ],
)
def test_wrong_arguments(call, options, error, match):
    with pytest.raises(error, match=match):
        call(**options)


@pytest.mark.parametrize(
    ("call", "options", "error", "match"),
    [
        (search, {"beam": 0}, ValueError, "beam must be at least 1; got 0"),
        (search, {"n_best": 6}, ValueError, "n_best must be at most beam, 5; got 6"),
        (search, {"length_penalty": -0.1}, ValueError, "length_penalty must lie in"),
        (stream, {"temperature": -1}, ValueError, "temperature must lie in"),
        (stream, {"top_k": 0}, ValueError, "top_k must be at least 1"),
        (stream, {"top_p": 0}, ValueError, r"top_p must lie in \(0, 1\]; got 0"),
        (stream, {"top_p": 1.5}, ValueError, r"top_p must lie in \(0, 1\]"),
        (stream, {"rng": 3}, TypeError, r"rng must be a numpy\.random\.Generator; got int"),
    ],
)
def test_wrong_options(call, options, error, match):
    with pytest.raises(error, match=match):
        call(**options)


def test_wrong_models_and_prompts():
    with pytest.raises(TypeError, match="model must carry a state, as a Sequential does; got Last"):
        greedy(Last(), None, [1], max_length=1)
    with pytest.raises(TypeError, match="got the class Table itself"):
        greedy(Table, None, [1], max_length=1)
    steps = Stepper(make_model())
    for prompt, lengths, match in (
        ([1, 2], None, "prompt must be integers of shape"),
        ([[]], None, "prompt must be integers of shape"),
        ([[1.5]], None, "prompt must be integers of shape"),
        ([[1, 2]], [0], "lengths must be at least 1"),
    ):
        with pytest.raises(ValueError, match=match):
            steps.start(prompt, lengths=lengths)
    model = Table(4, 1)
    model.logits[...] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        greedy(model, model.start(), [1], max_length=2)
