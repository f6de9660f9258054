"""Vocabularies: between text and the integers an `Embedding` takes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_indices, check_iterable, check_size, check_text


class Vocabulary:
    """A list of tokens, numbered in order. Use `CharVocabulary` or `WordVocabulary`.

    Parameters
    ----------
    tokens : sequence of str
        All tokens, the special ones first; each once.
    unknown : str, optional
        The special token that stands for any token not in the list; without it such tokens are errors.
    special : sequence of str, default ()
        Which of the tokens never come from text (padding, start, end); ``unknown`` is one by itself.

    Raises
    ------
    TypeError
        If a token is not a string.
    ValueError
        If a token comes twice, or a special one is not among the tokens.

    Attributes
    ----------
    tokens : tuple of str
        Token k has the number k.
    unknown : str or None
        The stand-in for unknown tokens.
    special : tuple of str
        The tokens that never come from text.
    """

    kind: ClassVar[str]

    def __init__(self, tokens: Sequence[str], unknown: str | None = None, special: Sequence[str] = ()) -> None:
        check_iterable("tokens", tokens)
        check_iterable("special", special)
        if unknown is not None:
            check_text("unknown", unknown)
        self.tokens = tuple(tokens)
        self.unknown = unknown
        special = tuple(special)
        for name, own in (("tokens", self.tokens), ("special", special)):
            for token in own:
                if not isinstance(token, str):
                    raise TypeError(f"{name} must be strings; got {token!r}")
        self.special = tuple(dict.fromkeys([*special, *([] if unknown is None else [unknown])]))
        self._numbers = {token: number for number, token in enumerate(self.tokens)}
        if len(self._numbers) != len(self.tokens):
            twice = next(token for token, count in Counter(self.tokens).items() if count > 1)
            raise ValueError(f"tokens must differ; got {twice!r} twice")
        absent = [token for token in self.special if token not in self._numbers]
        if absent:
            raise ValueError(f"special tokens and unknown must be among the tokens; {absent[0]!r} is not")
        self._plain = {token: k for token, k in self._numbers.items() if token not in self.special}
        self._unknown_number = None if unknown is None else self._numbers[unknown]

    @classmethod
    def build(
        cls,
        texts: str | Iterable[str],
        min_count: int = 1,
        max_size: int | None = None,
        unknown: str | None = None,
        special: Sequence[str] = (),
        **options: Any,
    ) -> Self:
        """Return the vocabulary of ``texts``: the special tokens in their order, then the others by falling count.

        Tokens that come equally often are ordered by code point, so that the same text gives the same numbers.

        Parameters
        ----------
        texts : str or iterable of str
            One text or many.
        min_count : int, default 1
            Leave out tokens that come less often.
        max_size : int, optional
            Keep at most so many tokens, the special ones included.
        unknown : str, optional
            The stand-in for tokens left out or never seen; it comes first. Without it `encode` refuses those.
        special : sequence of str, default ()
            Further tokens that never come from text.
        **options
            Further arguments of the class itself, such as ``lower`` of `WordVocabulary`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not of its kind, or ``max_size`` leaves no room for the special tokens.
        """
        check_iterable("special", special)
        min_count = check_size("min_count", min_count)
        first = list(dict.fromkeys([*([] if unknown is None else [unknown]), *special]))
        if max_size is not None and check_size("max_size", max_size) < len(first):
            raise ValueError(f"max_size must leave room for {len(first)} special tokens; got {max_size}")
        splitter = cls(first, unknown, special, **options)
        counts: Counter[str] = Counter()
        for text in [texts] if isinstance(texts, str) else texts:
            if not isinstance(text, str):
                raise TypeError(f"texts must be strings; got {text!r}")
            counts.update(splitter.split(text))
        kept = [token for token, count in counts.items() if count >= min_count and token not in first]
        kept.sort(key=lambda token: (-counts[token], token))
        room = None if max_size is None else max_size - len(first)
        return cls([*first, *kept[:room]], unknown, special, **options)

    def split(self, text: str) -> Sequence[str]:
        """Return the tokens of ``text``, known or not."""
        raise NotImplementedError

    def encode(self, text: str | Sequence[str]) -> NDArray[np.int64]:
        """Return the numbers of a text's tokens; a list of strings counts as already split.

        Raises
        ------
        TypeError
            If ``text`` is not a string or a sequence of strings.
        KeyError
            If a token is not in the vocabulary and there is no ``unknown``.
        """
        tokens = self.split(text) if isinstance(text, str) else text
        other = self._unknown_number
        numbers = self._plain
        try:
            if other is not None:
                return np.fromiter((numbers.get(token, other) for token in tokens), np.int64)
            return np.fromiter((numbers[token] for token in tokens), np.int64)
        except KeyError as error:
            raise KeyError(f"{error.args[0]!r} is not in the vocabulary, which has no unknown token") from None
        except TypeError:
            raise TypeError(f"text must be a string or a list of strings; got {type(text).__name__}") from None

    def decode(self, numbers: Any, skip_special: bool = False) -> str:
        """Return the text of numbers; with ``skip_special`` the special tokens are left out.

        Raises
        ------
        TypeError, ValueError, IndexError
            If the numbers are not integers in one dimension, each that of a token.
        """
        checked = check_indices("numbers", numbers, len(self), ndim=1)
        tokens = [self.tokens[k] for k in checked.tolist()]
        if skip_special:
            tokens = [token for token in tokens if token not in self.special]
        return self.join(tokens)

    def join(self, tokens: Sequence[str]) -> str:
        """Return the text that tokens make."""
        raise NotImplementedError

    def number(self, token: str) -> int:
        """Return the number of one token, special ones included; ``KeyError`` if it is not in the vocabulary."""
        if token not in self._numbers:
            raise KeyError(f"token {token!r} is not in the vocabulary")
        return self._numbers[token]

    def state_dict(self) -> dict[str, Any]:
        """Return the vocabulary as JSON values, for `from_state_dict`."""
        return {"kind": self.kind, "tokens": list(self.tokens), "unknown": self.unknown, "special": list(self.special)}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Return the vocabulary whose `state_dict` this is.

        Raises
        ------
        KeyError, TypeError, ValueError
            If fields are missing or unknown, or of the wrong kind.
        """
        fields = dict(state)
        kind = fields.pop("kind", None)
        if kind != cls.kind:
            raise ValueError(f"state must be that of a {cls.kind} vocabulary; got kind {kind!r}")
        wanted = set(cls([]).state_dict()) - {"kind"}
        if set(fields) != wanted:
            raise KeyError(f"state must have the fields {', '.join(sorted(wanted))}; got {', '.join(map(str, fields))}")
        return cls(**fields)

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._numbers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.state_dict() == other.state_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} tokens)"


