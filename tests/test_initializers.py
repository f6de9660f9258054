"""Initialisers: ranges, moments, orthogonality, and that a seed decides everything."""

import numpy as np
import pytest

from rnnfast import initializers

MATRICES = ["xavier_uniform", "xavier_normal", "he_uniform", "he_normal", "orthogonal"]
ALL = ["uniform", "normal", *MATRICES]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ALL)
def test_a_seed_decides(name, dtype):
    def draw(seed, dtype=dtype):
        return getattr(initializers, name)((6, 4), np.random.default_rng(seed), dtype)

    assert draw(1).dtype == dtype and draw(1).shape == (6, 4) and draw(1).flags.c_contiguous
    np.testing.assert_array_equal(draw(1), draw(1))
    np.testing.assert_array_equal(draw(1), draw(1, np.float64).astype(dtype))
    assert not np.array_equal(draw(1), draw(2))


# The standard deviation of each for a weight of 400 outputs and 100 inputs, and the bound where it is uniform.
SPREAD = {
    "uniform": (0.1 / np.sqrt(3), 0.1),
    "normal": (1.0, None),
    "xavier_uniform": (np.sqrt(2 / 500), np.sqrt(6 / 500)),
    "xavier_normal": (np.sqrt(2 / 500), None),
    "he_uniform": (np.sqrt(2 / 100), np.sqrt(6 / 100)),
    "he_normal": (np.sqrt(2 / 100), None),
}


@pytest.mark.parametrize("name", SPREAD)
def test_spread(name, rng):
    deviation, bound = SPREAD[name]
    w = getattr(initializers, name)((400, 100), rng, np.float64)
    # 40000 numbers: their deviation is within 2 % of the true one by more than five standard errors
    assert abs(w.std() / deviation - 1) < 0.02
    assert abs(w.mean()) < 5 * deviation / 200
    if bound is not None:
        assert 0.99 * bound < np.abs(w).max() <= bound


@pytest.mark.parametrize("name", ["xavier_uniform", "xavier_normal"])
def test_gates_count_one_block_of_outputs(name, rng):
    w = getattr(initializers, name)((400, 100), rng, np.float64, gates=4)
    assert abs(w.std() / np.sqrt(2 / 200) - 1) < 0.02


@pytest.mark.parametrize(
    "shape, gates", [((5, 5), 1), ((20, 5), 4), ((3, 7), 1), ((7, 3), 1), ((6, 4), 2), ((1, 1), 1)]
)
def test_orthogonal(shape, gates, rng):
    for block in np.split(initializers.orthogonal(shape, rng, np.float64, gain=2.0, gates=gates), gates):
        product = block @ block.T if block.shape[0] <= block.shape[1] else block.T @ block
        np.testing.assert_allclose(product, 4 * np.eye(len(product)), rtol=0, atol=1e-14)


def test_orthogonal_is_uniform_over_the_group(rng):
    # QR alone gives Q with a fixed sign pattern; without its correction the mean of the corner is far from 0.
    corners = [initializers.orthogonal((3, 3), rng, np.float64)[0, 0] for _ in range(2000)]
    assert abs(np.mean(corners)) < 5 / np.sqrt(3 * 2000)


BAD = {
    "uniform the wrong way round": ("uniform", {"low": 1.0, "high": 0.0}, ValueError, r"high must lie in \[1, inf\)"),
    "infinite": ("uniform", {"low": -np.inf}, ValueError, r"low must be finite"),
    "negative deviation": ("normal", {"std": -1.0}, ValueError, r"std must lie in \[0, inf\)"),
    "gain": ("he_normal", {"gain": "much"}, TypeError, r"gain must be a real number; got 'much'"),
    "gates": ("orthogonal", {"gates": 4}, ValueError, r"shape must be \(gates \* outputs, inputs\) with gates=4"),
    "no gates": ("xavier_uniform", {"gates": 0}, ValueError, r"gates must be at least 1; got 0"),
    **{
        f"dtype of {name}": (name, {"dtype": np.int64}, ValueError, r"dtype must be float32 or float64") for name in ALL
    },
    **{f"rank of {name}": (name, {"shape": (3,)}, ValueError, r"shape must be .*; got \(3,\)") for name in MATRICES},
}


@pytest.mark.parametrize("bad", BAD)
def test_errors(bad, rng):
    name, kwargs, error, text = BAD[bad]
    with pytest.raises(error, match=text):
        getattr(initializers, name)(**{"shape": (6, 4), "rng": rng, **kwargs})


def test_bounds_of_independent_units():
    low, high = initializers.recurrent_bounds(100)
    assert low**100 == pytest.approx(0.5) and high**100 == pytest.approx(2.0)
    assert initializers.recurrent_bounds(1, 0.25, 0.25) == (0.25, 0.25)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), ValueError, "steps must be at least 1"),
        ((2.5,), TypeError, "steps must be an integer"),
        ((10, 0.0), ValueError, r"least must lie in \(0"),
        ((10, 0.5, 0.4), ValueError, r"most must lie in \[0.5"),
    ],
)
def test_bounds_that_are_none(arguments, error, message):
    with pytest.raises(error, match=message):
        initializers.recurrent_bounds(*arguments)
