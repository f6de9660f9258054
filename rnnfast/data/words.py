"""Between sentences and the arrays of words and characters that `rnnfast.models.Tagger` takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_flag, check_size
from rnnfast.data.vocabulary import CharVocabulary, WordVocabulary

UNKNOWN, PADDING = "<unknown>", "<padding>"


class WordEncoder:
    """A vocabulary of words and one of their characters, for sentences that are split into words already.

    Parameters
    ----------
    words : WordVocabulary
        With a stand-in for unknown words.
    characters : CharVocabulary
        With padding at number 0 and a stand-in for unknown characters.
    max_characters : int, default 20
        L: of longer words the first and the last half are kept.
    lower : bool, default True
        Whether words are case-folded before they are looked up; characters are not.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind, or a vocabulary lacks what it must have.
    """

    def __init__(
        self, words: WordVocabulary, characters: CharVocabulary, max_characters: int = 20, lower: bool = True
    ) -> None:
        for name, value, kind in (("words", words, WordVocabulary), ("characters", characters, CharVocabulary)):
            if not isinstance(value, kind):
                raise TypeError(f"{name} must be a {kind.__name__}; got {type(value).__name__}")
            if value.unknown is None:
                raise ValueError(f"{name} must have an unknown token")
        if not characters.special or characters.tokens[0] not in characters.special or characters.unknown == PADDING:
            raise ValueError("characters must have padding, a special token, as their first")
        self.words, self.characters = words, characters
        self.max_characters = check_size("max_characters", max_characters)
        self.lower = check_flag("lower", lower)

    @classmethod
    def build(
        cls,
        sentences: Iterable[Sequence[str]],
        min_count: int = 2,
        max_size: int | None = None,
        max_characters: int = 20,
        lower: bool = True,
    ) -> Self:
        """Return the encoder of a training set.

        Parameters
        ----------
        sentences : iterable of sequences of str
            The words of each.
        min_count : int, default 2
            Words that come less often are unknown: so the network learns what to make of unknown words.
        max_size : int, optional
            Of the vocabulary of words.
        max_characters, lower
            As of the class.
        """
        lists = [_checked(sentence) for sentence in sentences]
        fold = check_flag("lower", lower)
        counted = _Whole.build(
            (word.casefold() if fold else word for sentence in lists for word in sentence),
            min_count,
            max_size,
            unknown=UNKNOWN,
        )
        words = WordVocabulary(counted.tokens, UNKNOWN)
        letters = CharVocabulary.build("".join(word for sentence in lists for word in sentence))
        characters = CharVocabulary([PADDING, UNKNOWN, *letters.tokens], UNKNOWN, [PADDING])
        return cls(words, characters, max_characters, lower)

    def encode(self, sentence: Sequence[str]) -> NDArray[np.int64]:
        """Return a sentence as (T, 1 + L): the number of each word, then those of its characters, then zeros.

        Raises
        ------
        TypeError
            If ``sentence`` is not a sequence of strings.
        """
        words = _checked(sentence)
        out = np.zeros((len(words), 1 + self.max_characters), np.int64)
        out[:, 0] = self.words.encode([word.casefold() for word in words] if self.lower else words)
        for row, word in zip(out, words, strict=True):
            letters = self.characters.encode(word)
            if len(letters) > self.max_characters:
                head = (self.max_characters + 1) // 2
                letters = np.concatenate([letters[:head], letters[len(letters) - (self.max_characters - head) :]])
            row[1 : 1 + len(letters)] = letters
        return out

    def known(self, word: str) -> bool:
        """Return whether a word is in the vocabulary."""
        token = word.casefold() if self.lower else word
        return token in self.words and token not in self.words.special

    def state_dict(self) -> dict[str, Any]:
        """Return the encoder as JSON values, for `from_state_dict`."""
        return {
            "words": self.words.state_dict(),
            "characters": self.characters.state_dict(),
            "max_characters": self.max_characters,
            "lower": self.lower,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Return the encoder whose `state_dict` this is; ``KeyError``, ``TypeError`` or ``ValueError`` if none."""
        if set(state) != {"words", "characters", "max_characters", "lower"}:
            raise KeyError(f"state must have words, characters, max_characters and lower; got {', '.join(state)}")
        words = WordVocabulary.from_state_dict(state["words"])
        characters = CharVocabulary.from_state_dict(state["characters"])
        return cls(words, characters, state["max_characters"], state["lower"])

    def __repr__(self) -> str:
        return f"WordEncoder({len(self.words)} words, {len(self.characters)} characters)"


class _Whole(WordVocabulary):
    """Counts what it is given as it is, one text being one word."""

    def split(self, text: str) -> Sequence[str]:
        """Return the text itself."""
        return [text]


def _checked(sentence: Any) -> list[str]:
    if isinstance(sentence, str) or not isinstance(sentence, Sequence):
        raise TypeError(f"a sentence must be a sequence of words; got {sentence!r:.80}")
    for word in sentence:
        if not isinstance(word, str):
            raise TypeError(f"words must be strings; got {word!r:.80}")
    return list(sentence)
