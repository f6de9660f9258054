"""The demonstrations of tagging and of speech: small settings, their options, their files, and a part of real data."""

from __future__ import annotations

import re
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
from demo_runs import data, number
from demo_runs import run_demo as run

from rnnfast.data import WordEncoder
from rnnfast.demos import grammar, sounds, speech
from rnnfast.io import load_model

SENTENCE = "the bokanful gupik danly ran ."


@pytest.mark.parametrize("crf", [[], ["--crf"]])
def test_tagging_made_up(crf, tmp_path, capsys, monkeypatch):
    options = [
        "--epochs",
        2,
        "--hidden",
        24,
        "--save",
        tmp_path / "m.npz",
        "--sentence",
        "the bokanful gupik danly ran .",
    ]
    code, out, err = run(capsys, "tagging", *options, *crf)
    assert code == 0 and err == "" and "no file was given" in out
    assert number(r"test: ([\d.]+)% of", out) > 85 > number(r"most frequent tag: ([\d.]+)%", out)
    assert number(r"words never seen: ([\d.]+)% of", out) > 70
    assert "read back, it predicts the same" in out and "bokanful" in out.splitlines()[-2]
    assert re.fullmatch(r"\s+DET\s+ADJ\s+NOUN\s+ADV\s+\w+\s+PUNCT", out.splitlines()[-1])
    model, extra = load_model(tmp_path / "m.npz", with_extra=True)
    encoder = WordEncoder.from_state_dict(extra["encoder"])
    assert model.tag(encoder.encode(["the"])[None])[0, 0] == extra["tags"].index("DET")


def test_tagging_of_a_treebank_with_its_own_tags(tmp_path, capsys):
    rows = "".join(
        "1\tthe\t_\tDET\tDT\t_\t_\t_\t_\t_\n2\tcat\t_\tNOUN\tNN\t_\t_\t_\t_\t_\n\n"
        "1\tcats\t_\tNOUN\tNNS\t_\t_\t_\t_\t_\n2\tran\t_\tVERB\t_\t_\t_\t_\t_\t_\n\n"
        for _ in range(12)
    )
    (tmp_path / "a.conllu").write_text(rows)
    options = ["--conllu", tmp_path / "a.conllu", "--column", "xpos", "--epochs", 1, "--save", tmp_path / "m.npz"]
    code, out, _ = run(capsys, "tagging", *options)
    assert code == 0 and "a.conllu, 12; a random fifth" in out  # sentences without such tags are left out
    assert load_model(tmp_path / "m.npz", with_extra=True)[1]["tags"] == ["DT", "NN"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["tagging", "--column", "xpos"], "--column goes with --conllu"),
        (["tagging", "--conllu", "none.conllu"], "none.conllu: No such file or directory"),
        (["tagging", "--conllu", "few.conllu"], "few.conllu: must have at least 10 sentences with upos; got 1"),
        (["speech", "--zip", "none.zip"], "none.zip: No such file or directory"),
        (["speech", "--zip", "few.conllu"], "few.conllu is not a zip archive: File is not a zip file"),
        (
            ["speech", "--zip", "few.zip"],
            "few.zip: must have at least 20 files DIGIT_SPEAKER_INDEX.wav, of 2 digits",
        ),
        (["speech", "--zip", "rates.zip"], "rates.zip: all files must have one rate; got 8000, 9000 a second"),
        (["speech", "--speaker", "nobody"], "--speaker must be one of voice 0, voice 1, voice 2, voice 3, and not the"),
        (["speech", "--wav", "fast.wav"], "fast.wav: must have 8000 samples a second, as the training data; got 9000"),
    ],
)
def test_errors_in_one_line(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("few.conllu").write_text("1\ta\t_\tX\t_\t_\t_\t_\t_\t_\n")
    archive("few.zip", [(0, "a", 0, 8000)])
    archive("rates.zip", [(k % 10, "a", k, 8000 + 1000 * (k == 7)) for k in range(30)])
    write("fast.wav", np.zeros(900), 9000)
    code, _, err = run(capsys, *options, "--epochs", 1, "--save", tmp_path / "m")
    assert code == 1 and err.startswith(f"rnnfast: error: {message}") and err.count("\n") == 1
    assert not list(tmp_path.glob("m*"))


def write(path, samples, rate=8000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.asarray(samples) * 32767).astype("<i2").tobytes())


