"""Ctrl-C: a real signal to a process that trains; what is left is a usable model as after a whole update."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from rnnfast._native.interrupts import hold_interrupts

TRAINING = """
    import sys
    import threading
    import numpy as np
    from rnnfast.callbacks import Callback
    from rnnfast.layers.dense import Dense
    from rnnfast.layers.embedding import Embedding
    from rnnfast.layers.recurrent import LSTM
    from rnnfast.layers.sequential import Sequential
    from rnnfast.losses import SoftmaxCrossEntropy
    from rnnfast.optimizers import Adam
    from rnnfast.trainer import Trainer

    class Tell(Callback):
        def on_batch_end(self, trainer, batch, loss):
            if trainer.step == 3:
                print("training", flush=True)

    symbols = np.random.default_rng(0).integers(0, 30, 20001)

    def make():
        model = Sequential(Embedding(30, 8, seed=0), LSTM(8, 32, seed=1), Dense(32, 30, seed=2))
        return Trainer(model, SoftmaxCrossEntropy(), Adam(0.01), seed=1)

    trainer = make()
    history = trainer.fit_stream(symbols, streams=8, steps=20, epochs=10**9, callbacks=[Tell()], progress=False)
    assert history.reason == "interrupted", history.reason
    assert all(len(column) == history.epochs for column in history.values())

    # Steps are whole: as many uninterrupted ones lead to the same bits, state of the optimiser included.
    class Until(Callback):
        def on_batch_end(self, other, batch, loss):
            if other.step == trainer.step:
                other.stop()

    twin = make()
    twin.fit_stream(symbols, streams=8, steps=20, epochs=10**9, callbacks=[Until()], progress=False)
    for name, parameter in twin.model.parameters().items():
        assert np.array_equal(parameter, trainer.model.parameters()[name]), name
    for name, array in twin.optimizer.state_dict().items():
        assert np.array_equal(array, trainer.optimizer.state_dict()[name]), name
    trainer.fit_stream(symbols[:2001], streams=8, steps=20, progress=False)
    print("usable", trainer.step > twin.step)
"""


def test_a_signal_stops_training_and_leaves_a_usable_model():
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(TRAINING)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "training\n", process.stderr.read()
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 0, err
    assert out == "usable True\n"


def test_an_interrupt_waits_for_the_end_of_the_block():
    done = []
    with pytest.raises(KeyboardInterrupt), hold_interrupts():
        signal.raise_signal(signal.SIGINT)
        done.append(1)
    assert done == [1]
    with pytest.raises(KeyboardInterrupt):  # the handler is back
        signal.raise_signal(signal.SIGINT)


def test_blocks_within_blocks_wait_for_the_outer():
    done = []
    with pytest.raises(KeyboardInterrupt), hold_interrupts():
        with hold_interrupts():
            signal.raise_signal(signal.SIGINT)
            done.append(1)
        done.append(2)
    assert done == [1, 2]


def test_an_error_in_the_block_puts_the_handler_back():
    with pytest.raises(ZeroDivisionError), hold_interrupts():
        1 / np.array(0, object)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_the_users_own_handler_is_called():
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with hold_interrupts():
            signal.raise_signal(signal.SIGINT)
            assert seen == []
        assert seen == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with hold_interrupts():
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_hold_nothing():
    seen = []

    def other():
        with hold_interrupts():
            seen.append(1)
            entered.set()
            left.wait(10)

    entered, left = threading.Event(), threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    entered.wait(10)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    left.set()
    thread.join()
    assert seen == [1]
