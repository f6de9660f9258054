"""A text that every machine with Python has: the source of its standard library."""

from __future__ import annotations

import os
from pathlib import Path

from rnnfast.demos.common import UserError

LIMIT = 4_000_000


def standard_library(limit: int = LIMIT) -> str:
    """Return the source of the standard library's modules in the order of their names, up to ``limit`` characters.

    Files with other characters than ASCII are left out, which keeps the vocabulary small; so are packages.

    Raises
    ------
    UserError
        If this Python came without source.
    """
    parts: list[str] = []
    size = 0
    for path in sorted(Path(os.__file__).parent.glob("*.py"), key=lambda path: path.name):
        try:
            text = path.read_bytes().decode("ascii").replace("\r\n", "\n")
        except (OSError, UnicodeDecodeError):
            continue
        parts.append(text)
        size += len(text)
        if size >= limit:
            break
    if size < 10_000:
        raise UserError("this Python came without the source of its standard library: give a text with --text FILE")
    return "".join(parts)[:limit]
