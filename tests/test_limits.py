"""Limits: the formulas by hand on made-up machines, and measurements that make sense on this one."""

import numpy as np
import pytest

from rnnfast import caches, limits
from rnnfast._native import kernels
from rnnfast._native import limits as native_limits
from rnnfast.cells import CELLS, Options, find
from rnnfast.layers import GRU, LSTM, SRU
from rnnfast.scans import SCANS

# Numbers so apart that every term can be told from its size.
MACHINE = limits.Limits(
    isa="made up",
    itemsize=4,
    flops=1e9,
    l1_bytes=32_000,
    l2_bytes=1_000_000,
    l1_bandwidth=4e9,
    l2_bandwidth=2e9,
    beyond_bandwidth=1e9,
    activation=1e-9,
    latency=(30e-9, 50e-9),
)
NO_COMPUTE = MACHINE._replace(flops=1e18, activation=0.0)


@pytest.mark.parametrize(
    ("size", "seconds", "place"),
    [
        (32_000, 8e-6, "L1"),
        (32_002, 8e-6 + 1e-9, "L2"),
        (800_000, 8e-6 + 3.84e-4, "L2"),
        (900_000, 8e-6 + 3.84e-4 + 1e-4, "beyond"),
    ],
)
def test_stream(size, seconds, place):
    found, word = MACHINE.stream(size)
    assert found == pytest.approx(seconds)
    assert place in word


def test_large_weights_are_read_at_the_rate_of_their_size():
    machine = MACHINE._replace(far_bytes=16_000_000, far_bandwidth=5e8)
    for size, each in ((8_000_000, 1e-9), (12_000_000, 1.5e-9), (16_000_000, 2e-9), (64_000_000, 2e-9)):
        assert machine.stream(size)[0] == pytest.approx(8e-6 + 3.84e-4 + (size - 800_000) * each)


def test_the_second_level_too_is_read_at_the_rate_of_the_size():
    machine = MACHINE._replace(near_bytes=100_000, near_bandwidth=1e9)
    for size, each in ((50_000, 1e-9), (100_000, 1e-9), (300_000, 0.75e-9), (500_000, 0.5e-9), (700_000, 0.5e-9)):
        assert machine.stream(size)[0] == pytest.approx(8e-6 + (size - 32_000) * each)


@pytest.mark.parametrize(("cell", "gates", "activations"), [("lstm", 4, 5), ("gru", 3, 3), ("rnn_tanh", 1, 1)])
def test_arithmetic_of_a_batch(cell, gates, activations):
    found = limits.estimate(MACHINE, 1.0, CELLS[cell], 7, 20, 50, 9)
    rows = 50 * 9
    assert found.parts["arithmetic"] == pytest.approx(2 * gates * 20 * (7 + 20) * rows / 1e9)
    assert found.parts["activations"] == pytest.approx(activations * 20 * rows * 1e-9)
    assert set(found.parts) == {"arithmetic", "activations"}
    assert found.seconds == pytest.approx(sum(found.parts.values()))
    assert found.bound == "arithmetic"


def test_a_projection_has_fewer_weights_and_some_of_its_own():
    cell = find("lstm", Options(proj_size=5))
    found = limits.estimate(MACHINE, 0.0, cell, 7, 20, 50, 9)
    assert found.parts["arithmetic"] == pytest.approx(2 * 20 * (4 * (7 + 5) + 5) * 450 / 1e9)
    both = limits.estimate_layers(MACHINE, 0.0, cell, 7, 20, 50, 9, num_layers=2)
    assert both.seconds == pytest.approx(found.seconds + limits.estimate(MACHINE, 0.0, cell, 5, 20, 50, 9).seconds)


def test_one_row_is_bound_by_reading():
    found = limits.estimate(NO_COMPUTE, 0.0, CELLS["lstm"], 100, 100, 1, 10)
    assert found.parts["reading weights from L2"] == pytest.approx(11 * (8e-6 + 128_000 / 2e9))  # ten steps, one input
    assert found.bound == "reading weights from L2"


def test_small_steps_are_bound_by_latency():
    fast = MACHINE._replace(flops=1e12, l1_bandwidth=1e12)
    assert limits.estimate(fast, 0.0, CELLS["lstm"], 4, 4, 1, 10).parts["latency"] == pytest.approx(10 * 50e-9)
    assert limits.estimate(fast, 0.0, CELLS["rnn_relu"], 4, 4, 1, 10).parts["latency"] == pytest.approx(10 * 30e-9)


