"""Processes of the example server: workers are kept, connections closed, and all ends in time and in order."""

import asyncio
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from served import (
    FOLDER,
    STEPS,
    ConnectionClosedError,
    connect,
    load,
    say,
    serve,
    small_model,  # noqa: F401, fixtures
)

import rnnfast
from rnnfast import LSTM, Dense, Sequential, save_model

ROOT = Path(rnnfast.__file__).resolve().parents[1]  # of the package that these tests import

# The launcher has used two threads before it forks: its workers must make their own.
THREADED = """
import os, sys
import numpy as np
sys.path[:0] = [{root!r}, {folder!r}]
import serve
from rnnfast import load_model, set_num_threads
set_num_threads(4)
load_model(sys.argv[sys.argv.index("--model") + 1])(np.zeros((64, 30, 32), np.float32))
assert len(os.listdir("/proc/self/task")) > 1, "the work was not shared out, so this test shows nothing"
sys.exit(serve.main())
"""
PLAIN = """
import sys
sys.path[:0] = [{root!r}, {folder!r}]
import serve
sys.exit(serve.main())
"""
BROKEN = """
import sys, types
sys.path[:0] = [{root!r}, {folder!r}]
sys.modules["app"] = types.SimpleNamespace(create_app=None)  # not needed here, and slow to import
import serve
def work(*arguments):
    raise RuntimeError("planted")
serve.work = work
sys.exit(serve.main())
"""


def launch(code, *options):
    command = [sys.executable, "-c", code.format(root=str(ROOT), folder=str(FOLDER)), "--port", "0", *options]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def workers_of(process):
    return set(map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()))


def until(condition, seconds=20):
    """Return what is not false of ``condition()``, asked again and again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come about in time")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_two_workers(tmp_path, rng):
    model = Sequential(LSTM(32, 160, num_layers=2, seed=0), Dense(160, 8, seed=1))
    path = save_model(model, tmp_path / "model.npz")
    x = rng.standard_normal((8, STEPS, 32)).astype(np.float32)
    y = model(x)[0]
    process = launch(THREADED, "--model", str(path), "--workers", "2")
    try:
        line = process.stdout.readline()
        assert "2 workers, 2 threads each" in line, process.stderr.read()
        address = line.split()[2].rstrip(",")
        host, port = address.removeprefix("http://").split(":")

        body = json.dumps({"sequences": [x[k % 8].tolist() for k in range(64)]}).encode()

        def health():
            with urllib.request.urlopen(f"{address}/health", timeout=20) as reply:
                return json.load(reply)

        def held_to_the_model(other):
            """Ask for predictions that are worth two threads, of the only worker that is not held."""
            os.kill(other, signal.SIGSTOP)
            try:
                pid = health()["pid"]
                with urllib.request.urlopen(f"{address}/predict", body, timeout=20) as reply:
                    found = np.array(json.load(reply)["outputs"], np.float32)
            finally:
                os.kill(other, signal.SIGCONT)
            assert np.array_equal(found, y[np.arange(64) % 8])
            return pid

        one, two = until(lambda: len(workers_of(process)) == 2 and workers_of(process))
        assert (held_to_the_model(one), held_to_the_model(two)) == (two, one)

        result = asyncio.run(load.load(host, int(port), model, 6, 2, 1.0))
        assert result.errors == 0 and result.latencies and result.waits
        for pid in workers_of(process):
            rss, pss = load.memory(pid)
            assert pss < 0.8 * rss  # pages are shared with the launcher

        def end_the_other():
            try:
                until(lambda: health()["sessions"] == 7 and health()["steps"] > done + 20 and health()["sequences"])
                os.kill(two, signal.SIGKILL)
            finally:
                os.kill(one, signal.SIGCONT)

        os.kill(one, signal.SIGSTOP)  # so all sessions are of the other one, which ends in the midst of its work
        killer = threading.Thread(target=end_the_other)
        with connect(f"ws://{host}:{port}/stream") as session:
            state = say(Text(session), x[0, 0], keep=True)["state"]
            done = health()["steps"]
            killer.start()
            result = asyncio.run(asyncio.wait_for(load.load(host, int(port), model, 6, 2, 4.0), 60))
            killer.join()
            assert result.latencies and result.errors == 8  # each client met it once; none waits for ever
            with pytest.raises(ConnectionClosedError):
                session.recv(timeout=20)
        with connect(f"ws://{host}:{port}/stream") as socket:
            assert np.array_equal(say(Text(socket), x[0, 1], state=state)["y"], y[0, 1])
        (two,) = until(lambda: len(workers_of(process)) == 2 and workers_of(process) - {one, two})

        os.kill(one, signal.SIGKILL)
        (three,) = until(lambda: len(workers_of(process)) == 2 and workers_of(process) - {one, two})
        assert held_to_the_model(two) == three

        with connect(f"ws://{host}:{port}/stream") as socket, pytest.raises(ConnectionClosedError) as found:
            socket.send(bytes(2_000_000))
            socket.recv(timeout=20)
        assert found.value.rcvd.code == 1009  # message too big

        with connect(f"ws://{host}:{port}/stream") as socket:
            socket.send(x[0, 0].tobytes())
            assert np.array_equal(np.frombuffer(socket.recv(timeout=20), np.float32), y[0, 0])
            process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosedError) as found:
                socket.recv(timeout=20)
        assert found.value.rcvd.code == 1012  # service restart
        assert process.wait(20) == 0
        assert "ended with -9" in process.stderr.read()
    finally:
        stop(process)


class Text:
    """A client's connection with the names that the test client of the framework has."""

    def __init__(self, socket):
        self.send_text, self.receive_text = socket.send, functools.partial(socket.recv, timeout=20)


