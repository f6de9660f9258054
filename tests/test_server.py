"""The example server: answers are the bits of the model whoever else is served, limits hold, workers are kept."""

import asyncio
import base64
import functools
import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import numpy as np
import pytest

import rnnfast
from rnnfast import GRU, LSTM, Dense, Embedding, Sequential, save_model

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "server"
ROOT = Path(rnnfast.__file__).resolve().parents[1]  # of the package that these tests import
for needed in ("fastapi", "uvicorn", "websockets", "httpx"):
    pytest.importorskip(needed, reason=f"the server needs {needed}: pip install 'rnnfast[server]' httpx")
if not FOLDER.is_dir():
    pytest.skip("the examples are not here", allow_module_level=True)

import httpx  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402
from starlette.websockets import WebSocketDisconnect  # noqa: E402
from websockets.exceptions import ConnectionClosedError  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

sys.path.insert(0, str(FOLDER))
app, inputs, load, serve, sessions, settings = map(
    importlib.import_module, ("app", "inputs", "load", "serve", "sessions", "settings")
)
sys.path.remove(str(FOLDER))
Settings = settings.Settings
STEPS = 5


@pytest.fixture(scope="module")
def model():
    return Sequential(LSTM(3, 20, num_layers=2, seed=0), Dense(20, 4, seed=1))


@pytest.fixture
def x(rng):
    return rng.standard_normal((6, STEPS, 3)).astype(np.float32)


@contextmanager
def client_of(model, **limits):
    with TestClient(app.create_app(model, Settings(**limits))) as client:
        yield client


def answer(socket, step, binary=True, **more):
    """Send one step and return its answer as float32."""
    if binary:
        socket.send_bytes(step.tobytes())
        return np.frombuffer(socket.receive_bytes(), np.float32)
    socket.send_text(json.dumps({"x": step.tolist(), **more}))
    return np.array(json.loads(socket.receive_text())["y"], np.float32)


# Sessions


@pytest.mark.parametrize("binary", [True, False])
def test_a_session_is_a_sequence(model, x, binary):
    with client_of(model) as client, client.websocket_connect("/stream") as socket:
        found = [answer(socket, step, binary) for step in x[0]]
        assert np.array_equal(found, model(x[:1])[0][0])
        again = answer(socket, x[1, 0], binary=False, reset=True)
        assert np.array_equal(again, model(x[1:2])[0][0, 0])


