"""The command line: demonstrations with tiny settings, their results, and errors told in one line."""

from __future__ import annotations

import gzip
import os
import re
import struct
import subprocess
import sys

import numpy as np
import pytest
from demo_runs import ROOT, check_one_line, data, run

from rnnfast.__main__ import DEMOS, main
from rnnfast.data import CharVocabulary, pack_trees, scaler_from_state_dict
from rnnfast.demos import common, corpus, formulas, glyphs, series, speed, text
from rnnfast.io import load_model
from rnnfast.losses import SoftmaxCrossEntropy

TEXTS = {
    "english": "to be, or not to be: that is the question\n" * 40,
    "chinese": "春眠不覺曉 處處聞啼鳥\n夜來風雨聲 花落知多少\n" * 20,
    "three characters": "abc",
    "one character": "a" * 50,
    "no newline": "abcd" * 100,
}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("name", TEXTS)
def test_text(name, suffix, tmp_path, capsys):
    (tmp_path / "t.txt").write_text(TEXTS[name], encoding="utf-8")
    path = tmp_path / f"m{suffix}"
    options = ["--epochs", 2, "--hidden", 8, "--length", 20, "--save", path]
    code, out, err = run(capsys, "demo", "--text", tmp_path / "t.txt", *options)
    assert code == 0 and err == ""
    assert re.search(r"validation .*: \d+\.\d{3} nats, \d+\.\d\d bits per character", out)
    assert "read back, it predicts the same" in out
    last = out.rstrip().splitlines()[-1]
    assert re.fullmatch(
        r"speed: [\d,]+ characters/s in training, [\d.]+ times the reference path .*; the two agree to \de-\d+", last
    )
    assert "\r" not in out
    model, extra = load_model(path, with_extra=True)
    vocabulary = CharVocabulary.from_state_dict(extra["vocabulary"])
    assert model(vocabulary.encode(TEXTS[name][:3])[None])[0].shape == (1, 3, len(vocabulary))


def test_text_by_default_is_the_standard_library(tmp_path, capsys):
    code, out, _ = run(
        capsys, "demo", "--seconds", 0.3, "--hidden", 8, "--length", 5, "--save", tmp_path / "m", "--seed", 3
    )
    assert code == 0 and "source of Python's standard library" in out
    assert len(list(tmp_path.iterdir())) == 1
    assert corpus.standard_library(20_000) == corpus.standard_library(50_000)[:20_000]
    assert corpus.standard_library(20_000).isascii()


def test_the_seed_decides(tmp_path, capsys):
    (tmp_path / "t.txt").write_text(TEXTS["english"])

    def outcome(seed):
        options = ["--epochs", 2, "--hidden", 8, "--length", 30, "--save", tmp_path / f"{seed}.npz", "--seed", seed]
        out = run(capsys, "demo", "text", "--text", tmp_path / "t.txt", *options)[1]
        sample = out.partition("--- what it writes")[2].rpartition("---")[0]
        return sample, (tmp_path / f"{seed}.npz").read_bytes()

    assert outcome(1) == outcome(1)
    assert outcome(1)[0] != outcome(2)[0] and outcome(1)[1] != outcome(2)[1]


def test_text_split():
    loaded = text.load(None, "x")
    assert loaded.prime == "x" and loaded.validation[0] == loaded.train[-1]
    assert abs(len(loaded.train) / (len(loaded.train) + len(loaded.validation) - 1) - 0.9) < 1e-4


def test_a_large_vocabulary_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "MAX_VOCABULARY", 20)
    (tmp_path / "t.txt").write_text("".join(map(chr, range(0x4E00, 0x4E80))) * 2, encoding="utf-8")
    loaded = text.load(tmp_path / "t.txt", None)
    assert len(loaded.vocabulary) == 20 and loaded.train.max() < 20 and (loaded.train == 0).any()


