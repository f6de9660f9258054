"""Work out formulas with a Tree-LSTM, beside an LSTM that reads them letter by letter."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.data import pack_trees, pad_sequences
from rnnfast.demos import formulas
from rnnfast.demos.common import (
    Ticker,
    UserError,
    add_options,
    check_save,
    run_fit,
    save_and_reload,
    told_in_one_line,
)
from rnnfast.layers.dense import Dense
from rnnfast.layers.embedding import Embedding
from rnnfast.layers.pooling import Last
from rnnfast.layers.recurrent import LSTM
from rnnfast.layers.sequential import Sequential
from rnnfast.layers.tree import TreeEncoder
from rnnfast.losses import SoftmaxCrossEntropy
from rnnfast.optimizers import Adam
from rnnfast.trainer import Trainer

EXAMPLES = """\
examples:
  python -m rnnfast demo tree
  python -m rnnfast demo tree --kind binary --formula '!(1&0) ^ (0|1)'
  python -m rnnfast demo tree --formulas mine.txt
"""

EPOCHS = 12
BATCH = 64
MADE_UP = 6000
DEPTHS = (4, 5)
DEEPER = (7, 8)

Arrays = tuple[NDArray[Any], NDArray[np.int64]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this demonstration's options."""
    parser.add_argument(
        "--formula",
        action="append",
        default=[],
        metavar="TEXT",
        help="a formula to work out at the end; may be repeated",
    )
    parser.add_argument("--formulas", type=Path, metavar="FILE", help="a file of them, one a line")
    parser.add_argument(
        "--kind", choices=("child_sum", "binary"), default="child_sum", help="of Tree-LSTM (%(default)s)"
    )
    add_options(parser, 64, "rnnfast-tree", f"by default {EPOCHS} epochs, whatever they take")


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; return the exit code."""
    path = check_save(args.save)
    asked = [*args.formula, *_lines(args.formulas)]
    with told_in_one_line():
        own = [formulas.read(text) for text in asked]
    rng = np.random.default_rng(args.seed)
    made = _distinct(rng, MADE_UP, DEPTHS)
    start = len(made) * 8 // 10
    deep = _distinct(rng, max(start // 10, 20), DEEPER)
    truth = np.array([formulas.value(formula) for formula in made])
    print(f"formulas: {len(made):,} made up, such as {formulas.write(made[0])} = {truth[0]}")
    print(f"the last {len(made) - start:,} are the test, and {len(deep)} of {DEEPER[0]} levels or more")

    seeds = [int(seed) for seed in np.random.SeedSequence(args.seed).generate_state(5)]
    tree = Sequential(
        TreeEncoder(len(formulas.SYMBOLS), 16, args.hidden, args.kind, seed=seeds[0]),
        Dense(args.hidden, 2, seed=seeds[1]),
    )
    letters = Sequential(
        Embedding(len(formulas.CHARACTERS), 16, seed=seeds[2]),
        LSTM(16, args.hidden, seed=seeds[3]),
        Last(),
        Dense(args.hidden, 2, seed=seeds[4]),
    )
    for name, model, pack in (("Tree-LSTM", tree, pack_trees), ("LSTM over letters", letters, spell)):
        print(f"\nnetwork: {name}, {model.num_parameters():,} parameters")
        x, lengths = pack(made[:start])
        train(args, model, x, lengths, truth[:start])
    first, lengths = pack_trees(made[:1])
    tree = save_and_reload(tree, path, {"kind": args.kind}, first)

    print("\nright of the test          as deep as those learnt from   deeper")
    for name, model, pack in (("Tree-LSTM", tree, pack_trees), ("LSTM over letters", letters, spell)):
        shares = [_share_right(model, pack, part) for part in (made[start:], deep)]
        print(f"  {name:<25}{shares[0]:>10.1%}{shares[1]:>30.1%}")
    usual = [max(np.mean(known), 1 - np.mean(known)) for known in (_truth(made[start:]), _truth(deep))]
    print(f"  {'the more frequent value':<25}{usual[0]:>10.1%}{usual[1]:>30.1%}")
    show(tree, own or [*made[start : start + 2], deep[0]])
    return 0


def train(
    args: argparse.Namespace, model: Sequential, x: NDArray[Any], lengths: NDArray[np.int64], truth: NDArray[Any]
) -> None:
    """Train one of the networks."""
    trainer = Trainer(model, SoftmaxCrossEntropy(), Adam(lr=4e-3), clip_norm=1.0, seed=args.seed)
    epochs = args.epochs or (EPOCHS if args.seconds is None else 10_000)
    batches = -(-len(x) // BATCH)
    ticker = Ticker(lambda loss: f"loss {loss:.4f}", "formulas", len(x) / batches, epochs * batches, args.seconds)
    run_fit(
        trainer.fit,
        ticker,
        f"{BATCH} formulas",
        x=x,
        y=truth,
        lengths=lengths,
        epochs=epochs,
        batch_size=BATCH,
        max_seconds=args.seconds,
    )


def spell(many: list[Any]) -> Arrays:
    """Return formulas as sequences of letters: (N, T) and their lengths."""
    texts = [[formulas.CHARACTERS.index(letter) for letter in formulas.write(formula)] for formula in many]
    x, lengths = pad_sequences([np.array(text, np.int64) for text in texts])
    return x, lengths


def show(model: Sequential, many: list[Any]) -> None:
    """Print what the network says of formulas and, for the last of them, of every part: a part is a tree, too."""
    x, lengths = pack_trees(many)
    said = model(x, lengths=lengths)[0].argmax(axis=1)
    print("\nread from the file, the Tree-LSTM says:")
    for formula, found in zip(many, said, strict=True):
        known = formulas.value(formula)
        print(f"  {formulas.write(formula):.100} = {found}{'' if found == known else f', but it is {known}'}")
    encoder, head = model
    every = TreeEncoder(**{**encoder.config(), "output": "nodes"})
    every.load_state_dict(encoder.state_dict())
    parts = many[-1:]
    x, lengths = pack_trees(parts)
    found = head(every(x, lengths=lengths))[0].argmax(axis=1)
    print("and of the parts of the last, node by node:")
    names = _parts(parts[0])
    for k in range(min(len(names), 12)):
        print(f"  {names[k]:.60} = {found[k]}")


def _parts(formula: Any) -> list[str]:
    """Return all parts of a formula as text, in the order of `pack_trees`."""
    below = [part for child in formula[1:] for part in _parts(child)] if isinstance(formula, tuple) else []
    return [formulas.write(formula), *below]


def _distinct(rng: np.random.Generator, count: int, depths: tuple[int, ...]) -> list[Any]:
    """Return formulas no two of which are the same, so that none of the test was learnt from."""
    found: dict[Any, None] = {}
    while len(found) < count:
        found.setdefault(formulas.grow(rng, int(rng.choice(depths))))
    return list(found)


def _truth(many: list[Any]) -> NDArray[Any]:
    return np.array([formulas.value(formula) for formula in many])


def _share_right(model: Sequential, pack: Any, many: list[Any]) -> float:
    x, lengths = pack(many)
    return float((model(x, lengths=lengths)[0].argmax(axis=1) == _truth(many)).mean())


def _lines(path: Path | None) -> list[str]:
    """Return the lines of a file that have something in them."""
    if path is None:
        return []
    with told_in_one_line():
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    found = [line for line in lines if line]
    if not found:
        raise UserError(f"{path}: holds no formula")
    return found
