from rnnfast.checks import FloatArray

def load() -> None: ...
def gemm_arrays(
    a: FloatArray,
    b: FloatArray,
    out: FloatArray,
    trans_a: bool = False,
    trans_b: bool = False,
    alpha: float = 1.0,
    beta: float = 0.0,
) -> None: ...
