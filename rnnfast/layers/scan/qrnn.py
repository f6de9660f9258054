"""Quasi-recurrent networks, as a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast import engine
from rnnfast.checks import check_flag, check_number, check_size
from rnnfast.layers.recurrent.base import documented
from rnnfast.layers.scan.base import Scan
from rnnfast.scans import SCANS


@documented
class QRNN(Scan):
    """Quasi-recurrent network; gates z f o from the inputs of the last few steps.

    ``c' = f * c + (1 - f) * z`` and ``h' = o * c'`` with z the tanh and f and o the sigmoids of W_ih x + b_ih, each
    with its own block of rows, x being the inputs of ``window`` steps side by side, oldest first. Bradbury, Merity,
    Xiong and Socher 2016, "Quasi-recurrent neural networks".

    The state is c, and with a window of more than 1 the pair (c, past): ``past`` holds the inputs before the first,
    (layers * directions, N, window - 1, F), oldest first, where F is the most features that a layer reads; a layer
    that reads fewer has zeros there, which mean nothing.

    Parameters
    ----------
    {sizes}
    {rest}
    init : {"default", "torch"}, default "default"
        "default": Xavier uniform input weights and zero biases but for the forget gate, whose bias is 1. "torch": all
        uniform within 1 / sqrt(hidden_size) of zero.
    window : int, default 1
        How many steps the gates see. Keyword only.
    output_gate : bool, default True
        Whether there is o ("fo-pooling"); without, ``h' = c'`` ("f-pooling"). Keyword only.
    zoneout : float, default 0.0
        Chance, 0 or more and less than 1, of a unit to keep its state for a step in ``forward``. Calling the layer
        takes the mean instead: 1 - f is multiplied by 1 - zoneout. Keyword only.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import QRNN
    >>> y, (c, past) = QRNN(3, 5, window=2, seed=0)(np.zeros((2, 7, 3)))
    >>> y.shape, c.shape, past.shape
    ((2, 7, 5), (1, 2, 5), (1, 2, 1, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
        init: str = "default",
        window: int = 1,
        output_gate: bool = True,
        zoneout: float = 0.0,
    ) -> None:
        self.window = check_size("window", window)
        self.output_gate = check_flag("output_gate", output_gate)
        self.zoneout = check_number("zoneout", zoneout, 0.0, 1.0, below=True)
        cell = SCANS["qrnn" if output_gate else "qrnn_forget"]
        if self.window > 1:
            cell = cell._replace(states=("c", "past"))
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed, init
        )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {**super().config(), "window": self.window, "output_gate": self.output_gate, "zoneout": self.zoneout}

    def _columns(self, k: int) -> int:
        return self.window * self._inputs(k)

    def _state_shapes(self, batch: int) -> list[tuple[int, ...]]:
        rows = len(self._names)
        shapes: list[tuple[int, ...]] = [(rows, batch, self.hidden_size)]
        if self.window > 1:
            shapes.append((rows, batch, self.window - 1, max(map(self._inputs, range(rows)))))
        return shapes

    def _noise(self) -> tuple[float, int] | None:
        return (self.zoneout, 0) if self.zoneout else None

    def _drawn(self, rng: np.random.Generator | None) -> list[list[engine.Weights]]:
        kept = self._packed()
        if not self.zoneout:
            return kept
        rng = np.random.default_rng() if rng is None else rng
        return [[self._with_noise(own, int(rng.integers(2**64, dtype=np.uint64))) for own in pair] for pair in kept]

    def _with_noise(self, own: engine.Weights, seed: int) -> engine.Weights:
        """Return the weights with a seed for one forward pass, their packed copies shared."""
        found = engine.Weights(**own)
        found["noise"] = (self.zoneout, seed)
        found.cache = own.cache
        return found
