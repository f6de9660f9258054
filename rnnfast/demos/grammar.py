"""Tagged sentences made up from a small grammar, for want of a treebank."""

from __future__ import annotations

import numpy as np

Tagged = tuple[list[str], list[str]]

STEMS = 400
ENDINGS = {"NOUN": ("", "", "s", "ness"), "VERB": ("", "s", "ed"), "ADJ": ("ous", "ful", ""), "ADV": ("ly",)}
CLOSED = {
    "DET": ("the", "a", "this", "every"),
    "PRON": ("she", "they", "it", "we"),
    "ADP": ("of", "in", "with", "under"),
    "CCONJ": ("and", "but"),
    "AUX": ("will", "can", "may"),
    "PUNCT": (".", "!"),
}


def make_up(count: int, seed: int) -> list[Tagged]:
    """Return made-up sentences, each as its words and their tags.

    Nouns, verbs and adjectives share their stems and have an ending or none, so that a word alone does not always tell
    its tag; and there are so many of them that a part of the words is always new.

    Parameters
    ----------
    count : int
        How many.
    seed : int
        Where they come from.
    """
    rng = np.random.default_rng(seed)
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    stems = ["".join(rng.choice(syllables, rng.integers(1, 4))) + str(rng.choice(list("nrstk"))) for _ in range(STEMS)]
    chances = 1 / np.arange(1, STEMS + 1)
    chances /= chances.sum()

    def word(tag: str) -> tuple[str, str]:
        if tag in CLOSED:
            return str(rng.choice(CLOSED[tag])), tag
        return str(rng.choice(stems, p=chances)) + str(rng.choice(ENDINGS[tag])), tag

    def phrase() -> list[str]:
        if rng.random() < 0.25:
            return ["PRON"]
        tail = ["ADP", *phrase()] if rng.random() < 0.25 else []
        return ["DET", *["ADJ"] * int(rng.integers(0, 3) // 2 + (rng.random() < 0.3)), "NOUN", *tail]

    def clause() -> list[str]:
        middle = [*["AUX"] * int(rng.random() < 0.3), *["ADV"] * int(rng.random() < 0.2), "VERB"]
        return [*phrase(), *middle, *(phrase() if rng.random() < 0.7 else [])]

    found = []
    for _ in range(count):
        tags = [*clause(), *(["CCONJ", *clause()] if rng.random() < 0.2 else []), "PUNCT"]
        pairs = [word(tag) for tag in tags]
        found.append(([pair[0] for pair in pairs], [pair[1] for pair in pairs]))
    return found
