from typing import Any

import numpy as np
from numpy.typing import NDArray

def explain_direction(
    cell: Any,
    weights: Any,
    batch: int,
    steps: int,
    lengths: NDArray[np.int64] | None,
    training: bool,
    gather: bool,
    both: bool,
    company: int,
) -> dict[str, Any]: ...
def threads_for_stack(
    cell: Any, weights: Any, batch: int, steps: int, lengths: NDArray[np.int64] | None, training: bool
) -> int: ...
