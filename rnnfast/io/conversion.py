"""From any file that holds a model to any other: what the command line calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnfast.checks import check_choice, check_flag, check_path
from rnnfast.io import safetensors, strict_json
from rnnfast.io.atomic import atomic_write
from rnnfast.io.container import target_of
from rnnfast.io.errors import ConversionError, ModelFileError
from rnnfast.io.keras_models import from_keras
from rnnfast.io.model import load_model, save_model
from rnnfast.io.onnx_export import check_layout, export_onnx, require_onnx
from rnnfast.io.onnx_import import import_onnx
from rnnfast.io.torch_files import read_torch_safetensors, save_torch_safetensors, torch_target
from rnnfast.io.torch_weights import check_names, check_order, from_torch_state_dict
from rnnfast.layers.base import Layer

FORMATS = ("rnnfast", "folder", "onnx", "torch")
EXTRA = "rnnfast.extra"  # key of ONNX metadata
_PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    to: str | None = None,
    *,
    order: Sequence[str | Layer] | None = None,
    names: Mapping[str, str] | None = None,
    lengths: bool = False,
    states: bool = False,
    layout: int = 0,
    batch_first: bool = True,
) -> Path:
    """Read a model from one file and write it to another, whole or not at all.

    Parameters
    ----------
    source : path
        A file or folder of rnnfast, an ONNX graph (.onnx), parameters by torch's names (.safetensors) or a model
        of Keras (.keras, .h5).
    target : path
        Where to.
    to : {"rnnfast", "folder", "onnx", "torch"}, optional
        What to write: one file of rnnfast, a folder, an ONNX graph, or parameters by torch's names in .safetensors. By
        default "onnx" if the target ends so, "folder" if it is one or ends in a slash, else "rnnfast".
    order
        For parameters by torch's names, as in `from_torch_state_dict`.
    names
        For ``to="torch"``, as in `save_torch_safetensors`.
    lengths, states, layout
        For ``to="onnx"``, as in `export_onnx`.
    batch_first
        For a graph, as in `import_onnx`.

    Returns
    -------
    pathlib.Path
        What was written. What was saved along with a model (``extra``) goes along, but not to torch's names.

    Raises
    ------
    OSError
        If a file cannot be read or written.
    ModelFileError
        If the source holds no valid model.
    ConversionError
        If the source does not tell what the model is, or the target cannot say it.
    ModuleNotFoundError
        If a package that a format takes is missing.
    TypeError, ValueError
        If an argument or a suffix does not fit, or an argument is given that is not for these formats.
    """
    check_path("source", source)
    check_path("target", target)
    if to is None:
        if Path(target).suffix == ".onnx":
            to = "onnx"
        else:
            to = "folder" if os.fspath(target).endswith(("/", os.sep)) or Path(target).is_dir() else "rnnfast"
    check_choice("to", to, FORMATS)
    check_names(names)
    check_flag("lengths", lengths)
    check_flag("states", states)
    layout = check_layout(layout)
    for name, value, format_ in (
        ("names", names, "torch"),
        ("lengths", lengths, "onnx"),
        ("states", states, "onnx"),
        ("layout", layout, "onnx"),
    ):
        if value and to != format_:
            raise ValueError(f"{name} is for to={format_!r}; to is {to!r}")
    if to == "rnnfast":
        target_of(target, "target")
    elif to == "torch":
        torch_target("target", target)
    model, extra = read_any(source, order=order, batch_first=batch_first)
    if to == "torch":
        return save_torch_safetensors(model, target, names)
    if to == "onnx":
        proto = export_onnx(model, lengths=lengths, states=states, layout=layout)
        if extra:
            entry = proto.metadata_props.add()
            entry.key, entry.value = EXTRA, strict_json.dumps(extra, "extra")
        with atomic_write(target) as file:
            file.write(proto.SerializeToString())
        return Path(target)
    return save_model(model, target, extra, folder=to == "folder")


def read_any(
    source: str | os.PathLike[str], *, order: Sequence[str | Layer] | None = None, batch_first: bool = True
) -> tuple[Layer, dict[str, Any]]:
    """Return the model in a file of any format that `convert` reads, and what was saved along with it.

    Parameters and errors are those of `convert`.
    """
    path = Path(check_path("source", source))
    order = check_order(order)
    check_flag("batch_first", batch_first)
    if not batch_first and path.suffix != ".onnx":
        raise ValueError(f"batch_first=False is for .onnx; source is {path}")
    if path.suffix in READERS:
        _check_no_order(order, path)
        return READERS[path.suffix](path, batch_first)
    if path.suffix in _PICKLES:
        raise ConversionError(
            f"{path}: a file of this kind is a pickle, which can run anything and is not read; in torch, "
            "safetensors.torch.save_file(module.state_dict(), path) writes one that can be"
        )
    if path.suffix == ".safetensors" and not safetensors.is_own(path):
        return from_torch_state_dict(read_torch_safetensors(path), order), {}
    _check_no_order(order, path)
    return load_model(path, with_extra=True)


def _check_no_order(order: Any, path: Path) -> None:
    if order is not None:
        raise ValueError(f"order is for parameters by torch's names (.safetensors); source is {path}")


def _from_onnx(path: Path, batch_first: bool) -> tuple[Layer, dict[str, Any]]:
    require_onnx()
    import onnx

    model = import_onnx(path, batch_first=batch_first)
    texts = [entry.value for entry in onnx.load(path, load_external_data=False).metadata_props if entry.key == EXTRA]
    extra = strict_json.loads(texts[0], EXTRA) if texts else {}
    if type(extra) is not dict:
        raise ModelFileError(f"{path}: its {EXTRA} is not an object")
    return model, extra


def _from_keras(path: Path, batch_first: bool) -> tuple[Layer, dict[str, Any]]:
    return from_keras(path), {}


READERS: dict[str, Callable[[Path, bool], tuple[Layer, dict[str, Any]]]] = {
    ".onnx": _from_onnx,
    ".keras": _from_keras,
    ".h5": _from_keras,
}
