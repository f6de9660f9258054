"""Every folder of the package says in a README what is in it: no file is left out, and none is named that is gone."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "rnnfast"
FOLDERS = sorted(
    folder
    for folder in [PACKAGE, *PACKAGE.iterdir()]
    if (folder / "__init__.py").exists() and folder.name != "__pycache__"
)


def contents(folder):
    """Return the names, without suffixes, of modules and folders in a folder."""
    return {
        path.stem
        for path in folder.iterdir()
        if (path.suffix in {".py", ".pyx"} or (path / "__init__.py").exists()) and not path.name.startswith("__")
    }


def named(text):
    """Return what stands between backticks in a text, and the words of it."""
    spans = re.findall(r"`([^`]+)`", text)
    return {word for span in spans for word in re.findall(r"\w+", span)}, spans


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_readmes_name_what_is_there(folder):
    words, spans = named((folder / "README.md").read_text(encoding="utf-8"))
    assert not contents(folder) - words
    paths = {span for span in spans if re.fullmatch(r"[\w/.]+\.(py|md|json)|[\w/]+/", span)}
    roots = (folder, PACKAGE, PACKAGE.parent)
    gone = [path for path in paths if not any((root / path).exists() for root in roots)]
    assert not [path for path in gone if path not in {"config.json", "NAME.py"}]
