"""CoNLL-U files, and sentences as arrays of words and characters."""

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rnnfast.data import CharVocabulary, WordEncoder, WordVocabulary, read_conllu

DATA = Path(os.environ.get("RNNFAST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

TEXT = """\
# sent_id = 1
# text = I don't _
1\tI\tI\tPRON\tPRP\tNumber=Sing|Person=1\t3\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\t_\t3\taux\t_\t_
3\tn't\tnot\tPART\tRB\t_\t0\troot\t_\tSpaceAfter=No
3.1\tknow\tknow\tVERB\t_\t_\t_\t_\t_\t_
4\t_\t_\tSYM\t_\t_\t_\t_\t_\t_

1\tThé\t_\tX\t_\t_\t0\troot\t_\t_
"""


def test_sentences(tmp_path):
    (tmp_path / "a.conllu").write_text(TEXT.replace("\n", "\r\n"), encoding="utf-8")
    first, second = read_conllu(tmp_path / "a.conllu")
    assert first.words == ("I", "do", "n't", "_") and first.lemmas == ("I", "do", "not", "_")
    assert first.upos == ("PRON", "AUX", "PART", "SYM") and first.xpos == ("PRP", "VBP", "RB", None)
    assert first.feats == ("Number=Sing|Person=1", None, None, None)
    assert first.heads == (3, 3, 0, None) and first.deprels == ("nsubj", "aux", "root", None)
    assert first.comments == ("sent_id = 1", "text = I don't _")
    assert second.words == ("Thé",) and second.lemmas == (None,) and second.comments == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\ta\tb\n", "line 1: must have 10 columns with tabs; got 3"),
        (TEXT.replace("2\tdo", "5\tdo"), "line 5: must be word 2 of its sentence; got '5'"),
        (TEXT.replace("\t3\tnsubj", "\tx\tnsubj"), "line 3: the head must be a number; got 'x'"),
        ("# only a comment\n", "has no words"),
        ("", "is empty"),
    ],
)
def test_what_is_wrong_with_a_file(text, message, tmp_path):
    path = tmp_path / "a.conllu"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(f"{path}")) as caught:
        read_conllu(path)
    assert message in str(caught.value)


def test_a_treebank():
    path = DATA / "ud-english-ewt-dev.conllu"
    if not path.exists():
        pytest.skip(f"{path} is not there; set RNNFAST_DATA to the folder that has it")
    sentences = read_conllu(path)
    assert len(sentences) == 2001 and sum(len(s.words) for s in sentences) == 25147
    assert len({tag for s in sentences for tag in s.upos}) == 17
    assert all(head is None or 0 <= head <= len(s.words) for s in sentences for head in s.heads)


SENTENCES = [["The", "cat", "sat"], ["the", "unbelievably", "cat"], ["CAT", "x"]]


def test_encoder():
    encoder = WordEncoder.build(SENTENCES, max_characters=5)
    assert encoder.words.tokens == ("<unknown>", "cat", "the")
    assert encoder.characters.tokens[:2] == ("<padding>", "<unknown>")
    found = encoder.encode(["The", "sat", "unbelievably", "ß", ""])
    assert found.shape == (5, 6) and found.dtype == np.int64
    assert found[:, 0].tolist() == [2, 0, 0, 0, 0]

    def spelt(row):
        return "".join(encoder.characters.tokens[k] for k in row[1:] if k)

    assert [spelt(row) for row in found] == ["The", "sat", "unbly", "<unknown>", ""]
    assert (encoder.encode([]).shape == (0, 6)) and encoder.known("Cat") and not encoder.known("sat")
    assert not encoder.known("<unknown>") and encoder.encode(["<unknown>"])[0, 0] == 0
    again = WordEncoder.from_state_dict(encoder.state_dict())
    np.testing.assert_array_equal(again.encode(SENTENCES[1]), encoder.encode(SENTENCES[1]))
    assert repr(again) == "WordEncoder(3 words, 19 characters)"


def test_encoder_that_keeps_case():
    encoder = WordEncoder.build(SENTENCES, min_count=1, lower=False)
    counts = Counter(word for sentence in SENTENCES for word in sentence)
    assert set(encoder.words.tokens) == {"<unknown>", *counts}
    assert encoder.encode(["CAT"])[0, 0] != encoder.encode(["cat"])[0, 0]
    assert len(WordEncoder.build(SENTENCES, min_count=1, max_size=3).words) == 3


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: WordEncoder.build(["the cat"]), TypeError, "a sentence must be a sequence of words; got 'the cat'"),
        (lambda: WordEncoder.build([["a", 3]]), TypeError, "words must be strings; got 3"),
        (
            lambda: WordEncoder(CharVocabulary(["a"]), CharVocabulary(["a"])),
            TypeError,
            "words must be a Word",
        ),
        (lambda: WordEncoder(WordVocabulary(["a"]), CharVocabulary(["a"])), ValueError, "words must have an unknown"),
        (
            lambda: WordEncoder(WordVocabulary(["a"], "a"), CharVocabulary(["a", "b"], "b")),
            ValueError,
            "characters must have padding, a special token, as their first",
        ),
        (lambda: WordEncoder.from_state_dict({"words": 1}), KeyError, "state must have words, characters"),
    ],
)
def test_errors(build, error, message):
    with pytest.raises(error, match=re.escape(message)):
        build()
