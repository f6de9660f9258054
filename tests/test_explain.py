"""`explain`: what it says is what a call then does."""

import numpy as np
import pytest

from rnnfast import use_backend
from rnnfast._native import kernels
from rnnfast.cells import CELLS
from rnnfast.layers import GRU, LSTM
from rnnfast.threads import limit_threads

BATCHES = [(1, 1), (1, 50), (8, 50), (5, 7)]

pytestmark = pytest.mark.usefixtures("packed_gemm", "no_collection")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(("batch", "steps"), BATCHES)
@pytest.mark.parametrize("cell", CELLS)
def test_workspace_is_what_a_call_takes(make_layer, cell, batch, steps, ragged, training):
    layer = make_layer(cell, 24, 40)
    lengths = np.arange(batch) % steps + 1 if ragged else None
    with limit_threads(1):
        check_workspace(layer, batch, steps, lengths, training)


def check_workspace(layer, batch, steps, lengths, training):
    """Compare what a plan says with what a call takes, and return the plan."""
    x = np.zeros((batch, steps, layer.input_size), np.float32)
    layer.forward(x)[1](None, {})
    _, before, _ = kernels.memory_use(restart=True)
    if training:
        (y, _), pullback = layer.forward(x, lengths=lengths)
        pullback(y, {})
    else:
        layer(x, lengths=lengths)
    _, _, peak = kernels.memory_use()
    plan = layer.explain(batch, steps, lengths=lengths, training=training).layers[0]
    # counters by step, and the starts of rows; final states pass through a copy
    around = 32 * (steps + 2 * batch) + 8 * batch * steps + 2 * batch * (layer.hidden_size + 8) * 4
    assert plan.workspace_bytes <= peak - before <= plan.workspace_bytes + around
    return plan


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 50])
@pytest.mark.parametrize("cell", CELLS)
def test_workspace_where_threads_have_rows_of_their_own(make_layer, cell, steps, ragged, training):
    layer = make_layer(cell, 24, 256)
    lengths = np.arange(32) % steps + 1 if ragged else None
    with limit_threads(2):
        plan = check_workspace(layer, 32, steps, lengths, training)
    if steps == 50:
        assert (plan.threads, plan.shared) == (2, "rows")
        assert "from the first step to the last" in plan.reason


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("isa", kernels.isas())
def test_packed_bytes_are_those_of_the_packed_weights(make_layer, isa, cell, dtype):
    before = kernels.get_isa()
    try:
        kernels.set_isa(isa)
        layer = make_layer(cell, 24, 40, dtype=dtype)
        plan = layer.explain().layers[0]
        width = kernels.width(layer.dtype.itemsize)
        assert (plan.isa, plan.width) == (isa, width)
        units = -(-40 // width) * width
        size, gates = layer.dtype.itemsize, layer.cell.gates

        def columns(gates):  # those of units that are left for the last panel stand side by side
            return gates * (40 // width * width) + -(-gates * (40 % width) // width) * width

        assert plan.input_bytes == columns(gates) * 24 * size
        assert plan.recurrent_bytes == sum(map(columns, layer.cell.products)) * 40 * size
        inputs = -(-24 // width) * width
        assert plan.backward_bytes == gates * 40 * (inputs + units) * size
    finally:
        kernels.set_isa(before)


@pytest.mark.parametrize(
    ("layer", "batch", "steps", "threads", "shared", "word"),
    [
        (lambda: LSTM(64, 64), 1, 1, 2, "one thread", "too little work"),
        (lambda: LSTM(64, 64), 64, 100, 1, "one thread", "allowed"),
        (lambda: LSTM(128, 128, init="torch"), 64, 100, 2, "rows", "rows"),
        (lambda: LSTM(64, 512, init="torch"), 1, 100, 2, "units", "cache"),
    ],
)
def test_reasons(layer, batch, steps, threads, shared, word):
    plan = layer().explain(batch, steps, threads=threads).layers[0]
    assert (plan.threads, plan.shared) == (1 if shared == "one thread" else threads, shared)
    assert word in plan.reason


@pytest.mark.parametrize(
    ("hidden", "batch", "steps", "shared"),
    [(64, 1024, 100, "rows"), (2048, 1, 100, "units"), (1024, 8, 100, "units"), (256, 512, 64, "rows")],
)
def test_many_cores(hidden, batch, steps, shared):
    layer = LSTM(64, hidden, init="torch")
    plans = [layer.explain(batch, steps, threads=threads).layers[0] for threads in (1, 2, 8, 16, 64)]
    used = [plan.threads for plan in plans]
    assert used == sorted(used)
    assert used[0] == 1 and used[2] > 1
    assert all(count <= most for count, most in zip(used, (1, 2, 8, 16, 64), strict=True))
    assert plans[-1].shared == shared


def test_threads_that_would_not_pay_are_left_out():
    plan = LSTM(96, 96, init="torch").explain(1, 100, threads=64).layers[0]
    assert 1 < plan.threads <= 8


def test_every_layer_and_direction_has_its_row():
    layer = GRU(8, 16, num_layers=2, bidirectional=True)
    found = layer.explain(4, 9, training=True)
    assert [plan.name for plan in found.layers] == ["l0", "l0_reverse", "l1", "l1_reverse"]
    assert (found.cell, found.dtype, found.batch, found.steps, found.training) == ("gru", "float32", 4, 9, True)
    text = str(found)
    assert repr(found) == text
    for word in ("l1_reverse", kernels.get_isa(), "KiB", "bytes for each step and row"):
        assert word in text
    assert "each step and row" not in str(layer.explain(4, 9))
    assert "too little work" in str(layer.explain(2, 3, training=True))
    assert "too little work" in text or kernels.get_isa() == "scalar"  # where products take longer


def test_reference_backend_has_no_plan():
    with use_backend("reference"):
        found = LSTM(3, 4).explain(2, 3)
    assert (found.backend, found.layers) == ("reference", ())
    assert "reference" in str(found)


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        ({"batch": -1}, ValueError, "batch"),
        ({"steps": 1.5}, TypeError, "steps"),
        ({"batch": 2, "steps": 3, "lengths": [1, 4]}, ValueError, "lengths"),
        ({"training": 1}, TypeError, "training"),
        ({"threads": 0}, ValueError, "threads"),
    ],
)
def test_bad_arguments(arguments, error, word):
    with pytest.raises(error, match=word):
        LSTM(3, 4).explain(**arguments)
