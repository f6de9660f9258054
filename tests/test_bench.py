"""The benchmark checks before it times, and what it prints is what it measured."""

import json

import numpy as np
import pytest

import bench.__main__ as command
from bench import agree, cases, report, runner
from bench.contenders import CONTENDERS, find

TINY = cases.Case("LSTM", "training", steps=3, batch=2, input_size=4, hidden_size=5)


def test_runs_and_writes_json(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cases, "SHORT", [TINY])
    file = tmp_path / "out.json"
    arguments = ["--contenders", "native", "--threads", "1", "--rounds", "2", "--seconds", "0.001", "--json", str(file)]
    assert command.main(arguments) == 0
    assert TINY.name in capsys.readouterr().out
    written = json.loads(file.read_text())
    (result,) = written["results"]
    assert result["name"] == TINY.name
    assert set(result["samples"]) == {"native", "reference"}
    assert all(len(samples) == 2 and min(samples) > 0 for samples in result["samples"].values())
    assert written["machine"]["isa"] and written["contenders"]["native"]


def test_a_wrong_result_is_not_timed(monkeypatch, capsys):
    monkeypatch.setattr(cases, "SHORT", [TINY])

    class Wrong:
        name = "native"

        def __init__(self, name, threads, python):
            self.name = name

        def version(self):
            return True, "0"

        def load(self, case):
            return {"y": np.full((2, 3, 5), 1.0 if self.name == "native" else 2.0)}

        def sample(self, seconds):
            raise AssertionError("timed")

        def close(self):
            pass

    monkeypatch.setattr(runner, "Worker", Wrong)
    assert command.main(["--contenders", "native", "--threads", "1"]) == 1
    assert "native" in capsys.readouterr().err


def wrong(**changes):
    right = {"y": np.linspace(-1.0, 1.0, 12).reshape(2, 6), "dx": np.ones(3)}
    return {k: v for k, v in {**right, **changes}.items() if v is not None}


@pytest.mark.parametrize(
    ("got", "word"),
    [
        (wrong(dx=None), "dx"),
        (wrong(y=np.zeros((6, 2))), "shape"),
        (wrong(dx=np.ones(3) * 1.001), "off by"),
        (wrong(dx=np.array([1.0, np.nan, 1.0])), "off by"),
    ],
)
def test_disagreement(got, word):
    with pytest.raises(agree.Disagreement, match=word):
        agree.check("it", got, wrong(), "float32")


def test_agreement():
    agree.check("it", wrong(dx=np.ones(3) * 1.00001), wrong(), "float32")


def test_a_missing_library_is_named(monkeypatch):
    contender = CONTENDERS["torch"]
    monkeypatch.setattr(type(contender), "package", "no-such-distribution")
    found, text = find("torch")
    assert found is None and "not installed" in text


def test_names_are_unique():
    names = [case.name for case in cases.FULL]
    assert len(names) == len(set(names))
    assert set(cases.SHORT) <= set(cases.FULL)


def test_table_and_ratio():
    result = runner.Result(TINY, 2, {"reference": [2.0, 3.0, 8.0], "native": [1.0, 1.0, 2.0]})
    assert result.ratio("native", "reference") == 3.0
    assert "3.00 s (3.00x)" in report.table([result])
    assert "1.00 s" in report.markdown([result]).splitlines()[2]
    assert "3.00x" in report.summary([result])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.234, "1.23 s"), (0.0123456, "12.3 ms"), (1.5e-4, "150 us"), (2.5e-7, "250 ns"), (9.999e-4, "1000 us")],
)
def test_times_have_three_digits(seconds, text):
    assert report.spell(seconds) == text


@pytest.mark.parametrize(
    "arguments", [["--contenders", "magic"], ["--threads", "two"], ["--rounds", "0"], ["--filter", "nothing such"]]
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    assert end.value.code == 2
    assert "python -m bench" in capsys.readouterr().err
