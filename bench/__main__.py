"""The command line: ``python -m bench``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from bench import cases, machine, report, runner
from bench.agree import Disagreement
from bench.contenders import CONTENDERS


def parse(arguments: list[str] | None) -> argparse.Namespace:
    from rnnfast.threads import default_num_threads

    parser = argparse.ArgumentParser("python -m bench", description="Time rnnfast against its reference and its peers.")
    parser.add_argument("--full", action="store_true", help="the long grid (some ten minutes) instead of the short one")
    parser.add_argument("--filter", default="", metavar="WORDS", help='only cases with all of these words: "LSTM B1"')
    parser.add_argument(
        "--contenders", default=",".join(CONTENDERS), metavar="NAMES", help=f"of {', '.join(CONTENDERS)}; default all"
    )
    every = sorted({1, default_num_threads()})
    parser.add_argument("--threads", default=",".join(map(str, every)), metavar="N,N", help="default %(default)s")
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="turns of each contender; default %(default)s"
    )
    parser.add_argument(
        "--seconds", type=float, default=0.03, metavar="S", help="of a turn, about; default %(default)s"
    )
    parser.add_argument(
        "--peer-python", default=sys.executable, metavar="PATH", help="interpreter that has the peers; default this one"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured here")
    parser.add_argument("--markdown", action="store_true", help="end with the table in Markdown")
    options = parser.parse_args(arguments)
    options.contenders = options.contenders.split(",")
    unknown = [name for name in options.contenders if name not in CONTENDERS]
    if unknown:
        parser.error(f"no contender named {', '.join(unknown)}; there are {', '.join(CONTENDERS)}")
    try:
        options.threads = [int(word) for word in options.threads.split(",")]
    except ValueError:
        parser.error(f"--threads must be integers with commas between; got {options.threads!r}")
    if min(options.threads) < 1 or options.rounds < 1 or options.seconds <= 0:
        parser.error("--threads, --rounds and --seconds must be positive")
    words = options.filter.split()
    grid = cases.FULL if options.full else cases.SHORT
    options.cases = [case for case in grid if all(word in case.name.split() for word in words)]
    if not options.cases:
        parser.error(f"no case has all the words of {options.filter!r}; a case is named like {grid[0].name!r}")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    about = machine.describe()
    print(f"{about['cpu']}, {about['cpus']} CPUs, {about['isa']}; Python {about['python']}, NumPy {about['numpy']}")
    if about["busy"] > 0.1:
        print(f"others keep {about['busy']:.1f} CPUs busy: trust ratios on one thread only")
    start = time.perf_counter()
    total = len(options.cases) * len(options.threads)
    done = 0

    def progress(result: runner.Result) -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            print(f"\r{done}/{total} {result.case.name:<40}", end="" if done < total else "\n", file=sys.stderr)

    try:
        results, versions = runner.run(
            options.cases,
            options.contenders,
            options.threads,
            rounds=options.rounds,
            seconds=options.seconds,
            python=options.peer_python,
            report=progress,
        )
    except Disagreement as error:
        print(f"not timed, for the results differ: {error}", file=sys.stderr)
        return 1
    for name, text in versions.items():
        print(f"{name}: {text}")
    print()
    print(report.markdown(results) if options.markdown else report.table(results))
    print()
    print(report.summary(results))
    took = time.perf_counter() - start
    print(f"medians of {options.rounds} rounds; (x): how many times longer than native; {took:.0f} s in all")
    if options.json:
        options.json.write_text(json.dumps(report.as_json(results, about, versions), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
