"""Minimal gated recurrent units, as a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.checks import check_choice
from rnnfast.layers.recurrent.base import documented
from rnnfast.layers.scan.base import Scan
from rnnfast.scans import SCANS


@documented
class MinGRU(Scan):
    """Minimal gated recurrent units; gates z n, whose values depend on the input alone.

    ``h' = (1 - z) * h + z * n`` with z the sigmoid and n a function f of W_ih x + b_ih, each its own block of rows.
    Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024, "Were RNNs all we needed?", in its sequential form. The state is
    h.

    Parameters
    ----------
    {sizes}
    {rest}
    init : {"default", "torch"}, default "default"
        "default": Xavier uniform input weights and zero biases. "torch": all uniform within 1 / sqrt(hidden_size) of
        zero.
    activation : {"positive", "identity", "tanh"}, default "positive"
        f. "positive" is g of the paper's appendix B: a + 1/2 where a is 0 or more, else sigmoid(a). Keyword only.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import MinGRU
    >>> y, h = MinGRU(3, 5, seed=0)(np.zeros((2, 7, 3)))
    >>> y.shape, h.shape
    ((2, 7, 5), (1, 2, 5))
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
        activation: str = "positive",
    ) -> None:
        cell = SCANS[f"mingru_{check_choice('activation', activation, ('positive', 'identity', 'tanh'))}"]
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed, init
        )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {**super().config(), "activation": self.cell.nonlinearity}
