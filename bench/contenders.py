"""Who runs. A contender imports its library on use only: those that are missing are named and the rest still run."""

from __future__ import annotations

from bench.contender import Contender
from bench.own import Native, Reference
from bench.peer_jax import Jax
from bench.peer_onnx import OnnxRuntime, OpenVino
from bench.peer_torch import Torch

CONTENDERS: dict[str, Contender] = {
    c.name: c for c in (Native(), Reference(), Torch(), OnnxRuntime(), OpenVino(), Jax())
}
OWN = ("native", "reference")


def find(name: str) -> tuple[Contender | None, str]:
    """Return a contender and its version, or None and why it cannot take part."""
    contender = CONTENDERS[name]
    try:
        return contender, contender.version()
    except ImportError as error:
        return None, f"not installed ({error})"
