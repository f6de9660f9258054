"""Operators that add up: products of matrices, sums over axes, softmax and layer normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.backend import implementation
from rnnfast.graph.table import Array, Attributes, Result, axes_of, given, operator, reduced


@operator("MatMul", inputs=(2, 2))
def _matmul(attributes: Attributes, inputs: list[Any]) -> Result:
    a, b = inputs

    def back(d: list[Array | None]) -> list[Array | None]:
        dy = given(d)
        left = a[None] if a.ndim == 1 else a
        right = b[:, None] if b.ndim == 1 else b
        if a.ndim == 1:
            dy = np.expand_dims(dy, -1 if b.ndim == 1 else -2)
        if b.ndim == 1:
            dy = np.expand_dims(dy, -1)
        da = dy @ np.swapaxes(right, -1, -2)
        if right.ndim == 2:  # one product over all rows instead of one a matrix
            db = left.reshape(-1, left.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])
        else:
            db = np.swapaxes(left, -1, -2) @ dy
        return [reduced(da, left.shape).reshape(a.shape), reduced(db, right.shape).reshape(b.shape)]

    return (np.asarray(a @ b),), back


@operator("Gemm", ("alpha", "beta", "transA", "transB"), (2, 3))
def _gemm(attributes: Attributes, inputs: list[Any]) -> Result:
    a, b, c = (*inputs, None)[:3]
    left = a.T if attributes.get("transA") else a
    right = b.T if attributes.get("transB") else b
    alpha, beta = a.dtype.type(attributes.get("alpha", 1.0)), a.dtype.type(attributes.get("beta", 1.0))
    y = left @ right
    if alpha != 1:
        y *= alpha
    if c is not None:
        y = y + beta * c

    def back(d: list[Array | None]) -> list[Array | None]:
        dy = given(d)
        da, db = alpha * (dy @ right.T), alpha * (left.T @ dy)
        found = [da.T if attributes.get("transA") else da, db.T if attributes.get("transB") else db]
        return found if c is None else [*found, reduced(beta * dy, c.shape)]

    return (y,), back


def _axes(attributes: Attributes, inputs: list[Any]) -> tuple[int, ...]:
    """Return the axes that a reduction goes over."""
    x, axes = (*inputs, None)[:2]
    if axes is None or not np.size(axes):
        return () if attributes.get("noop_with_empty_axes") else tuple(range(x.ndim))
    return axes_of(axes, x.ndim)


_REDUCTION = ("keepdims", "noop_with_empty_axes")


def _widened(d: list[Array | None], attributes: Attributes, axes: tuple[int, ...]) -> Array:
    """Return the gradient of a reduction's result with the axes that it has lost."""
    return given(d) if attributes.get("keepdims", 1) else np.expand_dims(given(d), axes)


@operator("ReduceSum", _REDUCTION, (1, 2))
def _sum(attributes: Attributes, inputs: list[Any]) -> Result:
    x, axes = inputs[0], _axes(attributes, inputs)
    y = x.sum(axis=axes, keepdims=bool(attributes.get("keepdims", 1)))
    return (y,), lambda d: [np.broadcast_to(_widened(d, attributes, axes), x.shape), None][: len(inputs)]


@operator("ReduceMean", _REDUCTION, (1, 2))
def _mean(attributes: Attributes, inputs: list[Any]) -> Result:
    x, axes = inputs[0], _axes(attributes, inputs)
    count = max(1, int(np.prod([x.shape[k] for k in axes])))
    y = x.sum(axis=axes, keepdims=bool(attributes.get("keepdims", 1))) / x.dtype.type(count)

    def back(d: list[Array | None]) -> list[Array | None]:
        share = _widened(d, attributes, axes) / x.dtype.type(count)
        return [np.broadcast_to(share, x.shape), None][: len(inputs)]

    return (y,), back


def _extreme(name: str, f: Any) -> None:
    """Enter ReduceMax or ReduceMin; the first of equals gets the gradient."""

    def run(attributes: Attributes, inputs: list[Any]) -> Result:
        x, axes = inputs[0], _axes(attributes, inputs)
        y = f(x, axis=axes, keepdims=True)

        def back(d: list[Array | None]) -> list[Array | None]:
            kept = [k for k in range(x.ndim) if k not in axes]
            order = [*kept, *axes]
            hit = (x == y).transpose(order).reshape(*(x.shape[k] for k in kept), -1)
            first = np.zeros_like(hit)
            if hit.size:
                np.put_along_axis(first, hit.argmax(axis=-1)[..., None], True, axis=-1)
            first = first.reshape([x.shape[k] for k in order]).transpose(np.argsort(order))
            return [np.where(first, _widened(d, attributes, axes), 0), None][: len(inputs)]

        return (y if attributes.get("keepdims", 1) else y.squeeze(axes),), back

    operator(name, _REDUCTION, (1, 2))(run)


_extreme("ReduceMax", np.max)
_extreme("ReduceMin", np.min)


@operator("ArgMax", ("axis", "keepdims", "select_last_index"))
def _argmax(attributes: Attributes, inputs: list[Any]) -> Result:
    if attributes.get("select_last_index"):
        raise ValueError("ArgMax with select_last_index is not supported")
    y = inputs[0].argmax(axis=attributes.get("axis", 0), keepdims=bool(attributes.get("keepdims", 1)))
    return (np.asarray(y, np.int64),), None


@operator("Softmax", ("axis",))
def _softmax(attributes: Attributes, inputs: list[Any]) -> Result:
    (x,), axis = inputs, attributes.get("axis", -1)
    y = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
    y /= y.sum(axis=axis, keepdims=True)
    return (y,), lambda d: [y * (given(d) - (given(d) * y).sum(axis=axis, keepdims=True))]


@operator("LogSoftmax", ("axis",))
def _log_softmax(attributes: Attributes, inputs: list[Any]) -> Result:
    (x,), axis = inputs, attributes.get("axis", -1)
    y = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    y = y - np.log(np.exp(y).sum(axis=axis, keepdims=True))
    return (y,), lambda d: [given(d) - np.exp(y) * given(d).sum(axis=axis, keepdims=True)]


@operator("LayerNormalization", ("axis", "epsilon", "stash_type"), (2, 3))
def _layer_norm(attributes: Attributes, inputs: list[Any]) -> Result:
    x, scale, bias = (*inputs, None)[:3]
    axis = attributes.get("axis", -1) % x.ndim
    columns = int(np.prod(x.shape[axis:]))
    rows = x.reshape(-1, columns) if columns else x.reshape(0, 0)
    module = implementation("normalization")
    flat = np.broadcast_to(scale, x.shape[axis:]).reshape(-1)
    shift = None if bias is None else np.broadcast_to(bias, x.shape[axis:]).reshape(-1)
    y, saved = module.layer_norm(rows, flat, shift, attributes.get("epsilon", 1e-5), True)

    def back(d: list[Array | None]) -> list[Array | None]:
        dx, dscale, dbias = module.layer_norm_gradients(given(d).reshape(rows.shape), saved, flat)
        shape = x.shape[axis:]
        found: list[Array | None] = [dx.reshape(x.shape), reduced(dscale.reshape(shape), scale.shape)]
        return found if bias is None else [*found, reduced(dbias.reshape(shape), bias.shape)]

    return (y.reshape(x.shape),), back
