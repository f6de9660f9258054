"""The task ``forecast``: the next steps of columns of a series."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_number
from rnnfast.cli import files
from rnnfast.cli.common import UserError, add_training, network, option, positive, settings, store
from rnnfast.tasks.forecasting import Frame, SeriesForecaster

EXAMPLES = {
    "forecast": """\
examples:
  python -m rnnfast train forecast --data temperatures.csv --target Temp --horizon 7 --output weather
  python -m rnnfast train forecast --data series.npy --horizon 3
  python -m rnnfast train forecast --data load.csv --target load --exogenous temperature --known hour,weekday
  python -m rnnfast predict weather.safetensors temperatures.csv

A .npy file has the columns 0, 1, ...; JSONL has an object in each line. Rows are steps, the oldest first.
"""
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """Add this task's options."""
    data = parser.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, metavar="FILE", help="CSV with a header, JSONL or .npy")
    data.add_argument("--target", default="", metavar="NAMES", help="columns with commas between (the only one)")
    data.add_argument("--exogenous", default="", metavar="NAMES", help="further columns to read")
    data.add_argument("--known", default="", metavar="NAMES", help="further columns whose future is known")
    data.add_argument("--decimal", choices=(".", ","), default=".", help="what separates a fraction (%(default)s)")
    data.add_argument(
        "--bad", choices=("error", "missing"), default="error", help="what cells that are no numbers are (%(default)s)"
    )
    steps = parser.add_argument_group("steps")
    steps.add_argument(
        "--window", type=positive("--window"), default=48, metavar="W", help="that are read (%(default)s)"
    )
    steps.add_argument(
        "--horizon", type=positive("--horizon"), default=1, metavar="H", help="that are forecast (%(default)s)"
    )
    steps.add_argument(
        "--stride", type=positive("--stride"), default=1, metavar="N", help="between windows in training (%(default)s)"
    )
    for option_name, default, text in (
        ("--validation", 0.1, "to stop early by"),
        ("--calibration", 0.2, "for the intervals, and to measure by"),
    ):
        steps.add_argument(
            option_name,
            type=option(check_number, option_name, 0, 1, below=True),
            default=default,
            metavar="SHARE",
            help=f"share of the last windows that training does not see, {text} (%(default)s)",
        )
    add_training(parser, 20, 32, "rnnfast-forecast")
    training = parser.add_argument_group("batches")
    training.add_argument("--batch", type=positive("--batch"), default=32, metavar="B", help="windows (%(default)s)")
    training.add_argument(
        "--patience", type=positive("--patience"), default=5, metavar="E", help="epochs (%(default)s)"
    )


def train(args: argparse.Namespace) -> int:
    """Train; return the exit code."""
    groups = [
        [name.strip() for name in text.split(",") if name.strip()] for text in (args.target, args.exogenous, args.known)
    ]
    if not groups[0]:
        there = files.column_names(args.data)
        if len(there) > 1 or groups[1] or groups[2]:
            raise UserError(f"--target must say which column of {args.data} to forecast: {', '.join(there)}")
        groups[0] = there
    columns = [name for group in groups for name in group]
    if len(set(columns)) < len(columns):
        raise UserError("--target, --exogenous and --known must name each column once")
    values = files.read_numbers(args.data, columns, args.decimal, args.bad)
    first = len(groups[0]) + len(groups[1])
    known = tuple(range(first, len(columns)))
    frame = Frame(args.window, args.horizon, tuple(range(len(groups[0]))), known)
    training = settings(args, batch_size=args.batch, patience=args.patience)
    print(f"series: {len(values):,} steps of {', '.join(columns)}")
    own, history = SeriesForecaster.fit(
        [values],
        frame,
        training,
        stride=args.stride,
        validation=args.validation,
        calibration=args.calibration,
        seed=args.seed,
        network=network(args),
    )
    if own.errors is not None:
        rows = args.window + args.horizon - 1 + len(own.errors)
        truth, found = own.backtest(values[-rows:])
        _tell(_measures(truth, found, values[-rows:], own, groups[0]))
    task = {"kind": "forecast", "columns": columns, "decimal": args.decimal, "bad": args.bad, **own.state_dict()}
    return store(own.model, task, args, history)


