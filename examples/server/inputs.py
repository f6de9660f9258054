"""What a model takes, and whether what a client sent is that."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast import Dense, Embedding, Sequential

Array = NDArray[Any]


class Step(NamedTuple):
    """What a text message says.

    Attributes
    ----------
    x : ndarray
    reset : bool
        Whether a new sequence begins with it.
    state : str or None
        What the sequence goes on from, as an earlier answer had it.
    keep : bool
        Whether the answer shall have the state after this step.
    """

    x: Array
    reset: bool = False
    state: str | None = None
    keep: bool = False


class Inputs:
    """Reads single steps and sequences for a model.

    Parameters
    ----------
    model : Layer
        A recurrent layer, or a `Sequential` that begins with one, a `Dense` or an `Embedding`.
    max_steps : int
        The longest sequence.

    Attributes
    ----------
    shape : tuple of int
        Of a step: ``(features,)``, or ``()`` for a model that takes indices.
    dtype : numpy.dtype
        What the model computes with, or int64 for indices; of binary messages too, in little-endian order.
    """

    def __init__(self, model: Any, max_steps: int) -> None:
        first: Any = next(iter(model)) if isinstance(model, Sequential) else model
        self.max_steps = max_steps
        self._indices = first.num_embeddings if isinstance(first, Embedding) else 0
        if self._indices:
            self.shape: tuple[int, ...] = ()
            self.dtype = np.dtype("<i8")
        else:
            self.shape = (first.in_features if isinstance(first, Dense) else first.input_size,)
            self.dtype = first.dtype.newbyteorder("<")

    def step_of_bytes(self, message: bytes) -> Array:
        """Return one step out of a binary message, or raise ``ValueError``."""
        wanted = self.dtype.itemsize * int(np.prod(self.shape))
        if len(message) != wanted:
            raise ValueError(f"a binary step must have {wanted} bytes ({self.dtype}); got {len(message)}")
        return self._checked("the step", np.frombuffer(message, self.dtype).reshape(self.shape), self.shape)

    def step_of_text(self, message: str) -> Step:
        """Return what ``{"x": [...], "reset": false, "state": "...", "keep": false}`` says; x alone must be there."""
        fields = self.fields(message, {"x"}, {"reset": bool, "state": str, "keep": bool})
        if fields.get("reset") and "state" in fields:
            raise ValueError("reset begins anew and state goes on; give one of them")
        return Step(**{**fields, "x": self._checked("x", fields["x"], self.shape)})

    def sequence(self, name: str, value: Any) -> Array:
        """Return a sequence of steps (T, ...), or raise ``ValueError``."""
        if not isinstance(value, list) or not 1 <= len(value) <= self.max_steps:
            got = f"{len(value)} steps" if isinstance(value, list) else type(value).__name__
            raise ValueError(f"{name} must be a list of 1 to {self.max_steps} steps; got {got}")
        return self._checked(name, value, (len(value), *self.shape))

    def fields(self, text: str | bytes, needed: set[str], optional: dict[str, type]) -> dict[str, Any]:
        """Return the fields of a JSON object; ``ValueError`` if one is missing, unknown or of another type."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON: {error}") from None
        if not isinstance(found, dict) or not needed <= set(found) <= needed | set(optional):
            got = ", ".join(map(repr, found)) if isinstance(found, dict) else type(found).__name__
            raise ValueError(f"expected an object with {_spell(needed)}, optionally {_spell(optional)}; got {got:.80}")
        for name, kind in optional.items():
            if name in found and type(found[name]) is not kind:
                raise ValueError(f"{name} must be {kind.__name__}; got {type(found[name]).__name__}")
        return found

    def _checked(self, name: str, value: Any, shape: tuple[int, ...]) -> Array:
        try:
            array = np.asarray(value)
        except (ValueError, OverflowError):
            raise ValueError(f"{name} must be a rectangular list of numbers") from None
        if array.shape != shape:
            raise ValueError(f"{name} must have shape {shape}; got {array.shape}")
        if array.dtype.kind not in ("iu" if self._indices else "iuf"):
            raise ValueError(f"{name} must hold {'integers' if self._indices else 'numbers'}")
        if self._indices:
            if array.min() < 0 or array.max() >= self._indices:
                raise ValueError(f"{name} must lie in 0..{self._indices - 1}")
            return array.astype(self.dtype, copy=False)
        with np.errstate(over="ignore"):
            array = array.astype(self.dtype, copy=False)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must hold finite {self.dtype} numbers")
        return array


def _spell(names: Any) -> str:
    return ", ".join(sorted(map(repr, names))) or "nothing"
