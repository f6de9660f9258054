"""Reviews for the demonstration of polarity, a user's or made up, and a baseline that counts words."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.demos.common import UserError, told_in_one_line

Tokens = list[str]
_WORD = re.compile(r"[a-z']+|[^\sa-z']")

_GOOD = ["wonderful", "moving", "brilliant", "gripping", "charming", "superb", "funny", "fresh", "honest", "delightful"]
_BAD = ["dull", "clumsy", "boring", "predictable", "awful", "shallow", "tedious", "lifeless", "noisy", "forgettable"]
_THINGS = ["plot", "acting", "script", "camera", "ending", "music", "dialogue", "lead", "pacing", "story"]
_FILLER = (
    "the film opens in a small town",
    "two brothers meet again after years",
    "there is a long drive through the rain",
    "we see the city at night",
    "somebody tells a story about the war",
    "the second half takes place on a boat",
)


class Reviews(NamedTuple):
    """Texts as tokens, their classes (1: positive), and how many of them come last as the test."""

    name: str
    tokens: list[Tokens]
    labels: NDArray[np.int64]
    tested: int


def split(text: str) -> Tokens:
    """Return words in lower case and single signs."""
    return _WORD.findall(text.lower())


def from_archive(path: Path) -> Reviews:
    """Return the reviews of a tar archive with folders ``pos`` and ``neg``; the last fifth of each is the test.

    Raises
    ------
    UserError
        If it cannot be read, or has too few.
    """
    texts: dict[str, list[tuple[str, Tokens]]] = {"neg": [], "pos": []}
    with told_in_one_line():
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    kind = PurePosixPath(member.name).parent.name
                    file = archive.extractfile(member) if member.isfile() and kind in texts else None
                    if file is not None:
                        texts[kind].append((member.name, split(file.read().decode("utf-8", "replace"))))
        except (tarfile.TarError, EOFError):
            raise UserError(f"{path}: is not a tar archive, or damaged") from None
    if min(map(len, texts.values())) < 10:
        counts = ", ".join(f"{len(found)} in {kind}" for kind, found in texts.items())
        raise UserError(f"{path}: must have at least 10 texts in each of the folders pos and neg; got {counts}")
    train: list[tuple[Tokens, int]] = []
    test: list[tuple[Tokens, int]] = []
    for label, kind in enumerate(texts):
        own = [(tokens, label) for _, tokens in sorted(texts[kind])]
        at = len(own) * 8 // 10
        train += own[:at]
        test += own[at:]
    both = train + test
    return Reviews(path.name, [t for t, _ in both], np.array([label for _, label in both]), len(test))


def made_up(count: int, seed: int) -> Reviews:
    """Return made-up reviews: filler, and opinions of which a part is turned around by "not"."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    texts = []
    for label in labels:
        sentences = [str(rng.choice(_FILLER)) for _ in range(rng.integers(4, 12))]
        for _ in range(rng.integers(3, 6)):
            turned = rng.random() < 0.4
            agrees = rng.random() < 0.85
            word = rng.choice(_GOOD if (label == 1) == agrees != turned else _BAD)
            opinion = f"the {rng.choice(_THINGS)} is {'not ' if turned else ''}{word}"
            sentences.insert(int(rng.integers(0, len(sentences) + 1)), opinion)
        texts.append(split(" . ".join(sentences) + " ."))
    return Reviews("made-up reviews (no file was given)", texts, labels, count // 5)


def baseline(reviews: Reviews) -> float:
    """Return the share of the test that logistic regression on weighted word counts gets right.

    Counts enter as 1 + log, times the log of how rare the word is, and every text is scaled to length 1 (TF-IDF);
    the penalty on the squared weights is 1/2 with the losses summed up.
    """
    from scipy.optimize import minimize
    from scipy.sparse import csr_matrix

    at = len(reviews.tokens) - reviews.tested
    places: dict[str, int] = {}
    for tokens in reviews.tokens[:at]:
        for token in tokens:
            places.setdefault(token, len(places))
    rows, columns, counts = [], [], []
    for row, tokens in enumerate(reviews.tokens):
        found, count = np.unique([places[t] for t in tokens if t in places], return_counts=True)
        rows += [row] * len(found)
        columns += found.astype(int).tolist()
        counts += (1.0 + np.log(count)).tolist()
    table: Any = csr_matrix((counts, (rows, columns)), shape=(len(reviews.tokens), len(places)))
    seen = np.bincount(table[:at].indices, minlength=len(places))
    table = table.multiply(np.log((1.0 + at) / (1.0 + seen)) + 1.0).tocsr()
    norms = np.sqrt(np.asarray(table.multiply(table).sum(axis=1)).ravel())
    table = table.multiply(1.0 / np.maximum(norms, 1e-12)[:, None]).tocsr()
    train, signs = table[:at], 2.0 * reviews.labels[:at] - 1.0

    def cost(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = signs * (train @ w[:-1] + w[-1])
        slope = -signs / (1.0 + np.exp(np.minimum(margin, 700.0)))
        value = np.logaddexp(0.0, -margin).sum() + 0.5 * w[:-1] @ w[:-1]
        return float(value), np.append(train.T @ slope + w[:-1], slope.sum())

    w = minimize(cost, np.zeros(len(places) + 1), jac=True, method="L-BFGS-B").x
    guesses = table[at:] @ w[:-1] + w[-1] > 0
    return float((guesses == (reviews.labels[at:] > 0)).mean())
