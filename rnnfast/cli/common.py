"""What the commands share: options, errors in one line, and the file of a model with its task."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rnnfast.checks import check_number, check_size
from rnnfast.demos.common import UserError, check_save, option, positive, told_in_one_line
from rnnfast.io import load_model, save_model
from rnnfast.layers.base import Layer
from rnnfast.tasks.networks import RECURRENT
from rnnfast.tasks.training import Training
from rnnfast.trainer import TrainingError
from rnnfast.training.history import History

INTERRUPTED = 130


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what a user can mend into `UserError`; with RNNFAST_TRACEBACK set, let everything through as it is."""
    if os.environ.get("RNNFAST_TRACEBACK"):
        yield
        return
    gone: BrokenPipeError | None = None
    try:
        with told_in_one_line():
            try:
                yield
            except BrokenPipeError as error:  # no fault of a file: whoever reads our output has gone
                gone = error
        if gone is not None:
            raise gone
    except (TrainingError, ImportError, IndexError, MemoryError) as error:
        raise UserError(" ".join(str(error).split()) or "not enough memory") from error


@contextmanager
def standard_input(args: argparse.Namespace) -> Iterator[None]:
    """Where the data is called ``-``, keep what comes by the pipe in a file for a while: it is read more than once."""
    if os.fspath(getattr(args, "data", None) or "") != "-":
        yield
        return
    data = sys.stdin.buffer.read()
    if not data:
        raise UserError("standard input is empty")
    suffix = ".npy" if data.startswith(b"\x93NUMPY") else ".jsonl" if data.lstrip().startswith(b"{") else ".csv"
    with TemporaryDirectory() as folder:
        args.data = Path(folder, f"standard-input{suffix}")
        args.data.write_bytes(data)
        try:
            with plain_errors():
                yield
        except UserError as error:
            raise UserError(str(error).replace(str(args.data), "standard input")) from error


def add_training(parser: argparse.ArgumentParser, epochs: int, hidden: int, output: str) -> None:
    """Add the options that all trainings have."""
    network = parser.add_argument_group("network")
    network.add_argument("--cell", choices=tuple(RECURRENT), default="lstm", help="recurrent layers (%(default)s)")
    network.add_argument("--hidden", type=positive("--hidden"), default=hidden, metavar="H", help="units (%(default)s)")
    network.add_argument(
        "--layers", type=positive("--layers"), default=1, metavar="L", help="recurrent layers (%(default)s)"
    )
    network.add_argument(
        "--dropout",
        type=option(check_number, "--dropout", 0, 1, below=True),
        default=0.0,
        metavar="P",
        help="chance of an activation to be dropped in training (%(default)s)",
    )
    training = parser.add_argument_group("training")
    training.add_argument(
        "--epochs",
        type=positive("--epochs"),
        metavar="E",
        help=f"passes over the data ({epochs}; with --seconds as many as there is time for)",
    )
    training.add_argument(
        "--seconds", type=option(check_number, "--seconds", 0, above=True), metavar="S", help="stop after that time"
    )
    training.add_argument(
        "--lr",
        type=option(check_number, "--lr", 0, above=True),
        default=0.01,
        metavar="R",
        help="learning rate (%(default)s)",
    )
    training.add_argument(
        "--seed", type=option(check_size, "--seed", 0), default=0, metavar="N", help="for all randomness (%(default)s)"
    )
    training.add_argument("--log", type=Path, metavar="FILE", help="record every epoch in FILE.csv or FILE.jsonl")
    training.add_argument("--tensorboard", type=Path, metavar="FOLDER", help="record every epoch for TensorBoard")
    training.add_argument("--quiet", action="store_true", help="show no progress")
    training.add_argument(
        "--output",
        type=Path,
        default=Path(output),
        metavar="MODEL",
        help="where to put the model, ending in .safetensors or .npz; the suffix may be left out (%(default)s)",
    )
    parser.set_defaults(default_epochs=epochs)


def add_held_out(parser: argparse.ArgumentParser, batch: int) -> None:
    """Add the options of trainings on samples, some of which are held out."""
    training = parser.add_argument_group("samples")
    training.add_argument(
        "--batch", type=positive("--batch"), default=batch, metavar="B", help="sequences per update (%(default)s)"
    )
    training.add_argument(
        "--validation",
        type=option(check_number, "--validation", 0, 1, below=True),
        default=0.1,
        metavar="SHARE",
        help="held out to measure by, and to stop when it gets no better; 0: none (%(default)s)",
    )
    training.add_argument(
        "--patience",
        type=positive("--patience"),
        default=10,
        metavar="E",
        help="epochs without progress after which training stops (%(default)s)",
    )


def settings(args: argparse.Namespace, **more: Any) -> Training:
    """Return how to train, from the options."""
    from rnnfast.callbacks import Callback, CSVLogger
    from rnnfast.loggers import JSONLLogger, TensorBoardLogger

    callbacks: list[Callback] = []
    if args.log is not None:
        kinds = {".csv": CSVLogger, ".jsonl": JSONLLogger}
        if args.log.suffix not in kinds:
            raise UserError(f"--log must end in .csv or .jsonl; got {args.log}")
        callbacks.append(kinds[args.log.suffix](args.log))
    if args.tensorboard is not None:
        callbacks.append(TensorBoardLogger(args.tensorboard))
    epochs = args.epochs or (args.default_epochs if args.seconds is None else 10_000)
    return Training(
        epochs=epochs,
        seconds=args.seconds,
        lr=args.lr,
        seed=args.seed,
        progress=not args.quiet,
        callbacks=tuple(callbacks),
        **more,
    )


def network(args: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """Return the options of the network, as arguments of ``rnnfast.tasks.networks.build``."""
    return {"cell": args.cell, "hidden": args.hidden, "layers": args.layers, "dropout": args.dropout, **more}


def store(model: Layer, task: dict[str, Any], args: argparse.Namespace, history: History) -> int:
    """Write a model with its task, say so, and return the exit code."""
    path = save_model(model, args.output, {"task": task})
    print(f"model: {path} ({model.num_parameters():,} parameters, {path.stat().st_size / 1024:,.1f} KiB)")
    if history.reason == "interrupted":
        print("training was interrupted; the model is as after the last update")
        return INTERRUPTED
    return 0


def load(path: Path, kinds: tuple[str, ...], command: str) -> tuple[Any, dict[str, Any]]:
    """Return a model and its task, one of ``kinds``.

    Raises
    ------
    UserError
        If the file was not written by ``train``, or has another task than the command is for.
    """
    model, extra = load_model(path, with_extra=True)
    task = extra.get("task")
    if type(task) is not dict or type(task.get("kind")) is not str:
        raise UserError(f"{path} holds a model without a task; 'python -m rnnfast train' writes those that have one")
    if task["kind"] not in kinds:
        raise UserError(f"{path} is of the task {task['kind']!r}, which {command} is not for ({', '.join(kinds)})")
    return model, task


__all__ = [
    "INTERRUPTED",
    "UserError",
    "add_held_out",
    "add_training",
    "check_save",
    "load",
    "network",
    "option",
    "plain_errors",
    "positive",
    "settings",
    "standard_input",
    "store",
]
