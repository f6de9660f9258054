"""Dense, Embedding, Dropout, pooling and Sequential: central differences -> reference -> native float64 -> float32.

Tolerances: the native results in float64 differ from the reference's by the rounding of sums of up to a hundred terms,
some 1e-15 of their size, and in float32 by 1e-6; the bounds are about ten times that.
"""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnfast import gradcheck
from rnnfast.backend import use_backend
from rnnfast.layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Dense,
    Dropout,
    Embedding,
    Ends,
    Last,
    LayerNorm,
    MaxPool,
    MeanPool,
    Sequential,
)
from rnnfast.layers.activation import KINDS
from rnnfast.threads import limit_threads

N, T, C = 4, 6, 10
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-14}


def real(rng, dtype):
    return rng.standard_normal((N, T, C)).astype(dtype)


def indices(rng, dtype):
    return rng.integers(0, 7, (N, T))


def make_dense(**options):
    return lambda dtype: Dense(C, 3, dtype=dtype, seed=1, init="torch", **options)


def make_norm(**options):
    def make(dtype):
        layer = LayerNorm(C, dtype=dtype, **options)
        rng = np.random.default_rng(5)
        layer.load_state_dict({name: rng.standard_normal(C) for name in layer.params})
        return layer

    return make


def stack(*parts):
    return lambda dtype: Sequential(*(part(dtype) for part in parts))


LAYERS = {
    "Dense": (make_dense(), real),
    "Dense without bias": (make_dense(bias=False), real),
    "Dense relu": (make_dense(activation="relu"), real),
    "Dense tanh": (make_dense(activation="tanh"), real),
    "Dense sigmoid": (make_dense(activation="sigmoid"), real),
    "Embedding": (lambda dtype: Embedding(7, 3, dtype=dtype, seed=1), indices),
    "Embedding with padding": (lambda dtype: Embedding(7, 3, padding_idx=-5, dtype=dtype, seed=1), indices),
    "Dropout": (lambda dtype: Dropout(0.3), real),
    "Dropout of nothing": (lambda dtype: Dropout(0.0), real),
    "Last": (lambda dtype: Last(), real),
    "LayerNorm": (make_norm(), real),
    "LayerNorm without bias": (make_norm(bias=False, eps=0.1), real),
    "LayerNorm without parameters": (make_norm(elementwise_affine=False), real),
    **{f"Activation {kind}": (lambda dtype, kind=kind: Activation(kind), real) for kind in KINDS},
    "Ends": (lambda dtype: Ends(), real),
    "MeanPool": (lambda dtype: MeanPool(), real),
    "MaxPool": (lambda dtype: MaxPool(), real),
    "Sequential": (
        stack(
            lambda dtype: Embedding(7, 4, dtype=dtype, seed=1),
            lambda dtype: Dropout(0.2),
            lambda dtype: LSTM(4, 6, bidirectional=True, dtype=dtype, seed=2),
            stack(
                lambda dtype: GRU(12, 5, num_layers=2, dropout=0.2, dtype=dtype, seed=3),
                lambda dtype: Dense(5, 5, activation="tanh", dtype=dtype, seed=4),
            ),
            lambda dtype: RNN(5, 4, dtype=dtype, seed=5),
            lambda dtype: Last(),
            lambda dtype: Dense(4, 2, dtype=dtype, seed=6),
        ),
        indices,
    ),
}
LENGTHS = {"full": None, "ragged": np.array([3, 6, 0, 1])}


