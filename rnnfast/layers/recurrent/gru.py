"""Gated recurrent units, as a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.cells import CELLS
from rnnfast.checks import check_flag
from rnnfast.layers.recurrent.base import Recurrent, documented


@documented
class GRU(Recurrent):
    """Gated recurrent units; gates r z n.

    ``h' = (1 - z) * n + z * h`` with r and z sigmoids of W_ih x + b_ih + W_hh h + b_hh and n the tanh of
    ``W_in x + b_in + r * (W_hn h + b_hn)`` (reset after the product, as torch.nn.GRU) or
    ``W_in x + b_in + W_hn (r * h) + b_hn`` (reset before it, Cho et al. 2014, "Learning phrase representations using
    RNN encoder-decoder").

    Parameters
    ----------
    {sizes}
    {rest}
    init : {"default", "torch"}, default "default"
        "default": Xavier uniform input weights, orthogonal recurrent weights, each gate for itself, and zero biases.
        "torch": all uniform within 1 / sqrt(hidden_size) of zero.
    reset_after : bool, default True
        Whether the reset gate acts after the recurrent product or before it. Keyword only.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.layers.recurrent import GRU
    >>> y, h = GRU(3, 5, bidirectional=True, seed=0)(np.zeros((2, 7, 3)))
    >>> y.shape, h.shape
    ((2, 7, 10), (2, 2, 5))
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
        reset_after: bool = True,
    ) -> None:
        self.reset_after = check_flag("reset_after", reset_after)
        cell = CELLS["gru" if reset_after else "gru_reset_before"]
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed, init
        )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {**super().config(), "reset_after": self.reset_after}
