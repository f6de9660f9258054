"""Models and checkpoints in files: a strict JSON description and plain arrays, nothing that could be executed."""

from rnnfast.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rnnfast.io.errors import ModelFileError
from rnnfast.io.model import load_model, save_model

__all__ = ["Checkpoint", "ModelFileError", "load_checkpoint", "load_model", "save_checkpoint", "save_model"]
