"""Forked children do not hang, and many Python threads may call one model at once."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from rnnfast import threads
from rnnfast.layers.recurrent import GRU, LSTM, RNN

ROOT = Path(__file__).resolve().parents[1]

# Large enough for the native path to share the work out. Prints one word for each child that computed the right thing.
FORK = """
import os, sys, threading
import numpy as np
from rnnfast.layers.recurrent import LSTM
from rnnfast.threads import set_num_threads

before, children, busy = (int(word) for word in sys.argv[1:])
set_num_threads(3)
model = LSTM(96, 96, seed=0)
x = np.random.default_rng(0).standard_normal((64, 20, 96)).astype(np.float32)

def compute():
    y, _ = model(x)
    grads = {}
    (_, _), pullback = model.forward(x)
    return y, pullback(np.ones_like(y), grads), grads["weight_hh_l0"]

def tasks():
    return len(os.listdir("/proc/self/task"))

alone = tasks()
if before:
    expected = compute()
    assert tasks() > alone, "the work was not shared out, so this test shows nothing"
stop = threading.Event()
def spin():
    while not stop.is_set():
        model(x)
spinners = [threading.Thread(target=spin) for _ in range(busy)]
for spinner in spinners:
    spinner.start()
for child in range(children):
    pid = os.fork()
    if pid == 0:
        found = compute()
        again = compute()
        if before:
            again = expected
        os._exit(0 if all(np.array_equal(a, b) for a, b in zip(found, again)) else 1)
    _, status = os.waitpid(pid, 0)
    print("right" if status == 0 else f"status {status}")
stop.set()
for spinner in spinners:
    spinner.join()
compute()
"""


# A thread is made to import the native backend slowly, and the fork comes in the midst of that.
FORK_IN_IMPORT = """
import importlib.abc, os, signal, sys, threading, time
import numpy as np
from rnnfast.layers.recurrent import LSTM

begun = threading.Event()
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "rnnfast._native.infer":
            begun.set()
            time.sleep(0.3)

sys.meta_path.insert(0, Slow())
model = LSTM(4, 4, seed=0)
x = np.ones((1, 2, 4), np.float32)
thread = threading.Thread(target=model, args=(x,))
thread.start()
begun.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    model(x)
    os._exit(0)
print(os.waitpid(pid, 0)[1])
thread.join()
"""

# Forks while another thread packs the transposed weights, which takes it most of the time.
FORK_IN_PACK = """
import os, signal, sys, threading
import numpy as np
import rnnfast

model = getattr(rnnfast, sys.argv[1])(512, 512, seed=0)
x = np.ones((1, 2, 512), np.float32)

def compute():
    (y, _), pullback = model.forward(x)
    return pullback(np.ones_like(y), {})

expected = compute()
same = {"weight_ih_l0": model.params["weight_ih_l0"].copy()}
stop = threading.Event()
def pack():
    while not stop.is_set():
        model.params.assign(same)
        compute()
thread = threading.Thread(target=pack)
thread.start()
statuses = set()
for child in range(40):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        os._exit(not np.array_equal(compute(), expected))
    statuses.add(os.waitpid(pid, 0)[1])
    if statuses != {0}:
        break
print(*statuses)
stop.set()
thread.join()
"""


def run(program, *arguments):
    """Return the words that a program prints, in a process of its own."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    return found.stdout.split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
@pytest.mark.parametrize("before", [0, 1], ids=["first", "after threads ran"])
@pytest.mark.parametrize("busy", [0, 2], ids=["quiet", "while threads run"])
def test_fork(before, busy):
    assert run(FORK, before, 3, busy) == ["right"] * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_fork_while_a_thread_imports():
    assert run(FORK_IN_IMPORT) == ["0"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.parametrize("kind", ["LSTM", "SRU"])
def test_fork_while_a_thread_packs(kind):
    assert run(FORK_IN_PACK, kind) == ["0"]


@pytest.fixture
def three_threads():
    threads.set_num_threads(3)
    yield
    threads.set_num_threads(None)


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_many_threads_call_one_model(kind, three_threads):
    model = kind(24, 32, num_layers=2, bidirectional=True, seed=0)
    rng = np.random.default_rng(1)
    inputs = [rng.standard_normal((rows, 15, 24)).astype(np.float32) for rows in (1, 3, 8, 17, 32, 40)]

    def compute(x):
        (y, _), pullback = model.forward(x)
        grads = {}
        return {"inference": model(x)[0], "y": y, "dx": pullback(np.ones_like(y), grads), **grads}

    expected = [compute(x) for x in inputs]
    start = threading.Barrier(len(inputs))
    wrong, finished = [], []

    def call(index):
        start.wait()
        for _ in range(10):
            for name, array in compute(inputs[index]).items():
                if not np.array_equal(array, expected[index][name]):
                    wrong.append((index, name, float(abs(array - expected[index][name]).max())))
        finished.append(index)

    callers = [threading.Thread(target=call, args=(index,)) for index in range(len(inputs))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(finished) == list(range(len(inputs)))
    assert not wrong
