"""What chance does around a step of any cell: zoneout and variational dropout; and the steps with options.

Zoneout (Krueger et al. 2017, "Zoneout: regularizing RNNs by randomly preserving hidden activations", equations 7 to
10), for each state s with its rate p::

    training      s' = d * s + (1 - d) * step(s)         d: 1 with chance p, for each step, row and unit anew
    inference     s' = p * s + (1 - p) * step(s)

Variational dropout (Gal and Ghahramani 2016, "A theoretically grounded application of dropout in recurrent neural
networks"): the recurrent products see h * d with one d for all steps of a sequence, 0 with chance p, else 1 / (1 - p).

No mask is drawn in turn: that of a unit follows from a seed and its place. Unit u of a row's own step k (the first that
it takes is 0, in either direction) is element ``2**32 * row + k * width + u`` of `ops.keep`.

Shapes: N rows, T steps, C the width of a state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.reference.ops import keep
from rnnfast.reference.rnn import Array, States


class Noise(NamedTuple):
    """The seeds of one direction of one layer for one forward pass, each 0 .. 2**64 - 1.

    Attributes
    ----------
    zoneout_h, zoneout_c : int
        Of zoneout, for each state.
    recurrent : int
        Of variational dropout.
    weight : int
        Of dropout on the recurrent weights, which is the engine's.
    """

    zoneout_h: int
    zoneout_c: int
    recurrent: int
    weight: int


class Steps:
    """The steps of one direction of one layer, by their number in the sweep.

    Parameters
    ----------
    cell : CellSpec
    weights : mapping
        As in `rnnfast.reference.recurrent.direction_forward`.
    state : tuple of (N, C)
        The initial state.
    noise : Noise or None
        None: inference.
    behind : (N,) int
        By how many steps the sweep is ahead of each row's own steps.
    steps : int
        T.
    """

    def __init__(
        self, cell: Any, weights: Mapping[str, Any], state: States, noise: Noise | None, behind: Array, steps: int
    ) -> None:
        self.cell, self.options, self.noise = cell, cell.options, noise
        self.weights = {kind: w for kind, w in weights.items() if w is not None}
        rows = self.weights["w_hh"].shape[0]
        zero = np.zeros(rows, self.weights["w_hh"].dtype)
        missing = {"b_ih": zero, "b_hh": zero, "b_ch": zero[: rows // cell.gates]}
        self.weights = {**missing, **self.weights}
        self.dtype = self.weights["w_hh"].dtype.type
        self.behind = behind
        batch, p = len(state[0]), self.options.recurrent_dropout
        self.dropped = None
        if p and noise is not None:
            width = state[0].shape[1]
            masks = [keep(width, p, noise.recurrent, row << 32) for row in range(batch)]
            self.dropped = np.reshape(masks, (batch, width)) * self.dtype(1 / (1 - p))
        self.kept: list[NDArray[np.bool_] | None] = [None] * len(state)  # (N, T, C): where a state is kept
        if noise is not None:
            for k, p in enumerate(self.options.zoneout):
                shape = (steps, state[k].shape[1])
                drawn = [keep(shape[0] * shape[1], p, noise[k], row << 32) for row in range(batch)]
                self.kept[k] = ~np.reshape(drawn, (batch, *shape)) if p else None
        self.extra: dict[str, Array] = {}

    def shares(self, k: int, state: int) -> Any:
        """Return what part of a state is kept in step k of the sweep: (N, C) of 0 and 1, or the rate."""
        kept = self.kept[state]
        if kept is None:
            return self.dtype(0 if self.noise is not None else self.options.zoneout[state])
        own = np.clip(k - self.behind, 0, None)
        return kept[np.arange(len(kept)), own].astype(self.dtype)

    def forward(self, k: int, a: Array, state: States) -> tuple[States, Any]:
        """Return the state after step k, and what `backward` needs."""
        hr = state[0] if self.dropped is None else state[0] * self.dropped
        new, saved = self.cell.forward_options(self.options, a, state, hr, self.weights)
        if self.options.zoneout:
            shares = [self.shares(k, s) for s in range(len(state))]
            new = tuple(d * old + (1 - d) * s for d, old, s in zip(shares, state, new, strict=True))
        return new, saved

    def backward(self, k: int, dstate: States, saved: Any, live: Array | None) -> tuple[Array, Array, States]:
        """Return da, du and the gradient of the state before step k; gradients of other weights are added up."""
        if live is not None:
            dstate = tuple(np.where(live, d, 0).astype(d.dtype, copy=False) for d in dstate)
        carried: tuple[Any, ...] = (0,) * len(dstate)
        if self.options.zoneout:
            shares = [self.shares(k, s) for s in range(len(dstate))]
            carried = tuple(d * s for d, s in zip(shares, dstate, strict=True))
            dstate = tuple((1 - d) * s for d, s in zip(shares, dstate, strict=True))
        da, du, direct, dhr, extra = self.cell.backward_options(self.options, dstate, saved, self.weights)
        for kind, gradient in extra.items():
            self.extra[kind] = self.extra[kind] + gradient if kind in self.extra else gradient
        if self.dropped is not None:
            dhr = dhr * self.dropped
        direct = (direct[0] + dhr, *direct[1:])
        return da, du, tuple(d + c for d, c in zip(direct, carried, strict=True))