def archive(path, entries):
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("README.txt", "not a sound")
        for digit, speaker, index, rate in entries:
            write("one.wav", np.sin(np.arange(900) * (digit + 1) / 10) / 2, rate)
            packed.write("one.wav", f"recordings/{digit}_{speaker}_{index}.wav")


def test_speech_made_up(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speech, "MADE_UP", 200)
    code, out, err = run(capsys, "speech", "--epochs", 5, "--hidden", 16, "--save", tmp_path / "m.npz")
    assert code == 0 and err == "" and "no archive was given" in out
    assert number(r"test: ([\d.]+)% of 40 heard rightly", out) > 60
    assert number(r"never heard before \(voice 0\): ([\d.]+)% of 50", out) > 30
    assert re.fullmatch(
        r"by the model read from the file: a recording of the test, \d, at half its loudness: \d \(\d+% sure\)",
        out.splitlines()[-1],
    )


def test_speech_joined(tmp_path, capsys, monkeypatch):
    for name, value in (("SEQUENCES", 200), ("LONGEST", 3), ("BATCH", 4)):
        monkeypatch.setattr(speech, name, value)
    write(tmp_path / "mine.wav", sounds.make_up(1, 3)[0].samples)
    options = ["--epochs", 9, "--hidden", 32, "--save", tmp_path / "m.npz", "--wav", tmp_path / "mine.wav"]
    code, out, _ = run(capsys, "speech", "--joined", *options)
    assert code == 0 and "joined: 200 sequences of 1 to 3 digits to train on, 40 of the test's recordings" in out
    rates = [float(rate) for rate in re.findall(r"digit error rate ([\d.]+)% of", out)]
    assert len(rates) == 2 and max(rates) < 60
    assert re.search(r"by the model read from the file: mine.wav: \w+ \(\d+% sure\)$", out.strip())


def test_speech_of_an_archive(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive("a.zip", [(k % 10, "ab"[k // 20], k, 8000) for k in range(40)])
    code, out, _ = run(
        capsys, "speech", "--zip", "a.zip", "--speaker", "b", "--epochs", 1, "--hidden", 4, "--save", "m"
    )
    assert code == 0 and "a.zip, 40 of 2 speakers" in out and "a speaker never heard before (b)" in out


def test_what_is_made_up_follows_the_seed():
    assert grammar.make_up(5, 1) == grammar.make_up(5, 1) != grammar.make_up(5, 2)
    one, same, other = (sounds.make_up(11, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0].samples, other[0].samples)
    assert [r.digit for r in one] == [*range(10), 0] and one[10].speaker == "voice 1"
    assert max(np.abs(r.samples).max() for r in one) < 1


def test_joined_digits_are_of_one_speaker():
    recordings = sounds.make_up(80, 0)
    heard, digits = sounds.join(recordings, 30, 4, 8000, np.random.default_rng(0))
    assert {len(row) for row in digits} == {1, 2, 3, 4}
    for sound, row in zip(heard, digits, strict=True):
        assert len(sound) >= min(len(r.samples) for r in recordings) * len(row)


def test_tagging_of_a_part_of_the_treebank(tmp_path, capsys):
    sentences = data("ud-english-ewt-dev.conllu").read_text(encoding="utf-8").split("\n\n")
    (tmp_path / "part.conllu").write_text("\n\n".join(sentences[:400]), encoding="utf-8")
    options = ["--conllu", tmp_path / "part.conllu", "--epochs", 4, "--hidden", 16, "--save", tmp_path / "m.npz"]
    code, out, _ = run(capsys, "tagging", *options)
    assert code == 0 and "part.conllu, 400; a random fifth" in out and "most often confused" in out
    assert number(r"test: ([\d.]+)% of", out) > 60


def test_speech_of_a_part_of_the_digits(tmp_path, capsys):
    with zipfile.ZipFile(data("spoken-digits.zip")) as whole, zipfile.ZipFile(tmp_path / "part.zip", "w") as part:
        for name in whole.namelist():
            if re.fullmatch(r"\d_(george|theo)_[0-7]\.wav", name):
                part.writestr(name, whole.read(name))
    options = ["--zip", tmp_path / "part.zip", "--epochs", 4, "--hidden", 16, "--save", tmp_path / "m.npz"]
    code, out, _ = run(capsys, "speech", *options)
    assert code == 0 and "160 of 2 speakers" in out
    assert number(r"test: ([\d.]+)% of 32 heard rightly", out) > 30
