from typing import Any

from numpy.typing import NDArray

class Memory: ...

class Saved:
    @property
    def cell(self) -> Any: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...

def direction_forward(
    cell: Any,
    x: Any,
    weights: Any,
    state: tuple[Any, ...],
    lengths: NDArray[Any] | None,
    reverse: bool,
    out: NDArray[Any],
    save: bool,
) -> tuple[tuple[Any, ...], Saved | None]: ...
def direction_backward(
    saved: Saved,
    dy: NDArray[Any] | None,
    dstate: tuple[Any, ...],
    dx: NDArray[Any] | None,
    grads: dict[str, NDArray[Any]],
) -> tuple[Any, ...]: ...
def explain_direction(
    cell: str,
    weights: Any,
    batch: int,
    steps: int,
    lengths: NDArray[Any] | None,
    training: bool,
    gather: bool,
) -> dict[str, Any]: ...
