"""Gradients by either provider of the products after the sweep; tests/test_native.py says what the tolerances are."""

import os
import subprocess
import sys

import numpy as np
import pytest
from test_native import DTYPES, LENGTHS, STRIDES, Case, native

from rnnfast import engine, threads
from rnnfast._native import dense, kernels, provider
from rnnfast.cells import CELLS
from rnnfast.reference import dense as reference_dense


@pytest.fixture(autouse=True, params=provider.PROVIDERS)
def gemm(request):
    before, isa = provider._chosen, kernels.get_isa()
    provider.set_gemm(request.param)
    yield request.param
    provider.set_gemm(before)
    kernels.set_isa(isa)


@pytest.mark.parametrize("strides", STRIDES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "plain"])
@pytest.mark.parametrize("cell", CELLS)
def test_agrees(cell, bias, reverse, lengths, dtype, strides):
    Case(cell, 5, 6, 3, 9, bias, LENGTHS[lengths](5, 6)).compare(dtype, reverse=reverse, stride=STRIDES[strides])


@pytest.mark.parametrize("isa", kernels.isas())
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden", [1, 4, 16, 17, 48])
@pytest.mark.parametrize("cell", CELLS)
def test_agrees_with_and_without_padding(cell, hidden, dtype, isa):
    kernels.set_isa(isa)
    Case(cell, 3, 4, 7, hidden).compare(dtype)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("cell", CELLS)
def test_agrees_over_several_blocks(cell, lengths):
    case = Case(cell, 90, 50, 5, 9, lengths=LENGTHS[lengths](90, 50))  # a block has at most 4096 rows
    case.compare(np.float64, stride=STRIDES["sliced"])


@pytest.mark.parametrize("batch, steps", [(0, 3), (3, 0), (1, 1)])
@pytest.mark.parametrize("cell", CELLS)
def test_agrees_on_empty_and_single(cell, batch, steps):
    Case(cell, batch, steps, 3, 5).compare(np.float32)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("cell", CELLS)
def test_rows_of_a_table_agree_with_the_same_rows_written_out(cell, reverse, lengths):
    case = Case(cell, 5, 6, 3, 9, lengths=LENGTHS[lengths](5, 6))
    rng = np.random.default_rng(0)
    table, indices = rng.standard_normal((4, 3)), rng.integers(0, 4, (5, 6))
    case.x = table[indices]
    wanted = case.run(native, np.float64, reverse)
    weights, out = engine.Weights(**case.weights), np.empty((5, 6, 9))
    _, saved = native.direction_forward(
        case.cell, (table, indices), weights, case.state, case.lengths, reverse, out, True
    )
    dtable, grads = np.ones_like(table), {name: np.zeros_like(w) for name, w in case.weights.items()}
    native.direction_backward(saved, case.dy, case.dstate, dtable, grads)
    expected = np.ones_like(table)
    np.add.at(expected, indices, wanted["dx"])
    np.testing.assert_allclose(dtable, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    for name, grad in grads.items():
        np.testing.assert_allclose(
            grad, wanted[f"d{name}"], rtol=0, atol=1e-12 * max(1, np.abs(grad).max()), err_msg=name
        )


def test_agrees_on_windows_that_overlap():
    series = np.random.default_rng(0).standard_normal(40).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(series, 3)[None, :30]
    case = Case("lstm", 1, 30, 3, 5)
    case.x = windows.astype(np.float64)
    for dtype in DTYPES:
        case.compare(dtype, stride=lambda a: overlapping(a) if a.shape[2] == 3 and not a.flags.writeable else a)


def overlapping(x):
    """The same windows (1, T, 3) as views of one series."""
    series = np.concatenate([x[0, :, 0], x[0, -1, 1:]])
    return np.lib.stride_tricks.sliding_window_view(series, 3)[None]


ROWS = {
    "contiguous": lambda a: a,
    "apart": lambda a: np.concatenate([a, a], 1)[:, : a.shape[1]],
    "negative": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "all one row": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("rows", [0, 1, 5, 700])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("want_dx", [True, False])
@pytest.mark.parametrize("layout", ROWS)
def test_dense_agrees(rows, dtype, bias, want_dx, layout):
    rng = np.random.default_rng(0)
    x, dy = (ROWS[layout](rng.standard_normal((rows, width)).astype(dtype)) for width in (33, 7))
    weight = rng.standard_normal((7, 33)).astype(dtype)

    def gradients(module, dtype):
        dw, db = np.ones((7, 33), dtype), np.ones(7, dtype) if bias else None
        parts = (a.astype(dtype) if a.dtype != dtype else a for a in (x, dy, weight))
        return module.affine_gradients(*parts, {}, dw, db, want_dx), dw, db

    # a sum of n terms in any order errs by at most n * eps of the sum of their sizes, which is 50 or less for dx
    sizes = (abs(dy).T.astype(float) @ abs(x)).max() + 50
    bound = np.finfo(dtype).eps * max(rows, 7) * sizes
    for found, expected in zip(gradients(dense, dtype), gradients(reference_dense, np.float64), strict=True):
        assert (found is None) == (expected is None)
        if found is not None:
            np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


def test_forward_does_not_depend_on_the_provider(gemm):
    case = Case("lstm", 5, 6, 3, 9)
    found = case.run(native, np.float32)
    provider.set_gemm("packed")
    packed = case.run(native, np.float32)
    for name in ("out", "final h", "final c", "dh", "dc", "db_ih"):
        np.testing.assert_array_equal(found[name], packed[name], err_msg=name)


def test_default_follows_the_instruction_set(monkeypatch):
    provider.set_gemm(None)
    for isa in kernels.isas():
        kernels.set_isa(isa)
        assert provider.get_gemm() == ("blas" if isa == "scalar" else "packed")
    monkeypatch.setattr(provider.blas, "load", lambda: (_ for _ in ()).throw(ImportError))
    assert kernels.get_isa() == "scalar"
    assert provider.get_gemm() == "packed"
    with pytest.raises(ImportError):
        provider.set_gemm("blas")


def test_other_names_are_refused():
    with pytest.raises(ValueError, match="RNNFAST_GEMM must be packed or blas; got 'mkl'"):
        provider.set_gemm("mkl")
    environment = {**os.environ, "RNNFAST_GEMM": "mkl"}
    command = [sys.executable, "-c", "from rnnfast import LSTM; LSTM(2, 3)([[[1.0, 2.0]]])"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1
    assert "ValueError: RNNFAST_GEMM must be packed or blas; got 'mkl'" in found.stderr


def test_packed_gradients_do_not_depend_on_threads_or_pieces():
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((9000, 130)).astype(np.float32), rng.standard_normal((9000, 70)).astype(np.float32)
    weight = rng.standard_normal((70, 130)).astype(np.float32)
    provider.set_gemm("packed")
    results = []
    for count in (1, 2, 3):
        with threads.limit_threads(count):
            dw, db = np.zeros((70, 130), np.float32), np.zeros(70, np.float32)
            results.append((dense.affine_gradients(x, dy, weight, {}, dw, db, True), dw, db))
    whole = dense.affine(x, weight, None, {})
    for row in range(0, 9000, 500):
        np.testing.assert_array_equal(whole[row : row + 1], dense.affine(x[row : row + 1], weight, None, {}))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)
