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
    assert shown == drawn


PAGE = """
```python
a = 1
```

<!-- needs: no_such_module -->
```python
a = 2
```

:::{grid-item}
<!-- side: json -->
```python
a = 3
```
:::

- in a list:

  <!-- not run: it would take the disk away -->
  ```sh
  rm -rf disk
  ```

```sh
cat written
```

```python
assert a == 1
```
"""


def test_marks(tmp_path, monkeypatch):
    found = list(blocks(PAGE))
    assert [(block.language, block.mark, block.word) for block in found] == [
        ("python", "", ""),
        ("python", "needs", "no_such_module"),
        ("python", "side", "json"),
        ("sh", "not run", "it would take the disk away"),
        ("sh", "", ""),
        ("python", "", ""),
    ]
    assert [block.runs for block in found] == [True, False, True, False, True, True]
    assert found[3].code == "rm -rf disk\n" and PAGE.splitlines()[found[3].line - 1] == "  rm -rf disk"
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match="written"):
        run(page, tmp_path)
    (tmp_path / "written").write_text("")
    seen = []
    assert run(page, tmp_path, seen.append) == 4 and seen == [found[0], found[2], found[4], found[5]]


def test_a_wrong_block_names_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\na = 1\nassert a == 2\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError) as raised:
        run(page, tmp_path)
    assert raised.traceback[-1].lineno + 1 == 5
