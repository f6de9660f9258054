"""Load SciPy's BLAS for Cython without the rest of ``scipy.linalg``.

``import scipy.linalg.cython_blas`` imports the whole of ``scipy.linalg`` first, which takes 0.2 s or more; the one
extension file that is wanted takes 2 ms. It is found and run under its own full name, and then taken out of
``sys.modules`` again: a later import by anyone runs its usual course, makes the module an attribute of its package, and
gets the same module object, for an extension is loaded into a process once.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType

NAME = "scipy.linalg.cython_blas"


def load_blas() -> ModuleType:
    """Return ``scipy.linalg.cython_blas``, loaded alone where that can be done and by a plain import elsewhere.

    Raises
    ------
    ImportError
        If SciPy is missing or has no such module.
    """
    found = sys.modules.get(NAME)
    return found or _load_alone() or importlib.import_module(NAME)


def _load_alone() -> ModuleType | None:
    scipy = find_spec("scipy")  # reads nothing but the folder's place
    for folder in (scipy and scipy.submodule_search_locations) or ():
        finder = FileFinder(str(Path(folder, "linalg")), (ExtensionFileLoader, EXTENSION_SUFFIXES))
        spec = finder.find_spec(NAME)
        if spec is None or spec.loader is None:
            continue
        try:
            module = module_from_spec(spec)
            sys.modules[NAME] = module
            spec.loader.exec_module(module)
        except ImportError:  # its libraries are found only after SciPy's own preparations
            return None
        finally:
            sys.modules.pop(NAME, None)
        return module
    return None
