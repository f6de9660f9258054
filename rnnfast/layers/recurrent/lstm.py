"""Long short-term memory, as a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.cells import Options, find
from rnnfast.checks import check_flag, check_number, check_size
from rnnfast.layers.recurrent.base import Recurrent, check_rates, documented


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
        but for the forget gate, whose b_ih is 1. "torch": all uniform within 1 / sqrt(hidden_size) of zero. Gains of
        layer normalisation are 1 either way, peepholes 0 by "default".
    proj_size : int, default 0
        P > 0: h is W_hr (o * tanh(c')) and has P features, fewer than hidden_size (as torch.nn.LSTM; Sak et al. 2014).
    peephole : bool, default False
        Gates see the cell state: i and f that before the step, o that after it, each unit its own (Gers and
        Schmidhuber 2000). The weights, weight_peephole_l0 and so on, are (3 * hidden_size,) in the order i f o.
    coupled : bool, default False
        One gate for input and forgetting, i = 1 - f: a unit forgets only as much as is written to it. The weights
        then have three blocks, f g o, and peepholes two, f o.
    layer_norm : bool, default False
        Normalise W_ih x and W_hh h, each over all gates together, with gain_ih and gain_hh and the usual biases, and
        c' on its way to h with gain_ch and bias_ch (Ba et al. 2016); eps is 1e-5.
    cell_clip : float or None, default None
        Cut c' to -cell_clip..cell_clip, state included; where it was cut, no gradient passes (as TensorFlow's; ONNX's
        attribute ``clip`` is another thing, a bound on what goes into every activation).
    zoneout : float or (float, float), default 0.0
        Chance, 0 or more and less than 1, of a unit of h and of c to keep its value for a step (Krueger et al. 2017);
        one number is for both. ``forward`` draws for each step and unit; calling the layer takes the mean.
    recurrent_dropout : float, default 0.0
        Chance of a unit of h to be dropped from the recurrent product by ``forward``, for all steps of a sequence
        alike (Gal and Ghahramani 2016).
    weight_drop : float, default 0.0
        Chance of a recurrent weight to be dropped for a whole ``forward`` (Merity et al. 2018, "Regularizing and
        optimizing LSTM language models").
    chrono : int or None, default None
        T_max: forget biases b_ih drawn as log U(1, T_max - 1), those of the input gate their negatives, for memories
        of up to about so many steps (Tallec and Ollivier 2018).

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
        proj_size: int = 0,
        peephole: bool = False,
        coupled: bool = False,
        layer_norm: bool = False,
        cell_clip: float | None = None,
        zoneout: Any = 0.0,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        chrono: int | None = None,
    ) -> None:
        self.coupled = check_flag("coupled", coupled)
        options = Options(
            peephole=check_flag("peephole", peephole),
            layer_norm=check_flag("layer_norm", layer_norm),
            cell_clip=0.0 if cell_clip is None else check_number("cell_clip", cell_clip, 0.0, above=True),
            proj_size=check_size("proj_size", proj_size, 0),
            zoneout=check_rates("zoneout", zoneout, ("h", "c")),
            recurrent_dropout=check_number("recurrent_dropout", recurrent_dropout, 0.0, 1.0, below=True),
            weight_drop=check_number("weight_drop", weight_drop, 0.0, 1.0, below=True),
        )
        if options.proj_size >= check_size("hidden_size", hidden_size):
            raise ValueError(f"proj_size must be smaller than hidden_size={hidden_size}; got {proj_size}")
        cell = find("lstm_coupled" if coupled else "lstm", options)
        super().__init__(
            cell,
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
        """Return the constructor's arguments as JSON values, the seed and options not in use apart."""
        return {**super().config(), **({"coupled": True} if self.coupled else {})}
