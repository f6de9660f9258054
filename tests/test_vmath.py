"""exp, tanh and sigmoid on every instruction set: error in ulp, special values, tails; the caller's own arithmetic."""

import ast
import functools
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnnfast._native import kernels

ROOT = Path(__file__).parents[1]
NAMES = ("exp", "tanh", "sigmoid")
DTYPES = (np.float32, np.float64)
COLUMNS = ("f32 fused", "f32 scalar", "f64 fused", "f64 scalar")


def stated_bounds(path: str) -> dict[tuple[str, str], float]:
    """Return the worst errors that a file states, by name and column; the lines look alike in C and in Markdown."""
    found = {}
    for name, numbers in re.findall(r"^[ *|]*(exp|tanh|sigmoid)((?:[ |]+\d+\.\d){4})", (ROOT / path).read_text(), re.M):
        for column, number in zip(COLUMNS, re.findall(r"\d+\.\d", numbers), strict=True):
            found[name, column] = float(number)
    return found


BOUNDS = stated_bounds("csrc/vmath.inc.h")


def bound(name: str, dtype: type, isa: str) -> float:
    kind = "scalar" if isa == "scalar" else "fused"
    return BOUNDS[name, f"f{8 * np.dtype(dtype).itemsize} {kind}"]


def wider(dtype: type) -> type:
    """Return a float type with at least 10 bits more."""
    wide = np.float64 if dtype == np.float32 else np.longdouble
    if np.finfo(wide).nmant < np.finfo(dtype).nmant + 10:
        pytest.skip("no type wider than float64 here")
    return wide


def exact(name: str, x: np.ndarray) -> np.ndarray:
    """Return the function of x, a wide type, through exp and expm1: NumPy's tanh is not always good to the last bit."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if name == "exp":
            return np.exp(x)
        small = np.exp(-np.abs(x))
        if name == "sigmoid":
            return np.where(x < 0, small, 1) / (1 + small)
        minus = np.expm1(-2 * np.abs(x))
        return np.where(np.abs(x) < 1e-20, x, np.copysign(minus / (2 + minus), x))


def ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Return abs(got - want) in ulp of want, where an overflow counts as the power of two past the largest number."""
    info = np.finfo(got.dtype)
    past = np.ldexp(want.dtype.type(1), int(info.maxexp))
    with np.errstate(over="ignore", under="ignore"):
        ulp = np.spacing(np.minimum(np.abs(want), want.dtype.type(info.max)).astype(got.dtype)).astype(want.dtype)
        return np.abs(np.clip(got.astype(want.dtype), -past, past) - np.clip(want, -past, past)) / ulp


def neighbours(points: np.ndarray, dtype: type) -> np.ndarray:
    """Return each point and the eight numbers next to it on either side, of both signs."""
    integer = np.uint32 if dtype == np.float32 else np.uint64
    steps = np.arange(-8, 9).astype(integer)  # wraps, which is what adding a negative number means
    near = (np.abs(points).astype(dtype).view(integer)[:, None] + steps).ravel().view(dtype)
    near = near[np.isfinite(near)]
    return np.concatenate([near, -near])


@functools.cache
def walk(dtype: type) -> np.ndarray:
    """Return finite points over the whole range: every 4099th float32, random float64, and all places of interest."""
    info = np.finfo(dtype)
    log2 = np.log(2.0)
    edges = [
        [float(info.tiny), float(info.max), 1.0, float(info.eps), -info.minexp * log2, info.maxexp * log2],
        [
            (info.nmant - info.minexp) * log2,
            (info.nmant - info.minexp + 1) * log2,
        ],  # least subnormal, and half of it
        np.arange(1, 2 * info.maxexp) * (log2 / 2),  # where n changes in exp and sigmoid
        np.arange(1, 130) * (log2 / 4),  # and in tanh
        [
            8.3178,
            9.01,
            10,
            16.64,
            17.33,
            18.72,
            19.06,
            20,
            36.74,
            37.43,
            40,
            89,
            104,
            710,
            746,
        ],  # saturation and clamps
    ]
    edge = neighbours(np.concatenate(edges), dtype)
    tiny = np.array([0, 1, 2, 3, 1000], np.uint32 if dtype == np.float32 else np.uint64).view(dtype)  # subnormals
    if dtype == np.float32:
        body = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    else:
        rng = np.random.default_rng(1)
        spread = rng.choice([-1, 1], 100_000) * np.exp(rng.uniform(-740, 7, 100_000))
        body = np.concatenate([rng.uniform(-r, r, 100_000) for r in (1, 3, 25, 750)] + [spread])
        body = np.concatenate([body, rng.integers(0, 2**64, 50_000, np.uint64).view(np.float64)])
    return np.concatenate([body[np.isfinite(body)], edge, tiny, -tiny])


