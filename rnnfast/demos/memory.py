"""Copy memory: which cells bring back ten symbols after a long pause?

Ten symbols come, then blanks, then a sign upon which the ten are to be said again in their order; at all other steps
a blank is right. Hochreiter and Schmidhuber 1997; Arjovsky, Shah and Bengio 2016. Gated cells begin with biases with
which their units remember for times spread over the length of the task: Tallec and Ollivier 2018, "Can recurrent
neural networks warp time?" (chrono initialisation).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.demos.common import add_options, check_save, positive, save_and_reload
from rnnfast.demos.contest import Outcome, Task, add_cells, compete, make_layer, shorten, sparkline
from rnnfast.layers.base import Layer
from rnnfast.layers.dense import Dense
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.normalization import LayerNorm
from rnnfast.layers.scan import IndRNN
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import SoftmaxCrossEntropy

EXAMPLES = """\
examples:
  python -m rnnfast demo memory
  python -m rnnfast demo memory --pause 50 --epochs 25
  python -m rnnfast demo memory --pause 50 --epochs 5 --cells lstm gru
  python -m rnnfast demo memory --no-chrono --cells lstm
"""

EPOCHS = 20
BATCH = 20
TEST = 500
RATES = {"rnn": 1e-3, "lstm": 2e-2, "others": 1e-2}
SYMBOLS = 10  # to remember
KINDS = 8  # of symbols; 0 is the blank, KINDS + 1 the sign
LAYERS = 4  # of independent units
SHORTEST = 0.3  # steps; the weight of such a unit's state is 0.04


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this demonstration's options."""
    parser.add_argument(
        "--pause",
        type=positive("--pause"),
        default=20,
        metavar="T",
        help="between symbols and sign (%(default)s)",
    )
    parser.add_argument(
        "--sequences", type=positive("--sequences"), default=10_000, metavar="N", help="to learn from (%(default)s)"
    )
    parser.add_argument(
        "--no-chrono", dest="chrono", action="store_false", help="begin with the usual biases of the gates"
    )
    add_cells(parser)
    add_options(parser, 128, "rnnfast-memory", f"for each cell; by default {EPOCHS} epochs, whatever they take")


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; return the exit code."""
    path = check_save(args.save)
    rng = np.random.default_rng(args.seed)
    x, y = problems(args.sequences, args.pause, rng)
    test_x, test_y = problems(TEST, args.pause, rng)
    print(f"copy memory: {SYMBOLS} symbols of {KINDS} kinds, {args.pause} steps of pause; {len(x):,} made-up sequences")

    def make(name: str, seeds: Sequence[int]) -> Sequential:
        steps = x.shape[1]
        if name == "indrnn":
            layers = independent(args.hidden, steps, np.random.default_rng(seeds[0]))
        else:
            layers = [make_layer(name, KINDS + 2, args.hidden, steps, seeds[0], args.chrono)]
        table = Embedding(KINDS + 2, KINDS + 2, seed=seeds[2])
        return Sequential(table, *layers, Dense(args.hidden, KINDS + 1, seed=seeds[1]))

    task = Task(x, y, test_x, test_y, SoftmaxCrossEntropy(), BATCH, RATES, forgets=0.98, caution=0.05)
    outcomes = compete(task, make, args, EPOCHS)
    right = {outcome.name: recalled(outcome.model, test_x, test_y) for outcome in outcomes}
    best = max(outcomes, key=lambda outcome: right[outcome.name])
    print()
    model = save_and_reload(best.model, path, {"task": "memory", "pause": args.pause}, test_x[:100])
    show(outcomes, right, x.shape[1])
    answer(best.name, model, *problems(3, args.pause, rng))
    return 0


def problems(count: int, pause: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return sequences (N, pause + 2 * SYMBOLS) and what is right at every step of them."""
    symbols = rng.integers(1, KINDS + 1, (count, SYMBOLS))
    x = np.zeros((count, pause + 2 * SYMBOLS), np.int64)
    y = np.zeros_like(x)
    x[:, :SYMBOLS] = y[:, -SYMBOLS:] = symbols
    x[:, -SYMBOLS - 1] = KINDS + 1
    return x, y


def independent(hidden: int, steps: int, rng: np.random.Generator) -> list[Layer]:
    """Return four layers of independent units that can bring symbols back in their order.

    What a unit has gathered does not tell the seventh symbol from the eighth. Layers in a row can: units that tell the
    time, units that answer to a symbol at a time, units that hold what came, units that let it out when it is asked
    for. So units of every layer remember for times spread over the length of the task, evenly by their logarithm, as
    those of gated cells begin with chrono. Half of the weights of the state are negative: such a unit answers to
    changes, and tells one step from the next. A unit that gathers over n steps takes in a part of 1 / sqrt(n), and
    each layer is normalised, lest those that remember for long drown the others.
    """
    layers: list[Layer] = []
    for k in range(LAYERS):
        layer = IndRNN(hidden if k else KINDS + 2, hidden, seed=rng)
        times = np.exp(rng.uniform(math.log(SHORTEST), math.log(2.0 * steps), hidden))
        kept = np.exp(-1.0 / times)
        with layer.update() as params:
            params["weight_hh_l0"][:] = np.where(rng.random(hidden) < 0.5, -kept, kept)
            params["weight_ih_l0"] *= np.sqrt(np.maximum(1.0 - kept, 1.0 / steps))[:, None]
        layers += [layer, LayerNorm(hidden)]
    return layers


def recalled(model: Any, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    """Return the share of the symbols that are said again rightly."""
    return float((model(x)[0].argmax(axis=-1) == y)[:, -SYMBOLS:].mean())


def show(outcomes: list[Outcome], right: dict[str, float], steps: int) -> None:
    """Print the cells side by side."""
    guess = SYMBOLS * math.log(KINDS) / steps  # blanks where they belong, and any symbol in the end
    print(
        f"\n{'cell':>6} {'recalled':>8} {'loss':>7} {'updates':>8} {'seconds':>8}  loss on the test by epochs "
        f"(full: {guess:.3f})"
    )
    for outcome in outcomes:
        line = sparkline(shorten(outcome.curve), guess)
        print(
            f"{outcome.name:>6} {right[outcome.name]:8.1%} {outcome.curve[-1]:7.4f} {outcome.updates:8,} "
            f"{outcome.seconds:8.1f}  {line}"
        )
    print(f"{'guess':>6} {1 / KINDS:8.1%} {guess:7.4f}  who remembers nothing")


def answer(name: str, model: Any, x: NDArray[np.int64], y: NDArray[np.int64]) -> None:
    """Let the model that was read back say new symbols again."""
    print(f"\nnew symbols, and what the {name} that was read back says after the pause:")
    said = model(x)[0].argmax(axis=-1)[:, -SYMBOLS:]
    for goal, found in zip(y[:, -SYMBOLS:], said, strict=True):
        words = [" ".join("." if s == 0 else chr(ord("A") + s - 1) for s in line) for line in (goal, found)]
        wrong = int((goal != found).sum())
        print(f"  {words[0]}   {words[1]}   {f'{wrong} wrong' if wrong else 'all right'}")
