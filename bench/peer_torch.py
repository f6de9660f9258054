"""torch as a contender."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.cases import Case, Data
from bench.contender import Contender, Outputs, Read, Run, one_caller, plain


class Torch(Contender):
    """torch.nn, time first, which is the layout its kernels work in; ragged batches come packed already."""

    name = "torch"
    package = "torch"

    def prepare(self, case: Case, data: Data, threads: int) -> tuple[Run, Read]:
        import torch
        from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

        if case.variant == "projection":
            one_caller(case)
        else:
            plain(case)
        torch.set_num_threads(threads)
        dtype = getattr(torch, case.dtype)
        kind = getattr(torch.nn, case.cell)
        options = {"proj_size": case.width} if case.variant == "projection" else {}
        layer = kind(
            case.input_size, case.hidden_size, case.num_layers, bidirectional=case.bidirectional, dtype=dtype, **options
        )
        layer.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in data.weights.items()})

        def arrange(array: Any) -> Any:
            tensor = torch.from_numpy(np.ascontiguousarray(array.transpose(1, 0, 2)))
            if data.lengths is None:
                return tensor
            return pack_padded_sequence(tensor, torch.from_numpy(data.lengths), enforce_sorted=False)

        def numbers(tensor: Any) -> Any:
            return tensor if data.lengths is None else tensor.data

        def like(x: Any, tensor: Any) -> Any:
            return tensor if data.lengths is None else PackedSequence(tensor, *x[1:])

        def spread(tensor: Any) -> Any:
            if data.lengths is not None:
                tensor = pad_packed_sequence(tensor, total_length=case.steps)[0]
            return tensor.detach().numpy().transpose(1, 0, 2)

        x, dy = arrange(data.x), numbers(arrange(data.dy))
        state: Any = None

        def forward() -> Any:
            with torch.inference_mode():
                return layer(x)[0], None

        def step() -> Any:
            nonlocal state
            with torch.inference_mode():
                y, state = layer(x, state)
                return y, None

        def training() -> Any:
            leaf = numbers(x).detach().requires_grad_()
            layer.zero_grad(set_to_none=True)
            y = layer(like(x, leaf))[0]
            numbers(y).backward(dy)
            return y, leaf.grad

        def read(result: Any) -> Outputs:
            y, dx = result
            outputs = {"y": spread(y)}
            if dx is not None:
                outputs["dx"] = spread(like(x, dx))
                outputs.update({name: p.grad.numpy() for name, p in layer.named_parameters()})
            return outputs

        return {"forward": forward, "training": training, "stream": step, "step": step}[case.task], read
