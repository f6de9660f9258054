"""A model as a table, for consoles and notebooks: its layers, what they put out, their parameters and bytes.

What a layer puts out follows from its options alone; nothing is computed. Sizes that the data decide are letters: N
sequences, T steps.
"""

from __future__ import annotations

import html
import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

from rnnfast.layers.base import Layer

Shape = tuple[int | str, ...]


class Row(NamedTuple):
    """One layer of a model.

    Attributes
    ----------
    name : str
        Its place in the names of parameters; empty for the model itself.
    layer : Layer
        The layer.
    output : tuple of int or str, or None
        The shape of what it puts out, None where that is not known from the options.
    depth : int
        How many layers it is inside of.
    """

    name: str
    layer: Layer
    output: Shape | None
    depth: int


def rows(model: Layer) -> list[Row]:
    """Return the layers of a model in the order of their names, what contains others before what it contains."""
    return list(_walk("", model, ("N", "T", "C"), 0))


def table(model: Layer) -> str:
    """Return a model as a table in plain text."""
    found = rows(model)
    cells = [["layer", "output", "parameters", "bytes"]]
    for row in found[1:] if len(found) > 1 else found:
        label = "  " * (row.depth - 1) + f"{row.name.rpartition('.')[2]} {spell(row.layer)}".strip()
        numbers = own_size(row.layer)
        cells.append([label, spell_shape(row.output), f"{numbers[0]:,}", spell_bytes(numbers[1])])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    total = total_size(model)
    lines = [f"{type(model).__name__}: {total[0]:,} parameters, {spell_bytes(total[1])}"]
    for line in cells:
        left = [cell.ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
        lines.append("  " + "  ".join(left + right))
    return "\n".join(lines)


def table_html(model: Layer) -> str:
    """Return a model as an HTML table; the shapes of a layer's parameters open on a click."""
    found = rows(model)
    total = total_size(model)
    number = ' style="text-align: right"'
    left = ' style="text-align: left"'
    parts = [
        f"<div><b>{html.escape(type(model).__name__)}</b>: {total[0]:,} parameters, {spell_bytes(total[1])}</div>",
        f"<table><thead><tr><th{left}>layer</th><th{left}>output</th>"
        f"<th{number}>parameters</th><th{number}>bytes</th></tr></thead><tbody>",
    ]
    for row in found[1:] if len(found) > 1 else found:
        label = html.escape(f"{row.name} {spell(row.layer)}".strip())
        arrays = "".join(
            f"<div><code>{html.escape(name)}</code> {spell_shape(array.shape)} {array.dtype}</div>"
            for name, array in row.layer.params.items()
        )
        if arrays:
            label = f"<details><summary>{label}</summary>{arrays}</details>"
        numbers = own_size(row.layer)
        parts.append(
            f"<tr><td{left}>{label}</td><td{left}>{html.escape(spell_shape(row.output))}</td>"
            f"<td{number}>{numbers[0]:,}</td><td{number}>{spell_bytes(numbers[1])}</td></tr>"
        )
    return "".join([*parts, "</tbody></table>"])


def spell(layer: Layer) -> str:
    """Return a layer in one line with the options that are not the defaults; of one with children the class alone.

    Of options that are tables themselves, as a graph has them, it tells how long they are.
    """
    name = type(layer).__name__
    if layer.children():
        return name
    defaults = inspect.signature(type(layer)).parameters
    words = []
    for key, value in layer.config().items():
        default = defaults[key].default if key in defaults else inspect.Parameter.empty
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            words.append(f"{key}: {len(value)}")
        elif default is inspect.Parameter.empty:
            words.append(repr(value))
        elif key == "dtype" and value == "float32":
            continue
        elif value != default:
            words.append(f"{key}={value!r}")
    return f"{name}({', '.join(words)})"


def spell_shape(shape: Shape | None) -> str:
    """Return a shape in words, nothing for one that is not known."""
    return "" if shape is None else f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def spell_bytes(size: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"


def own_size(layer: Layer) -> tuple[int, int]:
    """Return how many numbers and bytes a layer's own parameters are, those of layers in it left out."""
    return sum(a.size for a in layer.params.values()), sum(a.nbytes for a in layer.params.values())


def total_size(layer: Layer) -> tuple[int, int]:
    """Return how many numbers and bytes all parameters are."""
    arrays = layer.parameters().values()
    return sum(array.size for array in arrays), sum(array.nbytes for array in arrays)


def _walk(name: str, layer: Layer, shape: Shape | None, depth: int) -> Iterator[Row]:
    children = layer.children()
    if not children:
        yield Row(name, layer, _output(layer, shape), depth)
        return
    below: list[Row] = []
    inner = shape
    for part, child in children.items():
        found = list(_walk(f"{name}.{part}" if name else part, child, inner, depth + 1))
        below += found
        inner = found[0].output
    # Only in a chain is what the last one puts out what all put out.
    chain = all(part.isdigit() for part in children)
    if not chain:
        below = [row._replace(output=None) for row in below]
    yield Row(name, layer, inner if chain else None, depth)
    yield from below


def _output(layer: Any, shape: Shape | None) -> Shape | None:
    """Return the shape of what a layer puts out for an input of that shape, as far as its options tell."""
    if layer.pools:
        return None if shape is None else (shape[0], shape[-1])
    kind = type(layer).__name__
    if hasattr(layer, "embedding_dim"):
        return ("N", "T", layer.embedding_dim)
    if hasattr(layer, "out_features"):
        return (*(shape[:-1] if shape else ("...",)), layer.out_features)
    if hasattr(layer, "hidden_size") and hasattr(layer, "bidirectional"):
        width = getattr(layer, "state_sizes", (layer.hidden_size,))[0] * (2 if layer.bidirectional else 1)
        return ("N", "T", width) if getattr(layer, "batch_first", True) else ("T", "N", width)
    return shape if "Dropout" in kind or "Norm" in kind else None
