from typing import Any

from numpy.typing import NDArray

class Forest: ...

def make_forest(parents: NDArray[Any], lengths: NDArray[Any] | None, binary: bool) -> Forest | None: ...
