"""The state of a session as text that its client keeps, and hands to any worker of any server with the same model."""

from __future__ import annotations

import binascii
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import numpy as np

from inputs import Array
from rnnfast import Stream


class States:
    """Writes and reads the state of one session.

    The text is Base64 of a mark of four bytes, made of the model's parameters, and of the numbers in little-endian
    order. It is no secret and not signed: whoever changes it changes the answers of their own session and no other.

    Parameters
    ----------
    model : Layer
        What a `Stream` takes.
    """

    def __init__(self, model: Any) -> None:
        self._form = Stream(model, 1).get_state()
        self._size = sum(array.nbytes for array in _arrays(self._form))
        mark = 0
        for name, array in model.parameters().items():
            mark = zlib.crc32(array.tobytes(), zlib.crc32(f"{name} {array.shape}".encode(), mark))
        self._mark = mark.to_bytes(4, "little")

    def write(self, state: Any) -> str:
        """Return what `Stream.get_state` gave for one row as text."""
        parts = [array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() for array in _arrays(state)]
        return b64encode(self._mark + b"".join(parts)).decode()

    def read(self, text: str) -> Any:
        """Return the state that `write` made text of, or raise ``ValueError``."""
        try:
            data = b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("state must be what an answer had as its state; this is not Base64") from None
        if len(data) != 4 + self._size:
            raise ValueError(f"state must hold {4 + self._size} bytes for this model; got {len(data)}")
        if data[:4] != self._mark:
            raise ValueError("state is of another model")
        state, _ = _filled(self._form, data, 4)
        if not all(np.isfinite(array).all() for array in _arrays(state)):
            raise ValueError("state must hold finite numbers")
        return state


def _arrays(state: Any) -> Iterator[Array]:
    """Yield the arrays of a state, which is one, or a tuple of states, or None for a layer that has none."""
    if isinstance(state, tuple):
        for part in state:
            yield from _arrays(part)
    elif state is not None:
        yield state


def _filled(form: Any, data: bytes, start: int) -> tuple[Any, int]:
    """Return a state of the same form with numbers from ``data[start:]``, and where the next ones begin."""
    if isinstance(form, tuple):
        parts = []
        for part in form:
            found, start = _filled(part, data, start)
            parts.append(found)
        return tuple(parts), start
    if form is None:
        return None, start
    array = np.frombuffer(data, form.dtype.newbyteorder("<"), form.size, start).reshape(form.shape)
    return array.astype(form.dtype), start + form.nbytes
