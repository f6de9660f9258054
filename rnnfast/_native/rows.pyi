from typing import Any

from numpy.typing import NDArray

class Lengths:
    def __new__(cls, batch: int, steps: int, lengths: NDArray[Any] | None) -> Lengths: ...
