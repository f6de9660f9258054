"""Options of LSTM, GRU and MGU: central differences, then reference, then native, then what each option means.

Tolerances are those of tests/test_native.py. A bound on the cell state makes a jump in the gradient: where float32
rounds to the other side of it, single elements differ, so float32 is compared with a bound that no cell state reaches
by rounding alone.
"""

import itertools

import numpy as np
import pytest
from option_table import ALONE, ALONE_IDS, CASES, IDS, OPTIONS, make

from rnnfast import MeanSquared, Stream, checkpointed, diagnose, load_model, save_model, use_backend
from rnnfast._native import kernels, provider
from rnnfast.gradient_check import gradcheck
from rnnfast.layers import Dense, Last, Sequential
from rnnfast.layers.recurrent import GRU, LSTM, MGU
from rnnfast.reference.ops import dropout, keep
from rnnfast.threads import limit_threads


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def run(layer, x, state, lengths, dy=None, seed=3):
    """Return everything that the three passes give, by name."""
    y, final = layer(x, state, lengths=lengths)
    (y_train, final_train), pullback = layer.forward(x, state, lengths=lengths, rng=np.random.default_rng(seed))
    grads = {}
    dy = np.random.default_rng(5).standard_normal(y.shape).astype(y.dtype) if dy is None else dy
    dx, dstate = pullback(dy, grads, dstate=final)
    found = {"y": y, "y in training": y_train, "dx": dx, **grads}
    for name, state in (("state", final), ("state in training", final_train), ("dstate", dstate)):
        found |= {f"{name} {k}": part for k, part in enumerate(parts(state))}
    return found


@pytest.mark.parametrize("kind, options", CASES, ids=IDS)
def test_gradients_are_those_of_central_differences(kind, options, random_state, rng):
    layer = make(kind, options, 3, 5, 2, bidirectional=True, dtype=np.float64)
    with use_backend("reference"):
        result = gradcheck(layer, rng.standard_normal((3, 4, 3)), random_state(layer, 3), lengths=[4, 0, 2])
    assert result, result
    assert set(result.errors) >= set(layer.parameters())


@pytest.mark.parametrize("kind, options", CASES, ids=IDS)
def test_native_agrees(kind, options, isa, random_state, rng):
    layer = make(kind, options, 3, 19, 2, bidirectional=True, dtype=np.float64)
    x, state, lengths = rng.standard_normal((5, 6, 3)), random_state(layer, 5), [6, 0, 3, 6, 1]
    with use_backend("reference"):
        expected = run(layer, x, state, lengths)
    found = run(layer, x, state, lengths)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-12 * max(1, np.abs(value).max()), err_msg=name)
    if not layer.cell.options.random:
        np.testing.assert_array_equal(found["y"], found["y in training"])


@pytest.mark.parametrize("kind, options", ALONE, ids=ALONE_IDS)
def test_native_in_float32_agrees(kind, options, isa, random_state, rng):
    if "cell_clip" in options:
        options = {**options, "cell_clip": 0.25}
    single = make(kind, options, 3, 33, dtype=np.float32)
    double = make(kind, options, 3, 33, dtype=np.float64)
    double.load_state_dict(single.state_dict())
    x, state = rng.standard_normal((7, 5, 3)).astype(np.float32), random_state(single, 7)
    expected = run(double, x, state, None)
    found = run(single, x, state, None)
    bound = 8 * np.finfo(np.float32).eps * 36**0.5 * 5
    for name, value in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], value, rtol=0, atol=bound * max(1, np.abs(value).max()), err_msg=name)


@pytest.mark.parametrize("kind, options", ALONE, ids=ALONE_IDS)
@pytest.mark.parametrize("gemm", provider.PROVIDERS)
def test_either_provider_of_gradients(kind, options, gemm, random_state, rng):
    layer = make(kind, options, 3, 19, dtype=np.float64)
    x, state, lengths = rng.standard_normal((5, 6, 3)), random_state(layer, 5), [6, 0, 3, 6, 1]
    with use_backend("reference"):
        expected = run(layer, x, state, lengths)
    before = provider._chosen
    provider.set_gemm(gemm)
    try:
        found = run(layer, x, state, lengths)
    finally:
        provider.set_gemm(before)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-12 * max(1, np.abs(value).max()), err_msg=name)


