"""The short way from a recurrent layer to the native backend: one call of it for arguments that need no conversion.

What surrounds the arithmetic of a small call costs more than the arithmetic. So what a version of the parameters
settles is looked up once, and kept where the layer's `__getattr__` does not slow every look at it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from rnnfast.backend import get_backend
from rnnfast.cells import PLAIN, CellSpec
from rnnfast.checks import FloatArray
from rnnfast.engine import Weights, backend
from rnnfast.parameters import Parameters
from rnnfast.scans import ScanSpec


class Direct:
    """How calls of a recurrent layer go, for one version of its parameters.

    Each method returns None where it cannot do a call, which then is for `rnnfast.engine`; nothing has been done.

    Parameters
    ----------
    cell : CellSpec or ScanSpec
    params : Parameters
    version : int
        The version of the parameters that ``weights`` are.
    weights : L lists of D `Weights`
    names : list of dict
        The names of gradients by kind of weight, for each direction of each layer.
    batch_first : bool
        Whether x and y are (N, T, C), not (T, N, C).
    """

    __slots__ = (
        "batch_first",
        "cell",
        "name",
        "names",
        "native",
        "params",
        "saves",
        "single",
        "stack",
        "version",
        "weights",
    )

    def __init__(
        self,
        cell: CellSpec | ScanSpec,
        params: Parameters,
        version: int,
        weights: list[list[Weights]],
        names: list[dict[str, str]],
        batch_first: bool,
    ) -> None:
        self.cell, self.name, self.params, self.version, self.weights = cell, cell.name, params, version, weights
        self.names, self.batch_first = names[0], batch_first
        self.native: tuple[ModuleType, ModuleType] | None = None  # for stacks, and for one layer
        scans = isinstance(cell, ScanSpec)
        one = len(weights[0]) == 1
        self.stack = one and not scans and (cell.options is PLAIN or not cell.options.needed)
        self.single = one and len(weights) == 1 and not (scans and len(cell.states) > 1)  # none with a window
        draws = weights[0][0]["noise"] is not None if scans else cell.options.random
        self.saves = self.single and not draws

    def infer(self, x: Any, state: Any, lengths: Any) -> tuple[Any, Any] | None:
        """Return (y, state) as the layer does; arguments as the user gave them."""
        if get_backend() != "native":
            return None
        stacks, singles = self.native or self._load()
        found: tuple[Any, Any] | None = None
        if lengths is None and self.stack:
            found = stacks.infer(self.name, self.weights, x, state, self.batch_first)
        elif self.single:
            both = singles.forward(self.cell, self.weights[0][0], x, state, lengths, self.batch_first, False)
            found = None if both is None else both[0]
        return found

    def forward(self, x: Any, state: Any, lengths: Any) -> tuple[tuple[Any, Any], Any] | None:
        """Return (y, state) and what `backward`, or `rnnfast.engine.backward`, takes."""
        if not self.saves or get_backend() != "native":
            return None
        _, singles = self.native or self._load()
        found: tuple[tuple[Any, Any], Any] | None
        found = singles.forward(self.cell, self.weights[0][0], x, state, lengths, self.batch_first, True)
        return found

    def backward(self, saved: Any, dy: Any, grads: dict[str, FloatArray]) -> Any:
        """Return dx, having added the gradients of the parameters; arguments as the user gave them to the pullback."""
        _, singles = self.native or self._load()
        return singles.backward(saved, dy, grads, self.names, self.batch_first)

    def _load(self) -> tuple[ModuleType, ModuleType]:
        self.native = backend("native infer"), backend("native single")
        return self.native
