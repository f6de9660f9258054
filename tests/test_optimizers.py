"""Optimisers: native against reference against torch, their state, their errors, and that a step is whole or not."""

from __future__ import annotations

import signal

import numpy as np
import pytest

from rnnfast import clipping
from rnnfast._native import kernels
from rnnfast._native import optim as native
from rnnfast.backend import use_backend
from rnnfast.layers.base import Layer
from rnnfast.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSProp
from rnnfast.reference import optim as reference
from rnnfast.threads import limit_threads

# Sizes below, at and above a vector, and one matrix whose second half goes to the masked end of a vector.
SHAPES = {"weight": (7, 19), "bias": (5,), "gain": (64,), "one": (1,), "none": (0, 3)}
MAKERS = {
    "sgd": (lambda: SGD(0.1), "SGD", {"lr": 0.1}),
    "sgd_decay": (lambda: SGD(0.1, weight_decay=0.03, decay_bias=True), "SGD", {"lr": 0.1, "weight_decay": 0.03}),
    "momentum": (lambda: SGD(0.1, momentum=0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (
        lambda: SGD(0.1, momentum=0.8, nesterov=True, weight_decay=0.01, decay_bias=True),
        "SGD",
        {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    ),
    "rmsprop": (
        lambda: RMSProp(0.02, alpha=0.95, weight_decay=0.1, decay_bias=True),
        "RMSprop",
        {"lr": 0.02, "alpha": 0.95, "weight_decay": 0.1},
    ),
    "adagrad": (
        lambda: Adagrad(0.05, weight_decay=0.1, decay_bias=True),
        "Adagrad",
        {"lr": 0.05, "weight_decay": 0.1},
    ),
    "adam": (lambda: Adam(0.01), "Adam", {"lr": 0.01}),
    "adam_decay": (
        lambda: Adam(0.01, betas=(0.8, 0.99), weight_decay=0.1, decay_bias=True),
        "Adam",
        {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.1},
    ),
    "adamw": (lambda: AdamW(0.01, weight_decay=0.1, decay_bias=True), "AdamW", {"lr": 0.01, "weight_decay": 0.1}),
}
# Rounding of a few operations, times a handful of steps: relative to parameters of order 1.
TOLERANCE = {np.float32: 2e-6, np.float64: 4e-15}
DTYPES = [np.float32, np.float64]


class Bag(Layer):
    """Parameters and nothing else."""


def make_bag(dtype, shapes=SHAPES):
    rng = np.random.default_rng(1)
    return Bag({name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()})


def make_grads(layer, step, scale=1.0):
    rng = np.random.default_rng(100 + step)
    return {n: (scale * rng.standard_normal(p.shape)).astype(p.dtype) for n, p in layer.parameters().items()}


def run(optimizer, dtype, steps=5, scale=1.0):
    layer = make_bag(dtype)
    for step in range(steps):
        optimizer.update(layer, make_grads(layer, step), scale=scale)
    return layer


def flat(layer):
    return np.concatenate([p.ravel() for p in layer.parameters().values()])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MAKERS)
def test_native_agrees_with_reference(name, dtype, isa):
    make = MAKERS[name][0]
    fast, slow = make(), make()
    got = run(fast, dtype, scale=0.7)
    with use_backend("reference"):
        expected = run(slow, dtype, scale=0.7)
    np.testing.assert_allclose(flat(got), flat(expected), rtol=0, atol=TOLERANCE[dtype])
    for key, value in slow.state_dict().items():
        np.testing.assert_allclose(fast.state_dict()[key], value, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MAKERS)
def test_agrees_with_torch(name, dtype):
    torch = pytest.importorskip("torch")
    make, kind, options = MAKERS[name]
    layer = make_bag(dtype)
    theirs = {n: torch.nn.Parameter(torch.from_numpy(p.copy())) for n, p in layer.parameters().items()}
    optimizer = getattr(torch.optim, kind)(theirs.values(), **options)
    mine = make()
    for step in range(7):
        grads = make_grads(layer, step)
        for n, p in theirs.items():
            p.grad = torch.from_numpy(grads[n].copy())
        optimizer.step()
        mine.update(layer, grads)
    expected = np.concatenate([p.detach().numpy().ravel() for p in theirs.values()])
    np.testing.assert_allclose(flat(layer), expected, rtol=0, atol=3e-6 if dtype == np.float32 else 1e-12)


def test_first_steps_by_hand():
    """On p = 1, g = 2 the first step of each rule is known in closed form."""
    expected = {
        "sgd": 1 - 0.1 * 2,
        "sgd_decay": 1 - 0.1 * (2 + 0.03),
        "momentum": 1 - 0.1 * 2,
        "nesterov": 1 - 0.1 * 1.8 * (2 + 0.01),
        "rmsprop": 1 - 0.02 / np.sqrt(0.05),
        "adagrad": 1 - 0.05,
        "adam": 1 - 0.01,
        "adam_decay": 1 - 0.01,
        "adamw": (1 - 0.01 * 0.1) - 0.01,
    }
    assert set(expected) == set(MAKERS)
    for name, value in expected.items():
        layer = Bag({"p": np.ones(3)})
        MAKERS[name][0]().update(layer, {"p": np.full(3, 2.0)})
        np.testing.assert_allclose(layer.parameters()["p"], value, rtol=1e-7, err_msg=name)


@pytest.mark.parametrize("name", MAKERS)
def test_threads_do_not_change_a_bit(name):
    shapes = {"a": (1100, 1001), "b": (3,), "c": (40000,)}  # above the size from which threads are used
    results = []
    for threads in (1, 2, 3):
        layer, optimizer = make_bag(np.float32, shapes), MAKERS[name][0]()
        with limit_threads(threads):
            for step in range(2):
                optimizer.update(layer, make_grads(layer, step))
        results.append(flat(layer))
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


@pytest.mark.parametrize("name", ["sgd_decay", "nesterov", "rmsprop", "adagrad", "adam_decay", "adamw"])
def test_biases_decay_only_on_wish(name):
    """With zero gradients only decay can move a parameter."""
    for decay_bias in (False, True):
        optimizer = MAKERS[name][0]()
        optimizer = type(optimizer)(**{**optimizer.config(), "decay_bias": decay_bias})
        layer = Bag({"weight": np.ones((2, 2)), "bias": np.ones(2)})
        optimizer.update(layer, {"weight": np.zeros((2, 2)), "bias": np.zeros(2)})
        assert (layer.parameters()["weight"] < 1).all()
        assert (layer.parameters()["bias"] < 1).all() == decay_bias


@pytest.mark.parametrize("name", MAKERS)
def test_factors_of_the_learning_rate(name):
    """A parameter with a factor moves as with an optimiser of that rate; the first pattern that matches counts."""
    factors = {"w*": 0.25, "weight": 9.0, "b?as": 2.0}
    plain, layer = MAKERS[name][0](), make_bag(np.float64)
    optimizer = type(plain)(**{**plain.config(), "lr_factors": factors})
    assert type(plain)(**optimizer.config()).lr_factors == factors and "lr_factors" not in plain.config()
    alone = {}
    for key, factor in (("weight", 0.25), ("bias", 2.0)):
        other = make_bag(np.float64)
        single = type(plain)(**{**plain.config(), "lr": plain.lr * factor})
        for step in range(3):
            single.update(other, {key: make_grads(other, step)[key]})
        alone[key] = other.parameters()[key]
    for step in range(3):
        optimizer.update(layer, {key: make_grads(layer, step)[key] for key in alone})
    for key, expected in alone.items():
        np.testing.assert_allclose(layer.parameters()[key], expected, rtol=1e-14)


@pytest.mark.parametrize("name", MAKERS)
def test_a_factor_of_nothing_keeps_a_parameter(name):
    plain, layer = MAKERS[name][0](), make_bag(np.float64)
    before = layer.state_dict()
    optimizer = type(plain)(**{**plain.config(), "decay_bias": True, "lr_factors": {"bias": 0}})
    optimizer.update(layer, make_grads(layer, 0))
    assert np.array_equal(layer.parameters()["bias"], before["bias"])
    assert not np.array_equal(layer.parameters()["weight"], before["weight"])


@pytest.mark.parametrize(
    ("factors", "error", "match"),
    [
        ({"a": -1}, ValueError, r"lr_factors\['a'\] must lie in \[0, inf\); got -1"),
        ({"a": "b"}, TypeError, r"lr_factors\['a'\]"),
        ({1: 1.0}, TypeError, "lr_factors must map patterns of names to numbers; got"),
        ([0.1], TypeError, "lr_factors must map patterns of names to numbers; got"),
    ],
)
def test_bad_factors(factors, error, match):
    with pytest.raises(error, match=match):
        Adam(lr_factors=factors)


def test_scale_is_that_of_the_gradient():
    one, other = make_bag(np.float64), make_bag(np.float64)
    first, second = Adam(), Adam()
    for step in range(3):
        first.update(one, make_grads(one, step), scale=0.25)
        second.update(other, make_grads(other, step, scale=0.25))
    assert np.array_equal(flat(one), flat(other))  # a power of two rounds nothing


@pytest.mark.parametrize("name", MAKERS)
def test_state_goes_on_where_it_was_saved(name):
    straight = run(MAKERS[name][0](), np.float32, steps=6)
    layer, optimizer = make_bag(np.float32), MAKERS[name][0]()
    for step in range(6):
        if step == 3:
            state = optimizer.state_dict()
            optimizer = type(optimizer)(**optimizer.config())
            optimizer.load_state_dict(state)
        optimizer.update(layer, make_grads(layer, step))
    assert np.array_equal(flat(straight), flat(layer))


def test_state_dict_is_a_copy_of_plain_arrays():
    optimizer = Adam()
    run(optimizer, np.float32, steps=1)
    state = optimizer.state_dict()
    assert all(isinstance(value, np.ndarray) for value in state.values())
    before = state["weight/mean"].copy()
    run_on = make_bag(np.float32)
    optimizer.update(run_on, make_grads(run_on, 9))
    assert np.array_equal(state["weight/mean"], before)
    assert state["weight/step"] == 1


def test_parameters_without_gradient_stay_and_count_their_own_steps():
    layer, optimizer = make_bag(np.float64), Adam()
    before = layer.state_dict()
    grads = make_grads(layer, 0)
    late = grads.pop("bias")
    optimizer.update(layer, grads)
    assert np.array_equal(layer.parameters()["bias"], before["bias"])
    optimizer.update(layer, {"bias": late})
    np.testing.assert_allclose(layer.parameters()["bias"], before["bias"] - 1e-3 * np.sign(late), atol=1e-10)


def test_layers_notice_an_update():
    layer = make_bag(np.float32)
    version = layer.params.version
    SGD(0.1).update(layer, make_grads(layer, 0))
    assert layer.params.version > version


BAD_UPDATES = {
    "unknown name": (lambda g: {**g, "nobody": np.zeros(3)}, 1.0, KeyError, "nobody"),
    "shape": (lambda g: {**g, "bias": np.zeros(4)}, 1.0, ValueError, "bias"),
    "kind": (lambda g: {**g, "bias": np.array(list("abcde"))}, 1.0, TypeError, "bias"),
    "complex": (lambda g: {**g, "bias": np.zeros(5, complex)}, 1.0, TypeError, "bias"),
    "scale": (lambda g: g, np.nan, ValueError, "scale"),
}


@pytest.mark.parametrize("case", BAD_UPDATES)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_bad_updates_change_nothing(case, backend):
    spoil, scale, error, word = BAD_UPDATES[case]
    layer, optimizer = make_bag(np.float32), Adam()
    with use_backend(backend):
        optimizer.update(layer, make_grads(layer, 0))
        before, state = layer.state_dict(), optimizer.state_dict()
        with pytest.raises(error, match=word):
            optimizer.update(layer, spoil(make_grads(layer, 1)), scale=scale)
    assert all(np.array_equal(before[n], p) for n, p in layer.parameters().items())
    assert all(np.array_equal(state[n], a) for n, a in optimizer.state_dict().items())


def test_an_optimizer_serves_one_model():
    optimizer = Adam()
    run(optimizer, np.float32, steps=1)
    for other in (make_bag(np.float64), make_bag(np.float32, {"weight": (2, 2)})):
        with pytest.raises(ValueError, match="one model"):
            optimizer.update(other, make_grads(other, 0))


@pytest.mark.parametrize(
    ("make", "error", "word"),
    [
        (lambda: SGD(-1), ValueError, "lr"),
        (lambda: SGD("fast"), TypeError, "lr"),
        (lambda: SGD(0.1, momentum=1), ValueError, "momentum"),
        (lambda: SGD(0.1, nesterov=True), ValueError, "nesterov"),
        (lambda: SGD(0.1, momentum=0.9, nesterov="no"), TypeError, "nesterov must be True or False; got 'no'"),
        (lambda: Adam(decay_bias="no"), TypeError, "decay_bias must be True or False; got 'no'"),
        (lambda: SGD(0.1, weight_decay=-0.1), ValueError, "weight_decay"),
        (lambda: RMSProp(alpha=1.5), ValueError, "alpha"),
        (lambda: RMSProp(eps=0), ValueError, "eps"),
        (lambda: Adagrad(eps=np.inf), ValueError, "eps"),
        (lambda: Adam(betas=(0.9, 1.0)), ValueError, r"betas\[1\]"),
        (lambda: Adam(betas=0.9), ValueError, "betas"),
        (lambda: AdamW(lr=np.nan), ValueError, "lr"),
        (lambda: setattr(Adam(), "lr", -1), ValueError, "lr"),
    ],
)
def test_bad_arguments(make, error, word):
    with pytest.raises(error, match=word):
        make()


def test_bad_state():
    optimizer = Adam()
    run(optimizer, np.float32, steps=1)
    good = optimizer.state_dict()
    fresh = Adam()
    for bad, error in [
        ({k: v for k, v in good.items() if k != "lr"}, KeyError),
        ({k: v for k, v in good.items() if k != "bias/mean"}, KeyError),
        ({**good, "bias/more": np.zeros(5)}, KeyError),
        ({**good, "bias/mean": np.zeros(4)}, ValueError),
        ({**good, "bias/mean": np.array(["a"] * 5)}, TypeError),
        ({**good, "lr": np.array(-1.0)}, ValueError),
    ]:
        with pytest.raises(error):
            fresh.load_state_dict(bad)
        assert set(fresh.state_dict()) == {"lr"}


class Interrupting(np.ndarray):
    """An array whose use in arithmetic sends an interrupt to the process."""

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        signal.raise_signal(signal.SIGINT)
        plain = [np.asarray(x) if isinstance(x, Interrupting) else x for x in inputs]
        return getattr(ufunc, method)(*plain, **kwargs)


def test_an_interrupt_does_not_divide_an_update(monkeypatch):
    """An interrupt amid the update is acted upon when parameters, state and counts have all moved."""
    expected = run(Adam(), np.float64, steps=1)
    layer, optimizer = make_bag(np.float64), Adam()
    grads = make_grads(layer, 0)
    inner = reference.update

    def interrupted(rule, params, checked, slots, steps):
        inner(rule, params, [checked[0].view(Interrupting), *checked[1:]], slots, steps)

    monkeypatch.setattr(reference, "update", interrupted)
    with use_backend("reference"), pytest.raises(KeyboardInterrupt):
        optimizer.update(layer, grads)
    np.testing.assert_allclose(flat(layer), flat(expected), atol=1e-15)
    assert {int(v) for k, v in optimizer.state_dict().items() if k.endswith("/step")} == {1}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# Sums and clipping.

SIZES = [0, 1, 3, 4, 15, 16, 17, 31, 33, 1000]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_sum_of_squares(size, dtype, isa):
    x = np.random.default_rng(size).standard_normal(size).astype(dtype)
    exact = float(np.sum(np.longdouble(x) ** 2))
    np.testing.assert_allclose(native.sum_squares(x), exact, rtol=1e-14)
    np.testing.assert_allclose(reference.sum_squares(x), exact, rtol=1e-14)


def test_sum_of_squares_has_the_same_bits_everywhere():
    x = np.random.default_rng(0).standard_normal(10007).astype(np.float32)
    before = kernels.get_isa()
    found = set()
    for name in kernels.isas():
        kernels.set_isa(name)
        found.add(native.sum_squares(x))
    kernels.set_isa(before)
    assert len(found) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [1, 5, 16, 35])
def test_finite(size, bad, dtype, isa):
    x = np.full(size, np.finfo(dtype).max, dtype)
    assert native.all_finite(x) and reference.all_finite(x)
    for place in range(size):
        y = x.copy()
        y[place] = bad
        assert not native.all_finite(y)
        assert not reference.all_finite(y)
    assert native.all_finite(x[::2]) and native.all_finite(x[:0])


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_clip_by_global_norm(backend):
    grads = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]], np.float32)}
    with use_backend(backend):
        assert clipping.global_norm(grads) == 5.0
        assert clipping.clip_by_global_norm(grads, 10.0) == 5.0
        assert grads["a"][0] == 3.0
        assert clipping.clip_by_global_norm(grads, 1.0) == 5.0
        np.testing.assert_allclose(clipping.global_norm(grads), 1.0, rtol=1e-7)
    np.testing.assert_allclose(grads["a"], [0.6, 0.0], rtol=1e-15)
    assert grads["b"].dtype == np.float32


