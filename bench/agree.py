"""No number is printed for a result that has not been checked."""

from __future__ import annotations

import numpy as np

from bench.contender import Outputs

# The greatest error allowed, as a part of the largest magnitude in the array: a hundred steps and some thousand terms
# in a sum lose two to three digits of the seven or sixteen that the type holds.
TOLERANCE = {"float32": 1e-4, "float64": 1e-11}


class Disagreement(Exception):
    """Two contenders computed different things."""


def check(name: str, got: Outputs, expected: Outputs, dtype: str) -> None:
    """Raise `Disagreement` unless all arrays of ``expected`` are in ``got`` and equal within tolerance."""
    missing = [key for key in expected if key not in got]
    if missing:
        raise Disagreement(f"{name} computed no {', '.join(missing)}")
    for key, wanted in expected.items():
        array = got[key]
        if array.shape != wanted.shape:
            raise Disagreement(f"{name}: {key} has shape {array.shape}, not {wanted.shape}")
        scale = float(np.abs(wanted).max(initial=0.0)) or 1.0
        error = float(np.abs(array.astype(np.float64) - wanted).max(initial=0.0)) / scale
        if not error <= TOLERANCE[dtype]:
            raise Disagreement(
                f"{name}: {key} is off by {error:.1e} of its largest value, beyond {TOLERANCE[dtype]:.0e}"
            )
