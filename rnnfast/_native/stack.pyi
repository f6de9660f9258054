from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast._native.passes import Saved

def stack_forward(
    cell: Any,
    x: NDArray[Any] | tuple[NDArray[Any], NDArray[np.int64]],
    weights: Sequence[Mapping[str, Any]],
    states: Sequence[tuple[NDArray[Any], ...]],
    lengths: NDArray[np.int64] | None,
    outs: Sequence[NDArray[Any]],
    save: bool,
    noise: Sequence[tuple[int, int, int, int] | None],
) -> list[tuple[tuple[NDArray[Any], ...], Saved | None]]: ...
def stack_backward(
    saved: Sequence[Saved],
    dy: NDArray[Any] | None,
    dstates: Sequence[tuple[NDArray[Any] | None, ...]],
    dx: Sequence[NDArray[Any]],
    grads: Sequence[dict[str, NDArray[Any]]],
) -> list[tuple[NDArray[Any], ...]]: ...