@pytest.mark.parametrize("limit", [["--epochs", 1], ["--seconds", 0.2]])
def test_forecast_made_up(limit, tmp_path, capsys):
    code, out, err = run(capsys, "demo", "forecast", *limit, "--hidden", 4, "--save", tmp_path / "m.npz")
    assert code == 0 and err == "" and "made-up" in out and "no file was given" in out
    assert re.search(
        r"test error \(RMSE\): [\d.]+; persistence: [\d.]+; [\d.]+% (below|above) persistence$", out.strip()
    )
    model, extra = load_model(tmp_path / "m.npz", with_extra=True)
    scaler = scaler_from_state_dict(extra["scaler"])
    assert model(scaler.transform(np.arange(5.0))[None, :, None])[0].shape == (1, 5, 1)
    assert np.array_equal(series.made_up(0).values, series.made_up(0).values)
    assert not np.array_equal(series.made_up(0).values, series.made_up(1).values)


def test_forecast_of_a_file_with_holes(tmp_path, capsys):
    rows = [f"{k},{10 + k % 7}" for k in range(100)]
    rows[0], rows[20], rows[21] = "0,", "20,?0.2", "21,NA"
    (tmp_path / "s.csv").write_text("day,temp\n" + "\n".join(rows) + "\n")
    options = ["--csv", tmp_path / "s.csv", "--column", "temp", "--epochs", 3, "--save", tmp_path / "m.npz"]
    code, out, _ = run(capsys, "demo", "forecast", *options)
    assert code == 0
    assert "no numbers: '?0.2' in line 22" in out and "3 missing of 100" in out


def test_forecast_reads_decimal_commas(tmp_path, capsys):
    (tmp_path / "s.csv").write_text("day;temp\n" + "".join(f"{k};{k % 7},5\n" for k in range(60)))
    options = ["--csv", tmp_path / "s.csv", "--column", "temp", "--epochs", 1, "--save", tmp_path / "m.npz"]
    code, out, _ = run(capsys, "demo", "forecast", *options, "--decimal", ",")
    assert code == 0 and "missing" not in out


def test_forecast_of_a_constant(tmp_path, capsys):
    (tmp_path / "s.csv").write_text("a\n" + "5\n" * 60)
    options = ["--csv", tmp_path / "s.csv", "--epochs", 1, "--save", tmp_path / "m.npz"]
    code, out, _ = run(capsys, "demo", "forecast", *options)  # one column needs no name
    assert code == 0 and "persistence: 0; nothing to gain on persistence" in out


