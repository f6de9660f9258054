from typing import Any

from numpy.typing import NDArray

def level_forward(
    first: NDArray[Any],
    child: NDArray[Any],
    slot: NDArray[Any],
    a: NDArray[Any],
    g: NDArray[Any] | None,
    f: NDArray[Any],
    h: NDArray[Any],
    c: NDArray[Any],
    row: int,
) -> None: ...
def level_backward(
    first: NDArray[Any],
    child: NDArray[Any],
    slot: NDArray[Any],
    a: NDArray[Any],
    f: NDArray[Any],
    c: NDArray[Any],
    dh: NDArray[Any],
    dc: NDArray[Any],
    row: int,
) -> None: ...
