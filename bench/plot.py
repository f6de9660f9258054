"""A run as one picture: how much faster than the best peer, and how near the machine's limit, regime by regime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.regimes import Regime, geometric_mean, grouped
from bench.results import Book, Result

COLOURS = {
    "LSTM": "#2b6cb0",
    "GRU": "#dd6b20",
    "RNN": "#2f855a",
    "SRU": "#805ad5",
    "QRNN": "#b83280",
    "MinGRU": "#d69e2e",
    "MinLSTM": "#319795",
    "IndRNN": "#718096",
    "TreeLSTM": "#744210",
    "BinaryTreeLSTM": "#1a202c",
}
GAP = 0.16  # between the dots of different cells and numbers of threads within a row


def draw(book: Book, path: Path) -> None:
    """Write a picture of all results that have a peer or a limit.

    Each dot is a cell of the grid, its colour the kind of layer, filled for one thread and hollow for more; the black
    bar is the geometric mean of its row, the red one what is aimed at.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is nothing to draw.
    """
    try:
        import matplotlib
    except ImportError:
        raise ImportError("a picture needs matplotlib: pip install 'rnnfast[bench]'") from None
    matplotlib.use("agg", force=False)
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    rows = [
        (regime, members)
        for regime, members in grouped(book.results).items()
        if any(r.best() is not None or r.percent() is not None for r in members)
    ]
    if not rows:
        raise ValueError("no result has a peer or a limit to be drawn against")
    figure = Figure(figsize=(12, 1.9 + 0.42 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for place, (regime, members) in enumerate(rows):
        _row(left, place, members, [(r, best[1]) for r in members if (best := r.best())], regime.ratio)
        _row(right, place, members, [(r, p) for r in members if (p := r.percent()) is not None], regime.percent)
    _ratio_axis(left, rows)
    right.set_xlabel("% of the machine's limit")
    right.set_xlim(0, max([105.0, *(p * 1.04 for _, ms in rows for r in ms if (p := r.percent()) is not None)]))
    right.axvline(100, color="black", linewidth=1)
    right.tick_params(axis="y", length=0)
    left.set_yticks(range(len(rows)), [f"{regime.title} ({len(members)})" for regime, members in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    for axes in (left, right):
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        for place in range(0, len(rows), 2):
            axes.axhspan(place - 0.5, place + 0.5, color="#f4f4f4", zorder=0)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    kinds = {result.case.cell for _, members in rows for result in members}
    marks = [
        Line2D([], [], color=colour, marker="o", linestyle="", label=cell)
        for cell, colour in COLOURS.items()
        if cell in kinds
    ]
    marks += [
        Line2D([], [], color="#555555", marker="o", linestyle="", label="1 thread"),
        Line2D([], [], color="#555555", marker="o", linestyle="", markerfacecolor="white", label="more threads"),
        Line2D(
            [], [], color="black", marker="|", markersize=13, markeredgewidth=3, linestyle="", label="geometric mean"
        ),
        Line2D([], [], color="#c53030", marker="|", markersize=13, markeredgewidth=1.5, linestyle="", label="aim"),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=(len(marks) + 1) // 2, frameon=False)
    figure.suptitle(_title(book), fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _row(axes: Any, place: int, members: list[Result], points: list[tuple[Result, float]], aim: float | None) -> None:
    """Draw the dots, the mean and the aim of one regime."""
    if not points:
        return
    lanes = sorted({(r.threads > 1, list(COLOURS).index(r.case.cell)) for r in members})
    for result, value in points:
        lane = lanes.index((result.threads > 1, list(COLOURS).index(result.case.cell)))
        colour = COLOURS[result.case.cell]
        axes.plot(
            value,
            place + GAP * 5 / max(5, len(lanes)) * (lane - (len(lanes) - 1) / 2) * 0.8,
            marker="o",
            markersize=4.5,
            color=colour,
            markerfacecolor="white" if result.threads > 1 else colour,
            markeredgewidth=1.2,
            zorder=3,
        )
    axes.vlines(
        geometric_mean(value for _, value in points), place - 0.4, place + 0.4, color="black", linewidth=3, zorder=2
    )
    if aim is not None:
        axes.vlines(aim, place - 0.4, place + 0.4, color="#c53030", linewidth=1.5, zorder=2)


def _ratio_axis(axes: Any, rows: list[tuple[Regime, list[Result]]]) -> None:
    """Make the axis of speed-ups logarithmic, with ticks in plain numbers."""
    from matplotlib.ticker import FixedLocator, NullLocator

    values = [best[1] for _, members in rows for r in members if (best := r.best())] or [1.0]
    low, high = min([0.8, *values]) * 0.93, max([6.0, *values]) * 1.08
    ticks = [t for t in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20, 30, 50, 100) if low <= t <= high]
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("time of the best peer / time of rnnfast (right of 1: rnnfast is faster)")


def _title(book: Book) -> str:
    peers = sorted({name for r in book.results for name in r.peers()})
    machine = f"{book.machine.get('cpu')}, {book.machine.get('isa')}, {book.machine.get('cpus')} CPUs"
    return f"rnnfast beside {', '.join(peers) or 'no peer'}; {machine}"
