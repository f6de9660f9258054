"""Use rnnfast away from its source: it must come from the folder given, and run forwards and backwards there."""

import sys
from pathlib import Path

import numpy as np

import rnnfast
from rnnfast._native import kernels
from rnnfast.backend import use_backend
from rnnfast.layers.recurrent import LSTM

expected = Path(sys.argv[1]).resolve()
found = Path(rnnfast.__file__).resolve()
if expected not in found.parents:
    sys.exit(f"rnnfast came from {found}, not from {expected}")

model = LSTM(8, 32, num_layers=2, seed=0)
x = np.random.default_rng(0).standard_normal((4, 10, 8)).astype(np.float32)
with use_backend("reference"):
    slow, _ = model(x)
for isa in kernels.isas():
    kernels.set_isa(isa)
    (y, _), pullback = model.forward(x)
    pullback(np.ones_like(y), {})
    if not np.allclose(y, slow, atol=1e-5):
        sys.exit(f"{isa} differs from the reference by {abs(y - slow).max()}")
print(f"smoke test passed: rnnfast {rnnfast.__version__} in {found.parent}, {', '.join(kernels.isas())}")
