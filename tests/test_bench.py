"""The benchmark checks before it times, and gives every contender its turn."""

import json
from dataclasses import replace

import numpy as np
import pytest
from bench_books import STREAM, TINY, book, result, write

import bench.__main__ as command
from bench import agree, cases, contenders, grid, report, results, runner, worker

# Running


def test_runs_and_keeps_json(monkeypatch, tmp_path, capsys):
    ragged = replace(TINY, task="forward", ragged=True)
    monkeypatch.setattr(grid, "SHORT", [TINY, STREAM, ragged, replace(TINY, task="forward", callers=2)])
    file = tmp_path / "deep" / "out.json"
    arguments = ["--contenders", "native", "--threads", "1", "--rounds", "2", "--seconds", "0.001", "--wait", "0"]
    arguments += ["--json", str(file)]
    assert command.main([*arguments, "--compare", str(write(tmp_path, book(result(native=[1.0, 1.0]))))]) == 2
    printed = capsys.readouterr()
    assert TINY.name in printed.out and "GFLOP/s" in printed.out
    assert "cannot be compared" in printed.err  # another machine, and nobody else in both
    written = json.loads(file.read_text())
    assert [r["name"] for r in written["results"]] == [case.name for case in grid.SHORT]
    for kept in written["results"][:3]:
        assert set(kept["samples"]) == {"native", "reference"}
        assert all(len(samples) == 2 and min(samples) > 0 for samples in kept["samples"].values())
        assert kept["limit"]["seconds"] > 0
    assert [len(kept["whole"]) for kept in written["results"]] == [0, 0, 2, 0]  # the ragged batch with all its steps
    assert "ragged against full" in printed.out
    assert set(written["results"][3]["samples"]) == {"native"}
    assert [len(kept["cores"]) for kept in written["results"]] == [0, 0, 0, 2]  # callers want a core each
    assert written["results"][3]["absent"] == {"reference": "one caller only"}
    assert written["machine"]["isa"] and written["versions"]["native"]
    assert written["limits"]["cores"]["float32"]["flops"] > 1e6
    assert written["command"][-1].endswith(".json")
    again = results.load(file)
    assert again.results[0].case == TINY
    assert command.main(["--from", str(file), "--markdown"]) == 0
    assert f"| {TINY.name} |" in capsys.readouterr().out


class FakeWorker:
    """Computes ones, or what `wrong` says for its name; `log` notes who was timed, `cores` tells what is found."""

    wrong = None
    log = ()
    cores = ()

    def __init__(self, name, threads, python):
        self.name, self.threads = name, threads

    def begin(self, request, *arguments):
        self.request = request

    def end(self):
        answers = {
            "version": (self.name != "openvino", "1.0"),
            "truth": {"y": np.ones((2, 3, 5))},
            "load": {"y": np.full((2, 3, 5), 2.0 if self.name == self.wrong else 1.0)},
            "limits": ({}, 0.0),
            "sample": 1.0,
            "barrier": 2e-7,
            "used": 1,
        }
        if self.request == "cores":
            return self.cores.pop(0) if self.cores else 2.0
        if self.request == "sample":
            self.log.append((self.name, self.threads))
        return answers[self.request]

    def ask(self, *request):
        self.begin(*request)
        return self.end()

    def close(self):
        pass


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(FakeWorker, "log", [])
    monkeypatch.setattr(FakeWorker, "cores", [])
    monkeypatch.setattr(runner, "PAUSE", 1e-3)
    monkeypatch.setattr(runner, "default_num_threads", lambda: 2)
    monkeypatch.setattr(runner, "Worker", FakeWorker)
    monkeypatch.setattr(runner, "limit_of", lambda *arguments: None)
    return FakeWorker


def run_fake(wait=0.0, **options):
    kept = book()
    with runner.Team(["native", "torch", "openvino"], [1, 2], wait=wait) as team:
        kept.versions = team.versions
        runner.run([replace(TINY, task="forward")], team, kept, rounds=3, seconds=0.0, **options)
    return kept


