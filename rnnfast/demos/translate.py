"""Learn to translate from pairs of sentences, with attention."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_number
from rnnfast.data import WordVocabulary, bucket_by_length, pad_sequences, teacher_forcing
from rnnfast.decoding import beam_search, greedy
from rnnfast.demos.common import (
    RAMP,
    Ticker,
    UserError,
    add_options,
    check_save,
    option,
    positive,
    run_fit,
    save_and_reload,
)
from rnnfast.demos.sentences import Bitext, from_files, made_up
from rnnfast.demos.word_by_word import WordByWord
from rnnfast.losses import SoftmaxCrossEntropy
from rnnfast.models import EncoderDecoder
from rnnfast.optimizers import AdamW
from rnnfast.schedules import Cosine
from rnnfast.trainer import Trainer

EXAMPLES = """\
examples:
  python -m rnnfast demo translate
  python -m rnnfast demo translate --source train.de --target train.en --test-source val.de --test-target val.en
  python -m rnnfast demo translate --attention additive --feeding context --epochs 3
"""

EPOCHS = 5
SECONDS = 600.0
BATCH = 32
MADE_UP, HELD_OUT = 3000, 300
UNKNOWN, START, END = "<unk>", "<s>", "</s>"
Numbers = list[NDArray[np.int64]]


class Languages(NamedTuple):
    """The words of both sides."""

    source: WordVocabulary
    target: WordVocabulary

    @property
    def end(self) -> int:
        """The number of the sign for the end."""
        return self.target.number(END)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this demonstration's options."""
    parser.add_argument(
        "--source", type=Path, metavar="FILE", help="sentences, one a line, may be gzip (default: made-up German)"
    )
    parser.add_argument("--target", type=Path, metavar="FILE", help="their translations, line for line")
    parser.add_argument("--test-source", type=Path, metavar="FILE", help="the test (default: the last twentieth)")
    parser.add_argument("--test-target", type=Path, metavar="FILE", help="its translations")
    add_options(parser, 256, "rnnfast-translate", f"{SECONDS:.0f} by default for files, {EPOCHS} epochs without")
    parser.add_argument("--attention", choices=("dot", "general", "additive"), default="general", help="(%(default)s)")
    parser.add_argument(
        "--feeding",
        choices=("none", "context", "output"),
        default="none",
        help="what enters the next step (%(default)s)",
    )
    parser.add_argument(
        "--dropout",
        type=option(check_number, "--dropout", 0, 1, below=True),
        metavar="P",
        help="(0.3 for files, 0.1 without)",
    )
    parser.add_argument(
        "--min-count", type=positive("--min-count"), default=2, metavar="N", help="rarer words are unknown"
    )
    parser.add_argument("--beam", type=positive("--beam"), default=5, metavar="K", help="sequences kept (%(default)s)")
    parser.add_argument("--say", metavar="TEXT", help="a sentence of your own to translate with the saved model")


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; return the exit code."""
    path = check_save(args.save)
    seeds = [int(seed) for seed in np.random.SeedSequence(args.seed).generate_state(2)]
    text = load(args, seeds[0])
    languages, train, test = numbered(text, args.min_count if args.source else 1)
    if args.say and not languages.source.split(args.say):
        raise UserError(f"--say must have at least one word; got {args.say!r}")
    print(f"sentences: {text.name}, {len(train[0]):,} and {len(test[0]):,} for the test")
    print(f"words: {len(languages.source):,} and {len(languages.target):,}, all in lower case")

    model = build(args, languages, seeds[1])
    kind = f"{args.attention} attention" + ("" if args.feeding == "none" else f" feeding its {args.feeding}")
    print(f"network: BiLSTM, LSTM {args.hidden}, {kind}, tied embedding, {model.num_parameters():,} parameters")
    fit(model, args, languages, train, test)

    sources, _ = pad_sequences(test[0][:20])
    x = (sources, np.full((len(sources), 1), languages.target.number(START)))
    extra = {"source": languages.source.state_dict(), "target": languages.target.state_dict()}
    model = save_and_reload(model, path, extra, x)
    report(model, languages, text, train, test, args.beam)
    if args.say:
        said = translate(model, languages, [languages.source.encode(args.say)], args.beam)[0]
        print(f"\n{args.say}\n  {plain(languages.target, said)}")
    return 0


def load(args: argparse.Namespace, seed: int) -> Bitext:
    """Return the sentences of the user's files, or made-up ones."""
    for one, other, names in (
        (args.source, args.target, "--source and --target"),
        (args.test_source, args.test_target, "--test-source and --test-target"),
    ):
        if (one is None) != (other is None):
            raise UserError(f"{names} go together")
    if args.source is None:
        if args.test_source is not None:
            raise UserError("--test-source needs --source and --target")
        return made_up(MADE_UP, HELD_OUT, seed)
    return from_files(args.source, args.target, args.test_source, args.test_target)


