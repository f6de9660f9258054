"""The libraries that serve an ONNX model as contenders. Inputs and outputs are bound to memory beforehand.

A step of a stream copies its input into that memory and leaves its state where the next step reads it: two bindings,
each reading what the other writes.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np

from bench.cases import Case, Data
from bench.contender import Contender, Outputs, Read, Run, inference_in_float32


class _OfModel(Contender):
    def version(self) -> str:
        import onnx  # the model is made with it

        del onnx
        return super().version()


class OnnxRuntime(_OfModel):
    """ONNX Runtime."""

    name = "onnxruntime"
    package = "onnxruntime"

    def prepare(self, case: Case, data: Data, threads: int) -> tuple[Run, Read]:
        inference_in_float32(case)
        import onnxruntime

        from bench.onnx_model import make_model, states

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(make_model(case, data), options, providers=["CPUExecutionProvider"])
        x = np.ascontiguousarray(data.x.transpose(1, 0, 2))
        place = x.copy()
        y = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((case.steps, *_width(data)), np.float32))
        names = states(case)
        shape = (1, case.batch, case.hidden_size)
        sets = [
            [onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32)) for _ in names] for _ in range(2)
        ]
        bindings = []
        for source, target in (sets, sets[::-1]):
            binding = session.io_binding()
            binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(place))
            binding.bind_ortvalue_output("y", y)
            for name, before, after in zip(names, source, target, strict=True):
                binding.bind_ortvalue_input(f"{name}_0", before)
                binding.bind_ortvalue_output(f"{name}_n", after)
            bindings.append(binding)
        turns = cycle(bindings)

        def forward() -> Any:
            session.run_with_iobinding(bindings[0])

        def step() -> Any:
            place[...] = x
            session.run_with_iobinding(next(turns))

        def read(result: Any) -> Outputs:
            return {"y": y.numpy().transpose(1, 0, 2).copy()}

        return (step if case.one_step else forward), read


class OpenVino(_OfModel):
    """OpenVINO, kept to float32: by itself it would round to bfloat16 where the CPU has it."""

    name = "openvino"
    package = "openvino"

    def prepare(self, case: Case, data: Data, threads: int) -> tuple[Run, Read]:
        inference_in_float32(case)
        import openvino

        from bench.onnx_model import make_model, states

        core = openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        compiled = core.compile_model(core.read_model(make_model(case, data)), "CPU", settings)
        x = np.ascontiguousarray(data.x.transpose(1, 0, 2))
        place = openvino.Tensor(x.copy())
        y = openvino.Tensor(np.zeros((case.steps, *_width(data)), np.float32))
        names = states(case)
        shape = (1, case.batch, case.hidden_size)
        sets = [[openvino.Tensor(np.zeros(shape, np.float32)) for _ in names] for _ in range(2)]
        requests = []
        for source, target in (sets, sets[::-1]):
            request = compiled.create_infer_request()
            request.set_tensor("x", place)
            request.set_tensor("y", y)
            for name, before, after in zip(names, source, target, strict=True):
                request.set_tensor(f"{name}_0", before)
                request.set_tensor(f"{name}_n", after)
            requests.append(request)
        turns = cycle(requests)

        def forward() -> Any:
            requests[0].infer()

        def step() -> Any:
            place.data[...] = x
            next(turns).infer()

        def read(result: Any) -> Outputs:
            return {"y": y.data.transpose(1, 0, 2).copy()}

        return (step if case.one_step else forward), read


def _width(data: Data) -> tuple[int, int]:
    return data.dy.shape[0], data.dy.shape[2]
