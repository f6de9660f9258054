"""What a batch of trees has to look like, and what is wrong where it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import as_array


def check_parents(parents: Any, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return ``parents`` as int64 of that shape, or raise."""
    array = as_array("parents", parents)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"parents must be integers; got dtype {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"parents must have shape {shape}, one for each node; got {array.shape}")
    return array.astype(np.int64, copy=False)


def no_trees(parents: NDArray[np.int64], lengths: NDArray[np.int64] | None, binary: bool) -> ValueError:
    """Return the error that tells why parents (N, T), of which `make_forest` has made nothing, form no trees."""
    trees, width = parents.shape
    valid = np.ones(parents.shape, np.bool_) if lengths is None else np.arange(width) < lengths[:, None]
    count = valid.sum(axis=1)
    tree = np.flatnonzero(valid) // max(width, 1)
    own = parents[valid]
    wrong = np.flatnonzero((own < -1) | (own >= count[tree]))
    if len(wrong):
        k = wrong[0]
        return ValueError(
            f"parents must be -1 for a root or a node of the tree, of which tree {tree[k]} has {count[tree[k]]}; "
            f"got {own[k]}"
        )
    is_root = own < 0
    found = np.bincount(tree[is_root], minlength=trees)
    wrong = np.flatnonzero((found != 1) & (count > 0))
    if len(wrong):
        return ValueError(f"every tree must have one root, whose parent is -1; tree {wrong[0]} has {found[wrong[0]]}")
    above = np.where(is_root, -1, own + (np.cumsum(count) - count)[tree])
    children = np.bincount(above[~is_root], minlength=len(above))
    up = above
    for _ in range(width.bit_length()):  # each time twice as far up
        up = np.where(up < 0, -1, up[up])
    if (up >= 0).any():
        return ValueError(f"parents must lead to the root; those of tree {tree[np.argmax(up >= 0)]} go in a circle")
    k = int(children.argmax())
    return ValueError(f"a node must have at most 2 children; one of tree {tree[k]} has {children[k]}")