@functools.cache
def walk_exact(name: str, dtype: type) -> np.ndarray:
    return exact(name, walk(dtype).astype(wider(dtype)))


def test_bounds_are_stated_for_every_function() -> None:
    assert {name for name, _ in BOUNDS} == set(NAMES)
    assert stated_bounds("csrc/README.md") == BOUNDS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_error_over_the_whole_range(isa: str, name: str, dtype: type) -> None:
    x = walk(dtype)
    error = ulps(kernels.apply(name, x), walk_exact(name, dtype))
    worst = np.argmax(error)
    assert error[worst] <= bound(name, dtype, isa), f"{error[worst]} ulp at {x[worst]!r}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(isa: str, dtype: type) -> None:
    x = np.array([np.inf, -np.inf, np.nan, -np.nan, 0.0, -0.0], dtype)
    np.testing.assert_array_equal(kernels.apply("exp", x), np.array([np.inf, 0, np.nan, np.nan, 1, 1], dtype))
    np.testing.assert_array_equal(kernels.apply("sigmoid", x), np.array([1, 0, np.nan, np.nan, 0.5, 0.5], dtype))
    tanh = kernels.apply("tanh", x)
    np.testing.assert_array_equal(tanh, np.array([1, -1, np.nan, np.nan, 0, 0], dtype))
    np.testing.assert_array_equal(np.signbit(tanh[4:]), [False, True])


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_nan_stays_nan(isa: str, name: str) -> None:
    bits = np.concatenate([np.arange(0x7F800001, 0x80000000, 997), np.arange(0xFF800001, 0x100000000, 997)])
    assert np.isnan(kernels.apply(name, bits.astype(np.uint32).view(np.float32))).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_nan_spoils_no_other_lane(isa: str, name: str, dtype: type) -> None:
    x = np.linspace(-3, 3, 64, dtype=dtype)
    clean = kernels.apply(name, x)
    x[::3] = np.nan
    got = kernels.apply(name, x)
    np.testing.assert_array_equal(got, np.where(np.isnan(x), x, clean))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_is_odd_and_within_one(isa: str, dtype: type) -> None:
    x = walk(dtype)
    y = kernels.apply("tanh", x)
    assert np.abs(y).max() == 1
    np.testing.assert_array_equal(kernels.apply("tanh", -x), -y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_arguments_pass_through_tanh(isa: str, dtype: type) -> None:
    """Below sqrt(eps) / 2, subnormals included, tanh(x) rounds to x."""
    x = walk(dtype)
    x = x[np.abs(x) < np.sqrt(np.finfo(dtype).eps) / 2]
    np.testing.assert_array_equal(kernels.apply("tanh", x), x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "sigmoid"])
