"""Blocks of gates, ours and ONNX's, one made from the other.

ONNX couples gates as f = 1 - i and asks for i; our coupled cell does i = 1 - f and asks for f. Since 1 - sigmoid(a) is
sigmoid(-a), the one's weights are the other's with another sign.
"""

from __future__ import annotations

import numpy as np

from rnnfast.checks import FloatArray

ONNX = {"RNN": "h", "GRU": "zrn", "LSTM": "iofg"}  # ONNX's order by operator, in our letters
PEEPHOLES = "iof"


def from_onnx(array: FloatArray, theirs: str, ours: str) -> FloatArray:
    """Return the blocks, ordered as ``theirs`` along the first axis, in the order ``ours``."""
    blocks = dict(zip(theirs, np.split(array, len(theirs)), strict=True))
    if _coupled(ours, theirs):
        blocks["f"] = -blocks["i"]
    return np.concatenate([blocks[gate] for gate in ours])


def to_onnx(array: FloatArray, ours: str, theirs: str) -> FloatArray:
    """Return the blocks, ordered as ``ours`` along the first axis, in the order ``theirs``; zeros where it has more."""
    blocks = dict(zip(ours, np.split(array, len(ours)), strict=True))
    if _coupled(ours, theirs):
        blocks["i"], blocks["f"] = -blocks["f"], np.zeros_like(blocks["f"])
    return np.concatenate([blocks[gate] for gate in theirs])


def _coupled(ours: str, theirs: str) -> bool:
    return "i" in theirs and "i" not in ours
