"""Files of Keras: ``.keras``, ``.weights.h5``, and the older ``.h5`` of a whole model."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

import numpy as np

from rnnfast.checks import FloatArray, check_path
from rnnfast.io import strict_json
from rnnfast.io.errors import ConversionError, ModelFileError
from rnnfast.io.foreign import as_parameter
from rnnfast.io.keras_layers import MODELS, Config, in_order

Part = tuple[str, Config, list[FloatArray]]

_LIMIT = 1 << 30  # bytes of weights in an archive
_HDF5 = b"\x89HDF\r\n\x1a\n"


def read_keras_weights(path: str | os.PathLike[str]) -> dict[str, list[FloatArray]]:
    """Return the weights in a file ``.weights.h5`` of Keras 3, by layer.

    Parameters
    ----------
    path : path
        What ``model.save_weights`` wrote. It does not say in which order the layers stand.

    Returns
    -------
    dict of str to list of ndarray
        By the file's name of the layer ("lstm", "dense_1", and "sequential/lstm" for one within another model): its
        weights as ``get_weights()`` has them. For `load_keras_weights` put those of all layers together in the order of
        the model.

    Raises
    ------
    TypeError
        If ``path`` is no path.
    ModuleNotFoundError
        If the package h5py is missing.
    OSError
        If the file cannot be read.
    ModelFileError
        If it is no such file.
    ConversionError
        If a weight is of another dtype than float32, float64, float16 or bfloat16.
    """
    name = check_path("path", path)
    with open(name, "rb") as file:
        return _weights(file, name)


def read_parts(path: str | os.PathLike[str], masks: bool) -> list[Part]:
    """Return class name, config and weights of each layer of a model in a file, in order; errors as of `from_keras`."""
    name = os.fspath(path)
    with open(path, "rb") as file:
        try:
            if file.read(len(_HDF5)) == _HDF5:
                return _of_older(file, name, masks)
            return list(_of_archive(file, masks))
        except (ModelFileError, ConversionError) as error:
            raise type(error)(f"{name}: {error}") from None
        except ModuleNotFoundError:
            raise
        except (KeyError, TypeError, AttributeError):
            raise ModelFileError(f"{name}: its config does not describe layers") from None
        except Exception as error:
            raise ModelFileError(f"{name}: it is no valid file of Keras: {error}") from None


def _of_archive(file: Any, masks: bool) -> Iterator[Part]:
    with zipfile.ZipFile(file) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        if sizes.get("config.json", 1 << 60) > strict_json.MAX_BYTES:
            raise ModelFileError("it has no config.json, or one that is too long")
        if sizes.get("model.weights.h5", 1 << 60) > _LIMIT:
            raise ModelFileError("it has no model.weights.h5, or one that is too long")
        document = strict_json.loads(archive.read("config.json"), "config.json")
        weights = _weights(BytesIO(archive.read("model.weights.h5")), "model.weights.h5")
    yield from _walk(_checked(document), weights, "", masks)


def _checked(document: Any) -> Config:
    kind = document.get("class_name") if type(document) is dict else None
    if kind not in MODELS:
        raise ConversionError(f"only a Sequential or a Functional can be read from a file; got {kind!r:.80}")
    return document  # type: ignore[no-any-return]


def _walk(model: Config, weights: Mapping[str, list[FloatArray]], prefix: str, masks: bool) -> Iterator[Part]:
    """Yield the layers of a model and of the models in it.

    Files name layers by their classes, numbered in the order of the config, which is not always that of the chain.
    """
    counts: dict[str, int] = {}
    keys: dict[int, str] = {}
    for part in model["config"]["layers"]:
        key = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", part["class_name"]).lower()
        number = counts.get(key, 0)
        counts[key] = number + 1
        keys[id(part)] = f"{prefix}{key}_{number}" if number else f"{prefix}{key}"
    for part in in_order(model["class_name"], model["config"], masks):
        key = keys[id(part)]
        if part["class_name"] in MODELS:
            yield from _walk(part, weights, f"{key}/", masks)
        else:
            yield part["class_name"], part["config"], weights.get(key, [])


def _of_older(file: Any, name: str, masks: bool) -> list[Part]:
    """Return the layers of a whole model in one file of HDF5, as Keras 2 wrote it and Keras 3 still can."""
    with _opened(file, name) as root:
        if "model_config" not in root.attrs or "model_weights" not in root:
            raise ConversionError(
                "a file of weights does not tell what the layers are; save the model as .keras, or make the layers and "
                "use load_keras_weights"
            )
        text = root.attrs["model_config"]
        model = _checked(strict_json.loads(text, "its model_config"))
        found: list[Part] = []
        for part in in_order(model["class_name"], model["config"], masks):
            if part["class_name"] in MODELS:
                raise ConversionError("a model within a model cannot be read from a file .h5; save it as .keras")
            name = part["config"]["name"]
            group = root["model_weights"].get(name)  # of an InputLayer there may be none
            names = [] if group is None else [_text(n) for n in group.attrs["weight_names"]]
            arrays = [_array(group[n], f"{name}/{n}", root) for n in names]
            found.append((part["class_name"], part["config"], arrays))
        return found


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _opened(file: Any, name: str) -> Any:
    try:
        import h5py
    except ModuleNotFoundError:
        raise ModuleNotFoundError("this needs the package h5py (pip install 'rnnfast[keras]')", name="h5py") from None
    return h5py.File(file, "r")


def _weights(file: Any, name: str) -> dict[str, list[FloatArray]]:
    try:
        with _opened(file, name) as root:
            if "layers" not in root:
                raise ModelFileError(f"{name}: it has no layers: not a file of weights of Keras 3")
            return dict(_by_layer(root["layers"], "", root))
    except (ModelFileError, ConversionError, ModuleNotFoundError):
        raise
    except Exception as error:
        # The package raises OSError, KeyError, RuntimeError and others for what is damaged.
        raise ModelFileError(f"{name}: it is no valid file of weights: {error}") from None


def _by_layer(group: Any, prefix: str, root: Any) -> Iterator[tuple[str, list[FloatArray]]]:
    for name in group:
        if "layers" in group[name]:
            yield from _by_layer(group[name]["layers"], f"{prefix}{name}/", root)
        else:
            yield prefix + name, list(_variables(group[name], prefix + name, root))


def _variables(group: Any, place: str, root: Any) -> Iterator[FloatArray]:
    """Yield the weights of a layer: its own, then those of its cell or of its two directions."""
    for key in sorted(group.get("vars", {}), key=int):
        yield _array(group["vars"][key], f"{place}/{key}", root)
    for part in ("forward_layer", "backward_layer", "cell", "layer"):
        if part in group:
            yield from _variables(group[part], f"{place}/{part}", root)


def _array(data: Any, place: str, root: Any) -> FloatArray:
    """Return a weight whose numbers are in the file itself; HDF5 can also point to any other file."""
    if data.file != root or data.external or data.is_virtual:
        raise ModelFileError(f"the weight {place} is not in the file but in another one")
    if data.size * data.dtype.itemsize > max(1, data.id.get_storage_size()) * 1000:
        raise ModelFileError(f"the weight {place} is said to be much larger than what is stored of it")
    return as_parameter(place, np.asarray(data))
