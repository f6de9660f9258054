"""What the benchmark prints and draws is what it measured, and what it finds slower is slower beyond noise."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from bench_books import TINY, book, result, write

import bench.__main__ as command
from bench import cases, compare, elementwise, grid, plot, report, results, worker
from bench.results import Result

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


def test_the_machine_is_told_also_by_runs_that_looked_less_far():
    core = {
        "isa": "x", "itemsize": 4, "flops": 2e9, "l1_bytes": 1 << 15, "l2_bytes": 1 << 20, "l1_bandwidth": 9e9,
        "l2_bandwidth": 5e9, "beyond_bandwidth": 3e9, "activation": 1e-9, "latency": [3e-8, 4e-8],
    }  # fmt: skip
    kept = {"cores": {"float32": core}, "barriers": {"2": 1e-7}}
    line, barrier = report.machine_limits(kept)
    assert "2 GFLOP/s; reads 9 GB/s from L1 (32 KiB), 5 from L2 (1024 KiB), 3 beyond; activation 1.00 ns" in line
    assert barrier == "a barrier of 2 threads: 100 ns"
    core |= {"far_bytes": 32 << 20, "far_bandwidth": 2e9}
    assert "3 beyond (2 of 32 MiB);" in report.machine_limits(kept)[0]
    core |= {"near_bytes": 128 << 10, "near_bandwidth": 4e9}
    assert ", 5 from L2 (1024 KiB; 4 from 128 KiB of it), 3 beyond" in report.machine_limits(kept)[0]


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
    slower.barriers = [1e-7, 4e-7, 3e-7]
    (line,) = report.slower_with_threads([one, slower])
    assert line.endswith("1.10 times as long on 2 threads, with barriers of 300 ns")
    slower.used = 1
    (line,) = report.slower_with_threads([one, slower])
    assert line.endswith("1.10 times as long with 2 threads allowed, of which one is used")


def test_barriers_are_told_round_by_round():
    calm = replace(result(threads=2), barriers=[k * 1e-9 for k in range(40, 60)])
    far = replace(result(threads=2), barriers=[2e-7, 0.0])
    (line,) = report.meetings([result(), calm, far])
    usual = "50 ns in the middle of 21 rounds, 41 ns to 59 ns in nine tenths of them"
    assert line == f"2 threads: {usual}, not to be had in 1 of 22"
    (line,) = report.meetings([replace(far, barriers=[0.0])])
    assert line == "2 threads: not to be had in 1 of 1"
    assert "barriers meanwhile" in report.whole(book(calm)) and not report.meetings([result()])
    assert 0 < worker.Far("native", 2).barrier(1e-3) < 1  # how long it takes is a matter of who else is at work


def test_rounds_with_too_few_cores_are_told():
    calm, shared = replace(result(threads=2), cores=[2.0, 1.7]), replace(result(threads=2), cores=[1.0, 1.1, 1.2, 1.99])
    assert report.cores([result(), calm]) == ["2 threads: a core each in 2 of 2 rounds"]
    (line,) = report.cores([calm, shared])
    assert line == "2 threads: a core each in 3 of 6 rounds, 1.10 cores together in the middle of the others"
    assert "cores meanwhile" in report.whole(book(calm)) and not report.cores([result()])
    two_callers = replace(result(replace(TINY, callers=2)), cores=[1.9])
    assert report.cores([two_callers]) == ["2 threads: a core each in 1 of 1 rounds"]


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
    # a round that both are slower in does not count more
    one = replace(result(part, native=[seconds, 9 * seconds, seconds]), whole=[0.5 / share, 4.5 / share, 0.5 / share])
    rows = report.ragged(book(result(full, native=[7.0]), one))
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
