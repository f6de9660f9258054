"""Sampling text from a character model, one step at a time with the state carried along."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import as_array, check_generator, check_number, check_size
from rnnfast.data.vocabulary import Vocabulary
from rnnfast.layers.base import Layer


def sample(
    logits: Any,
    temperature: float = 1.0,
    top_k: int | None = None,
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
    rng : numpy.random.Generator, optional
        Source of randomness; fresh entropy if not given.
    forbidden : iterable of int, default ()
        Indices never drawn.

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    ValueError
        If the temperature is negative, there is no logit to draw from, or one is NaN or ``+inf``.
    """
    values = as_array("logits", logits)
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise TypeError(f"logits must be real numbers of shape (V,); got {values.dtype} of shape {values.shape}")
    temperature = check_number("temperature", temperature, 0)
    scores = values.astype(np.float64)
    scores[list(forbidden)] = -np.inf
    if np.isnan(scores).any() or not np.isfinite(scores.max(initial=-np.inf)):
        raise ValueError("logits must hold at least one finite number, and neither NaN nor +inf")
    if temperature == 0:
        return int(scores.argmax())
    if top_k is not None and check_size("top_k", top_k) < len(scores):
        out = np.argsort(-scores, kind="stable")[top_k:]
        scores[out] = -np.inf
    # Adding Gumbel noise and taking the largest draws from the softmax; no temperature is too small for it.
    noise = (check_generator(rng) or np.random.default_rng()).gumbel(size=len(scores))
    return int(np.argmax((scores - scores.max()) + temperature * noise))


def generate(
    model: Layer,
    prime: Any,
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    rng: np.random.Generator | None = None,
    forbidden: Iterable[int] = (),
) -> Iterator[int]:
    """Yield ``length`` numbers that go on from ``prime``, each drawn as it is asked for.

    Parameters
    ----------
    model : Layer
        Takes numbers (1, T) and a state, returns logits (1, T, V) and the state, as ``Sequential(Embedding(...),
        LSTM(...), Dense(...))`` does.
    prime : array_like of int, shape (T,)
        What the model reads first, at least one number.
    length : int
        How many numbers to draw.
    temperature, top_k, rng, forbidden
        As for `sample`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind; before the first number is drawn.
    """
    numbers = as_array("prime", prime)
    if numbers.ndim != 1 or not numbers.size or numbers.dtype.kind not in "iu":
        raise ValueError(f"prime must be integers of shape (T,), at least one; got shape {numbers.shape}")
    if not model.stateful:
        raise TypeError(f"model must carry a state, as a Sequential does; got {type(model).__name__}")
    length = check_size("length", length, 0)
    check_number("temperature", temperature, 0)
    if top_k is not None:
        check_size("top_k", top_k)
    generator = check_generator(rng) or np.random.default_rng()
    return _generate(model, numbers, length, temperature, top_k, generator, list(forbidden))


def _generate(
    model: Any,
    numbers: NDArray[Any],
    length: int,
    temperature: float,
    top_k: int | None,
    rng: np.random.Generator,
    forbidden: list[int],
) -> Iterator[int]:
    if not length:
        return
    logits, state = model(numbers[None])
    for _ in range(length - 1):
        number = sample(logits[0, -1], temperature, top_k, rng, forbidden)
        yield number
        logits, state = model(np.array([[number]]), state)
    yield sample(logits[0, -1], temperature, top_k, rng, forbidden)


def generate_text(
    model: Layer,
    vocabulary: Vocabulary,
    length: int,
    prime: str = "\n",
    temperature: float = 1.0,
    top_k: int | None = None,
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
    temperature, top_k, rng
        As for `sample`.

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
    drawn = generate(model, numbers, length, temperature, top_k, rng, forbidden)
    return (vocabulary.tokens[number] for number in drawn)
