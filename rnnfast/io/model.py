"""Saving and loading a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, overload

from numpy.typing import NDArray

from rnnfast.checks import check_flag, kind_of
from rnnfast.io import container, spec
from rnnfast.io.errors import ModelFileError
from rnnfast.io.migration import VERSION, migrated
from rnnfast.layers.base import Layer, check_layer

CHECKPOINT_FIELDS = frozenset({"optimizer", "step", "state"})


def save_model(
    model: Layer, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None, *, folder: bool = False
) -> Path:
    """Write a model, its shape and its parameters, to one file or to a folder.

    Parameters
    ----------
    model : Layer
        Any layer of this package, or a `Sequential` of them.
    path : path
        Where to: ``.safetensors`` (needs the package of that name) or ``.npz``. Without a suffix the first is added if
        the package is there, else the second.
    extra : dict, optional
        JSON values to keep with the model, such as ``vocabulary.state_dict()`` or ``scaler.state_dict()``.
    folder : bool, default False
        Whether to write a folder of that name: config.json, which people can read, and a file of weights. A model that
        is in it already is replaced.

    Returns
    -------
    pathlib.Path
        The file or folder written. It appears whole or not at all: it is written beside ``path``, synced and renamed.

    Raises
    ------
    OSError
        If the file cannot be written; an older file of that name is then as it was.
    TypeError
        If ``model`` is not such a layer, ``extra`` holds something that is not a JSON value, or another argument is
        not of its kind.
    ValueError
        If the suffix is another, or ``extra`` holds NaN, or is nested too deep or too large.
    """
    check_flag("folder", folder)
    document, arrays = to_document("model", model, extra)
    return container.write(path, document, arrays, folder)


@overload
def load_model(path: str | os.PathLike[str], with_extra: Literal[False] = False) -> Layer: ...
@overload
def load_model(path: str | os.PathLike[str], with_extra: Literal[True]) -> tuple[Layer, dict[str, Any]]: ...


def load_model(path: str | os.PathLike[str], with_extra: bool = False) -> Layer | tuple[Layer, dict[str, Any]]:
    """Return the model in a file that `save_model` or `save_checkpoint` wrote. Nothing in the file is executed.

    Parameters
    ----------
    path : path
        The file or folder; a suffix left out is found.
    with_extra : bool, default False
        Whether to return ``(model, extra)``, the dict that was saved along, empty if there was none.

    Raises
    ------
    TypeError
        If an argument is not of its kind.
    OSError
        If the file cannot be read.
    ModelFileError
        If it is empty, cut short, damaged, of another format or a later version, or its parts do not fit together.
    """
    check_flag("with_extra", with_extra)
    document, arrays = container.read(path)
    try:
        document = migrated(document)
        if document.get("format") == "rnnfast checkpoint":
            model, extra = from_document("checkpoint", document, arrays, CHECKPOINT_FIELDS)
        else:
            model, extra = from_document("model", document, arrays)
    except ModelFileError as error:
        raise ModelFileError(f"{os.fspath(path)}: {error}") from None
    return (model, extra) if with_extra else model


def to_document(
    kind: str, model: Layer, extra: Mapping[str, Any] | None, **fields: Any
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the document and the arrays of a file of the given kind, with further ``fields``."""
    described = spec.describe(check_layer("model", model))
    extra = {} if extra is None else extra
    if type(extra) is not dict:
        raise TypeError(f"extra must be a dict; got {kind_of(extra)}")
    document = {"format": f"rnnfast {kind}", "version": VERSION, "model": described, "extra": extra}
    return {**document, **fields}, {f"model/{name}": array for name, array in model.parameters().items()}


def from_document(
    kind: str, document: dict[str, Any], arrays: container.Arrays, fields: frozenset[str] = frozenset()
) -> tuple[Layer, dict[str, Any]]:
    """Return the model and the extra of a document of the present version that has these further ``fields``.

    Raises
    ------
    ModelFileError
        If it has not, or does not fit the arrays.
    """
    if document.get("format") != f"rnnfast {kind}":
        raise ModelFileError(f"it is not a {kind} of rnnfast")
    if set(document) != {"format", "version", "model", "extra"} | fields:
        raise ModelFileError(f"its description has the fields {', '.join(document):.200}")
    if type(document["extra"]) is not dict:
        raise ModelFileError("its extra must be an object")
    weights = {name.removeprefix("model/"): a for name, a in arrays.items() if name.startswith("model/")}
    if not fields and len(weights) != len(arrays):
        raise ModelFileError("it holds arrays that belong to nothing")
    model = spec.build(document["model"], sum(array.size for array in weights.values()), len(weights))
    check_fit(model, weights)
    model.load_state_dict(weights)
    return model, document["extra"]


def check_fit(model: Layer, weights: container.Arrays) -> None:
    """Raise ``ModelFileError`` unless the arrays have the names, shapes and dtypes of the model's parameters."""
    params = model.parameters()
    if set(params) != set(weights):
        missing, unknown = sorted(set(params) - set(weights)), sorted(set(weights) - set(params))
        raise ModelFileError(f"its arrays do not fit: missing {missing or 'none'}, unknown {unknown or 'none'}")
    for name, param in params.items():
        found = weights[name]
        if found.shape != param.shape or found.dtype != param.dtype:
            raise ModelFileError(
                f"{name} must be {param.dtype} of shape {param.shape}; got {found.dtype} of shape {found.shape}"
            )
