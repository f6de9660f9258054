"""Split conformal prediction: intervals from the errors on data that training did not see.

Vovk, Gammerman and Shafer 2005, "Algorithmic learning in a random world"; the finite-sample quantile is that of Lei et
al. 2018, "Distribution-free predictive inference for regression". Where new errors are exchangeable with those of the
calibration, an interval holds the truth with at least the chance asked for. Those of a time series are not quite:
the promise holds as far as the future errs like the calibration part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_number


def half_widths(errors: NDArray[Any], coverage: float) -> NDArray[np.float64]:
    """Return half the width of intervals that hold the truth with the chance ``coverage``.

    Parameters
    ----------
    errors : ndarray (N, ...)
        Truth less prediction on the calibration data.
    coverage : float
        Between 0 and 1, both excluded.

    Returns
    -------
    ndarray (...)
        The ceil((N + 1) coverage)-th smallest absolute error, infinite where N is too small for that coverage.

    Raises
    ------
    ValueError
        If there are no errors or the coverage is out of range.
    """
    coverage = check_number("coverage", coverage, 0, 1, above=True, below=True)
    sizes = np.sort(np.abs(np.asarray(errors, np.float64)), axis=0)
    if not len(sizes):
        raise ValueError("errors must hold at least one row; got none")
    # The small constant keeps 0.7 * 10 and its like from being rounded up.
    rank = int(np.ceil((len(sizes) + 1) * coverage - 1e-9))
    return np.full(sizes.shape[1:], np.inf) if rank > len(sizes) else sizes[max(rank, 1) - 1]


def least_size(coverage: float) -> int:
    """Return how many errors it takes for intervals of that coverage to be finite."""
    coverage = check_number("coverage", coverage, 0, 1, above=True, below=True)
    return int(np.ceil(coverage / (1 - coverage) - 1e-9))
