"""Use rnnfast away from its source: it must come from the folder given, run, train, save and load there."""

import sys
import tempfile
from pathlib import Path

import numpy as np

import rnnfast
from rnnfast._native import kernels

expected = Path(sys.argv[1]).resolve()
found = Path(rnnfast.__file__).resolve()
if expected not in found.parents:
    sys.exit(f"rnnfast came from {found}, not from {expected}")

x = np.random.default_rng(0).standard_normal((64, 10, 8)).astype(np.float32)
label = (x.sum(axis=(1, 2)) > 0).astype(int)
for isa in kernels.isas():
    kernels.set_isa(isa)
    model = rnnfast.Sequential(rnnfast.LSTM(8, 32, seed=0), rnnfast.Last(), rnnfast.Dense(32, 2, seed=1))
    trainer = rnnfast.Trainer(model, rnnfast.SoftmaxCrossEntropy(), rnnfast.Adam(lr=0.01))
    trainer.fit(x, label, epochs=2, progress=False)
    scores, _ = model(x)
    with rnnfast.use_backend("reference"):
        slow, _ = model(x)
    if not np.allclose(scores, slow, atol=1e-4):
        sys.exit(f"{isa} differs from the reference by {abs(scores - slow).max()}")
    with tempfile.TemporaryDirectory() as folder:
        again, _ = rnnfast.load_model(rnnfast.save_model(model, Path(folder, "model.npz")))(x)
    if not np.array_equal(again, scores):
        sys.exit("a model that was saved and loaded gives other results")
print(f"smoke test passed: rnnfast {rnnfast.__version__} in {found.parent}, {', '.join(kernels.isas())}")
