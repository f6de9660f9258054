"""Going on from a text with a language model, one token at a time: `rnnfast.decoding` for a single sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import as_array, check_size
from rnnfast.data.vocabulary import Vocabulary
from rnnfast.decoding.choose import draw
from rnnfast.decoding.steps import Stepper
from rnnfast.decoding.stream import Picked, stream_tokens
from rnnfast.layers.base import Layer


def sample(
    logits: Any,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    rng: np.random.Generator | None = None,
    forbidden: Iterable[int] = (),
) -> int:
    """Draw an index with probability ``softmax(logits / temperature)``.

    Parameters
    ----------
    logits : array_like, shape (V,)
        Unnormalised log-probabilities. ``-inf`` is never drawn.
    temperature : float, default 1.0
        Below 1 the likely become likelier; 0 takes the largest logit, the first of equal ones.
    top_k : int, optional
        Draw among so many of the largest logits only; of equal ones the earlier.
    top_p : float, optional
        In (0, 1]: draw among the fewest indices, the likeliest first, whose probabilities sum to at least this.
    rng : numpy.random.Generator, optional
        Source of randomness; fresh entropy if not given.
    forbidden : iterable of int, default ()
        Indices never drawn.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ValueError
        If a number is out of range, there is no logit to draw from, or one is NaN or ``+inf``.
    IndexError
        If a forbidden index is not within 0..V-1.
    """
    values = as_array("logits", logits)
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise TypeError(f"logits must be real numbers of shape (V,); got {values.dtype} of shape {values.shape}")
    drawn = draw(values[None], temperature=temperature, top_k=top_k, top_p=top_p, rng=rng, forbidden=forbidden)
    return int(drawn[0])


def generate(
    model: Layer,
    prime: Any,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    rng: np.random.Generator | None = None,
    forbidden: Iterable[int] = (),
) -> Iterator[int]:
    """Yield ``length`` numbers that go on from ``prime``, each drawn as it is asked for.

    Parameters
    ----------
    model : Layer
        Takes numbers (1, T) and a state, returns logits (1, T, V) and the state, as `LanguageModel` and
        ``Sequential(Embedding(...), LSTM(...), Dense(...))`` do.
    prime : array_like of int, shape (T,)
        What the model reads first, at least one number.
    length : int
        How many numbers to draw.
    temperature, top_k, top_p, rng, forbidden
        As for `sample`.

    Yields
    ------
    int
        In 0..V-1.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind; before the first number is drawn.
    """
    numbers = as_array("prime", prime)
    if numbers.ndim != 1 or not numbers.size or numbers.dtype.kind not in "iu":
        raise ValueError(f"prime must be integers of shape (T,), at least one; got shape {numbers.shape}")
    steps = Stepper(model)
    length = check_size("length", length, 0)

    def picks(state: Any, first: NDArray[np.int64]) -> Iterator[Picked]:
        return stream_tokens(
            steps,
            state,
            first,
            max_length=length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            rng=rng,
            forbidden=forbidden,
        )

    picks(None, numbers[-1:])  # raises at once what there is to raise
    return _generate(steps, numbers, length, picks)


def _generate(
    steps: Stepper, numbers: NDArray[Any], length: int, picks: Callable[[Any, NDArray[np.int64]], Iterator[Picked]]
) -> Iterator[int]:
    if not length:
        return
    for picked in picks(*steps.start(numbers[None])):
        yield int(picked.tokens[0])


def generate_text(
    model: Layer,
    vocabulary: Vocabulary,
    length: int,
    prime: str = "\n",
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    rng: np.random.Generator | None = None,
) -> Iterator[str]:
    """Yield ``length`` tokens as text that go on from ``prime``; special tokens are never drawn.

    Parameters
    ----------
    model : Layer
        As for `generate`, with one logit for each token.
    vocabulary : Vocabulary
        Of the tokens the model was trained on.
    length : int
        How many tokens to draw.
    prime : str, default a newline
        What the model reads first, at least one token; it is not repeated in the result.
    temperature, top_k, top_p, rng
        As for `sample`.

    Yields
    ------
    str
        A token.

    Raises
    ------
    KeyError
        If ``prime`` has a token that the vocabulary does not know, and it has none for unknown ones.
    TypeError, ValueError
        If an argument is not of its kind.

    Examples
    --------
    >>> for piece in generate_text(model, vocabulary, 200, "ROMEO:"):       # doctest: +SKIP
    ...     print(piece, end="", flush=True)
    """
    if not isinstance(vocabulary, Vocabulary):
        raise TypeError(f"vocabulary must be a Vocabulary; got {type(vocabulary).__name__}")
    numbers = vocabulary.encode(prime)
    forbidden = [vocabulary.number(token) for token in vocabulary.special]
    drawn = generate(
        model, numbers, length, temperature=temperature, top_k=top_k, top_p=top_p, rng=rng, forbidden=forbidden
    )
    return (vocabulary.tokens[number] for number in drawn)
