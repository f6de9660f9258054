from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

class Saved:
    @property
    def cell(self) -> Any: ...
    @property
    def shape(self) -> tuple[int, ...]: ...

class Forward: ...

def direction_forward(
    cell: Any,
    x: NDArray[Any] | tuple[NDArray[Any], NDArray[np.int64]],
    weights: Mapping[str, Any],
    state: tuple[NDArray[Any], ...],
    lengths: NDArray[np.int64] | None,
    reverse: bool,
    out: NDArray[Any],
    save: bool,
    noise: tuple[int, int, int, int] | None = None,
) -> tuple[tuple[NDArray[Any], ...], Saved | None]: ...
