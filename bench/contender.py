"""What a contender is: it turns a case into a function to call and a reading of what it computed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, ClassVar

from numpy.typing import NDArray

from bench.cases import GATES, Case, Data

Outputs = dict[str, NDArray[Any]]
Run = Callable[[], Any]
Read = Callable[[Any], Outputs]


class Unsupported(Exception):
    """The contender cannot run the case; the message says why."""


class Contender:
    """Base of the contenders.

    Attributes
    ----------
    name : str
        As shown in the table and given to ``--contenders``.
    package : str
        The distribution whose version is reported.
    """

    name: ClassVar[str]
    package: ClassVar[str]

    def version(self) -> str:
        """Return the version of the library; ``ImportError`` if it is not installed."""
        return version(self.package)

    def prepare(self, case: Case, data: Data, threads: int) -> tuple[Run, Read]:
        """Return a function that runs the case once, and one that reads its result.

        What is read are arrays by name: ``y`` (B, T, D*H), zero past the end of a sequence, and in training ``dx`` and
        the gradients by torch's names. A run of one step hands its state on to the next run.

        Raises
        ------
        Unsupported
            If this library has no such thing.
        """
        raise NotImplementedError

    def threads_used(self, case: Case) -> int | None:
        """Return how many threads the library chooses to use for a case it has prepared; None: it does not tell."""
        return None


def inference_in_float32(case: Case) -> None:
    """Raise `Unsupported` for what the libraries that only serve models are not asked for."""
    if case.task == "training":
        raise Unsupported("inference only")
    if case.dtype != "float32":
        raise Unsupported("float32 only")
    plain(case)


def plain(case: Case) -> None:
    """Raise `Unsupported` for cells that these libraries have no layer for, and for several callers."""
    if case.cell not in GATES or case.variant:
        raise Unsupported("no such layer")
    one_caller(case)


def one_caller(case: Case) -> None:
    """Raise `Unsupported` where several Python threads call at once: that is compared with one thread only."""
    if case.callers > 1:
        raise Unsupported("one caller only")