def test_range_of_exp_and_sigmoid(isa: str, name: str, dtype: type) -> None:
    y = kernels.apply(name, walk(dtype))
    assert y.min() == 0
    assert y.max() == (1 if name == "sigmoid" else np.inf)


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_stay_saturated(isa: str, dtype: type) -> None:
    """Past the place where the true value is within an ulp of its limit, ours is the limit."""
    single = dtype == np.float32
    x = np.unique(np.abs(walk(dtype)))
    ends = {
        "tanh": (8.5 if single else 18.9, 1, 1),
        "sigmoid": (17.33 if single else 37.43, 1, 1),
        "exp": (88.73 if single else 709.79, 1, np.inf),
        "exp ": (103.98 if single else 745.14, -1, 0),
        "sigmoid ": (104 if single else 746, -1, 0),
    }
    for name, (end, sign, limit) in ends.items():
        past = np.append(x[x >= end], dtype(np.inf)) * dtype(sign)
        np.testing.assert_array_equal(kernels.apply(name.strip(), past), dtype(limit))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_any_length_gives_the_same_and_writes_nothing_else(isa: str, name: str, dtype: type) -> None:
    width = kernels.width(np.dtype(dtype).itemsize)
    x = np.linspace(-9, 9, 3 * width + 2, dtype=dtype)
    single = np.array([kernels.apply(name, x[i : i + 1])[0] for i in range(len(x))])
    for n in range(3 * width + 2):
        for start in (0, 1):
            room = np.full(len(x) + 2, 7, dtype)
            piece = x[start : start + n]
            out = room[1 : 1 + len(piece)]
            assert kernels.apply(name, piece, out=out) is out
            np.testing.assert_array_equal(out, single[start : start + n])
            assert room[0] == 7 and (room[1 + len(piece) :] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_in_place(isa: str, name: str, dtype: type) -> None:
    x = np.linspace(-9, 9, 101, dtype=dtype)
    want = kernels.apply(name, x)
    kernels.apply(name, x, out=x)
    np.testing.assert_array_equal(x, want)


def test_bad_arguments() -> None:
    x = np.zeros(4, np.float32)
    with pytest.raises(TypeError, match="x must be float32 or float64; got int64"):
        kernels.apply("exp", np.zeros(4, np.int64))
    with pytest.raises(ValueError, match="name must be exp, tanh or sigmoid; got 'sin'"):
        kernels.apply("sin", x)
    with pytest.raises(ValueError, match="out must be float32 of shape"):
        kernels.apply("exp", x, out=np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="out must be float32 of shape"):
        kernels.apply("exp", x, out=np.zeros(4))
    with pytest.raises(ValueError, match="out must be contiguous and writeable"):
        kernels.apply("exp", x, out=np.zeros(8, np.float32)[::2])


STATE = """
import threading
import numpy as np

small = {np.float32: np.array([1e-40], np.float32), np.float64: np.array([1e-310])}

def check(when):
    for dtype, x in small.items():
        assert (x * dtype(1) != 0).all(), f"{dtype.__name__} subnormals are flushed {when}"
        assert (np.array([np.finfo(dtype).tiny], dtype) * dtype(0.25) != 0).all(), f"{dtype.__name__} results {when}"

check("before the import")
import rnnfast
from rnnfast.layers.recurrent import LSTM
from rnnfast._native import kernels
check("after the import")
for isa in kernels.isas():
    kernels.set_isa(isa)
    for dtype in small:
        for name in ("exp", "tanh", "sigmoid"):
            kernels.apply(name, np.linspace(-100, 100, 1000, dtype=dtype))
        layer = LSTM(4, 8, dtype=dtype)
        x = np.ones((3, 5, 4), dtype)
        (y, _), pullback = layer.forward(x)
        pullback(np.ones_like(y), {})
    check(f"after a call on {isa}")
thread = threading.Thread(target=check, args=("in a new thread",))
thread.start()
thread.join()
print("unchanged")
"""


def test_the_callers_arithmetic_is_left_alone() -> None:
    """Our threads flush subnormals; the process that imports us must not notice."""
    run = subprocess.run([sys.executable, "-c", STATE], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "unchanged", run.stdout + run.stderr


def test_no_flag_that_changes_arithmetic_or_ties_to_one_machine() -> None:
    banned = re.compile(r"-(Ofast|ffast-math|f(no-)?(unsafe|finite|associative|reciprocal)-math.*|m(arch|tune|cpu)=.*)")
    constants = {n.value for n in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(n, ast.Constant)}
    flags = {c for c in constants if isinstance(c, str) and c.startswith("-")}
    assert "-ffp-contract=off" in flags  # so this looks at the right place
    assert not [flag for flag in flags if banned.fullmatch(flag)]
    for path in (ROOT / "csrc").rglob("*.[ch]"):
        assert not re.search(
            r"#pragma (GCC|clang) (optimize|fp)|__attribute__\(\(optimize|fast-math", path.read_text()
        ), path


def test_coefficients_are_those_the_script_computes() -> None:
    table: Callable[[str, bool], str] = runpy.run_path(str(ROOT / "csrc" / "coefficients.py"))["table"]
    source = (ROOT / "csrc" / "vmath.inc.h").read_text()
    double, single = source.split("#if RF_DOUBLE")[1].split("#else")
    for name in ("exp", "tanh"):
        assert table(name, True) in double
        assert table(name, False) in single.split("#endif")[0]
