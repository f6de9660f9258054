"""Tree-LSTM over many trees, level by level: forward and backward.

Tai, Socher and Manning 2015, "Improved semantic representations from tree-structured long short-term memory networks";
k runs over a node's children::

    i = sigmoid(W_i x + U_i s + b_i)       f_k = sigmoid(W_f x + U_f s_k + b_f)
    o = sigmoid(W_o x + U_o s + b_o)       c = i * u + sum_k f_k * c_k
    u = tanh   (W_u x + U_u s + b_u)       h = o * tanh(c)

Child-sum (equations 2 to 8): s is the sum of the children's h, and s_k = h_k. Binary (equations 9 to 14 with two
children): s is both h side by side, a missing one being zeros, and s_k = s, with a U_f for each.

Shapes: N trees, T places for nodes in each, M nodes in all, E edges from a node to a child, n nodes of a level, e edges
from them, I inputs, H hidden units, K = H (child-sum) or 2*H (binary). Rows are nodes by level.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.reference.rnn import Array, sigmoid

Index = NDArray[np.intp]


class Level(NamedTuple):
    """Nodes that can be computed at once, for all their children stand below.

    Attributes
    ----------
    rows : slice
        Of the nodes.
    child : (e,)
        For each edge the row of the child.
    parent : (e,)
        Which node of the level it leads from.
    slot : (e,)
        The row of its forget gate among those of the level: of as many rows as edges, or as twice the nodes.
    """

    rows: slice
    child: Index
    parent: Index
    slot: Index


class Forest(NamedTuple):
    """How a batch of trees is computed.

    Attributes
    ----------
    place : (M,)
        Where the node of each row stands among the N*T places.
    live, roots : (at most N,)
        The trees that have nodes, and the row of the root of each.
    levels : list of Level
    binary : bool
    """

    place: Index
    live: Index
    roots: Index
    levels: list[Level]
    binary: bool


class Saved(NamedTuple):
    """What `forward` leaves for `backward`."""

    forest: Forest
    x: Array  # (N, T, I)
    w_ih: Array
    w_hh: Array
    gates: Array  # (M, 3*H) i o u
    below: Array  # (M, K) s
    forgets: list[Array]  # by level, f_k in the rows of `Level.slot`
    h: Array  # (M, H)
    c: Array


def make_forest(parents: NDArray[np.int64], lengths: NDArray[np.int64] | None, binary: bool) -> Forest | None:
    """Return how trees are computed, or None where parents do not form trees.

    Parameters
    ----------
    parents : (N, T)
        For each node the number of its parent within its tree, -1 for the root. Not read past a tree's length.
    lengths : (N,) or None
        Nodes of each tree; None: all T.
    binary : bool
        Whether a node may have two children at most.
    """
    trees, width = parents.shape
    counts = [width] * trees if lengths is None else [int(n) for n in lengths]
    height: dict[tuple[int, int], int] = {}
    below: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for tree, count in enumerate(counts):
        above = [int(parent) for parent in parents[tree, :count]]
        if any(not -1 <= parent < count for parent in above) or (count and above.count(-1) != 1):
            return None
        below.update({(tree, node): [] for node in range(count)})
        for node, parent in enumerate(above):
            if parent >= 0:
                below[tree, parent].append((tree, node))
        waiting = [len(below[tree, node]) for node in range(count)]
        ready = [node for node in range(count) if not waiting[node]]
        while ready:
            node = ready.pop()
            height[tree, node] = 1 + max((height[k] for k in below[tree, node]), default=-1)
            if above[node] >= 0:
                waiting[above[node]] -= 1
                if not waiting[above[node]]:
                    ready.append(above[node])
    if len(height) < sum(counts) or (binary and any(len(children) > 2 for children in below.values())):
        return None
    order = sorted(height, key=lambda node: (height[node], node))
    row = {node: k for k, node in enumerate(order)}
    levels = []
    for level in range(max(height.values(), default=-1) + 1):
        nodes = [node for node in order if height[node] == level]
        edges = [(k, side, child) for k, node in enumerate(nodes) for side, child in enumerate(below[node])]
        slot = [2 * k + side if binary else edge for edge, (k, side, _) in enumerate(edges)]
        lists = [row[edge[2]] for edge in edges], [edge[0] for edge in edges], slot
        start = row[nodes[0]]
        levels.append(Level(slice(start, start + len(nodes)), *(np.array(a, np.intp) for a in lists)))
    live = [tree for tree, count in enumerate(counts) if count]
    roots = [row[tree, int(np.argmin(parents[tree, : counts[tree]]))] for tree in live]
    place = [tree * width + node for tree, node in order]
    return Forest(np.array(place, np.intp), np.array(live, np.intp), np.array(roots, np.intp), levels, binary)


def forward(
    forest: Forest, x: Array, w_ih: Array, w_hh: Array, bias: Array | None, cache: dict[str, Any], save: bool
) -> tuple[Array, Array, Array, Saved | None]:
    """Compute all nodes from the leaves on.

    Parameters
    ----------
    forest : Forest
        Made by `make_forest`.
    x : (N, T, I)
        Read where there are nodes.
    w_ih : (4*H, I)
        Rows i o u f.
    w_hh : (4*H, H) or (5*H, 2*H)
        Rows i o u f, or i o u f_1 f_2.
    bias : (4*H,) or None
    cache : dict
        Where the native twin keeps packed weights; not used here.
    save : bool
        Whether `backward` will follow.

    Returns
    -------
    y : (N, T, H)
        h of every node, zeros where there is none.
    h, c : (N, H)
        Of the roots, zeros for a tree without nodes.
    saved : Saved or None
    """
    n, rows = w_ih.shape[0] // 4, len(forest.place)
    a = x.reshape(-1, x.shape[2])[forest.place] @ w_ih.T
    if bias is not None:
        a += bias
    gates, below = np.zeros((rows, 3 * n), x.dtype), np.zeros((rows, w_hh.shape[1]), x.dtype)
    h, c = np.zeros((rows, n), x.dtype), np.zeros((rows, n), x.dtype)
    forgets = []
    for level in forest.levels:
        each = h[level.child]
        s = below[level.rows]
        if forest.binary:
            s.reshape(-1, n)[level.slot] = each
            f = (s @ w_hh[3 * n :].T).reshape(-1, n)
        else:
            np.add.at(s, level.parent, each)
            f = each @ w_hh[3 * n :].T
        g = a[level.rows, : 3 * n] + s @ w_hh[: 3 * n].T
        i, o, u = sigmoid(g[:, :n]), sigmoid(g[:, n : 2 * n]), np.tanh(g[:, 2 * n :])
        gate = sigmoid(a[level.rows, 3 * n :][level.parent] + f[level.slot])
        f = np.zeros_like(f)
        f[level.slot] = gate
        total = i * u
        np.add.at(total, level.parent, gate * c[level.child])
        c[level.rows] = total
        h[level.rows] = o * np.tanh(total)
        gates[level.rows] = np.concatenate((i, o, u), axis=1)
        forgets.append(f)
    y = np.zeros((x.shape[0] * x.shape[1], n), x.dtype)
    y[forest.place] = h
    root_h, root_c = np.zeros((x.shape[0], n), x.dtype), np.zeros((x.shape[0], n), x.dtype)
    root_h[forest.live], root_c[forest.live] = h[forest.roots], c[forest.roots]
    saved = Saved(forest, x, w_ih, w_hh, gates, below, forgets, h, c) if save else None
    return y.reshape(*x.shape[:2], n), root_h, root_c, saved


def backward(saved: Saved, dy: Array | None, dh: Array | None, dc: Array | None) -> tuple[Array, Array, Array, Array]:
    """Go back from the roots.

    Parameters
    ----------
    saved : Saved
        From `forward`.
    dy : (N, T, H) or None
    dh, dc : (N, H) or None
        Gradients of the roots; None: zeros.

    Returns
    -------
    dx : (N, T, I)
        Zeros where there is no node.
    dw_ih, dw_hh, dbias
        Of the shapes of the weights; the last also where there was no bias.
    """
    forest, x, w_ih, w_hh, gates, below, forgets, h, c = saved
    n = h.shape[1]
    dx, da = np.zeros(x.shape, x.dtype), np.zeros((len(h), 4 * n), x.dtype)
    dw_hh = np.zeros_like(w_hh)
    d_h, d_c = np.zeros_like(h), np.zeros_like(c)
    if dy is not None:
        d_h += dy.reshape(-1, n)[forest.place]
    if dh is not None:
        d_h[forest.roots] += dh[forest.live]
    if dc is not None:
        d_c[forest.roots] += dc[forest.live]
    for level, f in zip(reversed(forest.levels), reversed(forgets), strict=True):
        i, o, u = gates[level.rows, :n], gates[level.rows, n : 2 * n], gates[level.rows, 2 * n :]
        tanh_c, dh_own = np.tanh(c[level.rows]), d_h[level.rows]
        d = d_c[level.rows] + dh_own * o * (1 - tanh_c * tanh_c)
        own = da[level.rows]
        own[:, :n] = d * u * i * (1 - i)
        own[:, n : 2 * n] = dh_own * tanh_c * o * (1 - o)
        own[:, 2 * n : 3 * n] = d * i * (1 - u * u)
        gate, df = f[level.slot], np.zeros_like(f)
        df[level.slot] = d[level.parent] * c[level.child] * gate * (1 - gate)
        np.add.at(own[:, 3 * n :], level.parent, df[level.slot])
        d_c[level.child] += d[level.parent] * gate
        s = below[level.rows]
        ds = own[:, : 3 * n] @ w_hh[: 3 * n]
        dw_hh[: 3 * n] += own[:, : 3 * n].T @ s
        if forest.binary:
            ds += df.reshape(-1, 2 * n) @ w_hh[3 * n :]
            dw_hh[3 * n :] += df.reshape(-1, 2 * n).T @ s
            d_h[level.child] += ds.reshape(-1, n)[level.slot]
        else:
            d_h[level.child] += ds[level.parent] + df @ w_hh[3 * n :]
            dw_hh[3 * n :] += df.T @ h[level.child]
    dx.reshape(-1, x.shape[2])[forest.place] = da @ w_ih
    return dx, da.T @ x.reshape(-1, x.shape[2])[forest.place], dw_hh, da.sum(axis=0)
