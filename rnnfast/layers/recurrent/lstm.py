"""Long short-term memory, as a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.cells import CELLS
from rnnfast.layers.recurrent.base import Recurrent, documented


@documented
class LSTM(Recurrent):
    """Long short-term memory; gates i f g o, state (h, c).

    ``c' = sigmoid(f) * c + sigmoid(i) * tanh(g)`` and ``h' = sigmoid(o) * tanh(c')`` where each of i, f, g and o is
    W_ih x + b_ih + W_hh h + b_hh with its own block of rows. Hochreiter and Schmidhuber 1997, Gers, Schmidhuber and
    Cummins 2000; equations and names are those of torch.nn.LSTM.

    Parameters
    ----------
    {sizes}
    {rest}
    init : {"default", "torch"}, default "default"
        "default": Xavier uniform input weights, orthogonal recurrent weights, each gate for itself, and zero biases
        but for the forget gate, whose b_ih is 1. "torch": all uniform within 1 / sqrt(hidden_size) of zero.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.layers.recurrent import LSTM
    >>> y, (h, c) = LSTM(3, 5, num_layers=2, seed=0)(np.zeros((2, 7, 3)), lengths=[7, 4])
    >>> y.shape, h.shape, c.shape
    ((2, 7, 5), (2, 2, 5), (2, 2, 5))
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
    ) -> None:
        cell = CELLS["lstm"]
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed, init
        )