def stop(process):
    if process.poll() is None:
        process.kill()
    process.stdout.close()
    process.stderr.close()
    process.wait(20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_that_are_ended_while_they_start(tmp_path, model, number):
    path = save_model(model, tmp_path / "model.npz")
    process = launch(PLAIN, "--model", str(path), "--workers", "2", "--shutdown-timeout", "60")
    try:
        assert process.stdout.readline().startswith("listening")
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)  # a worker that did not hear would be killed after 65 s
        assert (process.returncode, errors) == (0, "")
    finally:
        stop(process)


def test_workers_that_cannot_live_end_the_launcher(tmp_path, model):
    process = launch(BROKEN, "--model", str(save_model(model, tmp_path / "model.npz")), "--workers", "2")
    try:
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 1
        assert "RuntimeError: planted" in errors and "5 workers in a row ended at once: giving up" in errors
    finally:
        stop(process)


def test_connections_that_fall_silent_are_closed_and_others_are_not(tmp_path, model):
    path = save_model(model, tmp_path / "model.npz")
    process = launch(PLAIN, "--model", str(path), "--request-timeout", "2")
    head = b"GET /health HTTP/1.1\r\nHost: x\r\n"
    try:
        host, port = process.stdout.readline().split()[2].rstrip(",").removeprefix("http://").split(":")

        def opened(said=b""):
            own = socket.create_connection((host, int(port)), timeout=20)
            own.sendall(said)
            return own

        def asked(own):
            own.sendall(head + b"\r\n")
            found = b""
            while not found.endswith(b"}"):
                found += own.recv(4096)
                assert b" 200 " in found[:20]

        with connect(f"ws://{host}:{port}/stream") as session:
            busy = opened()
            asked(busy)
            silent = [opened(), opened(head), opened(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")]
            busy.sendall(head)  # the head of a second request, which does not end
            for _ in range(4):  # for longer than that
                time.sleep(0.6)
                session.send(bytes(12))
                session.recv(timeout=20)
            assert [own.recv(4096)[:12] for own in (*silent, busy)] == [b"", b"", b"HTTP/1.1 408", b""]
            gone = opened(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            gone.close()  # in the midst of it
            patient = opened()
            for _ in range(4):
                asked(patient)
                time.sleep(0.6)
            for own in (*silent, busy, patient):
                own.close()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")
    finally:
        stop(process)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_workers_end_with_their_launcher(tmp_path, model):
    process = launch(PLAIN, "--model", str(save_model(model, tmp_path / "model.npz")))
    try:
        assert process.stdout.readline().startswith("listening")
        (worker,) = until(lambda: workers_of(process))
        process.kill()
        process.wait(20)
        stat = Path(f"/proc/{worker}/stat")
        until(lambda: not stat.exists() or ") Z " in stat.read_text())
    finally:
        stop(process)


def test_a_file_that_is_no_model_is_one_clear_sentence(monkeypatch, tmp_path):
    (tmp_path / "no.npz").write_bytes(b"no")
    for name, words in (("no.npz", "no.npz"), ("none.npz", "No such file")):
        monkeypatch.setattr(sys, "argv", ["serve.py", "--port", "0", "--model", str(tmp_path / name)])
        with pytest.raises(SystemExit, match=f"^cannot load the model: .*{words}"):
            serve.main()


def test_an_address_that_is_taken_is_one_clear_sentence(monkeypatch):
    with serve.bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = str(taken.getsockname()[1])
        monkeypatch.setattr(sys, "argv", ["serve.py", "--port", port, "--workers", "2"])
        with pytest.raises(SystemExit, match=f"^cannot listen on 127.0.0.1:{port}: Address already in use"):
            serve.main()


@pytest.mark.parametrize(
    "words", [["--workers", "0"], ["--max-batch", "0"], ["--idle-timeout", "nan"], ["--tick", "-1"]]
)
def test_bad_options(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", ["serve.py", *words])
    with pytest.raises(SystemExit, match="2"):
        serve.main()
    assert f"{words[0]} must be at least" in capsys.readouterr().err
