"""Pictures that pages show are drawn when the pages are built, by the code beside them.

A block of Python after ``<!-- picture: name -->`` draws into matplotlib's current figure; it becomes
``pictures/name.svg``. All blocks of such a page are run, from top to bottom, as the tests run them.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

import pages


def draw(page: Path, folder: Path) -> None:
    """Run a page and keep its pictures."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "rnnfast"  # the same picture is the same file
    from matplotlib import pyplot

    def keep(block: pages.Block) -> None:
        if block.mark == "picture":
            pyplot.gcf().savefig(folder / f"{block.word}.svg", bbox_inches="tight", metadata={"Date": None})
            pyplot.close("all")

    with (
        tempfile.TemporaryDirectory() as name,
        working_in(name),
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        pages.run(page, Path(name), keep)


@contextlib.contextmanager
def working_in(folder: str) -> Any:
    """Work in another folder for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def draw_all(source: Path) -> None:
    """Draw the pictures of every page that has some and is newer than they are."""
    folder = source / "pictures"
    folder.mkdir(exist_ok=True)
    draw_speed(source.parent / "README.md", folder / "speed.svg")
    for page in sorted(source.rglob("*.md")):
        if "_build" in page.parts:
            continue
        names = [b.word for b in pages.blocks(page.read_text(encoding="utf-8")) if b.mark == "picture"]
        drawn = [folder / f"{name}.svg" for name in names]
        if any(not p.exists() or p.stat().st_mtime < page.stat().st_mtime for p in drawn):
            draw(page, folder)


def draw_speed(readme: Path, path: Path) -> None:
    """Draw the table of measurements in the README, so that figures are kept in one place."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    table = [
        line.strip("| \n").split("|")
        for line in readme.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    header = next(row for row in table if row[0].strip() == "case")
    rows = [row for row in table if len(row) >= 10 and row[0].strip() not in ("case", "---")]
    where = next(k for k, name in enumerate(header) if name.strip() == "2 threads")
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 0.27 * len(rows) + 1.2), sharey=True, layout="constrained")
    marks = {"torch": ("o", "#c44e52"), "ONNX Runtime": ("s", "#4c72b0"), "OpenVINO": ("^", "#55a868")}
    for axes, title, columns in zip(
        panels, ("1 thread", "2 threads"), (range(1, where), range(where, len(header))), strict=True
    ):
        for k in columns:
            name = header[k].strip()
            if name in marks:
                points = [(float(row[k]), place) for place, row in enumerate(rows) if len(row) > k and row[k].strip()]
                shape, colour = marks[name]
                axes.plot(*zip(*points, strict=True), shape, color=colour, markersize=5, label=name, linestyle="none")
        axes.axvline(1, color="black", linewidth=1)
        axes.set_xscale("log")
        axes.set_xticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
        axes.minorticks_off()
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_title(title)
        axes.set_xlabel("times as long as rnnfast")
    panels[0].set_yticks(range(len(rows)), [row[0].strip() for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    panels[1].legend(loc="lower right")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def setup(app: Any) -> dict[str, bool]:
    """Draw before Sphinx looks what files there are."""
    app.connect("config-inited", lambda app, config: draw_all(Path(app.srcdir)))
    return {"parallel_read_safe": True}
