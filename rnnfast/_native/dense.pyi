from typing import Any

from numpy.typing import NDArray

class Panels:
    def __new__(cls, weight: NDArray[Any]) -> Panels: ...

def affine(x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any] | None, cache: dict[str, Any]) -> NDArray[Any]: ...
def affine_gradients(
    x: NDArray[Any],
    dy: NDArray[Any],
    weight: NDArray[Any],
    cache: dict[str, Any],
    dw: NDArray[Any],
    db: NDArray[Any] | None,
    want_dx: bool,
) -> NDArray[Any] | None: ...
