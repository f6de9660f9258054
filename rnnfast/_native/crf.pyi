import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]

def sums(
    x: _Floats, lengths: _Integers, transitions: _Floats, start: _Floats, end: _Floats, gradient: bool
) -> tuple[_Floats, _Floats | None, _Floats | None]: ...
def best(
    x: _Floats, lengths: _Integers, transitions: _Floats, start: _Floats, end: _Floats
) -> tuple[_Integers, _Floats]: ...
