"""The BLAS wrapper against NumPy, its checks, and how it loads SciPy's module."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from rnnfast._native.blas import gemm_arrays


def matrix(rng, rows, columns, dtype, apart):
    """A matrix whose rows stand `apart` elements apart beyond their own."""
    return rng.standard_normal((rows, columns + apart)).astype(dtype)[:, :columns]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("trans_a", [False, True])
@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize("sizes", [(3, 4, 5), (1, 1, 1), (1, 7, 2), (6, 1, 3), (2, 3, 0), (0, 3, 2), (2, 0, 3)])
@pytest.mark.parametrize("apart", [0, 3])
def test_gemm_is_the_product(dtype, trans_a, trans_b, sizes, apart):
    m, n, k = sizes
    rng = np.random.default_rng(0)
    a = matrix(rng, *((k, m) if trans_a else (m, k)), dtype, apart)
    b = matrix(rng, *((n, k) if trans_b else (k, n)), dtype, apart)
    a.flags.writeable = b.flags.writeable = False
    out = matrix(rng, m, n, dtype, apart)
    wanted = 1.5 * (a.T if trans_a else a).astype(float) @ (b.T if trans_b else b) - 0.5 * out
    gemm_arrays(a, b, out, trans_a, trans_b, 1.5, -0.5)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=20 * np.finfo(dtype).eps)


def test_gemm_overwrites_nan_where_beta_is_zero_and_leaves_the_gaps():
    whole = np.full((2, 5), np.nan)
    gemm_arrays(np.ones((2, 3)), np.ones((3, 4)), whole[:, :4])
    assert (whole[:, :4] == 3).all()
    assert np.isnan(whole[:, 4]).all()


def huge(rows, columns, apart):
    """A matrix that only claims its size."""
    return as_strided(np.zeros(1), (rows, columns), (8 * apart, 8))


@pytest.mark.parametrize(
    ("name", "a", "b", "out"),
    [
        ("m", huge(2**31, 1, 1), huge(1, 1, 1), huge(2**31, 1, 1)),
        ("n", huge(1, 1, 1), huge(1, 2**31, 2**31), huge(1, 2**31, 2**31)),
        ("k", huge(1, 2**31, 2**31), huge(2**31, 1, 1), huge(1, 1, 1)),
        ("lda", huge(2, 1, 2**31), huge(1, 1, 1), huge(2, 1, 1)),
        ("ldb", huge(1, 2, 2), huge(2, 1, 2**31), huge(1, 1, 1)),
        ("ldc", huge(2, 1, 1), huge(1, 1, 1), huge(2, 1, 2**31)),
    ],
)
def test_gemm_refuses_what_an_int_cannot_hold(monkeypatch, name, a, b, out):
    monkeypatch.setattr(np, "may_share_memory", lambda x, y: False)  # the claims are larger than memory
    with pytest.raises(OverflowError, match=f"^{name} must be at most 2147483647 .* got 2147483648$"):
        gemm_arrays(a, b, out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": np.ones((2, 3), np.float32)}, "a must be a matrix of float64"),
        ({"b": np.ones(3)}, "b must be a matrix"),
        ({"b": np.ones((2, 4))}, "shapes must be"),
        ({"out": np.ones((2, 3))}, "shapes must be"),
        ({"out": np.ones((2, 4), np.int64)}, "out must be float32 or float64"),
        ({"out": np.broadcast_to(1.0, (2, 4))}, "out must be writable"),
        ({"a": np.ones((2, 6))[:, ::2]}, "a must have contiguous rows"),
        ({"b": np.ones((3, 4))[::-1]}, "b must have rows in order"),
        ({"a": np.broadcast_to(np.ones(3), (2, 3))}, "a must have rows in order"),
    ],
)
def test_gemm_names_what_does_not_fit(change, message):
    arrays = {"a": np.ones((2, 3)), "b": np.ones((3, 4)), "out": np.ones((2, 4)), **change}
    with pytest.raises(ValueError, match=message):
        gemm_arrays(**arrays)
    assert (np.asarray(arrays["out"]) == 1).all()


def test_gemm_refuses_overlap():
    a = np.ones((2, 2))
    with pytest.raises(ValueError, match="overlap"):
        gemm_arrays(a, np.ones((2, 2)), a)


CHECK = """
import numpy as np
out = np.empty((1, 1))
blas.gemm_arrays(np.full((1, 2), 3.0), np.full((2, 1), 0.5), out)
assert out[0, 0] == 3.0
"""
USE = """
import scipy.linalg, scipy.linalg.cython_blas
assert scipy.linalg.cython_blas.__pyx_capi__["dgemm"]
assert scipy.linalg.cython_blas is sys.modules["scipy.linalg.cython_blas"]
assert abs(scipy.linalg.det([[2.0, 0.0], [0.0, 3.0]]) - 6.0) < 1e-12
"""
SCRIPTS = {
    "alone": "from rnnfast._native import blas\nblas.load()\nassert 'scipy.linalg' not in sys.modules" + CHECK,
    "scipy later": "from rnnfast._native import blas\nblas.load()\n" + USE + CHECK,
    "scipy first": USE + "from rnnfast._native import blas" + CHECK,
    "no private path": "from rnnfast._native import load_blas\nload_blas._load_alone = lambda: None\n"
    "from rnnfast._native import blas\nblas.load()\nassert 'scipy.linalg' in sys.modules" + CHECK + USE,
    "file does not load": "from rnnfast._native import load_blas\n"
    "class Broken(load_blas.ExtensionFileLoader):\n"
    "    def create_module(self, spec): raise ImportError('no library')\n"
    "load_blas.ExtensionFileLoader = Broken\n"
    "from rnnfast._native import blas\nblas.load()\nassert 'scipy.linalg' in sys.modules" + CHECK + USE,
    "nothing eager": "import rnnfast, rnnfast.losses, rnnfast.layers.sequential, rnnfast.layers.dense\n"
    "import rnnfast.layers.embedding, rnnfast.layers.dropout, rnnfast.layers.pooling\n"
    "from rnnfast._native import blas\nfrom rnnfast.layers.dense import Dense\n"
    "Dense(2, 3).forward([[1.0, 2.0]])\n"
    "assert not [m for m in sys.modules if m.startswith('scipy')]",
}


@pytest.mark.parametrize("case", SCRIPTS)
def test_loading_beside_scipy(case):
    subprocess.run([sys.executable, "-c", "import sys\n" + SCRIPTS[case]], check=True, timeout=120)
