"""Time series for the forecasting demonstration: a user's, or one made up."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.data import fill_missing, read_csv, read_csv_header
from rnnfast.demos.common import UserError, told_in_one_line


class Series(NamedTuple):
    """Values by time step, and what they are."""

    name: str
    values: NDArray[np.float64]


def made_up(seed: int, days: int = 3650) -> Series:
    """Return ten years of made-up daily temperatures: a yearly wave, weather that lasts some days, and noise."""
    rng = np.random.default_rng(seed)
    season = 11.0 + 4.0 * np.cos(2 * np.pi * np.arange(days) / 365.25)
    shocks = rng.normal(0.0, 1.8, days)
    weather = np.zeros(days)
    for day in range(1, days):
        weather[day] = 0.65 * weather[day - 1] + shocks[day]
    return Series("made-up daily temperatures (no file was given)", season + weather + rng.normal(0.0, 1.0, days))


def from_csv(path: Path, column: str | None, decimal: str = ".") -> Series:
    """Return a column of a CSV file, gaps filled by the value before; tell of the cells that could not be read.

    Raises
    ------
    UserError
        If the file or the column cannot be read.
    """
    with told_in_one_line():
        if column is None:
            names = read_csv_header(path)
            if len(names) != 1:
                raise UserError(
                    f"--csv needs --column NAME, the column to forecast; {path.name} has {', '.join(names)}"
                )
            column = names[0]
        values, _, unread = read_csv(path, column, decimal=decimal)
        if unread:
            some = ", ".join(f"{text!r} in line {line}" for line, _, text in unread[:5])
            more = "" if len(unread) <= 5 else f" and {len(unread) - 5} more"
            print(f"{path.name}: taken as missing, as they are no numbers: {some}{more}")
        gaps = int(np.isnan(values).sum())
        if gaps:
            print(f"{path.name}: {gaps} missing of {len(values)}, each filled with the value before it")
        return Series(f"{column!r} of {path.name}", fill_missing(values, "forward"))