def test_norm_beyond_the_range_of_squares():
    assert clipping.global_norm({"a": np.array([3e200, 4e200])}) == pytest.approx(5e200, rel=1e-15)
    assert clipping.global_norm({"a": np.array([np.inf, 1.0])}) == np.inf
    assert np.isnan(clipping.global_norm({"a": np.array([np.nan, 1.0])}))
    assert clipping.global_norm({}) == 0.0


def test_clipping_refuses_what_is_not_finite():
    grads = {"a": np.array([1.0, np.nan])}
    with pytest.raises(ValueError, match="finite"):
        clipping.clip_by_global_norm(grads, 1.0)
    assert grads["a"][0] == 1.0
    for bad in (0, -1, np.nan):
        with pytest.raises(ValueError, match="max_norm"):
            clipping.clip_by_global_norm({}, bad)
        with pytest.raises(ValueError, match="limit"):
            clipping.clip_by_value({}, bad)


def test_clip_by_value():
    grads = {"a": np.array([-3.0, 0.5, 2.0, np.nan])}
    clipping.clip_by_value(grads, 1.0)
    np.testing.assert_array_equal(grads["a"], [-1.0, 0.5, 1.0, np.nan])


def test_rules_are_those_of_the_reference():
    assert set(native.RULES) == set(reference.RULES)


