"""Pairs of sentences: from two files, or made up from a small grammar of German and English."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnnfast.data import read_text
from rnnfast.demos.common import UserError, told_in_one_line

# German in the nominative and, for objects, the accusative; English.
SUBJECTS = (
    ("der mann", "the man"),
    ("die frau", "the woman"),
    ("das kind", "the child"),
    ("der hund", "the dog"),
    ("die katze", "the cat"),
    ("der junge", "the boy"),
    ("das mädchen", "the girl"),
)
OBJECTS = (
    ("den", "ball", "the", "ball"),
    ("einen", "hut", "a", "hat"),
    ("den", "fluss", "the", "river"),
    ("die", "blume", "the", "flower"),
    ("eine", "tasche", "a", "bag"),
    ("das", "boot", "the", "boat"),
    ("ein", "buch", "a", "book"),
    ("das", "haus", "the", "house"),
)
# By the article; German adjectives take its ending.
ENDINGS = {"den": "en", "einen": "en", "die": "e", "eine": "e", "das": "e", "ein": "es"}
ADJECTIVES = (("rot", "red"), ("klein", "small"), ("alt", "old"), ("schön", "beautiful"), ("groß", "big"))
# Third person, participle; third person, participle, base form.
VERBS = (
    ("sieht", "gesehen", "sees", "seen", "see"),
    ("findet", "gefunden", "finds", "found", "find"),
    ("malt", "gemalt", "paints", "painted", "paint"),
    ("sucht", "gesucht", "seeks", "sought", "seek"),
    ("kauft", "gekauft", "buys", "bought", "buy"),
)
BASES = {"sieht": "sehen", "findet": "finden", "malt": "malen", "sucht": "suchen", "kauft": "kaufen"}
TIMES = (("heute", "today"), ("jetzt", "now"), ("am abend", "in the evening"), ("im sommer", "in summer"))


class Bitext(NamedTuple):
    """Sentences and their translations, for training and for the test.

    Attributes
    ----------
    name : str
        What it is.
    train, test : tuple of two lists of str
        Sources and targets, line for line.
    """

    name: str
    train: tuple[list[str], list[str]]
    test: tuple[list[str], list[str]]


def made_up(count: int, held_out: int, seed: int) -> Bitext:
    """Return so many different sentences, the last of them for the test: none of these is in the training part.

    German puts the verb second whatever comes first, and participles and infinitives last; English does not.
    """
    rng = np.random.default_rng(seed)
    pairs: dict[str, str] = {}
    while len(pairs) < count + held_out:
        german, english = _sentence(rng)
        pairs[german] = english
    sources, targets = list(pairs), list(pairs.values())
    return Bitext(
        "made-up German and English (no files were given)",
        (sources[:count], targets[:count]),
        (sources[count:], targets[count:]),
    )


def _sentence(rng: np.random.Generator) -> tuple[str, str]:
    subject, subject_en = SUBJECTS[rng.integers(len(SUBJECTS))]
    article, noun, article_en, noun_en = OBJECTS[rng.integers(len(OBJECTS))]
    present, participle, present_en, participle_en, base_en = VERBS[rng.integers(len(VERBS))]
    thing, thing_en = [article], [article_en]
    for k in rng.permutation(len(ADJECTIVES))[: rng.integers(3)]:
        adjective, adjective_en = ADJECTIVES[k]
        thing.append(adjective + ENDINGS[article])
        thing_en.append(adjective_en)
    what, what_en = " ".join([*thing, noun]), " ".join([*thing_en, noun_en])
    first, last, verb_en = (
        (present, "", present_en),
        ("hat", participle, f"has {participle_en}"),
        ("will", BASES[present], f"wants to {base_en}"),
    )[rng.integers(3)]
    order = rng.integers(3)
    if order == 0:
        german, english = f"{subject} {first} {what} {last}", f"{subject_en} {verb_en} {what_en}"
    else:
        time, time_en = TIMES[rng.integers(len(TIMES))]
        if order == 1:
            german = f"{time} {first} {subject} {what} {last}"
            english = f"{time_en} {subject_en} {verb_en} {what_en}"
        else:
            german = f"{subject} {first} {time} {what} {last}"
            english = f"{subject_en} {verb_en} {what_en} {time_en}"
    return " ".join(f"{german} .".split()), " ".join(f"{english} .".split())


def from_files(source: Path, target: Path, test_source: Path | None, test_target: Path | None) -> Bitext:
    """Return the lines of two files, as they belong together; without test files the last twentieth is the test."""
    sources, targets = _lines(source, target)
    if test_source is not None and test_target is not None:
        return Bitext(source.name, (sources, targets), _lines(test_source, test_target))
    at = len(sources) - max(1, len(sources) // 20)
    if at < 1:
        raise UserError(f"{source}: there must be at least two lines")
    return Bitext(source.name, (sources[:at], targets[:at]), (sources[at:], targets[at:]))


def _lines(source: Path, target: Path) -> tuple[list[str], list[str]]:
    """Return the lines of both files, those left out of which one is empty."""
    with told_in_one_line():
        first, second = ([line.strip() for line in read_text(path).split("\n")] for path in (source, target))
    if not first[-1]:
        first.pop()
    if not second[-1]:
        second.pop()
    if len(first) != len(second):
        raise UserError(f"{source} and {target} must have as many lines; got {len(first)} and {len(second)}")
    pairs = [pair for pair in zip(first, second, strict=True) if all(pair)]
    if not pairs:
        raise UserError(f"{source} and {target} have no line that is not empty in one of them")
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
