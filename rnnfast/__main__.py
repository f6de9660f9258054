"""The command line: ``python -m rnnfast COMMAND``. Demonstrations are in ``demos/``, all other commands in ``cli/``."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import rnnfast

DEMOS = {
    "text": "a character LSTM learns a text and writes its like (the default)",
    "forecast": "an LSTM forecasts a time series, against persistence",
    "digits": "an LSTM reads images of digits row by row",
    "tree": "a Tree-LSTM works out formulas, beside an LSTM over their letters",
    "tagging": "a tagger learns the parts of speech, of words it never saw too",
    "speech": "a bidirectional LSTM hears spoken digits, one by one or joined",
    "captions": "an LSTM spells the names of digits from their images, with attention",
    "poems": "an LSTM learns Chinese quatrains and their form",
    "translate": "an encoder and a decoder with attention learn to translate sentences",
    "adding": "plain network, LSTM and GRU add two numbers over a hundred steps, side by side",
    "memory": "the same recall symbols after a pause",
    "reviews": "a bidirectional LSTM tells praise from panning, against word counts",
    "pollution": "an LSTM forecasts air pollution from weather with gaps, against ridge regression",
}

EXAMPLES = """\
examples:
  python -m rnnfast demo
  python -m rnnfast train forecast --data sales.csv --target total --horizon 7 --output sales
  python -m rnnfast predict sales.safetensors sales.csv
  python -m rnnfast train language --data book.txt --seconds 60 --output writer
  python -m rnnfast generate writer.safetensors --prime "Once upon"
  python -m rnnfast info

'python -m rnnfast COMMAND --help' lists the options of a command, with examples.
"""

COMMANDS = {
    "train": "learn a model from data",
    "predict": "ask a model about new data",
    "evaluate": "measure a model on data whose answers are known",
    "generate": "let a language model write",
    "convert": "a model from one kind of file to another",
    "inspect": "what is in a model file",
    "bench": "how fast it is here",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    It is 0 if all went well, 1 after an error that was told in one line, 2 after wrong usage, 130 after an interrupt.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments, those of the process if not given.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["demo"] and (len(arguments) == 1 or _is_option_of_text(arguments[1])):
        arguments.insert(1, "text")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A sample in a script that the terminal lacks is no reason to stop.
            stream.reconfigure(errors="replace")
    try:  # what the environment asks for, before any part of the package does
        importlib.import_module("rnnfast._native.kernels")
        importlib.import_module("rnnfast.threads")
    except ValueError as error:
        print(f"rnnfast: error: {error}", file=sys.stderr)
        return 1
    parser = _parser(arguments)
    args, others = parser.parse_known_args(arguments)
    if others and args.command != "bench":  # which passes them on
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    args.others = others
    return _run(args)


def _is_option_of_text(argument: str) -> bool:
    """Return whether what follows ``demo`` is an option rather than a name, so that the name was left out."""
    return argument.startswith("-") and argument not in ("-h", "--help")


def _run(args: argparse.Namespace) -> int:
    from rnnfast.cli.common import UserError, plain_errors, standard_input

    code = 0
    try:
        if args.command == "info":
            importlib.import_module("rnnfast.demos.info").show()
        elif args.command == "demo":
            code = importlib.import_module(f"rnnfast.demos.{args.demo}").run(args)
        else:
            with plain_errors(), standard_input(args):
                code = importlib.import_module(f"rnnfast.cli.{args.command}").run(args)
        sys.stdout.flush()
    except UserError as error:
        print(f"rnnfast: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nrnnfast: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; keep the interpreter from flushing into the void at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser; the options of a demonstration are imported only where it is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m rnnfast",
        description="Recurrent networks on CPUs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rnnfast {rnnfast.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if arguments[:1] == [name]:
            module = importlib.import_module(f"rnnfast.cli.{name}")
            module.add_arguments(sub, arguments[1:])
            sub.epilog = module.EXAMPLES
    demo = commands.add_parser(
        "demo",
        help="train a network before your eyes",
        description="Train a network before your eyes, save it, and use what was saved.",
        epilog="Without a name it is 'text'. 'python -m rnnfast demo NAME --help' lists the options.",
    )
    commands.add_parser("info", help="version, instruction set, threads, backend")
    names = demo.add_subparsers(dest="demo", required=True, metavar="{" + ",".join(DEMOS) + "}")
    for name, summary in DEMOS.items():
        sub = names.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if arguments[1:2] == [name]:
            module = importlib.import_module(f"rnnfast.demos.{name}")
            module.add_arguments(sub)
            sub.epilog = module.EXAMPLES
    return parser


if __name__ == "__main__":
    sys.exit(main())
