from typing import Any

from numpy.typing import NDArray

from rnnfast._native.forest import Forest as Forest
from rnnfast._native.forest import make_forest as make_forest

class Saved: ...

def forward(
    forest: Forest,
    x: NDArray[Any],
    w_ih: NDArray[Any],
    w_hh: NDArray[Any],
    bias: NDArray[Any] | None,
    cache: dict[str, Any],
    save: bool,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], Saved | None]: ...
def backward(
    saved: Saved, dy: NDArray[Any] | None, dh: NDArray[Any] | None, dc: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any] | None]: ...
