"""Predictions of the example server: asked for together, answered with the bits of each alone, and limits that hold."""

import asyncio
import json
import re
import threading
from contextlib import asynccontextmanager

import numpy as np
import pytest
from served import TestClient, answer, app, client_of, httpx, sequences, settings, small_model  # noqa: F401, fixtures

Settings = settings.Settings


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
        async with direct(model, max_queue=2, request_timeout=1.5, max_batch=1) as (client, served):
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
