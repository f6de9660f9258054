"""Results as a table for people and as JSON for programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from bench.runner import Result

SUBJECT = "native"


def columns(results: list[Result]) -> list[str]:
    """Return the contenders that have at least one time, the subject first."""
    names = list(dict.fromkeys(name for result in results for name in result.samples))
    return sorted(names, key=lambda name: name != SUBJECT)


def spell(seconds: float) -> str:
    """Return a time with three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            value = seconds / size
            return f"{value:.{max(0, 2 - int(math.log10(value)))}f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def cells(result: Result, names: list[str]) -> list[str]:
    """Return the row of a result: case, threads, then time and, for all but the subject, how many times slower."""
    row = [result.case.name, str(result.threads)]
    for name in names:
        if name not in result.samples:
            row.append("")
        elif name == SUBJECT or SUBJECT not in result.samples:
            row.append(spell(result.seconds(name)))
        else:
            row.append(f"{spell(result.seconds(name))} ({result.ratio(SUBJECT, name):.2f}x)")
    return row


def header(names: list[str]) -> list[str]:
    return ["case", "threads", *names]


def align(rows: list[list[str]]) -> list[str]:
    """Return the rows as lines of text, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]


def table(results: list[Result]) -> str:
    """Return a table in plain text."""
    names = columns(results)
    return "\n".join(align([header(names), *(cells(result, names) for result in results)]))


def markdown(results: list[Result]) -> str:
    """Return the table for a README."""
    names = columns(results)
    rows = [header(names), ["---", *["---:"] * (len(names) + 1)], *(cells(result, names) for result in results)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def summary(results: list[Result]) -> str:
    """Return the geometric mean of the speed-ups over each contender, by task and number of threads."""
    lines = []
    for name in columns(results):
        groups: dict[tuple[str, int], list[float]] = {}
        for result in results:
            if name != SUBJECT and name in result.samples and SUBJECT in result.samples:
                group = groups.setdefault((result.case.task, result.threads), [])
                group.append(result.ratio(SUBJECT, name))
        for (task, threads), ratios in groups.items():
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            lines.append(
                f"{SUBJECT} against {name}, {task}, {threads} thread{'s' * (threads > 1)}: {mean:.2f}x "
                f"(least {min(ratios):.2f}x, most {max(ratios):.2f}x, {len(ratios)} cases)"
            )
    return "\n".join(lines)


def as_json(results: list[Result], machine: dict[str, Any], versions: dict[str, str]) -> dict[str, Any]:
    """Return everything measured, as values that JSON knows."""
    return {
        "machine": machine,
        "contenders": versions,
        "results": [
            {
                "name": result.case.name,
                "case": asdict(result.case),
                "flops": result.case.flops,
                "threads": result.threads,
                "seconds": {name: result.seconds(name) for name in result.samples},
                "samples": result.samples,
                "absent": result.absent,
            }
            for result in results
        ],
    }
