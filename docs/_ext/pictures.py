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
    for page in sorted(source.rglob("*.md")):
        if "_build" in page.parts:
            continue
        names = [b.word for b in pages.blocks(page.read_text(encoding="utf-8")) if b.mark == "picture"]
        drawn = [folder / f"{name}.svg" for name in names]
        if any(not p.exists() or p.stat().st_mtime < page.stat().st_mtime for p in drawn):
            draw(page, folder)


def setup(app: Any) -> dict[str, bool]:
    """Draw before Sphinx looks what files there are."""
    app.connect("config-inited", lambda app, config: draw_all(Path(app.srcdir)))
    return {"parallel_read_safe": True}
