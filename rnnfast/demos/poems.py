"""Learn Chinese quatrains character by character, then write some."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_number
from rnnfast.data import CharVocabulary, pad_sequences, teacher_forcing
from rnnfast.decoding import sample_sequences
from rnnfast.demos.common import (
    Ticker,
    UserError,
    add_options,
    check_save,
    option,
    positive,
    run_fit,
    save_and_reload,
)
from rnnfast.demos.quatrains import Poems, form_of, from_file, in_lines, keeps_form, patchwork
from rnnfast.losses import SoftmaxCrossEntropy
from rnnfast.models import LanguageModel
from rnnfast.optimizers import AdamW
from rnnfast.schedules import Cosine
from rnnfast.trainer import Trainer

EXAMPLES = """\
examples:
  python -m rnnfast demo poems
  python -m rnnfast demo poems --poems quatrains.tsv --seconds 180
  python -m rnnfast demo poems --poems quatrains.tsv --begin 春風 --temperature 0.7
"""

EPOCHS = 8
SECONDS = 180.0
BATCH, BATCH_MADE_UP = 32, 16
MADE_UP = 1000
MIN_COUNT = 2
UNKNOWN, START, END = "\ufffd", "<s>", "</s>"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this demonstration's options."""
    parser.add_argument(
        "--poems",
        type=Path,
        metavar="FILE",
        help="poems, one a line, a title and a tab before them or not (default: patched together from famous lines)",
    )
    add_options(parser, 256, "rnnfast-poems", f"{SECONDS:.0f} by default for a file, {EPOCHS} epochs without")
    parser.add_argument(
        "--samples", type=positive("--samples"), default=100, metavar="N", help="to write (%(default)s)"
    )
    parser.add_argument(
        "--temperature",
        type=option(check_number, "--temperature", 0),
        default=0.8,
        metavar="T",
        help="0: always the likeliest character, 1: as the network has it (%(default)s)",
    )
    parser.add_argument(
        "--top-p",
        type=option(check_number, "--top-p", 0, 1, above=True),
        default=0.95,
        metavar="P",
        help="draw among the likeliest characters that make up so much of the probability (%(default)s)",
    )
    parser.add_argument("--begin", default="", metavar="TEXT", help="what the poems shall begin with")


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; return the exit code."""
    path = check_save(args.save)
    seeds = [int(seed) for seed in np.random.SeedSequence(args.seed).generate_state(3)]
    poems = from_file(args.poems) if args.poems else patchwork(MADE_UP, seeds[0])
    vocabulary = CharVocabulary.build(
        poems.train, MIN_COUNT if args.poems else 1, unknown=UNKNOWN, special=(START, END)
    )
    if vocabulary.number(UNKNOWN) in vocabulary.encode(args.begin):
        raise UserError(f"--begin must be of characters that the poems have; got {args.begin!r}")
    print(f"poems: {poems.name}, {len(poems.train):,} and {len(poems.test):,} for the test")
    model = LanguageModel(len(vocabulary), args.hidden, args.hidden, dropout=0.4 if args.poems else 0.1, seed=seeds[1])
    told = f"tied embedding {args.hidden}, LSTM {args.hidden}"
    print(f"network: {told}, {len(vocabulary) - 3:,} characters, {model.num_parameters():,} parameters")
    fit(model, args, vocabulary, poems)

    rows, _ = pad_sequences([vocabulary.encode(poem) for poem in poems.test[:20]])
    model = save_and_reload(model, path, {"vocabulary": vocabulary.state_dict()}, rows)
    write(model, vocabulary, args, seeds[2])
    return 0


def numbered(vocabulary: CharVocabulary, poems: list[str]) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Return what the network reads of each poem, and what it shall say."""
    signs = vocabulary.number(START), vocabulary.number(END)
    return teacher_forcing([vocabulary.encode(poem) for poem in poems], *signs)


def fit(model: LanguageModel, args: argparse.Namespace, vocabulary: CharVocabulary, poems: Poems) -> None:
    """Train, and print the loss on the test beside that of characters by their frequency alone."""
    trainer = Trainer(
        model,
        SoftmaxCrossEntropy(),
        AdamW(lr=4e-3, betas=(0.9, 0.98), weight_decay=0.05),
        clip_norm=1.0,
        schedule=Cosine(warmup=0.05, min_lr=4e-5),
        seed=args.seed,
    )
    inputs, outputs = numbered(vocabulary, poems.train)
    seconds = args.seconds or (SECONDS if args.poems and not args.epochs else None)
    epochs = args.epochs or (10_000 if seconds else EPOCHS)
    size = BATCH if args.poems else BATCH_MADE_UP
    batches = -(-len(inputs) // size)
    symbols = sum(map(len, outputs)) / batches
    ticker = Ticker(lambda loss: f"loss {loss:.3f}", "characters", symbols, epochs * batches, seconds)
    run_fit(
        trainer.fit,
        ticker,
        f"{size} poems",
        x=inputs,
        y=outputs,
        epochs=epochs,
        batch_size=size,
        max_seconds=seconds,
    )
    inputs_test, outputs_test = numbered(vocabulary, poems.test)
    value = trainer.evaluate(inputs_test, outputs_test)["loss"]
    counts = np.bincount(np.concatenate(outputs), minlength=len(vocabulary)) + 1.0
    alone = -np.log(counts / counts.sum())[np.concatenate(outputs_test)].mean()
    print(f"test: {value:.3f} nats a symbol, {value / math.log(2):.2f} bits; by frequency alone {alone:.3f}")


def write(model: LanguageModel, vocabulary: CharVocabulary, args: argparse.Namespace, seed: int) -> None:
    """Let the network write poems, show some and count how many keep their form."""
    begin = vocabulary.encode(args.begin)
    unknown, start, end = (vocabulary.number(token) for token in (UNKNOWN, START, END))
    prompt = np.tile(np.concatenate([[start], begin]), (args.samples, 1))
    state, first = model.start(prompt)
    found = sample_sequences(
        model,
        state,
        first,
        max_length=64,
        end=end,
        temperature=args.temperature,
        top_p=args.top_p,
        rng=np.random.default_rng(seed),
        forbidden=[unknown, start],
    )
    written = [args.begin + vocabulary.decode(each.tokens) for each in found]
    print(f"\n--- what it writes, at temperature {args.temperature:g} ---")
    shown = [poem for poem in written if keeps_form(poem)][:4] or written[:4]
    print("\n\n".join("\n".join(in_lines(poem)) for poem in shown))
    print("---\n")
    kept = sum(map(keeps_form, written))
    print(f"{kept} of {len(written)} poems keep the form, four lines of 5 or of 7 characters")
    broken = [poem for poem in written if not keeps_form(poem)]
    if broken:
        print(f"one that does not, of {', '.join(map(str, form_of(broken[0]))) or 'no'} characters: {broken[0]}")
