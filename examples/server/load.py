"""Load the server on loopback and print what came of it: `python load.py --sessions 64 --seconds 5`.

The clients are bare protocols, so that the machine's time goes to the server as far as possible; each sends a step,
waits for the answer and sends the next. The first answers of every session are compared with those of the model itself.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rnnfast import LSTM, Dense, Sequential, save_model

FEATURES, ANSWERS, CHECKED = 32, 8, 20
HERE = Path(__file__).resolve().parent


@dataclasses.dataclass
class Result:
    """What one run of a load has measured."""

    seconds: float = 0.0
    latencies: list[float] = dataclasses.field(default_factory=list)  # seconds, of steps
    waits: list[float] = dataclasses.field(default_factory=list)  # seconds, of predictions
    errors: int = 0
    cpu: float = 0.0  # seconds that the workers have computed


class Session(asyncio.Protocol):
    """One session: handshake, then step after step until told to end; binary frames of known length."""

    def __init__(self, x: Any, expected: Any, result: Result) -> None:
        self._frames = [bytes([0x82, 0x80 | row.nbytes if row.nbytes < 126 else 0xFE]) for row in x]
        for k, row in enumerate(x):  # the mask is zero, so the numbers stand as they are
            size = b"" if row.nbytes < 126 else row.nbytes.to_bytes(2, "big")
            self._frames[k] += size + bytes(4) + row.tobytes()
        self._expected = [bytes([0x82, row.nbytes]) + row.tobytes() for row in expected]
        self._result, self._buffer, self._open, self._count = result, b"", False, 0
        self._since = 0.0
        self.going = True
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """Ask for a WebSocket."""
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /stream HTTP/1.1\r\nHost: load\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Take note of an answer and send the next step."""
        self._buffer += data
        if not self._open:
            head, end, self._buffer = self._buffer.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            if b" 101 " not in head[:16]:
                self._fail()
                return
            self._open = True
            self._send()
            return
        size = len(self._expected[0])
        if len(self._buffer) < size:
            return
        answer, self._buffer = self._buffer[:size], self._buffer[size:]
        if answer[:2] != self._expected[0][:2] or (self._count < CHECKED and answer != self._expected[self._count]):
            self._fail()
            return
        self._result.latencies.append(time.perf_counter() - self._since)
        self._count += 1
        if self.going:
            self._send()
        else:
            self._finish()

    def connection_lost(self, error: Exception | None) -> None:
        """Count it as an error unless this side has ended the session."""
        if not self.done.done():
            self._fail()

    def _send(self) -> None:
        self._since = time.perf_counter()
        self._transport.write(self._frames[self._count % CHECKED])

    def _fail(self) -> None:
        self._result.errors += 1
        self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        self._transport.close()


async def predict_again(host: str, port: int, body: bytes, result: Result, end: float) -> None:
    """Post predictions one after the other on one connection; where that is lost, on a new one."""
    request = b"POST /predict HTTP/1.1\r\nHost: load\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    while time.perf_counter() < end:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            while time.perf_counter() < end:
                since = time.perf_counter()
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                size = next(
                    int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                )
                await reader.readexactly(size)
                if b" 200 " in head[:16]:
                    result.waits.append(time.perf_counter() - since)
                else:
                    result.errors += 1
        except (OSError, asyncio.IncompleteReadError):
            result.errors += 1
        finally:
            writer.close()


def itself(session: Session) -> Session:
    """Return the protocol of a connection, which asyncio asks a function for."""
    return session


