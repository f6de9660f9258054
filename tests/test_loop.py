"""What the native time loop promises beside its numbers: subnormals, the GIL, Ctrl-C, memory."""

import platform
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from rnnfast import engine
from rnnfast.cells import CELLS
from rnnfast.threads import limit_threads

ROOT = Path(__file__).resolve().parents[1]
native = engine.backend("native")


def relu_copy(hidden, dtype):
    """A relu network whose state stays as it is and whose input counts for nothing."""
    weights = {"w_ih": np.zeros((hidden, 1), dtype), "w_hh": np.eye(hidden, dtype=dtype), "b_ih": None, "b_hh": None}
    return CELLS["rnn_relu"], engine.Weights(**weights)


# Sizes at which threads share nothing of the recurrence, units of it, or rows of it.
@pytest.mark.skipif(
    platform.machine().lower() not in {"x86_64", "amd64", "aarch64", "arm64"}, reason="no switch for subnormals here"
)
@pytest.mark.parametrize("batch, hidden", [(3, 40), (2, 300), (40, 70)])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_subnormals_are_flushed_in_every_thread_and_nowhere_else(isa, dtype, threads, batch, hidden):
    cell, weights = relu_copy(hidden, dtype)
    tiny = np.finfo(dtype).tiny
    x, dx = np.zeros((batch, 25, 1), dtype), np.empty((batch, 25, 1), dtype)
    out = np.empty((batch, 25, hidden), dtype)

    def run(value):
        state = (np.full((batch, hidden), value, dtype),)
        with limit_threads(threads):
            (final,), saved = native.direction_forward(cell, x, weights, state, None, False, out, True)
            grads = {"w_ih": np.zeros((hidden, 1), dtype), "w_hh": np.zeros((hidden, hidden), dtype)}
            (dstate,) = native.direction_backward(saved, None, (np.full_like(final, value),), dx, grads)
        return final, dstate

    for value in (tiny, 2 * tiny):  # the least normal numbers pass
        final, dstate = run(value)
        assert (out == value).all() and (final == value).all() and (dstate == value).all()
    final, dstate = run(tiny / 2)
    assert (out == 0).all() and (final == 0).all()
    assert (dstate == 0).all()
    assert (np.full(3, tiny, dtype) / dtype(2) > 0).all(), "the caller's arithmetic is flushed too"


def long_run(save):
    """Return a function that runs a loop of a second or more, and its output, NaN where it has not been."""
    steps, hidden = 200_000, 128
    cell, rng = CELLS["lstm"], np.random.default_rng(0)
    weights = engine.Weights(
        w_ih=np.zeros((4 * hidden, 1), np.float32),
        w_hh=(0.05 * rng.standard_normal((4 * hidden, hidden))).astype(np.float32),
        b_ih=None,
        b_hh=None,
    )
    x = np.zeros((1, steps, 1), np.float32)
    out = np.full((1, steps, hidden), np.nan, np.float32)
    state = (np.zeros((1, hidden), np.float32),) * 2

    def run():
        return native.direction_forward(cell, x, weights, state, None, False, out, save)

    native.direction_forward(cell, x[:, :1], weights, state, None, False, out[:, :1], False)  # packs the weights
    out[...] = np.nan
    return run, out


class Alarm(Exception):
    pass


@pytest.fixture
def alarm():
    """A function that makes a signal come so many seconds from now, and an exception from it."""

    def ring(number, frame):
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("save", [False, True], ids=["infer", "forward"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_signal_cuts_the_loop_short(alarm, threads, save):
    run, out = long_run(save)
    alarm(0.02)
    with limit_threads(threads), pytest.raises(Alarm):
        run()
    assert np.isnan(out[0, -1, 0]), "the loop ran to its end"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_signal_cuts_the_backward_sweep_short_and_adds_no_gradient(alarm, threads):
    run, out = long_run(True)
    (h, c), saved = run()
    hidden = h.shape[1]
    grads = {"w_ih": np.zeros((4 * hidden, 1), np.float32), "w_hh": np.zeros((4 * hidden, hidden), np.float32)}
    dx = np.full((1, out.shape[1], 1), np.nan, np.float32)
    alarm(0.02)
    with limit_threads(threads), pytest.raises(Alarm):
        native.direction_backward(saved, out, (h, c), dx, grads)
    assert not grads["w_ih"].any() and not grads["w_hh"].any()
    assert np.isnan(dx).any(), "the sweep ran to its end"


def other_threads_run_during(run):
    """Return whether another thread gets the GIL before ``run`` is over, though nobody takes it from ``run``."""
    started, over, seen = threading.Event(), threading.Event(), []

    def work():
        started.set()
        run()
        over.set()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    try:
        worker = threading.Thread(target=work)
        worker.start()
        started.wait()
        seen.append(not over.is_set())
        worker.join()
    finally:
        sys.setswitchinterval(before)
    return seen[0]


def test_the_gil_is_free_during_the_loop():
    assert other_threads_run_during(long_run(False)[0])


def test_the_check_sees_a_gil_that_is_held():
    assert not other_threads_run_during(lambda: sum(range(10**6)))


MEMORY = """
    import os
    import numpy as np
    from rnnfast import LSTM

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    lstm = LSTM(1, 64, seed=0)
    x = np.zeros((1, 100_000, 1), np.float32)
    lstm(x[:, :10])
    before = resident()
    result = lstm.{call}(x)
    print(resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_inference_saves_nothing():
    def grown(call):
        code = textwrap.dedent(MEMORY.format(call=call))
        found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        return int(found.stdout)

    y = 100_000 * 64 * 4
    assert grown("__call__") < 1.5 * y  # the output, and a few numbers for each step; freed workspace counts too
    assert grown("forward") > 5 * y  # gates and states beside it: so the check can fail
