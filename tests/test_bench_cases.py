"""The grid of the benchmark, and what its cases say of themselves."""

from dataclasses import replace

import numpy as np
import pytest
from bench_books import TINY

from bench import cases, grid, regimes, runner
from bench.results import Result


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
    # the shortest barrier of the rounds, where there is one
    row = replace(TINY, task="forward", batch=1, steps=10, hidden_size=512, input_size=1)
    start, near = ({**measured, "barriers": {"2": seconds}} for seconds in (1e-5, 1e-6))
    assert runner.limit_of(row, 2, start, [0.0, 1e-6, 1e-3]) == runner.limit_of(row, 2, near)
    assert runner.limit_of(row, 2, start, [0.0]) == runner.limit_of(row, 2, start) != runner.limit_of(row, 2, near)
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
