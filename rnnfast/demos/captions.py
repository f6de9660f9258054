"""Learn to spell the names of digits from their images, letter by letter, looking at the rows of the image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_size
from rnnfast.data import CharVocabulary, teacher_forcing
from rnnfast.decoding import Hypothesis, beam_search
from rnnfast.demos.common import (
    RAMP,
    Ticker,
    add_options,
    check_save,
    option,
    run_fit,
    save_and_reload,
)
from rnnfast.demos.digits import load, picture
from rnnfast.demos.glyphs import SIDE, draw
from rnnfast.losses import SoftmaxCrossEntropy
from rnnfast.models import EncoderDecoder, VectorToSequence
from rnnfast.optimizers import Adam
from rnnfast.schedules import Cosine
from rnnfast.trainer import Trainer

EXAMPLES = """\
examples:
  python -m rnnfast demo captions
  python -m rnnfast demo captions --model vector
  python -m rnnfast demo captions --images train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz
"""

EPOCHS = 6
BATCH = 64
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
START, END = "<s>", "</s>"
LONGEST = 12
Captioner = EncoderDecoder | VectorToSequence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this demonstration's options."""
    parser.add_argument("--images", type=Path, metavar="FILE", help="images in IDX format (default: drawn ones)")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="their labels, 0 to 9, in IDX format")
    add_options(parser, 128, "rnnfast-captions", f"by default {EPOCHS} epochs, whatever they take")
    parser.add_argument(
        "--model",
        choices=("attention", "vector"),
        default="attention",
        help="attention over the rows of the image, or the image as one vector (%(default)s)",
    )
    parser.add_argument(
        "--new",
        type=option(check_size, "--new", 0),
        default=2,
        metavar="N",
        help="new images to draw and name, where yours are as large (%(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; return the exit code."""
    path = check_save(args.save)
    name, images, labels = load(args, len(NAMES))
    start = len(images) * 8 // 10
    print(f"images: {name}, {len(images):,} of {images.shape[1]} x {images.shape[2]}; ", end="")
    print(f"the last {len(images) - start:,} are the test")
    vocabulary = CharVocabulary.build(NAMES, special=(START, END))
    x = pixels(images, args.model)
    model = build(args, x, vocabulary)
    kind = "LSTM over rows, attention" if args.model == "attention" else "image as a vector"
    print(f"network: {kind}, LSTM {args.hidden} over letters, {model.num_parameters():,} parameters")
    fit(model, args, vocabulary, x[:start], labels[:start])

    trial = (x[start : start + 20], np.full((len(x[start : start + 20]), 1), vocabulary.number(START)))
    model = save_and_reload(model, path, {"vocabulary": vocabulary.state_dict(), "model": args.model}, trial)
    report(model, vocabulary, images[start:], x[start:], labels[start:])
    if args.new and images.shape[1:] == (SIDE, SIDE):
        drawn, digits = draw(args.new, args.seed + 1)
        print("\nnew images, drawn now from a small font:")
        found = captions(model, vocabulary, pixels(drawn, args.model), 3)
        for image, digit, best in zip(drawn, digits, found, strict=True):
            print("\n" + "\n".join(line.rstrip() for line in picture(image, NAMES[digit])))
            for each in best:
                print(f"  {np.exp(each.log_prob):6.1%} {vocabulary.decode(each.tokens)}")
    return 0


def pixels(images: NDArray[Any], model: str) -> NDArray[Any]:
    """Return images (N, rows, columns) as the network takes them, 0..1: as they are, or (N, rows * columns)."""
    x = images.astype(np.float32) / np.float32(255)
    return x if model == "attention" else x.reshape(len(x), -1)


def build(args: argparse.Namespace, x: NDArray[Any], vocabulary: CharVocabulary) -> Captioner:
    """Return a new network."""
    common: dict[str, Any] = {"embedding_dim": 16, "hidden_size": args.hidden, "seed": args.seed}
    if args.model == "vector":
        return VectorToSequence(x.shape[1], len(vocabulary), use="both", **common)
    return EncoderDecoder(
        x.shape[2], len(vocabulary), encoder_hidden_size=-(-args.hidden // 2), source="vectors", **common
    )


def fit(
    model: Captioner, args: argparse.Namespace, vocabulary: CharVocabulary, x: NDArray[Any], labels: NDArray[np.int64]
) -> None:
    """Train."""
    signs = vocabulary.number(START), vocabulary.number(END)
    inputs, outputs = teacher_forcing([vocabulary.encode(NAMES[label]) for label in labels], *signs)
    trainer = Trainer(
        model, SoftmaxCrossEntropy(), Adam(lr=4e-3), clip_norm=1.0, schedule=Cosine(warmup=0.05), seed=args.seed
    )
    epochs = args.epochs or (EPOCHS if args.seconds is None else 10_000)
    batches = -(-len(x) // BATCH)
    ticker = Ticker(lambda loss: f"loss {loss:.4f}", "images", len(x) / batches, epochs * batches, args.seconds)
    run_fit(
        trainer.fit,
        ticker,
        f"{BATCH} images",
        x=(x, inputs),
        y=outputs,
        epochs=epochs,
        batch_size=BATCH,
        max_seconds=args.seconds,
    )


def captions(model: Captioner, vocabulary: CharVocabulary, x: NDArray[Any], n_best: int) -> list[list[Hypothesis]]:
    """Return the best names of each image."""
    found: list[list[Hypothesis]] = []
    for k in range(0, len(x), 500):
        state = model.start(x[k : k + 500])
        first = np.full(len(x[k : k + 500]), vocabulary.number(START))
        found += beam_search(
            model,
            state,
            first,
            max_length=LONGEST,
            end=vocabulary.number(END),
            beam=4,
            n_best=n_best,
            forbidden=[vocabulary.number(START)],
        )
    return found


def report(
    model: Captioner, vocabulary: CharVocabulary, images: NDArray[Any], x: NDArray[Any], labels: NDArray[np.int64]
) -> None:
    """Print where the letters of a name look, and how many names are right."""
    names = [vocabulary.decode(best[0].tokens) for best in captions(model, vocabulary, x, 1)]
    right = np.array([name == NAMES[label] for name, label in zip(names, labels, strict=True)])
    if isinstance(model, EncoderDecoder):
        look(model, vocabulary, images[0], x[0], names[0])
    words = np.array([name in NAMES for name in names])
    often = np.bincount(labels).max() / len(labels)
    print(f"\ntest: {right.mean():.2%} of {len(labels):,} named rightly; always the same name: {often:.2%}")
    print(f"{words.mean():.2%} of what it says are names of digits at all")
    wrong = [f"{NAMES[labels[k]]} as {names[k]}" for k in np.flatnonzero(~right)[:5]]
    if wrong:
        print(f"some that are not: {', '.join(wrong)}")


def look(model: EncoderDecoder, vocabulary: CharVocabulary, image: NDArray[Any], x: NDArray[Any], name: str) -> None:
    """Print an image of the test and beside it how much each letter of its name looks at each row."""
    target = np.concatenate([[vocabulary.number(START)], vocabulary.encode(name)])
    weights = model.attention_weights(x[None], target[None])[0]
    shares = weights[:, : len(image) // 2 * 2].reshape(len(target), -1, 2).sum(axis=2).T
    shares = shares / np.maximum(shares.max(axis=0), 1e-9)
    print("\none of the test, and which rows each letter of its name looks at:\n")
    columns = [" ".join([*name, "."]), *(" ".join(RAMP[int(s * (len(RAMP) - 1))] for s in row) for row in shares)]
    for line, marks in zip(picture(image, name), columns, strict=True):
        print(f"{line}   {marks}".rstrip())
