"""The regimes that cases fall into, and what rnnfast means to reach in each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.cases import ELEMENTWISE, TREES
from bench.results import Result

CLOSE = 90.0  # per cent of the limit that count where the limit leaves no room for a ratio


@dataclass(frozen=True)
class Regime:
    """Cases of a kind.

    Attributes
    ----------
    title : str
        In words.
    holds : callable
        Whether a result belongs to it; a result belongs to the first regime in `REGIMES` that takes it.
    ratio : float
        The best peer's time divided by ours that is the aim.
    percent : float or None
        Of the limit, the aim.
    """

    title: str
    holds: Callable[[Result], bool]
    ratio: float
    percent: float | None = None


def _stream(r: Result) -> bool:
    return r.case.task == "stream"


def _single(r: Result) -> bool:
    return r.case.task == "forward" and r.case.batch == 1


def _training(r: Result) -> bool:
    return r.case.task == "training"


def _lstm(r: Result) -> bool:
    return r.case.cell == "LSTM"


def _up_to(r: Result, hidden: int) -> bool:
    return r.case.hidden_size <= hidden


REGIMES = (
    Regime("relatives of the plain cells", lambda r: bool(r.case.variant), 1.0),
    Regime("trees", lambda r: r.case.cell in TREES, 1.0),
    Regime("elementwise recurrences, a step", lambda r: r.case.cell in ELEMENTWISE and r.case.one_step, 1.0),
    Regime("elementwise recurrences", lambda r: r.case.cell in ELEMENTWISE, 1.0, 75.0),
    Regime("several callers", lambda r: r.case.callers > 1, 1.0),
    Regime("float64", lambda r: r.case.dtype == "float64", 1.0),
    Regime("stream, H=64", lambda r: _stream(r) and r.case.hidden_size == 64, 5.0),
    Regime("stream, other H", _stream, 1.0),
    Regime("one step by a plain call", lambda r: r.case.task == "step", 1.0),
    Regime("ragged batches", lambda r: r.case.ragged, 1.0),
    Regime("B=1, H up to 16", lambda r: _single(r) and _up_to(r, 16), 3.0, 75.0),
    Regime("B=1, H up to 128, LSTM", lambda r: _single(r) and _up_to(r, 128) and _lstm(r), 1.3, 75.0),
    Regime("B=1, H up to 128, GRU", lambda r: _single(r) and _up_to(r, 128) and r.case.cell == "GRU", 1.5, 75.0),
    Regime("B=1, H up to 128, RNN", lambda r: _single(r) and _up_to(r, 128), 2.0, 75.0),
    Regime("B=1, larger H, 1 thread", lambda r: _single(r) and r.threads == 1, 1.2, 85.0),
    Regime("B=1, larger H, threads", _single, 1.5, 75.0),
    Regime("B>1, LSTM", lambda r: not _training(r) and _lstm(r), 1.1, 80.0),
    Regime("B>1, GRU and RNN", lambda r: not _training(r), 1.3, 80.0),
    Regime("training, LSTM, B<=8, H<=128", lambda r: _lstm(r) and r.case.batch <= 8 and _up_to(r, 128), 2.0, 75.0),
    Regime("training, LSTM, larger", _lstm, 1.2, 75.0),
    Regime("training, GRU and RNN, B<=8", lambda r: r.case.batch <= 8, 5.0, 75.0),
    Regime("training, GRU and RNN, larger", lambda r: True, 1.3, 75.0),
)

# The order in which they are told: the special ones last.
TOLD = (*REGIMES[6:9], *REGIMES[10:], REGIMES[9], *REGIMES[5::-1])

# The aims over the whole grid in float32, by task.
OVERALL = {"forward": ("inference", 1.6), "stream": ("streaming", 5.0), "training": ("training", 3.0)}


def regime_of(result: Result) -> Regime:
    """Return the regime of a result."""
    return next(regime for regime in REGIMES if regime.holds(result))


def grouped(results: Iterable[Result]) -> dict[Regime, list[Result]]:
    """Return results by regime, in the order of `TOLD`, without those that have none."""
    found: dict[Regime, list[Result]] = {regime: [] for regime in TOLD}
    for result in results:
        found[regime_of(result)].append(result)
    return {regime: members for regime, members in found.items() if members}


def reaches(result: Result, regime: Regime) -> bool | None:
    """Return whether a result reaches the ratio aimed at, or is as close to the limit as counts; None: no peer."""
    best = result.best()
    if best is None:
        return None
    percent = result.percent()
    return best[1] >= regime.ratio or (percent is not None and percent >= CLOSE)


def geometric_mean(values: Iterable[float]) -> float:
    """Return the geometric mean of positive numbers; nan for none."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan
