"""Load a model once, then fork workers that serve it: `python serve.py --model FILE --workers 2`."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import os
import signal
import socket
import sys
import time
from typing import Any

import numpy as np
import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from app import create_app
from inputs import Inputs
from rnnfast import LSTM, Dense, ModelFileError, Sequential, Stream, get_num_threads, load_model, set_num_threads
from settings import Settings

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
SOON = 5.0  # seconds; a worker that dies sooner after its start will hardly do better the next time
FAILURES = 5  # so many of them in a row, and the launcher gives up


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit code, 1 if workers could not be kept alive."""
    options = read_options()
    settings = Settings(**{each.name: getattr(options, each.name) for each in dataclasses.fields(Settings)})
    try:
        sock = bind(options.host, options.port)
    except OSError as error:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {error.strerror or error}")
    try:
        model = load_model(options.model) if options.model else made_up_model()
    except (OSError, ModelFileError) as error:
        sys.exit(f"cannot load the model: {error}")
    threads = max(1, get_num_threads() // options.workers)
    warm(model, settings)
    gc.collect()
    gc.freeze()  # a collection would write to the pages of every object, and so end their sharing
    sock.listen(1024)  # whichever worker is free takes a connection, and while there is none it waits
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the launcher waits for them, so none comes between two lines
    host, port = sock.getsockname()[:2]
    print(f"listening on http://{host}:{port}, {options.workers} workers, {threads} threads each", flush=True)
    return Launcher(model, settings, sock, options.workers, threads).run()


class Launcher:
    """Keeps so many workers alive.

    Parameters
    ----------
    model : Layer
        Packed, so that no worker needs to do it.
    settings : Settings
    sock : socket.socket
        It listens, and all workers take connections from it.
    workers : int
    threads : int
        That a call of the model may use in a worker.
    """

    def __init__(self, model: Any, settings: Settings, sock: socket.socket, workers: int, threads: int) -> None:
        self._model, self._settings, self._sock, self._threads = model, settings, sock, threads
        self._numbers = range(workers)
        self._workers: dict[int, tuple[int, float]] = {}  # by process: number and time of start

    def run(self) -> int:
        """Start the workers, start those anew that die, and stop all when told to; the signals must be blocked."""
        for number in self._numbers:
            self._start(number)
        failures = 0
        while signal.sigwait(SIGNALS) == signal.SIGCHLD:
            for number, lived, status in self._reap():
                failures = failures + 1 if lived < SOON else 0
                print(f"worker {number} ended with {status} after {lived:.1f} s", file=sys.stderr, flush=True)
                if failures >= FAILURES:
                    print(f"{failures} workers in a row ended at once: giving up", file=sys.stderr, flush=True)
                    self._stop()
                    return 1
                self._start(number)
        return 0 if self._stop() else 1

    def _start(self, number: int) -> None:
        launcher, pid = os.getpid(), os.fork()
        if pid:
            self._workers[pid] = (number, time.monotonic())
            return
        code = 1
        try:  # a worker never returns from here into the launcher's code
            work(self._model, self._settings, self._sock, self._threads, launcher)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self, flags: int = os.WNOHANG) -> list[tuple[int, float, int]]:
        """Return number, seconds of life and exit code (minus the signal) of the workers that have ended."""
        ended = []
        while self._workers:
            pid, status = os.waitpid(-1, flags)
            if pid == 0:
                break
            if pid in self._workers:
                number, since = self._workers.pop(pid)
                ended.append((number, time.monotonic() - since, os.waitstatus_to_exitcode(status)))
        return ended

    def _stop(self) -> bool:
        """End all workers; return whether all did in good order."""
        self._sock.close()  # or the system would go on taking connections that nobody answers
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + self._settings.shutdown_timeout + 5
        clean = True
        while self._workers and time.monotonic() < deadline:
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)
            clean &= all(code == 0 for _, _, code in self._reap())
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)
            clean = False
        self._reap(0)
        return clean


class Worker(uvicorn.Server):  # type: ignore[misc,unused-ignore]
    """A server that also ends when its launcher is gone."""

    launcher = 0

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop; called ten times a second."""
        return await super().on_tick(counter) or os.getppid() != self.launcher


class Patient(AutoHTTPProtocol):  # type: ignore[misc,unused-ignore]
    """A connection that is closed if it says nothing, or stops in the midst of a request's head.

    From the head on `app.py` has its own patience, and between requests uvicorn.
    """

    patience = 10.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Wait no more once there is a request."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._watch()

    def _is_silent(self) -> bool:
        own = not self.transport.is_closing() and self.transport.get_protocol() is self  # else it is a WebSocket now
        return own and (self.cycle is None or self.cycle.response_complete)

    def _watch(self) -> None:
        if self._is_silent():
            self._timer = self._timer or self.loop.call_later(self.patience, self._give_up)
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self._is_silent():
            self.transport.close()


def work(model: Any, settings: Settings, sock: socket.socket, threads: int, launcher: int) -> None:
    """Be a worker until SIGTERM: open requests are answered, sessions closed with 1012 (service restart)."""
    set_num_threads(threads)
    config = uvicorn.Config(
        create_app(model, settings),
        http=type("Patient", (Patient,), {"patience": settings.request_timeout}),
        log_level="warning",
        access_log=False,
        ws_max_size=settings.max_body,
        ws_per_message_deflate=False,  # costs more than a step, and such messages are short
        timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout)),
    )
    worker = Worker(config)
    worker.launcher = launcher

    def stop(*_: object) -> None:
        worker.should_exit = True

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)  # until uvicorn sets its own, and after that: it raises what it got again
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    worker.run(sockets=[sock])


def bind(host: str, port: int) -> socket.socket:
    """Return a socket at the address; it does not listen yet, so that nobody waits for a model that is being loaded."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address)
    return sock


def warm(model: Any, settings: Settings) -> None:
    """Use the model once in every way, so that its weights are packed before workers share them."""
    inputs = Inputs(model, settings.max_steps)
    x = np.zeros((2, 2, *inputs.shape), inputs.dtype)
    model(x, lengths=[2, 1])
    Stream(model, 1).step(x[0, :1])


def made_up_model() -> Sequential:
    """Return a model of random weights, for a first try and for the load test."""
    return Sequential(LSTM(32, 256, num_layers=2, seed=0), Dense(256, 8, seed=1))


def read_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a file that rnnfast.save_model wrote; without one, random weights")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    parser.add_argument("--workers", type=int, default=1)
    for each in dataclasses.fields(Settings):
        parser.add_argument(
            "--" + each.name.replace("_", "-"),
            type=type(each.default),
            default=each.default,
            help=f"{each.metadata['help']} (%(default)s)",
        )
    options = parser.parse_args()
    if options.workers < 1:
        parser.error(f"--workers must be at least 1; got {options.workers}")
    for each in dataclasses.fields(Settings):
        least = 0 if each.name in ("tick", "inline") else 1e-3 if type(each.default) is float else 1
        if not getattr(options, each.name) >= least:
            parser.error(f"--{each.name.replace('_', '-')} must be at least {least:g}")
    return options


if __name__ == "__main__":
    sys.exit(main())
