"""The commands of ``python -m rnnfast`` on tiny data, from training to answers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from cli_files import FEW, FORECAST, WALKS, series, table, write_csv, write_jsonl, write_series

from rnnfast import Dense, load_model, plotting, save_model
from rnnfast.cli import bench
from rnnfast.trainer import Trainer

MOODS = [("a good film", "+"), ("so good, so good", "+"), ("the best", "+"), ("bad", "-"), ("the worst film", "-")] * 8


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_forecast(cli, suffix):
    write_series()
    steps = ["--window", 12, "--horizon", 3, "--target", "load", "--exogenous", "heat", "--output", f"m{suffix}"]
    code, out, err = cli("train", "forecast", "--data", "s.csv", *steps, "--epochs", 15, "--hidden", 8, "--quiet")
    assert (code, err) == (0, "") and re.search(r"RMSE [\d.]+, [\d.]+% below repeating", out)
    code, out, _ = cli("predict", f"m{suffix}", "s.csv")
    rows = table(out)
    assert code == 0 and [row["step"] for row in rows] == ["1", "2", "3"]
    truth = series(123)[0][120:]
    for row, value in zip(rows, truth, strict=True):
        assert float(row["load_lower"]) < float(row["load"]) < float(row["load_upper"])
        assert abs(float(row["load"]) - value) < 2.5
    wide = table(cli("predict", f"m{suffix}", "s.csv", "--coverage", 0.95)[1])
    assert float(wide[0]["load_upper"]) > float(rows[0]["load_upper"]) and wide[0]["load"] == rows[0]["load"]
    cli("predict", f"m{suffix}", "s.csv", "--output", "p.npy")
    assert np.allclose(np.load("p.npy")[:, 0], [float(row["load"]) for row in rows], rtol=1e-6)
    code, out, _ = cli("evaluate", f"m{suffix}", "s.csv", "--json")
    found = json.loads(out)
    assert found["windows"] == 106 and found["rmse"] < found["repeat rmse"] and set(found["step"]) == {"+1", "+2", "+3"}
    assert "held by 90 %" in cli("evaluate", f"m{suffix}", "s.csv")[1]


def test_forecast_with_columns_known_ahead(cli):
    write_series()
    steps = ["--window", 6, "--horizon", 2, "--target", "load,heat", "--known", "day", "--calibration", 0]
    assert cli("train", "forecast", "--data", "s.csv", *steps, *FEW, "--output", "m.npz")[0] == 0
    write_csv("f.csv", ["day"], [[1], [2], [3]])
    rows = table(cli("predict", "m.npz", "s.csv", "--future", "f.csv")[1])
    assert len(rows) == 2 and set(rows[0]) == {"step", "load", "heat"}
    for arguments, message in (
        ([], "--future FILE must tell day for the next 2 steps"),
        (["--future", "f.csv", "--coverage", 0.5], "it was trained with --calibration 0"),
    ):
        code, _, err = cli("predict", "m.npz", "s.csv", *arguments)
        assert code == 1 and message in err


@pytest.mark.parametrize("name", ["s.npy", "s.jsonl"])
def test_series_of_other_files(cli, name):
    load, day, _ = series()
    if name.endswith("npy"):
        np.save(name, np.stack([load, day], axis=1))
        columns = ["--target", "0", "--exogenous", "1"]
    else:
        write_jsonl(name, [{"load": a, "day": int(b)} for a, b in zip(load, day, strict=True)])
        columns = ["--target", "load", "--exogenous", "day"]
    assert cli("train", "forecast", "--data", name, *columns, "--window", 8, *FEW, "--output", "m.npz")[0] == 0
    code, out, _ = cli("predict", "m.npz", name, "--format", "jsonl")
    assert code == 0 and json.loads(out)["step"] == 1


def test_the_only_column_needs_no_name(cli):
    load, day, _ = series()
    np.save("one.npy", load)
    np.save("two.npy", np.stack([load, day], axis=1))
    write_csv("one.csv", ["load"], [[value] for value in load])
    for name in ("one.npy", "one.csv"):
        assert cli("train", "forecast", "--data", name, "--window", 8, *FEW, "--output", "m.npz")[0] == 0
        assert cli("predict", "m.npz", name)[1].startswith("step,load" if name == "one.csv" else "step,0")
    code, _, err = cli("train", "forecast", "--data", "two.npy", *FEW, "--output", "m.npz")
    assert code == 1 and "--target must say which column of two.npy to forecast: 0, 1" in err


@pytest.mark.parametrize("tokens", ["word", "char"])
def test_classify_texts(cli, tokens):
    write_csv("t.csv", ["text", "mood"], MOODS)
    options = ["--text", "text", "--label", "mood", "--tokens", tokens, "--epochs", 15, "--hidden", 16, "--lr", 0.03]
    code, out, _ = cli("train", "classify", "--data", "t.csv", *options, "--quiet", "--output", "m.npz")
    assert code == 0 and "held out: 100.0% right" in out and "2 labels, 4 held out" in out
    write_csv("new.csv", ["text"], [["so good"], ["bad bad"], [""]])
    rows = table(cli("predict", "m.npz", "new.csv")[1])
    assert [row["label"] for row in rows[:2]] == ["+", "-"] and all(0.5 <= float(r["probability"]) <= 1 for r in rows)
    found = json.loads(cli("evaluate", "m.npz", "t.csv", "--json")[1])
    assert found["accuracy"] == 1 and found["label"]["+"]["count"] == 24
    write_jsonl("t.jsonl", [{"text": text, "mood": mood} for text, mood in MOODS])
    assert json.loads(cli("evaluate", "m.npz", "t.jsonl", "--json")[1]) == found


def test_classify_arrays(cli):
    np.save("x.npy", WALKS)
    labels = np.where(WALKS[:, -1, 0] > 0, "up", "down")
    np.save("y.npy", labels)
    options = ["--cell", "gru", "--epochs", 20, "--hidden", 8, "--lr", 0.03, "--quiet"]
    assert cli("train", "classify", "--data", "x.npy", "--answers", "y.npy", *options, "--output", "m.npz")[0] == 0
    assert json.loads(cli("evaluate", "m.npz", "x.npy", "--answers", "y.npy", "--json")[1])["accuracy"] > 0.9
    cli("predict", "m.npz", "x.npy", "--output", "p.csv")
    cli("predict", "m.npz", "x.npy", "--output", "p.npy")
    named = [row["label"] for row in table(Path("p.csv").read_text())]
    chances = np.load("p.npy")
    assert named == [["down", "up"][k] for k in chances.argmax(axis=1)] and np.allclose(chances.sum(axis=1), 1)
    code, _, err = cli("predict", "m.npz", "y.npy")
    assert code == 1 and "y.npy must hold one array of real numbers" in err
    np.save("narrow.npy", WALKS[:, :, 0])
    assert "must have 2 features in each step" in cli("predict", "m.npz", "narrow.npy")[2]


def test_classify_and_regress_ragged_sequences(cli):
    items = [
        {"points": walk[: 3 + k % 5].tolist(), "up": int(walk[2 + k % 5, 0] > 0), "end": float(walk[2 + k % 5, 0])}
        for k, walk in enumerate(WALKS)
    ]
    write_jsonl("w.jsonl", items)
    data = ["--data", "w.jsonl", "--sequence", "points"]
    options = ["--epochs", 15, "--hidden", 8, "--lr", 0.03, "--quiet"]
    assert cli("train", "classify", *data, "--label", "up", *options, "--output", "c.npz")[0] == 0
    rows = [json.loads(line) for line in cli("predict", "c.npz", "w.jsonl", "--format", "jsonl")[1].splitlines()]
    assert np.mean([row["label"] == item["up"] for row, item in zip(rows, items, strict=True)]) > 0.85
    code, out, _ = cli("train", "regress", *data, "--value", "end", *options, "--output", "r.npz")
    assert code == 0 and "standard deviations" in out
    found = json.loads(cli("evaluate", "r.npz", "w.jsonl", "--json")[1])
    assert found["sequences"] == 60 and found["r2"] > 0.7
    assert set(table(cli("predict", "r.npz", "w.jsonl")[1])[0]) == {"prediction"}


def test_regress_arrays(cli):
    np.save("x.npy", WALKS[:, :, 0])
    np.save("y.npy", WALKS[:, -1])
    assert cli("train", "regress", "--data", "x.npy", "--answers", "y.npy", *FEW, "--output", "m.npz")[0] == 0
    assert set(table(cli("predict", "m.npz", "x.npy")[1])[0]) == {"prediction_0", "prediction_1"}
    cli("predict", "m.npz", "x.npy", "--output", "p.npy")
    wrong = WALKS[:, -1] - np.load("p.npy")
    found = json.loads(cli("evaluate", "m.npz", "x.npy", "--answers", "y.npy", "--json")[1])
    assert np.isclose(found["rmse"], np.sqrt(np.mean(wrong**2)), rtol=1e-5)


SENTENCES = [("the dog barks", "D N V"), ("a cat sleeps here", "D N V A"), ("the cat barks", "D N V")] * 6


def test_tag(cli):
    write_jsonl("s.jsonl", [{"tokens": a.split(), "tags": b.split()} for a, b in SENTENCES])
    lines = ["# a comment"]
    for words, tags in SENTENCES:
        pairs = zip(words.split(), tags.split(), strict=True)
        lines += [f"{k}\t{w}\t_\t{t}" for k, (w, t) in enumerate(pairs, 1)] + ["1-2\tjoined\t_\t_", ""]
    Path("s.conllu").write_text("\n".join(lines), encoding="utf-8")
    options = ["--epochs", 15, "--hidden", 16, "--lr", 0.03, "--quiet"]
    code, out, _ = cli("train", "tag", "--data", "s.jsonl", *options, "--output", "j.npz")
    assert code == 0 and "18 sentences, 60 words, 4 tags, 2 held out" in out and "most frequent tag of each word" in out
    assert cli("train", "tag", "--data", "s.conllu", "--tokens", 2, "--tags", 4, *options, "--output", "c.npz")[0] == 0
    for model in ("j.npz", "c.npz"):
        assert json.loads(cli("evaluate", model, "s.jsonl", "--json")[1])["accuracy"] == 1
        found = json.loads(cli("predict", model, "s.jsonl", "--format", "jsonl")[1].splitlines()[1])
        assert found == {"tokens": ["a", "cat", "sleeps", "here"], "tags": ["D", "N", "V", "A"]}
    assert np.array_equal(load_model("j.npz").parameters()["2.weight"], load_model("c.npz").parameters()["2.weight"])
    assert json.loads(cli("evaluate", "c.npz", "s.conllu", "--json")[1])["count"] == 60
    assert table(cli("predict", "j.npz", "s.jsonl")[1])[0] == {"tokens": "the dog barks", "tags": "D N V"}


@pytest.mark.parametrize("level", ["char", "word"])
def test_language(cli, level):
    Path("t.txt").write_text("to be, or not to be: that is the question.\n" * 60, encoding="utf-8")
    options = ["--level", level, "--streams", 4, "--steps", 16, "--epochs", 12, "--hidden", 32, "--quiet"]
    code, out, _ = cli("train", "language", "--data", "t.txt", *options, "--output", "m.npz")
    assert code == 0 and re.search(r"held out: [\d.]+ bits for each token, perplexity [\d.]+", out)
    write = ["generate", "m.npz", "--prime", "that is", "--length", {"char": 8, "word": 4}[level], "--temperature", 0]
    written = cli(*write)[1]
    assert written == {"char": "that is the que\n", "word": "that is the question . to\n"}[level]
    drawn = [cli("generate", "m.npz", "--length", 30, "--temperature", 2, "--seed", seed)[1] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    hot = ["generate", "m.npz", "--prime", "that is", "--length", 8, "--temperature", 2, "--seed", 1]
    likeliest, narrow, whole = (cli(*hot, *more)[1] for more in (["--top-k", 1], ["--top-p", 0.01], ["--top-p", 1]))
    assert narrow == likeliest and whole == cli(*hot)[1] != narrow
    plain, empty = (cli("generate", "m.npz", *more, "--length", 9, "--seed", 1) for more in ([], ["--prime", ""]))
    assert plain[0] == 0 and empty == plain
    found = json.loads(cli("evaluate", "m.npz", "t.txt", "--json")[1])
    assert found["unknown"] == 0 and np.isclose(found["perplexity"], np.exp(found["nats"])) and found["perplexity"] < 3
    code, _, err = cli("predict", "m.npz", "t.txt")
    assert code == 1 and "is of the task 'language', which predict is not for" in err


def test_the_seed_decides(cli):
    write_series()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        options = ["--window", 5, "--target", "load", "--output", f"{name}.npz", "--seed", seed]
        assert cli("train", "forecast", "--data", "s.csv", *options, *FEW)[0] == 0
    one, same, other = (load_model(f"{name}.npz").parameters()["0.weight_hh_l0"] for name in "abc")
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_records_and_progress(cli):
    pytest.importorskip("tensorboardX")
    write_series()
    train = ["train", "forecast", "--data", "s.csv", "--target", "load", "--window", 5, *FEW[:-1], "--output", "m.npz"]
    code, _, err = cli(*train, "--log", "log.csv")
    assert code == 0 and err.count("epoch ") == 2 and len(Path("log.csv").read_text().splitlines()) == 3
    assert cli(*train, "--log", "log.jsonl", "--tensorboard", "events", "--quiet")[2] == ""
    assert json.loads(Path("log.jsonl").read_text().splitlines()[-1])["reason"] == "completed"
    assert any(path.name.startswith("events.out") for path in Path("events").iterdir())
    code, _, err = cli(*train, "--log", "log.txt")
    assert code == 1 and "--log must end in .csv or .jsonl" in err


def test_an_interrupted_training_keeps_the_model(cli, monkeypatch):
    write_series()
    plain, count = Trainer.measure, []

    def measure(self, feed):
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt
        return plain(self, feed)

    monkeypatch.setattr(Trainer, "measure", measure)
    code, out, _ = cli(*FORECAST, "s.csv", *FEW, "--output", "m.npz")
    assert code == 130 and "training was interrupted; the model is as after the last update" in out
    assert cli("predict", "m.npz", "s.csv")[0] == 0


def test_an_interrupt_elsewhere(cli, monkeypatch):
    save_model(Dense(1, 1), "m.npz")
    monkeypatch.setattr("rnnfast.io.container.read", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    code, _, err = cli("inspect", "m.npz")
    assert code == 130 and err == "\nrnnfast: interrupted\n"


def test_inspect(cli):
    write_csv("t.csv", ["text", "mood"], MOODS)
    cli("train", "classify", "--data", "t.csv", "--text", "text", "--label", "mood", *FEW, "--output", "m.npz")
    code, out, _ = cli("inspect", "m", "--parameters")
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
    out = cli("inspect", "plain.npz")[1]
    assert "beside  note" in out and "Dense: 9 parameters" in out
    code, _, err = cli("predict", "plain.npz", "t.csv")
    assert code == 1 and "holds a model without a task" in err


def test_convert(cli):
    pytest.importorskip("safetensors")
    write_series()
    cli(*FORECAST, "s.csv", *FEW, "--output", "a.npz")
    expected = cli("predict", "a.npz", "s.csv")[1]
    code, out, _ = cli("convert", "a.npz", "b.safetensors")
    assert (code, out) == (0, "a.npz -> b.safetensors\n")
    assert cli("convert", "a.npz", "folder/")[0] == 0 and Path("folder/config.json").exists()
    for name in ("b.safetensors", "folder"):
        assert cli("predict", name, "s.csv")[1] == expected
        assert "task    forecast" in cli("inspect", name)[1]
    bad = [
        (["a.npz"], "are the same file"),
        (["b.pt"], "must end in"),
        (["no/b.npz"], "no such folder"),
        (["c.npz", "--lengths"], "--lengths is for ONNX"),
        (["c.npz", "--time-major"], "--time-major is for ONNX"),
    ]
    for arguments, message in bad:
        code, _, err = cli("convert", "a.npz", *arguments)
        assert code == 1 and message in err and err.count("\n") == 1


def test_convert_to_onnx_and_back(cli):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    write_series()
    cli(*FORECAST, "s.csv", *FEW, "--output", "a.npz")
    assert cli("convert", "a.npz", "a.onnx")[0] == 0 and cli("convert", "a.onnx", "b.npz")[0] == 0
    x = np.random.default_rng(0).standard_normal((2, 4, 1)).astype(np.float32)
    expected = load_model("a.npz")(x)[0]
    found = runtime.InferenceSession("a.onnx", providers=["CPUExecutionProvider"]).run(["y"], {"x": x})[0]
    assert np.allclose(found, expected, atol=1e-5)
    # What the task needs went through the graph's metadata.
    rows = [table(cli("predict", name, "s.csv")[1])[0]["load"] for name in ("a.npz", "b.npz")]
    assert np.isclose(float(rows[0]), float(rows[1]), rtol=1e-5)
    assert "format  onnx" in cli("inspect", "a.onnx")[1]


def test_convert_to_torch_and_back(cli):
    pytest.importorskip("safetensors")
    write_series()
    cli(*FORECAST, "s.csv", *FEW, "--output", "a.npz")
    assert cli("convert", "a.npz", "t.safetensors", "--to", "torch")[0] == 0
    assert "format  parameters by torch's names" in cli("inspect", "t.safetensors")[1]
    assert cli("convert", "t.safetensors", "b.npz", "--order", "0,2")[0] == 0
    first, again = load_model("a.npz").parameters(), load_model("b.npz").parameters()
    assert np.array_equal(first["0.weight_hh_l0"], again["0.weight_hh_l0"])


def test_bench(cli, monkeypatch):
    monkeypatch.setattr(bench, "STEPS", 3)
    monkeypatch.setattr(bench, "UNITS", 8)
    code, out, _ = cli("bench", "--quick", "--json", "b.json")
    assert code == 0 and out.count("they agree to") == 3
    results = json.loads(Path("b.json").read_text())["results"]
    assert [set(result["samples"]) for result in results] == [{"native", "reference"}] * 3
    assert plotting.plot_benchmark("b.json").get_yticks().size == 3
    monkeypatch.setattr(bench, "has_repository", lambda: False)
    code, _, err = cli("bench", "--full")
    assert code == 1 and "--full: options of the benchmark in a clone" in err


def test_bench_of_the_repository(cli, monkeypatch):
    pytest.importorskip("bench")
    assert bench.has_repository()
    seen = []
    monkeypatch.setattr("bench.__main__.main", lambda arguments: seen.append(arguments) or 7)
    assert cli("bench", "--filter", "LSTM B1", "--json", "b.json")[0] == 7
    assert seen == [["--filter", "LSTM B1", "--json", "b.json"]]
