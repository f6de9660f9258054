"""The process in which one contender runs on one number of threads.

A process of its own, because the number of BLAS and OpenMP threads is settled when a library is loaded, and because
two spinning thread pools in one process slow each other down. It is kept to as many CPUs as it has threads. Requests
come in and replies go out as pickles.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.cases import Case, in_double, make_data
from bench.contender import Outputs, Read, Run, Unsupported
from bench.contenders import CONTENDERS, find

ROOT = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RNNFAST_NUM_THREADS")
LONG = 4  # turns that a single call must last to need no warm-up
SETTLE = 0.03  # seconds in which callers come to be on a CPU each: the system may have both begin on one
STEPS_BEFORE = 3  # of a stream before its output is compared, so that a state that is not handed on shows


class Gone(Exception):
    """The process of a contender has ended; the message says how."""


class Worker:
    """The near side: starts the process and talks to it. Between two requests the process stands still.

    A library's idle threads go on spinning for tens of milliseconds, on a CPU that the next contender needs.

    Parameters
    ----------
    name : str
        A contender.
    threads : int
        How many it may use.
    python : str
        The interpreter to run it in.
    """

    def __init__(self, name: str, threads: int, python: str = sys.executable) -> None:
        self.name, self.threads = name, threads
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
        if threads == 1:
            environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
        command = [python, "-m", "bench.worker", name, str(threads)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._process.send_signal(signal.SIGSTOP)

    def begin(self, *request: Any) -> None:
        """Send a request; the process goes to work."""
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # `end` finds the answer missing
            pickle.dump(request, self._process.stdin)
            self._process.stdin.flush()

    def end(self) -> Any:
        """Wait for the answer to the request sent last; the process then stands still.

        Raises
        ------
        Unsupported
            If the contender cannot do it.
        Gone
            If the process has ended.
        RuntimeError
            If something else went wrong there.
        """
        assert self._process.stdout is not None
        try:
            kind, answer = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError):
            raise Gone(f"the process of {self.name} ended with {self._process.wait()}") from None
        finally:
            self._process.send_signal(signal.SIGSTOP)
        if kind == "unsupported":
            raise Unsupported(answer)
        if kind == "error":
            raise RuntimeError(f"{self.name}: {answer}")
        return answer

    def ask(self, *request: Any) -> Any:
        """Send a request and wait for the answer."""
        self.begin(*request)
        return self.end()

    def close(self) -> None:
        """End the process."""
        self._process.send_signal(signal.SIGCONT)
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def measure(run: Run, seconds: float) -> float:
    """Return the seconds of one call of ``run``, averaged over about ``seconds`` of calls after a warm-up.

    In the warm-up, a third as long, the processor comes back to speed and the caches to this contender's data. A call
    that lasts several times as long as all of that does so in its beginning, and counts itself.
    """
    clock = time.perf_counter
    start = clock()
    calls = 0
    while True:
        run()
        calls += 1
        warm = clock() - start
        if warm > seconds / 3:
            break
    if calls == 1 and warm > LONG * seconds:
        return warm
    batch = max(1, calls // 8)  # calls between two looks at the clock: few enough to stop in time if calls get slower
    calls, taken = 0, 0.0
    start = clock()
    while taken < seconds:
        for _ in range(batch):
            run()
        calls += batch
        taken = clock() - start
    return taken / calls


def measure_callers(run: Run, seconds: float, callers: int) -> float:
    """Return the seconds of one call when so many Python threads call at once: the time of all by the calls of all."""
    counts, starts, ends = [0] * callers, [0.0] * callers, [0.0] * callers
    ready = threading.Barrier(callers)

    def call(k: int) -> None:
        run()
        ready.wait()
        settled = time.perf_counter() + SETTLE
        while time.perf_counter() < settled:
            run()
        starts[k] = ends[k] = time.perf_counter()
        while counts[k] == 0 or ends[k] - starts[k] < seconds:
            run()
            counts[k] += 1
            ends[k] = time.perf_counter()

    threads = [threading.Thread(target=call, args=(k,)) for k in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (max(ends) - min(starts)) / sum(counts)


def keep_to(cpus: int) -> None:
    """Keep this thread, and those it starts from now on, to so many of the CPUs of this process, the last ones."""
    os.sched_setaffinity(0, ALLOWED[-cpus:])


ALLOWED = sorted(os.sched_getaffinity(0))


def computed(case: Case, run: Run, read: Read) -> Outputs:
    """Return what a case gives; a stream goes a few steps first."""
    for _ in range(STEPS_BEFORE if case.one_step else 0):
        run()
    return read(run())


class Far:
    """The far side: what the process of a contender answers."""

    def __init__(self, name: str, threads: int, pinned: bool = False) -> None:
        self.name, self.threads, self.pinned = name, threads, pinned
        self.case: Case | None = None
        self.run: Run | None = None
        self.whole: Run | None = None

    def version(self) -> tuple[bool, str]:
        """Return whether the contender is there, and its version or why not."""
        contender, text = find(self.name)
        return contender is not None, text

    def limits(self, seconds: float, barrier: int) -> tuple[dict[str, Any], float]:
        """Return the limits of a core by dtype and the seconds of a barrier of that many threads, 0 for none."""
        from rnnfast import limits

        found = {f"float{8 * size}": limits.measure(size, seconds)._asdict() for size in (4, 8)}
        return found, limits.measure_barrier(barrier, seconds / 4) if barrier > 1 else 0.0

    def barrier(self, seconds: float) -> float:
        """Return the seconds of a barrier of this process's threads, 0 if they cannot be had."""
        from rnnfast._native.limits import barrier_seconds

        return barrier_seconds(self.threads, seconds)

    def cores(self, seconds: float) -> float:
        """Return how many cores' worth of arithmetic as many threads as the case keeps busy do at once."""
        assert self.case is not None
        from rnnfast._native.limits import cores_at_once

        return cores_at_once(self.threads * self.case.callers, seconds)

    def truth(self, case: Case) -> Outputs:
        """Return what the case gives in float64."""
        double, data = in_double(case, make_data(case))
        return computed(double, *CONTENDERS[self.name].prepare(double, data, self.threads))

    def load(self, case: Case) -> Outputs:
        """Prepare a case, run it and return what it computed."""
        self.case, self.run, self.whole = None, None, None
        if self.pinned:
            keep_to(self.threads * case.callers)
        run, read = CONTENDERS[self.name].prepare(case, make_data(case), self.threads)
        outputs = computed(case, run, read)
        self.case, self.run = case, run
        return outputs

    def load_whole(self) -> None:
        """Prepare, beside the ragged batch that is loaded, the same with all its steps."""
        assert self.case is not None
        case = replace(self.case, ragged=False)
        self.whole, _ = CONTENDERS[self.name].prepare(case, make_data(case), self.threads)

    def used(self) -> int | None:
        """Return how many threads the contender chooses to use for the case, if it tells."""
        assert self.case is not None
        return CONTENDERS[self.name].threads_used(self.case)

    def sample(self, seconds: float) -> float:
        """Return the seconds of one run, averaged over about ``seconds`` of runs."""
        assert self.case is not None and self.run is not None
        if self.case.callers > 1:
            return measure_callers(self.run, seconds, self.case.callers)
        return measure(self.run, seconds)

    def sample_whole(self, seconds: float) -> float:
        """Return the same of the batch with all its steps."""
        assert self.whole is not None
        return measure(self.whole, seconds)


def serve(name: str, threads: int) -> None:
    """Answer requests until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the near side gets it too and ends this process in good order
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the replies
    far = Far(name, threads, pinned=True)
    while True:
        try:
            request, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            reply: Any = ("ok", getattr(far, request)(*arguments))
        except Unsupported as reason:
            reply = ("unsupported", str(reason))
        except Exception as error:
            reply = ("error", f"{type(error).__name__}: {error}")
        pickle.dump(reply, replies)
        replies.flush()


def end_with_parent() -> None:
    """Let the system end this process when its parent is gone: it may be standing still then."""
    set_death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent()
    keep_to(int(sys.argv[2]))
    serve(sys.argv[1], int(sys.argv[2]))