def predict(model: Any, task: dict[str, Any], args: argparse.Namespace) -> files.Table:
    """Return a row for each step after the end of the data."""
    own = SeriesForecaster.from_state_dict(model, task)
    columns = task["columns"]
    values = files.read_numbers(args.data, columns, task["decimal"], task["bad"])
    future = None
    if own.frame.known:
        names = [columns[k] for k in own.frame.known]
        if args.future is None:
            raise UserError(f"--future FILE must tell {', '.join(names)} for the next {own.frame.horizon} steps")
        future = files.read_numbers(args.future, names, task["decimal"], task["bad"])
        if len(future) < own.frame.horizon:
            raise UserError(f"{args.future} must have {own.frame.horizon} rows, one for each step; got {len(future)}")
        future = future[: own.frame.horizon]
    elif args.future is not None:
        raise UserError(f"--future is for models with columns that are known ahead; {args.model} has none")
    found = own.predict(values, future)
    parts = [found]
    if own.widths is not None:
        width = own.half_widths(0.9 if args.coverage is None else args.coverage)
        parts += [found - width, found + width]
    elif args.coverage is not None:
        raise UserError(f"{args.model} has no intervals: it was trained with --calibration 0")
    names, blocks = ["step"], []
    for k, target in enumerate(own.frame.targets):
        names += [columns[target], *(f"{columns[target]}_{end}" for end in ("lower", "upper")[: len(parts) - 1])]
        blocks += [part[:, k] for part in parts]
    array = np.stack(blocks, axis=1)
    rows = [[step + 1, *(float(f"{value:.7g}") for value in row)] for step, row in enumerate(array)]
    return files.Table(names, rows, array)


def evaluate(model: Any, task: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Return errors over all windows of the data, beside those of repeating the last value."""
    if args.answers is not None:
        raise UserError("--answers is for other tasks: a series has its own")
    own = SeriesForecaster.from_state_dict(model, task)
    values = files.read_numbers(args.data, task["columns"], task["decimal"], task["bad"])
    truth, found = own.backtest(values)
    return _measures(truth, found, values, own, [task["columns"][k] for k in own.frame.targets])


def _measures(
    truth: NDArray[Any], found: NDArray[Any], values: NDArray[Any], own: SeriesForecaster, names: list[str]
) -> dict[str, Any]:
    """Return errors by target and step, and those of persistence."""
    window = own.frame.window
    last = values[window - 1 : window - 1 + len(truth), list(own.frame.targets)][:, None]
    wrong, still = truth - found, truth - last
    width = None if own.widths is None else own.half_widths(0.9)
    by_step: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(names):
        for h in range(own.frame.horizon):
            label = f"{name} +{h + 1}" if len(names) > 1 else f"+{h + 1}"
            row = {
                "mae": _mean(np.abs(wrong[:, h, k])),
                "rmse": _rmse(wrong[:, h, k]),
                "repeat rmse": _rmse(still[:, h, k]),
            }
            if width is not None:
                row["held by 90 %"] = _mean(np.abs(wrong[:, h, k]) <= width[h, k])
            by_step[label] = row
    total: dict[str, Any] = {"windows": len(truth), "mae": _mean(np.abs(wrong)), "rmse": _rmse(wrong)}
    return {**total, "repeat rmse": _rmse(still), "step": by_step}


def _tell(measured: dict[str, Any]) -> None:
    rmse, still = measured["rmse"], measured["repeat rmse"]
    than = (
        f", {1 - rmse / still:.1%} below repeating the last value ({still:.4g})"
        if rmse <= still
        else (f", above repeating the last value ({still:.4g})")
    )
    print(f"on the last {measured['windows']:,} windows, which training did not see: RMSE {rmse:.4g}{than}")


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values))


def _rmse(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
