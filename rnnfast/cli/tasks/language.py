"""The task ``language``: what comes next in a text."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from rnnfast.checks import check_number
from rnnfast.cli.common import UserError, add_training, network, option, positive, settings, store
from rnnfast.cli.tasks.words import KINDS, UNKNOWN
from rnnfast.data.readers import read_text
from rnnfast.data.vocabulary import Vocabulary
from rnnfast.losses import SoftmaxCrossEntropy
from rnnfast.optimizers import SGD
from rnnfast.tasks.networks import build
from rnnfast.trainer import Trainer

EXAMPLES = {
    "language": """\
examples:
  python -m rnnfast train language --data book.txt --seconds 60 --hidden 256 --output writer
  python -m rnnfast train language --data news.txt --level word --vocabulary 10000
  python -m rnnfast generate writer.safetensors --prime "Once upon a time"
"""
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """Add this task's options."""
    data = parser.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, metavar="FILE", help="UTF-8 text")
    data.add_argument("--level", choices=("char", "word"), default="char", help="what tokens are (%(default)s)")
    data.add_argument(
        "--vocabulary",
        type=positive("--vocabulary"),
        default=5000,
        metavar="N",
        help="most frequent tokens (%(default)s)",
    )
    data.add_argument(
        "--embedding", type=positive("--embedding"), default=64, metavar="D", help="numbers for a token (%(default)s)"
    )
    data.add_argument(
        "--streams", type=positive("--streams"), default=64, metavar="N", help="side by side (%(default)s)"
    )
    data.add_argument(
        "--steps", type=positive("--steps"), default=64, metavar="N", help="that errors are sent back (%(default)s)"
    )
    data.add_argument(
        "--validation",
        type=option(check_number, "--validation", 0, 1, below=True),
        default=0.1,
        metavar="SHARE",
        help="at the end of the text, to measure by; 0: none (%(default)s)",
    )
    add_training(parser, 10, 128, "rnnfast-language")


def train(args: argparse.Namespace) -> int:
    """Train; return the exit code."""
    text = read_text(args.data)
    at = len(text) - round(args.validation * len(text))
    kind = KINDS[args.level]
    vocabulary = kind.build(text[:at], max_size=args.vocabulary, unknown=UNKNOWN)
    numbers, held = vocabulary.encode(text[:at]), vocabulary.encode(text[at:])
    if len(numbers) < 3:
        raise UserError(f"{args.data} must have at least 3 tokens to learn from; got {len(numbers)}")
    print(f"text: {len(numbers) + len(held):,} tokens, {len(vocabulary) - 1:,} different")
    model = build(len(vocabulary), len(vocabulary), embedding=args.embedding, seed=args.seed, **network(args))
    training = settings(args)
    streams = max(1, min(args.streams, (len(numbers) - 1) // (2 * args.steps)))
    trainer = training.trainer(model, SoftmaxCrossEntropy())
    history = trainer.fit_stream(
        numbers,
        streams=streams,
        steps=args.steps,
        epochs=training.epochs,
        max_seconds=training.seconds,
        callbacks=training.callbacks,
        progress=training.progress,
    )
    if len(held) > 1:
        found = _measure(model, held)
        print(f"held out: {found['bits']:.3f} bits for each token, perplexity {found['perplexity']:.4g}")
    task = {"kind": "language", "level": args.level, "vocabulary": vocabulary.state_dict()}
    return store(model, task, args, history)


def evaluate(model: Any, task: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Return how well a text is foretold."""
    if args.answers is not None:
        raise UserError("--answers is for other tasks: a text has its own")
    vocabulary = read_vocabulary(task)
    numbers = vocabulary.encode(read_text(args.data))
    if len(numbers) < 2:
        raise UserError(f"{args.data} must have at least 2 tokens; got {len(numbers)}")
    unknown = float((numbers == vocabulary.number(UNKNOWN)).mean())
    return {**_measure(model, numbers), "unknown": unknown}


def read_vocabulary(task: dict[str, Any]) -> Vocabulary:
    """Return the vocabulary of a model's file."""
    return KINDS[task["level"]].from_state_dict(task["vocabulary"])


def _measure(model: Any, numbers: Any) -> dict[str, Any]:
    streams = max(1, min(32, (len(numbers) - 1) // 256))
    steps = min(256, len(numbers) - 1)
    loss = Trainer(model, SoftmaxCrossEntropy(), SGD(lr=1.0)).evaluate_stream(numbers, streams=streams, steps=steps)[
        "loss"
    ]
    return {"tokens": len(numbers), "nats": loss, "bits": loss / math.log(2), "perplexity": math.exp(min(loss, 700.0))}
