"""Documents of earlier versions, brought up to the present one a version at a time.

To change the format: raise `VERSION`, add what the change was to this list, and enter a function that turns a document
of the version before into one of the new. It may trust nothing: what does not look as expected is left for the checks
that follow.

1. The first.
2. The state of a trainer has ``place``, where within an epoch it stands, or None between two epochs; and of a
   training that is not at its end, ``done_updates`` and ``done_seconds``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnfast.io.errors import ModelFileError

VERSION = 2
Document = dict[str, Any]


def _between_epochs(document: Document) -> Document:
    state = document.get("state")
    if isinstance(state, dict) and {"step", "epoch", "base_lr"} <= set(state) and "place" not in state:
        document = {**document, "state": {"done_updates": 0, "done_seconds": 0.0, **state, "place": None}}
    return document


MIGRATIONS: dict[int, Callable[[Document], Document]] = {1: _between_epochs}


def migrated(document: Document) -> Document:
    """Return a document of any version that there has been as one of the present version.

    Raises
    ------
    ModelFileError
        If it has no version, or a later one.
    """
    version = document.get("version")
    if type(version) is not int or version < 1:
        raise ModelFileError("it has no valid version")
    if version > VERSION:
        raise ModelFileError(f"it has version {version}; this rnnfast reads up to {VERSION}: install a later one")
    while version < VERSION:
        document = MIGRATIONS[version](document)
        version += 1
    return {**document, "version": VERSION}
