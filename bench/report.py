"""Results in words and tables, for people."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from bench.cases import ELEMENTWISE
from bench.regimes import OVERALL, Regime, geometric_mean, grouped, reaches
from bench.results import BASELINE, SUBJECT, Book, Result, have_cores, paired
from rnnfast.limits import Limits

Rows = list[list[str]]
SLOWER_WITH_THREADS = 1.03  # times as long on several threads as on one, from which on it is told
CALLERS = 1.8  # times as much that two callers should get done as one
PROPORTIONAL = 0.15  # how far the time of a valid step may be off in a ragged batch


def spell(seconds: float) -> str:
    """Return a time with three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            value = seconds / size
            return f"{value:.{max(0, 2 - int(math.log10(value)))}f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def times_as_long(ratio: float) -> str:
    """Return a ratio with two decimals, fewer where it is large."""
    return f"{ratio:.{2 if ratio < 10 else 1 if ratio < 100 else 0}f}"


def columns(results: list[Result]) -> list[str]:
    """Return the contenders that have at least one time, rnnfast's own first."""
    names = list(dict.fromkeys(name for result in results for name in result.samples))
    return sorted(names, key=lambda name: (name != SUBJECT, name != BASELINE))


def align(rows: Rows) -> str:
    """Return rows as text, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def in_markdown(rows: Rows) -> str:
    """Return rows as a table of Markdown, the first one being its head."""
    head, *body = rows
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def times(results: list[Result]) -> Rows:
    """Return a row for each case: for each number of threads our time, per cent of limit, and how the others do."""
    names = [name for name in columns(results) if name != SUBJECT]
    numbers = sorted({result.threads for result in results})
    # the reference on one thread says what there is to say of it
    shown = {n: [name for name in names if name != BASELINE or n == numbers[0]] for n in numbers}
    head = ["case"]
    for n in numbers:
        head += [f"{n} thread{'s' * (n > 1)}", "%", *shown[n]]
    by_case: dict[str, dict[int, Result]] = {}
    for result in results:
        by_case.setdefault(result.name, {})[result.threads] = result
    rows = [head]
    for name, found in by_case.items():
        row = [name]
        for n in numbers:
            row += _cells(found[n], shown[n]) if n in found else [""] * (2 + len(shown[n]))
        rows.append(row)
    return rows


def _cells(result: Result, names: list[str]) -> list[str]:
    if SUBJECT not in result.samples:
        return ["", "", *(spell(result.seconds(name)) if name in result.samples else "" for name in names)]
    percent = result.percent()
    row = [spell(result.seconds()), "" if percent is None else f"{percent:.0f}"]
    return row + [times_as_long(result.ratio(SUBJECT, name)) if name in result.samples else "" for name in names]


def regimes(results: list[Result]) -> Rows:
    """Return a row for each regime: best peer's time / ours and per cent of limit, beside what is aimed at."""
    rows = [["regime", "cells", "ratio", "least", "aim", "% of limit", "least", "aim", "reached"]]
    known = [r for r in results if r.best() is not None or r.percent() is not None]
    return rows + [_regime(regime, members) for regime, members in grouped(known).items()]


def _regime(regime: Regime, members: list[Result]) -> list[str]:
    ratios = [best[1] for best in (r.best() for r in members) if best is not None]
    percents = [p for p in (r.percent() for r in members) if p is not None]
    reached = [found for found in (reaches(r, regime) for r in members) if found is not None]
    row = [regime.title, str(len(members))]
    row += [f"{geometric_mean(ratios):.2f}", f"{min(ratios):.2f}", f"{regime.ratio:g}"] if ratios else [""] * 3
    row += [f"{geometric_mean(percents):.0f}", f"{min(percents):.0f}"] if percents else [""] * 2
    return [
        *row,
        "" if regime.percent is None else f"{regime.percent:g}",
        f"{sum(reached)} of {len(reached)}" if reached else "",
    ]


def overall(results: list[Result]) -> list[str]:
    """Return the geometric means in float32 against the best peer, one line a task.

    Beside each stands what the mean would be if every case took no longer than its limit: an aim beyond that is out of
    anybody's reach.
    """
    lines = []
    for task, (title, aim) in OVERALL.items():
        chosen = [r for r in results if r.case.task == task and r.case.dtype == "float32" and r.case.callers == 1]
        found = [(best[1], r.percent()) for r, best in ((r, r.best()) for r in chosen) if best is not None]
        if not found:
            continue
        mean = geometric_mean(ratio for ratio, _ in found)
        line = f"{title}: {mean:.2f} times as fast as the best peer in {len(found)} cells, aim {aim:g}"
        most = [ratio * 100.0 / min(percent, 100.0) for ratio, percent in found if percent is not None]
        if len(most) == len(found):
            line += f"; at its limit in every case it would be {geometric_mean(most):.2f}"
        lines.append(line)
    return lines


def against_each(results: list[Result]) -> Rows:
    """Return the geometric mean of every contender's time / ours, and the range, by task and number of threads."""
    names = [name for name in columns(results) if name != SUBJECT]
    groups: dict[tuple[str, int], list[Result]] = {}
    for result in results:
        if SUBJECT in result.samples and result.case.callers == 1:
            groups.setdefault((result.case.task, result.threads), []).append(result)
    rows = [["times as long as rnnfast", "threads", "cells", *names]]
    for (task, threads), members in groups.items():
        row = [task, str(threads), str(len(members))]
        for name in names:
            ratios = [r.ratio(SUBJECT, name) for r in members if name in r.samples]
            least, most = (times_as_long(f(ratios)) if ratios else "" for f in (min, max))
            row.append(f"{times_as_long(geometric_mean(ratios))} ({least} to {most})" if ratios else "")
        rows.append(row)
    return rows


def behind(results: list[Result]) -> list[str]:
    """Return the cells in which a peer is faster."""
    found = [(best, r) for r in results for best in [r.best()] if best is not None and best[1] < 1.0]
    return [
        f"{r.name}, {r.threads} thread{'s' * (r.threads > 1)}: {name} takes {ratio:.2f} of our {spell(r.seconds())}"
        + ("" if r.percent() is None else f", which is {r.percent():.0f} % of limit")
        for (name, ratio), r in sorted(found, key=lambda pair: pair[0][1])
    ]


def slower_with_threads(results: list[Result]) -> list[str]:
    """Return the cells in which more threads take longer than one, and where one was chosen all the same."""
    ones = {r.case: r for r in results if r.threads == 1 and SUBJECT in r.samples}
    found = []
    for r in results:
        one = ones.get(r.case)
        if r.threads > 1 and one is not None and SUBJECT in r.samples:
            ratio = paired(r.samples[SUBJECT], one.samples[SUBJECT])
            if ratio > SLOWER_WITH_THREADS:
                found.append((ratio, r))
    return [
        f"{r.name}: {ratio:.2f} times as long "
        + (
            f"with {r.threads} threads allowed, of which one is used"
            if r.used == 1
            else f"on {r.threads} threads"
            + (f", with barriers of {spell(statistics.median(r.barriers))}" if r.barriers else "")
        )
        for ratio, r in sorted(found, key=lambda pair: -pair[0])
    ]


def ragged(book: Book) -> Rows:
    """Return a row for each ragged case: the time of a valid step, and with all steps, and the ratio within rounds."""
    rows = [["ragged against full", "threads", "valid steps", "ragged", "full", "ratio", f"within {PROPORTIONAL:.0%}"]]
    for r in book.results:
        if not r.whole or SUBJECT not in r.samples:
            continue
        full = replace(r.case, ragged=False)
        steps, every = r.case.valid_steps, full.valid_steps
        ratio = paired(r.samples[SUBJECT], r.whole) * every / steps
        rows.append(
            [
                full.name,
                str(r.threads),
                f"{steps} of {every}",
                spell(r.seconds() / steps),
                spell(statistics.median(r.whole) / every),
                f"{ratio:.2f}",
                "yes" if ratio <= 1 + PROPORTIONAL else "no",
            ]
        )
    return rows


def elementwise(book: Book) -> Rows:
    """Return a row for each case of an elementwise recurrence of which the LSTM ran too: the time of both."""
    rows = [["elementwise recurrence", "threads", "time", "LSTM", "times as fast", "of the operations"]]
    for r in book.results:
        lstm = book.find(replace(r.case, cell="LSTM"), r.threads) if r.case.cell in ELEMENTWISE else None
        if lstm is None or SUBJECT not in r.samples or SUBJECT not in lstm.samples:
            continue
        ratio, work = lstm.seconds() / r.seconds(), r.case.flops / lstm.case.flops
        rows.append([r.name, str(r.threads), spell(r.seconds()), spell(lstm.seconds()), f"{ratio:.2f}", f"{work:.1%}"])
    return rows


def callers(book: Book) -> list[str]:
    """Return what several Python threads that call one model get done, compared with one."""
    lines = []
    for r in book.results:
        one = book.find(replace(r.case, callers=1), r.threads) if r.case.callers > 1 else None
        if one is not None and SUBJECT in r.samples and SUBJECT in one.samples:
            gain = one.seconds() / r.seconds()
            lines.append(
                f"{one.name}: {r.case.callers} callers get {gain:.2f} times as much done as one (aim {CALLERS:g})"
            )
    return lines


