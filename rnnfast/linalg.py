"""Matrix products of layers outside the recurrence; n and t say which operands are transposed."""

from __future__ import annotations

import numpy as np

from rnnfast.checks import FloatArray


def matmul_nn(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return A B, a new (M, N), of a (M, K) and b (K, N)."""
    out: FloatArray = a @ b
    return out


def matmul_nt(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return A B^T, a new (M, N), of a (M, K) and b (N, K)."""
    out: FloatArray = a @ b.T
    return out


def matmul_tn(a: FloatArray, b: FloatArray, out: FloatArray | None = None) -> FloatArray:
    """Return A^T B, (M, N), of a (K, M) and b (K, N): a new array, or added into ``out`` (M, N)."""
    product: FloatArray = a.T @ b
    if out is None:
        return product
    return np.add(out, product, out=out)
