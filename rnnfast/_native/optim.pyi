from typing import Any

from numpy.typing import NDArray

RULES: dict[str, int]

def update(
    rule: str,
    params: list[NDArray[Any]],
    grads: list[NDArray[Any]],
    slots: list[list[NDArray[Any]]],
    steps: NDArray[Any],
) -> None: ...
def sum_squares(x: NDArray[Any]) -> float: ...
def all_finite(x: NDArray[Any]) -> bool: ...
