"""Hear spoken digits with a bidirectional LSTM: one at a time, or several joined, with no word of where each begins."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.ctc import CTCLoss
from rnnfast.ctc_decoding import ctc_beam_search, ctc_greedy
from rnnfast.data import Standardizer, pad_sequences, scaler_from_state_dict
from rnnfast.demos import sounds
from rnnfast.demos.common import (
    Ticker,
    UserError,
    add_options,
    check_save,
    run_fit,
    save_and_reload,
    told_in_one_line,
)
from rnnfast.demos.sounds import MELS, RATE, Recording
from rnnfast.io import load_model
from rnnfast.layers.base import Layer
from rnnfast.layers.dense import Dense
from rnnfast.layers.dropout import Dropout
from rnnfast.layers.pooling import MeanPool
from rnnfast.layers.recurrent import LSTM
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import SoftmaxCrossEntropy
from rnnfast.metrics import edit_distance
from rnnfast.optimizers import Adam
from rnnfast.schedules import Cosine
from rnnfast.trainer import Trainer

EXAMPLES = """\
examples:
  python -m rnnfast demo speech
  python -m rnnfast demo speech --zip spoken-digits.zip
  python -m rnnfast demo speech --zip spoken-digits.zip --joined
  python -m rnnfast demo speech --zip spoken-digits.zip --wav my-own.wav
