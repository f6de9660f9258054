"""A translation that knows no sentences: for each word the one that comes along with it most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class WordByWord:
    """Words that come in the same pairs of sentences, by Dice's coefficient 2 |A and B| / (|A| + |B|).

    Parameters
    ----------
    pairs : tuple of two lists of ndarray of int
        The words of the sentences and of their translations.
    sizes : tuple of int
        How many words there are on each side.
    first : int
        Target words of a lower number are signs, which are never said.
    """

    def __init__(
        self, pairs: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]], sizes: tuple[int, int], first: int
    ) -> None:
        from scipy import sparse

        found = []
        for side, size in zip(pairs, sizes, strict=True):
            lines = np.repeat(np.arange(len(side)), [len(line) for line in side])
            matrix = sparse.csr_matrix((np.ones(len(lines)), (lines, np.concatenate(side))), (len(side), size))
            matrix.data[:] = 1.0  # a word counts once in a sentence
            found.append(matrix)
        source, target = found
        together = (source.T @ target).tocoo()
        alone = [np.asarray(matrix.sum(axis=0)).ravel() for matrix in found]
        dice = 2 * together.data / (alone[0][together.row] + alone[1][together.col])
        dice[together.col < first] = -1.0
        order = np.lexsort((together.col, -dice, together.row))
        rows = together.row[order]
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        self._best = np.full(sizes[0], -1, np.int64)
        self._best[rows[starts]] = np.where(dice[order][starts] > 0, together.col[order][starts], -1)

    def translate(self, source: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the words of a sentence, each by itself; those never seen are left out."""
        words = self._best[source]
        return words[words >= 0]
