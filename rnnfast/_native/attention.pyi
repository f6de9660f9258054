import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import FloatArray

def additive_scores(
    query: FloatArray, keys: FloatArray, v: FloatArray, lengths: NDArray[np.int64] | None
) -> FloatArray: ...
def additive_gradients(
    query: FloatArray, keys: FloatArray, v: FloatArray, lengths: NDArray[np.int64] | None, dscores: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]: ...