# Sizes at which threads share nothing but the products outside the loop, units of the recurrence, or rows of it.
@pytest.mark.parametrize("batch, hidden", [(3, 40), (2, 300), (24, 70)])
@pytest.mark.parametrize("kind", OPTIONS)
def test_the_number_of_threads_changes_no_bit(kind, batch, hidden, random_state, rng):
    everything = {**OPTIONS[kind], **({"proj_size": 2 * hidden // 3} if kind is LSTM else {})}
    for options in (everything, {**everything, "layer_norm": False}):
        layer = make(kind, options, 9, hidden)
        x = rng.standard_normal((batch, 14, 9)).astype(np.float32)
        state, lengths = random_state(layer, batch), np.arange(batch) % 14 + 1
        with limit_threads(1):
            alone = run(layer, x, state, lengths)
        for threads in (2, 3):
            with limit_threads(threads):
                shared = run(layer, x, state, lengths)
            for name, value in alone.items():
                np.testing.assert_array_equal(value, shared[name], err_msg=name)


@pytest.mark.parametrize("kind, options", ALONE, ids=ALONE_IDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_does_not_depend_on_its_batch(kind, options, dtype, random_state, rng):
    layer = make(kind, options, 3, 21, 2, dtype=dtype)
    x, state, lengths = rng.standard_normal((13, 5, 3)).astype(dtype), random_state(layer, 13), np.arange(13) % 6
    y, final = layer(x, state, lengths=lengths)
    for row in (0, 3, 5, 12):
        own = tuple(part[:, row : row + 1] for part in parts(state))
        alone, end = layer(x[row : row + 1], own if len(own) > 1 else own[0], lengths=lengths[row : row + 1])
        np.testing.assert_array_equal(alone[0], y[row])
        for part, whole in zip(parts(end), parts(final), strict=True):
            np.testing.assert_array_equal(part[:, 0], whole[:, row])


@pytest.mark.parametrize("kind, options", ALONE, ids=ALONE_IDS)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_stream_gives_what_a_call_gives(kind, options, backend, random_state, rng):
    layer = make(kind, options, 3, 9, 2)
    model = Sequential(layer, Dense(layer.state_sizes[0], 4, seed=0))
    x, state = rng.standard_normal((2, 5, 3)).astype(np.float32), random_state(layer, 2)
    with use_backend(backend):
        y, final = model(x, (state, None))
        stream = Stream(model, 2)
        stream.state = (state, None)
        steps = [stream.step(x[:, t]) for t in range(5)]
        np.testing.assert_allclose(np.stack(steps, 1), y, rtol=0, atol=0 if backend == "native" else 1e-6)
        for part, whole in zip(parts(stream.state[0]), parts(final[0]), strict=True):
            np.testing.assert_allclose(part, whole, rtol=0, atol=0 if backend == "native" else 1e-6)
        stream.reset(rows=[0])
        assert not any(part[:, 0].any() for part in parts(stream.state[0]))
        assert all(part[:, 1].any() for part in parts(stream.state[0]))


@pytest.mark.parametrize("kind, options", ALONE, ids=ALONE_IDS)
def test_files_and_configuration(kind, options, tmp_path, rng):
    layer = make(kind, options, 3, 7, 2, bidirectional=True)
    assert repr(eval(repr(layer))) == repr(layer)
    assert all(name in repr(layer) for name in options)
    again = load_model(save_model(layer, tmp_path / "layer"))
    x = rng.standard_normal((2, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(again(x)[0], layer(x)[0])
    assert repr(again) == repr(layer)


def test_plain_layers_say_nothing_of_options():
    assert not set(LSTM(3, 4).config()) & set(OPTIONS[LSTM])
    assert set(GRU(3, 4).config()) & set(OPTIONS[GRU]) == {"reset_after"}


@pytest.mark.parametrize("kind, options", ALONE, ids=ALONE_IDS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.usefixtures("packed_gemm", "no_collection")
def test_explained_memory_is_what_a_call_takes(kind, options, training):
    batch, steps = 4, 30
    options = {**options, **({"proj_size": 24} if "proj_size" in options else {})}
    layer = make(kind, {**options, "weight_drop": 0.0}, 24, 40)
    x = np.zeros((batch, steps, 24), np.float32)
    layer.forward(x)[1](None, {})
    _, before, _ = kernels.memory_use(restart=True)
    with limit_threads(1):
        if training:
            (_, _), pullback = layer.forward(x)
            pullback(None, {})
        else:
            layer(x)
        plan = layer.explain(batch, steps, training=training).layers[0]
    _, _, peak = kernels.memory_use()
    around = 32 * (steps + 2 * batch) + 8 * batch * steps + 2 * batch * 48 * 4
    assert plan.workspace_bytes <= peak - before <= plan.workspace_bytes + around


# What each option means


@pytest.mark.parametrize("kind, options", CASES, ids=IDS)
def test_options_that_do_nothing_give_the_plain_layer(kind, options, rng):
    """Peepholes of zero, a bound that nothing reaches and rates of zero change nothing but the order of sums."""
    nothing = {"peephole": True, "cell_clip": 1e6, "zoneout": 0.0, "recurrent_dropout": 0.0, "weight_drop": 0.0}
    kept = {name: value for name, value in options.items() if name not in nothing and name != "layer_norm"}
    plain = kind(3, 9, seed=0, dtype=np.float64, **kept)
    other = kind(3, 9, seed=0, dtype=np.float64, **kept, **{name: nothing[name] for name in options if name in nothing})
    x = rng.standard_normal((2, 5, 3))
    np.testing.assert_allclose(other(x)[0], plain(x)[0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(other.forward(x)[0][0], plain(x)[0], rtol=0, atol=1e-14)


def test_the_cell_state_stays_within_its_bound(rng):
    layer = make(LSTM, {"cell_clip": 0.25}, 3, 20)
    _, (_, c) = layer(10 * rng.standard_normal((4, 30, 3)).astype(np.float32))
    assert np.abs(c).max() == np.float32(0.25)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("reverse", [False, True])
def test_zoneout_keeps_what_its_numbers_say(backend, reverse, rng):
    """With a state of ones and a step that leads to zero, states show where they were kept."""
    layer = LSTM(2, 50, zoneout=(0.3, 0.6), bidirectional=reverse, dtype=np.float64)
    with layer.update() as params:
        for array in params.values():
            array[...] = 0
        for suffix in ("", "_reverse")[: 1 + reverse]:
            params[f"bias_ih_l0{suffix}"][: 4 * 50] = -1e3  # all gates shut; tanh(g) is -1 and i is 0
    ones = np.ones((1 + reverse, 3, 50))
    with use_backend(backend):
        y, final = layer.forward(np.zeros((3, 4, 2)), (ones, ones), lengths=[4, 0, 2], rng=np.random.default_rng(7))[0]
        mean, _ = layer(np.zeros((3, 4, 2)), (ones, ones), lengths=[4, 0, 2])
    seeds = np.random.default_rng(7)
    for d in range(1 + reverse):
        seed_h, seed_c, _, _ = (int(seeds.integers(2**64, dtype=np.uint64)) for _ in range(4))
        for row, length in ((0, 4), (2, 2)):
            kept_h = ~keep(length * 50, 0.3, seed_h, row << 32).reshape(length, 50)
            kept_c = ~keep(length * 50, 0.6, seed_c, row << 32).reshape(length, 50)
            own = y[row, :length, d * 50 : (d + 1) * 50]
            own = own[::-1] if d else own
            np.testing.assert_array_equal(own, np.cumprod(kept_h, axis=0))
            np.testing.assert_array_equal(final[1][d, row], kept_c.all(axis=0))
    np.testing.assert_allclose(mean[0, :, :50], np.tile(0.3 ** np.arange(1, 5)[:, None], 50), rtol=1e-12)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_variational_dropout_is_the_same_in_all_steps(backend, rng):
    """A layer that sees its dropped state alone, through the identity."""
    hidden = 60
    layer = GRU(2, hidden, recurrent_dropout=0.4, dtype=np.float64, bias=False)
    with layer.update() as params:
        for array in params.values():
            array[...] = 0
        params["weight_hh_l0"][2 * hidden :] = np.eye(hidden)
    with use_backend(backend):
        (y, _), _ = layer.forward(np.zeros((3, 5, 2)), np.ones((1, 3, hidden)), rng=np.random.default_rng(7))
        (other, _), _ = layer.forward(np.zeros((3, 5, 2)), np.ones((1, 3, hidden)), rng=np.random.default_rng(8))
    # r = z = 1/2: h' = h / 2 + tanh(h d / 2) / 2 with d = 0 or 1 / 0.6
    expected, h = [], np.ones((3, hidden))
    seed = [int(s) for s in np.random.default_rng(7).integers(2**64, size=4, dtype=np.uint64)][2]
    d = np.stack([keep(hidden, 0.4, seed, row << 32) / 0.6 for row in range(3)])
    for _ in range(5):
        h = h / 2 + np.tanh(h * d / 2) / 2
        expected.append(h)
    np.testing.assert_allclose(y, np.stack(expected, 1), rtol=0, atol=1e-14)
    assert 0.4 < (d > 0).mean() < 0.8 and not np.array_equal(y, other)
    assert not np.array_equal(d[0], d[1])


def test_weight_drop_is_dropout_of_the_weight(rng):
    layer = make(LSTM, {"weight_drop": 0.5}, 3, 8, dtype=np.float64)
    x, dy = rng.standard_normal((2, 5, 3)), rng.standard_normal((2, 5, 8))
    (y, _), pullback = layer.forward(x, rng=np.random.default_rng(7))
    seed = [int(s) for s in np.random.default_rng(7).integers(2**64, size=4, dtype=np.uint64)][3]
    plain = LSTM(3, 8, dtype=np.float64)
    plain.load_state_dict({**layer.state_dict(), "weight_hh_l0": dropout(layer.weight_hh_l0, 0.5, seed)})
    (expected, _), other = plain.forward(x)
    np.testing.assert_array_equal(y, expected)
    grads, theirs = {}, {}
    np.testing.assert_array_equal(pullback(dy, grads), other(dy, theirs))
    theirs["weight_hh_l0"] = dropout(theirs["weight_hh_l0"], 0.5, seed)
    for name, value in theirs.items():
        np.testing.assert_array_equal(grads[name], value, err_msg=name)
    assert not np.array_equal(layer(x)[0], y)


@pytest.mark.parametrize("after", [True, False])
def test_a_minimal_gated_unit_is_a_gru_whose_gates_are_one(after, rng):
    """r = f and z = 1 - f: the weights of z are those of r with the other sign."""
    mgu = make(MGU, {"reset_after": after, "peephole": True}, 3, 9, dtype=np.float64)
    gru = GRU(3, 9, reset_after=after, peephole=True, dtype=np.float64)
    f = {name: array[:9] for name, array in mgu.state_dict().items()}
    n = {name: array[9:] for name, array in mgu.state_dict().items()}
    gru.load_state_dict(
        {name: np.concatenate([f[name], -f[name], n[name]][: 2 if "peep" in name else 3]) for name in f}
    )
    x = rng.standard_normal((2, 5, 3))
    np.testing.assert_allclose(mgu(x)[0], gru(x)[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("init", ["default", "torch"])
def test_chrono_biases(init):
    lstm = LSTM(3, 300, chrono=50, init=init, seed=0)
    i, f, _, _ = np.split(lstm.bias_ih_l0, 4)
    np.testing.assert_array_equal(i, -f)
    assert f.min() >= 0 and np.log(47) < f.max() <= np.log(49)
    assert abs(np.exp(f).mean() - 25) < 4  # uniform over 1..49: five standard deviations
    assert not lstm.bias_hh_l0[: 2 * 300].any()
    for layer, block, sign in ((GRU(3, 90, chrono=50, seed=0), 1, 1), (MGU(3, 90, chrono=50, seed=0), 0, -1)):
        biases = np.split(layer.bias_ih_l0, layer.cell.gates)
        assert (sign * biases[block]).min() >= 0 and np.abs(biases[block]).max() > np.log(40)
        assert not biases[1 - block].any()
    coupled = LSTM(3, 90, chrono=50, coupled=True, seed=0)
    assert coupled.bias_ih_l0[:90].min() >= 0 and not coupled.bias_ih_l0[90:].any()
    assert eval(repr(lstm)).chrono == 50


@pytest.mark.parametrize("kind, options", ALONE, ids=ALONE_IDS)
def test_chunks_of_time_drop_what_a_whole_pass_drops(kind, options, rng):
    """But for zoneout, whose numbers begin anew in every chunk."""
    layer = make(kind, {**options, "zoneout": 0.0}, 3, 8, dtype=np.float64)
    x = rng.standard_normal((4, 9, 3))
    (y, _), pullback = checkpointed(layer, x, lengths=[9, 0, 5, 4], chunk=4, rng=np.random.default_rng(3))
    whole_rng = np.random.default_rng(int(np.random.default_rng(3).integers(2**63)))
    (expected, _), whole = layer.forward(x, lengths=[9, 0, 5, 4], rng=whole_rng)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-13)
    grads, theirs = {}, {}
    np.testing.assert_allclose(pullback(y, grads), whole(y, theirs), rtol=0, atol=1e-12)
    for name, value in theirs.items():
        np.testing.assert_allclose(grads[name], value, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", OPTIONS)
def test_diagnosis_looks_at_steps_without_chance(kind, rng):
    """The products of Jacobians are those of the layer with nothing random."""
    layer = make(kind, OPTIONS[kind], 3, 8)
    calm = make(kind, {**OPTIONS[kind], "zoneout": 0.0, "recurrent_dropout": 0.0, "weight_drop": 0.0}, 3, 8)
    batch = (rng.standard_normal((4, 9, 3)).astype(np.float32), np.ones((4, 1), np.float32))
    width = layer.state_sizes[0]
    found, expected = (
        diagnose(Sequential(one, Last(), Dense(width, 1, seed=0)), batch, MeanSquared(), show=False).levels[0]
        for one in (layer, calm)
    )
    np.testing.assert_allclose(found.radius, expected.radius, rtol=1e-6)
    np.testing.assert_allclose(found.gain, expected.gain, rtol=0, atol=1e-6)


BAD = {
    "proj_size": (LSTM, {"proj_size": 4}, ValueError, r"proj_size must be smaller than hidden_size=4; got 4"),
    "proj_size -1": (LSTM, {"proj_size": -1}, ValueError, r"proj_size must be at least 0; got -1"),
    "clip of zero": (LSTM, {"cell_clip": 0}, ValueError, r"cell_clip must lie in \(0, inf\); got 0"),
    "clip of text": (LSTM, {"cell_clip": "1"}, TypeError, r"cell_clip must be a real number; got '1'"),
    "flag": (LSTM, {"peephole": 1}, TypeError, r"peephole must be True or False; got 1"),
    "coupled": (LSTM, {"coupled": None}, TypeError, r"coupled must be True or False; got None"),
    "norm": (GRU, {"layer_norm": "yes"}, TypeError, r"layer_norm must be True or False; got 'yes'"),
    "zoneout of one": (GRU, {"zoneout": 1.0}, ValueError, r"zoneout must lie in \[0, 1\); got 1"),
    "a pair for one state": (GRU, {"zoneout": (0.1, 0.2)}, TypeError, r"zoneout must be a real number"),
    "three rates": (LSTM, {"zoneout": (0.1, 0.2, 0.3)}, TypeError, r"zoneout must be a number or 2 of them \(h, c\)"),
    "the second rate": (
        LSTM,
        {"zoneout": (0.1, -0.2)},
        ValueError,
        r"zoneout\[1\] \(c\) must lie in \[0, 1\); got -0\.2",
    ),
    "dropout": (MGU, {"recurrent_dropout": 1.5}, ValueError, r"recurrent_dropout must lie in \[0, 1\); got 1\.5"),
    "weight_drop": (GRU, {"weight_drop": np.nan}, ValueError, r"weight_drop must be finite; got nan"),
    "chrono": (GRU, {"chrono": 2}, ValueError, r"chrono must be at least 3; got 2"),
    "chrono without biases": (LSTM, {"chrono": 9, "bias": False}, ValueError, r"chrono draws biases"),
    "unknown": (GRU, {"proj_size": 2}, TypeError, r"proj_size"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_options(bad):
    kind, options, error, text = BAD[bad]
    with pytest.raises(error, match=text):
        kind(3, 4, **options)


def test_states_of_a_projection_have_their_own_widths():
    layer = LSTM(3, 5, proj_size=2)
    h, c = np.zeros((1, 2, 2)), np.zeros((1, 2, 5))
    assert layer.state_sizes == (2, 5)
    for wrong, text in (
        ((c, c), r"state\[0\] \(h\).*\(1, 2, 2\); got \(1, 2, 5\)"),
        ((h, h), r"state\[1\] \(c\).*\(1, 2, 5\)"),
    ):
        with pytest.raises(ValueError, match=text):
            layer(np.zeros((2, 4, 3)), wrong)
        _, pullback = layer.forward(np.zeros((2, 4, 3)))
        with pytest.raises(ValueError, match="d" + text):
            pullback(None, {}, dstate=wrong)


def test_without_biases_there_are_none(random_state, rng):
    for kind, options in itertools.product([LSTM, GRU, MGU], [{}, {"layer_norm": True, "peephole": True}]):
        layer = kind(3, 4, bias=False, dtype=np.float64, seed=0, **options)
        assert not any("bias" in name for name in layer.parameters())
        assert gradcheck(layer, rng.standard_normal((2, 3, 3)), random_state(layer, 2))
