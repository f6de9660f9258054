"""The compiled modules."""

from importlib.util import find_spec

if find_spec("rnnfast._native.kernels") is None:
    raise ImportError(
        f"the compiled modules of rnnfast are missing from {__path__[0]}: run `pip install .` in that clone, "
        "or leave its folder if rnnfast is installed elsewhere"
    )
