"""Images of digits made up from a small font, for want of handwritten ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 28
# 5 x 7 dots for each digit, a row each.
FONT = (
    "01110 10001 10011 10101 11001 10001 01110",
    "00100 01100 00100 00100 00100 00100 01110",
    "01110 10001 00001 00110 01000 10000 11111",
    "01110 10001 00001 00110 00001 10001 01110",
    "00010 00110 01010 10010 11111 00010 00010",
    "11111 10000 11110 00001 00001 10001 01110",
    "00110 01000 10000 11110 10001 10001 01110",
    "11111 00001 00010 00100 01000 01000 01000",
    "01110 10001 10001 01110 10001 10001 01110",
    "01110 10001 10001 01111 00001 00010 01100",
)


def draw(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return made-up images of digits, each moved, stretched, slanted, blurred and noisy in its own way.

    Parameters
    ----------
    count : int
        How many.
    seed : int
        Where they come from.

    Returns
    -------
    images : ndarray of uint8, shape (count, 28, 28)
        Bright strokes on dark ground, 0..255.
    labels : ndarray of uint8, shape (count,)
        Which digit each one is.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(10, size=count).astype(np.uint8)
    font = np.array([[list(map(int, row)) for row in glyph.split()] for glyph in FONT], np.float32)
    padded = np.pad(font, ((0, 0), (1, 1), (1, 1)))

    def uniform(low: float, high: float) -> NDArray[Any]:
        return rng.uniform(low, high, (count, 1, 1))

    # Every pixel looks up its place in the font, between whose dots it mixes.
    y, x = np.mgrid[0:SIDE, 0:SIDE] - (SIDE - 1) / 2
    x = (x - uniform(-3, 3)) + uniform(-0.3, 0.3) * y
    column = x / uniform(2.6, 3.8) + 3.0
    row = (y - uniform(-2, 2)) / uniform(2.4, 3.3) + 4.0
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    right_share, low_share = column - left, row - top
    which = labels[:, None, None]

    def dot(r: NDArray[Any], c: NDArray[Any]) -> NDArray[Any]:
        inside = (r >= 0) & (r < padded.shape[1]) & (c >= 0) & (c < padded.shape[2])
        return np.where(inside, padded[which, r.clip(0, padded.shape[1] - 1), c.clip(0, padded.shape[2] - 1)], 0)

    above = (1 - right_share) * dot(top, left) + right_share * dot(top, left + 1)
    below = (1 - right_share) * dot(top + 1, left) + right_share * dot(top + 1, left + 1)
    ink = ((1 - low_share) * above + low_share * below) * uniform(150, 255)
    return (ink + rng.normal(0, 25, ink.shape)).clip(0, 255).astype(np.uint8), labels
