"""The adding problem: which cells remember two numbers over a hundred steps?

Each step has a number between 0 and 1 and a mark; two steps of a sequence are marked, one in each half, and the sum
of their numbers is asked for at the end. Who always answers 1 is off by 1/6 in the mean square. Hochreiter and
Schmidhuber 1997, "Long short-term memory", section 5.4.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_size
from rnnfast.demos.common import add_options, check_save, option, positive, save_and_reload
from rnnfast.demos.contest import Outcome, Task, add_cells, compete, make_layer, shorten, sparkline
from rnnfast.layers.dense import Dense
from rnnfast.layers.pooling import Last
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import MeanSquared

EXAMPLES = """\
examples:
  python -m rnnfast demo adding
  python -m rnnfast demo adding --length 200 --cells lstm gru --epochs 20
"""

EPOCHS = 8
BATCH = 50
TEST = 1000
RATES = {"rnn": 1e-3, "indrnn": 2e-3, "others": 4e-3}
GUESS = 1 / 6  # the variance of the sum of two numbers spread evenly over 0..1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this demonstration's options."""
    parser.add_argument(
        "--length",
        type=option(check_size, "--length", 4),
        default=100,
        metavar="T",
        help="steps of a sequence (%(default)s)",
    )
    parser.add_argument(
        "--sequences", type=positive("--sequences"), default=10_000, metavar="N", help="to learn from (%(default)s)"
    )
    add_cells(parser)
    add_options(parser, 128, "rnnfast-adding", f"for each cell; by default {EPOCHS} epochs, whatever they take")


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; return the exit code."""
    path = check_save(args.save)
    rng = np.random.default_rng(args.seed)
    x, y = problems(args.sequences, args.length, rng)
    test_x, test_y = problems(TEST, args.length, rng)
    print(f"adding: {args.length} steps, two of them marked; {len(x):,} made-up sequences, and {TEST:,} for the test")

    def make(name: str, seeds: Sequence[int]) -> Sequential:
        layer = make_layer(name, 2, args.hidden, args.length, seeds[0])
        return Sequential(layer, Last(), Dense(args.hidden, 1, seed=seeds[1]))

    outcomes = compete(Task(x, y, test_x, test_y, MeanSquared(), BATCH, RATES), make, args, EPOCHS)
    best = min(outcomes, key=lambda outcome: outcome.curve[-1])
    print()
    model = save_and_reload(best.model, path, {"task": "adding", "length": args.length}, test_x[:100])
    show(outcomes)
    answer(best.name, model, *problems(5, args.length, rng))
    return 0


def problems(count: int, steps: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return sequences (N, T, 2) of numbers and marks, and their sums (N, 1)."""
    x = np.zeros((count, steps, 2), np.float32)
    x[:, :, 0] = rng.random((count, steps))
    rows = np.arange(count)
    for places in (rng.integers(0, steps // 2, count), rng.integers(steps // 2, steps, count)):
        x[rows, places, 1] = 1
    return x, (x[:, :, 0] * x[:, :, 1]).sum(axis=1, keepdims=True)


def show(outcomes: list[Outcome]) -> None:
    """Print the cells side by side."""
    print(f"\n{'cell':>6} {'error':>8} {'updates':>8} {'seconds':>8}  error on the test by epochs (full: {GUESS:.3f})")
    for outcome in outcomes:
        error = outcome.curve[-1]
        verdict = "solved" if error < 0.01 else "no better than a guess" if error > 0.8 * GUESS else "half way"
        line = sparkline(shorten(outcome.curve), GUESS)
        print(f"{outcome.name:>6} {error:8.4f} {outcome.updates:8,} {outcome.seconds:8.1f}  {line}  {verdict}")
    print(f"{'guess':>6} {GUESS:8.4f}  who always says 1; errors are mean squares")


def answer(name: str, model: Any, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """Let the model that was read back add numbers in new sequences."""
    print(f"\nnew sequences, added by the {name} that was read back:")
    for sequence, goal, found in zip(x, y[:, 0], model(x)[0][:, 0], strict=True):
        places = np.flatnonzero(sequence[:, 1])
        terms = " + ".join(f"{sequence[t, 0]:.3f} (step {t + 1})" for t in places)
        print(f"  {terms} = {goal:.3f}; it says {found:.3f}")
