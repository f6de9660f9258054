"""An earlier run beside this one: what got slower or faster by more than the noise of both.

On the same machine times are compared. On another one only ratios mean anything: then both runs' times are divided,
round by round, by those of a contender that took part in both.

The noise of a median is taken from the spread of its rounds (median absolute deviation): two of its standard errors,
over both runs, and a floor for what moves whole runs, such as the layout of memory.
"""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple

from bench.regimes import geometric_mean
from bench.report import spell
from bench.results import SUBJECT, Book, Result

FLOOR = 0.03  # changes below this are never told
ERRORS = 2.0  # standard errors that count as noise
SAME = ("cpu", "cpus", "isa")  # what makes two runs of one machine


class Incomparable(ValueError):
    """The two runs have nothing that could be compared."""


class Change(NamedTuple):
    """One case in two runs: ``factor`` is new / old, of times or of ratios, ``noise`` what it may be off by chance."""

    name: str
    threads: int
    old: float
    new: float
    noise: float

    @property
    def factor(self) -> float:
        return self.new / self.old

    @property
    def told(self) -> bool:
        """Whether the change is more than noise."""
        return abs(math.log(self.factor)) > self.noise


def spread(samples: list[float]) -> float:
    """Return the relative standard error of the median of samples; 0 for fewer than two, which tell nothing."""
    if len(samples) < 2:
        return 0.0
    middle = statistics.median(samples)
    deviation = statistics.median(abs(s - middle) for s in samples)
    # 1.4826 makes a standard deviation of it, 1.2533 is what the median loses against the mean
    return 1.4826 * 1.2533 * deviation / middle / math.sqrt(len(samples))


def differences(old: Book, new: Book) -> list[str]:
    """Return in which respects the machines of two runs differ."""
    found = []
    for key in SAME:
        before, now = old.machine.get(key), new.machine.get(key)
        if before != now:
            found.append(f"{key} was {before} and is {now}")
    return found


def common_contender(pairs: list[tuple[Result, Result]]) -> str:
    """Return the contender that most pairs of results share, besides the subject.

    Raises
    ------
    Incomparable
        If there is none.
    """
    counts: dict[str, int] = {}
    for old, new in pairs:
        for name in set(old.samples) & set(new.samples) - {SUBJECT}:
            counts[name] = counts.get(name, 0) + 1
    if not counts:
        raise Incomparable("no contender took part in both runs that their times could be divided by")
    return max(sorted(counts), key=lambda name: counts[name])


def changes(old: Book, new: Book, against: str | None = None) -> list[Change]:
    """Return the changes of all cases that both runs have on the same number of threads.

    Parameters
    ----------
    old, new : Book
        The runs.
    against : str, optional
        Compare ratios to this contender instead of times.
    """
    found = []
    for before, now in _pairs(old, new):
        if against is None:
            first, second = before.samples[SUBJECT], now.samples[SUBJECT]
        elif against in before.samples and against in now.samples:
            first, second = _ratios(before, against), _ratios(now, against)
        else:
            continue
        noise = FLOOR + ERRORS * math.hypot(spread(first), spread(second))
        found.append(Change(now.name, now.threads, statistics.median(first), statistics.median(second), noise))
    return found


def _pairs(old: Book, new: Book) -> list[tuple[Result, Result]]:
    """Return old and new result of each case and number of threads that has both."""
    pairs = ((old.find(now.case, now.threads), now) for now in new.results)
    return [(b, n) for b, n in pairs if b is not None and SUBJECT in b.samples and SUBJECT in n.samples]


def _ratios(result: Result, against: str) -> list[float]:
    return [a / b for a, b in zip(result.samples[SUBJECT], result.samples[against], strict=False)]


def compare(old: Book, new: Book) -> str:
    """Return in words what changed between two runs.

    Raises
    ------
    Incomparable
        If they have no case on the same number of threads in common, or machines differ and no contender took part in
        both.
    """
    pairs = _pairs(old, new)
    if not pairs:
        threads = [sorted({r.threads for r in book.results}) for book in (old, new)]
        raise Incomparable(
            f"the two runs have no case on the same number of threads in common (threads then: {threads[0]}, now: "
            f"{threads[1]})"
        )
    lines, against = [], None
    differing = differences(old, new)
    if differing:
        against = common_contender(pairs)
        lines.append(f"another machine ({'; '.join(differing)}): compared are ratios to {against}, not times")
    found = changes(old, new, against)
    lines.append(f"{len(found)} cells in common, {len(new.results) - len(found)} of this run have no partner")
    for title, chosen in (
        ("slower", [c for c in found if c.told and c.factor > 1]),
        ("faster", [c for c in found if c.told and c.factor < 1]),
    ):
        lines.append(f"{title} by more than noise: {len(chosen) or 'none'}")
        for c in sorted(chosen, key=lambda c: -abs(math.log(c.factor))):
            values = f"{spell(c.old)} -> {spell(c.new)}" if against is None else f"{c.old:.3f} -> {c.new:.3f}"
            lines.append(
                f"  {c.name}, {c.threads} thread{'s' * (c.threads > 1)}: {values}, {100 * (c.factor - 1):+.0f} % "
                f"(noise {100 * c.noise:.0f} %)"
            )
    lines.append(f"geometric mean of new / old: {geometric_mean(c.factor for c in found):.3f}")
    return "\n".join(lines)
