"""``generate``: let a language model write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """\
examples:
  python -m rnnfast generate writer.npz --prime "Once upon a time" --length 500
  python -m rnnfast generate writer.npz --temperature 0.5 --top-k 20 --seed 7
"""


def add_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add this command's options."""
    from rnnfast.checks import check_number, check_size
    from rnnfast.cli.common import option, positive

    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that 'train language' wrote")
    parser.add_argument("--prime", metavar="TEXT", help="what it goes on from (a new line)")
    parser.add_argument(
        "--length", type=option(check_size, "--length", 0), default=300, metavar="N", help="tokens (%(default)s)"
    )
    parser.add_argument(
        "--temperature",
        type=option(check_number, "--temperature", 0),
        default=0.8,
        metavar="T",
        help="below 1 the likely become likelier; 0 takes the likeliest (%(default)s)",
    )
    parser.add_argument(
        "--top-k", type=positive("--top-k"), metavar="K", help="draw among so many of the likeliest only"
    )
    parser.add_argument("--seed", type=option(check_size, "--seed", 0), metavar="N", help="(another text every time)")


def run(args: argparse.Namespace) -> int:
    """Write; return the exit code."""
    import numpy as np

    from rnnfast.cli.common import UserError, load
    from rnnfast.cli.tasks.language import read_vocabulary
    from rnnfast.generation import generate_text

    model, task = load(args.model, ("language",), "generate")
    vocabulary = read_vocabulary(task)
    prime = args.prime
    if prime is None:
        prime = "\n" if "\n" in vocabulary else next(t for t in vocabulary.tokens if t not in vocabulary.special)
    if not len(vocabulary.split(prime)):
        raise UserError("--prime must have at least one token")
    between = " " if task["level"] == "word" else ""
    live = sys.stdout.isatty()
    print(prime.lstrip("\n"), end="", flush=live)
    rng = np.random.default_rng(args.seed)
    for piece in generate_text(
        model, vocabulary, args.length, prime, temperature=args.temperature, top_k=args.top_k, rng=rng
    ):
        print(between + piece, end="", flush=live)
    print()
    return 0
