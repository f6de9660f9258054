"""Results of benchmarks: how many times longer the same work takes elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnfast.plotting import style


def plot_benchmark(
    results: Any, *, threads: int | None = None, subject: str = "native", cases: str = "", ax: Any = None
) -> Any:
    """Draw times relative to rnnfast, case by case, on a logarithmic axis.

    Parameters
    ----------
    results : path or mapping
        What ``python -m bench --json FILE`` wrote, or such a document: ``{"results": [{"name", "threads", "samples"},
        ...]}`` where samples are, by contender, the seconds of each round.
    threads : int, optional
        The number of threads to draw; the least that was measured if not given.
    subject : str, default "native"
        The contender that others are compared with.
    cases : str, default ""
        Only cases whose names have all of these words.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it holds no such results.
    """
    rows = [row for row in _rows(results) if subject in row["samples"] and len(row["samples"]) > 1]
    rows = [row for row in rows if set(cases.split()) <= set(row["name"].split())]
    counts = sorted({row["threads"] for row in rows})
    if threads is None and counts:
        threads = counts[0]
    rows = [row for row in rows if row["threads"] == threads]
    if not rows:
        raise ValueError(
            f"results has no case with {subject} and another contender"
            + (f" on {threads} threads; there are {counts}" if counts else "")
        )
    others = list(dict.fromkeys(name for row in rows for name in row["samples"] if name != subject))
    ax = style.axes(ax, (7.6, max(2.6, 0.3 * len(rows) + 1.5)))
    palette, marks = style.colours(ax), "osD^vP"
    for k, other in enumerate(others):
        measured = [(n, row["samples"]) for n, row in enumerate(rows) if other in row["samples"]]
        places = [n for n, _ in measured]
        ratios = [_ratio(samples[other], samples[subject]) for _, samples in measured]
        mean = float(np.exp(np.mean(np.log(ratios))))
        label = f"{other} (mean {mean:.2f})"
        ax.plot(ratios, places, marks[k % len(marks)], color=palette[k % len(palette)], markersize=6, label=label)
    ax.axvline(1.0, color=ax.xaxis.label.get_color(), linewidth=1.2)
    ax.set_xscale("log")
    _ratio_ticks(ax)
    ax.set_yticks(range(len(rows)), [row["name"] for row in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    plural = "s" if threads != 1 else ""
    ax.set_xlabel(f"time relative to {subject}, {threads} thread{plural} (right of 1: {subject} is faster)")
    style.tidy(ax, "both")
    spacing = {"columnspacing": 1.0, "handletextpad": 0.2, "borderaxespad": 0.2}
    ax.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=min(3, len(others)), **spacing)
    return ax


def _rows(results: Any) -> list[dict[str, Any]]:
    """Return the results in a file or a document, each known to have a name, threads and times."""
    if isinstance(results, (str, os.PathLike)):
        try:
            document = json.loads(Path(results).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{os.fspath(results)} is not JSON: {error}") from None
    else:
        document = results
    if not isinstance(document, Mapping) or not isinstance(document.get("results"), list):
        raise ValueError("results must be what 'python -m bench --json' writes: an object with the field results")
    rows: list[dict[str, Any]] = document["results"]
    for place, row in enumerate(rows):
        try:
            times = [np.asarray(rounds, np.float64) for rounds in row["samples"].values()]
            right = type(row["name"]) is str and type(row["threads"]) is int
            right = right and all(array.ndim == 1 and array.size and (array > 0).all() for array in times)
        except (AttributeError, KeyError, TypeError, ValueError):
            right = False
        if not right:
            raise ValueError(f"results[{place}] must have name, threads, and samples: positive seconds by contender")
    return rows


def _ratio(longer: Sequence[float], shorter: Sequence[float]) -> float:
    """Return the median over the rounds both have of one time divided by the other.

    What happens on the machine within a round happens to all who take part in it, so this is steadier than the times.
    """
    both = min(len(longer), len(shorter))
    return float(np.median(np.asarray(longer[:both]) / np.asarray(shorter[:both])))


def _ratio_ticks(ax: Any) -> None:
    """Put plain numbers, such as 0.5, 1, 2, 5, on a logarithmic axis."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = ax.get_xlim()
    low, high = min(low, 0.9), max(high, 1.1)
    steps = [factor * 10.0**power for power in range(-4, 6) for factor in (1, 2, 5)]
    shown = [step for step in steps if low <= step <= high]
    ax.set_xlim(low, high)
    ax.xaxis.set_major_locator(FixedLocator(shown))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