@pytest.mark.parametrize("rule", native.RULES)
def test_native_refuses_what_it_cannot_write(rule):
    slots = [[np.zeros(3)] for _ in range({"sgd": 0, "adam": 2}.get(rule, 1))]
    steps = np.ones((1, 8))
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    for params in ([frozen], [np.zeros(6)[::2]]):
        with pytest.raises(ValueError, match="params"):
            native.update(rule, params, [np.zeros(3)], slots, steps)
    with pytest.raises(TypeError, match="params"):
        native.update(rule, [np.zeros(3, int)], [np.zeros(3)], slots, steps)
    with pytest.raises(ValueError, match="grads"):
        native.update(rule, [np.zeros(3)], [np.zeros(4)], slots, steps)
    with pytest.raises(ValueError, match="state"):
        native.update(rule, [np.zeros(3)], [np.zeros(3)], [*slots, [np.zeros(3)]], steps)


def test_strided_and_read_only_gradients():
    layer, expected = make_bag(np.float32), make_bag(np.float32)
    grads = make_grads(layer, 0)
    Adam().update(expected, grads)
    strided = {name: np.repeat(g, 2, axis=-1)[..., ::2] for name, g in grads.items()}
    for g in strided.values():
        g.flags.writeable = False
    Adam().update(layer, strided)
    assert np.array_equal(flat(layer), flat(expected))


def test_base_has_no_rule_of_its_own():
    assert not hasattr(Optimizer, "rule")
