"""Affine maps of many rows and their gradients, as NumPy products; `rnnfast._native.dense` has the same in C."""

from __future__ import annotations

from typing import Any

from rnnfast.checks import FloatArray


def affine(x: FloatArray, weight: FloatArray, bias: FloatArray | None, cache: dict[str, Any]) -> FloatArray:
    """Return x W^T + b, a new (R, N).

    Parameters
    ----------
    x : (R, K)
        Its rows are contiguous.
    weight : (N, K)
    bias : (N,) or None
    cache : dict
        Where the native twin keeps packed weights; not used here.
    """
    y: FloatArray = x @ weight.T
    if bias is not None:
        y += bias
    return y


def affine_gradients(
    x: FloatArray,
    dy: FloatArray,
    weight: FloatArray,
    cache: dict[str, Any],
    dw: FloatArray,
    db: FloatArray | None,
    want_dx: bool,
) -> FloatArray | None:
    """Add dy^T x to dw (N, K) and the column sums of dy to db (N,), and return dx = dy W if wanted.

    Parameters
    ----------
    x : (R, K)
    dy : (R, N)
        Gradient of `affine`'s result.
    weight, cache
        As in `affine`.
    dw : (N, K)
    db : (N,) or None
    want_dx : bool
    """
    dw += dy.T @ x
    if db is not None:
        db += dy.sum(axis=0)
    return dy @ weight if want_dx else None
