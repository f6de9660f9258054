"""What the demonstrations share: options, progress, errors for the user, and saving with proof."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np

from rnnfast.callbacks import Callback
from rnnfast.checks import check_number, check_size
from rnnfast.io import container, load_model, save_model
from rnnfast.layers.base import Layer
from rnnfast.trainer import Trainer, TrainingError
from rnnfast.training.history import History

RAMP = " .:-=+*#%@"  # from nothing to all
Model = TypeVar("Model", bound=Layer)


class UserError(Exception):
    """What went wrong in one line, for somebody who typed a command."""


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turn what may go wrong with a user's files and options into `UserError`."""
    try:
        yield
    except OSError as error:
        name = "" if error.filename is None else f"{os.fspath(error.filename)}: "
        raise UserError(f"{name}{error.strerror or error}") from error
    except KeyError as error:
        raise UserError(str(error.args[0])) from error
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error


def option(check: Callable[..., Any], name: str, *limits: Any, **more: Any) -> Callable[[str], Any]:
    """Return a converter for argparse that complains as ``rnnfast.checks`` does."""

    def convert(text: str) -> Any:
        try:
            return check(name, int(text) if check is check_size else float(text), *limits, **more)
        except ValueError as error:
            plain = "could not convert" in str(error) or "invalid literal" in str(error)
            raise argparse.ArgumentTypeError(f"{text!r} is not a number" if plain else str(error)) from None

    return convert


def positive(name: str) -> Callable[[str], Any]:
    """Return a converter for a whole number of at least 1."""
    return option(check_size, name)


def add_options(parser: argparse.ArgumentParser, hidden: int, save: str, budget: str) -> None:
    """Add the options that every demonstration has; ``budget`` says how long it trains by default."""
    limits = parser.add_mutually_exclusive_group()
    limits.add_argument(
        "--seconds",
        type=option(check_number, "--seconds", 0, above=True),
        metavar="S",
        help=f"time to train for ({budget})",
    )
    limits.add_argument(
        "--epochs",
        type=positive("--epochs"),
        metavar="E",
        help="passes over the data instead; the same seed then gives the same result to the bit",
    )
    parser.add_argument("--hidden", type=positive("--hidden"), default=hidden, metavar="H", help="units (%(default)s)")
    parser.add_argument(
        "--seed", type=option(check_size, "--seed", 0), default=0, metavar="N", help="for all randomness (%(default)s)"
    )
    parser.add_argument(
        "--save",
        type=Path,
        default=Path(save),
        metavar="PATH",
        help="where to put the model, ending in .safetensors or .npz; the suffix may be left out (%(default)s)",
    )


def check_save(path: Path) -> Path:
    """Return where the model will be put, or raise `UserError` before any work if that cannot be."""
    with told_in_one_line():
        target = container.target_of(path)
    folder = target.parent
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder to save in")
    if target.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"{target}: cannot be written to")
    return target


def save_and_reload(model: Model, path: Path, extra: dict[str, Any], x: Any) -> Model:
    """Save a model, read it back, prove that it predicts the same for ``x``, and return what was read."""
    with told_in_one_line():
        save_model(model, path, extra)
    again = load_model(path)
    assert isinstance(again, type(model))
    if not _same(again(x), model(x)):
        raise UserError(f"{path}: the model read back predicts something else")
    print(f"saved to {path} ({_bytes(path.stat().st_size)}); read back, it predicts the same")
    return again


class Ticker(Callback):
    """Progress of a fit in one line: rewritten in place on a terminal, else one for every tenth of the way.

    Parameters
    ----------
    describe : callable
        From the smoothed loss to words.
    unit : str
        What the speed counts.
    per_batch : float
        How many of them there are in a batch.
    batches : int
        In the whole fit.
    seconds : float, optional
        Limit of the fit.
    stream : file, default sys.stdout
        Where to.

    Attributes
    ----------
    done : int
        Updates so far.
    """

    def __init__(
        self,
        describe: Callable[[float], str],
        unit: str,
        per_batch: float,
        batches: int,
        seconds: float | None,
        stream: TextIO | None = None,
    ) -> None:
        self._describe, self._unit, self._per_batch = describe, unit, per_batch
        self._batches, self._seconds = batches, seconds
        self._stream = sys.stdout if stream is None else stream
        self._live = self._stream.isatty()
        self._started = self._shown = 0.0
        self.done = 0
        self._tenths = self._width = 0
        self._mean = self._weight = 0.0

    def on_fit_begin(self, trainer: Trainer) -> None:
        self._started = time.perf_counter()

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        self.done += 1
        # A running mean over about thirty batches, corrected for its start at zero.
        self._mean += (loss - self._mean) / 30
        self._weight += (1 - self._weight) / 30
        now = time.perf_counter() - self._started
        by_time = 0.0 if self._seconds is None else now / self._seconds
        share = max(self.done / self._batches, by_time)
        if self._live:
            if now - self._shown >= 0.1 or share >= 1:
                self._shown = now
                self._rewrite(self._line(now, share))
        elif int(share * 10) > self._tenths:
            self._tenths = int(share * 10)
            print(self._line(now, share), file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the last line standing."""
        if self._width:
            print(file=self._stream, flush=True)
            self._width = 0

    def _line(self, now: float, share: float) -> str:
        speed = self.done * self._per_batch / now
        words = self._describe(self._mean / self._weight)
        left = max(0.0, now / share - now)
        return f"{min(share, 1):4.0%}  {words}  {speed:,.0f} {self._unit}/s  {left:.0f} s left"

    def _rewrite(self, line: str) -> None:
        self._stream.write("\r" + line.ljust(self._width))
        self._stream.flush()
        self._width = len(line)


def run_fit(fit: Callable[..., History], ticker: Ticker, updates: str, **options: Any) -> None:
    """Run ``fit`` with progress and print what came of it; ``updates`` says what one was."""
    started = time.perf_counter()
    try:
        history = fit(callbacks=[*options.pop("callbacks", ()), ticker], progress=False, **options)
    except TrainingError as error:
        raise UserError(str(error)) from error
    finally:
        ticker.close()
    took = time.perf_counter() - started
    if history.reason == "interrupted":
        print("interrupted: going on with the model as it is")
    print(f"trained for {took:.1f} s: {ticker.done:,} updates of {updates}")


def _same(a: Any, b: Any) -> bool:
    """Return whether two outputs, arrays or tuples of them, are equal to the bit."""
    if isinstance(a, tuple):
        return all(map(_same, a, b))
    return np.array_equal(a, b, equal_nan=True) if a is not None else b is None


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
