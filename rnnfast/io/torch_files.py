"""Plain .safetensors files of parameters by name, as PyTorch users write them: no description, any float dtype."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnfast.checks import FloatArray, check_path
from rnnfast.io import safetensors
from rnnfast.io.atomic import atomic_write
from rnnfast.io.errors import ConversionError, ModelFileError
from rnnfast.io.torch_weights import to_torch_state_dict
from rnnfast.layers.base import Layer

_DTYPES = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": "<u2"}


def read_torch_safetensors(path: str | os.PathLike[str]) -> dict[str, FloatArray]:
    """Return the tensors of a .safetensors file by name: float32 and float64 as they are, others as float32.

    Parameters
    ----------
    path : path
        The file, as ``safetensors.torch.save_file(module.state_dict(), path)`` writes it.

    Returns
    -------
    dict of str to ndarray
        For `load_torch_state_dict` or `from_torch_state_dict`.

    Raises
    ------
    TypeError
        If ``path`` is no path.
    OSError
        If the file cannot be read.
    ModelFileError
        If it is damaged or no such file, or the package safetensors is missing.
    ConversionError
        If a tensor is not of float32, float64, float16 or bfloat16.
    """
    arrays: dict[str, FloatArray] = {}
    for name, kind, shape, data in safetensors.read_raw(Path(check_path("path", path))):
        if kind not in _DTYPES:
            raise ConversionError(f"{name} must be of float32, float64, float16 or bfloat16; got {kind}")
        array = np.frombuffer(data, _DTYPES[kind]).reshape(shape)
        if kind == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
        arrays[name] = array.astype(np.float32) if kind == "F16" else array
    if not arrays:
        raise ModelFileError(f"{os.fspath(path)}: it holds no tensors")
    return arrays


def save_torch_safetensors(layer: Layer, path: str | os.PathLike[str], names: Mapping[str, str] | None = None) -> Path:
    """Write the parameters under torch's names, for ``safetensors.torch.load_file``; whole or not at all.

    Parameters
    ----------
    layer, names
        As for `to_torch_state_dict`.
    path : path
        Where to; must end in ``.safetensors``.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    OSError
        If it cannot be written.
    ConversionError
        If torch has no such layer.
    TypeError, ValueError
        If an argument is not of its kind, or the suffix is another.
    """
    target = torch_target("path", path)
    arrays: dict[str, Any] = to_torch_state_dict(layer, names)
    data = safetensors.encode(arrays, {"format": "pt"})
    with atomic_write(target) as file:
        file.write(data)
    return target


def torch_target(name: str, path: str | os.PathLike[str]) -> Path:
    """Return the path of a file to write, which the user calls ``name``, or raise ``TypeError`` or ``ValueError``."""
    target = Path(check_path(name, path))
    if target.suffix != ".safetensors":
        raise ValueError(f"{name} must end in .safetensors; got {target.name!r}")
    return target
