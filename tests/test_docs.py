"""Every block of code of the documentation runs as it stands, page by page, and every picture is drawn."""

import re

import pytest
from pages import ROOT, blocks, run

DOCS = ROOT / "docs"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if page.name != "README.md" and "_build" not in page.parts]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).with_suffix("").as_posix())
def test_page(page, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    wanted = [block for block in blocks(page.read_text(encoding="utf-8")) if block.runs]
    assert run(page, tmp_path) == len(wanted)


def test_every_fenced_block_is_known():
    """A block in a language that nothing runs is output or a formula, and says so."""
    known = {"python", "sh", "text", "csv", "{include}", "{literalinclude}", "{toctree}", "{image}"}
    for page in PAGES:
        found = re.findall(r"^ *```+([^`\s]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(found) <= known, page


def test_pictures_are_drawn():
    drawn = {
        block.word for page in PAGES for block in blocks(page.read_text(encoding="utf-8")) if block.mark == "picture"
    }
    shown = {
        name
        for page in PAGES
        for name in re.findall(r"\]\((?:\.\./)*pictures/(\w+)\.svg\)", page.read_text(encoding="utf-8"))
    }
    assert shown == drawn | {"speed"}
