"""The routes: streaming sessions over WebSocket, predictions over HTTP, health and readiness."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response, WebSocket, WebSocketDisconnect
from starlette.requests import ClientDisconnect

from inputs import Inputs, Step
from predictions import Predictions, QueueFull
from rnnfast.threads import get_num_threads
from sessions import Sessions
from settings import Settings
from states import States

POLICY, TRY_AGAIN = 1008, 1013  # close codes, RFC 6455 and its registry


class Served:
    """What the routes need, made when a worker starts."""

    def __init__(self, model: Any, settings: Settings) -> None:
        self.settings = settings
        self.inputs = Inputs(model, settings.max_steps)
        self.states = States(model)
        self.sessions = Sessions(model, self.inputs, settings)
        self.predictions = Predictions(model, settings)
        self.loops: list[asyncio.Task[None]] = []

    def is_ready(self) -> bool:
        """Return whether both loops run and a new session or sequence would be taken."""
        return (
            bool(self.loops)
            and not any(loop.done() for loop in self.loops)
            and self.sessions.open_sessions < self.settings.max_sessions
            and self.predictions.waiting < self.settings.max_queue
        )

    async def step(self, row: int, step: Step) -> tuple[Any, Any]:
        """Return the answer to a step, and the state after it where it is to be kept."""
        state = None if step.state is None else self.states.read(step.state)
        return await self.sessions.step(row, step.x, step.reset, state, step.keep)


def create_app(model: Any, settings: Settings | None = None) -> FastAPI:
    """Return the application that serves a model.

    Parameters
    ----------
    model : Layer
        One that `rnnfast.Stream` takes. It is best packed before workers are forked (see serve.py).
    settings : Settings, optional
    """
    limits = Settings() if settings is None else settings

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        served = app.state.served = Served(model, limits)
        served.loops = [asyncio.create_task(part.run()) for part in (served.sessions, served.predictions)]
        yield
        for loop in served.loops:
            loop.cancel()
        await asyncio.gather(*served.loops, return_exceptions=True)

    app = FastAPI(title="rnnfast", lifespan=lifespan)
    app.get("/health")(health)
    app.get("/ready")(ready)
    app.post("/predict")(predict)
    app.websocket("/stream")(stream)
    return app


async def health(request: Request) -> dict[str, Any]:
    """Answer 200 as long as the event loop turns, with what this worker has done."""
    served = request.app.state.served
    return {
        "pid": os.getpid(),
        "threads": get_num_threads(),
        "sessions": served.sessions.open_sessions,
        "steps": served.sessions.steps,
        "ticks": served.sessions.ticks,
        "sequences": served.predictions.sequences,
        "batches": served.predictions.batches,
    }


async def ready(request: Request, response: Response) -> dict[str, bool]:
    """Answer 200 if this worker takes new work, else 503."""
    is_ready = request.app.state.served.is_ready()
    response.status_code = 200 if is_ready else 503
    return {"ready": is_ready}


async def predict(request: Request) -> Response:
    """Predict ``{"sequences": [[step, ...], ...]}``; with ``"last": true`` the answer is each one's last output."""
    served = request.app.state.served
    body = None
    try:
        async with asyncio.timeout(served.settings.request_timeout):
            body = await body_within(request, served.settings.max_body)
            fields = served.inputs.fields(body, {"sequences"}, {"last": bool})
            given = fields["sequences"]
            if not isinstance(given, list) or not 1 <= len(given) <= served.settings.max_queue:
                raise ValueError(f"sequences must be a list of 1 to {served.settings.max_queue} sequences")
            sequences = [served.inputs.sequence(f"sequences[{n}]", value) for n, value in enumerate(given)]
            outputs = await served.predictions.predict(sequences)
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
    except ClientDisconnect:
        return Response(status_code=400)  # which nobody hears
    except QueueFull:
        raise HTTPException(503, "too many sequences are waiting", headers={"Retry-After": "1"}) from None
    except TimeoutError:
        seconds = f"{served.settings.request_timeout:g} s"
        if body is None:
            raise HTTPException(408, f"the request was not complete within {seconds}") from None
        raise HTTPException(504, f"there was no answer within {seconds}") from None
    last = fields.get("last", False)
    answer = {"outputs": [(y[-1] if last else y).tolist() for y in outputs]}
    return Response(json.dumps(answer, separators=(",", ":")), media_type="application/json")


async def body_within(request: Request, most: int) -> bytes:
    """Return the body, or answer 413 before more than that has been read."""
    chunks, size = [], int(request.headers.get("content-length", "0"))
    if size <= most:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                break
            chunks.append(chunk)
    if size > most:
        raise HTTPException(413, f"a request must not exceed {most} bytes", headers={"Connection": "close"})
    return b"".join(chunks)


async def stream(websocket: WebSocket) -> None:
    """Serve one session: a message is a step, and each is answered before the next is read.

    ``{"x": [...]}`` is answered by ``{"y": [...]}``; with ``"reset": true`` it begins a new sequence. With ``"keep":
    true`` the answer has a ``"state"``, from which ``{"x": [...], "state": "..."}`` goes on, in any session. The
    numbers of a step in a binary message are answered by a binary message. What a client sends faster waits in its
    connection.
    """
    served: Served = websocket.app.state.served
    patience = served.settings.idle_timeout
    await websocket.accept()
    row = served.sessions.open()
    if row is None:
        await websocket.close(TRY_AGAIN, f"all {served.settings.max_sessions} sessions are taken, try again later")
        return
    try:
        while True:
            async with asyncio.timeout(patience):
                message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            binary = message.get("bytes")
            if binary is None:
                step = served.inputs.step_of_text(message.get("text") or "")
            else:
                step = Step(served.inputs.step_of_bytes(binary))
            y, state = await served.step(row, step)
            async with asyncio.timeout(patience):
                if binary is None:
                    kept = {"state": served.states.write(state)} if step.keep else {}
                    await websocket.send_text(json.dumps({"y": y.tolist(), **kept}))
                else:
                    await websocket.send_bytes(y.astype(y.dtype.newbyteorder("<"), copy=False).tobytes())
    except WebSocketDisconnect:
        return
    except ValueError as error:
        await farewell(websocket, str(error))
    except TimeoutError:
        await farewell(websocket, f"the session was idle for {patience:g} s")
    finally:
        served.sessions.close(row)


async def farewell(websocket: WebSocket, reason: str) -> None:
    """Close with a reason, of which a close frame holds 123 bytes."""
    with suppress(RuntimeError, WebSocketDisconnect):  # where the client has gone by itself
        await websocket.close(POLICY, reason.encode()[:123].decode(errors="ignore"))