def meetings(results: list[Result]) -> list[str]:
    """Return how long barriers took in the rounds, a line for each number of threads."""
    lines = []
    for n in sorted({r.threads for r in results if r.barriers}):
        found = sorted(s for r in results if r.threads == n for s in r.barriers)
        there = [s for s in found if s > 0]
        told = []
        if there:
            low, middle, high = (spell(there[int(share * (len(there) - 1))]) for share in (0.05, 0.5, 0.95))
            told.append(f"{middle} in the middle of {len(there)} rounds, {low} to {high} in nine tenths of them")
        if len(there) < len(found):
            told.append(f"not to be had in {len(found) - len(there)} of {len(found)}")
        lines.append(f"{n} threads: {', '.join(told)}")
    return lines


def cores(results: list[Result]) -> list[str]:
    """Return in how many rounds threads had a core each, a line for each number of threads."""
    lines = []
    for n in sorted({r.busy for r in results if r.cores}):
        found = [c for r in results if r.busy == n for c in r.cores]
        less = [c for c in found if not have_cores(c, n)]
        others = f", {statistics.median(less):.2f} cores together in the middle of the others" if less else ""
        lines.append(f"{n} threads: a core each in {len(found) - len(less)} of {len(found)} rounds{others}")
    return lines


def absentees(results: list[Result]) -> list[str]:
    """Return what kept contenders from a case, other than that they have no such thing."""
    known = ("inference only", "float32 only", "one caller only", "no such layer")
    return [
        f"{r.name}, {r.threads} thread{'s' * (r.threads > 1)}: {name}: {reason}"
        for r in results
        for name, reason in r.absent.items()
        if reason not in known
    ]


def machine_limits(limits: dict[str, object]) -> list[str]:
    """Return what the machine can do at most, a line for each dtype."""
    cores, barriers = limits.get("cores"), limits.get("barriers")
    if not isinstance(cores, dict) or not isinstance(barriers, dict):
        return []
    lines = []
    for dtype, values in cores.items():
        m = Limits(**values)
        lines.append(
            f"a core, {dtype}: {m.flops / 1e9:.0f} GFLOP/s; reads {m.l1_bandwidth / 1e9:.0f} GB/s from L1 "
            f"({m.l1_bytes >> 10} KiB), {_second(m)}, {_beyond(m)}; activation {m.activation * 1e9:.2f} ns, "
            f"step at least {m.latency[0] * 1e9:.0f} ns (RNN) or {m.latency[1] * 1e9:.0f} ns (gates)"
        )
    lines += [f"a barrier of {n} threads: {s * 1e9:.0f} ns" for n, s in barriers.items() if s]
    return lines


def _second(m: Limits) -> str:
    near = f"; {m.near_bandwidth / 1e9:.0f} from {m.near_bytes >> 10} KiB of it" if m.near_bytes else ""
    return f"{m.l2_bandwidth / 1e9:.0f} from L2 ({m.l2_bytes >> 10} KiB{near})"


def _beyond(m: Limits) -> str:
    near = f"{m.beyond_bandwidth / 1e9:.0f} beyond"
    if not m.far_bytes:  # of a run that did not look further
        return near
    return f"{near} ({m.far_bandwidth / 1e9:.0f} of {m.far_bytes >> 20} MiB)"


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title}:", *(f"  {line}" for line in lines), ""] if lines else []


def whole(book: Book, markdown: bool = False) -> str:
    """Return all of the above."""
    results = book.results
    table = in_markdown if markdown else align
    peers = any(r.best() for r in results)
    parts = [table(times(results)), ""]
    if peers:
        parts += [table(regimes(results)), ""]
    if len(columns(results)) > 1:
        parts += [table(against_each(results)), ""]
    if len(rows := ragged(book)) > 1:
        parts += [table(rows), ""]
    if len(rows := elementwise(book)) > 1:
        parts += [table(rows), ""]
    text = "\n".join(parts) + "\n"
    lines = _section("geometric means, float32", overall(results))
    lines += _section("a peer is faster in", behind(results) or (["no cell"] if peers else []))
    lines += _section("more threads take longer in", slower_with_threads(results))
    lines += _section("barriers meanwhile", meetings(results))
    lines += _section("cores meanwhile", cores(results))
    lines += _section("Python threads calling one model", callers(book))
    lines += _section("not as planned", absentees(results))
    return text + "\n".join(f"- {line.strip()}" if markdown and line.startswith("  ") else line for line in lines)
