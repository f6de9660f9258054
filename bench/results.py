"""What a run has measured, and the file that keeps it."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.cases import Case

SUBJECT = "native"
BASELINE = "reference"
FORMAT = 2
ALL_CORES = 0.8  # of what threads do with a core each: less clock and a little work of others are no matter


@dataclass
class Result:
    """One case on one number of threads.

    Attributes
    ----------
    case : Case
        What ran.
    threads : int
        How many each contender could use.
    samples : dict of str to list of float
        By contender the seconds of one run, round by round.
    absent : dict of str to str
        By contender why it has none.
    limit : dict or None
        ``seconds``, ``bound`` and ``parts`` of the least time (`rnnfast.limits.Estimate`).
    used : int or None
        How many threads rnnfast chose to use, if known.
    whole : list of float
        Of a ragged batch: the seconds rnnfast takes for the same with all its steps, round by round.
    barriers : list of float
        Of several threads: the seconds of a meeting of that many, round by round, 0 where they could not be had. They
        tell where the host has put the CPUs of a virtual machine meanwhile: far apart it takes several times as long.
    cores : list of float
        Of several busy threads: how many cores' worth of arithmetic they did at once as a round began, 0 where they
        could not be had. Two CPUs of a virtual machine may be one core for minutes.
    """

    case: Case
    threads: int
    samples: dict[str, list[float]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    limit: dict[str, Any] | None = None
    used: int | None = None
    whole: list[float] = field(default_factory=list)
    barriers: list[float] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.case.name

    @property
    def busy(self) -> int:
        """How many threads the case can keep busy."""
        return self.threads * self.case.callers

    def seconds(self, name: str = SUBJECT) -> float:
        """Return the median time of one run."""
        return statistics.median(self.samples[name])

    def ratio(self, name: str, other: str) -> float:
        """Return how many times longer ``other`` takes than ``name``: the median over rounds."""
        return paired(self.samples[other], self.samples[name])

    def peers(self) -> list[str]:
        """Return the contenders with times that are not rnnfast's own."""
        return [name for name in self.samples if name not in {SUBJECT, BASELINE}]

    def best(self) -> tuple[str, float] | None:
        """Return the fastest peer and how many times longer it takes than the subject; None if there is none."""
        if SUBJECT not in self.samples or not self.peers():
            return None
        name = min(self.peers(), key=lambda peer: self.ratio(SUBJECT, peer))
        return name, self.ratio(SUBJECT, name)

    def percent(self, name: str = SUBJECT) -> float | None:
        """Return the least possible time as a percentage of the time taken; None if either is unknown."""
        if self.limit is None or name not in self.samples:
            return None
        return 100.0 * float(self.limit["seconds"]) / self.seconds(name)


@dataclass
class Book:
    """All of a run: where, with what, and every result with its rounds."""

    machine: dict[str, Any]
    command: list[str]
    options: dict[str, Any]
    limits: dict[str, Any]
    versions: dict[str, str]
    results: list[Result] = field(default_factory=list)

    def find(self, case: Case, threads: int) -> Result | None:
        """Return the result of a case on a number of threads."""
        return next((r for r in self.results if r.case == case and r.threads == threads), None)

    def save(self, path: Path) -> None:
        """Write everything; an earlier file of that name stays whole until the new one is."""
        path.parent.mkdir(parents=True, exist_ok=True)
        values = {
            "format": FORMAT,
            "machine": self.machine,
            "command": self.command,
            "options": self.options,
            "limits": self.limits,
            "versions": self.versions,
            "results": [
                {"name": r.name, **asdict(r), "medians": {name: r.seconds(name) for name in r.samples}}
                for r in self.results
            ],
        }
        new = path.with_name(path.name + ".new")
        new.write_text(json.dumps(values, indent=1) + "\n")
        os.replace(new, path)


def load(path: Path) -> Book:
    """Return the results kept in a file.

    Raises
    ------
    ValueError
        If the file holds something else.
    """
    try:
        values = json.loads(path.read_text())
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r} instead of {FORMAT}")
        results = [
            Result(
                Case(**r["case"]),
                r["threads"],
                r["samples"],
                r["absent"],
                r["limit"],
                r.get("used"),
                r.get("whole", []),
                r.get("barriers", []),
                r.get("cores", []),
            )
            for r in values["results"]
        ]
        about = {key: values[key] for key in ("machine", "command", "options", "limits", "versions")}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold results of this benchmark: {error}") from None
    return Book(**about, results=results)


def have_cores(found: float, threads: int) -> bool:
    """Return whether threads that do so many cores' worth of arithmetic at once have a core each."""
    return found >= ALL_CORES * threads


def paired(longer: Iterable[float], shorter: Iterable[float]) -> float:
    """Return the median over rounds of the first time divided by the second.

    What happens within a round happens to all who take part in it, so the ratio is steadier than the times. Where one
    of the two has fewer rounds, the rounds both have count.
    """
    return statistics.median(a / b for a, b in zip(longer, shorter, strict=False))
