"""Times contenders on cases: first each must be right, then they take turns, round by round.

Turns, because a shared machine changes its speed from one second to the next: what happens within a round happens to
all of them, on all numbers of threads, so the ratio of two is the median of the ratios within rounds.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from bench.agree import Disagreement, check
from bench.cases import ELEMENTWISE, TREES, Case
from bench.contender import Outputs, Unsupported
from bench.contenders import OWN
from bench.results import BASELINE, SUBJECT, Book, Result, have_cores
from bench.worker import Gone, Worker
from rnnfast import limits
from rnnfast.cells import CellSpec, Options, find
from rnnfast.scans import SCANS, ScanSpec
from rnnfast.threads import default_num_threads

LEAST_ROUNDS = 3
MEETINGS = 5e-4  # seconds for barriers in each round
LOOK = 2e-3  # seconds to see how many cores there are
PAUSE = 0.25  # seconds between two such looks
CELL_OF = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn_tanh"}


class Team:
    """The processes of all contenders on all numbers of threads; a context that ends them.

    Parameters
    ----------
    contenders : list of str
        Names; the reference always takes part, for the others are checked against it.
    threads : list of int
        Every contender gets a process for each.
    python : str
        The interpreter for contenders other than rnnfast's own.
    wait : float
        Seconds that rounds may wait, in all, while CPUs of several threads are one core.

    Attributes
    ----------
    waited : float
        How many they have.
    """

    def __init__(
        self, contenders: list[str], threads: list[int], python: str = sys.executable, wait: float = 0.0
    ) -> None:
        self.wait, self.waited = wait, 0.0
        names = list(dict.fromkeys([*contenders, BASELINE]))
        self.workers = [
            Worker(name, number, sys.executable if name in OWN else python) for number in threads for name in names
        ]
        self.versions: dict[str, str] = {}

    def __enter__(self) -> Team:
        try:
            for worker in self.workers:
                worker.begin("version")
            missing = []
            for worker in self.workers:
                there, self.versions[worker.name] = worker.end()
                if not there:
                    missing.append(worker)
            for worker in missing:
                self.dismiss(worker)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.close()

    def dismiss(self, worker: Worker) -> None:
        """End one process."""
        self.workers.remove(worker)
        worker.close()

    def one(self, name: str, threads: int | None = None) -> Worker | None:
        """Return a process of a contender, with that many threads or the least."""
        found = [w for w in self.workers if w.name == name and threads in {None, w.threads}]
        return min(found, key=lambda w: w.threads, default=None)

    def await_cores(self, worker: Worker, threads: int) -> float:
        """Return how many cores the threads of a case have, once each has its own or the time to wait is up."""
        wanted = min(threads, default_num_threads())
        while True:
            found: float = worker.ask("cores", LOOK)
            if have_cores(found, wanted) or self.waited >= self.wait:
                return found
            time.sleep(PAUSE)
            self.waited += PAUSE

    def measure_limits(self, threads: list[int], seconds: float = 0.15) -> dict[str, Any]:
        """Return what this machine can do, by dtype, and the seconds of a barrier by number of threads.

        Empty without the subject. Each is measured alone, in the process that the cases run in.
        """
        found: dict[str, Any] = {}
        for number in threads:
            worker = self.one(SUBJECT, number)
            if worker is None:
                return {}
            cores, barrier = worker.ask("limits", seconds if not found else seconds / 10, number)
            if not found:
                found = {"cores": cores, "barriers": {}}
            found["barriers"][str(number)] = barrier
        return found


def cell_of(case: Case) -> CellSpec | ScanSpec:
    """Return rnnfast's own entry of a case's cell."""
    if case.cell in ELEMENTWISE:
        cell = SCANS[ELEMENTWISE[case.cell].native]
        return cell if case.gates(case.input_size) == cell.gates else SCANS[f"{cell.name}_projected"]
    name = {"coupled": "lstm_coupled", "minimal": "mgu"}.get(case.variant, CELL_OF[case.cell])
    projection = case.width if case.variant == "projection" else 0
    return find(name, Options(case.variant == "peephole", case.variant == "layer norm", proj_size=projection))


def limit_of(
    case: Case, threads: int, measured: dict[str, Any], barriers: Iterable[float] = ()
) -> dict[str, Any] | None:
    """Return the least time of a case, by the shortest of the barriers there are; None where there is none to tell."""
    if not measured or case.callers > 1 or case.cell in TREES:
        return None
    least = limits.estimate_layers(
        limits.Limits(**measured["cores"][case.dtype]),
        min((s for s in barriers if s > 0), default=measured["barriers"][str(threads)]),
        cell_of(case),
        case.input_size,
        case.hidden_size,
        case.batch,
        case.steps,
        num_layers=case.num_layers,
        bidirectional=case.bidirectional,
        lengths=case.lengths,
        threads=threads,
        training=case.task == "training",
    )
    return least._asdict()


def run(
    cases: Iterable[Case],
    team: Team,
    book: Book,
    rounds: int = 5,
    seconds: float = 0.03,
    patience: float = 6.0,
    report: Callable[[list[Result]], None] = lambda results: None,
) -> None:
    """Time the cases, in their order, and add the results to the book.

    Parameters
    ----------
    cases : iterable of Case
        What to run, on every number of threads that the team has.
    team : Team
        Who runs.
    book : Book
        Receives the results.
    rounds : int
        How many turns each contender takes.
    seconds : float
        How long a turn lasts, about.
    patience : float
        Seconds after which a case ends early, though not before three rounds: a contender that thrashes must not
        hold up the others.
    report : callable
        Is called with the results of each case as they come.

    Raises
    ------
    Disagreement
        If rnnfast computes something else than the reference in float64. A peer that does is left out of the case.
    """
    for case in cases:
        found = run_case(case, team, book.limits, rounds, seconds, patience)
        book.results += found
        report(found)


def run_case(
    case: Case, team: Team, measured: dict[str, Any], rounds: int, seconds: float, patience: float
) -> list[Result]:
    """Check what the workers compute, then time them in turns; return a result for each number of threads.

    Of a ragged batch, rnnfast takes turns with the same batch whole, too: the two are to be compared.
    """
    numbers = case.thread_counts(sorted({worker.threads for worker in team.workers}))
    results = {n: Result(case, n) for n in numbers}
    ready = prepare(case, team, results)
    turns = [(worker, "sample") for worker in ready]
    for worker in ready:
        if worker.name == SUBJECT:
            results[worker.threads].used = worker.ask("used")
            if case.ragged:
                worker.ask("load_whole")
                turns.append((worker, "sample_whole"))
    # A turn that does not count: they were loaded side by side, and a pool of threads that has been kept waiting for
    # CPUs may do with fewer for a tenth of a second.
    for worker, request in turns:
        worker.ask(request, seconds / 2)
    start = time.perf_counter()
    for turn in range(rounds):
        if turn >= LEAST_ROUNDS and time.perf_counter() - start > patience:
            break
        before = time.perf_counter()
        for worker in ready:
            result = results[worker.threads]
            if worker.name == SUBJECT and result.busy > 1:
                result.cores.append(team.await_cores(worker, result.busy))
        start += time.perf_counter() - before
        # another order each time and in each case: what one leaves behind in caches and clock, and in what the host
        # grants, is not always the same one's burden
        for worker, request in random.Random(f"{case.name} {turn}").sample(turns, len(turns)):
            result = results[worker.threads]
            if worker.name == SUBJECT and worker.threads > 1 and request == "sample":
                result.barriers.append(worker.ask("barrier", MEETINGS))
            found = result.samples.setdefault(worker.name, []) if request == "sample" else result.whole
            found.append(worker.ask(request, seconds))
    for n, result in results.items():
        result.limit = limit_of(case, n, measured, result.barriers)
    return list(results.values())


def prepare(case: Case, team: Team, results: dict[int, Result]) -> list[Worker]:
    """Have all load the case, side by side; return those whose results are right, and note what keeps the others."""
    baseline = team.one(BASELINE)
    assert baseline is not None
    asked = [worker for worker in team.workers if worker.threads in results]
    truth: Outputs = baseline.ask("truth", case)
    ready = []
    for worker in asked:
        worker.begin("load", case)
    for worker in asked:
        absent = results[worker.threads].absent
        try:
            check(f"{worker.name} on {case.name}", worker.end(), truth, case.dtype)
            ready.append(worker)
        except Unsupported as reason:
            absent[worker.name] = str(reason)
        except Disagreement as error:
            if worker.name in OWN:
                raise
            absent[worker.name] = f"wrong: {error}"
        except (Gone, RuntimeError) as error:
            if worker.name in OWN:
                raise
            absent[worker.name] = str(error)
            if isinstance(error, Gone):
                team.dismiss(worker)
    return ready
