"""The commands of ``python -m rnnfast`` on tiny data, from training to answers, and errors told in one line."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rnnfast
from rnnfast import Dense, load_model, plotting, save_model
from rnnfast.__main__ import COMMANDS, main
from rnnfast.cli import bench
from rnnfast.cli.tasks import MODULES, TASKS
from rnnfast.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
FEW = ["--epochs", 2, "--hidden", 4, "--quiet"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A function that runs a command in an empty folder and returns its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def write_csv(path, names, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])


def write_jsonl(path, items):
    Path(path).write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")


def table(text):
    return list(csv.DictReader(text.splitlines()))


def series(steps=120):
    t = np.arange(steps)
    return 20 + 5 * np.sin(t / 3), t % 7, np.cos(t / 3)


def write_series(path="s.csv", steps=120):
    load, day, heat = series(steps)
    write_csv(path, ["load", "day", "heat"], zip(load, day, heat, strict=True))


MOODS = [("a good film", "+"), ("so good, so good", "+"), ("the best", "+"), ("bad", "-"), ("the worst film", "-")] * 8
WALKS = np.random.default_rng(0).standard_normal((60, 8, 2)).cumsum(axis=1).astype(np.float32)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_forecast(run, suffix):
    write_series()
    steps = ["--window", 12, "--horizon", 3, "--target", "load", "--exogenous", "heat", "--output", f"m{suffix}"]
    code, out, err = run("train", "forecast", "--data", "s.csv", *steps, "--epochs", 15, "--hidden", 8, "--quiet")
    assert (code, err) == (0, "") and re.search(r"RMSE [\d.]+, [\d.]+% below repeating", out)
    code, out, _ = run("predict", f"m{suffix}", "s.csv")
    rows = table(out)
    assert code == 0 and [row["step"] for row in rows] == ["1", "2", "3"]
    truth = series(123)[0][120:]
    for row, value in zip(rows, truth, strict=True):
        assert float(row["load_lower"]) < float(row["load"]) < float(row["load_upper"])
        assert abs(float(row["load"]) - value) < 2.5
    wide = table(run("predict", f"m{suffix}", "s.csv", "--coverage", 0.95)[1])
    assert float(wide[0]["load_upper"]) > float(rows[0]["load_upper"]) and wide[0]["load"] == rows[0]["load"]
    run("predict", f"m{suffix}", "s.csv", "--output", "p.npy")
    assert np.allclose(np.load("p.npy")[:, 0], [float(row["load"]) for row in rows], rtol=1e-6)
    code, out, _ = run("evaluate", f"m{suffix}", "s.csv", "--json")
    found = json.loads(out)
    assert found["windows"] == 106 and found["rmse"] < found["repeat rmse"] and set(found["step"]) == {"+1", "+2", "+3"}
    assert "held by 90 %" in run("evaluate", f"m{suffix}", "s.csv")[1]


def test_forecast_with_columns_known_ahead(run):
    write_series()
    steps = ["--window", 6, "--horizon", 2, "--target", "load,heat", "--known", "day", "--calibration", 0]
    assert run("train", "forecast", "--data", "s.csv", *steps, *FEW, "--output", "m.npz")[0] == 0
    write_csv("f.csv", ["day"], [[1], [2], [3]])
    rows = table(run("predict", "m.npz", "s.csv", "--future", "f.csv")[1])
    assert len(rows) == 2 and set(rows[0]) == {"step", "load", "heat"}
    for arguments, message in (
        ([], "--future FILE must tell day for the next 2 steps"),
        (["--future", "f.csv", "--coverage", 0.5], "it was trained with --calibration 0"),
    ):
        code, _, err = run("predict", "m.npz", "s.csv", *arguments)
        assert code == 1 and message in err


@pytest.mark.parametrize("name", ["s.npy", "s.jsonl"])
def test_series_of_other_files(run, name):
    load, day, _ = series()
    if name.endswith("npy"):
        np.save(name, np.stack([load, day], axis=1))
        columns = ["--target", "0", "--exogenous", "1"]
    else:
        write_jsonl(name, [{"load": a, "day": int(b)} for a, b in zip(load, day, strict=True)])
        columns = ["--target", "load", "--exogenous", "day"]
    assert run("train", "forecast", "--data", name, *columns, "--window", 8, *FEW, "--output", "m.npz")[0] == 0
    code, out, _ = run("predict", "m.npz", name, "--format", "jsonl")
    assert code == 0 and json.loads(out)["step"] == 1


def test_the_only_column_needs_no_name(run):
    load, day, _ = series()
    np.save("one.npy", load)
    np.save("two.npy", np.stack([load, day], axis=1))
    write_csv("one.csv", ["load"], [[value] for value in load])
    for name in ("one.npy", "one.csv"):
        assert run("train", "forecast", "--data", name, "--window", 8, *FEW, "--output", "m.npz")[0] == 0
        assert run("predict", "m.npz", name)[1].startswith("step,load" if name == "one.csv" else "step,0")
    code, _, err = run("train", "forecast", "--data", "two.npy", *FEW, "--output", "m.npz")
    assert code == 1 and "--target must say which column of two.npy to forecast: 0, 1" in err


@pytest.mark.parametrize("tokens", ["word", "char"])
def test_classify_texts(run, tokens):
    write_csv("t.csv", ["text", "mood"], MOODS)
    options = ["--text", "text", "--label", "mood", "--tokens", tokens, "--epochs", 15, "--hidden", 16, "--lr", 0.03]
    code, out, _ = run("train", "classify", "--data", "t.csv", *options, "--quiet", "--output", "m.npz")
    assert code == 0 and "held out: 100.0% right" in out and "2 labels, 4 held out" in out
    write_csv("new.csv", ["text"], [["so good"], ["bad bad"], [""]])
    rows = table(run("predict", "m.npz", "new.csv")[1])
    assert [row["label"] for row in rows[:2]] == ["+", "-"] and all(0.5 <= float(r["probability"]) <= 1 for r in rows)
    found = json.loads(run("evaluate", "m.npz", "t.csv", "--json")[1])
    assert found["accuracy"] == 1 and found["label"]["+"]["count"] == 24
    write_jsonl("t.jsonl", [{"text": text, "mood": mood} for text, mood in MOODS])
    assert json.loads(run("evaluate", "m.npz", "t.jsonl", "--json")[1]) == found


def test_classify_arrays(run):
    np.save("x.npy", WALKS)
    labels = np.where(WALKS[:, -1, 0] > 0, "up", "down")
    np.save("y.npy", labels)
    options = ["--cell", "gru", "--epochs", 20, "--hidden", 8, "--lr", 0.03, "--quiet"]
    assert run("train", "classify", "--data", "x.npy", "--answers", "y.npy", *options, "--output", "m.npz")[0] == 0
    assert json.loads(run("evaluate", "m.npz", "x.npy", "--answers", "y.npy", "--json")[1])["accuracy"] > 0.9
    run("predict", "m.npz", "x.npy", "--output", "p.csv")
    run("predict", "m.npz", "x.npy", "--output", "p.npy")
    named = [row["label"] for row in table(Path("p.csv").read_text())]
    chances = np.load("p.npy")
    assert named == [["down", "up"][k] for k in chances.argmax(axis=1)] and np.allclose(chances.sum(axis=1), 1)
    code, _, err = run("predict", "m.npz", "y.npy")
    assert code == 1 and "y.npy must hold one array of real numbers" in err
    np.save("narrow.npy", WALKS[:, :, 0])
    assert "must have 2 features in each step" in run("predict", "m.npz", "narrow.npy")[2]


def test_classify_and_regress_ragged_sequences(run):
    items = [
        {"points": walk[: 3 + k % 5].tolist(), "up": int(walk[2 + k % 5, 0] > 0), "end": float(walk[2 + k % 5, 0])}
        for k, walk in enumerate(WALKS)
    ]
    write_jsonl("w.jsonl", items)
    data = ["--data", "w.jsonl", "--sequence", "points"]
    options = ["--epochs", 15, "--hidden", 8, "--lr", 0.03, "--quiet"]
    assert run("train", "classify", *data, "--label", "up", *options, "--output", "c.npz")[0] == 0
    rows = [json.loads(line) for line in run("predict", "c.npz", "w.jsonl", "--format", "jsonl")[1].splitlines()]
    assert np.mean([row["label"] == item["up"] for row, item in zip(rows, items, strict=True)]) > 0.85
    code, out, _ = run("train", "regress", *data, "--value", "end", *options, "--output", "r.npz")
    assert code == 0 and "standard deviations" in out
    found = json.loads(run("evaluate", "r.npz", "w.jsonl", "--json")[1])
    assert found["sequences"] == 60 and found["r2"] > 0.7
    assert set(table(run("predict", "r.npz", "w.jsonl")[1])[0]) == {"prediction"}


def test_regress_arrays(run):
    np.save("x.npy", WALKS[:, :, 0])
    np.save("y.npy", WALKS[:, -1])
    assert run("train", "regress", "--data", "x.npy", "--answers", "y.npy", *FEW, "--output", "m.npz")[0] == 0
    assert set(table(run("predict", "m.npz", "x.npy")[1])[0]) == {"prediction_0", "prediction_1"}
    run("predict", "m.npz", "x.npy", "--output", "p.npy")
    wrong = WALKS[:, -1] - np.load("p.npy")
    found = json.loads(run("evaluate", "m.npz", "x.npy", "--answers", "y.npy", "--json")[1])
    assert np.isclose(found["rmse"], np.sqrt(np.mean(wrong**2)), rtol=1e-5)


SENTENCES = [("the dog barks", "D N V"), ("a cat sleeps here", "D N V A"), ("the cat barks", "D N V")] * 6


def test_tag(run):
    write_jsonl("s.jsonl", [{"tokens": a.split(), "tags": b.split()} for a, b in SENTENCES])
    lines = ["# a comment"]
    for words, tags in SENTENCES:
        pairs = zip(words.split(), tags.split(), strict=True)
        lines += [f"{k}\t{w}\t_\t{t}" for k, (w, t) in enumerate(pairs, 1)] + ["1-2\tjoined\t_\t_", ""]
    Path("s.conllu").write_text("\n".join(lines), encoding="utf-8")
    options = ["--epochs", 15, "--hidden", 16, "--lr", 0.03, "--quiet"]
    code, out, _ = run("train", "tag", "--data", "s.jsonl", *options, "--output", "j.npz")
    assert code == 0 and "18 sentences, 60 words, 4 tags, 2 held out" in out and "most frequent tag of each word" in out
    assert run("train", "tag", "--data", "s.conllu", "--tokens", 2, "--tags", 4, *options, "--output", "c.npz")[0] == 0
    for model in ("j.npz", "c.npz"):
        assert json.loads(run("evaluate", model, "s.jsonl", "--json")[1])["accuracy"] == 1
        found = json.loads(run("predict", model, "s.jsonl", "--format", "jsonl")[1].splitlines()[1])
        assert found == {"tokens": ["a", "cat", "sleeps", "here"], "tags": ["D", "N", "V", "A"]}
    assert np.array_equal(load_model("j.npz").parameters()["2.weight"], load_model("c.npz").parameters()["2.weight"])
    assert json.loads(run("evaluate", "c.npz", "s.conllu", "--json")[1])["count"] == 60
    assert table(run("predict", "j.npz", "s.jsonl")[1])[0] == {"tokens": "the dog barks", "tags": "D N V"}


@pytest.mark.parametrize("level", ["char", "word"])
def test_language(run, level):
    Path("t.txt").write_text("to be, or not to be: that is the question.\n" * 60, encoding="utf-8")
    options = ["--level", level, "--streams", 4, "--steps", 16, "--epochs", 12, "--hidden", 32, "--quiet"]
    code, out, _ = run("train", "language", "--data", "t.txt", *options, "--output", "m.npz")
    assert code == 0 and re.search(r"held out: [\d.]+ bits for each token, perplexity [\d.]+", out)
    write = ["generate", "m.npz", "--prime", "that is", "--length", {"char": 8, "word": 4}[level], "--temperature", 0]
    written = run(*write)[1]
    assert written == {"char": "that is the que\n", "word": "that is the question . to\n"}[level]
    drawn = [run("generate", "m.npz", "--length", 30, "--temperature", 2, "--seed", seed)[1] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    hot = ["generate", "m.npz", "--prime", "that is", "--length", 8, "--temperature", 2, "--seed", 1]
    likeliest, narrow, whole = (run(*hot, *more)[1] for more in (["--top-k", 1], ["--top-p", 0.01], ["--top-p", 1]))
    assert narrow == likeliest and whole == run(*hot)[1] != narrow
    plain, empty = (run("generate", "m.npz", *more, "--length", 9, "--seed", 1) for more in ([], ["--prime", ""]))
    assert plain[0] == 0 and empty == plain
    found = json.loads(run("evaluate", "m.npz", "t.txt", "--json")[1])
    assert found["unknown"] == 0 and np.isclose(found["perplexity"], np.exp(found["nats"])) and found["perplexity"] < 3
    code, _, err = run("predict", "m.npz", "t.txt")
    assert code == 1 and "is of the task 'language', which predict is not for" in err


def test_the_seed_decides(run):
    write_series()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        options = ["--window", 5, "--target", "load", "--output", f"{name}.npz", "--seed", seed]
        assert run("train", "forecast", "--data", "s.csv", *options, *FEW)[0] == 0
    one, same, other = (load_model(f"{name}.npz").parameters()["0.weight_hh_l0"] for name in "abc")
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_records_and_progress(run):
    pytest.importorskip("tensorboardX")
    write_series()
    train = ["train", "forecast", "--data", "s.csv", "--target", "load", "--window", 5, *FEW[:-1], "--output", "m.npz"]
    code, _, err = run(*train, "--log", "log.csv")
    assert code == 0 and err.count("epoch ") == 2 and len(Path("log.csv").read_text().splitlines()) == 3
    assert run(*train, "--log", "log.jsonl", "--tensorboard", "events", "--quiet")[2] == ""
    assert json.loads(Path("log.jsonl").read_text().splitlines()[-1])["reason"] == "completed"
    assert any(path.name.startswith("events.out") for path in Path("events").iterdir())
    code, _, err = run(*train, "--log", "log.txt")
    assert code == 1 and "--log must end in .csv or .jsonl" in err


def test_an_interrupted_training_keeps_the_model(run, monkeypatch):
    write_series()
    plain, count = Trainer.measure, []

    def measure(self, feed):
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt
        return plain(self, feed)

    monkeypatch.setattr(Trainer, "measure", measure)
    code, out, _ = run(*FORECAST, "s.csv", *FEW, "--output", "m.npz")
    assert code == 130 and "training was interrupted; the model is as after the last update" in out
    assert run("predict", "m.npz", "s.csv")[0] == 0


def test_an_interrupt_elsewhere(run, monkeypatch):
    save_model(Dense(1, 1), "m.npz")
    monkeypatch.setattr("rnnfast.io.container.read", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    code, _, err = run("inspect", "m.npz")
    assert code == 130 and err == "\nrnnfast: interrupted\n"


def test_inspect(run):
    write_csv("t.csv", ["text", "mood"], MOODS)
    run("train", "classify", "--data", "t.csv", "--text", "text", "--label", "mood", *FEW, "--output", "m.npz")
    code, out, _ = run("inspect", "m", "--parameters")
    assert code == 0
    for words in (
        "m.npz (",
        "task    classify",
        "labels  +, -",
        "of kind word",
        "1 LSTM(4, 4)",
        "1.weight_hh_l0  (16, ",
    ):
        assert words in out
    save_model(Dense(2, 3), "plain.npz", {"note": 1})
    out = run("inspect", "plain.npz")[1]
    assert "beside  note" in out and "Dense: 9 parameters" in out
    code, _, err = run("predict", "plain.npz", "t.csv")
    assert code == 1 and "holds a model without a task" in err


def test_convert(run):
    pytest.importorskip("safetensors")
    write_series()
    run(*FORECAST, "s.csv", *FEW, "--output", "a.npz")
    expected = run("predict", "a.npz", "s.csv")[1]
    code, out, _ = run("convert", "a.npz", "b.safetensors")
    assert (code, out) == (0, "a.npz -> b.safetensors\n")
    assert run("convert", "a.npz", "folder/")[0] == 0 and Path("folder/config.json").exists()
    for name in ("b.safetensors", "folder"):
        assert run("predict", name, "s.csv")[1] == expected
        assert "task    forecast" in run("inspect", name)[1]
    bad = [
        (["a.npz"], "are the same file"),
        (["b.pt"], "must end in"),
        (["no/b.npz"], "no such folder"),
        (["c.npz", "--lengths"], "--lengths is for ONNX"),
        (["c.npz", "--time-major"], "--time-major is for ONNX"),
    ]
    for arguments, message in bad:
        code, _, err = run("convert", "a.npz", *arguments)
        assert code == 1 and message in err and err.count("\n") == 1


def test_convert_to_onnx_and_back(run):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    write_series()
    run(*FORECAST, "s.csv", *FEW, "--output", "a.npz")
    assert run("convert", "a.npz", "a.onnx")[0] == 0 and run("convert", "a.onnx", "b.npz")[0] == 0
    x = np.random.default_rng(0).standard_normal((2, 4, 1)).astype(np.float32)
    expected = load_model("a.npz")(x)[0]
    found = runtime.InferenceSession("a.onnx", providers=["CPUExecutionProvider"]).run(["y"], {"x": x})[0]
    assert np.allclose(found, expected, atol=1e-5)
    # What the task needs went through the graph's metadata.
    rows = [table(run("predict", name, "s.csv")[1])[0]["load"] for name in ("a.npz", "b.npz")]
    assert np.isclose(float(rows[0]), float(rows[1]), rtol=1e-5)
    assert "format  onnx" in run("inspect", "a.onnx")[1]


def test_convert_to_torch_and_back(run):
    pytest.importorskip("safetensors")
    write_series()
    run(*FORECAST, "s.csv", *FEW, "--output", "a.npz")
    assert run("convert", "a.npz", "t.safetensors", "--to", "torch")[0] == 0
    assert "format  parameters by torch's names" in run("inspect", "t.safetensors")[1]
    assert run("convert", "t.safetensors", "b.npz", "--order", "0,2")[0] == 0
    first, again = load_model("a.npz").parameters(), load_model("b.npz").parameters()
    assert np.array_equal(first["0.weight_hh_l0"], again["0.weight_hh_l0"])


def test_bench(run, monkeypatch):
    monkeypatch.setattr(bench, "STEPS", 3)
    monkeypatch.setattr(bench, "UNITS", 8)
    code, out, _ = run("bench", "--quick", "--json", "b.json")
    assert code == 0 and out.count("they agree to") == 3
    results = json.loads(Path("b.json").read_text())["results"]
    assert [set(result["samples"]) for result in results] == [{"native", "reference"}] * 3
    assert plotting.plot_benchmark("b.json").get_yticks().size == 3
    monkeypatch.setattr(bench, "has_repository", lambda: False)
    code, _, err = run("bench", "--full")
    assert code == 1 and "--full: options of the benchmark in a clone" in err


def test_bench_of_the_repository(run, monkeypatch):
    pytest.importorskip("bench")
    assert bench.has_repository()
    seen = []
    monkeypatch.setattr("bench.__main__.main", lambda arguments: seen.append(arguments) or 7)
    assert run("bench", "--filter", "LSTM B1", "--json", "b.json")[0] == 7
    assert seen == [["--filter", "LSTM B1", "--json", "b.json"]]


def bad_files():
    write_series()
    write_csv("bad.csv", ["load"], [[1], [2], ["oops"], [4], ["?x"]])
    Path("comma.csv").write_text("day;load\n1;2,5\n2;3,5\n")
    write_csv("short.csv", ["load"], [[1], [2]])
    write_csv("label.csv", ["text", "mood"], [["a", "+"], ["b", ""]])
    write_csv("one.csv", ["text", "mood"], [["a", "+"], ["b", "+"]])
    write_csv("ragged.csv", ["text", "mood"], [["a", "+"], ["b"]])
    Path("broken.jsonl").write_text('{"a": 1}\n{"a": \n')
    Path("list.jsonl").write_text('{"a": 1}\n[1]\n')
    write_jsonl("tags.jsonl", [{"tokens": ["a", "b"], "tags": ["X", "Y"]}, {"tokens": ["a"], "tags": ["X", "Y"]}])
    write_jsonl("numbers.jsonl", [{"load": 1.0}, {"load": "two"}])
    write_jsonl("points.jsonl", [{"p": [[1, 2]], "y": 1}, {"p": [[1]], "y": 0}])
    Path("conll.txt").write_text("the D\ndog\n")
    Path("empty.csv").write_bytes(b"")
    Path("latin.txt").write_bytes(b"caf\xe9" * 9)
    Path("corrupt.npz").write_bytes(b"PK\x03\x04" + bytes(100))
    Path("corrupt.npy").write_bytes(b"\x93NUMPY" + bytes(20))
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save("nan.npy", np.array([[1.0, np.nan]]))
    np.save("x.npy", WALKS)
    np.save("y.npy", np.arange(10))
    save_model(Dense(1, 1), "plain.npz")


FORECAST = ["train", "forecast", "--window", "4", "--target", "load", "--data"]
TEXTS = ["train", "classify", "--text", "text", "--label", "mood", "--data"]
BAD = [
    ([*FORECAST, "absent.csv"], "absent.csv: No such file"),
    ([*FORECAST, "."], "Is a directory"),
    ([*FORECAST, "empty.csv"], "empty.csv is empty"),
    ([*FORECAST, "label.csv"], "label.csv has no column 'load'; it has text, mood"),
    ([*FORECAST, "bad.csv"], "bad.csv, line 4, column 'load': 'oops' is not a number (2 such cells in all)"),
    ([*FORECAST, "comma.csv"], "column 'load' of comma.csv has no number in it; line 2 has '2,5' (--decimal ,"),
    ([*FORECAST, "short.csv"], "at least window + horizon = 5 steps; got 2"),
    ([*FORECAST, "numbers.jsonl"], "numbers.jsonl, line 2: 'load' must be a finite number or null; got 'two'"),
    ([*FORECAST, "broken.jsonl"], "broken.jsonl, line 2: not JSON"),
    ([*FORECAST, "list.jsonl"], "list.jsonl, line 2: must be an object"),
    ([*FORECAST, "x.npy"], "must have shape (steps,) or (steps, columns)"),
    ([*FORECAST, "corrupt.npy"], "corrupt.npy is no valid .npy file"),
    ([*FORECAST, "objects.npy"], "objects.npy is no valid .npy file"),
    ([*FORECAST, "nan.npy"], "nan.npy must be finite; got nan at index (0, 1)"),
    ([*FORECAST, "s.csv", "--exogenous", "load"], "must name each column once"),
    ([*FORECAST, "s.csv", "--output", "no/m"], "no such folder"),
    ([*FORECAST, "s.csv", "--output", "m.pkl"], "must end in .safetensors or .npz"),
    ([*TEXTS, "label.csv"], "label.csv, line 3: '' is no label"),
    ([*TEXTS, "one.csv"], "at least two different labels"),
    ([*TEXTS, "ragged.csv"], "ragged.csv, line 3: there is no cell for column 'mood'"),
    ([*TEXTS, "s.csv"], "s.csv has no column 'text'"),
    ([*TEXTS, "x.npy"], "x.npy is an array, which has no column 'text'"),
    (["train", "classify", "--data", "x.npy"], "the answers are missing"),
    (["train", "classify", "--data", "x.npy", "--answers", "y.npy"], "one answer for each of 60 sequences; got 10"),
    (["train", "classify", "--data", "points.jsonl"], "--sequence NAME says which field"),
    (
        ["train", "classify", "--data", "points.jsonl", "--sequence", "p", "--label", "y"],
        "'p' must have 2 features",
    ),
    (["train", "tag", "--data", "tags.jsonl"], "tags.jsonl, line 2: 1 tokens, but 2 tags"),
    (["train", "tag", "--data", "conll.txt"], "conll.txt, line 2: there is no column 2; it has 1"),
    (["train", "tag", "--data", "conll.txt", "--tags", "name"], "--tags must be the number of a column"),
    (["train", "language", "--data", "latin.txt"], "latin.txt is not UTF-8 text: byte 3 is 0xe9 (iconv"),
    (["predict", "absent.npz", "s.csv"], "absent.npz: No such file"),
    (["predict", "corrupt.npz", "s.csv"], "corrupt.npz"),
    (["predict", "plain.npz", "s.csv"], "plain.npz holds a model without a task"),
    (["predict", "s.csv", "s.csv"], "s.csv"),
    (["evaluate", "corrupt.npz", "s.csv"], "corrupt.npz"),
    (["generate", "plain.npz"], "plain.npz holds a model without a task"),
    (["inspect", "corrupt.npz"], "corrupt.npz"),
    (["convert", "corrupt.npz", "m.npz"], "corrupt.npz"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_errors_take_one_line(run, arguments, message):
    bad_files()
    before = set(os.listdir())
    code, _, err = run(*arguments)
    assert code == 1 and message in err
    assert err.startswith("rnnfast: error: ") and err.count("\n") == 1
    assert set(os.listdir()) == before


@pytest.fixture
def pipe(monkeypatch):
    """A function that puts bytes on standard input."""

    def fill(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    return fill


def test_data_from_a_pipe(run, pipe):
    write_series()
    data = Path("s.csv").read_bytes()
    Path("s.jsonl").write_text("\n".join(json.dumps({"load": x}) for x in series()[0]))
    np.save("s.npy", series()[0])
    pipe(data)
    options = ["--target", "load", "--window", 4, *FEW, "--output", "m.npz"]
    assert run("train", "forecast", "--data", "-", *options)[0] == 0
    expected = run("predict", "m.npz", "s.csv")
    assert expected[0] == 0
    for name in ("s.csv", "s.jsonl"):
        pipe(Path(name).read_bytes())
        assert run("predict", "m.npz", "-") == expected
    assert not [name for name in os.listdir() if "standard" in name]
    assert run("train", "forecast", "--data", "s.npy", *options[2:-1], "n.npz")[0] == 0
    expected = run("predict", "n.npz", "s.npy")
    pipe(Path("s.npy").read_bytes())
    assert run("predict", "n.npz", "-") == expected
    pipe(data)
    assert run("evaluate", "m.npz", "-", "--json") == run("evaluate", "m.npz", "s.csv", "--json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "standard input is empty"),
        (b"other\n1\n", "standard input has no column 'load'; it has other"),
        (b"load\n1\n2\noops\n", "standard input, line 4, column 'load': 'oops' is not a number"),
        (b'{"load": 1}\n{"load": "two"}', "standard input, line 2: 'load' must be a finite number"),
        (b"\xff\xfe", "standard input is not UTF-8 text"),
    ],
)
def test_errors_of_a_pipe(run, pipe, data, message):
    pipe(data)
    code, _, err = run(*FORECAST, "-", *FEW)
    assert code == 1 and err.startswith(f"rnnfast: error: {message}") and err.count("\n") == 1


def test_bad_cells_can_be_taken_as_missing(run):
    write_csv("s.csv", ["load"], [[value if k % 10 else "oops"] for k, value in enumerate(series()[0])])
    options = ["--bad", "missing", *FEW, "--output", "m.npz"]
    code, _, err = run(*FORECAST, "s.csv", *options)
    assert code == 0 and "12 missing of 120, each filled with the value before it" in err
    assert run("predict", "m.npz", "s.csv")[0] == 0


def test_an_error_can_be_traced(run, monkeypatch):
    monkeypatch.setenv("RNNFAST_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        run("inspect", "absent.npz")


USAGE = [
    ["train"],
    ["train", "nonsense"],
    ["train", "forecast", "--target", "x"],
    ["train", "forecast", "--data", "s.csv", "--target", "x", "--epochs", "0"],
    ["train", "forecast", "--data", "s.csv", "--target", "x", "--cell", "lstn"],
    ["train", "language", "--data", "t", "--validation", "1"],
    ["predict", "m.npz"],
    ["predict", "m.npz", "d.csv", "--coverage", "1"],
    ["predict", "m.npz", "d.csv", "--unknown"],
    ["generate", "m.npz", "--temperature", "-1"],
    ["generate", "m.npz", "--top-p", "0"],
    ["generate", "m.npz", "--top-p", "1.5"],
    ["nonsense"],
]


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    assert caught.value.code == 2 and captured.out == "" and "error: " in captured.err


HELP = [[name] for name in COMMANDS] + [["train", name] for name in TASKS]


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_has_examples(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    out = capsys.readouterr().out
    assert caught.value.code == 0 and f"examples:\n  python -m rnnfast {' '.join(arguments)}" in out


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0 and capsys.readouterr().out == f"rnnfast {rnnfast.__version__}\n"


def test_every_task_has_its_module():
    assert set(MODULES) == set(TASKS)


def test_as_processes(tmp_path):
    def process(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "rnnfast", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    write_series(tmp_path / "s.csv")
    done = process(*FORECAST, "s.csv", *FEW, "--output", "m.npz")
    assert done.returncode == 0 and done.stderr == ""
    done = process("predict", "m.npz", "s.csv")
    assert done.returncode == 0 and done.stdout.startswith("step,load,load_lower,load_upper\n1,") and done.stderr == ""
    done = process("predict", "m.npz", "absent.csv")
    assert (done.returncode, done.stderr) == (1, "rnnfast: error: absent.csv: No such file or directory\n")
    assert process("predict").returncode == 2


def test_help_loads_little():
    code = (
        "import sys\nfrom rnnfast.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([n for n in sys.modules if n.startswith(('rnnfast.layers', 'rnnfast.trainer', 'sklearn'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
