"""Texts as numbers, and samples held out, for the tasks that need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.data.vocabulary import CharVocabulary, Vocabulary, WordVocabulary

UNKNOWN = "\N{REPLACEMENT CHARACTER}unknown"
KINDS: dict[str, type[Vocabulary]] = {"char": CharVocabulary, "word": WordVocabulary}


class Texts:
    """Between texts and the numbers of their tokens.

    Parameters
    ----------
    level : {"word", "char"}
        What tokens are; words are taken without regard to upper and lower case.
    steps : int or None
        How many tokens of a text are read at most; None: all.
    """

    vocabulary: Vocabulary

    def __init__(self, level: str, steps: int | None) -> None:
        self.level, self.steps = level, steps

    def learn(self, texts: Sequence[str], size: int) -> None:
        """Take the most frequent tokens of texts; those that come once stand for all that are unknown."""
        options: dict[str, Any] = {"lower": True} if self.level == "word" else {}
        kind = KINDS[self.level]
        found = kind.build(texts, min_count=2, max_size=size, unknown=UNKNOWN, **options)
        if len(found) < 2:
            found = kind.build(texts, max_size=size, unknown=UNKNOWN, **options)
        self.vocabulary = found

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Return the numbers of the tokens of each text; a text without any counts as one unknown token."""
        unknown = np.array([self.vocabulary.number(UNKNOWN)])
        found = [self.vocabulary.encode(text)[: self.steps] for text in texts]
        return [numbers if len(numbers) else unknown for numbers in found]

    def state_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"level": self.level, "steps": self.steps, "vocabulary": self.vocabulary.state_dict()}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Texts:
        """Return what `state_dict` describes; ``KeyError``, ``TypeError`` or ``ValueError`` if it does not fit."""
        own = cls(state["level"], state["steps"])
        own.vocabulary = KINDS[state["level"]].from_state_dict(state["vocabulary"])
        return own


def hold_out(
    count: int, share: float, seed: int, classes: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which samples to train on and which to hold out, drawn at random; of each class alike, where given."""
    rng = np.random.default_rng([seed, 7])
    groups = [np.arange(count)] if classes is None else [np.flatnonzero(classes == k) for k in np.unique(classes)]
    held = [rng.permutation(group)[: round(share * len(group))] for group in groups]
    rows = np.sort(np.concatenate(held)).astype(np.int64)
    return np.setdiff1d(np.arange(count), rows), rows
