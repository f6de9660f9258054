"""Reader for CoNLL-U, the format of the Universal Dependencies treebanks."""

from __future__ import annotations

import os
from typing import NamedTuple

from rnnfast.data.readers import StrPath, read_text

COLUMNS = 10


class ConlluSentence(NamedTuple):
    """One sentence; each field has one entry for each word, ``None`` where the file has an underscore.

    Attributes
    ----------
    words, lemmas, upos, xpos, feats : tuple of str or None
        Form, lemma, universal tag, the language's own tag, features as in the file. A form is never None.
    heads : tuple of int or None
        The head's place in the sentence from 1, 0 for the root.
    deprels : tuple of str or None
        The relation to it.
    comments : tuple of str
        Lines before the sentence, without "#" and the space after it.
    """

    words: tuple[str, ...]
    lemmas: tuple[str | None, ...]
    upos: tuple[str | None, ...]
    xpos: tuple[str | None, ...]
    feats: tuple[str | None, ...]
    heads: tuple[int | None, ...]
    deprels: tuple[str | None, ...]
    comments: tuple[str, ...]


def read_conllu(path: StrPath) -> list[ConlluSentence]:
    """Return the sentences of a CoNLL-U file, by their syntactic words.

    Lines of multiword tokens ("3-4 don't") and of empty nodes ("8.1") are left out: the words themselves stand beside
    them. A form or lemma that is itself an underscore is kept where both are.

    Parameters
    ----------
    path : path
        A UTF-8 file: a line of ten columns, divided by tabs, for each word, an empty line after each sentence.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is empty, not UTF-8, has no words, or a line is not of this format; the message names the line.
    """
    name = os.fspath(path)
    sentences: list[ConlluSentence] = []
    rows: list[list[str]] = []
    comments: list[str] = []

    def close() -> None:
        if rows:
            sentences.append(_sentence(rows, comments))
        rows.clear()
        comments.clear()

    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            close()
        elif line.startswith("#") and not rows:
            comments.append(line[1:].removeprefix(" "))
        else:
            cells = line.split("\t")
            place = cells[0]
            if len(cells) != COLUMNS:
                raise ValueError(f"{name}, line {number}: must have {COLUMNS} columns with tabs; got {len(cells)}")
            if "-" in place or "." in place:
                continue
            if place != str(len(rows) + 1):
                raise ValueError(f"{name}, line {number}: must be word {len(rows) + 1} of its sentence; got {place!r}")
            if cells[6] != "_" and not cells[6].isdecimal():
                raise ValueError(f"{name}, line {number}: the head must be a number; got {cells[6]!r}")
            rows.append(cells)
    close()
    if not sentences:
        raise ValueError(f"{name} has no words")
    return sentences


def _sentence(rows: list[list[str]], comments: list[str]) -> ConlluSentence:
    def column(k: int) -> tuple[str | None, ...]:
        return tuple(None if row[k] == "_" else row[k] for row in rows)

    return ConlluSentence(
        words=tuple(row[1] for row in rows),
        lemmas=tuple(None if row[2] == "_" and row[1] != "_" else row[2] for row in rows),
        upos=column(3),
        xpos=column(4),
        feats=column(5),
        heads=tuple(None if head is None else int(head) for head in column(6)),
        deprels=column(7),
        comments=tuple(comments),
    )
