"""Times contenders on cases: first they must agree, then they take turns, round by round.

Turns, because a shared machine changes its speed from one second to the next: what happens within a round happens to
all of them, so the ratio of two contenders is the median of the ratios within rounds.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bench.agree import check
from bench.cases import Case
from bench.contenders import Outputs, Unsupported
from bench.worker import Worker

BASELINE = "reference"
LEAST_ROUNDS = 3


@dataclass
class Result:
    """Seconds of one run in each round, by contender, and why the others have none."""

    case: Case
    threads: int
    samples: dict[str, list[float]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def seconds(self, name: str) -> float:
        """Return the median time of one run."""
        return statistics.median(self.samples[name])

    def ratio(self, name: str, other: str) -> float:
        """Return how many times longer ``other`` takes than ``name``: the median over rounds."""
        pairs = zip(self.samples[other], self.samples[name], strict=True)
        return statistics.median(theirs / mine for theirs, mine in pairs)


def run(
    cases: Iterable[Case],
    contenders: list[str],
    threads: Iterable[int],
    rounds: int = 5,
    seconds: float = 0.03,
    patience: float = 3.0,
    python: str = sys.executable,
    report: Callable[[Result], None] = lambda result: None,
) -> tuple[list[Result], dict[str, str]]:
    """Return the results, in the order of ``cases``, and by contender its version or why it is not there.

    Parameters
    ----------
    cases : iterable of Case
        What to run.
    contenders : list of str
        Names; the reference always takes part, for the others are checked against it.
    threads : iterable of int
        Every case runs on each number of threads.
    rounds : int
        How many turns each contender takes.
    patience : float
        Seconds after which a case ends early, though not before three rounds: a contender that thrashes must not
        hold up the others.
    seconds : float
        How long a turn lasts, about.
    python : str
        The interpreter for contenders other than rnnfast's own.
    report : callable
        Is called with each result as it comes.

    Raises
    ------
    Disagreement
        If a contender computes something else than the reference.
    """
    cases = list(cases)
    names = list(dict.fromkeys([*contenders, BASELINE]))
    results, versions = [], {}
    for number in threads:
        workers = []
        try:
            for name in names:
                own = name in {"native", BASELINE}
                worker = Worker(name, number, sys.executable if own else python)
                there, versions[name] = worker.version()
                if there:
                    workers.append(worker)
                else:
                    worker.close()
            for case in cases:
                results.append(run_case(case, number, workers, rounds, seconds, patience))
                report(results[-1])
        finally:
            for worker in workers:
                worker.close()
    return results, versions


def run_case(case: Case, threads: int, workers: list[Worker], rounds: int, seconds: float, patience: float) -> Result:
    """Check that the workers agree on a case, then time them in turns."""
    result = Result(case, threads)
    outputs: dict[str, Outputs] = {}
    for worker in workers:
        try:
            outputs[worker.name] = worker.load(case)
        except Unsupported as reason:
            result.absent[worker.name] = str(reason)
    for name, computed in outputs.items():
        check(f"{name} on {case.name}", computed, outputs[BASELINE], case.dtype)
    ready = [worker for worker in workers if worker.name in outputs]
    start = time.perf_counter()
    for turn in range(rounds):
        if turn >= LEAST_ROUNDS and time.perf_counter() - start > patience:
            break
        shift = turn % len(ready)  # nobody always follows the same neighbour
        for worker in ready[shift:] + ready[:shift]:
            result.samples.setdefault(worker.name, []).append(worker.sample(seconds))
    return result
