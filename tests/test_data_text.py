"""Vocabularies, padding and bucketing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnfast.data import CharVocabulary, WordVocabulary, bucket_by_length, pad_sequences

SCRIPTS = [
    "To be, or not to be\n",
    "春眠不覺曉 處處聞啼鳥。",
    "Привет",
    "नमस्ते",
    "שלום",
    "👩‍🚀 e\u0301",
    "\x00\u2028 a",
]


@pytest.mark.parametrize("text", SCRIPTS)
def test_characters_round_trip(text):
    vocabulary = CharVocabulary.build(text)
    numbers = vocabulary.encode(text)
    assert numbers.dtype == np.int64 and len(vocabulary) == len(set(text)) == numbers.max() + 1
    assert vocabulary.decode(numbers) == text
    again = CharVocabulary.from_state_dict(json.loads(json.dumps(vocabulary.state_dict())))
    assert again == vocabulary and again.decode(numbers) == text


@given(st.lists(st.text(), min_size=1))
def test_any_text_round_trips(texts):
    vocabulary = CharVocabulary.build(texts, unknown="<unk>", special=["<pad>"])
    assert vocabulary.tokens[:2] == ("<unk>", "<pad>")
    for text in texts:
        assert vocabulary.decode(vocabulary.encode(text)) == text


def test_build_is_ordered_by_count_then_code_point():
    assert CharVocabulary.build("bbbaacd").tokens == ("b", "a", "c", "d")
    assert CharVocabulary.build(["bbba", "acd"], min_count=2).tokens == ("b", "a")
    assert CharVocabulary.build("bbbaacd", max_size=3, unknown="<unk>").tokens == ("<unk>", "b", "a")


def test_unknown():
    with_unknown = CharVocabulary.build("ab", unknown="<unk>")
    assert with_unknown.encode("axb").tolist() == [1, 0, 2]
    assert with_unknown.decode([1, 0, 2]) == "a<unk>b"
    assert with_unknown.decode([1, 0, 2], skip_special=True) == "ab"
    with pytest.raises(KeyError, match="'x' is not in the vocabulary"):
        CharVocabulary.build("ab").encode("axb")


def test_special_tokens_never_come_from_text():
    words = WordVocabulary.build("pad pad me", unknown="<unk>", special=["pad"])
    assert words.tokens == ("<unk>", "pad", "me")
    assert words.encode("pad me").tolist() == [0, 2]
    assert words.number("pad") == 1 and "pad" in words
    with pytest.raises(KeyError, match="'you'"):
        words.number("you")


def test_words():
    vocabulary = WordVocabulary.build("The cat, the Straße.", unknown="<unk>", lower=True)
    assert vocabulary.split("The cat, the Straße.") == ["the", "cat", ",", "the", "strasse", "."]
    assert vocabulary.tokens[:2] == ("<unk>", "the")
    assert vocabulary.decode(vocabulary.encode("THE dog")) == "the <unk>"
    assert vocabulary.encode(["the", "cat"]).tolist() == vocabulary.encode("the cat").tolist()
    again = WordVocabulary.from_state_dict(json.loads(json.dumps(vocabulary.state_dict())))
    assert again == vocabulary and again.lower


def test_empty_text():
    assert CharVocabulary.build("ab").encode("").shape == (0,)
    assert CharVocabulary.build("ab").decode([]) == ""
    assert len(CharVocabulary.build("")) == 0


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: CharVocabulary("ab"), TypeError, "tokens must be a list; got str"),
        (lambda: CharVocabulary(["a", 1]), TypeError, "got 1"),
        (lambda: CharVocabulary(["a", "a"]), ValueError, "'a' twice"),
        (lambda: CharVocabulary(["a"], unknown="?"), ValueError, "'\\?' is not"),
        (lambda: CharVocabulary.build([b"ab"]), TypeError, "texts must be strings"),
        (lambda: CharVocabulary.build("ab", min_count=0), ValueError, "min_count"),
        (lambda: CharVocabulary.build("ab", max_size=1, special=["p", "q"]), ValueError, "max_size"),
        (lambda: CharVocabulary.build("ab").encode(5), TypeError, "text must be"),
        (lambda: CharVocabulary.build("ab").encode([[1]]), TypeError, "text must be"),
        (lambda: CharVocabulary.build("ab").decode([2]), IndexError, "numbers must lie in 0..1; got 2"),
        (lambda: CharVocabulary.build("ab").decode([-1]), IndexError, "got -1"),
        (lambda: CharVocabulary.build("ab").decode([0.5]), TypeError, "integers"),
        (lambda: CharVocabulary.build("ab").decode([[0]]), ValueError, "1 dim"),
        (lambda: CharVocabulary.from_state_dict({"kind": "word"}), ValueError, "char vocabulary"),
        (lambda: CharVocabulary.from_state_dict({"kind": "char", "tokens": []}), KeyError, "fields"),
        (lambda: WordVocabulary([], lower=1), TypeError, "lower"),
    ],
)
def test_vocabulary_refuses(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_pad(dtype):
    sequences = [np.arange(n * 2, dtype=dtype).reshape(n, 2) for n in (3, 0, 1)]
    padded, lengths = pad_sequences(sequences, value=-1)
    assert padded.dtype == dtype and padded.shape == (3, 3, 2) and lengths.tolist() == [3, 0, 1]
    for row, sequence, n in zip(padded, sequences, lengths, strict=True):
        np.testing.assert_array_equal(row[:n], sequence)
        assert (row[n:] == -1).all()


def test_pad_to_a_length():
    padded, lengths = pad_sequences([[1, 2, 3], [4]], length=2, dtype=np.float32)
    assert padded.tolist() == [[1, 2], [4, 0]] and padded.dtype == np.float32 and lengths.tolist() == [2, 1]
    padded, lengths = pad_sequences([[1, 2, 3], []], length=5)
    assert padded.tolist() == [[1, 2, 3, 0, 0], [0] * 5] and lengths.tolist() == [3, 0]
    assert pad_sequences([[], []])[0].shape == (2, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (([],), ValueError, "at least one"),
        ((["ab"],), TypeError, r"sequences\[0\]"),
        (([[1], 2],), TypeError, r"sequences\[1\]"),
        (([[[1, 2]], [[1]]],), ValueError, r"sequences\[1\] must have steps of shape \(2,\)"),
        (([[1]], 0, -1), ValueError, "length"),
    ],
)
def test_pad_refuses(arguments, error, match):
    with pytest.raises(error, match=match):
        pad_sequences(*arguments)


@given(lengths=st.lists(st.integers(0, 40)), size=st.integers(1, 7), seed=st.none() | st.integers(0, 5))
def test_buckets_hold_every_index_once(lengths, size, seed):
    batches = bucket_by_length(lengths, size, None if seed is None else np.random.default_rng(seed), pool=3)
    assert sorted(k for batch in batches for k in batch.tolist()) == list(range(len(lengths)))
    assert all(0 < len(batch) <= size for batch in batches)
    if seed is None:
        assert [lengths[k] for batch in batches for k in batch] == sorted(lengths)


def test_buckets_waste_little_and_repeat_with_a_seed():
    lengths = np.random.default_rng(0).integers(1, 100, 2000)
    batches = bucket_by_length(lengths, 20, np.random.default_rng(1), pool=25)
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded < 1.1 * lengths.sum()
    again = bucket_by_length(lengths, 20, np.random.default_rng(1), pool=25)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    other = bucket_by_length(lengths, 20, np.random.default_rng(2), pool=25)
    assert not all(np.array_equal(a, b) for a, b in zip(batches, other, strict=True))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (([1.5], 2), TypeError),
        (([-1], 2), ValueError),
        (([[1]], 2), ValueError),
        (([1], 0), ValueError),
        (([1], 1, None, 0), ValueError),
    ],
)
def test_buckets_refuse(arguments, error):
    with pytest.raises(error):
        bucket_by_length(*arguments)
