"""Models and checkpoints in files, and to and from what other libraries keep; nothing in a file is ever executed."""

from rnnfast.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rnnfast.io.conversion import convert, read_any
from rnnfast.io.errors import ConversionError, ModelFileError
from rnnfast.io.keras_files import read_keras_weights
from rnnfast.io.keras_models import from_keras
from rnnfast.io.keras_weights import load_keras_weights, to_keras_weights
from rnnfast.io.model import load_model, save_model
from rnnfast.io.onnx_export import export_onnx
from rnnfast.io.onnx_import import import_onnx
from rnnfast.io.torch_files import read_torch_safetensors, save_torch_safetensors
from rnnfast.io.torch_weights import from_torch, from_torch_state_dict, load_torch_state_dict, to_torch_state_dict

__all__ = [
    "Checkpoint",
    "ConversionError",
    "ModelFileError",
    "convert",
    "export_onnx",
    "from_keras",
    "from_torch",
    "from_torch_state_dict",
    "import_onnx",
    "load_checkpoint",
    "load_keras_weights",
    "load_model",
    "load_torch_state_dict",
    "read_any",
    "read_keras_weights",
    "read_torch_safetensors",
    "save_checkpoint",
    "save_model",
    "save_torch_safetensors",
    "to_keras_weights",
    "to_torch_state_dict",
]
