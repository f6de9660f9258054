"""The time loop: one direction of one layer over a whole batch, forward and backward.

Memory is time-major inside: all rows of a step lie together. The products that do not depend on the previous step are
taken out of the loop: one for the inputs of all steps before it, one for each weight gradient after it. With
``lengths`` those products take the valid steps only, so that what lies beyond a row's length is never read.

Shapes: N rows, T steps, I inputs, H hidden units, P features of h (H but for projections), G gates, R = N*T rows over
all steps (valid ones with lengths).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.reference.options import Noise, Steps

Array = NDArray[Any]
States = tuple[Array, ...]


class Saved:
    """What the forward pass of one direction leaves for its backward pass."""

    __slots__ = ("cell", "indices", "reverse", "rows", "shape", "stepper", "steps", "valid", "weights")

    def __init__(
        self,
        cell: Any,
        weights: Mapping[str, Any],
        shape: tuple[int, int, int],
        reverse: bool,
        rows: Array,
        indices: Array | None,
        valid: Array | None,
        stepper: Steps | None,
        steps: list[Any],
    ) -> None:
        self.cell = cell
        self.weights = weights
        self.shape = shape  # N, T, I
        self.reverse = reverse
        self.rows = rows  # (R, I) inputs, time-major
        self.indices = indices  # (R,) where they stand in the table they come from, or None
        self.valid = valid  # (T, N) bool, or None where all steps are
        self.stepper = stepper  # None for plain cells
        self.steps = steps  # what the cell saved, in the order of the sweep


def direction_forward(
    cell: Any,
    x: Array | tuple[Array, Array],
    weights: Mapping[str, Any],
    state: States,
    lengths: NDArray[np.int64] | None,
    reverse: bool,
    out: Array,
    save: bool,
    noise: Noise | None = None,
) -> tuple[States, Saved | None]:
    """Run one direction of one layer.

    Parameters
    ----------
    cell : CellSpec
    x : (N, T, I), or a pair of a table (V, I) and indices (N, T)
        Any strides. Steps past a row's length are not read. A pair stands for ``table[indices]``.
    weights : mapping
        w_ih (G*H, I), w_hh (G*H, P), b_ih and b_hh (G*H,) or both None, and what the cell's options ask for.
    state : tuple of (N, P) and, where there are more, (N, H)
        The initial state, one array for each of the cell's states.
    lengths : (N,) int64 or None
        Valid steps of each row; None: all.
    reverse : bool
        Run each row from its own last valid step to its first.
    out : (N, T, P)
        Any strides. Filled with h, and with zeros past a row's length.
    save : bool
        Whether a backward pass will follow.
    noise : Noise or None
        What the cell's random options draw from in training; None: inference.

    Returns
    -------
    final state, tuple of new arrays, and what `direction_backward` needs (None unless ``save``)
    """
    indices = None
    if isinstance(x, tuple):
        table, indices = x
        x = table[indices]
    batch, steps, inputs = x.shape
    w_ih, w_hh, b_ih, b_hh = weights["w_ih"], weights["w_hh"], weights["b_ih"], weights["b_hh"]
    if b_hh is None:
        b_hh = np.zeros(w_hh.shape[0], w_hh.dtype)
    valid = None if lengths is None else np.arange(steps)[:, None] < lengths
    rows = _rows(x.transpose(1, 0, 2), valid)
    where = None if indices is None else _rows(indices.T[:, :, None], valid)[:, 0]
    a_rows = rows @ w_ih.T
    if b_ih is not None and not cell.options.layer_norm:  # else it comes after the normalisation
        a_rows += b_ih
    a = _unrows(a_rows, valid, (steps, batch))
    state = tuple(s.copy() for s in state)
    kept = []
    stepper = None
    if cell.forward is None or cell.options.needed:
        behind = np.zeros(batch, np.int64) if lengths is None or not reverse else steps - lengths
        stepper = Steps(cell, weights, state, noise, behind, steps)
    for k, t in enumerate(reversed(range(steps)) if reverse else range(steps)):
        if stepper is None:
            new, saved = cell.forward(a[t], state, w_hh, b_hh)
        else:
            new, saved = stepper.forward(k, a[t], state)
        if valid is None:
            out[:, t] = new[0]
        else:
            live = valid[t][:, None]
            out[:, t] = np.where(live, new[0], 0)
            new = tuple(np.where(live, s, old) for s, old in zip(new, state, strict=True))
        state = new
        if save:
            kept.append(saved)
    shape = batch, steps, inputs
    return state, Saved(cell, weights, shape, reverse, rows, where, valid, stepper, kept) if save else None


def direction_backward(
    saved: Saved, dy: Array | None, dstate: tuple[Array | None, ...], dx: Array | None, grads: dict[str, Array]
) -> States:
    """Gradients of `direction_forward`: backpropagation through all steps.

    Parameters
    ----------
    saved : Saved
        What the forward pass returned.
    dy : (N, T, P) or None
        Gradient of the output, any strides; None means zero. Values past a row's length are not used.
    dstate : tuple of arrays like the state, or None
        Gradient of the final state; None means zero.
    dx : (N, T, I), (V, I) or None
        Any strides. Filled with the gradient of x, zeros past a row's length; None: not wanted. Where x was a pair,
        the gradient of its table, added into what is there.
    grads : dict
        w_ih, w_hh and all other weights that are not None: the gradients are added into these arrays, and those that
        are missing made.

    Returns
    -------
    gradient of the initial state, a tuple of arrays
    """
    cell, weights, valid = saved.cell, saved.weights, saved.valid
    w_ih, w_hh = weights["w_ih"], weights["w_hh"]
    batch, steps, _ = saved.shape
    hidden = w_hh.shape[0] // cell.gates
    stepper = saved.stepper
    make_missing(grads, weights)
    da = np.empty((steps, batch, w_hh.shape[0]), w_hh.dtype)  # of the inputs to the gates
    du = np.empty_like(da)  # of the recurrent products
    widths = [w_hh.shape[1], hidden]
    dcarry: States = tuple(
        np.zeros((batch, n), w_hh.dtype) if d is None else d.copy() for n, d in zip(widths, dstate, strict=False)
    )
    for k, t in enumerate(range(steps) if saved.reverse else reversed(range(steps))):
        kept = saved.steps[steps - 1 - k]
        dnew = dcarry if dy is None else (dcarry[0] + dy[:, t], *dcarry[1:])
        live = None if valid is None else valid[t][:, None]
        if stepper is None:
            da[t], du[t], dold = cell.backward(dnew, kept, w_hh)
        else:
            da[t], du[t], dold = stepper.backward(steps - 1 - k, dnew, kept, live)
        if live is not None:
            dold = tuple(np.where(live, d, through) for d, through in zip(dold, dcarry, strict=True))
        dcarry = dold

    order = saved.steps[::-1] if saved.reverse else saved.steps
    da_rows, du_rows = _rows(da, valid), _rows(du, valid)
    grads["w_ih"][...] += da_rows.T @ saved.rows
    if steps:
        first = 0
        for k, gates in enumerate(cell.products):
            block = slice(first, first + gates * hidden)
            operand = _rows(np.stack([kept[k] for kept in order]), valid)
            grads["w_hh"][block] += du_rows[:, block].T @ operand
            first = block.stop
    for kind, gradient in (stepper.extra if stepper else {}).items():
        if weights.get(kind) is not None:
            grads[kind][...] += gradient
    if weights["b_ih"] is not None and not cell.options.layer_norm:
        grads["b_ih"][...] += da_rows.sum(0)
        grads["b_hh"][...] += du_rows.sum(0)
    if dx is not None and saved.indices is not None:
        np.add.at(dx, saved.indices, da_rows @ w_ih)
    elif dx is not None:
        dx[...] = _unrows(da_rows @ w_ih, valid, (steps, batch)).transpose(1, 0, 2)
    return dcarry


def make_missing(grads: dict[str, Array], weights: Mapping[str, Any]) -> None:
    """Put zeros where a weight has no gradient yet."""
    for kind, weight in weights.items():
        if isinstance(weight, np.ndarray) and kind not in grads:
            grads[kind] = np.zeros_like(weight, order="C")


def _rows(x: Array, valid: Array | None) -> Array:
    """Return the (valid) steps of x (T, N, C) as rows (R, C)."""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2]) if valid is None else x[valid]


def _unrows(rows: Array, valid: Array | None, shape: tuple[int, int]) -> Array:
    """Return rows (R, C) in their places in (T, N, C), zeros elsewhere."""
    if valid is None:
        return rows.reshape(*shape, rows.shape[1])
    full = np.zeros((*shape, rows.shape[1]), rows.dtype)
    full[valid] = rows
    return full
