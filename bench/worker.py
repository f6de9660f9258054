"""The process in which one contender runs on one number of threads.

A process of its own, because the number of BLAS and OpenMP threads is settled when a library is loaded, and because two
spinning thread pools in one process slow each other down. Requests come in and replies go out as pickles.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.cases import Case, make_data
from bench.contenders import CONTENDERS, Outputs, Run, Unsupported, find

ROOT = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RNNFAST_NUM_THREADS")
WARM_UP = 0.01  # seconds; the processor comes back to speed and the caches to this contender's data


class Worker:
    """The near side: starts the process and talks to it.

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
        command = [python, "-m", "bench.worker", name, str(threads)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._process.send_signal(signal.SIGSTOP)

    def _ask(self, *request: Any) -> Any:
        """Send a request and wait for the answer; between two of them the process stands still.

        A library's idle threads go on spinning for tens of milliseconds, on a CPU that the next contender needs.
        """
        self._process.send_signal(signal.SIGCONT)
        try:
            return self._answer(*request)
        finally:
            self._process.send_signal(signal.SIGSTOP)

    def _answer(self, *request: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            pickle.dump(request, self._process.stdin)
            self._process.stdin.flush()
            kind, answer = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError):
            raise RuntimeError(f"the process of {self.name} ended with {self._process.wait()}") from None
        if kind == "unsupported":
            raise Unsupported(answer)
        if kind == "error":
            raise RuntimeError(f"{self.name}: {answer}")
        return answer

    def version(self) -> tuple[bool, str]:
        """Return whether the contender is there, and its version or why not."""
        there, text = self._ask("version")
        return there, text

    def load(self, case: Case) -> Outputs:
        """Prepare a case, run it once and return what it computed."""
        outputs: Outputs = self._ask("load", case)
        return outputs

    def sample(self, seconds: float) -> float:
        """Return the seconds of one run, averaged over about ``seconds`` of runs."""
        return float(self._ask("sample", seconds))

    def close(self) -> None:
        """End the process."""
        self._process.send_signal(signal.SIGCONT)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def measure(run: Run, seconds: float) -> float:
    """Return the seconds of one call of ``run``, averaged over about ``seconds`` of calls after a warm-up."""
    clock = time.perf_counter
    start = clock()
    calls = 0
    while True:
        run()
        calls += 1
        warm = clock() - start
        if warm > WARM_UP:
            break
    batch = max(1, calls // 8)  # calls between two looks at the clock: few enough to stop in time if calls get slower
    calls, taken = 0, 0.0
    start = clock()
    while taken < seconds:
        for _ in range(batch):
            run()
        calls += batch
        taken = clock() - start
    return taken / calls


def serve(name: str, threads: int) -> None:
    """The far side: answer requests until the input ends."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the replies
    run: Run | None = None
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            if request[0] == "version":
                contender, text = find(name)
                reply: Any = ("ok", (contender is not None, text))
            elif request[0] == "load":
                run, read = CONTENDERS[name].prepare(request[1], make_data(request[1]), threads)
                reply = ("ok", read(run()))
            else:
                assert run is not None
                reply = ("ok", measure(run, request[1]))
        except Unsupported as reason:
            reply = ("unsupported", str(reason))
        except Exception as error:
            reply = ("error", f"{type(error).__name__}: {error}")
        pickle.dump(reply, replies)
        replies.flush()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
