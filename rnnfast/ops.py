"""The module behind dropout, losses over rows, embedding and pooling in the backend in force."""

from __future__ import annotations

import importlib
from types import ModuleType

from rnnfast.backend import get_backend

_MODULES = {"native": "rnnfast._native.ops", "reference": "rnnfast.reference.ops"}
_loaded: dict[str, ModuleType] = {}


def ops() -> ModuleType:
    """Return `rnnfast._native.ops` or `rnnfast.reference.ops`; it is imported when first used."""
    name = get_backend()
    module = _loaded.get(name)
    if module is None:
        module = _loaded[name] = importlib.import_module(_MODULES[name])
    return module