@pytest.mark.parametrize(
    ("cell", "gates", "activations"),
    [("sru", 3, 2), ("sru_projected", 4, 2), ("qrnn", 3, 3), ("mingru_identity", 2, 1), ("indrnn_relu", 1, 0)],
)
def test_elementwise_recurrences_have_an_input_product_only(cell, gates, activations):
    found = limits.estimate(MACHINE, 1.0, SCANS[cell], 200, 200, 50, 9, threads=2)
    assert found.parts["arithmetic"] == pytest.approx(2 * gates * 200 * 200 * 450 / 2e9)
    assert found.parts["activations"] == pytest.approx(activations * 200 * 450 * 1e-9 / 2)
    training = limits.estimate(MACHINE, 1.0, SCANS[cell], 200, 200, 50, 9, threads=2, training=True)
    assert training.parts["arithmetic"] == pytest.approx(3 * found.parts["arithmetic"])
    assert "barriers" not in training.parts


def test_only_gates_that_see_the_state_wait_for_it():
    fast = MACHINE._replace(flops=1e15, l1_bandwidth=1e15)
    assert limits.estimate(fast, 0.0, SCANS["sru"], 1, 4, 1, 10).parts["latency"] == pytest.approx(10 * 30e-9)
    assert "latency" not in limits.estimate(fast, 0.0, SCANS["qrnn"], 1, 4, 1, 10).parts
    assert "latency" not in limits.estimate(fast, 0.0, SCANS["indrnn_relu"], 1, 4, 1, 10).parts


def test_an_explanation_of_an_elementwise_layer_has_its_limit():
    lstm, sru = (kind(256, 256, seed=0).explain(8, 100, threads=1).layers[0] for kind in (LSTM, SRU))
    assert 0 < sru.limit_seconds < 0.5 * lstm.limit_seconds


def test_training_is_three_times_the_arithmetic():
    forward = limits.estimate(MACHINE, 0.0, CELLS["gru"], 30, 20, 50, 9)
    training = limits.estimate(MACHINE, 0.0, CELLS["gru"], 30, 20, 50, 9, training=True)
    assert training.parts["arithmetic"] == pytest.approx(3 * forward.parts["arithmetic"])
    assert training.parts["activations"] == forward.parts["activations"]


def test_training_reads_recurrent_weights_once_more():
    training = limits.estimate(NO_COMPUTE, 0.0, CELLS["lstm"], 100, 100, 1, 10, training=True)
    assert training.parts["reading weights from L2"] == pytest.approx(21 * (8e-6 + 128_000 / 2e9))


def test_threads_share_units_and_meet():
    one = limits.estimate(NO_COMPUTE, 1e-6, CELLS["lstm"], 1, 400, 1, 10)
    two = limits.estimate(NO_COMPUTE, 1e-6, CELLS["lstm"], 1, 400, 1, 10, threads=2)
    w = 4 * 400 * 400 * 4
    near = 8e-6 + 768_000 / 2e9
    assert one.parts["reading weights from beyond L2"] == pytest.approx(10 * (near + (w - 8e5) / 1e9))
    assert two.parts["reading weights from beyond L2"] == pytest.approx(10 * (near + (w / 2 - 8e5) / 1e9))
    assert two.parts["barriers"] == pytest.approx(10 * 1e-6)


def test_threads_share_rows_without_meeting():
    slow = limits.estimate(MACHINE, 1.0, CELLS["lstm"], 7, 20, 5, 9, threads=2)
    assert "barriers" not in slow.parts
    # three rows of five are the larger share of the sweep; products over all steps are halved
    assert slow.parts["arithmetic"] == pytest.approx(2 * 4 * 20 * 9 * (20 * 3 + 7 * 2.5) / 1e9)


@pytest.mark.parametrize("inputs", [1, 500])
def test_threads_work_beside_the_steps_of_one(inputs):
    sweep = limits.estimate(MACHINE, 1.0, CELLS["lstm"], 0, 16, 1, 10, training=True)
    one = limits.estimate(MACHINE, 1.0, CELLS["lstm"], inputs, 16, 1, 10, training=True)
    two = limits.estimate(MACHINE, 1.0, CELLS["lstm"], inputs, 16, 1, 10, threads=2, training=True)
    steps = sweep.seconds - 2 * 4 * 16 * 16 * 10 / 1e9  # without the sum for the recurrent weights
    assert two.seconds == pytest.approx(max(steps, one.seconds / 2))


def test_threads_stay_away_from_a_barrier_that_costs_more():
    one = limits.estimate(MACHINE, 1.0, CELLS["gru"], 16, 16, 1, 10)
    two = limits.estimate(MACHINE, 1.0, CELLS["gru"], 16, 16, 1, 10, threads=2)
    assert "barriers" not in two.parts
    assert two.seconds <= one.seconds


