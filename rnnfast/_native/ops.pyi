from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import FloatArray

def dropout(x: FloatArray, p: float, seed: int, start: int = 0) -> FloatArray: ...
def softmax_cross_entropy(
    x: FloatArray,
    targets: NDArray[np.int64],
    weights: FloatArray | None,
    scale: float,
    smoothing: float,
    gradient: bool,
) -> tuple[NDArray[np.float64], FloatArray | None]: ...
def sigmoid_cross_entropy(
    x: FloatArray, targets: FloatArray, weights: FloatArray | None, scale: float, gradient: bool
) -> tuple[NDArray[np.float64], FloatArray | None]: ...
def scatter_add(out: NDArray[Any], rows: NDArray[np.int64], values: FloatArray) -> None: ...
def max_pool(x: FloatArray, lengths: NDArray[np.int64] | None) -> tuple[FloatArray, NDArray[np.int32]]: ...
def activate(name: str, x: FloatArray) -> None: ...
