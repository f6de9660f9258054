"""Tag words with their parts of speech: words, their spellings, and the words on both sides."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.crf_loss import CRFLoss
from rnnfast.data import WordEncoder, pad_sequences, read_conllu
from rnnfast.demos.common import (
    Ticker,
    UserError,
    add_options,
    check_save,
    run_fit,
    save_and_reload,
    told_in_one_line,
)
from rnnfast.demos.grammar import Tagged, make_up
from rnnfast.io import load_model
from rnnfast.losses import SoftmaxCrossEntropy
from rnnfast.models import Tagger
from rnnfast.optimizers import Adam
from rnnfast.schedules import Cosine
from rnnfast.trainer import Trainer

EXAMPLES = """\
examples:
  python -m rnnfast demo tagging
  python -m rnnfast demo tagging --conllu en_ewt-ud-dev.conllu
  python -m rnnfast demo tagging --conllu en_ewt-ud-dev.conllu --crf --sentence "Time flies like an arrow ."
"""

EPOCHS = 12
BATCH = 16
MADE_UP = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this demonstration's options."""
    parser.add_argument("--conllu", type=Path, metavar="FILE", help="a treebank in CoNLL-U format (default: made up)")
    parser.add_argument("--column", choices=("upos", "xpos"), default="upos", help="which tags to learn (%(default)s)")
    parser.add_argument("--crf", action="store_true", help="let neighbouring tags depend on each other")
    parser.add_argument(
        "--sentence", metavar="TEXT", help="what to tag with the model read back, with spaces between words"
    )
    add_options(parser, 64, "rnnfast-tagging", f"by default {EPOCHS} epochs, whatever they take")


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; return the exit code."""
    path = check_save(args.save)
    name, sentences = load(args)
    order = np.random.default_rng(args.seed).permutation(len(sentences))
    cut = max(1, len(sentences) // 5)
    test, train = ([sentences[k] for k in part] for part in (order[:cut], order[cut:]))
    encoder = WordEncoder.build([words for words, _ in train])
    tags = sorted({tag for _, row in train for tag in row})
    seen = {word for words, _ in train for word in words}
    new = [word not in seen for words, _ in test for word in words]
    print(
        f"sentences: {name}, {len(sentences):,}; a random fifth, {sum(map(len, (w for w, _ in test))):,} words, is the "
        f"test; {np.mean(new):.1%} of these never came in training"
    )

    model = Tagger(
        len(encoder.words),
        len(tags),
        len(encoder.characters),
        hidden_size=args.hidden,
        dropout=0.3,
        word_dropout=0.1,
        crf=args.crf,
        seed=args.seed,
    )
    print(
        f"network: {len(encoder.words):,} words and a BiLSTM over their characters, BiLSTM {args.hidden}"
        f"{', CRF' if args.crf else ''}, {len(tags)} tags, {model.num_parameters():,} parameters"
    )
    train_model(model, train, encoder, tags, args)

    extra = {"encoder": encoder.state_dict(), "tags": tags}
    model = save_and_reload(model, path, extra, encoder.encode(test[0][0])[None])
    x, lengths = pad_sequences([encoder.encode(words) for words, _ in test])
    found = [row[:size] for row, size in zip(model.tag(x, lengths=lengths), lengths, strict=True)]
    report(train, test, found, tags, np.array(new))
    tag_new(path, args.sentence or " ".join(test[0][0]))
    return 0


def load(args: argparse.Namespace) -> tuple[str, list[Tagged]]:
    """Return what the sentences are, and the words and tags of each."""
    if args.conllu is None:
        if args.column != "upos":
            raise UserError("--column goes with --conllu")
        return "made up from a small grammar (no file was given)", make_up(MADE_UP, args.seed)
    with told_in_one_line():
        found = read_conllu(args.conllu)
    sentences = []
    for sentence in found:
        row = getattr(sentence, args.column)
        if all(tag is not None for tag in row):
            sentences.append((list(sentence.words), list(row)))
    if len(sentences) < 10:
        raise UserError(f"{args.conllu}: must have at least 10 sentences with {args.column}; got {len(sentences)}")
    return args.conllu.name, sentences


def train_model(
    model: Tagger, train: list[Tagged], encoder: WordEncoder, tags: list[str], args: argparse.Namespace
) -> None:
    """Train, with progress."""
    numbers = {tag: k for k, tag in enumerate(tags)}
    loss = CRFLoss() if args.crf else SoftmaxCrossEntropy()
    trainer = Trainer(model, loss, Adam(lr=0.01), clip_norm=1.0, schedule=Cosine(warmup=0.05), seed=args.seed)
    epochs = args.epochs or (EPOCHS if args.seconds is None else 10_000)
    batches = -(-len(train) // BATCH)
    words = sum(len(row) for row, _ in train)
    ticker = Ticker(lambda value: f"loss {value:.4f}", "words", words / batches, epochs * batches, args.seconds)
    run_fit(
        trainer.fit,
        ticker,
        f"{BATCH} sentences",
        x=[encoder.encode(row) for row, _ in train],
        y=[np.array([numbers[tag] for tag in row]) for _, row in train],
        epochs=epochs,
        batch_size=BATCH,
        max_seconds=args.seconds,
    )


def report(
    train: list[Tagged], test: list[Tagged], found: list[NDArray[np.int64]], tags: list[str], new: NDArray[np.bool_]
) -> None:
    """Print a tagged sentence, the share of right tags beside a baseline, and what is confused most often."""
    guesses = np.array([tags[k] for row in found for k in row])
    truth = np.array([tag for _, row in test for tag in row])
    right = guesses == truth
    each = np.split(right, np.cumsum([len(row) for row in found])[:-1])
    chosen = max(range(len(test)), key=lambda k: (len(each[k]) in range(8, 16), not each[k].all(), each[k].mean()))
    print("\na sentence of the test (! where the tag is wrong, with the right one):\n")
    print_tagged(test[chosen][0], [tags[k] for k in found[chosen]], test[chosen][1])

    counts: dict[str, Counter[str]] = {}
    for words, row in train:
        for word, tag in zip(words, row, strict=True):
            counts.setdefault(word, Counter())[tag] += 1
    rare = Counter(next(iter(c)) for c in counts.values() if c.total() == 1).most_common(1)
    default = rare[0][0] if rare else tags[0]
    best = {word: c.most_common(1)[0][0] for word, c in counts.items()}
    usual = np.array([best.get(word, default) for words, _ in test for word in words])
    print(f"\ntest: {right.mean():.2%} of {len(right):,} words tagged rightly; each word's most frequent tag: ", end="")
    print(f"{(usual == truth).mean():.2%}")
    if new.any():
        print(f"words never seen: {right[new].mean():.2%} of {new.sum():,}; always {default}: ", end="")
        print(f"{(usual == truth)[new].mean():.2%}")
    pairs = Counter(zip(truth[~right].tolist(), guesses[~right].tolist(), strict=True)).most_common(5)
    if pairs:
        print("most often confused: " + ", ".join(f"{a} taken for {b} ({count})" for (a, b), count in pairs))


def tag_new(path: Path, text: str) -> None:
    """Tag a text with nothing but what is in the file."""
    model, extra = load_model(path, with_extra=True)
    assert isinstance(model, Tagger)
    encoder = WordEncoder.from_state_dict(extra["encoder"])
    words = text.split()
    print("\nby the model read from the file:\n")
    tags: Any = extra["tags"]
    if not words:
        raise UserError("--sentence must have at least one word")
    print_tagged(words, [tags[k] for k in model.tag(encoder.encode(words)[None])[0]], None)


def print_tagged(words: list[str], tags: list[str], truth: list[str] | None) -> None:
    """Print words over their tags, a few in each line."""
    told = [tag if truth is None or tag == truth[k] else f"!{tag}({truth[k]})" for k, tag in enumerate(tags)]
    columns = [(word, tag, max(len(word), len(tag))) for word, tag in zip(words, told, strict=True)]
    while columns:
        count = max(1, int(np.searchsorted(np.cumsum([width + 2 for *_, width in columns]), 100)))
        line, columns = columns[:count], columns[count:]
        print("  " + "  ".join(word.ljust(width) for word, _, width in line).rstrip())
        print("  " + "  ".join(tag.ljust(width) for _, tag, width in line).rstrip())
