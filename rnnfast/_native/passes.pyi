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
class Backward: ...

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
def direction_backward(
    saved: Saved,
    dy: NDArray[Any] | None,
    dstate: tuple[NDArray[Any] | None, ...],
    dx: NDArray[Any] | None,
    grads: dict[str, NDArray[Any]],
) -> tuple[NDArray[Any], ...]: ...
