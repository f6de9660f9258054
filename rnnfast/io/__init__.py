"""Models and checkpoints in files: a strict JSON description and plain arrays, nothing that could be executed."""

from rnnfast.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rnnfast.io.errors import ConversionError, ModelFileError
from rnnfast.io.model import load_model, save_model
from rnnfast.io.onnx_export import export_onnx
from rnnfast.io.onnx_import import import_onnx
from rnnfast.io.torch_files import read_torch_safetensors, save_torch_safetensors
from rnnfast.io.torch_weights import from_torch, from_torch_state_dict, load_torch_state_dict, to_torch_state_dict

__all__ = [
    "Checkpoint",
    "ConversionError",
    "ModelFileError",
    "export_onnx",
    "from_torch",
    "from_torch_state_dict",
    "import_onnx",
    "load_checkpoint",
    "load_model",
    "load_torch_state_dict",
    "read_torch_safetensors",
    "save_checkpoint",
    "save_model",
    "save_torch_safetensors",
    "to_torch_state_dict",
]
