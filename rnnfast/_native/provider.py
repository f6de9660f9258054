"""Who computes the products that follow a backward sweep: the packed kernels of ``csrc`` or SciPy's BLAS.

These are the gradients of inputs and weights, sums over all steps that are not bound to their order. All that comes
before, and so every result of a forward pass, is the packed kernels' in any case: they alone promise that a row's bits
depend neither on its neighbours in the batch nor on the number of threads.

``RNNFAST_GEMM`` chooses for a process. By default it is the packed kernels, except in portable C ("scalar"), which a
BLAS that knows its processor outruns thread for thread (README.md has figures, also of where it does not). A BLAS uses
as many threads as it thinks right: not `rnnfast.set_num_threads` but ``OPENBLAS_NUM_THREADS`` and its like tell it
how many.
"""

from __future__ import annotations

import os

from rnnfast._native import blas, kernels

PROVIDERS = ("packed", "blas")

_chosen: str | None = None


def get_gemm() -> str:
    """Return "packed" or "blas": what the next backward pass will use."""
    return _chosen or ("blas" if kernels.get_isa() == "scalar" and _has_blas() else "packed")


def set_gemm(name: str | None) -> None:
    """Choose for the whole process (for tests and benchmarks).

    Parameters
    ----------
    name : {"packed", "blas"} or None
        None returns to the default.

    Raises
    ------
    ValueError
        If it is none of these.
    ImportError
        If SciPy has no BLAS that could be called.
    """
    global _chosen
    if name is not None and name not in PROVIDERS:
        raise ValueError(f"RNNFAST_GEMM must be packed or blas; got {name!r}")
    if name == "blas":
        blas.load()
    _chosen = name


def _has_blas() -> bool:
    try:
        blas.load()
    except ImportError:
        return False
    return True


if _wanted := os.environ.get("RNNFAST_GEMM"):
    if _wanted not in PROVIDERS:
        raise ValueError(f"RNNFAST_GEMM must be packed or blas; got {_wanted!r}")
    _chosen = _wanted  # the BLAS itself is loaded when first used
