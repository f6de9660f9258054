"""Read images of digits with an LSTM, one row of pixels a step."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.data import read_idx
from rnnfast.demos.common import (
    RAMP,
    Ticker,
    UserError,
    add_options,
    check_save,
    run_fit,
    save_and_reload,
    told_in_one_line,
)
from rnnfast.demos.glyphs import draw
from rnnfast.layers.dense import Dense
from rnnfast.layers.pooling import Last
from rnnfast.layers.recurrent import LSTM
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import SoftmaxCrossEntropy
from rnnfast.optimizers import Adam
from rnnfast.schedules import Cosine
from rnnfast.trainer import Trainer

EXAMPLES = """\
examples:
  python -m rnnfast demo digits
  python -m rnnfast demo digits --images train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz
"""

EPOCHS = 5
BATCH = 64
MADE_UP = 5000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this demonstration's options."""
    parser.add_argument("--images", type=Path, metavar="FILE", help="images in IDX format (default: drawn ones)")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="their labels in IDX format")
    add_options(parser, 128, "rnnfast-digits", f"by default {EPOCHS} epochs, whatever they take")


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; return the exit code."""
    path = check_save(args.save)
    name, images, labels = load(args)
    count, rows, columns = images.shape
    classes = int(labels.max()) + 1
    start = count * 8 // 10
    print(f"images: {name}, {count:,} of {rows} x {columns}; the last {count - start:,} are the test")

    pixels = images.astype(np.float32) / np.float32(max(int(images.max()), 1))
    seeds = [int(seed) for seed in np.random.SeedSequence(args.seed).generate_state(2)]
    model = Sequential(LSTM(columns, args.hidden, seed=seeds[0]), Last(), Dense(args.hidden, classes, seed=seeds[1]))
    print(f"network: LSTM {args.hidden} over {rows} rows of pixels, {model.num_parameters():,} parameters")
    trainer = Trainer(
        model, SoftmaxCrossEntropy(), Adam(lr=4e-3), clip_norm=1.0, schedule=Cosine(warmup=0.05), seed=args.seed
    )
    epochs = args.epochs or (EPOCHS if args.seconds is None else 10_000)
    batches = -(-start // BATCH)
    ticker = Ticker(lambda loss: f"loss {loss:.4f}", "images", start / batches, epochs * batches, args.seconds)
    run_fit(
        trainer.fit,
        ticker,
        f"{BATCH} images",
        x=pixels[:start],
        y=labels[:start],
        epochs=epochs,
        batch_size=BATCH,
        max_seconds=args.seconds,
    )

    extra = {"rows": rows, "columns": columns, "classes": classes}
    model = save_and_reload(model, path, extra, pixels[start : start + 100])
    show(images[start:], labels[start:], model(pixels[start:])[0])
    return 0


def load(args: argparse.Namespace, classes: int = 256) -> tuple[str, NDArray[Any], NDArray[np.int64]]:
    """Return what the images are, the images (N, rows, columns) and their labels, all less than ``classes``."""
    if (args.images is None) != (args.labels is None):
        raise UserError("--images and --labels go together")
    if args.images is None:
        drawn, digits = draw(MADE_UP, args.seed)
        return "digits drawn from a small font (no files were given)", drawn, digits.astype(np.int64)
    with told_in_one_line():
        images, labels = read_idx(args.images), read_idx(args.labels)
    if images.ndim != 3 or not images[:1].size or images.dtype != np.uint8:
        raise UserError(f"{args.images}: must hold bytes, images x rows x columns; got {images.dtype} {images.shape}")
    if labels.ndim != 1 or labels.dtype != np.uint8:
        raise UserError(f"{args.labels}: must hold bytes, one label for each image; got {labels.dtype} {labels.shape}")
    if len(images) != len(labels):
        raise UserError(f"{args.labels}: must have {len(images)} labels, one for each image; got {len(labels)}")
    if len(images) < 10:
        raise UserError(f"{args.images}: must have at least 10 images; got {len(images)}")
    if int(labels.max()) >= classes:
        raise UserError(f"{args.labels}: labels must be less than {classes}; got {labels.max()}")
    return args.images.name, images, labels.astype(np.int64)


def show(images: NDArray[Any], labels: NDArray[np.int64], scores: NDArray[Any]) -> None:
    """Print some of the test images with what the network takes them for, and what it mixes up."""
    guesses = scores.argmax(axis=1)
    wrong = np.flatnonzero(guesses != labels)
    picked = [*np.flatnonzero(guesses == labels)[:2].tolist(), *wrong[:1].tolist()]
    print("\nsome of the test, the last of them read wrongly:\n" if len(wrong) else "\nsome of the test:\n")
    columns = [picture(images[k], f"{labels[k]} read as {guesses[k]}") for k in picked]
    for line in zip(*columns, strict=True):
        print("   ".join(line).rstrip())
    print(f"\ntest: {1 - len(wrong) / len(labels):.2%} of {len(labels):,} read rightly, {len(wrong)} wrongly")
    if len(wrong):
        pairs, counts = np.unique(np.stack([labels[wrong], guesses[wrong]]), axis=1, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:5]
        told = ", ".join(f"{pairs[0, k]} as {pairs[1, k]} ({counts[k]})" for k in order)
        print(f"most often mixed up: {told}")


def picture(image: NDArray[Any], title: str) -> list[str]:
    """Return an image as lines of text, two rows of pixels in each, under a title."""
    pixels = image[: len(image) // 2 * 2].reshape(-1, 2, image.shape[1]).mean(axis=1)
    shades = (pixels / 256 * len(RAMP)).astype(int)
    width = max(image.shape[1], len(title))
    return [title.ljust(width), *("".join(RAMP[s] for s in row).ljust(width) for row in shades)]
