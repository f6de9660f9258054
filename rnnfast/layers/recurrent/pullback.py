"""The backward pass of recurrent layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnfast import engine
from rnnfast.checks import FloatArray, called_before, check_real, parameters_changed
from rnnfast.layers.base import Gradients, check_gradients

if TYPE_CHECKING:
    from rnnfast.layers.recurrent.base import Recurrent


class RecurrentPullback:
    """The backward pass of one call of `Recurrent.forward`; it can be called once."""

    __slots__ = ("_layer", "_saved", "_shape", "_version")

    def __init__(self, layer: Recurrent, saved: Any, shape: tuple[int, ...], version: int) -> None:
        self._layer = layer
        self._saved = saved
        self._shape = shape  # of y
        self._version = version

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
        layer, saved = self._layer, self._saved
        if saved is None:
            raise called_before()
        if layer.params.version != self._version:
            raise parameters_changed()
        if dstate is None:
            self._saved = None
            dx = engine.pull(saved, dy, grads, layer._names[0], layer.batch_first)
            if dx is not None:
                return dx
            self._saved = saved
        if dy is not None:
            if type(dy) is not np.ndarray or dy.dtype != layer.dtype or dy.shape != self._shape:
                dy = check_real("dy", dy, layer.dtype, self._shape)
            dy = dy if layer.batch_first else dy.transpose(1, 0, 2)
        check_gradients(grads, layer.params)
        dfinal: tuple[FloatArray | None, ...] = (None,) * len(layer.cell.states)
        if dstate is not None:
            given = zip(
                layer._parts("dstate", dstate), layer._state_shapes(self._shape[not layer.batch_first]), strict=True
            )
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