def test_digits_made_up(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("rnnfast.demos.digits.MADE_UP", 400)
    code, out, err = run(capsys, "demo", "digits", "--epochs", 2, "--hidden", 16, "--save", tmp_path / "m.npz")
    assert code == 0 and err == "" and "drawn from a small font" in out
    assert re.search(r"test: [\d.]+% of 80 read rightly", out)
    assert load_model(tmp_path / "m.npz")(np.zeros((2, 28, 28)))[0].shape == (2, 10)


def test_drawn_digits():
    images, labels = glyphs.draw(300, 0)
    assert images.shape == (300, 28, 28) and images.dtype == np.uint8 and set(labels) == set(range(10))
    again, _ = glyphs.draw(300, 0)
    assert np.array_equal(images, again)
    # Ink lies in the middle, little at the edge, and no two images are alike.
    assert images[:, 8:20, 8:20].mean() > 3 * images[:, :2].mean()
    assert len(np.unique(images.reshape(300, -1), axis=0)) == 300


def test_tree(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("rnnfast.demos.tree.MADE_UP", 500)
    (tmp_path / "mine.txt").write_text("1 & (0|!1)\n\n!0\n")
    files = ["--formula", "(1^0)", "--formulas", tmp_path / "mine.txt", "--save", tmp_path / "m.npz"]
    code, out, err = run(capsys, "demo", "tree", "--epochs", 1, "--hidden", 8, "--kind", "binary", *files)
    assert code == 0 and err == "" and "Tree-LSTM, " in out and "LSTM over letters, " in out
    assert re.search(r"Tree-LSTM +[\d.]+% +[\d.]+%\n", out)
    assert all(f"\n  {text} = " in out for text in ("(1^0)", "(1&(0|!1))", "!0"))
    x, lengths = pack_trees([(2, 1, 0)])
    assert load_model(tmp_path / "m.npz")(x, lengths=lengths)[0].shape == (1, 2)


def test_formulas():
    rng = np.random.default_rng(0)
    for _ in range(50):
        formula = formulas.grow(rng, 4)
        text = formulas.write(formula)
        assert formulas.read(f" {text} ") == formula
        assert formulas.value(formula) == eval(text.replace("!", "~")) & 1  # Python's own operators on the lowest bit
    assert [formulas.value(formulas.read(t)) for t in ("!1", "!!1", "1&!0", "0|0", "(1^1)^1")] == [0, 1, 1, 0, 1]
    for wrong, message in (
        ("", "the end"),
        ("1&", "the end"),
        ("(1&0", "expected one of )"),
        ("1&0&1", "'&1' is left"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            formulas.read(wrong)
    with pytest.raises(ValueError, match="deeper than 200 levels"):
        formulas.read("!" * 500 + "1")


def write_idx(path, array):
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))
    return path


def test_digits_of_files(tmp_path, capsys):
    images, labels = glyphs.draw(100, 0)
    files = ["--images", write_idx(tmp_path / "i.gz", images), "--labels", write_idx(tmp_path / "l.gz", labels)]
    code, out, _ = run(capsys, "demo", "digits", *files, "--epochs", 1, "--hidden", 8, "--save", tmp_path / "m.npz")
    assert code == 0 and "i.gz, 100 of 28 x 28; the last 20 are the test" in out


def bad_files(folder):
    (folder / "empty").write_bytes(b"")
    (folder / "latin").write_bytes(b"caf\xe9 au lait, caf\xe9 au lait")
    (folder / "short").write_text("ab")
    (folder / "s.csv").write_text("day,temp\n1,2\n")
    (folder / "words.csv").write_text("day,temp\n" + "1,x\n" * 50)
    images, labels = glyphs.draw(20, 0)
    write_idx(folder / "images", images)
    write_idx(folder / "labels", labels)
    write_idx(folder / "few", labels[:5])


BAD = [
    (["text", "--text", "absent"], "absent: No such file"),
    (["text", "--text", "."], "Is a directory"),
    (["text", "--text", "empty"], "empty is empty"),
    (["text", "--text", "latin"], "latin is not UTF-8 text: byte 3 is 0xe9"),
    (["text", "--text", "short"], "at least 3 characters; got 2"),
    (["text", "--text", "s.csv", "--prime", ""], "--prime"),
    (["text", "--save", "absent/m.npz"], "no such folder"),
    (["text", "--save", "m.pkl"], "must end in"),
    (["forecast", "--csv", "absent", "--column", "temp"], "No such file"),
    (["forecast", "--csv", "empty", "--column", "temp"], "empty is empty"),
    (["forecast", "--csv", "s.csv"], "the column to forecast; s.csv has day, temp"),
    (["forecast", "--csv", "s.csv", "--column", "Temp"], "no column 'Temp'; it has day, temp"),
    (["forecast", "--csv", "s.csv", "--column", "temp"], "at least 40 steps; got 1"),
    (["forecast", "--csv", "words.csv", "--column", "temp"], "has no number in it"),
    (["forecast", "--csv", "latin", "--column", "temp"], "not UTF-8"),
    (["forecast", "--column", "temp"], "--column needs --csv"),
    (["digits", "--images", "images"], "go together"),
    (["digits", "--images", "absent", "--labels", "labels"], "No such file"),
    (["digits", "--images", "empty", "--labels", "labels"], "empty is empty"),
    (["digits", "--images", "labels", "--labels", "labels"], "images x rows x columns"),
    (["digits", "--images", "images", "--labels", "images"], "one label for each image"),
    (["digits", "--images", "images", "--labels", "few"], "must have 20 labels"),
    (["digits", "--images", "s.csv", "--labels", "labels"], "not an IDX file"),
    (["tree", "--formula", "1+1"], "'1+1' is no formula"),
    (["tree", "--formulas", "absent"], "absent: No such file"),
    (["tree", "--formulas", "empty"], "holds no formula"),
    (["tree", "--formulas", "latin"], "can't decode"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_errors_take_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    bad_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    check_one_line(capsys, arguments, message, tmp_path)


USAGE = [
    [],
    ["demo", "--seconds", "0"],
    ["demo", "--seconds", "soon"],
    ["demo", "--seconds", "nan"],
    ["demo", "--seconds", "1", "--epochs", "1"],
    ["demo", "--epochs", "0"],
    ["demo", "--epochs", "1.5"],
    ["demo", "--hidden", "-3"],
    ["demo", "--temperature", "-1"],
    ["demo", "--length", "-1"],
    ["demo", "--seed", "-1"],
    ["demo", "--top-k", "0"],
    ["demo", "nonsense"],
    ["demo", "forecast", "--text", "x"],
    ["train"],
]


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "error: " in captured.err and "Traceback" not in captured.err


def test_an_unknown_demo_is_told_of(capsys):
    with pytest.raises(SystemExit):
        main(["demo", "nonsense"])
    assert "invalid choice: 'nonsense'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["info"], ["demo", "forecast"]], ids=" ".join)
@pytest.mark.parametrize("variable", ["RNNFAST_ISA", "RNNFAST_NUM_THREADS"])
def test_a_wrong_environment_takes_one_line(variable, arguments, tmp_path):
    command = [sys.executable, "-m", "rnnfast", *arguments]
    environment = {**os.environ, variable: "nonsense", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(rf"rnnfast: error: {variable} must be .*; got 'nonsense'\n", done.stderr)


@pytest.mark.parametrize("name", DEMOS)
def test_help_has_examples(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["demo", name, "--help"])
    out = capsys.readouterr().out
    assert caught.value.code == 0 and f"python -m rnnfast demo{'' if name == 'text' else ' ' + name}" in out
    assert "--seconds" in out and "--save" in out


def test_help_lists_what_there_is(capsys):
    for arguments, words in ((["--help"], ["demo", "info", "examples"]), (["demo", "-h"], DEMOS)):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        out = capsys.readouterr().out
        assert caught.value.code == 0 and all(word in out for word in words)


def test_info(capsys):
    code, out, _ = run(capsys, "info")
    assert code == 0
    assert [line.partition(":")[0] for line in out.splitlines()] == [
        "rnnfast",
        "Python",
        "NumPy",
        "optional",
        "processor",
        "instruction set",
        "threads",
        "backend",
    ]


def process(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "rnnfast", *map(str, arguments)],
        capture_output=True,
        env={**environment, **options.pop("env", {})},
        timeout=120,
        **options,
    )


def test_as_a_process(tmp_path):
    (tmp_path / "t.txt").write_text(TEXTS["chinese"], encoding="utf-8")
    options = ["--text", "t.txt", "--epochs", 1, "--hidden", 8, "--length", 9, "--save", "m.npz"]
    # An output that cannot show the script is no reason to fail.
    done = process("demo", *options, cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and done.stderr == b"" and (tmp_path / "m.npz").exists()
    failed = process("demo", "--text", "absent", cwd=tmp_path)
    assert failed.returncode == 1 and failed.stderr == b"rnnfast: error: absent: No such file or directory\n"
    assert process("demo", "--epochs", "x").returncode == 2


def test_a_reader_that_goes_away(tmp_path):
    command = f"{sys.executable} -m rnnfast demo --seconds 0.2 --hidden 4 --length 99999 --save m.npz | head -n 1"
    done = subprocess.run(
        command, shell=True, capture_output=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120
    )
    assert done.stdout.startswith(b"text: ") and done.stderr == b""


def test_an_interrupt_in_the_middle(tmp_path, monkeypatch, capsys):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(text, "load", interrupt)
    code, _, err = run(capsys, "demo", "--save", tmp_path / "m.npz")
    assert code == 130 and err == "\nrnnfast: interrupted\n"


def test_an_interrupted_training_goes_on_with_what_it_has(tmp_path, monkeypatch, capsys):
    def interrupt(self, trainer, batch, loss):
        if batch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(common.Ticker, "on_batch_end", interrupt)
    (tmp_path / "t.txt").write_text(TEXTS["english"])
    options = ["--text", tmp_path / "t.txt", "--epochs", 9, "--hidden", 4, "--length", 5, "--save", tmp_path / "m.npz"]
    code, out, _ = run(capsys, "demo", *options, "--streams", 4)
    assert code == 0 and "interrupted: going on with the model as it is" in out and (tmp_path / "m.npz").exists()


def test_paths_that_differ_are_not_timed(monkeypatch):
    model = text.build(5, 4, [0, 1, 2])
    x = np.array([[0, 1, 2]])
    found = speed.compare(model, SoftmaxCrossEntropy(), x, x)
    assert found.difference < 1e-4 and found.native > 0 and found.reference > 0
    run_once = speed._run

    def wrong(backend, *arguments):
        seconds, value, grads = run_once(backend, *arguments)
        if backend == "native":
            grads["1.weight_hh_l0"] = grads["1.weight_hh_l0"] * 1.01
        return seconds, value, grads

    monkeypatch.setattr(speed, "_run", wrong)
    with pytest.raises(common.UserError, match=r"differ by 1\.0e-02"):
        speed.compare(model, SoftmaxCrossEntropy(), x, x)


class Terminal:
    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_a_terminal_gets_one_line_rewritten():
    stream = Terminal()
    ticker = common.Ticker(lambda loss: f"loss {loss:.3f}", "things", 10, 4, None, stream)
    ticker.on_fit_begin(None)
    for batch in range(4):
        ticker.on_batch_end(None, batch, 2.0)
    ticker.close()
    assert stream.text.startswith("\r") and stream.text.endswith("\n") and stream.text.count("\n") == 1
    assert "100%  loss 2.000" in stream.text and "0 s left" in stream.text


def test_daily_temperatures_beat_persistence(tmp_path, capsys):
    path = data("daily-min-temperatures.csv")
    code, out, _ = run(capsys, "demo", "forecast", "--csv", path, "--column", "Temp", "--save", tmp_path / "m.npz")
    assert code == 0 and "the last 730 are the test" in out
    gain = re.search(r"([\d.]+)% below persistence", out)
    assert gain and float(gain[1]) >= 12


def test_handwritten_digits(tmp_path, capsys):
    files = ["--images", data("mnist-10k-images-idx3-ubyte.gz"), "--labels", data("mnist-10k-labels-idx1-ubyte.gz")]
    code, out, _ = run(capsys, "demo", "digits", *files, "--save", tmp_path / "m.npz")
    right = re.search(r"test: ([\d.]+)% of 2,000", out)
    assert code == 0 and right and float(right[1]) >= 97


def test_shakespeare_is_learnt(tmp_path, capsys):
    options = ["--text", data("tinyshakespeare.txt"), "--hidden", 64, "--seconds", 6, "--length", 50]
    code, out, _ = run(capsys, "demo", *options, "--save", tmp_path / "m.npz")
    value = re.search(r"validation .*: ([\d.]+) nats", out)
    # Letters by their frequency alone take 3.3 nats, pairs of them 2.5.
    assert code == 0 and value and float(value[1]) < 2.5


def test_poems(tmp_path, capsys):
    options = ["--text", data("tang-quatrains.tsv"), "--hidden", 16, "--seconds", 1, "--length", 20]
    code, out, _ = run(capsys, "demo", *options, "--save", tmp_path / "m.npz")
    assert code == 0 and re.search(r"[\u4e00-\u9fff]", out.partition("--- what it writes")[2])


def test_stray_cells_in_the_real_file(tmp_path):
    path = data("daily-min-temperatures.csv")
    lines = path.read_text().splitlines()
    lines[500] = re.sub(r",", ",?", lines[500])
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert len(series.from_csv(tmp_path / "t.csv", "Temp").values) == 3650
