"""States of layers as nested tuples of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnfast.checks import FloatArray


def map_state(f: Callable[[FloatArray], Any], state: Any) -> Any:
    """Return nested tuples with f of every array in them; None stays."""
    if isinstance(state, tuple):
        return tuple(map_state(f, part) for part in state)
    return None if state is None else f(state)


def zeros_like(state: Any) -> Any:
    """Return zeros in the place of every array of a state."""
    return map_state(np.zeros_like, state)


def state_leaves(state: Any, name: str = "") -> list[tuple[str, FloatArray]]:
    """Return the arrays of nested tuples with their names: ``name[1][0]``."""
    if isinstance(state, tuple):
        return [leaf for k, part in enumerate(state) for leaf in state_leaves(part, f"{name}[{k}]")]
    return [] if state is None else [(name, state)]
