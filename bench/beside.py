"""Two trainings beside each other: ours and torch's, each in a process of its own on as many CPUs, in turns.

Whoever is not having a turn is stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NAMES = ("rnnfast", "torch")
Turn = dict[str, dict[str, Any]]


def arguments(module: str, description: str | None, turns: int) -> argparse.ArgumentParser:
    """Return a parser with the options that `turns` needs; ``--epochs`` says how many there are."""
    parser = argparse.ArgumentParser(f"python -m {module}", description=description)
    parser.add_argument("--epochs", type=int, default=turns, metavar="N", help=f"of each; default {turns}")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--peer-python", default=sys.executable, metavar="PATH", help="interpreter that has torch")
    parser.add_argument("--role", choices=NAMES, help=argparse.SUPPRESS)
    return parser


def serve(make: Callable[[], Callable[[], dict[str, Any]]], threads: int) -> None:
    """Be one of the two: make a trainee, and let it train for an epoch whenever a line comes in."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    train = make()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(train()), flush=True)


def turns(options: argparse.Namespace, module: str, *more: str) -> Iterator[Turn]:
    """Yield what both have found in each epoch, by name; who begins takes turns too."""
    pair: dict[str, subprocess.Popen[str]] = {}
    try:
        for name, python in zip(NAMES, (sys.executable, options.peer_python), strict=True):
            pair[name] = _start([python, "-m", module, "--role", name, *more], name, options.threads)
        for epoch in range(options.epochs):
            yield {name: _turn(pair[name]) for name in (NAMES if epoch % 2 == 0 else NAMES[::-1])}
    finally:
        for process in pair.values():
            process.kill()


def _start(command: list[str], name: str, threads: int) -> subprocess.Popen[str]:
    """Return a process that is ready to train."""
    process = subprocess.Popen(
        [*command, "--threads", str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise SystemExit(f"{name} did not start")
    process.send_signal(signal.SIGSTOP)
    return process


def _turn(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Let a process train for an epoch."""
    assert process.stdin is not None and process.stdout is not None
    process.send_signal(signal.SIGCONT)
    print("go", file=process.stdin, flush=True)
    found: dict[str, Any] = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGSTOP)
    return found
