"""Gates and activations: how many are shut, open or of no use."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.checks import FloatArray
from rnnfast.diagnostics.levels import Level

LOW, HIGH = 0.05, 0.95  # a sigmoid outside of these, a tanh beyond HIGH in size, hardly lets a gradient through
_PLAIN = {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"}
_GATES = {"lstm": "ifo", "gru": "rz", "gru_reset_before": "rz"}
_NAMES = {"i": "input", "f": "forget", "o": "output", "r": "reset", "z": "update"}


def saturation(level: Level) -> dict[str, tuple[float, float]]:
    """Return for each gate of the valid steps the shares near 0 and near 1.

    For "h", the output of a tanh network, the share near -1 or 1 stands in both places' sum. Empty for layers whose
    gates are not the plain ones of LSTM, GRU and RNN.
    """
    layer: Any = level.layer
    cell: Any = getattr(layer, "cell", None)
    name = getattr(cell, "name", "")
    valid = np.arange(level.x.shape[1]) < level.lengths[:, None]
    if name == "rnn_tanh":
        h = level.y[valid]
        return {"h": (_share(h < -HIGH), _share(h > HIGH))}
    if name not in _GATES or not set(layer.params) <= _PLAIN:
        return {}
    first = np.zeros_like(level.y[:, :1])
    if level.state is not None:
        given = level.state[0] if isinstance(level.state, tuple) else level.state
        first = np.asarray(given, level.y.dtype).transpose(1, 0, 2)
    before = np.concatenate([first, level.y[:, :-1]], axis=1)[valid]
    x, hidden = level.x[valid], level.y.shape[2]
    found = {}
    for gate in _GATES[name]:
        rows = slice(cell.order.index(gate) * hidden, (cell.order.index(gate) + 1) * hidden)
        u = x @ layer.params["weight_ih_l0"][rows].T + before @ layer.params["weight_hh_l0"][rows].T
        if layer.bias:
            u += layer.params["bias_ih_l0"][rows] + layer.params["bias_hh_l0"][rows]
        edge = np.log(HIGH / LOW)  # the sigmoid is HIGH here and LOW at its negative
        found[_NAMES[gate]] = (_share(u < -edge), _share(u > edge))
    return found


def activity(y: FloatArray, lengths: Any) -> tuple[float, float, float, float, int]:
    """Return mean, standard deviation, largest size and share of zeros of valid outputs, and how many units are dead.

    A unit is dead if it is the same, to rounding, at every step of every sequence.
    """
    if lengths is not None and y.ndim == 3:
        rows = y[np.arange(y.shape[1]) < np.asarray(lengths)[:, None]]
    else:
        rows = y.reshape(-1, y.shape[-1])
    if not rows.size:
        return 0.0, 0.0, 0.0, 0.0, 0
    rows = rows.astype(np.float64)
    spread = rows.max(axis=0) - rows.min(axis=0)
    dead = int((spread <= 1e-6 * np.maximum(1.0, np.abs(rows).max(axis=0))).sum()) if len(rows) > 1 else 0
    return float(rows.mean()), float(rows.std()), float(np.abs(rows).max()), _share(rows == 0), dead


def _share(which: Any) -> float:
    return float(np.mean(which)) if np.size(which) else 0.0
