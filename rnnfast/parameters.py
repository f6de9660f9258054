"""The store of a layer's parameters: read by name, written in one place, with a version that tells caches apart."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping
from typing import Any

import numpy as np

from rnnfast.checks import FloatArray, check_real


class Parameters(Mapping[str, FloatArray]):
    """Named arrays that are read-only from outside and written through `written` or `assign`.

    Packed weights are made from these arrays and kept while ``version`` stands still; a silent write would leave
    the packed copy stale, so what is handed out cannot be written to.

    Parameters
    ----------
    arrays : dict of str to ndarray
        The parameters; the store takes them over.
    """

    def __init__(self, arrays: Mapping[str, FloatArray]) -> None:
        self._arrays = dict(arrays)
        self._views = {name: _read_only(array) for name, array in self._arrays.items()}
        self.version = 0

    def __getitem__(self, name: str) -> FloatArray:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def items(self) -> ItemsView[str, FloatArray]:
        """Return names and arrays: those of a dict, for training asks for them at every step."""
        return self._views.items()

    def written(self) -> dict[str, FloatArray]:
        """Hand out the arrays for writing; the version moves on, and has to once more when that is done."""
        self.version += 1
        return self._arrays

    def checked(self, values: Mapping[str, Any]) -> dict[str, FloatArray]:
        """Return ``values`` as arrays of the parameters' dtypes and shapes.

        Raises
        ------
        KeyError
            If a name is not a parameter.
        TypeError, ValueError
            If a value is not real or not of the parameter's shape.
        """
        unknown = [name for name in values if name not in self._arrays]
        if unknown:
            raise KeyError(f"no parameter named {', '.join(unknown)}; there are {', '.join(self._arrays)}")
        return {
            name: check_real(name, value, self._arrays[name].dtype, self._arrays[name].shape)
            for name, value in values.items()
        }

    def assign(self, values: Mapping[str, Any]) -> None:
        """Copy ``values`` in by name, all or none; errors as in `checked`."""
        checked = self.checked(values)
        arrays = self.written()
        try:
            for name, value in checked.items():
                np.copyto(arrays[name], value)
        finally:
            self.version += 1

    def __getstate__(self) -> dict[str, Any]:
        return {"arrays": self._arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["arrays"])  # type: ignore[misc]


def _read_only(array: FloatArray) -> FloatArray:
    view = array.view()
    view.flags.writeable = False
    return view
