import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import FloatArray

def losses(
    x: FloatArray,
    lengths: NDArray[np.int64],
    labels: NDArray[np.int64],
    offsets: NDArray[np.int64],
    blank: int,
    weights: NDArray[np.float64],
    gradient: bool,
) -> tuple[NDArray[np.float64], FloatArray | None]: ...
