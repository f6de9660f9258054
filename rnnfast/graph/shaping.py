"""Operators that move elements about: their backward passes move gradients back."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.graph.table import Array, Attributes, Result, axes_of, given, operator, reduced


@operator("Transpose", ("perm",))
def _transpose(attributes: Attributes, inputs: list[Any]) -> Result:
    (x,) = inputs
    perm = attributes.get("perm") or list(reversed(range(x.ndim)))
    return (x.transpose(perm),), lambda d: [given(d).transpose(np.argsort(perm))]


@operator("Reshape", ("allowzero",), (2, 2))
def _reshape(attributes: Attributes, inputs: list[Any]) -> Result:
    x, shape = inputs
    sizes = [int(n) for n in shape]
    if not attributes.get("allowzero"):
        sizes = [x.shape[k] if n == 0 else n for k, n in enumerate(sizes)]
    if -1 in sizes and x.size == 0:  # NumPy cannot tell; the rest of the shape does
        known = int(np.prod([n for n in sizes if n != -1]))
        sizes[sizes.index(-1)] = x.size // known if known else 0
    return (x.reshape(sizes),), lambda d: [given(d).reshape(x.shape), None]


@operator("Flatten", ("axis",))
def _flatten(attributes: Attributes, inputs: list[Any]) -> Result:
    (x,) = inputs
    axis = attributes.get("axis", 1) % (x.ndim + 1)
    rows = int(np.prod(x.shape[:axis]))
    return (x.reshape(rows, int(np.prod(x.shape[axis:]))),), lambda d: [given(d).reshape(x.shape)]


@operator("Squeeze", inputs=(1, 2))
def _squeeze(attributes: Attributes, inputs: list[Any]) -> Result:
    x, axes = (*inputs, None)[:2]
    y = x.squeeze() if axes is None else x.squeeze(axes_of(axes, x.ndim))
    return (y,), lambda d: [given(d).reshape(x.shape), None][: len(inputs)]


@operator("Unsqueeze", inputs=(2, 2))
def _unsqueeze(attributes: Attributes, inputs: list[Any]) -> Result:
    x, axes = inputs
    y = np.expand_dims(x, axes_of(axes, x.ndim + np.size(axes)))
    return (y,), lambda d: [given(d).reshape(x.shape), None]


@operator("Expand", inputs=(2, 2))
def _expand(attributes: Attributes, inputs: list[Any]) -> Result:
    x, shape = inputs
    y = np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(int(n) for n in shape)))
    return (y,), lambda d: [reduced(given(d), x.shape), None]


@operator("Tile", inputs=(2, 2))
def _tile(attributes: Attributes, inputs: list[Any]) -> Result:
    x, repeats = inputs
    counts = [int(n) for n in repeats]

    def back(d: list[Array | None]) -> list[Array | None]:
        parts = [n for pair in zip(counts, x.shape, strict=True) for n in pair]
        return [given(d).reshape(parts).sum(axis=tuple(range(0, len(parts), 2))), None]

    return (np.tile(x, counts),), back


@operator("Concat", ("axis",), (1, 4096))
def _concat(attributes: Attributes, inputs: list[Any]) -> Result:
    axis = attributes["axis"]
    cuts = np.cumsum([x.shape[axis] for x in inputs])[:-1]
    return (np.concatenate(inputs, axis=axis),), lambda d: list(np.split(given(d), cuts, axis=axis))


@operator("Split", ("axis", "num_outputs", "parts"), (1, 2))
def _split(attributes: Attributes, inputs: list[Any]) -> Result:
    x, sizes = (*inputs, None)[:2]
    axis, count = attributes.get("axis", 0), attributes["parts"]
    if sizes is None:
        size = -(-x.shape[axis] // count)
        cuts = [min(x.shape[axis], size * k) for k in range(1, count)]
    else:
        cuts = [int(n) for n in np.cumsum(sizes)[:-1]]
    parts = np.split(x, cuts, axis=axis)

    def back(d: list[Array | None]) -> list[Array | None]:
        whole = [np.zeros_like(part) if part_d is None else part_d for part, part_d in zip(parts, d, strict=True)]
        return [np.concatenate(whole, axis=axis), None][: len(inputs)]

    return tuple(parts), back


@operator("Slice", inputs=(3, 5))
def _slice(attributes: Attributes, inputs: list[Any]) -> Result:
    x, starts, ends, axes, steps = (*inputs, None, None)[:5]
    chosen = range(len(starts)) if axes is None else axes_of(axes, x.ndim)
    steps = np.ones(len(starts), np.int64) if steps is None else steps
    place: list[slice] = [slice(None)] * x.ndim
    for axis, start, end, step in zip(chosen, starts, ends, steps, strict=True):
        place[axis] = _span(int(start), int(end), int(step), x.shape[axis])

    def back(d: list[Array | None]) -> list[Array | None]:
        dx = np.zeros_like(x)
        dx[tuple(place)] = given(d)
        return [dx, *[None] * (len(inputs) - 1)]

    return (x[tuple(place)],), back


def _span(start: int, end: int, step: int, size: int) -> slice:
    """Return ONNX's slice of an axis as Python's, which reads a negative end as counted from the back."""
    start, end = (n + size if n < 0 else n for n in (start, end))
    if step > 0:
        return slice(min(max(start, 0), size), min(max(end, 0), size), step)
    end = min(max(end, -1), size - 1)
    return slice(min(max(start, 0), size - 1), None if end < 0 else end, step)


@operator("Gather", ("axis",), (2, 2))
def _gather(attributes: Attributes, inputs: list[Any]) -> Result:
    x, indices = inputs
    axis = attributes.get("axis", 0) % x.ndim

    def back(d: list[Array | None]) -> list[Array | None]:
        dx = np.zeros_like(x)
        front = np.moveaxis(dx, axis, 0)
        dy = given(d)
        moved = np.moveaxis(dy, tuple(range(axis, axis + indices.ndim)), tuple(range(indices.ndim)))
        np.add.at(front, indices, moved)
        return [dx, None]

    _check_within("Gather", indices, x.shape[axis])
    return (x.take(indices, axis=axis),), back


def _check_within(name: str, indices: Array, size: int) -> None:
    if indices.size and (indices.min() < -size or indices.max() >= size):
        wrong = int(indices.max()) if indices.max() >= size else int(indices.min())
        raise IndexError(f"an index of {name} must lie in {-size}..{size - 1}; got {wrong}")


@operator("GatherElements", ("axis",), (2, 2))
def _gather_elements(attributes: Attributes, inputs: list[Any]) -> Result:
    x, indices = inputs
    axis = attributes.get("axis", 0) % x.ndim
    _check_within("GatherElements", indices, x.shape[axis])
    grid = list(np.indices(indices.shape))
    grid[axis] = indices

    def back(d: list[Array | None]) -> list[Array | None]:
        dx = np.zeros_like(x)
        np.add.at(dx, tuple(grid), given(d))
        return [dx, None]

    return (x[tuple(grid)],), back


@operator("GatherND", ("batch_dims",), (2, 2))
def _gather_nd(attributes: Attributes, inputs: list[Any]) -> Result:
    x, indices = inputs
    batch = attributes.get("batch_dims", 0)
    depth = indices.shape[-1]
    for k in range(depth):
        _check_within("GatherND", indices[..., k], x.shape[batch + k])
    leading = np.indices(indices.shape[:-1])[:batch]
    place = (*leading, *(indices[..., k] for k in range(depth)))

    def back(d: list[Array | None]) -> list[Array | None]:
        dx = np.zeros_like(x)
        np.add.at(dx, place, given(d))
        return [dx, None]

    return (x[place],), back


@operator("ReverseSequence", ("batch_axis", "time_axis"), (2, 2))
def _reverse_sequence(attributes: Attributes, inputs: list[Any]) -> Result:
    x, lengths = inputs
    batch, time = attributes.get("batch_axis", 1), attributes.get("time_axis", 0)

    def reverse(value: Array) -> Array:
        y = value.copy()
        rows, out = (np.moveaxis(array, (batch, time), (0, 1)) for array in (value, y))
        for n, length in enumerate(lengths):
            out[n, :length] = rows[n, :length][::-1]
        return y

    return (reverse(x),), lambda d: [reverse(given(d)), None]


@operator("Shape", ("start", "end"))
def _shape(attributes: Attributes, inputs: list[Any]) -> Result:
    shape = np.array(inputs[0].shape, np.int64)
    return (shape[attributes.get("start", 0) : attributes.get("end")],), None


@operator("Size")
def _size(attributes: Attributes, inputs: list[Any]) -> Result:
    return (np.array(inputs[0].size, np.int64),), None


@operator("ConstantOfShape", ("value",))
def _constant_of_shape(attributes: Attributes, inputs: list[Any]) -> Result:
    value = np.asarray(attributes.get("value", np.zeros(1, np.float32))).reshape(-1)
    return (np.full(tuple(int(n) for n in inputs[0]), value[0], value.dtype),), None


@operator("Range", inputs=(3, 3))
def _range(attributes: Attributes, inputs: list[Any]) -> Result:
    return (np.arange(*(x.item() for x in inputs), dtype=inputs[0].dtype),), None
