"""What several test files share."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnfast.__main__ import main
from rnnfast._native import kernels, provider
from rnnfast.layers.recurrent import GRU, LSTM, MGU, RNN, Recurrent

MAKERS: dict[str, tuple[type[Recurrent], dict[str, Any]]] = {
    "rnn_tanh": (RNN, {"nonlinearity": "tanh"}),
    "rnn_relu": (RNN, {"nonlinearity": "relu"}),
    "rnn_sigmoid": (RNN, {"nonlinearity": "sigmoid"}),
    "lstm": (LSTM, {}),
    "lstm_coupled": (LSTM, {"coupled": True}),
    "gru": (GRU, {}),
    "gru_reset_before": (GRU, {"reset_after": False}),
    "mgu": (MGU, {}),
    "mgu_reset_after": (MGU, {"reset_after": True}),
}


# A shell lets what it starts in the background ignore Ctrl-C, and children inherit that; some tests are about it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# All that run here, unless the whole run is for one.
ISAS = [os.environ["RNNFAST_ISA"]] if os.environ.get("RNNFAST_ISA") else kernels.isas()


# Threads as many as a call is worth in a series, though it comes alone.
kernels.assume_ready(True)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set in turn, the one before put back afterwards."""
    before = kernels.get_isa()
    kernels.set_isa(request.param)
    yield request.param
    kernels.set_isa(before)


@pytest.fixture
def packed_gemm() -> Iterator[None]:
    """The packed kernels for all products, whatever the process was told: memory is promised for them."""
    before = provider._chosen
    provider.set_gemm("packed")
    yield
    provider.set_gemm(before)


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Memory that is counted is the test's own: what others have left in cycles stays until it is over."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that starts anew for every test."""
    return np.random.default_rng(20240229)


@pytest.fixture
def make_layer() -> Callable[..., Recurrent]:
    """A function from the name of a cell and the arguments of its layer to the layer, with nonzero biases."""

    def make(cell: str, *args: Any, **kwargs: Any) -> Recurrent:
        kind, options = MAKERS[cell]
        return kind(*args, **options, **{"init": "torch", "seed": 1, **kwargs})

    return make


@pytest.fixture
def random_state(rng: np.random.Generator) -> Callable[[Recurrent, int], Any]:
    """A function from a recurrent layer and a number of rows to a random initial state as the layer takes it."""

    def make(layer: Recurrent, batch: int) -> Any:
        rows = layer.num_layers * (2 if layer.bidirectional else 1)
        parts = tuple(0.5 * rng.standard_normal((rows, batch, n)).astype(layer.dtype) for n in layer.state_sizes)
        return parts if len(parts) > 1 else parts[0]

    return make


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """A function that runs a command in an empty folder and returns its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: Any) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
