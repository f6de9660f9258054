"""The table of cells whose recurrence is elementwise: what the sweeps, the layers and the tests need to know of one.

A new cell is one file in ``csrc/scans/``, one of step functions in ``reference/`` and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from rnnfast.cells import PLAIN, Options
from rnnfast.reference import indrnn, mingru, minlstm, qrnn, sru


class ScanSpec(NamedTuple):
    """One cell.

    Attributes
    ----------
    name : str
        Key in `SCANS` and name of the native cell.
    gates : int
        G: the rows of the input weights are G blocks of H.
    order : str
        The blocks by letter.
    states : tuple of str
        Names of the states; the first is the one that the recurrence carries.
    biased : tuple of int
        The blocks that have a bias, in its order.
    vectors : int
        V: weights that multiply the state, unit by unit, are V blocks of H.
    highway : bool
        Whether the input is read past the product as well, which then has H features.
    nonlinearity : str or None
        The function, for cells that offer a choice.
    forget : str or None
        The gate whose bias starts at 1, so that a new network remembers.
    activations : int
        How many sigmoids and tanhs a step of a unit has.
    forward, backward : callable
        The reference steps: see ``reference/sru.py`` for arguments and shapes.
    scale : float
        A constant of the cell; 1 unless it says otherwise.
    options : Options
        None: these cells have no options of that kind.
    """

    name: str
    gates: int
    order: str
    states: tuple[str, ...]
    biased: tuple[int, ...]
    vectors: int
    highway: bool
    nonlinearity: str | None
    forget: str | None
    activations: int
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    scale: float = 1.0
    options: Options = PLAIN

    def width(self, hidden: int) -> int:
        """Return the width of the output."""
        return hidden


def _sru(name: str, projected: bool) -> ScanSpec:
    order, steps = "xfrs" if projected else "xfr", (partial(sru.forward, projected), partial(sru.backward, projected))
    return ScanSpec(name, len(order), order, ("c",), (1, 2), 2, not projected, None, None, 2, *steps)


def _qrnn(name: str, order: str) -> ScanSpec:
    gates, steps = len(order), (qrnn.forward, qrnn.backward)
    return ScanSpec(name, gates, order, ("c",), tuple(range(gates)), 0, False, None, "f", gates, *steps)


def _mingru(f: str) -> ScanSpec:
    steps = partial(mingru.forward, f), partial(mingru.backward, f)
    return ScanSpec(f"mingru_{f}", 2, "zn", ("h",), (0, 1), 0, False, f, None, 1 + (f != "identity"), *steps)


def _minlstm(f: str) -> ScanSpec:
    steps = partial(minlstm.forward, f), partial(minlstm.backward, f)
    return ScanSpec(f"minlstm_{f}", 3, "fin", ("h",), (0, 1, 2), 0, False, f, "f", 2 + (f != "identity"), *steps)


def _indrnn(f: str) -> ScanSpec:
    steps = partial(indrnn.forward, f), partial(indrnn.backward, f)
    return ScanSpec(f"indrnn_{f}", 1, "h", ("h",), (0,), 1, False, f, None, int(f == "tanh"), *steps)


SCANS = {
    cell.name: cell
    for cell in (
        _sru("sru", False),
        _sru("sru_projected", True),
        _qrnn("qrnn", "zfo"),
        _qrnn("qrnn_forget", "zf"),
        _mingru("positive"),
        _mingru("identity"),
        _mingru("tanh"),
        _minlstm("positive"),
        _minlstm("identity"),
        _minlstm("tanh"),
        _indrnn("relu"),
        _indrnn("tanh"),
    )
}
