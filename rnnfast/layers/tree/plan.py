"""Many trees, level by level: a node stands one level above the highest of its children.

Shapes: N trees, T places for nodes in each, M nodes in all, E edges from a node to a child.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import as_array

Index = NDArray[np.intp]


class Level(NamedTuple):
    """Nodes that can be computed at once.

    Attributes
    ----------
    row : int
        Its first row; nodes are in rows by level.
    first : (n+1,)
        The edges of node r of the level are first[r] .. first[r+1] - 1 of those below.
    child : (E,)
        Rows of the children.
    edge : int
        How many edges the levels below have.
    side : (E,)
        Which child of its node each is: 0, 1, ...
    """

    row: int
    first: Index
    child: Index
    edge: int
    side: Index

    @property
    def parent(self) -> Any:
        """For each edge which node of the level it belongs to."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))


class Plan(NamedTuple):
    """How a batch of trees is computed.

    Attributes
    ----------
    place : (M,)
        Where the node of each row stands among the N*T places.
    roots : (N,)
        The row of each root, -1 for a tree without nodes.
    levels : list of Level
    """

    place: Index
    roots: Index
    levels: list[Level]


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


def make_plan(parents: NDArray[np.int64], lengths: NDArray[np.int64] | None, most: int | None) -> Plan:
    """Return how trees are computed.

    Parameters
    ----------
    parents : (N, T) int64
        For each node the number of its parent within its tree, -1 for the root. Not read past a tree's length.
    lengths : (N,) int64 or None
        Nodes of each tree; None: all T.
    most : int or None
        How many children a node may have.

    Raises
    ------
    ValueError
        If a parent is no node of its tree, a tree has no root or several, nodes go in a circle, or one has too many
        children.
    """
    trees, width = parents.shape
    valid = np.ones(parents.shape, np.bool_) if lengths is None else np.arange(width) < lengths[:, None]
    count = valid.sum(axis=1)
    place = np.flatnonzero(valid)
    tree = place // max(width, 1)
    own = parents[valid]
    wrong = np.flatnonzero((own < -1) | (own >= count[tree]))
    if len(wrong):
        k = wrong[0]
        raise ValueError(
            f"parents must be -1 for a root or a node of the tree, of which tree {tree[k]} has {count[tree[k]]}; "
            f"got {own[k]}"
        )
    is_root = own < 0
    found = np.bincount(tree[is_root], minlength=trees)
    wrong = np.flatnonzero((found != 1) & (count > 0))
    if len(wrong):
        raise ValueError(f"every tree must have one root, whose parent is -1; tree {wrong[0]} has {found[wrong[0]]}")
    start = np.cumsum(count) - count
    above = np.where(is_root, -1, own + start[tree])
    height = _heights(above, tree)
    children = np.bincount(above[~is_root], minlength=len(place))
    if most is not None and len(children) and children.max() > most:
        k = int(children.argmax())
        raise ValueError(f"a node must have at most {most} children; one of tree {tree[k]} has {children[k]}")
    order = np.argsort(height, kind="stable")
    row = np.empty_like(order)
    row[order] = np.arange(len(order))
    below = np.flatnonzero(~is_root)
    below = below[np.argsort(row[above[below]], kind="stable")]  # by parent, then in the order given
    child, ends = row[below], np.concatenate(([0], np.cumsum(children[order])))
    side = np.arange(len(child)) - ends[row[above[below]]]
    bounds = np.searchsorted(height[order], np.arange(int(height.max(initial=-1)) + 2))
    levels = []
    for a, b in pairwise(bounds):
        edges = slice(ends[a], ends[b])
        levels.append(Level(int(a), ends[a : b + 1] - ends[a], child[edges], int(ends[a]), side[edges]))
    roots = np.full(trees, -1, np.intp)
    roots[tree[is_root]] = row[is_root]
    return Plan(place[order], roots, levels)


def _heights(above: Index, tree: Index) -> Index:
    """Return the level of every node from the number of its parent, -1 for roots."""
    height = np.full(len(above), -1, np.intp)
    waiting = np.bincount(above[above >= 0], minlength=len(above))
    ready = np.flatnonzero(waiting == 0)
    level = 0
    while len(ready):
        height[ready] = level
        parents = above[ready]
        parents = parents[parents >= 0]
        np.subtract.at(waiting, parents, 1)
        parents = np.unique(parents)
        ready = parents[waiting[parents] == 0]
        level += 1
    if (height < 0).any():
        raise ValueError(f"parents must lead to the root; those of tree {tree[np.argmax(height < 0)]} go in a circle")
    return height