"""

EPOCHS = {False: 30, True: 12}
BATCH = 16
HOP = {False: 0.010, True: 0.015}  # seconds
MADE_UP = 400
SEQUENCES = 1000
LONGEST = 7
BLANK = 10

Sequences = list[NDArray[np.float32]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this demonstration's options."""
    parser.add_argument(
        "--zip", type=Path, metavar="FILE", help="an archive of files DIGIT_SPEAKER_INDEX.wav (default: made-up tones)"
    )
    parser.add_argument("--joined", action="store_true", help="hear several digits in a row (CTC)")
    parser.add_argument("--speaker", metavar="NAME", help="whom to keep from training in the second run (the first)")
    parser.add_argument("--wav", type=Path, metavar="FILE", help="a recording to try the model read back on")
    budget = f"by default {EPOCHS[False]} epochs, {EPOCHS[True]} if joined, whatever they take"
    add_options(parser, 64, "rnnfast-speech", budget)


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; return the exit code."""
    path = check_save(args.save)
    wav = None
    if args.wav is not None:
        with told_in_one_line():
            wav = sounds.read_mono(args.wav)
    if args.zip is None:
        name, recordings, rate = "made up of tones (no archive was given)", sounds.make_up(MADE_UP, args.seed), RATE
    else:
        recordings, rate = sounds.read_archive(args.zip)
        name = args.zip.name
    if wav is not None and wav[1] != rate:
        raise UserError(f"{args.wav}: must have {rate} samples a second, as the training data; got {wav[1]}")
    speakers = sorted({r.speaker for r in recordings})
    if args.speaker is not None and (args.speaker not in speakers or len(speakers) < 2):
        raise UserError(f"--speaker must be one of {', '.join(speakers)}, and not the only one; got {args.speaker}")
    order = np.random.default_rng(args.seed).permutation(len(recordings))
    cut = len(recordings) // 5
    test, train = [recordings[k] for k in order[:cut]], [recordings[k] for k in order[cut:]]
    print(f"recordings: {name}, {len(recordings)} of {len(speakers)} speakers; a random fifth is the test")
    if args.joined:
        run_joined(args, path, rate, train, test)
    else:
        run_single(args, path, rate, train, test)
        if len(speakers) > 1:
            unseen(args, recordings, rate, args.speaker or speakers[0])
    if wav is None:
        hear(path, test[0].samples / 2, rate, f"a recording of the test, {test[0].digit}, at half its loudness")
    else:
        hear(path, wav[0], rate, args.wav.name)
    return 0


def prepared(train: Sequences, test: Sequences, rate: int, hop: float) -> tuple[Sequences, Sequences, Standardizer]:
    """Return the features of both parts, scaled by what the first says, and the scaler."""
    parts = [sounds.features(part, rate, hop) for part in (train, test)]
    scaler = Standardizer().fit(np.concatenate(parts[0]))
    scaled = [[scaler.transform(row) for row in part] for part in parts]
    return scaled[0], scaled[1], scaler


def fit(args: argparse.Namespace, model: Layer, loss: Any, x: Sequences, y: Any, unit: str) -> None:
    """Train, with progress."""
    trainer = Trainer(model, loss, Adam(lr=0.005), clip_norm=1.0, schedule=Cosine(warmup=0.05), seed=args.seed)
    epochs = args.epochs or (EPOCHS[args.joined] if args.seconds is None else 10_000)
    batches = -(-len(x) // BATCH)
    ticker = Ticker(lambda value: f"loss {value:.4f}", unit, len(x) / batches, epochs * batches, args.seconds)
    run_fit(trainer.fit, ticker, f"{BATCH} {unit}", x=x, y=y, epochs=epochs, batch_size=BATCH, max_seconds=args.seconds)


def build(args: argparse.Namespace) -> Sequential:
    """Return a new network that tells ten digits apart."""
    seeds = [int(seed) for seed in np.random.SeedSequence(args.seed).generate_state(2)]
    lstm = LSTM(MELS, args.hidden, bidirectional=True, seed=seeds[0])
    return Sequential(Dropout(0.1), lstm, MeanPool(), Dropout(0.2), Dense(2 * args.hidden, 10, seed=seeds[1]))


def run_single(args: argparse.Namespace, path: Path, rate: int, train: list[Recording], test: list[Recording]) -> None:
    """Train on single digits and report."""
    x, held_out, scaler = prepared([r.samples for r in train], [r.samples for r in test], rate, HOP[False])
    model = build(args)
    print(f"network: {MELS} mel bands, BiLSTM {args.hidden}, mean over time, {model.num_parameters():,} parameters")
    fit(args, model, SoftmaxCrossEntropy(), x, np.array([r.digit for r in train]), "recordings")
    extra = {"scaler": scaler.state_dict(), "rate": rate, "joined": False}
    model = save_and_reload(model, path, extra, held_out[0][None])
    guesses, digits = classes(model, held_out), np.array([r.digit for r in test])
    print(f"\ntest: {(guesses == digits).mean():.2%} of {len(digits)} heard rightly (by chance: 10%)")
    wrong = np.flatnonzero(guesses != digits)
    for k in wrong[:5]:
        print(f"  {digits[k]} by {test[k].speaker} taken for {guesses[k]}")


def unseen(args: argparse.Namespace, recordings: list[Recording], rate: int, speaker: str) -> None:
    """Train once more without one speaker, and tell how well that one is heard."""
    train, test = ([r for r in recordings if (r.speaker == speaker) == own] for own in (False, True))
    print(f"\nonce more, without {speaker} in training:")
    x, held_out, _ = prepared([r.samples for r in train], [r.samples for r in test], rate, HOP[False])
    model = build(args)
    fit(args, model, SoftmaxCrossEntropy(), x, np.array([r.digit for r in train]), "recordings")
    right = classes(model, held_out) == [r.digit for r in test]
    print(f"a speaker never heard before ({speaker}): {right.mean():.2%} of {len(right)} heard rightly")


def classes(model: Sequential, x: Sequences) -> NDArray[np.int64]:
    """Return the digit that each sequence is taken for."""
    padded, lengths = pad_sequences(x)
    guesses: NDArray[np.int64] = model(padded, lengths=lengths)[0].argmax(axis=1)
    return guesses


def run_joined(args: argparse.Namespace, path: Path, rate: int, train: list[Recording], test: list[Recording]) -> None:
    """Train on digits in a row and report."""
    rng = np.random.default_rng([args.seed, 1])
    heard, labels = sounds.join(train, SEQUENCES, LONGEST, rate, rng)
    held_out, truth = sounds.join(test, SEQUENCES // 5, LONGEST, rate, rng)
    x, y, scaler = prepared(heard, held_out, rate, HOP[True])
    seeds = [int(seed) for seed in np.random.SeedSequence(args.seed).generate_state(2)]
    lstm = LSTM(MELS, args.hidden, bidirectional=True, seed=seeds[0])
    model = Sequential(Dropout(0.1), lstm, Dropout(0.2), Dense(2 * args.hidden, 11, seed=seeds[1]))
    print(
        f"joined: {len(x):,} sequences of 1 to {LONGEST} digits to train on, {len(y)} of the test's recordings\n"
        f"network: {MELS} mel bands, BiLSTM {args.hidden}, CTC, {model.num_parameters():,} parameters"
    )
    fit(args, model, CTCLoss(BLANK), x, labels, "sequences")
    extra = {"scaler": scaler.state_dict(), "rate": rate, "joined": True}
    model = save_and_reload(model, path, extra, y[0][None])
    padded, lengths = pad_sequences(y)
    logits = model(padded, lengths=lengths)[0]
    greedy = ctc_greedy(logits, lengths=lengths, blank=BLANK)
    beams = ctc_beam_search(logits, lengths=lengths, blank=BLANK, beam=10, n_best=3)

    print("\nsome of the test, with the three labellings the search finds likeliest:\n")
    order = sorted(range(min(4, len(truth))), key=lambda k: len(truth[k]))
    for k in order:
        found = ", ".join(f"{spelt(entry.labels)} ({np.exp(entry.log_prob):.0%})" for entry in beams[k])
        print(f"  {spelt(truth[k])} heard as {spelt(greedy[k])} greedily; {found}")
    total = sum(map(len, truth))
    print()
    for name, rows in (("greedy", greedy), ("beam of 10", [row[0].labels for row in beams])):
        edits = [edit_distance(a, b) for a, b in zip(rows, truth, strict=True)]
        whole = np.mean(np.array(edits) == 0)
        print(f"{name}: digit error rate {sum(edits) / total:.2%} of {total:,}; {whole:.1%} of sequences all right")


def hear(path: Path, samples: NDArray[np.float32], rate: int, name: str) -> None:
    """Say what is in a recording with nothing but what is in the file."""
    model, extra = load_model(path, with_extra=True)
    scaler = scaler_from_state_dict(extra["scaler"])
    x = scaler.transform(sounds.features([samples], rate, HOP[extra["joined"]])[0])
    assert isinstance(model, Sequential)
    scores = model(x[None])[0]
    if extra["joined"]:
        found = ctc_beam_search(scores, blank=BLANK)[0][0]
        told, sure = spelt(found.labels), np.exp(found.log_prob)
    else:
        told, sure = str(scores[0].argmax()), np.exp(scores[0].max() - np.logaddexp.reduce(scores[0]))
    print(f"\nby the model read from the file: {name}: {told} ({sure:.0%} sure)")


def spelt(digits: NDArray[np.int64]) -> str:
    """Return digits in a row, or a word for none."""
    return "".join(map(str, digits)) or "nothing"
