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
from rnnfast.layers.recurrent import LSTM
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import MeanSquared
from rnnfast.optimizers import AdamW
from rnnfast.schedules import Cosine
from rnnfast.trainer import Trainer

EXAMPLES = """\
examples:
  python -m rnnfast demo forecast
  python -m rnnfast demo forecast --csv temperatures.csv --column Temp
  python -m rnnfast demo forecast --csv sales.csv --column total --hidden 64 --epochs 40 --save sales.npz
"""

EPOCHS = 20
BATCH = 8
LEAST = 40
SHOWN = 20
WIDTH = 48


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this demonstration's options."""
    parser.add_argument("--csv", type=Path, metavar="FILE", help="a CSV file with a header (default: made-up data)")
    parser.add_argument(
        "--column",
        metavar="NAME",
        help="the column to forecast, by its name in the header (may be left out where there is one only)",
    )
    parser.add_argument(
        "--decimal", choices=(".", ","), default=".", help="what separates the fraction of a number (%(default)s)"
    )
    add_options(parser, 32, "rnnfast-forecast", f"by default {EPOCHS} epochs, whatever they take")
    parser.add_argument(
        "--window",
        type=positive("--window"),
        default=365,
        metavar="W",
        help="steps that errors are sent back through in training (%(default)s, fewer for a short series)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; return the exit code."""
    path = check_save(args.save)
    if args.column is not None and args.csv is None:
        raise UserError("--column needs --csv FILE")
    series = made_up(args.seed) if args.csv is None else from_csv(args.csv, args.column, args.decimal)
    data = Task(series, args.window)
    print(f"series: {series.name}, {len(series.values):,} steps; the last {data.tested:,} are the test")

    seeds = [int(seed) for seed in np.random.SeedSequence(args.seed).generate_state(2)]
    model = Sequential(LSTM(1, args.hidden, seed=seeds[0]), Dense(args.hidden, 1, seed=seeds[1]))
    print(
        f"network: LSTM {args.hidden}, {model.num_parameters():,} parameters, trained on windows of {data.window} steps"
    )
    optimizer = AdamW(lr=0.01, weight_decay=1.0)
    trainer = Trainer(model, MeanSquared(), optimizer, clip_norm=1.0, schedule=Cosine(warmup=0.05), seed=args.seed)
    epochs = args.epochs or (EPOCHS if args.seconds is None else 10_000)
    x, y = data.train
    batches = -(-len(x) // BATCH)
    steps = x.shape[0] * x.shape[1] / batches
    ticker = Ticker(lambda loss: f"loss {loss:.4f}", "steps", steps, epochs * batches, args.seconds)
    run_fit(
        trainer.fit,
        ticker,
        f"{BATCH} windows",
        x=x,
        y=y,
        epochs=epochs,
        batch_size=BATCH,
        validation_data=data.validation,
        max_seconds=args.seconds,
        callbacks=[EarlyStopping(patience=epochs)],
    )

    extra = {"scaler": data.scaler.state_dict()}
    model = save_and_reload(model, path, extra, data.inputs)
    show(data, data.forecast(model))
    return 0


class Task:
    """A series of scaled values, and the changes that follow them.

    The network reads the series step by step and forecasts the change to the next, so that to have learnt nothing is
    to repeat the last value. It is trained on overlapping windows; for validation and test it reads the series from
    the start, its state carried all the way. The scaler sees the training part only: the first eight tenths of the
    series, of which the last eighth is kept for validation.

    Parameters
    ----------
    series : Series
        What to forecast.
    window : int
        Steps of a window, at most; short series get shorter ones.
    """

    def __init__(self, series: Series, window: int) -> None:
        values = series.values
        if len(values) < LEAST:
            raise UserError(f"the series must have at least {LEAST} steps; got {len(values)}")
        held_out, start = len(values) * 7 // 10, len(values) * 8 // 10
        self.values, self.start, self.tested = values, start, len(values) - start
        self.window = min(window, held_out // 4)
        self.scaler = Standardizer().fit(values[:start])
        scaled = self.scaler.transform(values).astype(np.float32)
        windows, _ = sliding_windows(scaled[:held_out], self.window + 1, horizon=0, step=max(1, self.window // 45))
        self.train = windows[:, :-1], np.diff(windows, axis=1)
        self.inputs = scaled[None, :-1, None]
        # Step k is forecast at place k - 1.
        seen = np.zeros((1, start - 1), np.float32)
        seen[0, held_out - 1 :] = 1
        self.validation = self.inputs[:, : start - 1], np.diff(scaled[:start])[None, :, None], None, seen

    def forecast(self, model: Sequential) -> NDArray[Any]:
        """Return the forecasts for the test, in the units of the series."""
        change = model(self.inputs)[0][0, self.start - 1 :, 0]
        return self.scaler.inverse_transform(self.inputs[0, self.start - 1 :, 0].astype(np.float64) + change)


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
    if not naive:
        gain = "nothing to gain on"
    elif own <= naive:
        gain = f"{1 - own / naive:.1%} below"
    else:
        gain = f"{own / naive - 1:.1%} above"
    print(f"\ntest error (RMSE): {own:.4g}; persistence: {naive:.4g}; {gain} persistence")