def numbered(text: Bitext, min_count: int) -> tuple[Languages, tuple[Numbers, Numbers], tuple[Numbers, Numbers]]:
    """Return the vocabularies of the training part, and the words of both parts as numbers."""
    source, target = (
        WordVocabulary.build(side, min_count, unknown=UNKNOWN, special=special, lower=True)
        for side, special in zip(text.train, ((), (START, END)), strict=True)
    )

    def encoded(part: tuple[list[str], list[str]]) -> tuple[Numbers, Numbers]:
        return [source.encode(line) for line in part[0]], [target.encode(line) for line in part[1]]

    return Languages(source, target), encoded(text.train), encoded(text.test)


def build(args: argparse.Namespace, languages: Languages, seed: int) -> EncoderDecoder:
    """Return a new network."""
    dropout = args.dropout if args.dropout is not None else 0.3 if args.source else 0.1
    return EncoderDecoder(
        len(languages.source),
        len(languages.target),
        embedding_dim=args.hidden,
        hidden_size=args.hidden,
        encoder_hidden_size=-(-args.hidden // 2),
        attention=args.attention,
        feeding=None if args.feeding == "none" else args.feeding,
        tied=True,
        dropout=dropout,
        seed=seed,
    )


def fit(
    model: EncoderDecoder,
    args: argparse.Namespace,
    languages: Languages,
    train: tuple[Numbers, Numbers],
    test: tuple[Numbers, Numbers],
) -> None:
    """Train, and print the loss on the test."""
    signs = languages.target.number(START), languages.end
    inputs, outputs = teacher_forcing(train[1], *signs)
    optimizer = AdamW(lr=4e-3, betas=(0.9, 0.98), weight_decay=0.1)
    trainer = Trainer(
        model,
        SoftmaxCrossEntropy(label_smoothing=0.1),
        optimizer,
        clip_norm=1.0,
        schedule=Cosine(warmup=0.05, min_lr=4e-5),
        seed=args.seed,
    )
    seconds = args.seconds or (SECONDS if args.source and not args.epochs else None)
    epochs = args.epochs or (10_000 if seconds else EPOCHS)
    batches = -(-len(inputs) // BATCH)
    words = sum(map(len, outputs)) / batches
    ticker = Ticker(lambda loss: f"loss {loss:.3f}", "words", words, epochs * batches, seconds)
    run_fit(
        trainer.fit,
        ticker,
        f"{BATCH} sentences",
        x=(train[0], inputs),
        y=outputs,
        epochs=epochs,
        batch_size=BATCH,
        max_seconds=seconds,
    )
    inputs, outputs = teacher_forcing(test[1], *signs)
    measured = Trainer(model, SoftmaxCrossEntropy(), AdamW()).evaluate((test[0], inputs), outputs, batch_size=BATCH)
    print(f"test: {measured['loss']:.3f} nats a word, perplexity {np.exp(measured['loss']):.1f}")


def translate(model: EncoderDecoder, languages: Languages, sources: Numbers, beam: int) -> Numbers:
    """Return the translation of each sentence; ``beam`` 1 is greedy decoding."""
    found: Numbers = [np.zeros(0, np.int64)] * len(sources)
    never = [languages.target.number(UNKNOWN), languages.target.number(START)]
    for rows in bucket_by_length([len(source) for source in sources], 100):
        batch, lengths = pad_sequences([sources[k] for k in rows])
        state = model.start(batch, lengths=lengths)
        first = np.full(len(rows), languages.target.number(START))
        longest = 2 * int(lengths.max()) + 10
        if beam == 1:
            best = greedy(model, state, first, max_length=longest, end=languages.end, forbidden=never)
        else:
            best = [
                hypotheses[0]
                for hypotheses in beam_search(
                    model,
                    state,
                    first,
                    max_length=longest,
                    end=languages.end,
                    beam=beam,
                    length_penalty=1.0,
                    forbidden=never,
                )
            ]
        for k, hypothesis in zip(rows, best, strict=True):
            found[k] = hypothesis.tokens
    return found


def report(
    model: EncoderDecoder,
    languages: Languages,
    text: Bitext,
    train: tuple[Numbers, Numbers],
    test: tuple[Numbers, Numbers],
    beam: int,
) -> None:
    """Print translations, the attention of one, and how good they all are."""
    ways = {"greedy": translate(model, languages, test[0], 1)}
    if beam > 1:
        ways[f"beam of {beam}"] = translate(model, languages, test[0], beam)
    words = {name: [plain(languages.target, each) for each in found] for name, found in ways.items()}
    print("\nsome of the test:")
    for k in range(min(4, len(test[0]))):
        print(f"\n  {text.test[0][k]}\n  {text.test[1][k]}  (as it should be)")
        for name, found in words.items():
            print(f"  {found[k]}  ({name})")
    lengths = np.array([len(source) for source in test[0]])
    draw_attention(model, languages, test[0], ways["greedy"], int(np.abs(lengths - 9).argmin()))
    baseline = WordByWord(train, (len(languages.source), len(languages.target)), languages.end + 1)
    words["word by word, by what comes together most"] = [
        plain(languages.target, baseline.translate(source)) for source in test[0]
    ]
    print()
    for name, found in words.items():
        score = bleu(found, text.test[1])
        right = np.mean([plain_text(a) == plain_text(b) for a, b in zip(found, text.test[1], strict=True)])
        told = "not measured, for which: pip install 'rnnfast[translate]'" if score is None else f"{score:.1f}"
        print(f"BLEU {told}, {right:.1%} of the sentences as they should be: {name}")


def draw_attention(model: EncoderDecoder, languages: Languages, sources: Numbers, found: Numbers, k: int) -> None:
    """Print how one translation attends to its source: a row for each word, darker where it looks."""
    source, said = sources[k], found[k]
    target = np.concatenate([[languages.target.number(START)], said])
    weights = model.attention_weights(source[None], target[None])[0]
    columns = [languages.source.tokens[number] for number in source]
    rows = [*(languages.target.tokens[number] for number in said), "(end)"]
    width = max(map(len, rows)) + 2
    print("\nwhere each word of a translation looks:\n")
    print(" " * width + " ".join(columns))
    for word, weight in zip(rows, weights, strict=True):
        shades = [RAMP[min(int(w * len(RAMP)), len(RAMP) - 1)] for w in weight]
        cells = " ".join(shade * len(column) for shade, column in zip(shades, columns, strict=True))
        print(f"{word.ljust(width)}{cells}".rstrip())


def plain(vocabulary: WordVocabulary, numbers: NDArray[np.int64]) -> str:
    """Return words as a sentence, with points, commas, apostrophes and hyphens where they belong."""
    text = vocabulary.decode(numbers, skip_special=True)
    text = re.sub(r"(\w) (['-]) (\w)", r"\1\2\3", text)
    return re.sub(r" ([.,!?;:])", r"\1", text)


def plain_text(text: str) -> str:
    """Return a sentence with its words and signs apart, in lower case."""
    return " ".join(re.findall(r"\w+|[^\w\s]", text.casefold()))


def bleu(found: Sequence[str], expected: Sequence[str]) -> float | None:
    """Return the BLEU of sentences, cases apart, None if the package that measures it is not there."""
    try:
        import sacrebleu
    except ImportError:
        return None
    score: Any = sacrebleu.corpus_bleu(list(found), [list(expected)], lowercase=True)
    return float(score.score)
