"""The table of cells: everything the loops, the layers and the tests need to know of a cell.

A new cell is one file of step functions in ``reference/`` and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from rnnfast.reference import gru, gru_options, lstm, lstm_options, rnn


class Options(NamedTuple):
    """What may be added to a cell; every combination runs.

    Attributes
    ----------
    peephole : bool
        Whether gates see a state unit by unit as well.
    layer_norm : bool
        Whether both products, and a cell state on its way out, are normalised.
    cell_clip : float
        Bound of the cell state; 0: none.
    proj_size : int
        P, the width of h where a product makes it from H units; 0: there is none.
    zoneout : tuple of float
        For each state the chance of a unit to keep its value; empty: none.
    recurrent_dropout : float
        Chance of a unit of h to be dropped from all recurrent products of a sequence.
    weight_drop : float
        Chance of a recurrent weight to be dropped for one forward pass.
    """

    peephole: bool = False
    layer_norm: bool = False
    cell_clip: float = 0.0
    proj_size: int = 0
    zoneout: tuple[float, ...] = ()
    recurrent_dropout: float = 0.0
    weight_drop: float = 0.0

    @property
    def random(self) -> bool:
        """Return whether training draws random numbers."""
        return any(self.zoneout) or self.recurrent_dropout > 0 or self.weight_drop > 0

    @property
    def needed(self) -> bool:
        """Return whether a step is another than that of the plain cell (weight_drop changes the weights instead)."""
        return self._replace(weight_drop=0.0) != PLAIN


PLAIN = Options()


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
    memory : tuple of (str, int)
        The gates whose biases decide how long the cell remembers, and whether it is longer the higher (1) or the lower
        (-1) they are.
    forward, backward : callable or None
        The reference steps: see ``reference/lstm.py`` for arguments and shapes. None where only the next pair is.
    forward_options, backward_options : callable or None
        The same with options: see ``reference/lstm_options.py``. None: the cell has none.
    peepholes : str
        The gates that may have peepholes.
    options : Options
        Those in force; in the table, none.
    """

    name: str
    gates: int
    order: str
    states: tuple[str, ...]
    products: tuple[int, ...]
    nonlinearity: str | None
    forget: str | None
    memory: tuple[tuple[str, int], ...]
    forward: Callable[..., Any] | None
    backward: Callable[..., Any] | None
    forward_options: Callable[..., Any] | None = None
    backward_options: Callable[..., Any] | None = None
    peepholes: str = ""
    options: Options = PLAIN

    def __reduce__(self) -> tuple[Callable[..., CellSpec], tuple[str, Options]]:
        return find, (self.name, self.options)

    @property
    def kernel(self) -> str:
        """Return the name of the native cell."""
        more = self.options
        if more.layer_norm:
            return f"{self.name}_norm"
        # the plain kernels know nothing of these, and compute nothing again that zoneout has overwritten
        needed = more.peephole or more.cell_clip or any(more.zoneout[1:])
        return f"{self.name}_options" if needed and self.forward is not None else self.name

    def width(self, hidden: int) -> int:
        """Return the width of h."""
        return self.options.proj_size or hidden

    def shapes(self, inputs: int, hidden: int, bias: bool) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights of one direction of one layer, in the order of its parameters."""
        rows, width, more = self.gates * hidden, self.width(hidden), self.options
        found: dict[str, tuple[int, ...]] = {"w_ih": (rows, inputs), "w_hh": (rows, width)}
        if bias:
            found |= {"b_ih": (rows,), "b_hh": (rows,)}
        if more.proj_size:
            found["w_hr"] = (width, hidden)
        if more.peephole:
            found["w_peephole"] = (len(self.peepholes) * hidden,)
        if more.layer_norm:
            found |= {"gain_ih": (rows,), "gain_hh": (rows,)}
            if len(self.states) > 1:
                found["gain_ch"] = (hidden,)
                if bias:
                    found["b_ch"] = (hidden,)
        return found


def _elman(f: str) -> CellSpec:
    return CellSpec(f"rnn_{f}", 1, "h", ("h",), (1,), f, None, (), partial(rnn.forward, f), partial(rnn.backward, f))


def _lstm(name: str, order: str, forward: Any, backward: Any) -> CellSpec:
    return CellSpec(
        name,
        len(order),
        order,
        ("h", "c"),
        (len(order),),
        None,
        "f",
        (("f", 1), ("i", -1))[: len(order) - 2],
        forward,
        backward,
        partial(lstm_options.forward, order),
        partial(lstm_options.backward, order),
        order.replace("g", ""),
    )


def _gru(name: str, order: str, after: bool, forward: Any, backward: Any) -> CellSpec:
    return CellSpec(
        name,
        len(order),
        order,
        ("h",),
        (len(order),) if after else (len(order) - 1, 1),
        None,
        None,
        (("f", -1) if order == "fn" else ("z", 1),),
        forward,
        backward,
        partial(gru_options.forward, order, after),
        partial(gru_options.backward, order, after),
        order[:-1],
    )


CELLS = {
    cell.name: cell
    for cell in (
        _elman("tanh"),
        _elman("relu"),
        _elman("sigmoid"),
        _lstm("lstm", "ifgo", lstm.forward, lstm.backward),
        _lstm("lstm_coupled", "fgo", None, None),
        _gru("gru", "rzn", True, gru.forward_after, gru.backward_after),
        _gru("gru_reset_before", "rzn", False, gru.forward_before, gru.backward_before),
        _gru("mgu", "fn", False, None, None),
        _gru("mgu_reset_after", "fn", True, None, None),
    )
}


def find(name: str, options: Options = PLAIN) -> CellSpec:
    """Return the cell of that name with those options; ``KeyError`` if there is none."""
    cell = CELLS[name]
    return cell if options == PLAIN else cell._replace(options=options)
