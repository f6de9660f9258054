"""Gated recurrent units and minimal gated units, as layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.cells import Options, find
from rnnfast.checks import check_flag, check_number
from rnnfast.layers.recurrent.base import Recurrent, check_rates, documented

# What the docstrings of both have where it says {options}.
_OPTIONS = """layer_norm : bool, default False
        Normalise the products W_ih x and W_hh h, gates together and the candidate for itself, with gain_ih and
        gain_hh and the usual biases (Ba et al. 2016; equations in ``rnnfast/reference/gru_options.py``); eps is 1e-5.
    zoneout : float, default 0.0
        Chance, 0 or more and less than 1, of a unit of h to keep its value for a step (Krueger et al. 2017).
        ``forward`` draws for each step and unit; calling the layer takes the mean.
    recurrent_dropout : float, default 0.0
        Chance of a unit of h to be dropped from the recurrent products by ``forward``, for all steps of a sequence
        alike (Gal and Ghahramani 2016).
    weight_drop : float, default 0.0
        Chance of a recurrent weight to be dropped for a whole ``forward`` (Merity et al. 2018, "Regularizing and
        optimizing LSTM language models")."""


def _options(peephole: bool, layer_norm: bool, zoneout: float, recurrent_dropout: float, weight_drop: float) -> Options:
    """Return the options of either class, checked."""
    return Options(
        peephole=check_flag("peephole", peephole),
        layer_norm=check_flag("layer_norm", layer_norm),
        zoneout=check_rates("zoneout", zoneout, ("h",)),
        recurrent_dropout=check_number("recurrent_dropout", recurrent_dropout, 0.0, 1.0, below=True),
        weight_drop=check_number("weight_drop", weight_drop, 0.0, 1.0, below=True),
    )


def _documented(cls: Any) -> Any:
    if cls.__doc__ is not None:
        cls.__doc__ = cls.__doc__.replace("{options}", _OPTIONS)
    return documented(cls)


@_documented
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
    peephole : bool, default False
        Gates see the raw state, each unit its own: p_r * h is added within r and p_z * h within z. The weights,
        weight_peephole_l0 and so on, are (2 * hidden_size,) in the order r z.
    {options}
    chrono : int or None, default None
        T_max: biases b_ih of z drawn as log U(1, T_max - 1), for memories of up to about so many steps (Tallec and
        Ollivier 2018).

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
        peephole: bool = False,
        layer_norm: bool = False,
        zoneout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        chrono: int | None = None,
    ) -> None:
        self.reset_after = check_flag("reset_after", reset_after)
        options = _options(peephole, layer_norm, zoneout, recurrent_dropout, weight_drop)
        super().__init__(
            find("gru" if reset_after else "gru_reset_before", options),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            dtype,
            seed,
            init,
            chrono,
        )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {**super().config(), "reset_after": self.reset_after}


@_documented
class MGU(Recurrent):
    """Minimal gated units: GRU with one gate in the place of two; blocks f n.

    ``h' = (1 - f) * h + f * n`` with f the sigmoid of W_if x + b_if + W_hf h + b_hf and n the tanh of
    ``W_in x + b_in + W_hn (f * h) + b_hn`` (reset before the product, Zhou et al. 2016, "Minimal gated unit for
    recurrent neural networks") or ``W_in x + b_in + f * (W_hn h + b_hn)`` (reset after it, one product a step).

    Parameters
    ----------
    {sizes}
    {rest}
    init : {"default", "torch"}, default "default"
        "default": Xavier uniform input weights, orthogonal recurrent weights, each gate for itself, and zero biases.
        "torch": all uniform within 1 / sqrt(hidden_size) of zero.
    reset_after : bool, default False
        Whether the gate acts on the state after the recurrent product or before it. Keyword only.
    peephole : bool, default False
        The gate sees the raw state, each unit its own: p_f * h is added within f. The weights, weight_peephole_l0 and
        so on, are (hidden_size,).
    {options}
    chrono : int or None, default None
        T_max: biases b_ih of f drawn as -log U(1, T_max - 1), for memories of up to about so many steps (Tallec and
        Ollivier 2018).

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.layers.recurrent import MGU
    >>> y, h = MGU(3, 5, seed=0)(np.zeros((2, 7, 3)))
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
        reset_after: bool = False,
        peephole: bool = False,
        layer_norm: bool = False,
        zoneout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        chrono: int | None = None,
    ) -> None:
        self.reset_after = check_flag("reset_after", reset_after)
        options = _options(peephole, layer_norm, zoneout, recurrent_dropout, weight_drop)
        super().__init__(
            find("mgu_reset_after" if reset_after else "mgu", options),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            dtype,
            seed,
            init,
            chrono,
        )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values, the seed apart."""
        return {**super().config(), "reset_after": self.reset_after}