def run(layer, x, lengths, seed=3):
    """Return output, input gradient and parameter gradients as a flat dict, state and its gradient included."""
    rng = np.random.default_rng(seed)
    out, pullback = layer.forward(x, lengths=lengths, rng=np.random.default_rng(9))
    y = out[0] if layer.stateful else out
    grads = {}
    dx = pullback(rng.standard_normal(y.shape), grads)
    return {"y": y, **({} if dx is None else {"dx": dx}), **grads}


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("backend", ["reference", "native"])
def test_central_differences(rng, name, lengths, backend):
    make, draw = LAYERS[name]
    x = draw(rng, np.float64)
    if "padding" in name:
        x[x == 2] = 3  # the padding row has no gradient on purpose
    with use_backend(backend):
        result = gradcheck(make(np.float64), x, lengths=LENGTHS[lengths])
    assert result, result


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_native_is_the_reference(rng, name, lengths, dtype, isa):
    make, draw = LAYERS[name]
    x = draw(rng, np.float32).astype(int if draw is indices else dtype)
    with use_backend("reference"):
        wide = make(np.float64)
        layer = make(dtype)
        wide.load_state_dict(layer.state_dict())
        expected = run(wide, x if draw is indices else x.astype(float), LENGTHS[lengths])
    found = run(layer, x, LENGTHS[lengths])
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        size = max(1.0, np.abs(value).max())
        np.testing.assert_allclose(found[key], value, rtol=0, atol=TOLERANCE[dtype] * size, err_msg=key)
        assert found[key].dtype == dtype


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("name", [n for n in LAYERS if n not in ("Dropout", "Sequential")])
def test_inference_is_forward_where_nothing_drops(rng, name, lengths):
    make, draw = LAYERS[name]
    layer, x = make(np.float32), draw(rng, np.float32)
    np.testing.assert_array_equal(layer(x, lengths=LENGTHS[lengths]), run(layer, x, LENGTHS[lengths])["y"])


