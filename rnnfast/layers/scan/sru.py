"""Simple recurrent units, as a layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnfast.checks import FloatArray, check_flag, check_number
from rnnfast.initializers import uniform
from rnnfast.layers.recurrent.base import documented
from rnnfast.layers.scan.base import Scan
from rnnfast.scans import SCANS, ScanSpec


@documented
class SRU(Scan):
    """Simple recurrent units with a highway; rows x f r (s) of the input weights.

    ``c' = f * c + (1 - f) * x~`` and ``h' = r * c' + (1 - r) * a * s`` with x~ = W x, f and r the sigmoids of
    W x + v * c + b, each with its own block of rows. The highway s is x itself in layers that read as many features as
    there are units, else one more product of x. Lei, Zhang, Wang, Dai and Artzi 2018, "Simple recurrent units for
    highly parallelizable recurrence". The state is c.

    ``weight_ih_l0`` is (3 * hidden_size, input_size), or four blocks with the highway's product; ``weight_c_l0``
    (2 * hidden_size,) holds v, ``bias_ih_l0`` (2 * hidden_size,) b, both f before r.

    Parameters
    ----------
    {sizes}
    {rest}
    init : {"default", "torch"}, default "default"
        "default": Xavier uniform input weights, v uniform within sqrt(1.5) of zero (as the authors' code has it), zero
        biases of f and ``highway_bias`` for r. "torch": all uniform within 1 / sqrt(hidden_size) of zero.
    highway_bias : float, default 0.0
        What the bias of r begins with; below 0, the input is carried on more at first. Keyword only.
    rescale : bool, default False
        Whether a is sqrt(1 + 2 exp(highway_bias)), which keeps the variance of a deep stack's activations alike
        (section 3.2 of the paper), instead of 1. Keyword only.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import SRU
    >>> y, c = SRU(3, 5, bidirectional=True, seed=0)(np.zeros((2, 7, 3)))
    >>> y.shape, c.shape
    ((2, 7, 10), (2, 2, 5))
    """

    _vectors = "weight_c"

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
        highway_bias: float = 0.0,
        rescale: bool = False,
    ) -> None:
        self.highway_bias = check_number("highway_bias", highway_bias, most=20.0)
        self.rescale = check_flag("rescale", rescale)
        cell = SCANS["sru"]
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed, init
        )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {**super().config(), "highway_bias": self.highway_bias, "rescale": self.rescale}

    def _cell(self, k: int) -> ScanSpec:
        cell = SCANS["sru" if self._inputs(k) == self.hidden_size else "sru_projected"]
        return cell._replace(scale=math.sqrt(1.0 + 2.0 * math.exp(self.highway_bias))) if self.rescale else cell

    def _start(self, kind: str, shape: tuple[int, ...], cell: ScanSpec, rng: np.random.Generator) -> FloatArray:
        if self.init == "default" and kind == "w_c":
            return uniform(shape, rng, self.dtype, -math.sqrt(1.5), math.sqrt(1.5))
        found = super()._start(kind, shape, cell, rng)
        if self.init == "default" and kind == "b_ih":
            found[self.hidden_size :] = self.highway_bias
        return found
