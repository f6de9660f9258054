"""``convert``: a model from one kind of file to another."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """\
examples:
  python -m rnnfast convert model.npz model.safetensors
  python -m rnnfast convert model.npz model/                      a folder with a config that people can read
  python -m rnnfast convert model.npz model.onnx --lengths        for ONNX Runtime
  python -m rnnfast convert model.npz torch.safetensors --to torch    parameters for load_state_dict
  python -m rnnfast convert torch.safetensors model.npz --order embedding,lstm,linear
  python -m rnnfast convert graph.onnx model.npz
  python -m rnnfast convert network.keras model.npz

What a file keeps beside the network (vocabulary, scaler, columns) goes along, but to torch.
"""


def add_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add this command's options."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="FROM",
        help="a model, checkpoint or folder of rnnfast, .onnx, .keras, or .safetensors of torch",
    )
    parser.add_argument("target", metavar="TO", help="ending in .safetensors, .npz, .onnx or a slash")
    parser.add_argument(
        "--to", choices=("rnnfast", "folder", "onnx", "torch"), help="what to write (by the name of TO)"
    )
    torch = parser.add_argument_group("from parameters by torch's names")
    torch.add_argument(
        "--order", metavar="NAMES", help="torch's names of the layers in the order of calls, with commas"
    )
    onnx = parser.add_argument_group("from and to ONNX")
    onnx.add_argument("--lengths", action="store_true", help="give the graph an input for the lengths")
    onnx.add_argument("--states", action="store_true", help="make states inputs and outputs of the graph")
    onnx.add_argument("--layout", type=int, choices=(0, 1), default=0, help="of recurrent operators (%(default)s)")
    onnx.add_argument("--time-major", action="store_true", help="the graph that is read takes (steps, sequences, ...)")


def run(args: argparse.Namespace) -> int:
    """Convert; return the exit code."""
    from rnnfast.cli.common import UserError
    from rnnfast.io import convert

    target = Path(args.target)
    if args.source.resolve() == target.resolve():
        raise UserError(f"{args.target}: FROM and TO are the same file")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent}: there is no such folder to save in")
    onnx = args.to == "onnx" or (args.to is None and target.suffix == ".onnx")
    for name, given in (("--lengths", args.lengths), ("--states", args.states), ("--layout", args.layout)):
        if given and not onnx:
            raise UserError(f"{name} is for ONNX; TO is {args.target}")
    if args.time_major and args.source.suffix != ".onnx":
        raise UserError(f"--time-major is for ONNX; FROM is {args.source}")
    path = convert(
        args.source,
        args.target,
        args.to,
        order=None if args.order is None else args.order.split(","),
        lengths=args.lengths,
        states=args.states,
        layout=args.layout,
        batch_first=not args.time_major,
    )
    print(f"{args.source} -> {path}")
    return 0
