"""What the README and the pages of the documentation have in common: blocks of code that run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>python|sh)\n(?P<code>.*?)^(?P=indent)(?P=fence)$", re.M | re.S
)
MARK = re.compile(r"<!-- (needs|side|picture|ci|not run): (.+?) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block of Python or shell, and what a comment on the line before says of it.

    Attributes
    ----------
    language : {"python", "sh"}
    code : str
    line : int
        Of the first line of code in its page, from 1.
    mark : str
        "needs": run if the module ``word`` is installed. "side": likewise, but in the module's own namespace: the other
        column of a comparison. "picture": what it draws is the picture ``word``. "ci": .ci/run runs it, as
        ``word``. "not run": why, ``word`` says. Or "".
    word : str
    """

    language: str
    code: str
    line: int
    mark: str = ""
    word: str = ""

    @property
    def runs(self) -> bool:
        """Whether it can be run here."""
        if self.mark in ("needs", "side"):
            return all(installed(name.strip()) for name in self.word.split(","))
        return self.mark not in ("ci", "not run")


def installed(name: str) -> bool:
    """Return whether a module is installed; Keras, which computes nothing itself, with something that computes."""
    if name == "keras" and find_spec("keras"):
        engines = [engine for engine in ("torch", "jax", "tensorflow") if find_spec(engine)]
        if engines:
            os.environ.setdefault("KERAS_BACKEND", engines[0])
        return bool(engines)
    return find_spec(name) is not None


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a page from top to bottom."""
    for found in FENCE.finditer(text):
        before = text[: found.start()]
        mark = MARK.search(before)
        indent = len(found["indent"])
        code = "".join(line[indent:] or "\n" for line in found["code"].splitlines(keepends=True))
        line = text[: found.start("code")].count("\n") + 1
        yield Block(found["language"], code, line, *(mark.groups() if mark else ("", "")))


def run(page: Path, folder: Path, after: Callable[[Block], None] = lambda block: None) -> int:
    """Run all blocks of a page in order, Python in one namespace and shell in ``folder``; return how many ran.

    ``folder`` must be the working folder: what one block writes there, the next one finds.
    """
    spaces: dict[str, dict[str, Any]] = {}
    count = 0
    for block in blocks(page.read_text(encoding="utf-8")):
        if not block.runs:
            continue
        if block.language == "python":
            own = block.word if block.mark == "side" else ""
            space = spaces.setdefault(own, {"__name__": "__page__"})
            # Empty lines in front, so that a traceback names the line of the page.
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), space)
        else:
            shell(block, folder, page)
        after(block)
        count += 1
    return count


def shell(block: Block, folder: Path, page: Path) -> None:
    """Run a shell block with this Python and this clone's package."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    command = ["bash", "-euo", "pipefail", "-c", block.code]
    found = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    if found.returncode:
        raise AssertionError(
            f"{page}:{block.line}: exit code {found.returncode}\n{block.code}\n{found.stdout}{found.stderr}"
        )
