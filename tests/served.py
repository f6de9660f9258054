"""What the tests of the example server share: its modules, packages, fixtures, and a client's words.

The packages are taken from here, so that where one of them is missing each file is skipped and says why.
"""

import importlib
import json
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from rnnfast import LSTM, Dense, Sequential

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "server"
for needed in ("fastapi", "uvicorn", "websockets", "httpx"):
    pytest.importorskip(needed, reason=f"the server needs {needed}: pip install 'rnnfast[server]' httpx")
if not FOLDER.is_dir():
    pytest.skip("the examples are not here", allow_module_level=True)

import httpx  # noqa: E402, F401
from fastapi.testclient import TestClient  # noqa: E402
from starlette.websockets import WebSocketDisconnect  # noqa: E402, F401
from websockets.exceptions import ConnectionClosedError  # noqa: E402, F401
from websockets.sync.client import connect  # noqa: E402, F401

sys.path.insert(0, str(FOLDER))
app, inputs, load, serve, sessions, settings = map(
    importlib.import_module, ("app", "inputs", "load", "serve", "sessions", "settings")
)
sys.path.remove(str(FOLDER))
STEPS = 5


@pytest.fixture(scope="module", name="model")
def small_model():
    return Sequential(LSTM(3, 20, num_layers=2, seed=0), Dense(20, 4, seed=1))


@pytest.fixture(name="x")
def sequences(rng):
    return rng.standard_normal((6, STEPS, 3)).astype(np.float32)


@contextmanager
def client_of(model, **limits):
    with TestClient(app.create_app(model, settings.Settings(**limits))) as client:
        yield client


def answer(socket, step, binary=True, **more):
    """Send one step and return its answer as float32."""
    if binary:
        socket.send_bytes(step.tobytes())
        return np.frombuffer(socket.receive_bytes(), np.float32)
    socket.send_text(json.dumps({"x": step.tolist(), **more}))
    return np.array(json.loads(socket.receive_text())["y"], np.float32)


def say(socket, step, **more):
    """Send one step as text and return the whole answer."""
    socket.send_text(json.dumps({"x": step.tolist(), **more}))
    return json.loads(socket.receive_text())
