"""Ctrl-C inside long native calls, and exceptions from a program's own signal handlers.

Each case is a process of its own that sends itself the signal from another thread while it is inside the one call. How
long the exception takes is counted in time that the process had a CPU, for machines that are busy; it is about 0.05 s.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rnnfast import Dense
from rnnfast.threads import limit_threads

ROOT = Path(__file__).resolve().parents[1]

SCRIPT = """
import ctypes, os, signal, sys, threading, time
import numpy as np
from rnnfast import GRU, LSTM, RNN, Dense, TreeLSTM
from rnnfast._native import kernels, provider
from rnnfast.threads import set_num_threads

case, threads, own_handler, gemm = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "own", sys.argv[4]
set_num_threads(threads)
provider.set_gemm(gemm)

class Own(Exception):
    pass

def handler(number, frame):
    assert np.float32(1e-39) * np.float32(1) != 0, "the handler runs with subnormals flushed"
    raise Own

expected = Own if own_handler else KeyboardInterrupt
if own_handler:
    signal.signal(signal.SIGINT, handler)

def resident():
    kernels.release_memory()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

def claim(*shape):  # takes no memory
    return np.broadcast_to(np.float32(0.1), shape)

class Trees(TreeLSTM):
    def parents(self, x):
        return np.broadcast_to((np.arange(x.shape[1]) - 1) // 2, x.shape[:2])

    def __call__(self, x):
        return super().__call__(x, self.parents(x))

    def forward(self, x):
        return super().forward(x, self.parents(x))

kind, layer, x = {
    "inference": ("infer", lambda: LSTM(8, 256, seed=0, init="torch"), claim(32, 30000, 8)),
    "large steps": ("infer", lambda: LSTM(512, 1024, seed=0, init="torch"), claim(4096, 20, 512)),
    "one row": ("infer", lambda: GRU(8, 1024, seed=0, init="torch"), claim(1, 100000, 8)),
    "beside the steps": ("infer", lambda: RNN(64, 64, seed=0, init="torch"), claim(1, 1500000, 64)),
    "pullback beside the steps": ("pullback", lambda: RNN(64, 64, seed=0, init="torch"), claim(1, 600000, 64)),
    "both directions": ("infer", lambda: LSTM(64, 64, bidirectional=True, init="torch"), claim(1, 400000, 64)),
    "pullback of both": ("pullback", lambda: LSTM(64, 64, bidirectional=True, init="torch"), claim(1, 150000, 64)),
    "layers": ("infer", lambda: LSTM(64, 64, 2, init="torch"), claim(1, 300000, 64)),
    "pullback of layers": ("pullback", lambda: LSTM(64, 64, 2, init="torch"), claim(1, 200000, 64)),
    "forward": ("forward", lambda: LSTM(8, 512, seed=0, init="torch"), claim(64, 2000, 8)),
    "pullback": ("pullback", lambda: LSTM(8, 512, seed=0, init="torch"), claim(64, 300, 8)),
    "weight gradients": ("pullback", lambda: LSTM(4096, 128, seed=0, init="torch"), claim(64, 200, 4096)),
    "trees": ("infer", lambda: Trees(512, 512, seed=0, init="torch"), claim(64, 511, 512)),
    "trees pullback": ("pullback", lambda: Trees(512, 512, "binary", seed=0, init="torch"), claim(32, 255, 512)),
    "dense": ("infer", lambda: Dense(2048, 2048, seed=0, init="torch"), claim(40000, 2048)),
    "dense pullback": ("pullback", lambda: Dense(2048, 2048, seed=0, init="torch"), claim(10000, 2048)),
}[case]
layer = layer()

def outputs(result):
    return result[0] if isinstance(result, tuple) else result

small = x[:2, :3] if x.ndim == 3 else x[:2]
wanted = outputs(layer(small))
grads = {name: np.ones_like(value) for name, value in layer.params.items()}
worst, before = 0.0, 0.0
for _ in range(2):
    call = {"infer": layer, "forward": layer.forward}.get(kind)
    if kind == "pullback":
        out, pullback = layer.forward(x)
        dy = np.ones_like(outputs(out))
        del out
    sent = []
    def send():
        sent.append(time.process_time())
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(0.06, send)
    timer.start()
    try:
        pullback(dy, grads) if kind == "pullback" else call(x)
        raise SystemExit("not interrupted")
    except expected:
        worst = max(worst, time.process_time() - sent[0])
    timer.join()
    pullback = dy = None
    assert all((value == 1).all() for value in grads.values()), "gradients were added"
    before = before or resident()
assert resident() < before + 30, f"{resident() - before} MB more after the second time"
assert np.array_equal(outputs(layer(small)), wanted)
print(f"{worst:.3f}")
"""
CASES = ["inference", "large steps", "one row", "forward", "pullback", "weight gradients", "trees", "trees pullback"]
CASES += ["dense", "dense pullback", "beside the steps", "pullback beside the steps", "both directions"]
CASES += ["pullback of both", "layers", "pullback of layers"]


def interrupt(case, threads, handler, gemm):
    """Run one case twice in a process, and return the longer CPU time from the signal to the exception."""
    command = [sys.executable, "-c", SCRIPT, case, str(threads), handler, gemm]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "2"}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stdout + found.stderr
    return float(found.stdout)


@pytest.mark.parametrize("case", CASES)
def test_ctrl_c(case):
    assert interrupt(case, 2, "usual", "packed") < 2


@pytest.mark.parametrize("case", ["weight gradients", "dense pullback"])
def test_ctrl_c_between_products_of_blas(case):
    assert interrupt(case, 2, "usual", "blas") < 2


@pytest.mark.parametrize("case", ["inference", "pullback"])
def test_a_handler_may_raise_its_own_exception(case):
    assert interrupt(case, 1, "own", "packed") < 2


def test_gradients_are_whole_or_as_they_were():
    """Whenever Ctrl-C comes: also between the two pieces of a call that is just long enough to have them."""
    layer = Dense(1620, 1620, seed=0)
    x = np.full((380, 1620), 0.1, np.float32)
    dw = np.ones_like(layer.params["weight"])

    def pull(delay):
        y, pullback = layer.forward(x)
        dw.fill(1)
        try:
            signal.setitimer(signal.ITIMER_REAL, delay)
            pullback(y, {"weight": dw})
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    handler, interrupted = signal.signal(signal.SIGALRM, signal.default_int_handler), 0
    try:
        with limit_threads(1):
            pull(0)
            whole = dw.copy()
            for delay in range(1, 40, 2):
                try:
                    pull(delay / 1000)
                except KeyboardInterrupt:
                    interrupted += 1
                assert np.array_equal(dw, whole) or (dw == 1).all(), f"half added after {delay} ms"
    finally:
        signal.signal(signal.SIGALRM, handler)
    assert interrupted
