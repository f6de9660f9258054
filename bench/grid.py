"""The cases of a run: a short grid with every regime in it, and the full one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.cases import ELEMENTWISE, GATES, TREES, VARIANTS, Case

Shape = tuple[int, int, int]  # steps, batch, hidden
CELLS = tuple(GATES)
BOTH = ("forward", "training")


def cross(
    shapes: list[Shape], tasks: tuple[str, ...] = BOTH, cells: tuple[str, ...] = CELLS, **more: Any
) -> list[Case]:
    """Return the cases of all cells and tasks on all shapes, as many inputs as hidden units unless told."""
    return [
        Case(cell, task, steps, batch, more.get("input_size", hidden), hidden, **_without(more))
        for steps, batch, hidden in shapes
        for task in tasks
        for cell in cells
    ]


def relatives(shapes: list[Shape], tasks: tuple[str, ...]) -> list[Case]:
    """Return the cases of all variants."""
    return [c for name, (cell, _) in VARIANTS.items() for c in cross(shapes, tasks, (cell,), variant=name)]


def _without(more: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in more.items() if name != "input_size"}


def steps_for(batch: int, hidden: int) -> int:
    """Return T: 100 where that is quick, fewer where it is not, never so few that the start of a call counts."""
    flops = 16 * batch * hidden * hidden  # of an LSTM's step
    for steps in (100, 50, 20):
        if steps * flops <= 8e9:
            return steps
    return 10


def unique(cases: list[Case]) -> list[Case]:
    return list(dict.fromkeys(cases))


def short() -> list[Case]:
    """Return a grid that runs in less than three minutes."""
    forward, training = ("forward",), ("training",)
    cases = cross([(1, 1, 64)], ("stream", "step")) + cross([(1, 1, 16), (1, 1, 256)], ("stream",), ("LSTM",))
    cases += cross([(100, 1, 16), (100, 1, 128), (50, 1, 256)], forward)
    cases += cross([(100, 1, 64), (30, 1, 512), (10, 1, 1024)], forward, ("LSTM",)) + cross(
        [(30, 1, 512)], forward, ("GRU",)
    )
    cases += cross([(50, 8, 128), (10, 64, 256)], forward) + cross([(50, 3, 100)], forward, ("LSTM", "RNN"))
    cases += cross([(10, 32, 512)], forward, ("LSTM",))
    cases += cross([(50, 8, 128)], forward, ("LSTM",), input_size=16)
    cases += cross([(50, 32, 128)], forward, ("LSTM", "GRU")) + cross(
        [(50, 32, 128)], forward, ("LSTM", "GRU"), ragged=True
    )
    cases += cross([(50, 32, 128)], training, ("LSTM",)) + cross([(50, 32, 128)], training, ("LSTM",), ragged=True)
    cases += cross([(50, 8, 128)], forward, ("LSTM",), bidirectional=True)
    cases += cross([(50, 8, 128)], forward, ("GRU",), num_layers=2)
    cases += cross([(100, 1, 64), (50, 8, 128), (10, 64, 256)], training)
    cases += cross([(20, 1, 512)], training, ("LSTM",))
    cases += cross([(50, 8, 128)], BOTH, ("LSTM",), dtype="float64")
    cases += cross([(100, 1, 128)], forward, ("LSTM",), callers=2)
    cases += relatives([(50, 8, 128)], forward)
    cases += cross([(50, 8, 128)], BOTH, tuple(ELEMENTWISE)) + cross([(1, 1, 64)], ("stream",), ("SRU", "QRNN"))
    cases += cross([(31, 32, 128)], BOTH, tuple(TREES))
    return unique(cases)


def full() -> list[Case]:
    """Return everything, the short grid first."""
    cases = short()
    cases += cross([(1, 1, 16), (1, 1, 64), (1, 1, 256)], ("stream", "step"))
    cases += cross([(100, 1, hidden) for hidden in (16, 64, 100, 128, 256, 512, 1024)])
    grid = [(batch, hidden) for hidden in (100, 128, 256, 512, 1024) for batch in (3, 8, 32, 64, 128)]
    cases += cross([(steps_for(batch, hidden), batch, hidden) for batch, hidden in grid])
    for inputs, batch, hidden in ((16, 1, 128), (512, 1, 128), (64, 16, 256), (1024, 16, 256)):
        cases += cross([(100, batch, hidden)], input_size=inputs)
    some: list[Shape] = [(100, 8, 128), (50, 32, 256)]
    cases += cross(some) + cross(some, ragged=True)
    cases += cross([(50, 64, 512)], ("forward",)) + cross([(50, 64, 512)], ("forward",), ragged=True)
    cases += cross([(100, 1, 128), *some], bidirectional=True)
    cases += cross([(100, 1, 128), *some], num_layers=2)
    cases += cross([(100, 8, 128)], bidirectional=True, num_layers=2)
    cases += cross([(100, 1, 64), (100, 1, 256), *some], dtype="float64")
    cases += [replace(case, callers=2) for case in cross([(100, 1, 128), (100, 1, 256), (50, 8, 128)], ("forward",))]
    cases += cross([(50, 8, 128)], ("forward",))
    cases += relatives([(100, 1, 128), (50, 8, 128), (10, 64, 256)], BOTH)
    for inputs in (64, 512):
        cases += cross([(512, 8, 512)], BOTH, ("LSTM", *ELEMENTWISE), input_size=inputs)
    cases += cross([(1000, 1, 64), (100, 1, 256)], BOTH, ("LSTM", *ELEMENTWISE))
    cases += cross([(50, 25, 150), (31, 256, 256)], BOTH, tuple(TREES))
    return unique(cases)


SHORT = short()
FULL = full()
