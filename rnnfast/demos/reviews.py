"""Tell whether a review praises or pans, with a bidirectional LSTM, against a baseline that counts words."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.data import WordVocabulary
from rnnfast.demos.common import Ticker, add_options, check_save, positive, run_fit, save_and_reload
from rnnfast.demos.polarity import Reviews, baseline, from_archive, made_up, split
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.pooling import MeanPool
from rnnfast.layers.recurrent import LSTM
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import SoftmaxCrossEntropy
from rnnfast.metrics import Accuracy
from rnnfast.optimizers import Adam
from rnnfast.schedules import Cosine
from rnnfast.trainer import Trainer

EXAMPLES = """\
examples:
  python -m rnnfast demo reviews
  python -m rnnfast demo reviews --data movie-review-polarity.tar.gz --runs 3
"""

EPOCHS = 8
BATCH = 32
WORD = 32  # numbers a word
MADE_UP = 1200
LEAST_COUNT = 3
NEW = (
    "a wonderful film: the story moves , the lead is superb and the ending is one of the best of the year .",
    "the plot is dull , the dialogue is awful and i was bored for two hours ; a waste of time and talent .",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this demonstration's options."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="a tar archive with folders pos and neg (default: made-up texts)",
    )
    parser.add_argument(
        "--tokens",
        type=positive("--tokens"),
        default=500,
        metavar="T",
        help="read of the end of each text (%(default)s)",
    )
    parser.add_argument(
        "--runs",
        type=positive("--runs"),
        default=1,
        metavar="R",
        help="trainings, with seeds from --seed on (%(default)s)",
    )
    add_options(parser, 32, "rnnfast-reviews", f"for each run; by default {EPOCHS} epochs, whatever they take")


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; return the exit code."""
    path = check_save(args.save)
    reviews = made_up(MADE_UP, args.seed) if args.data is None else from_archive(args.data)
    at = len(reviews.tokens) - reviews.tested
    counts = Counter(token for tokens in reviews.tokens[:at] for token in tokens)
    vocabulary = WordVocabulary(
        ["<unk>", *sorted(token for token, count in counts.items() if count >= LEAST_COUNT)], unknown="<unk>"
    )
    numbers = {token: k for k, token in enumerate(vocabulary.tokens)}
    encoded = [np.array([numbers.get(t, 0) for t in tokens[-args.tokens :]], np.int64) for tokens in reviews.tokens]
    print(
        f"reviews: {reviews.name}, {len(encoded):,}, of which the test has {reviews.tested:,}; "
        f"the last {args.tokens} tokens of each, {len(numbers):,} words"
    )
    print(f"baseline: logistic regression on word counts (TF-IDF) gets {baseline(reviews):.1%} of the test right")

    shares: list[float] = []
    model: Any = None
    for k in range(args.runs):
        found, trainer = learn(encoded, reviews, len(numbers), args, args.seed + k)
        share = trainer.evaluate(encoded[at:], reviews.labels[at:])["accuracy"]
        print(f"seed {args.seed + k}: {share:.1%} of the test right\n")
        if not shares or share > max(shares):
            model = found
        shares.append(share)
    if len(shares) > 1:
        print(f"mean of {len(shares)} runs: {np.mean(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})")
    extra = {"vocabulary": vocabulary.state_dict(), "tokens": args.tokens}
    model = save_and_reload(model, path, extra, encoded[at][None])
    show(model, numbers, reviews, encoded, at)
    return 0


def learn(
    encoded: list[NDArray[np.int64]], reviews: Reviews, words: int, args: argparse.Namespace, seed: int
) -> tuple[Sequential, Trainer]:
    """Train a network; return it with its averaged weights, and a trainer to measure it with."""
    seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(3)]
    model = Sequential(
        Embedding(words, WORD, seed=seeds[0]),
        Dropout(0.5),
        LSTM(WORD, args.hidden, bidirectional=True, seed=seeds[1]),
        MeanPool(),
        Dropout(0.5),
        Dense(2 * args.hidden, 2, seed=seeds[2]),
    )
    at = len(encoded) - reviews.tested
    epochs = args.epochs or (EPOCHS if args.seconds is None else 10_000)
    batches = -(-at // BATCH)
    loss = SoftmaxCrossEntropy()
    trainer = Trainer(
        model,
        loss,
        Adam(lr=2e-2),
        clip_norm=1.0,
        schedule=Cosine(warmup=0.05),
        metrics=[Accuracy()],
        ema=0.98,
        seed=seed,
    )
    ticker = Ticker(lambda value: f"loss {value:.4f}", "reviews", at / batches, epochs * batches, args.seconds)
    run_fit(
        trainer.fit,
        ticker,
        f"{BATCH} reviews",
        x=encoded[:at],
        y=reviews.labels[:at],
        epochs=epochs,
        batch_size=BATCH,
        max_seconds=args.seconds,
    )
    if trainer.average is not None and trainer.step:
        trainer.set_parameters(trainer.average.arrays)
    return model, trainer


def show(model: Any, numbers: dict[str, int], reviews: Reviews, encoded: list[NDArray[np.int64]], at: int) -> None:
    """Print how sure the model is of some of the test and of new sentences."""
    print("\nends of some texts of the test, and new ones; how sure it is that they praise:\n")
    picked = np.linspace(at, len(encoded) - 1, 4).astype(int)
    lines = [(" ".join(reviews.tokens[k][-14:]), encoded[k], "praise" if reviews.labels[k] else "pan") for k in picked]
    for text in NEW:
        lines.append((text, np.array([numbers.get(t, 0) for t in split(text)], np.int64), "new"))
    for text, tokens, label in lines:
        scores = model(tokens[None])[0][0].astype(np.float64)
        sure = 1 / (1 + np.exp(scores[0] - scores[1]))
        bar = "#" * round(20 * sure)
        print(f"  {sure:5.1%} |{bar:<20}| {label:>6}: {text if label == 'new' else '... ' + text}")
