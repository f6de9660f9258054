"""Results of benchmarks: how many times longer the same work takes elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
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
        What ``python -m bench --json FILE`` wrote, or such a document.
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
    if isinstance(results, (str, os.PathLike)):
        try:
            document = json.loads(Path(results).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{os.fspath(results)} is not JSON: {error}") from None
    else:
        document = results
    if not isinstance(document, Mapping) or not isinstance(document.get("results"), list):
        raise ValueError("results must be what 'python -m bench --json' writes: an object with the field results")
    rows = [row for row in document["results"] if subject in row["seconds"] and len(row["seconds"]) > 1]
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
    others = list(dict.fromkeys(name for row in rows for name in row["seconds"] if name != subject))
    ax = style.axes(ax, (7.6, max(2.6, 0.3 * len(rows) + 1.5)))
    palette, marks = style.colours(ax), "osD^vP"
    for k, other in enumerate(others):
        pairs = [(n, r["seconds"][other] / r["seconds"][subject]) for n, r in enumerate(rows) if other in r["seconds"]]
        places, ratios = zip(*pairs, strict=True)
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
