"""The table of cells: everything the loops, the layers and the tests need to know of a cell.

A new cell is one file of step functions in ``reference/`` and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from rnnfast.reference import gru, lstm, rnn


class CellSpec(NamedTuple):
    """One cell.

    Attributes
    ----------
    name : str
        Key in `CELLS`.
    gates : int
        G: the rows of a weight matrix are G blocks of H.
    order : str
        The blocks by letter, in torch's order.
    states : tuple of str
        Names of the states; the first is the output.
    products : tuple of int
        How many gates each recurrent product serves. The first product multiplies the previous h; what the k-th
        one multiplies is entry k of what ``forward`` saves.
    nonlinearity : str or None
        The function, for cells that offer a choice.
    forget : str or None
        The gate whose bias b_ih starts at 1, so that a new network remembers.
    forward, backward : callable
        The reference steps: see ``reference/lstm.py`` for arguments and shapes.
    """

    name: str
    gates: int
    order: str
    states: tuple[str, ...]
    products: tuple[int, ...]
    nonlinearity: str | None
    forget: str | None
    forward: Callable[..., Any]
    backward: Callable[..., Any]

    def __reduce__(self) -> tuple[Callable[[str], CellSpec], tuple[str]]:
        return find, (self.name,)


def _elman(f: str) -> CellSpec:
    return CellSpec(f"rnn_{f}", 1, "h", ("h",), (1,), f, None, partial(rnn.forward, f), partial(rnn.backward, f))


CELLS = {
    cell.name: cell
    for cell in (
        _elman("tanh"),
        _elman("relu"),
        _elman("sigmoid"),
        CellSpec("lstm", 4, "ifgo", ("h", "c"), (4,), None, "f", lstm.forward, lstm.backward),
        CellSpec("gru", 3, "rzn", ("h",), (3,), None, None, gru.forward_after, gru.backward_after),
        CellSpec("gru_reset_before", 3, "rzn", ("h",), (2, 1), None, None, gru.forward_before, gru.backward_before),
    )
}


def find(name: str) -> CellSpec:
    """Return the cell of that name; ``KeyError`` if there is none."""
    return CELLS[name]
