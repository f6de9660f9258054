"""Tree-LSTM, the pointwise part of one level of many trees, forward and backward.

Tai, Socher and Manning 2015, "Improved semantic representations from tree-structured long short-term memory networks";
k runs over a node's children::

    i = sigmoid(a_i + g_i)       f_k = sigmoid(a_f + f_k)
    o = sigmoid(a_o + g_o)       c = i * u + sum_k f_k * c_k
    u = tanh   (a_u + g_u)       h = o * tanh(c)

where a is the input's product with its biases; g and f_k on the right are products of the children's h: U times their
sum and U_f h_k (child-sum, equations 2 to 8), or products of both children side by side (binary, equations 9 to 14).

Shapes: M nodes of all trees, n nodes of this level, E edges from them to their children, H hidden units. The nodes of a
level are rows side by side. All arrays are contiguous and changed in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.reference.rnn import Array, sigmoid

Index = NDArray[np.intp]


def level_forward(
    first: Index, child: Index, slot: Index, a: Array, g: Array | None, f: Array, h: Array, c: Array, row: int
) -> None:
    """Compute h and c of the level's nodes.

    Parameters
    ----------
    first : (n+1,)
        The edges of node r of the level are first[r] .. first[r+1] - 1.
    child, slot : (E,)
        The row of each edge's child in h and c, and of its f_k in ``f``.
    a : (M, 4*H)
        Of i o u f. On return i, o and u stand in the level's rows.
    g : (n, 3*H) or None
        Of i o u; None where no node has children.
    f : (..., H)
        Pre-activations; on return f_k.
    h, c : (M, H)
        The level's rows are filled.
    row : int
        The level's first row.
    """
    n, count = c.shape[1], len(first) - 1
    own = slice(row, row + count)
    u = a[own, : 3 * n] if g is None else a[own, : 3 * n] + g
    i, o, u = sigmoid(u[:, :n]), sigmoid(u[:, n : 2 * n]), np.tanh(u[:, 2 * n :])
    parent = _parents(first)
    f[slot] = sigmoid(a[own, 3 * n :][parent] + f[slot])
    total = i * u
    np.add.at(total, parent, f[slot] * c[child])
    c[own] = total
    h[own] = o * np.tanh(total)
    a[own, : 3 * n] = np.concatenate((i, o, u), axis=1)


def level_backward(
    first: Index, child: Index, slot: Index, a: Array, f: Array, c: Array, dh: Array, dc: Array, row: int
) -> None:
    """Compute the gradients of the level's pre-activations and add to dc of its children.

    Parameters
    ----------
    first, child, slot, row
        As in `level_forward`.
    a, f, c
        What `level_forward` left; on return the gradients of the pre-activations stand in a and f.
    dh, dc : (M, H)
        Complete for the level's rows; dc of their children is added to.
    """
    n, count = c.shape[1], len(first) - 1
    own = slice(row, row + count)
    i, o, u = a[own, :n].copy(), a[own, n : 2 * n].copy(), a[own, 2 * n : 3 * n].copy()
    tanh_c = np.tanh(c[own])
    d = dc[own] + dh[own] * o * (1 - tanh_c * tanh_c)
    parent = _parents(first)
    gate = f[slot]
    f[slot] = d[parent] * c[child] * gate * (1 - gate)
    dc[child] += d[parent] * gate
    a[own, :n] = d * u * i * (1 - i)
    a[own, n : 2 * n] = dh[own] * tanh_c * o * (1 - o)
    a[own, 2 * n : 3 * n] = d * i * (1 - u * u)
    a[own, 3 * n :] = 0
    np.add.at(a[own, 3 * n :], parent, f[slot])


def _parents(first: Index) -> Any:
    """Return for each edge which node of the level it belongs to."""
    return np.repeat(np.arange(len(first) - 1), np.diff(first))