def test_all_contenders_and_threads_take_turns_in_changing_order(fake):
    kept = run_fake()
    everyone = {(name, n) for name in ("native", "torch", "reference") for n in (1, 2)}
    rounds = [fake.log[k : k + 6] for k in range(0, 24, 6)]
    assert all(set(turn) == everyone for turn in rounds) and len(fake.log) == 24
    assert len({tuple(turn) for turn in rounds}) == 4
    assert all(len(samples) == 3 for r in kept.results for samples in r.samples.values())  # the first does not count
    assert kept.versions["openvino"] == "1.0" and "openvino" not in kept.results[0].samples
    assert [r.threads for r in kept.results] == [1, 2]
    assert [r.barriers for r in kept.results] == [[], [2e-7] * 3]
    assert [r.cores for r in kept.results] == [[], [2.0] * 3]


def test_a_round_waits_until_its_threads_have_a_core_each(fake):
    fake.cores += [1.0, 1.1, 1.9]
    kept = run_fake(wait=1.0)
    assert kept.results[1].cores == [1.9, 2.0, 2.0]


def test_rounds_do_not_wait_for_ever(fake):
    fake.cores += [1.0] * 9
    kept = run_fake(wait=2e-3)
    assert kept.results[1].cores == [1.0] * 3 and len(fake.cores) == 9 - 5  # two looks that waited, three that did not


def test_threads_beyond_the_cpus_wait_for_no_more_cores_than_there_are(fake, monkeypatch):
    monkeypatch.setattr(runner, "default_num_threads", lambda: 1)
    fake.cores += [1.0] * 3
    assert run_fake(wait=1.0).results[1].cores == [1.0] * 3


def test_waiting_is_no_part_of_a_case_s_patience(fake, monkeypatch):
    monkeypatch.setattr(runner, "PAUSE", 0.1)
    fake.cores += [1.0, 2.0] * 4
    with runner.Team(["native"], [2], wait=10.0) as team:
        (found,) = runner.run_case(TINY, team, {}, rounds=5, seconds=0.0, patience=0.3)
    assert team.waited == pytest.approx(0.4)
    assert len(found.cores) == 5