@pytest.mark.parametrize("name", [n for n, (_, draw) in LAYERS.items() if draw is real])
@pytest.mark.parametrize("backend", ["reference", "native"])
def test_strides_and_read_only_input(rng, name, backend):
    make, draw = LAYERS[name]
    x = draw(rng, np.float64)
    views = {
        "time-major": x.transpose(1, 0, 2).copy().transpose(1, 0, 2),
        "channels first": x.transpose(0, 2, 1).copy().transpose(0, 2, 1),
        "reversed": x[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
        "sliced": x.repeat(2, axis=1).repeat(2, axis=2)[:, ::2, ::2],
        "gaps": np.concatenate([x, x], axis=2)[:, :, :C],
        "list": x.tolist(),
    }
    with use_backend(backend):
        layer = make(np.float64)
        expected = run(layer, x, None)
        for what, view in views.items():
            if isinstance(view, np.ndarray):
                view.flags.writeable = False
            elif not layer.parameters():
                continue  # float32, for want of a dtype
            for key, value in run(layer, view, None).items():
                np.testing.assert_allclose(value, expected[key], rtol=0, atol=1e-14, err_msg=what)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("shape", [(0, T), (N, 1), (0, 1), (N, 0)])
def test_small_shapes(rng, name, shape):
    make, draw = LAYERS[name]
    layer = make(np.float32)
    x = draw(rng, np.float32)[: shape[0], : shape[1]]
    for backend in ("reference", "native"):
        with use_backend(backend):
            found = run(layer, x, None)
            assert found["y"].shape[0] == shape[0]
            if "dx" in found:
                assert found["dx"].shape == x.shape
            for key, array in layer.parameters().items():
                assert found[key].shape == array.shape
                assert np.isfinite(found[key]).all()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_pooling_is_what_a_loop_over_sequences_says(data):
    batch, steps, columns = (data.draw(st.integers(0, most)) for most in (5, 5, 2))
    columns *= 2  # the ends of both directions take half each
    lengths = np.array(data.draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch)), np.int64)
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    x = rng.standard_normal((batch, steps, columns))
    x[np.arange(steps) >= lengths[:, None]] = np.nan  # must not be looked at
    dy = rng.standard_normal((batch, columns))
    for layer, of in (
        (Last(), lambda s: s[-1]),
        (Ends(), lambda s: np.concatenate([s[-1, : columns // 2], s[0, columns // 2 :]])),
        (MeanPool(), lambda s: s.mean(axis=0)),
        (MaxPool(), lambda s: s.max(axis=0)),
    ):
        y, pullback = layer.forward(x, lengths=lengths)
        dx = pullback(dy, {})
        for n, length in enumerate(lengths):
            expected = of(x[n, :length]) if length else np.zeros(columns)
            np.testing.assert_allclose(y[n], expected, rtol=1e-14, atol=1e-15)
            assert (dx[n, length:] == 0).all()
            np.testing.assert_allclose(dx[n].sum(axis=0), dy[n] if length else 0, rtol=1e-13, atol=1e-14)


def test_max_pool_gives_the_gradient_to_the_first_of_equals():
    x = np.array([[[1.0, 2.0], [3.0, 2.0], [3.0, 0.0]]])
    for backend in ("reference", "native"):
        with use_backend(backend):
            _, pullback = MaxPool().forward(x)
            np.testing.assert_array_equal(pullback([[5.0, 7.0]], {}), [[[0, 7], [5, 0], [0, 0]]])


@pytest.mark.parametrize("name", [n for n in LAYERS if n.startswith(("Dense", "Embedding", "LayerNorm", "Sequential"))])
def test_gradients_are_added_in_place(rng, name):
    make, draw = LAYERS[name]
    layer, x = make(np.float64), draw(rng, np.float64)
    once = run(layer, x, None)
    flat = np.ones(2 * layer.num_parameters())  # views of one buffer, every other element
    grads, at = {}, 0
    for key, array in layer.parameters().items():
        grads[key] = flat[at : at + 2 * array.size : 2].reshape(array.shape)
        at += 2 * array.size
    views = dict(grads)
    out, pullback = layer.forward(x, rng=np.random.default_rng(9))
    y = out[0] if layer.stateful else out
    pullback(np.random.default_rng(3).standard_normal(y.shape), grads)
    for key in views:
        assert grads[key] is views[key]
        assert np.shares_memory(grads[key], flat) or layer.num_parameters() == 0
        np.testing.assert_allclose(grads[key], 1 + once[key], rtol=0, atol=1e-13)
    assert (flat[1::2] == 1).all()


def test_dense_is_the_product_it_says(rng):
    layer = Dense(C, 3, activation="relu", seed=0, dtype=np.float64, init="torch")
    x = real(rng, np.float64)
    weight, bias = layer.params["weight"], layer.params["bias"]
    np.testing.assert_allclose(layer(x), np.maximum(x @ weight.T + bias, 0), rtol=0, atol=1e-14)
    np.testing.assert_allclose(layer(x[:, 0]), layer(x)[:, 0], rtol=0, atol=1e-14)
    with layer.update() as params:
        params["weight"] *= 2.0
    np.testing.assert_allclose(layer(x), np.maximum(x @ weight.T + bias, 0), rtol=0, atol=1e-14)


def test_layer_norm_is_the_equation_it_says(rng):
    layer = LAYERS["LayerNorm"][0](np.float64)
    x = 3 + 2 * real(rng, np.float64)
    expected = (x - x.mean(axis=2, keepdims=True)) / np.sqrt(x.var(axis=2, keepdims=True) + 1e-5)
    expected = expected * layer.params["weight"] + layer.params["bias"]
    for backend in ("reference", "native"):
        with use_backend(backend):
            np.testing.assert_allclose(layer(x), expected, rtol=0, atol=1e-13)
    long = rng.standard_normal((9000, C))  # more than a block
    np.testing.assert_allclose(layer(long)[8000:], layer(long[8000:]), rtol=0, atol=1e-14)


def test_layer_norm_takes_one_axis():
    assert LayerNorm((4,)).config() == LayerNorm(4).config()
    with pytest.raises(ValueError, match=r"one axis, the last; got \(3, 4\)"):
        LayerNorm((3, 4))
    with pytest.raises(ValueError, match="x must have shape"):
        LayerNorm(4)(np.zeros((2, 5)))


@pytest.mark.parametrize("lengths", LENGTHS)
def test_ends_are_the_final_states_of_both_directions(rng, lengths):
    layer = GRU(C, 4, num_layers=2, bidirectional=True, dtype=np.float64, seed=0)
    x, lengths = real(rng, np.float64), LENGTHS[lengths]
    y, h = layer(x, lengths=lengths)
    expected = np.concatenate([h[-2], h[-1]], axis=1)
    np.testing.assert_array_equal(Ends()(y, lengths=lengths), expected)
    with pytest.raises(ValueError, match="an even number of columns"):
        Ends()(x[..., :5])


def test_embedding_padding_row_stays(rng):
    layer = Embedding(7, 3, padding_idx=2, seed=0)
    assert (layer.params["weight"][2] == 0).all()
    y, pullback = layer.forward([[2, 2, 1]])
    grads = {}
    assert pullback(np.ones_like(y), grads) is None
    np.testing.assert_array_equal(grads["weight"], np.eye(7)[:, [1]] * np.ones(3))


def test_dropout_scales_and_repeats():
    x = np.ones((200, 30, 10))
    layer = Dropout(0.25)
    np.testing.assert_array_equal(layer(x), x)
    y, pullback = layer.forward(x, rng=np.random.default_rng(0))
    again, _ = layer.forward(x, rng=np.random.default_rng(0))
    other, _ = layer.forward(x, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(y, again)
    assert (y != other).any()
    assert set(np.unique(y)) == {0.0, 1 / 0.75}
    assert abs((y == 0).mean() - 0.25) < 0.01
    np.testing.assert_array_equal(pullback(x, {}), y)
    fresh = [layer.forward(x)[0] for _ in range(2)]
    assert (fresh[0] != fresh[1]).any()
    assert Dropout(0.5)([[1, 2]]).dtype == np.float32


def test_threads_change_no_bit(rng):
    layer = Dense(64, 65, activation="tanh", seed=0)
    x = rng.standard_normal((40, 70, 64)).astype(np.float32)
    results = []
    for threads in (1, 2):
        with limit_threads(threads):
            results.append(run(layer, x, None))
    for key, value in results[0].items():
        np.testing.assert_array_equal(value, results[1][key])


@pytest.mark.parametrize("init", ["default", "torch"])
def test_initial_values(init):
    for make in (
        lambda **k: Dense(300, 200, init=init, **k),
        lambda **k: Dense(300, 200, activation="relu", init=init, **k),
        lambda **k: Embedding(300, 200, init=init, **k),
    ):
        one, two, other = (make(seed=s, dtype=np.float64) for s in (0, 0, 1))
        single = make(seed=0)
        for name, array in one.parameters().items():
            np.testing.assert_array_equal(array, two.params[name])
            np.testing.assert_array_equal(array.astype(np.float32), single.params[name])
        assert (one.params["weight"] != other.params["weight"]).all()
    bound = {"default": np.sqrt(6 / 500), "torch": 1 / np.sqrt(300)}[init]
    weight = Dense(300, 200, init=init, seed=0).params["weight"]
    assert 0.99 * bound < np.abs(weight).max() <= np.float32(bound)
    bias = Dense(300, 200, init=init, seed=0).params["bias"]
    assert np.abs(bias).max() <= np.float32(bound) * (init == "torch")


@pytest.mark.parametrize("name", LAYERS)
def test_config_and_pickle_make_the_layer_again(rng, name):
    make, draw = LAYERS[name]
    layer, x = make(np.float64), draw(rng, np.float64)
    layer(x)
    copies = [pickle.loads(pickle.dumps(layer))]
    if name != "Sequential":
        copies.append(type(layer)(**layer.config()))
        copies[-1].load_state_dict(layer.state_dict())
        assert copies[-1].config() == layer.config()
    for copy in copies:
        assert repr(copy) == repr(layer)
        for key, value in run(layer, x, None).items():
            np.testing.assert_array_equal(run(copy, x, None)[key], value)


def test_what_is_assigned_in_an_update_is_copied_in():
    layer = Dense(2, 3, seed=0)
    before = layer.state_dict()
    with layer.update() as params:
        params["weight"] = params["weight"] + 1  # a new array
        params["bias"] += 2  # the old one
    np.testing.assert_array_equal(layer.params["weight"], before["weight"] + 1)
    np.testing.assert_array_equal(layer.params["bias"], before["bias"] + 2)
    with pytest.raises(KeyError, match="no parameter named gain; there are weight, bias"), layer.update() as params:
        params["gain"] = np.ones(3)
    with pytest.raises(ValueError, match="bias must have shape"), layer.update() as params:
        params["bias"] = np.ones(4)
