"""The benchmark checks before it times, and what it prints is what it measured."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import bench.__main__ as command
from bench import agree, cases, compare, contenders, elementwise, grid, plot, regimes, report, results, runner, worker
from bench.results import Book, Result

TINY = cases.Case("LSTM", "training", steps=3, batch=2, input_size=4, hidden_size=5)
STREAM = cases.Case("GRU", "stream", steps=1, batch=1, input_size=4, hidden_size=5)


def book(*found, **machine):
    about = {"cpu": "A", "cpus": 2, "isa": "avx2", "python": "3", "numpy": "2", **machine}
    return Book(about, ["python", "-m", "bench"], {"rounds": 3, "seconds": 0.1, "threads": [1]}, {}, {}, list(found))


def result(case=TINY, threads=1, limit=0.5, **samples):
    return Result(case, threads, samples, {}, {"seconds": limit, "bound": "arithmetic", "parts": {}})


# Running


def test_runs_and_keeps_json(monkeypatch, tmp_path, capsys):
    ragged = replace(TINY, task="forward", ragged=True)
    monkeypatch.setattr(grid, "SHORT", [TINY, STREAM, ragged, replace(TINY, task="forward", callers=2)])
    file = tmp_path / "deep" / "out.json"
    arguments = ["--contenders", "native", "--threads", "1", "--rounds", "2", "--seconds", "0.001", "--json", str(file)]
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
    assert set(written["results"][3]["samples"]) == {"native"}
    assert written["results"][3]["absent"] == {"reference": "one caller only"}
    assert written["machine"]["isa"] and written["versions"]["native"]
    assert written["limits"]["cores"]["float32"]["flops"] > 1e6
    assert written["command"][-1].endswith(".json")
    again = results.load(file)
    assert again.results[0].case == TINY
    assert command.main(["--from", str(file), "--markdown"]) == 0
    assert f"| {TINY.name} |" in capsys.readouterr().out


class FakeWorker:
    """Computes ones, or what `wrong` says for its name; `log` notes who was timed."""

    wrong = None
    log = ()

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
            "used": 1,
        }
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
    monkeypatch.setattr(runner, "Worker", FakeWorker)
    monkeypatch.setattr(runner, "limit_of", lambda *arguments: None)
    return FakeWorker


def run_fake(**options):
    kept = book()
    with runner.Team(["native", "torch", "openvino"], [1, 2]) as team:
        kept.versions = team.versions
        runner.run([replace(TINY, task="forward")], team, kept, rounds=3, seconds=0.0, **options)
    return kept


def test_turns_rotate_over_all_contenders_and_threads(fake):
    kept = run_fake()
    everyone = {(name, n) for name in ("native", "torch", "reference") for n in (1, 2)}
    rounds = [fake.log[k : k + 6] for k in range(0, 18, 6)]
    assert all(set(turn) == everyone for turn in rounds) and len(fake.log) == 18
    assert len({turn[0] for turn in rounds}) == 3
    assert kept.versions["openvino"] == "1.0" and "openvino" not in kept.results[0].samples
    assert [r.threads for r in kept.results] == [1, 2]


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


# Cases


def test_names_are_unique():
    names = [case.name for case in grid.FULL]
    assert len(names) == len(set(names))
    assert set(grid.SHORT) <= set(grid.FULL)


def test_the_short_grid_has_every_regime():
    def found(selection):
        return set(regimes.grouped([Result(case, n) for case in selection for n in (1, 2)]))

    assert found(grid.SHORT) == found(grid.FULL) == set(regimes.REGIMES)


def test_comparisons_within_a_run_have_their_partners():
    for selection in (grid.SHORT, grid.FULL):
        every = set(selection)
        assert all(replace(case, ragged=False) in every for case in selection if case.ragged)
        assert all(replace(case, callers=1) in every for case in selection if case.callers > 1)
        several = [case for case in selection if case.cell in cases.ELEMENTWISE and not case.one_step]
        assert several and all(replace(case, cell="LSTM") in every for case in several)


def test_ragged_lengths_are_within_the_case_and_told_in_flops():
    case = replace(TINY, batch=50, ragged=True)
    assert case.lengths.min() == 1 and case.lengths.max() == 3
    assert case.flops * 150 == replace(case, ragged=False).flops * case.valid_steps
    data = cases.make_data(case)
    assert not data.dy[case.lengths == 1, 1:].any() and data.dy[:, 0].all()


@pytest.mark.parametrize("cell", ["MinGRU", "MinLSTM", "IndRNN"])
def test_gradients_do_not_hang_on_rounding(cell):
    """Data that come near a jump in slope: float32 took another side of it, and a right result was called wrong."""
    case = cases.Case(cell, "training", steps=512, batch=8, input_size=64, hidden_size=512)
    data = cases.make_data(case)
    x, weights = data.x.astype(float), {name: array.astype(float) for name, array in data.weights.items()}
    sums = x @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]
    h = 0.0
    for t in range(case.steps):
        if cell == "IndRNN":
            sums[:, t] += weights["weight_hh_l0"] * h
            h = np.maximum(sums[:, t], 0)
    assert abs(sums).min() > 9e-6
    assert 0.9 < x.std() < 1.1


def test_limits_of_cases_count_what_a_case_has():
    cores = {
        dtype: {
            "isa": "x",
            "itemsize": size,
            "flops": 1e9,
            "l1_bytes": 1 << 30,
            "l2_bytes": 1 << 30,
            "l1_bandwidth": 1e18,
            "l2_bandwidth": 1e18,
            "beyond_bandwidth": 1e18,
            "activation": 0.0,
            "latency": [0.0, 0.0],
        }
        for dtype, size in (("float32", 4), ("float64", 8))
    }
    measured = {"cores": cores, "barriers": {"1": 0.0, "2": 0.0}}
    for case in (
        TINY,
        replace(TINY, task="forward", num_layers=2, bidirectional=True),
        replace(TINY, cell="GRU", ragged=True, batch=9),
        replace(TINY, cell="RNN", dtype="float64"),
        replace(TINY, variant="projection", num_layers=2, bidirectional=True, hidden_size=6),
        replace(TINY, variant="coupled"),
        replace(TINY, cell="GRU", variant="minimal"),
        replace(TINY, cell="SRU"),
        replace(TINY, cell="SRU", input_size=5),
        replace(TINY, cell="MinGRU", task="forward"),
    ):
        assert runner.limit_of(case, 1, measured)["seconds"] == pytest.approx(case.flops / 1e9)
    assert runner.limit_of(replace(TINY, callers=2), 1, measured) is None
    assert runner.limit_of(TINY, 1, {}) is None
    assert runner.limit_of(replace(TINY, cell="TreeLSTM"), 1, measured) is None


def test_operations_of_elementwise_cells_and_trees():
    lstm = cases.Case("LSTM", "forward", 7, 3, 16, 16)
    shares = {"SRU": 3, "QRNN": 3, "MinGRU": 2, "MinLSTM": 3, "IndRNN": 1}
    for cell, blocks in shares.items():
        assert replace(lstm, cell=cell).flops * 8 == blocks * lstm.flops
    assert replace(lstm, cell="SRU", input_size=9).flops == 2 * 4 * 16 * 9 * 21
    pair = cases.Case("BinaryTreeLSTM", "training", 2, 1, 9, 16)  # a root with one child
    assert pair.flops == 6 * (2 * 4 * 16 * 9 + 5 * 16 * 2 * 16)
    assert replace(pair, cell="TreeLSTM").flops == 6 * (2 * 4 * 16 * 9 + 4 * 16 * 16)


# Reporting


def test_ratio_is_the_median_within_rounds():
    found = result(reference=[2.0, 3.0, 8.0], native=[1.0, 1.0, 2.0], torch=[2.0, 2.0, 9.0], jax=[3.0, 1.5, 3.0])
    assert found.ratio("native", "reference") == 3.0
    assert found.best() == ("jax", 1.5)
    assert found.percent() == 50.0
    assert Result(TINY, 1, {"native": [1.0]}).best() is None


def test_table():
    one = result(native=[1.0], reference=[3.0], torch=[2.0])
    two = result(threads=2, native=[0.5], reference=[3.0], torch=[0.4])
    head, row = report.times([one, two])
    assert head == ["case", "1 thread", "%", "reference", "torch", "2 threads", "%", "torch"]
    assert row == [TINY.name, "1.00 s", "50", "3.00", "2.00", "500 ms", "100", "0.80"]
    assert report.in_markdown([head, row]).splitlines()[1] == "| --- |" + " ---: |" * 7
    assert "reference" in report.align([head, row])


def test_regimes_tell_mean_least_and_what_is_reached():
    base = cases.Case("LSTM", "forward", 100, 1, 256, 256)
    fast = result(base, native=[1.0], torch=[4.0], limit=0.8)
    near = result(replace(base, hidden_size=512), native=[1.0], torch=[1.0], limit=0.95)
    far = result(replace(base, hidden_size=1024), native=[1.0], torch=[0.5], limit=0.2)
    (row,) = report.regimes([fast, near, far])[1:]
    assert row == ["B=1, larger H, 1 thread", "3", "1.26", "0.50", "1.2", "53", "20", "85", "2 of 3"]
    (line,) = report.overall([fast, near, far])
    assert line.startswith("inference: 1.26") and line.endswith("at its limit in every case it would be 2.36")
    (line,) = report.behind([fast, near, far])
    assert "H1024" in line and "torch takes 0.50" in line


def test_each_contender_has_its_mean_and_range():
    found = [result(native=[1.0], torch=[2.0], reference=[300.0]), result(native=[1.0], torch=[8.0]), result(threads=2)]
    assert report.against_each(found) == [
        ["times as long as rnnfast", "threads", "cells", "reference", "torch"],
        ["training", "1", "2", "300 (300 to 300)", "4.00 (2.00 to 8.00)"],
    ]


def test_slower_with_two_threads_is_listed():
    one = result(native=[1.0, 2.0, 4.0])
    slower = result(threads=2, native=[1.1, 2.2, 3.0])
    assert report.slower_with_threads([one, slower]) == [f"{TINY.name}: 1.10 times as long on 2 threads"]
    assert not report.slower_with_threads([one, result(threads=2, native=[1.0, 2.02, 4.0])])
    slower.used = 1
    (line,) = report.slower_with_threads([one, slower])
    assert line.endswith("1.10 times as long with 2 threads allowed, of which one is used")


def test_rnnfast_tells_how_many_threads_it_uses(monkeypatch):
    monkeypatch.setattr("rnnfast.threads._threads", 0)  # put back afterwards
    rows = replace(TINY, steps=50, batch=64, input_size=128, hidden_size=128)
    tree = replace(TINY, cell="TreeLSTM")
    for case, threads, expected in ((TINY, 2, 1), (rows, 1, 1), (rows, 2, 2), (tree, 2, None)):
        far = worker.Far("native", threads)
        far.load(case)
        assert far.used() == expected
    far = worker.Far("reference", 1)
    far.load(TINY)
    assert far.used() is None


@pytest.mark.parametrize(("seconds", "verdict"), [(0.5, "yes"), (0.9, "no")])
def test_ragged_table_compares_valid_steps(seconds, verdict):
    full = replace(TINY, batch=9)
    part = replace(full, ragged=True)
    share = part.valid_steps / full.valid_steps
    rows = report.ragged(book(result(full, native=[0.5 / share]), result(part, native=[seconds])))
    assert rows[1][0] == full.name and rows[1][-1] == verdict
    assert rows[1][-2] == f"{seconds / 0.5:.2f}"


def test_elementwise_cells_are_set_beside_the_lstm():
    lstm = result(replace(TINY, input_size=5), native=[1.0])
    rows = report.elementwise(book(lstm, result(replace(lstm.case, cell="SRU"), native=[0.25]), result(native=[9.0])))
    assert rows[1:] == [["SRU training T3 B2 H5", "1", "250 ms", "1.00 s", "4.00", "37.5%"]]
    assert "times as fast" in report.whole(book(lstm, result(replace(lstm.case, cell="SRU"), native=[0.25])))


@pytest.mark.parametrize("kind", ["vectors", "symbols"])
def test_elementwise_cells_in_turns_with_the_lstm(kind):
    for passes in elementwise.calls(kind, 3, 4, 2, 5):
        found = elementwise.measure(passes, 2)
        assert list(found) == ["LSTM", *cases.ELEMENTWISE]
        assert found["LSTM"][1] == 1 and all(seconds > 0 and ratio > 0 for seconds, ratio in found.values())


def test_callers_table():
    one, two = result(native=[2.0]), result(replace(TINY, callers=2), native=[1.05])
    assert "1.90 times" in report.callers(book(one, two))[0]
    assert not report.callers(book(two))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.234, "1.23 s"), (0.0123456, "12.3 ms"), (1.5e-4, "150 us"), (2.5e-7, "250 ns"), (9.999e-4, "1000 us")],
)
def test_times_have_three_digits(seconds, text):
    assert report.spell(seconds) == text


def test_progress_tells_when_it_will_be_over(capsys, monkeypatch):
    clock = iter([0.0, 40.0, 80.0])
    monkeypatch.setattr(command.time, "perf_counter", lambda: next(clock))
    tell = command.Progress([TINY, TINY])
    tell([Result(TINY, 1)])
    assert "1/2, 0.7 minutes left" in capsys.readouterr().err


# Comparing


def write(folder, kept):
    path = folder / "old.json"
    kept.save(path)
    return path


def test_files_read_back(tmp_path):
    kept = book(result(native=[1.0, 2.0]), limits_of="nobody")
    assert results.load(write(tmp_path, kept)) == kept
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 2, "results": [{}]}'])
def test_other_files_are_refused(tmp_path, text, capsys):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json"):
        results.load(path)
    with pytest.raises(SystemExit):
        command.main(["--compare", str(path)])
    assert "other.json" in capsys.readouterr().err


OLD = [1.00, 1.01, 0.99, 1.00, 1.02]


def times(factor):
    return [factor * s for s in OLD]


def test_only_changes_beyond_noise_are_told():
    wide = replace(TINY, hidden_size=6)
    same = replace(TINY, hidden_size=7)
    fast = replace(TINY, hidden_size=8)
    noisy = replace(TINY, hidden_size=9)
    old = book(*(result(case, native=OLD) for case in (TINY, wide, same, fast)), result(noisy, native=[1, 2, 3, 1, 3]))
    new = book(
        result(TINY, native=times(1.2)),
        result(wide, native=times(1.02)),
        result(same, native=OLD),
        result(fast, native=times(0.5)),
        result(noisy, native=[2, 4, 3, 1, 3]),
        result(replace(TINY, hidden_size=10), native=OLD),
    )
    text = compare.compare(old, new)
    assert "5 cells in common, 1 of this run" in text
    slower, faster = text.split("faster by more than noise: 1")
    assert f"{TINY.name}, 1 thread: 1.00 s -> 1.20 s, +20 %" in slower
    assert "slower by more than noise: 1\n" in slower
    assert fast.name in faster and "-50 %" in faster
    for quiet in (wide, same, noisy):
        assert quiet.name not in text


def test_noise_grows_with_the_spread_of_either_run():
    assert compare.spread([1.0]) == 0.0
    assert compare.spread([1.0, 1.0, 1.0]) == 0.0
    assert compare.spread([1.0, 1.1, 0.9]) == pytest.approx(1.4826 * 1.2533 * 0.1 / np.sqrt(3))
    for first, second in ((OLD, [0.5, 1.0, 1.5]), ([0.5, 1.0, 1.5], OLD)):
        (change,) = compare.changes(book(result(native=first)), book(result(native=second)))
        assert change.noise > 0.3


def test_another_machine_is_compared_by_ratios():
    old = book(result(native=times(2.0), torch=times(4.0), reference=times(8.0)), cpu="B")
    new = book(result(native=times(1.0), torch=times(1.0)))
    text = compare.compare(old, new)
    assert "cpu was B and is A" in text and "ratios to torch" in text
    assert "0.500 -> 1.000, +100 %" in text


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(compare.Incomparable, match="no contender"):
        compare.compare(book(result(native=OLD), cpu="B"), book(result(native=OLD)))
    with pytest.raises(compare.Incomparable, match=r"then: \[1\], now: \[2\]"):
        compare.compare(book(result(native=OLD)), book(result(threads=2, native=OLD)))


def test_compare_from_the_command_line(tmp_path, capsys):
    old = write(tmp_path, book(result(native=OLD)))
    now = tmp_path / "now.json"
    book(result(native=times(1.5))).save(now)
    assert command.main(["--from", str(now), "--compare", str(old)]) == 0
    assert "+50 %" in capsys.readouterr().out


# Drawing


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    found = [
        result(case, threads, native=[1.0], torch=[0.5 + k % 7], limit=0.01 * (1 + k % 90))
        for k, case in enumerate(grid.SHORT)
        for threads in (1, 2)
    ]
    path = tmp_path / "deep" / "picture.png"
    plot.draw(book(*found), path)
    assert path.read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="no result"):
        plot.draw(book(Result(TINY, 1, {"native": [1.0]})), path)


def test_matplotlib_is_imported_for_pictures_only():
    code = "import sys, bench.__main__; assert not {'matplotlib', 'torch', 'jax', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--contenders", "magic"],
        ["--threads", "two"],
        ["--threads", "0"],
        ["--rounds", "0"],
        ["--filter", "nothing such"],
        ["--compare", "no-such-file.json"],
    ],
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    assert end.value.code == 2
    assert "python -m bench" in capsys.readouterr().err
