"""Forecast air pollution an hour and a day ahead from weather, with gaps, against persistence and ridge regression."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.callbacks import EarlyStopping
from rnnfast.data import Standardizer
from rnnfast.demos.air import Hours, from_csv, last_known, made_up
from rnnfast.demos.common import Ticker, UserError, add_options, check_save, run_fit, save_and_reload
from rnnfast.demos.contest import sparkline
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.recurrent import LSTM
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import MeanSquared
from rnnfast.optimizers import AdamW
from rnnfast.schedules import Cosine
from rnnfast.trainer import Trainer

EXAMPLES = """\
examples:
  python -m rnnfast demo pollution
  python -m rnnfast demo pollution --csv beijing-pm25.csv
"""

AHEAD = (1, 24)  # hours
EPOCHS = 12
BATCH = 16
WINDOW = 168
LAGS = 24
SHOWN = 72
LEAST = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this demonstration's options."""
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="hours with the columns of the Beijing PM2.5 data (default: made up)"
    )
    add_options(parser, 64, "rnnfast-pollution", f"for each horizon; by default {EPOCHS} epochs, whatever they take")


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; return the exit code."""
    path = check_save(args.save)
    hours = made_up(args.seed) if args.csv is None else from_csv(args.csv)
    if len(hours.pollution) < LEAST:
        raise UserError(f"there must be at least {LEAST} hours; got {len(hours.pollution)}")
    gaps = int(np.isnan(hours.pollution).sum())
    task = Task(hours)
    print(
        f"hours: {hours.name}, {len(hours.pollution):,}, of which {gaps:,} were not measured; "
        f"the last {len(hours.pollution) - task.start:,} are the test"
    )
    rows, shown = [], []
    for ahead in AHEAD:
        print(f"\n{ahead} hour{'s' if ahead > 1 else ''} ahead:")
        target = path.with_name(f"{path.stem}-{ahead}h{path.suffix}")
        model = learn(task, ahead, args, target)
        forecasts = {
            "LSTM": task.forecast(model, ahead),
            "ridge": task.ridge(ahead),
            "persistence": task.known[:-ahead],
        }
        rows.append((ahead, {name: task.error(found, ahead) for name, found in forecasts.items()}))
        shown.append(forecasts["LSTM"])
    show(task, rows, shown)
    return 0


class Task:
    """The hours, scaled by what the training part shows, and what is to be forecast of them.

    The network reads hour by hour and forecasts the change from the last known value, so that to have learnt nothing
    is persistence. It is trained on windows of a week and, for validation and test, reads the hours from the first
    on. Hours whose target was not measured count nothing. The first eight tenths are for training, of which the last
    eighth is kept for validation.

    Parameters
    ----------
    hours : Hours
        What to learn from.
    """

    def __init__(self, hours: Hours) -> None:
        count = len(hours.pollution)
        self.pollution, self.known = hours.pollution, last_known(hours.pollution)
        self.held_out, self.start = count * 7 // 10, count * 8 // 10
        self.scaler = Standardizer().fit(hours.features[: self.held_out])
        self.inputs = self.scaler.transform(hours.features).astype(np.float32)

    def targets(self, ahead: int) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """Return at each hour the scaled change to the one ``ahead``, whether that was measured, and the scale."""
        change = self.pollution[ahead:] - self.known[:-ahead]
        measured = ~np.isnan(change)
        scale = float(np.nanstd(change[: self.held_out - ahead])) or 1.0
        goal = np.where(measured, change / scale, 0).astype(np.float32)
        return goal[:, None], measured.astype(np.float32), scale

    def forecast(self, model: Any, ahead: int) -> NDArray[np.float64]:
        """Return at each hour the network's forecast of the one ``ahead``."""
        change = model(self.inputs[None, :-ahead])[0][0, :, 0].astype(np.float64)
        found: NDArray[np.float64] = np.maximum(0.0, self.known[:-ahead] + self.targets(ahead)[2] * change)
        return found

    def ridge(self, ahead: int) -> NDArray[np.float64]:
        """Return what a linear function of the last day's hours says, fitted with a penalty on its weights."""
        goal, measured, scale = self.targets(ahead)
        before = np.concatenate([np.zeros((LAGS, self.inputs.shape[1]), np.float32), self.inputs[:-ahead]])
        lagged = [before[LAGS - k : len(before) - k] for k in range(LAGS)]
        x = np.column_stack([*lagged, np.ones(len(goal), np.float32)]).astype(np.float64)
        fit = np.flatnonzero(measured[: self.start - ahead])
        fit = fit[fit >= LAGS]
        penalty = np.full(x.shape[1], 10.0)
        penalty[-1] = 0
        w = np.linalg.solve(x[fit].T @ x[fit] + np.diag(penalty), x[fit].T @ goal[fit, 0].astype(np.float64))
        found: NDArray[np.float64] = np.maximum(0.0, self.known[:-ahead] + scale * (x @ w))
        return found

    def error(self, forecast: NDArray[np.float64], ahead: int) -> float:
        """Return the root mean square error over the measured hours of the test."""
        diff = forecast[self.start - ahead :] - self.pollution[self.start :]
        return float(np.sqrt(np.nanmean(np.square(diff))))


