"""Limits and timeouts of the server; the launcher makes an option of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

Number = TypeVar("Number", int, float)


def setting(default: Number, words: str) -> Number:
    """Return a field with its description, which becomes the help of an option."""
    found: Number = field(default=default, metadata={"help": words})
    return found


@dataclass(frozen=True)
class Settings:
    """What a worker may take on. Each worker has limits of its own: two workers serve twice as many sessions."""

    max_sessions: int = setting(256, "sessions of a worker; further ones are closed with 1013")
    max_batch: int = setting(256, "sessions that step together, and sequences predicted together; 1: none")
    tick: float = setting(0.0, "seconds to wait for more steps once there is one; 0: what has been read goes at once")
    inline: float = setting(0.0003, "seconds; a tick that is likely to take longer is computed in a thread")
    idle_timeout: float = setting(60.0, "seconds without a step, or without reading answers, that end a session")
    max_body: int = setting(1_000_000, "bytes of a request or message")
    max_steps: int = setting(1000, "steps of a sequence")
    max_queue: int = setting(512, "sequences that may wait for prediction; further ones get 503")
    request_timeout: float = setting(10.0, "seconds for the head of a request, and from there to its answer")
    shutdown_timeout: float = setting(10.0, "seconds that open requests are given after SIGTERM")
