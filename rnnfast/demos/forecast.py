"""Forecast a time series one step ahead with an LSTM, against persistence: tomorrow is as today."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.callbacks import EarlyStopping
from rnnfast.data import Standardizer, sliding_windows
from rnnfast.demos.common import (
    Ticker,
    UserError,
    add_options,
    check_save,
    positive,
    run_fit,
    save_and_reload,
)
from rnnfast.demos.series import Series, from_csv, made_up
from rnnfast.layers.dense import Dense
from rnnfast.layers.pooling import Last
from rnnfast.layers.recurrent import LSTM
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import MeanSquared
from rnnfast.optimizers import Adam
from rnnfast.schedules import Cosine
from rnnfast.trainer import Trainer

EXAMPLES = """\
examples:
  python -m rnnfast demo forecast
  python -m rnnfast demo forecast --csv temperatures.csv --column Temp
  python -m rnnfast demo forecast --csv sales.csv --column total --window 60 --epochs 40 --save sales.npz
"""

EPOCHS = 40
BATCH = 32
SHOWN = 20
WIDTH = 48


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this demonstration's options."""
    parser.add_argument("--csv", type=Path, metavar="FILE", help="a CSV file with a header (default: made-up data)")
    parser.add_argument("--column", metavar="NAME", help="the column to forecast, by its name in the header")
    add_options(parser, 32, "rnnfast-forecast", f"default: {EPOCHS} epochs, whatever they take")
    parser.add_argument(
        "--window",
        type=positive("--window"),
        default=30,
        metavar="W",
        help="steps that a forecast looks back (%(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; return the exit code."""
    path = check_save(args.save)
    if args.column is not None and args.csv is None:
        raise UserError("--column needs --csv FILE")
    series = made_up(args.seed) if args.csv is None else from_csv(args.csv, args.column)
    data = Task(series, args.window)
    print(f"series: {series.name}, {len(series.values):,} steps; the last {data.tested:,} are the test")

    seeds = [int(seed) for seed in np.random.SeedSequence(args.seed).generate_state(2)]
    model = Sequential(LSTM(1, args.hidden, seed=seeds[0]), Last(), Dense(args.hidden, 1, seed=seeds[1]))
    print(f"network: LSTM {args.hidden} over {args.window} steps, {model.num_parameters():,} parameters")
    trainer = Trainer(model, MeanSquared(), Adam(lr=3e-3), clip_norm=1.0, schedule=Cosine(warmup=0.05), seed=args.seed)
    epochs = args.epochs or (EPOCHS if args.seconds is None else 10_000)
    (x, y), held_out = data.train, data.validation
    batches = -(-len(x) // BATCH)
    ticker = Ticker(lambda loss: f"loss {loss:.4f}", "windows", len(x) / batches, epochs * batches, args.seconds)
    took = run_fit(
        trainer.fit,
        ticker,
        args,
        x=x,
        y=y,
        epochs=epochs,
        batch_size=BATCH,
        validation_data=held_out,
        max_seconds=args.seconds,
        callbacks=[EarlyStopping(patience=epochs)],
    )
    print(f"trained for {took:.1f} s: {trainer.step:,} updates; the weights are those of the best validation")

    extra = {"scaler": data.scaler.state_dict(), "window": args.window}
    model = save_and_reload(model, path, extra, data.test[0])
    show(data, data.forecast(model))
    return 0


class Task:
    """A series as windows of scaled values and the changes that follow them.

    The network forecasts the change from the last value of its window, so that to have learnt nothing is to repeat
    that value. The scaler sees the training part only: the first eight tenths of the series, of which the last
    eighth is kept for validation.

    Parameters
    ----------
    series : Series
        What to forecast.
    window : int
        Steps that a forecast looks back.
    """

    def __init__(self, series: Series, window: int) -> None:
        values = series.values
        if len(values) < 5 * window + 20:
            raise UserError(
                f"the series must have at least {5 * window + 20} steps for windows of {window}; got {len(values)}"
            )
        start = len(values) * 8 // 10
        held_out = len(values) * 7 // 10
        self.values, self.start = values, start
        self.tested = len(values) - start
        self.scaler = Standardizer().fit(values[:start])
        scaled = self.scaler.transform(values).astype(np.float32)
        x, y = sliding_windows(scaled, window)
        y = y - x[:, -1]
        # Window k forecasts step k + window.
        self.train = x[: held_out - window], y[: held_out - window]
        self.validation = x[held_out - window : start - window], y[held_out - window : start - window]
        self.test = x[start - window :], y[start - window :]

    def forecast(self, model: Sequential) -> NDArray[Any]:
        """Return the forecasts for the test, in the units of the series."""
        x = self.test[0]
        change = model(x)[0][:, 0]
        return self.scaler.inverse_transform(x[:, -1, 0].astype(np.float64) + change)


def rmse(values: NDArray[Any]) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def show(data: Task, forecast: NDArray[Any]) -> None:
    """Print the test error beside that of persistence, and the last steps as a plot."""
    actual = data.values[data.start :]
    own, naive = rmse(forecast - actual), rmse(data.values[data.start - 1 : -1] - actual)
    shown = min(SHOWN, len(actual))
    last = np.stack([actual[-shown:], forecast[-shown:]])
    low, high = float(last.min()), float(last.max())
    places = ((last - low) / (high - low if high > low else 1.0) * (WIDTH - 1)).round().astype(int)
    print(f"\nthe last {shown} steps: o actual, + forecast, * both\n")
    print(f"{'step':>8} {'actual':>10} {'forecast':>10}")
    for k in range(shown):
        line = [" "] * WIDTH
        line[places[0, k]] = "o"
        line[places[1, k]] = "*" if places[1, k] == places[0, k] else "+"
        step = len(data.values) - shown + k + 1
        print(f"{step:>8} {last[0, k]:>10.5g} {last[1, k]:>10.5g}  |{''.join(line)}|")
    gain = f"{1 - own / naive:.1%} below" if own <= naive else f"{own / naive - 1:.1%} above"
    print(f"\ntest error (RMSE): {own:.4g}; persistence: {naive:.4g}; {gain if naive else 'both exact'} persistence")