def test_a_wrong_result_of_ours_is_not_timed(fake, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(fake, "wrong", "native")
    monkeypatch.setattr(grid, "SHORT", [TINY])
    assert command.main(["--contenders", "native", "--threads", "1", "--json", str(tmp_path / "o.json")]) == 1
    assert "native" in capsys.readouterr().err
    assert not fake.log


def test_a_wrong_peer_is_left_out_and_told(fake, monkeypatch):
    monkeypatch.setattr(fake, "wrong", "torch")
    kept = run_fake()
    assert all("wrong" in r.absent["torch"] and "torch" not in r.samples for r in kept.results)
    assert any("torch: wrong" in line for line in report.absentees(kept.results))


def test_patience_ends_a_case_after_three_rounds(fake):
    with runner.Team(["native"], [1]) as team:
        (found,) = runner.run_case(TINY, team, {}, rounds=9, seconds=0.0, patience=0.0)
    assert len(found.samples["native"]) == runner.LEAST_ROUNDS


def test_a_process_that_ends_is_told():
    one = worker.Worker("native", 1)
    try:
        one._process.kill()
        with pytest.raises(worker.Gone, match="native"):
            one.ask("version")
    finally:
        one.close()


def test_the_far_side_names_what_went_wrong():
    one = worker.Worker("reference", 1)
    try:
        with pytest.raises(RuntimeError, match=r"reference: .*nonsense"):
            one.ask("nonsense")
        with pytest.raises(worker.Unsupported, match="one caller"):
            one.ask("load", replace(TINY, callers=2))
    finally:
        one.close()


def test_cases_of_several_callers_run_on_one_thread_alone(monkeypatch, tmp_path, capsys):
    several = replace(TINY, task="forward", callers=2)
    monkeypatch.setattr(grid, "SHORT", [several, TINY])
    file = tmp_path / "out.json"
    arguments = ["--contenders", "native", "--threads", "2", "--rounds", "1", "--seconds", "0.001", "--wait", "0"]
    arguments += ["--json", str(file)]
    assert command.main(arguments) == 0
    assert [r.case for r in results.load(file).results] == [TINY]
    with pytest.raises(SystemExit):
        command.main([*arguments, "--filter", several.name])
    assert "1 thread" in capsys.readouterr().err


def test_callers_are_timed_together():
    calls = []
    seconds = worker.measure_callers(lambda: calls.append(1), 0.002, 3)
    assert 0 < seconds < 1 and len(calls) >= 6


# Checking


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


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino", "jax"])
@pytest.mark.parametrize("cell", cases.GATES)
def test_peers_that_are_installed_are_right(name, cell):
    contender, text = contenders.find(name)
    if contender is None:
        pytest.skip(f"{name}: {text}")
    tiny = replace(TINY, cell=cell)
    for case in (
        tiny,
        replace(tiny, bidirectional=True, ragged=True, num_layers=2, batch=5),
        replace(tiny, task="forward", bidirectional=True, ragged=True, batch=5),
        replace(tiny, task="forward", num_layers=2),
        replace(tiny, task="stream", steps=1, batch=1),
        replace(tiny, dtype="float64"),
    ):
        truth = worker.Far("reference", 1).truth(case)
        try:
            agree.check(case.name, worker.Far(name, 1).load(case), truth, case.dtype)
        except worker.Unsupported:
            continue


@pytest.mark.parametrize("name", ["native", "torch"])
@pytest.mark.parametrize("variant", cases.VARIANTS)
def test_relatives_of_the_plain_cells_are_right(name, variant):
    contender, text = contenders.find(name)
    if contender is None:
        pytest.skip(f"{name}: {text}")
    own = replace(TINY, cell=cases.VARIANTS[variant][0], variant=variant, hidden_size=6)
    for case in (own, replace(own, bidirectional=True, ragged=True, num_layers=2, batch=5)):
        truth = worker.Far("reference", 1).truth(case)
        if name == "torch" and variant != "projection":
            with pytest.raises(worker.Unsupported, match="no such layer"):
                worker.Far(name, 1).load(case)
            continue
        agree.check(case.name, worker.Far(name, 1).load(case), truth, case.dtype)
        layer = runner.cell_of(case)
        assert case.gates(4) == layer.gates and case.width == layer.width(6)


@pytest.mark.parametrize("cell", [*cases.ELEMENTWISE, *cases.TREES])
def test_cells_that_only_rnnfast_has(cell):
    """They run on both of its paths, and are left out by the others."""
    tiny = replace(TINY, cell=cell, steps=6)
    every = [tiny, replace(tiny, task="forward", dtype="float64")]
    if cell in cases.ELEMENTWISE:
        every += [replace(tiny, bidirectional=True, num_layers=2, ragged=True, input_size=5)]
        every += [replace(tiny, task="stream", steps=1)]
    for case in every:
        truth = worker.Far("reference", 1).truth(case)
        assert {"y"} < set(truth) or case.task != "training"
        agree.check(case.name, worker.Far("native", 1).load(case), truth, case.dtype)
    for name in ("torch", "onnxruntime", "openvino", "jax"):
        if contenders.find(name)[0] is not None:
            with pytest.raises(worker.Unsupported, match=r"inference only|no such layer"):
                worker.Far(name, 1).load(tiny)


@pytest.mark.parametrize("cell", cases.TREES)
def test_trees_are_trees(cell):
    parents = cases.Case(cell, "forward", 31, 5, 4, 4).parents
    assert parents.shape == (5, 31) and (parents[:, 0] == -1).all()
    assert all(0 <= row[k] < k for row in parents for k in range(1, 31))
    counts = [np.bincount(row[1:], minlength=31).max() for row in parents]
    assert max(counts) == 2 if cell == "BinaryTreeLSTM" else max(counts) > 2


def test_a_stream_that_forgets_its_state_is_found():
    forgetful = worker.Far("native", 1)
    truth = forgetful.truth(STREAM)
    run, read = contenders.CONTENDERS["native"].prepare(STREAM, cases.make_data(STREAM), 1)
    with pytest.raises(agree.Disagreement):
        agree.check("it", read(run()), truth, "float32")
    agree.check("it", worker.Far("native", 1).load(STREAM), truth, "float32")


def test_a_missing_library_is_named(monkeypatch):
    contender = contenders.CONTENDERS["torch"]
    monkeypatch.setattr(type(contender), "package", "no-such-distribution")
    found, text = contenders.find("torch")
    assert found is None and "not installed" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["--contenders", "magic"],
        ["--threads", "two"],
        ["--threads", "0"],
        ["--rounds", "0"],
        ["--wait", "-1"],
        ["--wait", "nan"],
        ["--filter", "nothing such"],
        ["--compare", "no-such-file.json"],
    ],
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    assert end.value.code == 2
    assert "python -m bench" in capsys.readouterr().err
