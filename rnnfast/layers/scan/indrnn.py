"""Independently recurrent networks, as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnfast.checks import FloatArray, check_choice, check_number
from rnnfast.initializers import uniform
from rnnfast.layers.recurrent.base import documented
from rnnfast.layers.scan.base import Scan
from rnnfast.scans import SCANS, ScanSpec


@documented
class IndRNN(Scan):
    """Independently recurrent network: ``h' = f(W_ih x + b_ih + u * h)``.

    A unit sees of the past its own state alone, through a weight of its own, u = ``weight_hh_l0`` (hidden_size,); units
    meet in the next layer. Li, Li, Cook, Zhu and Gao 2018, "Independently recurrent neural network (IndRNN): building a
    longer and deeper RNN". The state is h.

    Parameters
    ----------
    {sizes}
    {rest}
    init : {"default", "torch"}, default "default"
        "default": Xavier uniform input weights, zero biases, and u as ``recurrent_bounds`` says. "torch": all uniform
        within 1 / sqrt(hidden_size) of zero.
    nonlinearity : {"relu", "tanh"}, default "relu"
        f. Keyword only.
    recurrent_bounds : pair of float, default (0.0, 1.0)
        The least and the largest u to begin with. What a relu unit holds is multiplied by u at each of T steps: bounds
        near 1, as `rnnfast.initializers.recurrent_bounds` returns them, keep it for T steps (section 3.1 of the paper).
        Keyword only.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import IndRNN
    >>> layer = IndRNN(3, 5, recurrent_bounds=(0.9, 1.0), seed=0)
    >>> y, h = layer(np.zeros((2, 7, 3)))
    >>> y.shape, h.shape, bool((layer.weight_hh_l0 >= 0.9).all())
    ((2, 7, 5), (1, 2, 5), True)
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
        nonlinearity: str = "relu",
        recurrent_bounds: Sequence[float] = (0.0, 1.0),
    ) -> None:
        cell = SCANS[f"indrnn_{check_choice('nonlinearity', nonlinearity, ('relu', 'tanh'))}"]
        if not isinstance(recurrent_bounds, (tuple, list)) or len(recurrent_bounds) != 2:
            raise TypeError(f"recurrent_bounds must be a pair of numbers; got {recurrent_bounds!r}")
        low = check_number("recurrent_bounds[0]", recurrent_bounds[0])
        self.recurrent_bounds = (low, check_number("recurrent_bounds[1]", recurrent_bounds[1], low))
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed, init
        )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {
            **super().config(),
            "nonlinearity": self.cell.nonlinearity,
            "recurrent_bounds": list(self.recurrent_bounds),
        }

    def _start(self, kind: str, shape: tuple[int, ...], cell: ScanSpec, rng: np.random.Generator) -> FloatArray:
        if kind == "w_c" and self.init == "default":
            return uniform(shape, rng, self.dtype, *self.recurrent_bounds)
        return super()._start(kind, shape, cell, rng)
