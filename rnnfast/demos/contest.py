"""Several cells learn the same task, one after the other, and are set side by side."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnfast.callbacks import Callback
from rnnfast.demos.common import Ticker, UserError, run_fit
from rnnfast.initializers import recurrent_bounds
from rnnfast.layers.recurrent import GRU, LSTM, RNN
from rnnfast.layers.scan import IndRNN
from rnnfast.layers.sequential import Sequential
from rnnfast.optimizers import Adam
from rnnfast.schedules import Cosine
from rnnfast.trainer import Trainer

CELLS: dict[str, Callable[..., Any]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU, "indrnn": IndRNN}
# What a unit of an IndRNN may at most make of 1 over a whole sequence. Bounded, for without that training blew up at
# the rate at which copy memory is learnt; more than the 2 it begins with, for with 2 it learnt far less in its time.
MOST = 20.0
BARS = "▁▂▃▄▅▆▇█"


class Outcome(NamedTuple):
    """What became of one cell.

    Attributes
    ----------
    name : str
        A key of `CELLS`.
    model : Sequential
        The trained model.
    curve : list of float
        Loss over the test after every epoch.
    updates : int
        Updates done.
    seconds : float
        Training took.
    """

    name: str
    model: Sequential
    curve: list[float]
    updates: int
    seconds: float


class Task(NamedTuple):
    """What is learnt: arrays, and the loss.

    Attributes
    ----------
    x, y, test_x, test_y : ndarray
        Sequences and targets.
    loss : Loss
        Of both.
    batch : int
        Sequences of an update.
    rates : dict
        Highest learning rate by name of the cell; "others" is for those not named.
    forgets : float, default 0.999
        Adam's second beta.
    caution : float, default 1.0
        Share of the learning rate for the weights of the state of an IndRNN, whose effect grows with the steps.
    """

    x: Any
    y: Any
    test_x: Any
    test_y: Any
    loss: Any
    batch: int
    rates: dict[str, float]
    forgets: float = 0.999
    caution: float = 1.0


class Bounded(Callback):
    """Keeps the weights of the state of every IndRNN within what sequences of so many steps bear.

    Li et al. 2018, section 3.1: after each update |u| is cut to the T-th root of what may become of 1 in T steps.

    Parameters
    ----------
    model : Sequential
        Whose layers are looked at.
    steps : int
        T.
    """

    def __init__(self, model: Sequential, steps: int) -> None:
        self.bound = recurrent_bounds(steps, most=MOST)[1]
        self._layers = [layer for layer in model if isinstance(layer, IndRNN)]

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        for layer in self._layers:
            if self._beyond(layer):
                with layer.update() as params:
                    for name in _weights(layer):
                        np.clip(params[name], -self.bound, self.bound, out=params[name])

    def _beyond(self, layer: IndRNN) -> bool:
        arrays = layer.parameters()
        return any(float(np.abs(arrays[name]).max()) > self.bound for name in _weights(layer))


def _weights(layer: IndRNN) -> list[str]:
    return [name for name in layer.parameters() if name.startswith("weight_hh")]


def add_cells(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which cells take part."""
    parser.add_argument(
        "--cells",
        nargs="+",
        choices=list(CELLS),
        default=list(CELLS),
        metavar="CELL",
        help=f"which of {', '.join(CELLS)} take part (all)",
    )


def make_layer(name: str, inputs: int, hidden: int, steps: int, seed: int, chrono: bool = False) -> Any:
    """Return the recurrent layer of a cell for sequences of so many steps.

    The units of an IndRNN hear of each other in the next layer only, so it has two; it begins with weights of the state
    with which both can remember the whole of a sequence, as its authors have it. ``chrono`` begins LSTM and GRU
    with biases with which their units remember for up to so many steps.
    """
    if name == "indrnn":
        return IndRNN(inputs, hidden, 2, recurrent_bounds=recurrent_bounds(steps), seed=seed)
    if name == "rnn" or not chrono:
        return CELLS[name](inputs, hidden, seed=seed)
    return CELLS[name](inputs, hidden, chrono=max(3, steps), seed=seed)


def compete(
    task: Task, make: Callable[[str, Sequence[int]], Sequential], args: argparse.Namespace, epochs: int
) -> list[Outcome]:
    """Train every cell asked for on the task, each from the same seeds and in the same order; show progress."""
    seeds = [int(seed) for seed in np.random.SeedSequence(args.seed).generate_state(3)]
    found = []
    for name in dict.fromkeys(args.cells):
        model = make(name, seeds)
        print(f"\n{name}: {model.num_parameters():,} parameters")
        trainer = Trainer(
            model,
            task.loss,
            Adam(
                lr=task.rates.get(name, task.rates["others"]),
                betas=(0.9, task.forgets),
                lr_factors={"*.weight_hh*": task.caution} if name == "indrnn" else None,
            ),
            clip_norm=1.0,
            schedule=Cosine(warmup=0.05),
            seed=args.seed,
        )
        rounds = args.epochs or (epochs if args.seconds is None else 10_000)
        batches = -(-len(task.x) // task.batch)
        ticker = Ticker(_words(name), "sequences", len(task.x) / batches, rounds * batches, args.seconds)
        started = time.perf_counter()
        run_fit(
            trainer.fit,
            ticker,
            f"{task.batch} sequences",
            callbacks=[Bounded(model, task.x.shape[1])],
            x=task.x,
            y=task.y,
            epochs=rounds,
            batch_size=task.batch,
            max_seconds=args.seconds,
            validation_data=(task.test_x, task.test_y),
        )
        if "val_loss" not in trainer.history:
            raise UserError(f"{name}: interrupted before there was anything to compare")
        curve = trainer.history["val_loss"]
        found.append(Outcome(name, model, curve, trainer.step, time.perf_counter() - started))
    return found


def _words(name: str) -> Callable[[float], str]:
    return lambda loss: f"{name}: loss {loss:.4f}"


def sparkline(values: Sequence[float], high: float) -> str:
    """Return values from 0 to ``high`` as bars, one a character; what is not finite is a cross."""
    places = [min(len(BARS) - 1, max(0, int(v / high * len(BARS)))) if np.isfinite(v) else -1 for v in values]
    return "".join(BARS[place] if place >= 0 else "x" for place in places)


def shorten(values: Sequence[float], width: int = 30) -> list[float]:
    """Return at most so many of the values, evenly spread, the last among them."""
    if len(values) <= width:
        return list(values)
    return [values[round(k * (len(values) - 1) / (width - 1))] for k in range(width)]
