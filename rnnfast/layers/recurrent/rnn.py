"""The Elman network, as a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.cells import CELLS
from rnnfast.checks import check_choice
from rnnfast.layers.recurrent.base import Recurrent, documented


@documented
class RNN(Recurrent):
    """Elman network: h' = f(W_ih x + b_ih + W_hh h + b_hh).

    Elman 1990, "Finding structure in time"; equations and names are those of torch.nn.RNN.

    Parameters
    ----------
    {sizes}
    nonlinearity : {"tanh", "relu", "sigmoid"}, default "tanh"
        f.
    {rest}
    init : {"default", "torch"}, default "default"
        "default": Xavier uniform input weights, orthogonal recurrent weights and zero biases. "torch": all uniform
        within 1 / sqrt(hidden_size) of zero.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.layers.recurrent import RNN
    >>> y, h = RNN(3, 5, seed=0)(np.zeros((2, 7, 3)))
    >>> y.shape, h.shape
    ((2, 7, 5), (1, 2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
        init: str = "default",
    ) -> None:
        check_choice("nonlinearity", nonlinearity, ("tanh", "relu", "sigmoid"))
        cell = CELLS[f"rnn_{nonlinearity}"]
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed, init
        )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {**super().config(), "nonlinearity": self.cell.nonlinearity}
