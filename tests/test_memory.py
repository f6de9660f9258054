"""How much memory a call takes: what is kept for the backward pass, and nothing that grows with use."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rnnfast._native import kernels
from rnnfast.cells import CELLS
from rnnfast.threads import limit_threads

pytestmark = pytest.mark.usefixtures("packed_gemm", "no_collection")
ROOT = Path(__file__).resolve().parents[1]
B, I, H = 8, 64, 128  # H: whole vectors on every instruction set, so that no padding counts

# Numbers kept for each unit, step and row, beside the output, which is read again. LSTM: i f g o c; GRU: n r z, the
# recurrent product of n; the other GRU: r z n, r * h; RNN: its pre-activation, which becomes a gradient.
# One gate less where two are one.
KEPT = {
    "rnn_tanh": 1,
    "rnn_relu": 1,
    "rnn_sigmoid": 1,
    "lstm": 5,
    "lstm_coupled": 4,
    "gru": 4,
    "gru_reset_before": 4,
    "mgu": 3,
    "mgu_reset_after": 3,
}


def used(layer, steps, lengths=None):
    """Return the native bytes that forward keeps, and the most that both passes need at a time."""
    shape = (B, steps) if layer.batch_first else (steps, B)
    x = np.zeros((*shape, I), layer.dtype)
    with limit_threads(1):
        layer.forward(x[:1, :1])[1](None, {})  # packs the weights
        _, before, _ = kernels.memory_use()
        (y, _), pullback = layer.forward(x, lengths=lengths)
        _, kept, _ = kernels.memory_use(restart=True)
        pullback(y, {})
        _, after, peak = kernels.memory_use()
    assert after == before
    return np.array([kept - before, peak - before])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_training_memory(make_layer, cell, batch_first, dtype):
    layer = make_layer(cell, I, H, batch_first=batch_first, dtype=dtype)
    size = layer.dtype.itemsize
    more = (used(layer, 300) - used(layer, 100)) / (200 * B)  # for each step and row
    bound = KEPT[cell] * H * size + 16 / B  # and two counters a step
    assert more.max() <= bound
    assert more.min() >= KEPT[cell] * H * size  # the counter does see them


@pytest.mark.parametrize("cell", CELLS)
def test_finished_rows_keep_nothing(make_layer, cell):
    layer = make_layer(cell, I, H)
    lengths = np.zeros(B, int)
    lengths[0] = 300
    kept, _ = used(layer, 300, lengths)
    alone = 300 * (KEPT[cell] * H + I) * 4
    assert kept <= alone + 24 * H * B + 64 * 300  # that of one row, the initial states and the counters


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_inference_memory_does_not_grow_with_the_steps(make_layer, cell):
    layer = make_layer(cell, I, H, batch_first=False)
    most = []
    for steps in (2000, 4000):
        x = np.zeros((steps, B, I), np.float32)
        layer(x)
        kernels.memory_use(restart=True)
        _, before, _ = kernels.memory_use()
        layer(x)
        most.append(kernels.memory_use()[2] - before)
    assert most[1] - most[0] <= 16 * 2000  # counters


LENGTHS = """
import os, sys
import numpy as np
import rnnfast

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

model = rnnfast.Sequential(rnnfast.LSTM(8, 32, seed=0), rnnfast.GRU(32, 16, seed=1))
order = np.random.default_rng(0).permutation(1000)[:int(sys.argv[2])] + 1
kept = []

def run(steps):
    x = np.zeros((2, steps, 8), np.float32)
    model(x)
    (y, _), pullback = model.forward(x)
    pullback(y, {})
    if sys.argv[1] == "leak":
        kept.append(np.ones((8, *y.shape)))

run(1000)
for steps in order[:50]:
    run(int(steps))
before = resident()
for steps in order:
    run(int(steps))
print(resident() - before)
"""


def growth(kind, count):
    done = subprocess.run(
        [sys.executable, "-c", LENGTHS, kind, str(count)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")
def test_no_growth_over_a_thousand_lengths():
    # what 1,000 calls use would be 600 MiB together; planted here: 100 calls that leave something, 100 MiB together
    assert growth("as it is", 1000) < 8 * 2**20
    assert growth("leak", 100) > 32 * 2**20


def test_blocks_of_no_more_use_are_given_back():
    program = """
import numpy as np
from rnnfast.layers import LSTM
from rnnfast.threads import limit_threads

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

layer = LSTM(64, 256, seed=0)
def train(steps):
    (y, _), pullback = layer.forward(np.zeros((16, steps, 64), np.float32))
    pullback(y, {})
with limit_threads(1):
    train(10)
    before = resident()
    train(2000)
    kept = resident()
    for _ in range(40):
        train(10)
    print(kept - before, resident() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    kept, left = map(int, done.stdout.split())
    assert kept > 2**27  # else there was nothing to give back
    assert left < 2**24