def learn(task: Task, ahead: int, args: argparse.Namespace, path: Path) -> Sequential:
    """Train a network for one horizon, save it, and return what was read back."""
    goal, measured, scale = task.targets(ahead)
    stop = task.held_out - ahead
    starts = np.arange(0, stop - WINDOW + 1, WINDOW // 4)
    places = starts[:, None] + np.arange(WINDOW)
    seeds = [int(seed) for seed in np.random.SeedSequence(args.seed).generate_state(2)]
    model = Sequential(
        LSTM(task.inputs.shape[1], args.hidden, seed=seeds[0]), Dropout(0.2), Dense(args.hidden, 1, seed=seeds[1])
    )
    optimizer = AdamW(lr=3e-3, weight_decay=0.1)
    trainer = Trainer(
        model, MeanSquared(), optimizer, clip_norm=1.0, schedule=Cosine(warmup=0.05), ema=0.98, seed=args.seed
    )
    epochs = args.epochs or (EPOCHS if args.seconds is None else 10_000)
    batches = -(-len(places) // BATCH)
    ticker = Ticker(lambda loss: f"loss {loss:.4f}", "hours", places.size / batches, epochs * batches, args.seconds)
    # Validation reads from the first hour on, and counts the hours that were held out.
    seen = measured[None, : task.start - ahead].copy()
    seen[:, :stop] = 0
    run_fit(
        trainer.fit,
        ticker,
        f"{BATCH} weeks",
        x=task.inputs[places],
        y=goal[places],
        mask=measured[places],
        epochs=epochs,
        batch_size=BATCH,
        max_seconds=args.seconds,
        validation_data=(task.inputs[None, : task.start - ahead], goal[None, : task.start - ahead], None, seen),
        callbacks=[EarlyStopping(patience=epochs)],
    )
    extra = {"scaler": task.scaler.state_dict(), "ahead": ahead, "scale": scale}
    return save_and_reload(model, path, extra, task.inputs[None, :200])


def show(task: Task, rows: list[tuple[int, dict[str, float]]], forecasts: list[NDArray[np.float64]]) -> None:
    """Print the errors of the test, and the last hours as bars."""
    last = {f"{ahead} h": found[-SHOWN:] for (ahead, _), found in zip(rows, forecasts, strict=True)}
    actual = task.pollution[-SHOWN:]
    high = float(np.nanmax([np.nanmax(actual), *(found.max() for found in last.values())])) or 1.0
    print(f"\nthe last {SHOWN} hours, bars up to {high:.0f}, x: not measured; forecasts stand at the hour they are of:")
    print(f"{'actual':>12} {sparkline(actual.tolist(), high)}")
    for name, found in last.items():
        print(f"{name + ' ahead':>12} {sparkline(found.tolist(), high)}")
    print(f"\n{'test error (RMSE)':>18} {'LSTM':>8} {'ridge':>8} {'persistence':>12}")
    for ahead, errors in rows:
        against = "better" if errors["LSTM"] < min(errors["ridge"], errors["persistence"]) else "not better"
        print(
            f"{f'{ahead} h ahead':>18} {errors['LSTM']:8.2f} {errors['ridge']:8.2f} {errors['persistence']:12.2f}  "
            f"{against} than both"
        )
