"""Minimal long short-term memory, as a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.checks import check_choice
from rnnfast.layers.recurrent.base import documented
from rnnfast.layers.scan.base import Scan
from rnnfast.scans import SCANS


@documented
class MinLSTM(Scan):
    """Minimal long short-term memory; gates f i n, whose values depend on the input alone.

    ``h' = (f * h + i * n) / (f + i)`` with f and i sigmoids and n a function g of W_ih x + b_ih, each its own block of
    rows. Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024, "Were RNNs all we needed?", in its sequential form, the
    gates made to sum to 1. The state is h.

    Parameters
    ----------
    {sizes}
    {rest}
    init : {"default", "torch"}, default "default"
        "default": Xavier uniform input weights and zero biases but for the forget gate, whose bias is 1. "torch": all
        uniform within 1 / sqrt(hidden_size) of zero.
    activation : {"positive", "identity", "tanh"}, default "positive"
        g. "positive" is that of the paper's appendix B: a + 1/2 where a is 0 or more, else sigmoid(a). Keyword only.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import MinLSTM
    >>> y, h = MinLSTM(3, 5, num_layers=2, seed=0)(np.zeros((2, 7, 3)), lengths=[7, 4])
    >>> y.shape, h.shape
    ((2, 7, 5), (2, 2, 5))
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
        cell = SCANS[f"minlstm_{check_choice('activation', activation, ('positive', 'identity', 'tanh'))}"]
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed, init
        )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {**super().config(), "activation": self.cell.nonlinearity}
