"""Choice of the implementation behind every operation: ``native`` (C and Cython) or ``reference`` (pure NumPy)."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType

from rnnfast.checks import check_choice

BACKENDS = ("native", "reference")
_PACKAGES = {"native": "rnnfast._native", "reference": "rnnfast.reference"}
_loaded: dict[tuple[str, str], ModuleType] = {}
_loading = threading.RLock()
_current: ContextVar[str] = ContextVar("rnnfast_backend", default="native")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_loading.acquire, after_in_parent=_loading.release, after_in_child=_loading.release)


def load(module: str) -> ModuleType:
    """Import a module by its full name, at the first call that needs it.

    A fork waits until it is there: in the child nobody would finish what another thread had begun to import, and
    whoever wants that module would wait for ever.
    """
    with _loading:
        return importlib.import_module(module)


def get_backend() -> str:
    """Return the name of the backend in force in this thread or task."""
    return _current.get()


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run the body of the ``with`` block on the named backend.

    Parameters
    ----------
    name : {"native", "reference"}
        "native" is the fast path; "reference" is the same mathematics as readable NumPy.

    Raises
    ------
    ValueError
        If the name is neither of the two.
    """
    token = _current.set(check_choice("name", name, BACKENDS))
    try:
        yield
    finally:
        _current.reset(token)


def implementation(module: str) -> ModuleType:
    """Return that module of the backend in force, ``rnnfast._native.<module>`` or ``rnnfast.reference.<module>``.

    The two have the same functions. A module is imported when first asked for.
    """
    key = get_backend(), module
    found = _loaded.get(key)
    if found is None:
        found = _loaded[key] = load(f"{_PACKAGES[key[0]]}.{module}")
    return found
