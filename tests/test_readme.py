"""The README's Python runs as it stands, from top to bottom, and its commands are found by whoever runs them."""

import re

from pages import ROOT, blocks, run

README = ROOT / "README.md"
BLOCKS = list(blocks(README.read_text(encoding="utf-8")))


def test_python_blocks(tmp_path, monkeypatch):
    # The working folder is not the clone: what runs is the package that these tests import.
    monkeypatch.chdir(tmp_path)
    assert run(README, tmp_path) >= 5


def test_links():
    links = re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert links and not [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()]


def test_commands():
    assert {block.word: block.code for block in BLOCKS if block.mark == "ci"} == {
        "install": "pip install . && python -m rnnfast demo\n",
        "test": "pip install '.[test]' && python -m pytest\n",
    }
