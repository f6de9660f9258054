from rnnfast.checks import FloatArray

def layer_norm(
    x: FloatArray, weight: FloatArray | None, bias: FloatArray | None, eps: float, save: bool
) -> tuple[FloatArray, tuple[FloatArray, FloatArray] | None]: ...
def layer_norm_gradients(
    dy: FloatArray, saved: tuple[FloatArray, FloatArray], weight: FloatArray | None
) -> tuple[FloatArray, FloatArray, FloatArray]: ...