async def load(host: str, port: int, model: Any, sessions: int, predictors: int, seconds: float) -> Result:
    """Return what so many sessions and HTTP clients met within so many seconds."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((sessions, CHECKED, FEATURES)).astype(np.float32)
    expected = model(x)[0]
    sequences = [rng.standard_normal((n, FEATURES)).round(3).tolist() for n in (20, 50, 35, 5)]
    body = json.dumps({"sequences": sequences, "last": True}).encode()
    result, loop = Result(), asyncio.get_running_loop()
    start = time.perf_counter()
    clients = []
    for k in range(sessions):
        session = Session(x[k], expected[k], result)
        await loop.create_connection(partial(itself, session), host, port)
        clients.append(session)
    others = [loop.create_task(predict_again(host, port, body, result, start + seconds)) for _ in range(predictors)]
    await asyncio.sleep(seconds)
    for client in clients:
        client.going = False
    await asyncio.gather(*(client.done for client in clients), *others)
    result.seconds = time.perf_counter() - start
    return result


@contextmanager
def server(model: Path, options: list[str]) -> Iterator[tuple[str, int, list[int]]]:
    """Run serve.py; yield host, port and the processes: the launcher, then its workers."""
    command = [sys.executable, str(HERE / "serve.py"), "--model", str(model), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("listening on http://"):
                raise RuntimeError(f"the server did not start: {line!r}")
            host, port = line.split()[2].removeprefix("http://").rstrip(",").rsplit(":", 1)
            time.sleep(1)  # for the workers to load their part of the web framework
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield host, int(port), [process.pid, *map(int, children)]
        finally:
            process.send_signal(signal.SIGTERM)
            if process.wait(30):
                print(f"the server ended with {process.returncode}", file=sys.stderr)


def cpu_time(pid: int) -> float:
    """Return the seconds that a process has computed."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> tuple[float, float]:
    """Return RSS and PSS in MB; of a page that n processes have, PSS counts 1/n."""
    words = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    return int(words[words.index("Rss:") + 1]) / 1024, int(words[words.index("Pss:") + 1]) / 1024


def row(name: str, results: list[Result]) -> str:
    """Return a line of the table: medians over the rounds."""

    def middle(values: Any) -> float:
        return float(statistics.median(values))

    def quantile(kind: str, share: float) -> str:
        found = [np.quantile(getattr(r, kind), share) * 1e3 for r in results if getattr(r, kind)]
        return f"{middle(found):.2f}" if found else ""

    rate = middle([len(r.latencies) / r.seconds for r in results])
    cpu = middle([r.cpu / len(r.latencies) * 1e6 for r in results if r.latencies])
    cells = [name, f"{rate:,.0f}", *(quantile("latencies", share) for share in (0.5, 0.95, 0.99)), f"{cpu:.0f}"]
    predictions = middle([len(r.waits) / r.seconds for r in results])
    cells += [f"{predictions:,.0f}" if predictions else "", quantile("waits", 0.5), quantile("waits", 0.99)]
    return "| " + " | ".join([*cells, str(sum(r.errors for r in results))]) + " |"


def main() -> int:
    """Measure the server under several settings, in turns; return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--predictors", type=int, default=4, help="HTTP clients in the run that has them")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3, help="through all settings; medians are printed")
    parser.add_argument("--hidden", type=int, default=256, help="units of each of the model's two layers")
    options = parser.parse_args()
    model = Sequential(LSTM(FEATURES, options.hidden, num_layers=2, seed=0), Dense(options.hidden, ANSWERS, seed=1))
    many, some = options.sessions, options.predictors
    room = ["--max-sessions", str(many)]
    settings = [
        ("1 session", 1, 0, room),
        (f"{many} sessions, each step alone", many, 0, [*room, "--max-batch", "1"]),
        (f"{many} sessions, together", many, 0, room),
        (f"{many} sessions, together, all in the event loop", many, 0, [*room, "--inline", "inf"]),
        (f"{many} sessions, tick of 2 ms", many, 0, [*room, "--tick", "0.002"]),
        (f"{many} sessions, 2 workers", many, 0, [*room, "--workers", "2"]),
        (f"{many} sessions, {some} HTTP clients", many, some, room),
    ]
    found: dict[str, list[Result]] = {name: [] for name, *_ in settings}
    shares = ""
    with tempfile.TemporaryDirectory() as folder:
        path = save_model(model, Path(folder, "model.npz"))
        for _ in range(options.rounds):
            for name, sessions, predictors, words in settings:
                with server(path, words) as (host, port, pids):
                    before = sum(map(cpu_time, pids[1:]))
                    result = asyncio.run(load(host, port, model, sessions, predictors, options.seconds))
                    result.cpu = sum(map(cpu_time, pids[1:])) - before
                    if "--workers" in words:
                        shares = ", ".join("{:.0f} / {:.0f}".format(*memory(pid)) for pid in pids)
                found[name].append(result)
    print("| | steps/s | p50 ms | p95 ms | p99 ms | CPU us/step | predictions/s | p50 ms | p99 ms | errors |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, results in found.items():
        print(row(name, results))
    size = sum(array.nbytes for array in model.parameters().values()) / 2**20
    print(f"\nmodel of {size:.0f} MB; RSS / PSS in MB of the launcher and its two workers: {shares}")
    return int(any(result.errors for results in found.values() for result in results))


if __name__ == "__main__":
    sys.exit(main())
