"""Streaming sessions of the example server: the bits of the model whoever else is served, and limits that hold."""

import asyncio
import base64
import json
import re

import numpy as np
import pytest
from served import (  # noqa: F401, fixtures
    STEPS,
    WebSocketDisconnect,
    answer,
    client_of,
    inputs,
    say,
    sequences,
    sessions,
    settings,
    small_model,
)

import rnnfast
from rnnfast import GRU, LSTM, Dense, Embedding, Sequential

Settings = settings.Settings


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
    with client_of(model, idle_timeout=0.5) as client, client.websocket_connect("/stream") as socket:
        answer(socket, x[0, 0])
        with pytest.raises(WebSocketDisconnect) as found:
            socket.receive_text()
        assert found.value.code == 1008 and "idle for 0.5 s" in found.value.reason
        assert client.get("/health").json()["sessions"] == 0
