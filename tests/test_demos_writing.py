"""Demonstrations of models that write: translation, poems, captions, on made-up data and on the user's files."""

from __future__ import annotations

import argparse
import gzip
import math
import re
import sys

import numpy as np
import pytest
from demo_runs import data, number, run

from rnnfast.data import CharVocabulary, WordVocabulary, teacher_forcing
from rnnfast.decoding import greedy
from rnnfast.demos import captions, poems, quatrains, sentences, translate
from rnnfast.demos.word_by_word import WordByWord
from rnnfast.io import load_model
from rnnfast.models import EncoderDecoder, LanguageModel, VectorToSequence


@pytest.mark.parametrize("options", [[], ["--attention", "additive", "--feeding", "context", "--beam", 1]])
def test_translate_made_up(options, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(translate, "MADE_UP", 200)
    monkeypatch.setattr(translate, "HELD_OUT", 20)
    options = [*options, "--epochs", 1, "--hidden", 9, "--say", "heute sieht der hund ein boot ."]
    code, out, err = run(capsys, "demo", "translate", *options, "--save", tmp_path / "m.npz")
    assert code == 0 and err == "" and "made-up German and English (no files were given), 200 and 20 for" in out
    assert "read back, it predicts the same" in out and "nats a word" in out
    assert "as they should be: greedy" in out and ("beam of 5" in out) == ("--beam" not in options)
    assert "where each word of a translation looks" in out
    assert out.splitlines()[-2] == "heute sieht der hund ein boot ."  # above its translation, which may be empty
    model, extra = load_model(tmp_path / "m.npz", with_extra=True)
    source, target = (WordVocabulary.from_state_dict(extra[side]) for side in ("source", "target"))
    state = model.start([source.encode("die katze sucht das haus")])
    first, end = [target.number(translate.START)], target.number(translate.END)
    assert isinstance(model, EncoderDecoder) and len(greedy(model, state, first, max_length=5, end=end)) == 1


def files(tmp_path, **sides):
    for name, lines in sides.items():
        (tmp_path / name).write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return [argument for name in sides for argument in (f"--{name.replace('_', '-')}", tmp_path / name)]


def test_translate_files(tmp_path, capsys):
    german = ["Ein Hund läuft.", "Eine Katze schläft.", "", "Ein Mann liest."] * 6
    english = ["A dog runs.", "A cat sleeps.", "left out", "A man reads."] * 6
    tests = files(tmp_path, source=german, target=english, test_source=german[:3], test_target=english[:3])
    options = ["--epochs", 2, "--hidden", 8, "--save", tmp_path / "m.npz"]
    code, out, _ = run(capsys, "demo", "translate", *tests, *options)
    assert code == 0 and "18 and 2 for the test" in out and "Eine Katze schläft." in out
    code, out, _ = run(capsys, "demo", "translate", *tests[:4], *options)
    assert code == 0 and "17 and 1 for the test" in out


@pytest.mark.parametrize(
    ("sides", "options", "match"),
    [
        ({"source": ["a"]}, [], "--source and --target go together"),
        ({"test_source": ["a"], "test_target": ["a"]}, [], "--test-source needs --source and --target"),
        ({"source": ["a"], "target": ["a"], "test_source": ["a"]}, [], "--test-source and --test-target go together"),
        ({"source": ["a", "b"], "target": ["c"]}, [], "must have as many lines; got 2 and 1"),
        ({"source": ["a"], "target": ["c"]}, [], "there must be at least two lines"),
        ({"source": ["", "b"], "target": ["c", ""]}, [], "have no line that is not empty in one of them"),
        ({}, ["--say", " "], "--say must have at least one word"),
    ],
)
def test_translate_refuses(sides, options, match, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(translate, "MADE_UP", 30)
    monkeypatch.setattr(translate, "HELD_OUT", 3)
    options = [*options, "--epochs", 1, "--hidden", 4, "--save", tmp_path / "m.npz"]
    code, _, err = run(capsys, "demo", "translate", *files(tmp_path, **sides), *options)
    assert code == 1 and match in err and err.startswith("rnnfast: error: ") and err.count("\n") == 1


def test_made_up_sentences_are_kept_apart():
    text = sentences.made_up(500, 100, 3)
    assert len(set(text.train[0]) | set(text.test[0])) == 600 and text == sentences.made_up(500, 100, 3)
    for german, english in zip(*text.train, strict=True):
        assert ("hat" in german.split()) == ("has" in english.split())
        words = german.split()
        if "will" in words:
            assert words[-2] in sentences.BASES.values() and "wants to" in english


def test_word_by_word():
    source = [np.array([0, 1]), np.array([0, 2]), np.array([1, 2, 2])]
    target = [np.array([3, 4]), np.array([3, 5]), np.array([4, 5, 2])]
    model = WordByWord((source, target), (4, 6), first=3)
    assert model.translate(np.array([2, 1, 0, 3])).tolist() == [5, 4, 3]
    assert WordByWord((source, target), (4, 6), first=6).translate(np.array([0, 1])).tolist() == []


def test_sentences_are_put_together_and_measured(monkeypatch):
    vocabulary = WordVocabulary.build(["a man ' s t - shirt , red ."])
    assert translate.plain(vocabulary, vocabulary.encode("a man's t-shirt, red.")) == "a man's t-shirt, red."
    assert translate.plain_text("A man's shirt.") == "a man ' s shirt ."
    lines = ["the cat sits on the mat today", "a dog runs over the wet grass"]
    pytest.importorskip("sacrebleu")
    assert translate.bleu([line.upper() for line in lines], lines) == pytest.approx(100)
    assert translate.bleu(lines[::-1], lines) < 10
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    assert translate.bleu(lines, lines) is None


def test_poems_made_up(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(poems, "MADE_UP", 80)
    options = ["--epochs", 2, "--hidden", 8, "--samples", 5, "--begin", "月", "--save", tmp_path / "m.npz"]
    code, out, err = run(capsys, "demo", "poems", *options)
    assert code == 0 and err == "" and "72 and 8 for the test" in out and "nats a symbol" in out
    assert re.search(r"\d of 5 poems keep the form", out)
    shown = out.partition("--- what it writes")[2].partition("---\n")[2].partition("---")[0]
    assert all(poem.startswith("月") for poem in shown.strip().split("\n\n"))
    model, extra = load_model(tmp_path / "m.npz", with_extra=True)
    vocabulary = CharVocabulary.from_state_dict(extra["vocabulary"])
    assert isinstance(model, LanguageModel) and model.decoder.tied and model.decoder.size == len(vocabulary)
    code, _, err = run(capsys, "demo", "poems", *options, "--begin", "x")
    assert code == 1 and "--begin must be of characters that the poems have; got 'x'" in err


def test_poems_of_a_file(tmp_path, capsys):
    rows = [f"title\t{poem}\n" for poem in quatrains.FAMOUS] + ["\n"]
    (tmp_path / "p.tsv").write_text("".join(rows), encoding="utf-8")
    options = ["--poems", tmp_path / "p.tsv", "--epochs", 1, "--hidden", 8, "--samples", 3]
    code, out, _ = run(capsys, "demo", "poems", *options, "--save", tmp_path / "m.npz")
    assert code == 0 and "p.tsv, 18 and 2 for the test" in out
    (tmp_path / "p.tsv").write_text(rows[0], encoding="utf-8")
    code, _, err = run(capsys, "demo", "poems", *options, "--save", tmp_path / "m.npz")
    assert code == 1 and "at least two poems" in err


def test_form():
    assert all(map(quatrains.keeps_form, quatrains.FAMOUS)) and len(set(quatrains.FAMOUS)) == 20
    assert all(map(quatrains.keeps_form, quatrains.patchwork(50, 0).train))
    first = quatrains.FAMOUS[0]
    for poem in (first[:-6], first[1:], first + first, first.replace("\uff0c", "", 1), ""):
        assert not quatrains.keeps_form(poem)
    assert quatrains.form_of(first[1:]) == (4, 5, 5, 5)
    assert "".join(quatrains.in_lines(first)) == first and len(quatrains.in_lines(first)) == 4
    assert quatrains.in_lines("") == []


@pytest.mark.parametrize(("name", "kind"), [("attention", EncoderDecoder), ("vector", VectorToSequence)])
def test_captions_of_drawn_digits(name, kind, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rnnfast.demos.digits.MADE_UP", 60)
    options = ["--model", name, "--epochs", 1, "--hidden", 9, "--new", 1, "--save", tmp_path / "m.npz"]
    code, out, err = run(capsys, "demo", "captions", *options)
    assert code == 0 and err == "" and "the last 12 are the test" in out
    assert re.search(r"test: [\d.]+% of 12 named rightly; always the same name: [\d.]+%", out)
    assert ("which rows each letter" in out) == (name == "attention") and "new images, drawn now" in out
    model, extra = load_model(tmp_path / "m.npz", with_extra=True)
    vocabulary = CharVocabulary.from_state_dict(extra["vocabulary"])
    assert type(model) is kind and extra["model"] == name
    x = captions.pixels(np.zeros((2, 28, 28), np.uint8), name)
    (first, second) = captions.captions(model, vocabulary, x, 3)
    assert len(first) == 3 and first[0].tokens.tolist() == second[0].tokens.tolist()


def test_names_can_be_learnt():
    vocabulary = CharVocabulary.build(captions.NAMES, special=(captions.START, captions.END))
    args = argparse.Namespace(hidden=24, model="vector", seed=0, epochs=40, seconds=None)
    labels = np.tile(np.arange(10), 30)
    x = np.eye(10, dtype=np.float32)[labels]
    model = captions.build(args, x, vocabulary)
    captions.fit(model, args, vocabulary, x, labels)
    found = captions.captions(model, vocabulary, np.eye(10, dtype=np.float32), 1)
    assert [vocabulary.decode(best[0].tokens) for best in found] == list(captions.NAMES)


def test_labels_must_be_digits(tmp_path, capsys):
    head = {"images": (b"\0\0\x08\x03", (10, 2, 2)), "labels": (b"\0\0\x08\x01", (10,))}
    for name, (magic, shape) in head.items():
        body = np.full(shape, 11, np.uint8).tobytes()
        (tmp_path / name).write_bytes(magic + np.array(shape, ">u4").tobytes() + body)
    options = ["--images", tmp_path / "images", "--labels", tmp_path / "labels", "--save", tmp_path / "m.npz"]
    code, _, err = run(capsys, "demo", "captions", *options)
    assert code == 1 and "labels must be less than 10; got 11" in err


def test_teacher_forcing():
    inputs, outputs = teacher_forcing([[5, 6], []], start=1, end=0)
    assert [part.tolist() for part in inputs] == [[1, 5, 6], [1]]
    assert [part.tolist() for part in outputs] == [[5, 6, 0], [0]]
    assert all(part.dtype == np.int64 for part in (*inputs, *outputs))
    for sequences, options, error, match in (
        ([[1.5]], {}, TypeError, r"sequences\[0\] must be integers"),
        ([[1], [[2]]], {}, ValueError, r"sequences\[1\] must be tokens of at least 0 in one dimension"),
        ([[-1]], {}, ValueError, "at least 0"),
        ([[1]], {"start": -1}, ValueError, "start must be at least 0"),
    ):
        with pytest.raises(error, match=match):
            teacher_forcing(sequences, **{"start": 1, "end": 0, **options})


def first_lines(path, count):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [next(file).rstrip("\n") for _ in range(count)]


def test_translate_a_part_of_the_real_sentences(tmp_path, capsys):
    sides = {"source": "train.de", "target": "train.en", "test_source": "val.de", "test_target": "val.en"}
    lines = {
        side: first_lines(data(f"multi30k-{name}.gz"), 300 if "test" not in side else 20)
        for side, name in sides.items()
    }
    options = ["--epochs", 3, "--hidden", 24, "--save", tmp_path / "m.npz"]
    code, out, _ = run(capsys, "demo", "translate", *files(tmp_path, **lines), *options)
    assert code == 0 and "300 and 20 for the test" in out and "as they should be: beam of 5" in out
    # All words alike would be the logarithm of their number.
    assert number(r"test: ([\d.]+) nats", out) < math.log(number(r"words: [\d,]+ and ([\d,]+)", out))


def test_poems_of_the_real_file(tmp_path, capsys):
    poems = quatrains.from_file(data("tang-quatrains.tsv"))
    assert (len(poems.train), len(poems.test)) == (7200, 800) and all(map(quatrains.keeps_form, poems.train))
    (tmp_path / "p.txt").write_text("\n".join(poems.train[:300]), encoding="utf-8")
    options = [
        "--poems",
        tmp_path / "p.txt",
        "--epochs",
        6,
        "--hidden",
        32,
        "--samples",
        4,
        "--begin",
        poems.train[0][:2],
    ]
    code, out, _ = run(capsys, "demo", "poems", *options, "--save", tmp_path / "m.npz")
    assert code == 0 and "270 and 30 for the test" in out and poems.train[0][:2] in out.partition("what it writes")[2]
    assert number(r"test: ([\d.]+) nats", out) < math.log(number(r"([\d,]+) characters,", out))


def test_captions_of_real_digits(tmp_path, capsys):
    for kind, head, size in (("images", 16, 784), ("labels", 8, 1)):
        with gzip.open(data(f"mnist-10k-{kind}-idx{3 if kind == 'images' else 1}-ubyte.gz")) as file:
            whole = file.read(head + 1000 * size)
        (tmp_path / kind).write_bytes(whole[:4] + (1000).to_bytes(4, "big") + whole[8:])
    options = [
        "--images",
        tmp_path / "images",
        "--labels",
        tmp_path / "labels",
        "--epochs",
        8,
        "--model",
        "vector",
        "--hidden",
        64,
    ]
    code, out, _ = run(capsys, "demo", "captions", *options, "--save", tmp_path / "m.npz")
    assert code == 0 and number(r"test: ([\d.]+)% of 200 named rightly", out) > 3 * number(r"same name: ([\d.]+)%", out)
