"""Train a character LSTM on a text, then let it write."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_number, check_size
from rnnfast.data import CharVocabulary, read_text
from rnnfast.demos.common import (
    Ticker,
    UserError,
    add_options,
    check_save,
    option,
    positive,
    run_fit,
    save_and_reload,
    told_in_one_line,
)
from rnnfast.demos.corpus import standard_library
from rnnfast.demos.speed import compare
from rnnfast.generation import generate_text
from rnnfast.layers.dense import Dense
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.recurrent import LSTM
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import SoftmaxCrossEntropy
from rnnfast.optimizers import Adam
from rnnfast.schedules import Cosine
from rnnfast.trainer import Trainer

EXAMPLES = """\
examples:
  python -m rnnfast demo
  python -m rnnfast demo --text shakespeare.txt --seconds 60
  python -m rnnfast demo --text poems.txt --epochs 3 --temperature 0.9 --prime "Spring" --save poet.npz
"""

UNKNOWN = "\ufffd"
SECONDS = 40.0
STEPS = 64
MAX_VOCABULARY = 8192
# A small text is seen at most so often: by then it is known by heart.
MAX_EPOCHS = 100


class Corpus(NamedTuple):
    """A text as numbers.

    Attributes
    ----------
    name : str
        What it is.
    vocabulary : CharVocabulary
        Of the training part.
    train, validation : ndarray of int64, shape (L,)
        The first nine tenths and the rest, which begins with the last character of the former.
    prime : str
        What the network shall go on from.
    """

    name: str
    vocabulary: CharVocabulary
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    prime: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this demonstration's options."""
    parser.add_argument(
        "--text", type=Path, metavar="FILE", help="any UTF-8 text (default: Python's standard library, as source)"
    )
    add_options(parser, 256, "rnnfast-text", f"{SECONDS:.0f} by default")
    parser.add_argument(
        "--streams",
        type=positive("--streams"),
        default=32,
        metavar="B",
        help="places of the text read side by side (%(default)s, fewer for a small text)",
    )
    parser.add_argument(
        "--lr",
        type=option(check_number, "--lr", 0, above=True),
        default=0.012,
        metavar="R",
        help="highest learning rate (%(default)s)",
    )
    parser.add_argument(
        "--length",
        type=option(check_size, "--length", 0),
        default=600,
        metavar="N",
        help="characters to write (%(default)s)",
    )
    parser.add_argument(
        "--temperature",
        type=option(check_number, "--temperature", 0),
        default=0.7,
        metavar="T",
        help="0: always the likeliest character, 1: as the network has it (%(default)s)",
    )
    parser.add_argument("--top-k", type=positive("--top-k"), metavar="K", help="draw among the K likeliest only")
    parser.add_argument(
        "--top-p",
        type=option(check_number, "--top-p", 0, 1, above=True),
        metavar="P",
        help="draw among the likeliest characters that make up so much of the probability",
    )
    parser.add_argument("--prime", metavar="TEXT", help="what the network shall go on from")


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; return the exit code."""
    path = check_save(args.save)
    corpus = load(args.text, args.prime)
    vocabulary, size = corpus.vocabulary, len(corpus.train)
    streams = max(1, min(args.streams, (size - 1) // (2 * STEPS)))
    steps = min(STEPS, size - 1)
    print(f"text: {corpus.name}, {size + len(corpus.validation) - 1:,} characters, {len(vocabulary) - 1:,} different")

    seeds = np.random.SeedSequence(args.seed).generate_state(4)
    model = build(len(vocabulary), args.hidden, [int(seed) for seed in seeds])
    print(f"network: Embedding 64, LSTM {args.hidden}, {model.num_parameters():,} parameters")
    loss = SoftmaxCrossEntropy()
    optimizer = Adam(lr=args.lr, betas=(0.9, 0.99))
    schedule = Cosine(warmup=0.05, min_lr=0.02 * args.lr)
    trainer = Trainer(model, loss, optimizer, clip_norm=1.0, schedule=schedule, seed=args.seed)
    seconds = None if args.epochs else args.seconds or SECONDS
    epochs = args.epochs or MAX_EPOCHS
    chunks = -(-((size - 1) // streams) // steps)
    per_chunk = (size - 1) // streams * streams / chunks
    ticker = Ticker(spell, "characters", per_chunk, epochs * chunks, seconds)
    run_fit(
        trainer.fit_stream,
        ticker,
        f"{streams} x {steps} characters",
        inputs=corpus.train,
        streams=streams,
        steps=steps,
        epochs=epochs,
        max_seconds=seconds,
    )
    report(trainer, corpus)

    x, y = batch(corpus.train, streams, steps)
    model = save_and_reload(model, path, {"vocabulary": vocabulary.state_dict()}, x)
    write(model, corpus, args, int(seeds[3]))
    speeds = compare(build(len(vocabulary), args.hidden, [int(seed) for seed in seeds]), loss, x, y)
    print(
        f"speed: {x.size / speeds.native:,.0f} characters/s in training, "
        f"{speeds.reference / speeds.native:.1f} times the reference path ({x.size / speeds.reference:,.0f}); "
        f"the two agree to {speeds.difference:.0e}"
    )
    return 0


def load(path: Path | None, prime: str | None) -> Corpus:
    """Return the text of a file, or of the standard library, split and numbered."""
    if path is None:
        text, name, start = standard_library(), "source of Python's standard library", "\n\ndef "
    else:
        with told_in_one_line():
            text, name, start = read_text(path), path.name, "\n"
    at = max(2, len(text) * 9 // 10)
    if len(text) < 3:
        raise UserError(f"{path}: a text must have at least 3 characters; got {len(text)}")
    vocabulary = CharVocabulary.build(text[:at], max_size=MAX_VOCABULARY, unknown=UNKNOWN)
    numbers = vocabulary.encode(text)
    if prime == "":
        raise UserError("--prime must have at least one character")
    chosen = prime or (start if start in text else text[0])
    return Corpus(name, vocabulary, numbers[:at], numbers[at - 1 :], chosen)


def build(size: int, hidden: int, seeds: list[int]) -> Sequential:
    """Return a new network for so many characters."""
    return Sequential(
        Embedding(size, 64, seed=seeds[0]), LSTM(64, hidden, seed=seeds[1]), Dense(hidden, size, seed=seeds[2])
    )


def spell(loss: float) -> str:
    """Return a loss in nats as words."""
    return f"loss {loss:.3f}  {loss / math.log(2):.2f} bits per character"


def report(trainer: Trainer, corpus: Corpus) -> None:
    """Print the loss on the part kept back."""
    pairs = len(corpus.validation) - 1
    streams = max(1, min(32, pairs // 256))
    value = trainer.evaluate_stream(corpus.validation, streams=streams, steps=min(256, pairs))["loss"]
    print(f"validation (last tenth of the text): {value:.3f} nats, {value / math.log(2):.2f} bits per character")


def batch(numbers: NDArray[np.int64], streams: int, steps: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return one batch of inputs and targets from the start of the text."""
    rows = (len(numbers) - 1) // streams
    x, y = (part[: streams * rows].reshape(streams, rows)[:, :steps] for part in (numbers[:-1], numbers[1:]))
    return x, y


def write(model: Sequential, corpus: Corpus, args: argparse.Namespace, seed: int) -> None:
    """Let the network write, character by character."""
    pieces = generate_text(
        model,
        corpus.vocabulary,
        args.length,
        corpus.prime,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        rng=np.random.default_rng(seed),
    )
    live = sys.stdout.isatty()
    print(f"\n--- what it writes, at temperature {args.temperature:g} ---")
    print(corpus.prime.lstrip("\n"), end="", flush=live)
    for piece in pieces:
        print(piece, end="", flush=live)
    print("\n---\n")