class CharVocabulary(Vocabulary):
    """A vocabulary of characters (Unicode code points, so any script).

    Examples
    --------
    >>> vocabulary = CharVocabulary.build("春眠不覺曉")
    >>> vocabulary.decode(vocabulary.encode("不曉"))
    '不曉'
    """

    kind = "char"

    def split(self, text: str) -> Sequence[str]:
        """Return the characters of ``text``."""
        return text

    def join(self, tokens: Sequence[str]) -> str:
        """Return the characters as one string."""
        return "".join(tokens)


class WordVocabulary(Vocabulary):
    r"""A vocabulary of words: runs of letters and digits, and every other visible character by itself.

    Parameters
    ----------
    tokens, unknown, special
        As for `Vocabulary`.
    lower : bool, default False
        Whether text is case-folded first.

    Notes
    -----
    Words are matched by ``\w+|[^\w\s]``, which knows every script that separates its words; `decode` puts a space
    between any two, so the layout of the original is not kept.
    """

    kind = "word"

    def __init__(
        self, tokens: Sequence[str], unknown: str | None = None, special: Sequence[str] = (), lower: bool = False
    ) -> None:
        super().__init__(tokens, unknown, special)
        if not isinstance(lower, bool):
            raise TypeError(f"lower must be True or False; got {lower!r}")
        self.lower = lower

    def split(self, text: str) -> Sequence[str]:
        """Return the words of ``text``."""
        return re.findall(r"\w+|[^\w\s]", text.casefold() if self.lower else text)

    def join(self, tokens: Sequence[str]) -> str:
        """Return the words with a space between any two."""
        return " ".join(tokens)

    def state_dict(self) -> dict[str, Any]:
        """Return the vocabulary as JSON values, for `from_state_dict`."""
        return {**super().state_dict(), "lower": self.lower}
