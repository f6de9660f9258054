"""Hours of weather and pollution for the demonstration `pollution`: a user's file, or made up."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.data import fill_missing, read_csv, read_text
from rnnfast.demos.common import UserError, told_in_one_line

NUMBERS = ("pm2.5", "month", "hour", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir")
WIND = "cbwd"


class Hours(NamedTuple):
    """Pollution by hour, NaN where it was not measured, and what is known of every hour."""

    name: str
    pollution: NDArray[np.float64]  # (T,)
    features: NDArray[np.float64]  # (T, C), no gaps


def from_csv(path: Path) -> Hours:
    """Return the hours of a file with the columns of the Beijing data set of Liang et al. (2015).

    Raises
    ------
    UserError
        If the file or a column cannot be read.
    """
    with told_in_one_line():
        columns, _, _ = read_csv(path, NUMBERS)
        rows = csv.DictReader(io.StringIO(read_text(path)))
        winds = [row.get(WIND) or "" for row in rows if any(row.values())]
    if len(winds) != len(columns):
        raise UserError(f"{path}: must have one row for each hour; got {len(columns)} rows and {len(winds)} winds")
    pollution, month, hour = columns[:, 0], columns[:, 1], columns[:, 2]
    names = sorted(set(winds))
    kinds = np.array([names.index(wind) for wind in winds])
    weather = fill_missing(columns[:, 3:], "forward")
    return Hours(path.name, pollution, _features(pollution, month, hour, weather, np.eye(len(names))[kinds]))


def made_up(seed: int, days: int = 600) -> Hours:
    """Return made-up hours: wind that comes in spells and blows the dirt away, a rush at morning and evening, gaps."""
    rng = np.random.default_rng(seed)
    count = 24 * days
    hour, month = np.arange(count) % 24, np.arange(count) // 730 % 12 + 1
    spell = np.zeros(count)
    for t in range(1, count):
        spell[t] = 0.97 * spell[t - 1] + rng.normal(0, 0.25)
    wind = np.maximum(0.0, 2 + 2 * spell)
    rush = 6.0 + 5.0 * (np.exp(-((hour - 8) ** 2) / 6) + np.exp(-((hour - 19) ** 2) / 8))
    dirt = np.zeros(count)
    dirt[0] = 60
    for t in range(1, count):
        dirt[t] = max(1.0, dirt[t - 1] * (1 - 0.025 * wind[t]) + rush[t] * 0.6 + rng.normal(0, 6))
    temperature = 12 - 14 * np.cos(2 * np.pi * month / 12) + 4 * np.sin(2 * np.pi * (hour - 9) / 24)
    weather = np.stack([temperature - 8, temperature, 1016 - 3 * spell, wind, 0 * wind, 0 * wind], axis=1)
    pollution = dirt.copy()
    for start in rng.integers(0, count, days // 15):
        pollution[start : start + int(rng.integers(1, 24))] = np.nan
    calm = (spell > 0).astype(int)
    features = _features(pollution, month.astype(float), hour.astype(float), weather, np.eye(2)[calm])
    return Hours("made-up hours (no file was given)", pollution, features)


def _features(
    pollution: NDArray[np.float64],
    month: NDArray[np.float64],
    hour: NDArray[np.float64],
    weather: NDArray[np.float64],
    wind: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return what the network reads of every hour, all known by its end."""
    if np.isnan(pollution).all():
        raise UserError("the pollution was never measured")
    known = last_known(pollution)
    weather = weather.copy()
    weather[:, 3:] = np.log1p(weather[:, 3:])  # wind and precipitation add up over hours: their sums have long tails
    day, year = 2 * np.pi * hour / 24, 2 * np.pi * month / 12
    clock = [np.sin(day), np.cos(day), np.sin(year), np.cos(year)]
    values = np.column_stack([known, np.log1p(known), weather])
    # Changes since the hour before: a network would have to learn to subtract large numbers that are nearly the same.
    changes = np.diff(values, axis=0, prepend=values[:1])
    return np.column_stack([values[:, :2], np.isnan(pollution), weather, wind, *clock, changes])


def last_known(pollution: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return at each hour the last value that was measured; before the first one, that."""
    filled: NDArray[np.float64] = fill_missing(pollution, "forward")
    return filled
