"""The command line: ``python -m bench``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench import compare, grid, machine, plot, report, results, runner
from bench.agree import Disagreement
from bench.cases import Case
from bench.contenders import CONTENDERS

KEPT = Path(__file__).resolve().parents[1] / "build" / "bench.json"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    from rnnfast.threads import default_num_threads

    parser = argparse.ArgumentParser("python -m bench", description="Time rnnfast against its reference and its peers.")
    parser.add_argument("--full", action="store_true", help="the full grid (an hour or so) instead of the short one")
    parser.add_argument("--filter", default="", metavar="WORDS", help='only cases with all of these words: "LSTM B1"')
    parser.add_argument(
        "--contenders", default=",".join(CONTENDERS), metavar="NAMES", help=f"of {', '.join(CONTENDERS)}; default all"
    )
    every = sorted({1, default_num_threads()})
    parser.add_argument("--threads", default=",".join(map(str, every)), metavar="N,N", help="default %(default)s")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns of each contender; default 7, with --full 5")
    parser.add_argument("--seconds", type=float, metavar="S", help="of a turn, about; default 0.01, with --full 0.03")
    parser.add_argument(
        "--wait", type=float, metavar="S", help="in all, for CPUs that are one core; default 25, with --full 300"
    )
    parser.add_argument(
        "--peer-python", default=sys.executable, metavar="PATH", help="interpreter that has the peers; default this one"
    )
    parser.add_argument(
        "--json", type=Path, default=KEPT, metavar="FILE", help="keeps all rounds of all cases; default %(default)s"
    )
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw speed-ups and per cent of limit (matplotlib)")
    parser.add_argument("--compare", type=Path, metavar="OLD", help="end with what changed since the run kept in OLD")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="run nothing, tell what FILE has kept")
    options = parser.parse_args(arguments)
    options.contenders = options.contenders.split(",")
    unknown = [name for name in options.contenders if name not in CONTENDERS]
    if unknown:
        parser.error(f"no contender named {', '.join(unknown)}; there are {', '.join(CONTENDERS)}")
    try:
        options.threads = sorted({int(word) for word in options.threads.split(",")})
    except ValueError:
        parser.error(f"--threads must be integers with commas between; got {options.threads!r}")
    # where a disturbance lasts longer than a turn, more turns make it less likely that it hits half of them
    if options.rounds is None:
        options.rounds = 5 if options.full else 7
    if options.seconds is None:
        options.seconds = 0.03 if options.full else 0.01
    if options.wait is None:
        options.wait = 300.0 if options.full else 25.0
    if min(options.threads) < 1 or options.rounds < 1 or options.seconds <= 0:
        parser.error("--threads, --rounds and --seconds must be positive")
    if not options.wait >= 0:
        parser.error(f"--wait must not be negative; got {options.wait:g}")
    words = options.filter.split()
    every_case = grid.FULL if options.full else grid.SHORT
    options.cases = [case for case in every_case if all(word in case.name.split() for word in words)]
    if not options.cases:
        parser.error(f"no case has all the words of {options.filter!r}; a case is named like {every_case[0].name!r}")
    options.cases = [case for case in options.cases if case.thread_counts(options.threads)]
    if not options.cases:
        parser.error("cases of several callers run on 1 thread each, and --threads does not have it")
    try:  # before an hour of work, not after it
        options.old = results.load(options.compare) if options.compare else None
        options.kept = results.load(options.source) if options.source else None
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return options


class Progress:
    """Says on stderr how far the run is and how long it may still take."""

    def __init__(self, cases: list[Case]) -> None:
        self.left = sum(map(self._weight, cases))
        self.count, self.done, self.spent = len(cases), 0, 0.0
        self.start = self.told = time.perf_counter()

    @staticmethod
    def _weight(case: Case) -> float:
        """Return what a case costs, in some unit: a part that all have, and the work in it."""
        return 1.0 + case.flops / 5e8

    def __call__(self, found: list[results.Result]) -> None:
        weight = self._weight(found[0].case)
        self.left, self.spent, self.done = self.left - weight, self.spent + weight, self.done + 1
        now = time.perf_counter()
        remaining = (now - self.start) * self.left / self.spent
        text = f"{self.done}/{self.count}, {remaining / 60:.1f} minutes left, {found[0].name}"
        if sys.stderr.isatty():
            print(f"\r{text:<78}", end="" if self.done < self.count else "\n", file=sys.stderr, flush=True)
        elif now - self.told > 30:
            self.told = now
            print(text, file=sys.stderr, flush=True)


def execute(options: argparse.Namespace, arguments: list[str]) -> tuple[results.Book, int]:
    """Run the cases; return what was measured, kept in a file after every case, and the exit status."""
    start = time.perf_counter()
    about = machine.describe()
    if about["busy"] > 0.1:
        print(f"others keep {about['busy']:.1f} CPUs busy: trust ratios on one thread only")
    chosen = {"rounds": options.rounds, "seconds": options.seconds, "threads": options.threads, "wait": options.wait}
    book = results.Book(about, ["python", "-m", "bench", *arguments], chosen, {}, {})
    tell = Progress(options.cases)

    def note(found: list[results.Result]) -> None:
        book.save(options.json)
        tell(found)

    status = 0
    try:
        with runner.Team(options.contenders, options.threads, options.peer_python, options.wait) as team:
            book.versions = team.versions
            book.limits = team.measure_limits(options.threads)
            try:
                runner.run(options.cases, team, book, options.rounds, options.seconds, report=note)
            finally:
                about["waited"] = team.waited
    except Disagreement as error:
        print(f"not timed, for the results differ: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("\ninterrupted: what follows is of the cases before", file=sys.stderr)
        status = 130
    about["seconds"] = round(time.perf_counter() - start, 1)
    book.save(options.json)
    return book, status


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if options.kept is None:
        book, status = execute(options, sys.argv[1:] if arguments is None else arguments)
    else:
        book, status = options.kept, 0
    about = book.machine
    print(f"{about['cpu']}, {about['cpus']} CPUs, {about['isa']}; Python {about['python']}, NumPy {about['numpy']}")
    for line in [f"{name}: {text}" for name, text in book.versions.items()] + report.machine_limits(book.limits):
        print(line)
    if not book.results:
        return status or 1
    print()
    print(report.whole(book, options.markdown))
    waited = f", of which {about['waited']:.0f} waiting for cores" if about.get("waited") else ""
    print(
        f"{' '.join(book.command)}: medians of {book.options['rounds']} rounds, "
        f"{about.get('seconds', 0):.0f} s in all{waited}"
    )
    if options.kept is None:
        print(f"kept in {options.json}")
    if options.plot:
        plot.draw(book, options.plot)
        print(f"drawn in {options.plot}")
    if options.old is not None:
        try:
            print(f"\nsince {options.compare}:\n{compare.compare(options.old, book)}")
        except compare.Incomparable as error:
            print(f"cannot be compared with {options.compare}: {error}", file=sys.stderr)
            return status or 2
    return status


if __name__ == "__main__":
    sys.exit(main())
