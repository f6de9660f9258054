"""Training small models beside torch, where what surrounds the arithmetic counts.

``python -m bench.small [--threads N] [--epochs N] [--peer-python PATH]``: a recurrent layer, its last step, a dense
layer for four classes; softmax cross-entropy, Adam. Both begin with the same parameters, see the same batches, and must
come to the same loss in the first epoch. Each library runs in a process of its own on as many CPUs, stopped outside its
turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.beside import arguments, serve, turns

CLASSES, BATCHES, RATE = 4, 100, 0.001


class Model(NamedTuple):
    """What is trained on what: the cell, batch, steps and hidden units, as many as inputs."""

    cell: str
    batch: int
    steps: int
    hidden: int

    def __str__(self) -> str:
        return f"{self.cell} T{self.steps} B{self.batch} H{self.hidden}"


MODELS = (Model("RNN", 8, 20, 32), Model("LSTM", 8, 20, 32), Model("GRU", 16, 30, 64), Model("LSTM", 32, 28, 128))


def data(model: Model) -> tuple[NDArray[np.float32], NDArray[np.int64], dict[str, NDArray[np.float32]]]:
    """Return inputs, labels that depend on them, and the parameters to begin with by torch's names."""
    rng = np.random.default_rng(0)
    hidden, rows = model.hidden, {"RNN": 1, "GRU": 3, "LSTM": 4}[model.cell] * model.hidden
    x = rng.standard_normal((BATCHES * model.batch, model.steps, hidden)).astype(np.float32)
    shapes = {"0.weight_ih_l0": (rows, hidden), "0.weight_hh_l0": (rows, hidden), "0.bias_ih_l0": (rows,)}
    shapes |= {"0.bias_hh_l0": (rows,), "2.weight": (CLASSES, hidden), "2.bias": (CLASSES,)}
    bound = hidden**-0.5
    found = {name: rng.uniform(-bound, bound, shape).astype(np.float32) for name, shape in shapes.items()}
    return x, x[:, -1, :CLASSES].argmax(axis=1), found


def native(model: Model) -> Callable[[], float]:
    """Return what trains for an epoch and gives the loss: our trainer, as its users call it."""
    import rnnfast

    x, labels, parameters = data(model)
    layer = getattr(rnnfast, model.cell)(model.hidden, model.hidden)
    network = rnnfast.Sequential(layer, rnnfast.Last(), rnnfast.Dense(model.hidden, CLASSES))
    network.load_state_dict(parameters)
    trainer = rnnfast.Trainer(network, rnnfast.SoftmaxCrossEntropy(), rnnfast.Adam(lr=RATE))

    def epoch() -> float:
        return float(trainer.fit(x, labels, batch_size=model.batch, shuffle=False, progress=False)["loss"][-1])

    return epoch


def peer(model: Model) -> Callable[[], float]:
    """Return the same with torch, in a loop over slices of its tensors."""
    import torch

    inputs, classes, parameters = data(model)
    x, labels = torch.from_numpy(inputs), torch.from_numpy(classes)
    layer = getattr(torch.nn, model.cell)(model.hidden, model.hidden, batch_first=True)
    dense = torch.nn.Linear(model.hidden, CLASSES)
    for prefix, module in (("0.", layer), ("2.", dense)):
        own = {name[2:]: value for name, value in parameters.items() if name.startswith(prefix)}
        module.load_state_dict({name: torch.from_numpy(value) for name, value in own.items()})
    optimizer = torch.optim.Adam([*layer.parameters(), *dense.parameters()], lr=RATE)

    def epoch() -> float:
        total = 0.0
        for first in range(0, len(x), model.batch):
            rows = slice(first, first + model.batch)
            loss = torch.nn.functional.cross_entropy(dense(layer(x[rows])[0][:, -1]), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total / BATCHES

    return epoch


def make(name: str, threads: int) -> Callable[[], dict[str, Any]]:
    """Return what trains each model for an epoch, and tells seconds of a step and losses."""
    if name == "torch":
        import torch

        torch.set_num_threads(threads)
    else:
        import rnnfast

        rnnfast.set_num_threads(threads)
    epochs = [(peer if name == "torch" else native)(model) for model in MODELS]

    def train() -> dict[str, Any]:
        seconds, losses = [], []
        for epoch in epochs:
            start = time.perf_counter()
            losses.append(epoch())
            seconds.append((time.perf_counter() - start) / BATCHES)
        return {"seconds": seconds, "losses": losses}

    return train


def main() -> None:
    """Print a line for each model: the time of a step and the ratio, medians over the epochs after the first."""
    options = arguments("bench.small", __doc__, 12).parse_args()
    if options.epochs < 2:
        raise SystemExit("--epochs must be at least 2: the first is for warming up")
    if options.role:
        serve(partial(make, options.role, options.threads), options.threads)
        return
    found = list(turns(options, "bench.small"))
    first = found[0]
    if not np.allclose(first["rnnfast"]["losses"], first["torch"]["losses"], rtol=1e-3):
        raise SystemExit(f"losses differ: {first['rnnfast']['losses']} and {first['torch']['losses']} of torch")
    for k, model in enumerate(MODELS):
        ours, theirs = ([turn[name]["seconds"][k] for turn in found[1:]] for name in ("rnnfast", "torch"))
        ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
        print(
            f"{model!s:16} rnnfast {1e6 * statistics.median(ours):6.0f} us a step, torch "
            f"{1e6 * statistics.median(theirs):6.0f} us: {statistics.median(ratios):.2f} times as long "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f}), {options.threads} threads"
        )


if __name__ == "__main__":
    main()