@pytest.mark.parametrize("max_batch", [1, 4, 256])
@pytest.mark.parametrize("tick", [0.0, 0.002])
@pytest.mark.parametrize("inline", [0.0, np.inf], ids=["in a thread", "inline"])
def test_sessions_step_together_with_the_bits_of_each_alone(model, x, max_batch, tick, inline):
    limits = Settings(max_sessions=6, max_batch=max_batch, tick=tick, inline=inline)

    async def serve_all():
        served = sessions.Sessions(model, inputs.Inputs(model, 9), limits)
        loop = asyncio.create_task(served.run())
        rows = [served.open() for _ in x]
        assert served.open() is None and served.open_sessions == 6
        found = [await asyncio.gather(*map(served.step, rows, x[:, t])) for t in range(STEPS)]
        loop.cancel()
        return np.stack([[y for y, _ in answers] for answers in found], 1), served.ticks, served.steps

    found, ticks, steps = asyncio.run(serve_all())
    assert np.array_equal(found, model(x)[0])
    assert (ticks, steps) == (STEPS * -(-6 // max_batch), STEPS * 6)


@pytest.mark.parametrize("inline", [0.0, np.inf], ids=["in a thread", "inline"])
def test_sessions_that_come_and_go_do_not_disturb_the_others(model, x, rng, inline):
    expected = model(x)[0]
    limits = Settings(max_sessions=4, inline=inline)

    async def session(served, k, patience):
        await asyncio.sleep(patience)
        while (row := served.open()) is None:  # six want one of four rows
            await asyncio.sleep(0.001)
        try:
            for t in range(STEPS):
                assert np.array_equal((await served.step(row, x[k, t]))[0], expected[k, t])
                await asyncio.sleep(rng.random() / 500)
        finally:
            served.close(row)

    async def serve_all():
        served = sessions.Sessions(model, inputs.Inputs(model, 9), limits)
        loop = asyncio.create_task(served.run())
        visits = [asyncio.create_task(session(served, k % 6, rng.random() / 50)) for k in range(40)]
        await asyncio.sleep(0.01)
        for visit in visits[::5]:
            visit.cancel()  # some leave in the middle, also of a step
        found = await asyncio.gather(*visits, return_exceptions=True)
        loop.cancel()
        assert served.open_sessions == 0
        return found

    found = asyncio.run(serve_all())
    assert all(each is None or isinstance(each, asyncio.CancelledError) for each in found), found
    assert found.count(None) >= 32


def say(socket, step, **more):
    """Send one step as text and return the whole answer."""
    socket.send_text(json.dumps({"x": step.tolist(), **more}))
    return json.loads(socket.receive_text())


@pytest.mark.parametrize("inline", [0.0, np.inf], ids=["in a thread", "inline"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Sequential(LSTM(3, 20, num_layers=2, seed=0), Dense(20, 4, seed=1)),
        lambda: GRU(3, 5, seed=0, dtype="float64"),
        lambda: Sequential(Dense(3, 6, seed=0), GRU(6, 5, seed=1), LSTM(5, 4, proj_size=2, seed=2)),
        lambda: rnnfast.QRNN(3, 5, 2, window=3, seed=0),
    ],
    ids=["Sequential", "float64", "mixed", "window"],
)
def test_a_session_goes_on_from_a_kept_state(make, x, inline):
    """Whatever has become of the server that it began at: a new one, another model object, other rows."""
    y = make()(x)[0]
    with client_of(make(), inline=inline) as client, client.websocket_connect("/stream") as socket:
        for step in x[1, :2]:
            assert "state" not in say(socket, step)
        state = say(socket, x[1, 2], keep=True)["state"]
        assert np.array_equal(say(socket, x[1, 3])["y"], y[1, 3])  # to keep it changes nothing
    with client_of(make(), inline=inline) as client, client.websocket_connect("/stream") as other:
        say(other, x[0, 0])
        with client.websocket_connect("/stream") as socket:
            say(socket, x[2, 0])  # the state takes the place of what there was
            for _ in range(2):
                assert np.array_equal(say(socket, x[1, 3], state=state)["y"], y[1, 3])
            assert np.array_equal(answer(socket, x[1, 4], binary=False), y[1, 4].astype(np.float32))
            assert np.array_equal(say(socket, x[1, 0], reset=True)["y"], y[1, 0])
        assert np.array_equal(say(other, x[0, 1])["y"], y[0, 1])


def test_bad_states(model, x):
    step = x[0, 0].tolist()
    other = Sequential(LSTM(3, 20, num_layers=2, seed=9), Dense(20, 4, seed=1))
    with client_of(other) as client, client.websocket_connect("/stream") as socket:
        foreign = say(socket, x[0, 0], keep=True)["state"]
    with client_of(model) as client:
        with client.websocket_connect("/stream") as socket:
            state = say(socket, x[0, 0], keep=True)["state"]
        raw = bytearray(base64.b64decode(state))
        raw[4:8] = np.float32(np.nan).tobytes()
        for more, words in (
            ({"state": "?"}, "not Base64"),
            ({"state": "\u00e9"}, "not Base64"),
            ({"state": ""}, "state must hold 324 bytes for this model; got 0"),
            ({"state": state[:-4]}, "state must hold 324 bytes"),
            ({"state": foreign}, "state is of another model"),
            ({"state": base64.b64encode(raw).decode()}, "state must hold finite numbers"),
            ({"state": True}, "state must be str; got bool"),
            ({"keep": 1}, "keep must be bool"),
            ({"state": state, "reset": True}, "give one of them"),
        ):
            with client.websocket_connect("/stream") as socket:
                socket.send_text(json.dumps({"x": step, **more}))
                with pytest.raises(WebSocketDisconnect) as found:
                    socket.receive_text()
            assert found.value.code == 1008 and words in found.value.reason
        assert client.get("/health").json()["sessions"] == 0


def test_a_model_that_takes_indices(rng):
    model = Sequential(Embedding(7, 3, seed=0), GRU(3, 5, seed=1), Dense(5, 2, seed=2))
    x = rng.integers(0, 7, STEPS)
    y = model(x[None])[0][0]
    with client_of(model) as client:
        with client.websocket_connect("/stream") as socket:
            assert all(np.array_equal(answer(socket, step), y[t]) for t, step in enumerate(x))
        found = client.post("/predict", json={"sequences": [x.tolist()]}).json()["outputs"]
        assert np.array_equal(np.array(found, np.float32), y[None])
        for wrong in ([7], [-1], [0.5], [[1]], ["1"]):
            assert client.post("/predict", json={"sequences": [wrong]}).status_code == 422


BAD_STEPS = [
    ("nonsense", "not JSON"),
    ("[1, 2, 3]", "expected an object with 'x'"),
    ('{"y": [1, 2, 3]}', "expected an object with 'x'"),
    ('{"x": [1, 2, 3], "reset": 1}', "reset must be bool"),
    ('{"x": [1, 2]}', r"x must have shape \(3,\); got \(2,\)"),
    ('{"x": [1, [2], 3]}', "x must be a rectangular list"),
    ('{"x": [1, 2, "3"]}', "x must hold numbers"),
    ('{"x": [1, 2, null]}', "x must hold numbers"),
    ('{"x": [1, 2, NaN]}', "x must hold finite"),
    ('{"x": [1, 2, 1e300]}', "x must hold finite"),
    ("[" * 100_000, "not JSON"),
    (b"12345", "a binary step must have 12 bytes"),
    (np.full(3, np.inf, np.float32).tobytes(), "the step must hold finite"),
]


@pytest.mark.parametrize(("message", "words"), BAD_STEPS)
def test_a_bad_step_ends_its_session_alone(model, x, message, words):
    with client_of(model) as client, client.websocket_connect("/stream") as good:
        answer(good, x[0, 0])
        with client.websocket_connect("/stream") as bad:
            (bad.send_text if isinstance(message, str) else bad.send_bytes)(message)
            with pytest.raises(WebSocketDisconnect) as found:
                bad.receive_text()
        assert found.value.code == 1008
        assert re.search(words, found.value.reason)
        assert np.array_equal(answer(good, x[0, 1]), model(x[:1])[0][0, 1])
        assert client.get("/health").json()["sessions"] == 1


def test_no_more_sessions_than_there_is_room_for(model, x):
    with client_of(model, max_sessions=1) as client:
        assert client.get("/ready").status_code == 200
        with client.websocket_connect("/stream") as socket:
            assert client.get("/ready").status_code == 503
            with client.websocket_connect("/stream") as other, pytest.raises(WebSocketDisconnect) as found:
                other.receive_text()
            assert found.value.code == 1013 and "all 1 sessions are taken" in found.value.reason
            answer(socket, x[0, 0])
        with client.websocket_connect("/stream") as socket:  # its row begins anew
            assert np.array_equal(answer(socket, x[1, 0]), model(x[1:2])[0][0, 0])


def test_an_idle_session_ends(model, x):
    with client_of(model, idle_timeout=0.05) as client, client.websocket_connect("/stream") as socket:
        answer(socket, x[0, 0])
        with pytest.raises(WebSocketDisconnect) as found:
            socket.receive_text()
        assert found.value.code == 1008 and "idle for 0.05 s" in found.value.reason
        assert client.get("/health").json()["sessions"] == 0


# Predictions


@asynccontextmanager
async def direct(model, **limits):
    """Yield a client within this event loop, and what it is served by."""
    application = app.create_app(model, Settings(**limits))
    async with application.router.lifespan_context(application):
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            yield client, application.state.served


def test_requests_are_predicted_together_with_the_bits_of_each_alone(model, x):
    lengths = [5, 1, 3, 5, 2, 4]

    async def ask():
        async with direct(model) as (client, served):
            bodies = [{"sequences": [x[k, :n].tolist(), x[5 - k].tolist()]} for k, n in enumerate(lengths)]
            found = await asyncio.gather(*(client.post("/predict", json=body) for body in bodies))
            last = await client.post("/predict", json={**bodies[2], "last": True})
            return [each.json()["outputs"] for each in found], last.json()["outputs"], served.predictions

    found, last, predictions = asyncio.run(ask())
    for k, n in enumerate(lengths):
        assert np.array_equal(np.array(found[k][0], np.float32), model(x[k : k + 1, :n])[0][0])
        assert np.array_equal(np.array(found[k][1], np.float32), model(x[5 - k : 6 - k])[0][0])
    assert last == [each[-1] for each in found[2]]
    assert predictions.sequences == 14 and predictions.batches < 7


BAD_REQUESTS = [
    (b"", 422, "not JSON"),
    (b"\xff\xfe", 422, "not JSON"),
    (b'{"sequences": []}', 422, "a list of 1 to 512"),
    (b'{"sequences": [[]]}', 422, r"sequences\[0\] must be a list of 1 to 9 steps; got 0 steps"),
    (json.dumps({"sequences": [[[1, 2, 3]] * 10]}).encode(), 422, "1 to 9 steps; got 10 steps"),
    (b'{"sequences": [[[1, 2, 3], [1, 2]]]}', 422, "rectangular"),
    (b'{"sequences": [[[1, 2]]]}', 422, r"sequences\[0\] must have shape \(1, 3\)"),
    (b'{"sequences": [[[1, 2, 3]], 4]}', 422, r"sequences\[1\] must be a list"),
    (b'{"sequences": [[[1, 2, true]]], "what": 1}', 422, "expected an object"),
    (b'{"sequences": [[[1, 2, 3]]], "last": "yes"}', 422, "last must be bool"),
    (b'{"sequences": [[[1, 2, Infinity]]]}', 422, "finite"),
    (b" " * 2001, 413, "2000 bytes"),
]


@pytest.mark.parametrize(("body", "status", "words"), BAD_REQUESTS)
def test_bad_requests(model, body, status, words):
    with client_of(model, max_steps=9, max_body=2000) as client:
        for content in (body, iter([body])):  # with its length told beforehand, and without
            found = client.post("/predict", content=content)
            assert found.status_code == status
            assert re.search(words, found.json()["detail"])


def test_a_full_queue_and_a_slow_model(model, x):
    body = {"sequences": [x[0].tolist()]}
    begun, going = threading.Event(), threading.Event()

    def slow(*arguments, **options):
        begun.set()
        going.wait(20)
        return model(*arguments, **options)

    async def ask():
        async with direct(model, max_queue=2, request_timeout=0.4, max_batch=1) as (client, served):
            served.predictions._model = slow
            first = asyncio.create_task(client.post("/predict", json=body))
            await asyncio.to_thread(begun.wait)  # the first is being computed; two may wait
            others = [asyncio.create_task(client.post("/predict", json=body)) for _ in range(2)]
            while served.predictions.waiting < 2:
                await asyncio.sleep(0)
            full = await client.post("/predict", json=body), (await client.get("/ready")).status_code
            late = [each.status_code for each in await asyncio.gather(first, *others)]
            waiting = served.predictions.waiting
            going.set()
            again = await client.post("/predict", json=body)
            return full, late, waiting, again

    (full, ready), late, waiting, again = asyncio.run(ask())
    assert full.status_code == 503 and full.headers["retry-after"] == "1" and ready == 503
    assert late == [504] * 3 and waiting == 0  # nothing is computed for those that gave up
    assert again.status_code == 200


def test_a_body_that_does_not_come(model):
    async def trickle():
        yield b'{"sequences"'
        await asyncio.sleep(20)

    async def ask():
        async with direct(model, request_timeout=0.05) as (client, _):
            return (await client.post("/predict", content=trickle())).status_code

    assert asyncio.run(ask()) == 408


def test_an_error_of_the_model_does_not_end_the_server(model, x):
    def broken(*arguments, **options):
        raise RuntimeError("planted")

    body = {"sequences": [x[0].tolist()]}
    with TestClient(app.create_app(model, Settings()), raise_server_exceptions=False) as client:
        served = client.app.state.served
        served.predictions._model, served.sessions._step = broken, broken
        assert client.post("/predict", json=body).status_code == 500
        with pytest.raises(RuntimeError, match="planted"), client.websocket_connect("/stream") as socket:
            answer(socket, x[0, 0])
        served.predictions._model = model
        del served.sessions._step
        assert client.post("/predict", json=body).status_code == 200
        with client.websocket_connect("/stream") as socket:
            assert np.array_equal(answer(socket, x[0, 0]), model(x[:1])[0][0, 0])


# Workers

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

        result = asyncio.run(load.load(host, int(port), model, 6, 2, 0.3))
        assert result.errors == 0 and len(result.latencies) > 6 and result.waits
        for pid in workers_of(process):
            rss, pss = load.memory(pid)
            assert pss < 0.8 * rss  # pages are shared with the launcher

        def end_the_other():
            try:
                until(lambda: health()["sessions"] == 7 and health()["sequences"])
                os.kill(two, signal.SIGKILL)
            finally:
                os.kill(one, signal.SIGCONT)

        os.kill(one, signal.SIGSTOP)  # so all sessions are of the other one, which ends in the midst of its work
        killer = threading.Thread(target=end_the_other)
        session = connect(f"ws://{host}:{port}/stream")
        state = say(Text(session), x[0, 0], keep=True)["state"]
        killer.start()
        result = asyncio.run(asyncio.wait_for(load.load(host, int(port), model, 6, 2, 1.0), 60))
        killer.join()
        assert len(result.latencies) > 6 and result.errors == 8  # each client met it once; none waits for ever
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
    process = launch(PLAIN, "--model", str(path), "--request-timeout", "1")
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

        busy, session = opened(), connect(f"ws://{host}:{port}/stream")
        asked(busy)
        silent = [opened(), opened(head), opened(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")]
        busy.sendall(head)  # the head of a second request, which does not end
        for _ in range(4):  # for longer than that
            time.sleep(0.3)
            session.send(bytes(12))
            session.recv(timeout=20)
        assert [own.recv(4096)[:12] for own in (*silent, busy)] == [b"", b"", b"HTTP/1.1 408", b""]
        opened(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{").close()  # gone in the midst of it
        patient = opened()
        for _ in range(4):
            asked(patient)
            time.sleep(0.3)
        for own in (*silent, busy, patient, session.socket):
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
