"""The time loop of elementwise recurrences: one direction of one layer over a whole batch, forward and backward.

As in `rnnfast.reference.recurrent`, but that no product depends on the previous step.

Shapes: N rows, T steps, I inputs, H hidden units, G gates, V vectors of weights, K steps in a window, R = N*T rows over
all steps (valid ones with lengths).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.reference.ops import keep
from rnnfast.reference.recurrent import _rows, _unrows, make_missing
from rnnfast.window import fold, unfold

Array = NDArray[Any]
States = tuple[Array, ...]


class Saved(NamedTuple):
    """What the forward pass of one direction leaves for its backward pass."""

    weights: Mapping[str, Any]
    shape: tuple[int, int, int]  # N, T, I
    reverse: bool
    rows: Array  # (R, K*I) what the input product read, time-major
    indices: Array | None  # (R,) where its rows stand in the table they come from, or None
    lengths: NDArray[np.int64] | None
    valid: Array | None  # (T, N) bool, or None where all steps are
    steps: list[Any]  # what the cell saved, in the order of the sweep
    past: tuple[int, ...] | None  # shape of the inputs before the first, or None


def direction_forward(
    cell: Any,
    x: Array | tuple[Array, Array],
    weights: Mapping[str, Any],
    state: States,
    lengths: NDArray[np.int64] | None,
    reverse: bool,
    out: Array,
    save: bool,
) -> tuple[States, Saved | None]:
    """Run one direction of one layer.

    Parameters
    ----------
    cell : ScanSpec
        Not used: ``weights["cell"]`` is the one of this layer.
    x : (N, T, I), or a pair of a table (V, I) and indices (N, T)
        Any strides. Steps past a row's length are not read. A pair stands for ``table[indices]``.
    weights : mapping
        cell, w_ih (G*H, K*I), w_c (V*H,) or None, b_ih (one block of H for each of the cell's ``biased``) or None,
        and noise: None, or zoneout's chance and a seed.
    state : (c,) or (c, past), c (N, H), past (N, K-1, I or more)
        The state and, with a window, the inputs before the first.
    lengths : (N,) int64 or None
        Valid steps of each row; None: all.
    reverse : bool
        Run each row from its own last valid step to its first.
    out : (N, T, H)
        Any strides. Filled with h, and with zeros past a row's length.
    save : bool
        Whether a backward pass will follow.

    Returns
    -------
    final state, tuple of new arrays, and what `direction_backward` needs (None unless ``save``)
    """
    cell, w_ih, noise = weights["cell"], weights["w_ih"], weights["noise"]
    table = None
    if isinstance(x, tuple):
        table = x
        x = table[0][table[1]]
    shape = batch, steps, _ = x.shape
    more: States = ()
    if len(state) > 1:
        x, last = unfold(x, state[1], lengths, reverse)
        more = (last,)
    c = state[0].copy()
    hidden = c.shape[1]
    valid = None if lengths is None else np.arange(steps)[:, None] < lengths
    rows = _rows(x.transpose(1, 0, 2), valid)
    a_rows = rows @ w_ih.T
    if weights["b_ih"] is not None:
        for gate, bias in zip(cell.biased, weights["b_ih"].reshape(-1, hidden), strict=True):
            a_rows[:, gate * hidden : (gate + 1) * hidden] += bias
    a = _unrows(a_rows, valid, (steps, batch))
    scale = cell.scale
    if noise is not None and save:
        kept = keep(batch * steps * hidden, *noise).reshape(batch, steps, hidden).transpose(1, 0, 2)
        a[:, :, hidden : 2 * hidden][~kept] = np.inf
    elif noise is not None:
        scale = 1 - noise[0]
    v = _vectors(weights["w_c"], hidden, c.dtype)
    saved = []
    for t in reversed(range(steps)) if reverse else range(steps):
        h, new, kept_step = cell.forward(a[t], c, x[:, t], v, scale)
        if valid is None:
            out[:, t] = h
        else:
            live = valid[t][:, None]
            out[:, t] = np.where(live, h, 0)
            new = np.where(live, new, c)
        c = new
        if save:
            saved.append(kept_step)
    final = (c, *more)
    if not save:
        return final, None
    where = None if table is None else _rows(table[1].T[:, :, None], valid)[:, 0]
    past = state[1].shape if more else None
    return final, Saved(weights, shape, reverse, rows, where, lengths, valid, saved, past)


def direction_backward(
    saved: Saved, dy: Array | None, dstate: tuple[Array | None, ...], dx: Array | None, grads: dict[str, Array]
) -> States:
    """Gradients of `direction_forward`: backpropagation through all steps.

    Parameters
    ----------
    saved : Saved
        What the forward pass returned.
    dy : (N, T, H) or None
        Gradient of the output, any strides; None means zero. Values past a row's length are not used.
    dstate : tuple of arrays as the state, or None
        Gradient of the final state; None means zero.
    dx : (N, T, I), (V, I) or None
        Any strides. Filled with the gradient of x, zeros past a row's length; None: not wanted. Where x was a pair,
        the gradient of its table, added into what is there.
    grads : dict
        w_ih, w_c and b_ih, where there are such: the gradients are added into these arrays, and those that are missing
        made.

    Returns
    -------
    gradient of the initial state, as the state
    """
    weights, valid, past = saved.weights, saved.valid, saved.past
    cell, w_ih = weights["cell"], weights["w_ih"]
    make_missing(grads, weights)
    batch, steps, _ = saved.shape
    hidden = w_ih.shape[0] // cell.gates
    v = _vectors(weights["w_c"], hidden, w_ih.dtype)
    dv = np.zeros_like(v)
    da = np.zeros((steps, batch, w_ih.shape[0]), w_ih.dtype)
    dhighway = np.zeros((steps, batch, hidden), w_ih.dtype) if cell.highway else None
    dc = np.zeros((batch, hidden), w_ih.dtype) if dstate[0] is None else dstate[0].copy()
    for kept, t in zip(reversed(saved.steps), range(steps) if saved.reverse else reversed(range(steps)), strict=True):
        dh = np.zeros_like(dc) if dy is None else dy[:, t]
        da[t], before, direct, each = cell.backward(dh, dc, kept, v, cell.scale)
        if valid is not None:
            live = valid[t][:, None]
            before = np.where(live, before, dc)
            each = np.where(live, each, 0)
            direct = None if direct is None else np.where(live, direct, 0)
        dc = before
        dv += each.sum(axis=1)
        if dhighway is not None:
            dhighway[t] = direct
    da_rows = _rows(da, valid)
    grads["w_ih"][...] += da_rows.T @ saved.rows
    if weights["w_c"] is not None:
        grads["w_c"][...] += dv.reshape(-1)
    if weights["b_ih"] is not None:
        grads["b_ih"][...] += da_rows.sum(0).reshape(cell.gates, hidden)[list(cell.biased)].reshape(-1)
    dfull = _unrows(da_rows @ w_ih, valid, (steps, batch))
    if dhighway is not None:
        dfull = dfull + dhighway
    dfull = dfull.transpose(1, 0, 2)
    more: States = ()
    if past is not None:
        dfull, before = fold(dfull, saved.shape, past, dstate[1], saved.lengths, saved.reverse)
        more = (before,)
    if dx is not None and saved.indices is not None:
        np.add.at(dx, saved.indices, _rows(dfull.transpose(1, 0, 2), valid))
    elif dx is not None:
        dx[...] = dfull
    return (dc, *more)


def _vectors(w_c: Array | None, hidden: int, dtype: np.dtype[Any]) -> Array:
    """Return the weights of the state as (V, H)."""
    return np.empty((0, hidden), dtype) if w_c is None else w_c.reshape(-1, hidden)
