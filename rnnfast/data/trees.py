"""Trees as arrays."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack_trees(trees: Iterable[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return nested tuples as the arrays that `TreeEncoder` takes.

    Parameters
    ----------
    trees : iterable
        Each tree is a node: a symbol (an integer of at least 0) for one without children, else a tuple or list of
        its symbol and its children, each a node. ``(7, 1, (8, 2, 3))`` has five nodes.

    Returns
    -------
    x : ndarray (N, T, 2) of int64
        Symbol and parent of each node, parents before children and these in their order; the root's parent is -1. T is
        the number of nodes of the largest tree; what stands past a smaller one is symbol 0, parent -1.
    lengths : ndarray (N,) of int64
        Nodes of each tree.

    Raises
    ------
    TypeError
        If a symbol is not an integer.
    ValueError
        If a symbol is negative or a node is empty.

    Examples
    --------
    >>> from rnnfast.data import pack_trees
    >>> x, lengths = pack_trees([(7, 1, (8, 2, 3)), 4])
    >>> x[0].tolist(), lengths.tolist()
    ([[7, -1], [1, 0], [8, 0], [2, 2], [3, 2]], [5, 1])
    """
    lists = [_nodes(f"trees[{k}]", tree) for k, tree in enumerate(trees)]
    lengths = np.array([len(nodes) for nodes in lists], np.int64)
    x = np.zeros((len(lists), int(lengths.max(initial=0)), 2), np.int64)
    x[:, :, 1] = -1
    for k, nodes in enumerate(lists):
        x[k, : len(nodes)] = nodes
    return x, lengths


def _nodes(name: str, tree: Any) -> list[tuple[int, int]]:
    """Return symbol and parent of every node, depth first, without recursion: trees may be deep."""
    found: list[tuple[int, int]] = []
    waiting = [(tree, -1)]
    while waiting:
        node, parent = waiting.pop()
        children: list[Any] = []
        if isinstance(node, (tuple, list)):
            if not node:
                raise ValueError(f"{name} has a node without a symbol")
            node, *children = node
        try:
            symbol = operator.index(node)
        except TypeError:
            raise TypeError(f"{name}: symbols must be integers; got {node!r}") from None
        if symbol < 0:
            raise ValueError(f"{name}: symbols must be at least 0; got {symbol}")
        waiting += [(child, len(found)) for child in reversed(children)]
        found.append((symbol, parent))
    return found
