"""The backward pass of recurrent layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnfast import engine
from rnnfast.checks import FloatArray, called_before, check_real, parameters_changed
from rnnfast.layers.base import Gradients, check_gradients

if TYPE_CHECKING:
    from rnnfast.direct import Direct
    from rnnfast.layers.recurrent.base import Recurrent


class RecurrentPullback:
    """The backward pass of one call of `Recurrent.forward`; it can be called once."""

    __slots__ = ("_at_once", "_direct", "_layer", "_saved")

    def __init__(self, layer: Recurrent, direct: Direct, saved: Any, at_once: bool) -> None:
        self._layer = layer
        self._direct = direct  # of the forward pass
        self._saved = saved
        self._at_once = at_once  # saved by `direct`

    def __call__(self, dy: Any, grads: Gradients, dstate: Any = None) -> Any:
        """Add the parameters' gradients into ``grads``; return dx, or (dx, dstate) if ``dstate`` was given.

        Parameters
        ----------
        dy : array_like, shape of y, or None
            Gradient of the output; None: zero.
        grads : dict of str to ndarray
            By parameter name. Entries there are added to in place, others are made.
        dstate : as the state, or None, default None
            Gradient of the final state; either of LSTM's pair may be None for zero.

        Raises
        ------
        TypeError, ValueError
            If a gradient is not real or of the wrong shape.
        RuntimeError
            If it was called before, or the parameters have changed since the forward pass.
        """
        direct, saved = self._direct, self._saved
        if saved is None:
            raise called_before()
        if direct.params.version != direct.version:
            raise parameters_changed()
        if dstate is None and self._at_once:
            self._saved = None
            dx = direct.backward(saved, dy, grads)
            if dx is not None:
                return dx
            self._saved = saved
        layer = self._layer
        batch, steps, _ = saved.shape
        if dy is not None:
            leading = (batch, steps) if layer.batch_first else (steps, batch)
            shape = (*leading, layer._directions * layer.state_sizes[0])
            if type(dy) is not np.ndarray or dy.dtype != layer.dtype or dy.shape != shape:
                dy = check_real("dy", dy, layer.dtype, shape)
            dy = dy if layer.batch_first else dy.transpose(1, 0, 2)
        check_gradients(grads, layer.params)
        dfinal: tuple[FloatArray | None, ...] = (None,) * len(layer.cell.states)
        if dstate is not None:
            given = zip(layer._parts("dstate", dstate), layer._state_shapes(batch), strict=True)
            dfinal = tuple(
                None if part is None else check_real(name, part, layer.dtype, shape) for (name, part), shape in given
            )

        self._saved = None
        own = [
            {kind: grads[name] for kind, name in names.items() if grads.get(name) is not None} for names in layer._names
        ]
        dx, dinitial = engine.backward(
            saved, dy, dfinal, own, layer.dtype, layer.hidden_size, not layer.batch_first, dstate is not None
        )
        for names, made in zip(layer._names, own, strict=True):
            for kind, name in names.items():
                grads[name] = made[kind]
        dx = dx if layer.batch_first or dx.ndim == 2 else dx.transpose(1, 0, 2)
        return dx if dstate is None else (dx, dinitial if len(dinitial) > 1 else dinitial[0])
