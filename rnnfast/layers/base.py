"""What every layer is: a holder of parameters with a forward pass that returns its own pullback.

``layer(x)`` is inference and saves nothing. ``out, pullback = layer.forward(x)`` is training: ``dx = pullback(dout,
grads)`` adds the gradients of the parameters into ``grads``, a dict by parameter name that the caller owns, and returns
the gradient of the input. A pullback may be called once: it consumes what forward saved. A layer keeps no
activations, no state and no training flag, so any number of threads may call one layer at once; not, however, while its
parameters are being written (`Layer.update`, `Layer.load_state_dict`, an optimiser's step).

Stateless layers return ``y``; stateful ones (``stateful = True``: recurrent layers and `Sequential`) take ``state`` and
return ``(y, state)``, and their pullback takes ``dstate=`` and then returns ``(dx, dstate)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rnnfast.checks import FloatArray, check_flag, check_mapping, check_real, kind_of
from rnnfast.elsewhere import no_attribute
from rnnfast.parameters import Parameters

Gradients = dict[str, FloatArray]
Pullback = Callable[..., Any]


class Layer:
    """Base of all layers.

    Parameters
    ----------
    params : mapping of str to ndarray, optional
        The layer's own arrays, which it takes over.

    Attributes
    ----------
    params : Parameters
        This layer's own arrays, by torch's names.
    stateful : bool
        Whether calls take and return a state.
    num_inputs : int
        How many arrays x is; more than one are a tuple.
    """

    stateful: ClassVar[bool] = False
    num_inputs: ClassVar[int] = 1

    params: Parameters

    def __init__(self, params: Mapping[str, FloatArray] | None = None) -> None:
        self.params = Parameters(params or {})

    @property
    def pools(self) -> bool:
        """Whether the result has no time axis any more, so that lengths mean nothing to what follows."""
        return False

    @property
    def takes_target(self) -> bool:
        """Whether ``forward`` takes ``target=`` and ``teacher=``: what should come out may be fed back in training."""
        return False

    def __call__(self, x: Any, *, lengths: Any = None) -> Any:
        """Return the output for ``x`` without saving anything for a backward pass."""
        raise TypeError(f"{type(self).__name__} does not define a forward pass")

    def forward(self, x: Any, *, lengths: Any = None, rng: np.random.Generator | None = None) -> tuple[Any, Pullback]:
        """Return the output and its pullback; ``rng`` feeds dropout (fresh entropy if None)."""
        raise TypeError(f"{type(self).__name__} does not define a forward pass")

    if not TYPE_CHECKING:  # or every attribute would be known to type checkers

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values: ``type(layer)(**layer.config())`` has the same shapes."""
        return {}

    def children(self) -> dict[str, Layer]:
        """Return sub-layers by name; their parameters appear as ``name.parameter``."""
        return {}

    def stores(self) -> list[tuple[str, Parameters]]:
        """Return every parameter store below this layer with the prefix of its names."""
        found = [("", self.params)]
        for name, child in self.children().items():
            found += [(f"{name}.{prefix}", store) for prefix, store in child.stores()]
        return found

    def parameters(self) -> Gradients:
        """Return all parameters by full name, as read-only views."""
        return {prefix + name: array for prefix, store in self.stores() for name, array in store.items()}

    @contextmanager
    def update(self) -> Iterator[Gradients]:
        """Hand out all parameters by full name for writing, and let packed copies know afterwards.

        Arrays may be changed in place, and what is assigned to a name is copied in. No other thread may call the layer
        meanwhile.

        Examples
        --------
        >>> with layer.update() as params:            # doctest: +SKIP
        ...     params["weight"] -= 0.1 * grads["weight"]
        """
        arrays = _Writable()
        stores = self.stores()
        for prefix, store in stores:
            arrays.update({prefix + name: array for name, array in store.written().items()})
        try:
            yield arrays
        finally:
            for _, store in stores:
                store.version += 1

    def state_dict(self) -> Gradients:
        """Return copies of all parameters by full name (torch's names)."""
        return {name: array.copy() for name, array in self.parameters().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        """Copy parameters in by full name; either all fit or nothing changes.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            Arrays by full name.
        strict : bool, default True
            Whether missing and unknown names are errors.

        Raises
        ------
        KeyError
            If ``strict`` and the names differ from this layer's.
        TypeError, ValueError
            If an array is not real or has the wrong shape.
        """
        check_mapping("state_dict", state_dict, "arrays by parameter name")
        strict = check_flag("strict", strict)
        own = self.parameters()
        missing = [name for name in own if name not in state_dict]
        unknown = [name for name in state_dict if name not in own]
        if strict and (missing or unknown):
            raise KeyError(f"state_dict does not fit: missing {missing or 'none'}, unknown {unknown or 'none'}")
        values = {name: state_dict[name] for name in own if name in state_dict}
        checked = Parameters(own).checked(values)
        with self.update() as arrays:
            for name, value in checked.items():
                np.copyto(arrays[name], value)

    def num_parameters(self) -> int:
        """Return how many numbers the parameters hold."""
        return sum(array.size for array in self.parameters().values())

    def __repr__(self) -> str:
        """Return the constructor's call, or a table where there are layers inside."""
        if self.children():
            from rnnfast.layers.summary import table

            return table(self)
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        from rnnfast.layers.summary import table_html

        return table_html(self)


class _Writable(dict[str, FloatArray]):
    """Arrays by name; to assign is to copy into the array, lest a new one replace it in this dict alone."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in self:
            raise KeyError(f"no parameter named {name}; there are {', '.join(self)}")
        own = self[name]
        if value is not own:  # as it is after an operation in place
            np.copyto(own, check_real(name, value, own.dtype, own.shape))


def add_gradient(grads: Gradients, name: str, value: FloatArray) -> None:
    """Add ``value`` into ``grads[name]``; a name not there yet takes the array over."""
    if name in grads:
        grads[name] += value
    else:
        grads[name] = value


def pull(pullback: Pullback, prefix: str, dout: Any, grads: Gradients, **more: Any) -> Any:
    """Call the pullback of the child whose parameters appear in ``grads`` as ``prefix`` and their own name."""
    own = {name[len(prefix) :]: array for name, array in grads.items() if name.startswith(prefix)}
    result = pullback(dout, own, **more)
    grads.update({prefix + name: array for name, array in own.items()})
    return result


def check_gradients(grads: Any, params: Mapping[str, FloatArray]) -> None:
    """Raise unless ``grads`` is a dict and its entries for ``params`` are arrays of their kind to be added into.

    Raises
    ------
    TypeError
        If it is no dict, or an entry is no array or a read-only one.
    ValueError
        If an entry has another shape or dtype.
    """
    if not isinstance(grads, dict):
        raise TypeError(f"grads must be a dict of arrays by parameter name; got {type(grads).__name__}")
    for name, param in params.items() if grads else ():
        found = grads.get(name)
        if found is None:
            continue
        if not isinstance(found, np.ndarray) or not found.flags.writeable:
            got = type(found).__name__ + (" that is read-only" if isinstance(found, np.ndarray) else "")
            raise TypeError(f"grads[{name!r}] must be an array that can be written to; got {got}")
        if found.shape != param.shape or found.dtype != param.dtype:
            raise ValueError(
                f"grads[{name!r}] must have shape {param.shape} and dtype {param.dtype}; "
                f"got {found.shape} and {found.dtype}"
            )


def check_layer(name: str, value: Any) -> Layer:
    """Return ``value`` if it is a layer, else raise ``TypeError``."""
    if not isinstance(value, Layer):
        raise TypeError(f"{name} must be a Layer; got {kind_of(value)}")
    return value
