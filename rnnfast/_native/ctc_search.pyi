from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

def beam_search(
    y: NDArray[np.float64],
    lengths: NDArray[np.int64],
    blank: int,
    width: int,
    bonus: float,
    scorer: Callable[[tuple[int, ...]], NDArray[np.float64]] | None,
) -> list[list[tuple[NDArray[np.int64], float, float]]]: ...
