from typing import Any

from rnnfast.checks import FloatArray

def affine(x: FloatArray, weight: FloatArray, bias: FloatArray | None, cache: dict[str, Any]) -> FloatArray: ...
def affine_gradients(
    x: FloatArray,
    dy: FloatArray,
    weight: FloatArray,
    cache: dict[str, Any],
    dw: FloatArray,
    db: FloatArray | None,
    want_dx: bool,
) -> FloatArray | None: ...