def test_ragged_batches_count_valid_steps():
    lengths = np.array([9, 0, 3, 3])
    found = limits.estimate(MACHINE, 0.0, CELLS["lstm"], 7, 20, 4, 9, lengths=lengths)
    flops = 2 * 4 * 20 * 20 * 15 + 2 * 4 * 20 * 7 * 15
    assert found.parts["arithmetic"] == pytest.approx(flops / 1e9)
    full = limits.estimate(MACHINE, 0.0, CELLS["lstm"], 7, 20, 4, 9, lengths=np.full(4, 9))
    assert full == limits.estimate(MACHINE, 0.0, CELLS["lstm"], 7, 20, 4, 9)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_nothing_to_do(shape):
    found = limits.estimate(MACHINE, 0.0, CELLS["lstm"], 7, 20, *shape)
    assert (found.seconds, found.bound) == (0.0, "nothing")


def test_layers_add_up_and_directions_run_side_by_side():
    cell = CELLS["gru"]
    two = limits.estimate_layers(MACHINE, 1.0, cell, 7, 20, 1, 9, num_layers=2, bidirectional=True)
    lower = limits.estimate(MACHINE, 1.0, cell, 7, 20, 1, 9)
    upper = limits.estimate(MACHINE, 1.0, cell, 40, 20, 1, 9)
    assert two.seconds == pytest.approx(2 * (lower.seconds + upper.seconds))
    both = limits.estimate_layers(MACHINE, 1.0, cell, 7, 20, 1, 9, bidirectional=True, threads=2)
    assert both.seconds == pytest.approx(lower.seconds)


def test_layers_run_side_by_side():
    cell = CELLS["gru"]
    each = [limits.estimate(MACHINE, 1.0, cell, width, 20, 1, 9).seconds for width in (7, 20, 20)]
    for threads, share in ((1, 1), (2, 2), (5, 3)):
        found = limits.estimate_layers(MACHINE, 1.0, cell, 7, 20, 1, 9, num_layers=3, threads=threads)
        assert found.seconds == pytest.approx(sum(each) / share)


@pytest.mark.parametrize("itemsize", [4, 8])
def test_measured(itemsize):
    found = limits.measure(itemsize, 0.01)
    assert (found.isa, found.itemsize) == (kernels.get_isa(), itemsize)
    assert found.flops > 1e6 and found.l1_bandwidth > 1e6
    assert min(found.l2_bandwidth, found.beyond_bandwidth) > 1e6
    assert (found.far_bandwidth > 1e6) == (found.far_bytes > 0)
    assert (found.near_bandwidth > 1e6) == (found.near_bytes > 0)
    assert 0 < found.activation < 1e-4
    assert all(1e-9 < seconds < 1e-2 for seconds in found.latency)
    assert 0 < found.l1_bytes < found.l2_bytes


def test_measured_once(monkeypatch):
    found = limits.get_limits(4)
    monkeypatch.setattr(limits, "measure", None)
    assert limits.get_limits(4) is found
    assert limits.get_barrier(1) == 0.0


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_have_no_more_cores_than_they_are(threads):
    assert 0 < native_limits.cores_at_once(threads, 2e-3) <= threads


def test_barrier():
    assert 1e-9 < limits.measure_barrier(2, 0.001) < limits.DISTURBED


@pytest.mark.parametrize("seconds", [0.0, 1e-3])
def test_barrier_on_a_busy_machine_is_the_usual_one(monkeypatch, seconds):
    monkeypatch.setattr(native_limits, "barrier_seconds", lambda threads, budget: seconds)
    assert limits.measure_barrier(2) == limits.USUAL_BARRIER


def test_cache_sizes_as_the_kernel_lists_them(tmp_path):
    for k, (level, kind, size) in enumerate(
        [("1", "Instruction", "64K"), ("1", "Data", "48K"), ("2", "Unified", "2M"), ("3", "Unified", "odd")]
    ):
        folder = tmp_path / f"index{k}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(text + "\n")
    assert [caches._listed(level, str(tmp_path)) for level in "1234"] == [48 << 10, 2 << 20, 0, 0]


def test_explain_gives_the_estimate_of_its_call(monkeypatch):
    monkeypatch.setattr(limits, "get_limits", lambda itemsize: MACHINE)
    layer = LSTM(24, 40)
    plan = layer.explain(3, 50, threads=1).layers[0]
    least = limits.estimate(limits.get_limits(4), 0.0, layer.cell, 24, 40, 3, 50)
    assert (plan.limit_seconds, plan.limit_by) == (least.seconds, least.bound)
    assert least.bound in str(layer.explain(3, 50, threads=1))
    training = layer.explain(3, 50, training=True, threads=1).layers[0]
    assert training.limit_seconds > 2 * plan.limit_seconds


def test_explain_knows_each_layer_and_lengths():
    layer = GRU(16, 32, num_layers=2, bidirectional=True)
    lower, _, upper, _ = layer.explain(4, 9, threads=1).layers
    assert upper.limit_seconds > lower.limit_seconds  # 64 inputs instead of 16
    ragged = layer.explain(4, 9, lengths=[9, 1, 0, 2], threads=1).layers[0]
    assert ragged.limit_seconds < lower.limit_seconds
