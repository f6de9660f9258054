"""``convert``: a model from one kind of file to another."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """\
examples:
  python -m rnnfast convert model.npz model.safetensors
  python -m rnnfast convert checkpoint.safetensors model.npz      the model alone

What a file keeps beside the network (vocabulary, scaler, columns) goes along.
"""


def add_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add this command's options."""
    parser.add_argument("source", type=Path, metavar="FROM", help="a model or checkpoint, .safetensors or .npz")
    parser.add_argument("target", type=Path, metavar="TO", help="ending in .safetensors or .npz")


def run(args: argparse.Namespace) -> int:
    """Convert; return the exit code."""
    from rnnfast.cli.common import UserError
    from rnnfast.demos.common import check_save
    from rnnfast.io import load_model, save_model

    if args.source.resolve() == args.target.resolve():
        raise UserError(f"{args.target}: FROM and TO are the same file")
    check_save(args.target)
    model, extra = load_model(args.source, with_extra=True)
    path = save_model(model, args.target, extra)
    print(f"{args.source} -> {path} ({model.num_parameters():,} parameters)")
    return 0
