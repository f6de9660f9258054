"""The command line when something is wrong: errors told in one line, wrong usage, help, data from a pipe, processes."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_files import FEW, FORECAST, WALKS, series, write_csv, write_jsonl, write_series

import rnnfast
from rnnfast import Dense, save_model
from rnnfast.__main__ import COMMANDS, main
from rnnfast.cli.tasks import MODULES, TASKS

ROOT = Path(__file__).resolve().parents[1]


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
def test_errors_take_one_line(cli, arguments, message):
    bad_files()
    before = set(os.listdir())
    code, _, err = cli(*arguments)
    assert code == 1 and message in err
    assert err.startswith("rnnfast: error: ") and err.count("\n") == 1
    assert set(os.listdir()) == before


@pytest.fixture
def pipe(monkeypatch):
    """A function that puts bytes on standard input."""

    def fill(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    return fill


def test_data_from_a_pipe(cli, pipe):
    write_series()
    data = Path("s.csv").read_bytes()
    Path("s.jsonl").write_text("\n".join(json.dumps({"load": x}) for x in series()[0]))
    np.save("s.npy", series()[0])
    pipe(data)
    options = ["--target", "load", "--window", 4, *FEW, "--output", "m.npz"]
    assert cli("train", "forecast", "--data", "-", *options)[0] == 0
    expected = cli("predict", "m.npz", "s.csv")
    assert expected[0] == 0
    for name in ("s.csv", "s.jsonl"):
        pipe(Path(name).read_bytes())
        assert cli("predict", "m.npz", "-") == expected
    assert not [name for name in os.listdir() if "standard" in name]
    assert cli("train", "forecast", "--data", "s.npy", *options[2:-1], "n.npz")[0] == 0
    expected = cli("predict", "n.npz", "s.npy")
    pipe(Path("s.npy").read_bytes())
    assert cli("predict", "n.npz", "-") == expected
    pipe(data)
    assert cli("evaluate", "m.npz", "-", "--json") == cli("evaluate", "m.npz", "s.csv", "--json")


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
def test_errors_of_a_pipe(cli, pipe, data, message):
    pipe(data)
    code, _, err = cli(*FORECAST, "-", *FEW)
    assert code == 1 and err.startswith(f"rnnfast: error: {message}") and err.count("\n") == 1


def test_bad_cells_can_be_taken_as_missing(cli):
    write_csv("s.csv", ["load"], [[value if k % 10 else "oops"] for k, value in enumerate(series()[0])])
    options = ["--bad", "missing", *FEW, "--output", "m.npz"]
    code, _, err = cli(*FORECAST, "s.csv", *options)
    assert code == 0 and "12 missing of 120, each filled with the value before it" in err
    assert cli("predict", "m.npz", "s.csv")[0] == 0


def test_an_error_can_be_traced(cli, monkeypatch):
    monkeypatch.setenv("RNNFAST_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        cli("inspect", "absent.npz")


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
