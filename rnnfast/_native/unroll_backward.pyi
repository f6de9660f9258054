from typing import Any

from numpy.typing import NDArray

from rnnfast._native.unroll import Saved

class Backward: ...

def direction_backward(
    saved: Saved,
    dy: NDArray[Any] | None,
    dstate: tuple[NDArray[Any] | None, ...],
    dx: NDArray[Any] | None,
    grads: dict[str, NDArray[Any]],
) -> tuple[NDArray[Any], ...]: ...
