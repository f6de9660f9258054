"""Who runs: each contender turns a case into a function to call and a reading of what it computed.

A contender imports its library on use only, so that those that are not installed are named and the rest still run.
Each gets its data in the layout it likes best, made before the clock starts, and the number of threads it is told.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.cases import Case, Data

Outputs = dict[str, NDArray[Any]]
Run = Callable[[], Any]
Read = Callable[[Any], Outputs]


class Unsupported(Exception):
    """The contender cannot run the case; the message says why."""


class Contender:
    """Base of the contenders.

    Attributes
    ----------
    name : str
        As shown in the table and given to ``--contenders``.
    package : str
        The distribution whose version is reported.
    """

    name: ClassVar[str]
    package: ClassVar[str]

    def version(self) -> str:
        """Return the version of the library; ``ImportError`` if it is not installed."""
        return version(self.package)

    def prepare(self, case: Case, data: Data, threads: int) -> tuple[Run, Read]:
        """Return a function that runs the case once, and one that reads its result.

        What is read are arrays by name: ``y`` (B, T, D*H) and, in training, ``dx`` and the gradients by torch's names.

        Raises
        ------
        Unsupported
            If this library has no such thing.
        """
        raise NotImplementedError


class Native(Contender):
    """rnnfast's compiled path."""

    name = "native"
    package = "numpy"
    backend = "native"

    def version(self) -> str:
        import rnnfast

        return rnnfast.__version__

    def prepare(self, case: Case, data: Data, threads: int) -> tuple[Run, Read]:
        import rnnfast

        rnnfast.set_num_threads(threads)
        layer = getattr(rnnfast, case.cell)(
            case.input_size,
            case.hidden_size,
            num_layers=case.num_layers,
            bidirectional=case.bidirectional,
            dtype=case.dtype,
        )
        layer.load_state_dict(data.weights)

        def forward() -> Any:
            with rnnfast.use_backend(self.backend):
                y, _ = layer(data.x)
            return y, None, {}

        def training() -> Any:
            grads: Outputs = {}
            with rnnfast.use_backend(self.backend):
                (y, _), pullback = layer.forward(data.x)
                dx = pullback(data.dy, grads)
            return y, dx, grads

        def read(result: Any) -> Outputs:
            y, dx, grads = result
            return {"y": y, **({} if dx is None else {"dx": dx}), **grads}

        return (forward if case.task == "forward" else training), read


class Reference(Native):
    """rnnfast's pure-NumPy path: what the others are checked against."""

    name = "reference"
    backend = "reference"

    def version(self) -> str:
        return f"NumPy {np.__version__}"


class Torch(Contender):
    """torch.nn, time first, which is the layout its kernels work in."""

    name = "torch"
    package = "torch"

    def prepare(self, case: Case, data: Data, threads: int) -> tuple[Run, Read]:
        import torch

        torch.set_num_threads(threads)
        dtype = getattr(torch, case.dtype)
        kind = getattr(torch.nn, case.cell)
        layer = kind(case.input_size, case.hidden_size, case.num_layers, bidirectional=case.bidirectional, dtype=dtype)
        layer.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in data.weights.items()})
        x = torch.from_numpy(np.ascontiguousarray(data.x.transpose(1, 0, 2)))
        dy = torch.from_numpy(np.ascontiguousarray(data.dy.transpose(1, 0, 2)))

        def forward() -> Any:
            with torch.inference_mode():
                return layer(x)[0], None

        def training() -> Any:
            leaf = x.detach().requires_grad_()
            layer.zero_grad(set_to_none=True)
            y = layer(leaf)[0]
            y.backward(dy)
            return y, leaf.grad

        def read(result: Any) -> Outputs:
            y, dx = result
            outputs = {"y": y.detach().numpy().transpose(1, 0, 2)}
            if dx is not None:
                outputs["dx"] = dx.numpy().transpose(1, 0, 2)
                outputs.update({name: p.grad.numpy() for name, p in layer.named_parameters()})
            return outputs

        return (forward if case.task == "forward" else training), read


class OnnxRuntime(Contender):
    """ONNX Runtime on a model of the same layers, its input bound beforehand."""

    name = "onnxruntime"
    package = "onnxruntime"

    def version(self) -> str:
        import onnx  # the model is made with it

        del onnx
        return super().version()

    def prepare(self, case: Case, data: Data, threads: int) -> tuple[Run, Read]:
        import onnxruntime

        from bench.onnx_model import make_model

        if case.task != "forward":
            raise Unsupported("inference only")
        if case.dtype != "float32":
            raise Unsupported("float32 only")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(make_model(case, data), options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        x = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(data.x.transpose(1, 0, 2)))
        binding.bind_ortvalue_input("x", x)
        binding.bind_output("y")

        def forward() -> Any:
            session.run_with_iobinding(binding)
            return binding

        def read(result: Any) -> Outputs:
            return {"y": result.copy_outputs_to_cpu()[0].transpose(1, 0, 2)}

        return forward, read


class OpenVino(Contender):
    """OpenVINO on the same model, kept to float32: by itself it would round to bfloat16 where the CPU has it."""

    name = "openvino"
    package = "openvino"

    def version(self) -> str:
        import onnx  # the model is made with it

        del onnx
        return super().version()

    def prepare(self, case: Case, data: Data, threads: int) -> tuple[Run, Read]:
        import openvino

        from bench.onnx_model import make_model

        if case.task != "forward":
            raise Unsupported("inference only")
        if case.dtype != "float32":
            raise Unsupported("float32 only")
        core = openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        compiled = core.compile_model(core.read_model(make_model(case, data)), "CPU", settings)
        request = compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(np.ascontiguousarray(data.x.transpose(1, 0, 2))))

        def forward() -> Any:
            request.infer()
            return request

        def read(result: Any) -> Outputs:
            return {"y": result.get_output_tensor().data.transpose(1, 0, 2).copy()}

        return forward, read


CONTENDERS: dict[str, Contender] = {c.name: c for c in (Native(), Reference(), Torch(), OnnxRuntime(), OpenVino())}


def find(name: str) -> tuple[Contender | None, str]:
    """Return a contender and its version, or None and why it cannot take part."""
    contender = CONTENDERS[name]
    try:
        return contender, contender.version()
    except ImportError as error:
        return None, f"not installed ({error})"
