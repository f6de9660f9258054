"""``train``: learn a model from data and write it to a file that needs nothing beside."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from rnnfast.cli.tasks import MODULES, TASKS

EXAMPLES = """\
examples:
  python -m rnnfast train forecast --data sales.csv --target total --horizon 7
  python -m rnnfast train classify --data reviews.csv --text review --label stars
  python -m rnnfast train language --data book.txt --seconds 60

'python -m rnnfast train TASK --help' lists the options of a task.
"""


def add_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add the tasks; the options of one are imported only where it is asked for."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="{" + ",".join(TASKS) + "}")
    for name, summary in TASKS.items():
        sub = tasks.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if arguments[:1] == [name]:
            module = importlib.import_module(f"rnnfast.cli.tasks.{MODULES[name]}")
            module.add_arguments(sub, name)
            sub.epilog = module.EXAMPLES[name]


def run(args: argparse.Namespace) -> int:
    """Train; return the exit code."""
    from rnnfast.cli.common import check_save

    check_save(args.output)
    code: int = importlib.import_module(f"rnnfast.cli.tasks.{MODULES[args.task]}").train(args)
    return code
