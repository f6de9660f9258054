"""rnnfast's two paths as contenders."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.cases import TREES, Case, Data
from bench.contender import Contender, Outputs, Read, Run, one_caller

# What makes a variant of the plain cell.
OPTIONS: dict[str, dict[str, Any]] = {
    "peephole": {"peephole": True},
    "coupled": {"coupled": True},
    "layer norm": {"layer_norm": True},
}


class Native(Contender):
    """rnnfast's compiled path, as its users call it: batch first, nothing prepared but the layer."""

    name = "native"
    package = "rnnfast"

    def version(self) -> str:
        import rnnfast

        return rnnfast.__version__

    def prepare(self, case: Case, data: Data, threads: int) -> tuple[Run, Read]:
        import rnnfast

        rnnfast.set_num_threads(threads)
        x, lengths, layer = data.x, data.lengths, build(case)
        layer.load_state_dict(data.weights)
        given = (x,) if data.parents is None else (x, data.parents)
        stream = rnnfast.Stream(layer, batch=case.batch) if case.task == "stream" else None
        out = np.empty((case.batch, case.width), case.dtype)
        state: Any = None

        def forward() -> Any:
            return layer(*given, lengths=lengths)[0], None, {}

        def training() -> Any:
            grads: Outputs = {}
            (y, _), pullback = layer.forward(*given, lengths=lengths)
            dx = pullback(data.dy, grads)
            return y, dx, grads

        step_x = x[:, 0]

        def step_of_stream() -> Any:
            assert stream is not None
            stream.step(step_x, out)
            return out[:, None], None, {}

        def step() -> Any:
            nonlocal state
            y, state = layer(x, state)
            return y, None, {}

        def read(result: Any) -> Outputs:
            y, dx, grads = result
            return {"y": y, **({} if dx is None else {"dx": dx}), **grads}

        return {"forward": forward, "training": training, "stream": step_of_stream, "step": step}[case.task], read

    def threads_used(self, case: Case) -> int | None:
        if case.cell in TREES:
            return None
        plan = build(case).explain(case.batch, case.steps, lengths=case.lengths, training=case.task == "training")
        return max(int(part.threads) for part in plan.layers)


def build(case: Case) -> Any:
    """Return the layer of a case."""
    import rnnfast

    if case.cell in TREES:
        return rnnfast.TreeLSTM(case.input_size, case.hidden_size, TREES[case.cell], dtype=case.dtype)
    options = {"proj_size": case.width} if case.variant == "projection" else OPTIONS.get(case.variant, {})
    return getattr(rnnfast, "MGU" if case.variant == "minimal" else case.cell)(
        case.input_size,
        case.hidden_size,
        num_layers=case.num_layers,
        bidirectional=case.bidirectional,
        dtype=case.dtype,
        **options,
    )


class Reference(Native):
    """rnnfast's pure-NumPy path: in float64, what all are checked against."""

    name = "reference"

    def version(self) -> str:
        return f"NumPy {np.__version__}"

    def threads_used(self, case: Case) -> int | None:
        return None

    def prepare(self, case: Case, data: Data, threads: int) -> tuple[Run, Read]:
        import rnnfast

        one_caller(case)
        run, read = super().prepare(case, data, threads)

        def slow() -> Any:
            with rnnfast.use_backend("reference"):
                return run()

        return slow, read
