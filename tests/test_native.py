"""The native time loop against the reference, and what only the native one promises.

Tolerances. float64 is compared with float64: both round each pre-activation, a dot of K = I + H terms, to about
sqrt(K) * 1e-16 and the native exp and tanh err by a few ulp, which T steps pass on; 1e-12 is a hundred times that.
float32 is compared with the reference in float64 on the same float32 numbers, so the whole error is the native one:
its bound is 8 * eps * sqrt(K) * T by the largest element of what is compared (gradients are sums over N*T rows, whose
rounding likewise grows with the root of their number; the factor 8 covers it and the activations).
"""

import copy
import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnfast import engine
from rnnfast._native import provider
from rnnfast.backend import use_backend
from rnnfast.cells import CELLS
from rnnfast.layers.recurrent import GRU, LSTM
from rnnfast.reference import recurrent as reference
from rnnfast.threads import limit_threads

DTYPES = [np.float32, np.float64]
LENGTHS = {
    "full": lambda n, t: None,
    "ragged": lambda n, t: np.random.default_rng(5).permutation(np.arange(n) % (t + 1)),
}
STRIDES = {
    "contiguous": lambda a: a,
    "time-major": lambda a: np.ascontiguousarray(a.transpose(1, 0, 2)).transpose(1, 0, 2),
    "sliced": lambda a: np.repeat(np.repeat(a, 2, 1), 3, 2)[:, ::2, ::3],
    "negative": lambda a: np.ascontiguousarray(a[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
    "channels-first": lambda a: np.ascontiguousarray(a.transpose(0, 2, 1)).transpose(0, 2, 1),
}
SIZES = list(itertools.product([1, 2, 7, 13], [1, 5, 16, 28, 33, 100]))

native = engine.backend("native")


class Case:
    """One direction of one layer with everything it needs, in float64; numbers are exact in float32."""

    def __init__(self, cell, batch, steps, inputs, hidden, bias=True, lengths=None, seed=0):
        rng = np.random.default_rng([seed, batch, steps, inputs, hidden])

        def draw(*shape, scale=1.0):
            return (scale * rng.standard_normal(shape)).astype(np.float32).astype(np.float64)

        rows, scale = CELLS[cell].gates * hidden, hidden**-0.5
        self.cell = CELLS[cell]
        self.x = draw(batch, steps, inputs)
        self.weights = {
            "w_ih": draw(rows, inputs, scale=scale),
            "w_hh": draw(rows, hidden, scale=scale),
            "b_ih": draw(rows, scale=0.3) if bias else None,
            "b_hh": draw(rows, scale=0.3) if bias else None,
        }
        self.state = tuple(draw(batch, hidden, scale=0.5) for _ in self.cell.states)
        self.dy = draw(batch, steps, hidden)
        self.dstate = tuple(draw(batch, hidden) for _ in self.cell.states)
        self.lengths = None if lengths is None else np.asarray(lengths, np.int64)
        self.shape = (batch, steps, inputs, hidden)

    def run(self, module, dtype, reverse=False, save=True, stride=lambda a: a, lengths="own"):
        """Return everything the pair of functions gives, by name."""
        batch, steps, inputs, hidden = self.shape

        def cast(array):
            array = array.astype(dtype)
            array.flags.writeable = False
            return array

        weights = engine.Weights(**{k: None if w is None else cast(w) for k, w in self.weights.items()})
        x = stride(cast(self.x))
        x.flags.writeable = False
        out = stride(np.full((batch, steps, hidden), np.nan, dtype))
        state = tuple(cast(s) for s in self.state)
        lengths = self.lengths if isinstance(lengths, str) else lengths
        final, saved = module.direction_forward(self.cell, x, weights, state, lengths, reverse, out, save)
        found = {"out": out, **{f"final {n}": f for n, f in zip(self.cell.states, final, strict=True)}}
        if not save:
            assert saved is None
            return found
        dx = stride(np.full((batch, steps, inputs), np.nan, dtype))
        grads = {k: np.ones(w.shape, dtype) for k, w in self.weights.items() if w is not None}
        dstate = tuple(cast(s) for s in self.dstate)
        dinitial = module.direction_backward(saved, stride(cast(self.dy)), dstate, dx, grads)
        found["dx"] = dx
        found.update({f"d{k}": g - 1 for k, g in grads.items()})
        found.update({f"d{n}": d for n, d in zip(self.cell.states, dinitial, strict=True)})
        return found

    def compare(self, dtype, **kwargs):
        """Run both ways and compare."""
        _, steps, inputs, hidden = self.shape
        expected = self.run(reference, np.float64, **{**kwargs, "stride": lambda a: a})
        found = self.run(native, dtype, **kwargs)
        assert found.keys() == expected.keys()
        relative = 8 * np.finfo(np.float32).eps * (inputs + hidden) ** 0.5 * max(1, steps)
        for name, value in expected.items():
            assert found[name].dtype == dtype, name
            assert found[name].shape == value.shape, name
            largest = max(1.0, np.abs(value).max(initial=0))
            bound = (1e-12 if dtype == np.float64 else relative) * largest
            np.testing.assert_allclose(found[name], value, rtol=0, atol=bound, err_msg=name)


@pytest.mark.parametrize("save", [True, False], ids=["save", "infer"])
@pytest.mark.parametrize("strides", STRIDES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "plain"])
@pytest.mark.parametrize("cell", CELLS)
def test_agrees(cell, bias, reverse, lengths, dtype, strides, save, isa):
    case = Case(cell, 5, 6, 3, 9, bias, LENGTHS[lengths](5, 6))
    case.compare(dtype, reverse=reverse, save=save, stride=STRIDES[strides])


@pytest.mark.parametrize("save", [True, False], ids=["save", "infer"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch, hidden", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_agrees_over_sizes(cell, batch, hidden, dtype, save, isa):
    Case(cell, batch, 4, 7, hidden).compare(dtype, save=save)
    Case(cell, batch, 4, 7, hidden, lengths=LENGTHS["ragged"](batch, 4)).compare(dtype, save=save, reverse=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch, steps", [(0, 3), (3, 0), (0, 0), (1, 1), (4, 1)])
@pytest.mark.parametrize("cell", CELLS)
def test_agrees_on_empty_and_single(cell, batch, steps, dtype, isa):
    for save in (True, False):
        Case(cell, batch, steps, 3, 5).compare(dtype, save=save)
        Case(cell, batch, steps, 3, 5, lengths=np.zeros(batch)).compare(dtype, save=save, reverse=True)


@pytest.mark.parametrize("cell", CELLS)
def test_agrees_when_large(cell, isa):
    Case(cell, 9, 20, 40, 260, lengths=[20, 3, 0, 7, 20, 19, 1, 11, 12]).compare(np.float32)
    Case(cell, 1, 30, 10, 300).compare(np.float32, save=False)


@pytest.mark.parametrize("module", [reference, native], ids=["reference", "native"])
@pytest.mark.parametrize("cell", CELLS)
def test_absent_gradients_are_zeros(cell, module):
    case = Case(cell, 3, 4, 2, 5, lengths=[4, 2, 0])
    weights = engine.Weights(**case.weights)

    def backward(dy, dstate, dx):
        grads = {k: np.zeros_like(w) for k, w in case.weights.items()}
        out = np.empty((3, 4, 5))
        _, saved = module.direction_forward(case.cell, case.x, weights, case.state, case.lengths, False, out, True)
        return module.direction_backward(saved, dy, dstate, dx, grads), grads

    zeros = tuple(np.zeros_like(d) for d in case.dstate)
    nothing = (None,) * len(zeros)
    for absent, present in (
        ((None, case.dstate, None), (np.zeros_like(case.dy), case.dstate, np.empty_like(case.x))),
        ((case.dy, nothing, None), (case.dy, zeros, np.empty_like(case.x))),
    ):
        (first, grads), (second, others) = backward(*absent), backward(*present)
        for one, other in zip(first, second, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-14)
        for name, grad in grads.items():
            np.testing.assert_allclose(grad, others[name], rtol=0, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("module", [reference, native], ids=["reference", "native"])
@pytest.mark.parametrize("given", [(), ("w_hh",), ("w_ih", "b_hh")], ids=["none", "w_hh", "w_ih and b_hh"])
@pytest.mark.parametrize("lengths", [None, [4, 2, 0], [0, 0, 0]], ids=["full", "ragged", "empty"])
@pytest.mark.parametrize("cell", CELLS)
def test_missing_gradients_are_made(cell, lengths, given, module, isa):
    case = Case(cell, 3, 4, 2, 21, lengths=lengths)
    weights = engine.Weights(**case.weights)

    def backward(names):
        grads = {k: np.ones_like(case.weights[k]) for k in names}
        out = np.empty((3, 4, 21))
        _, saved = module.direction_forward(case.cell, case.x, weights, case.state, case.lengths, False, out, True)
        module.direction_backward(saved, case.dy, case.dstate, None, grads)
        return grads

    expected, found = backward(case.weights), backward(given)
    assert found.keys() == expected.keys()
    for name, grad in found.items():
        np.testing.assert_allclose(grad, expected[name] - (name not in given), rtol=0, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("module", [reference, native], ids=["reference", "native"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("cell", CELLS)
def test_padding_does_not_leak(cell, reverse, dtype, module):
    lengths = [4, 0, 2, 1]
    case = Case(cell, 4, 4, 3, 5, lengths=lengths)
    past = np.arange(4)[None, :] >= np.array(lengths)[:, None]
    clean = case.run(module, dtype, reverse)
    for garbage in (np.nan, np.inf, 1e30):
        case.x[past] = garbage
        case.dy[past] = garbage
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            dirty = case.run(module, dtype, reverse)
        for name, value in clean.items():
            np.testing.assert_array_equal(value, dirty[name], err_msg=name)
    assert not clean["out"][past].any() and not clean["dx"][past].any()
    for name, state, dstate in zip(case.cell.states, case.state, case.dstate, strict=True):
        np.testing.assert_array_equal(clean[f"final {name}"][1], state[1].astype(dtype))
        np.testing.assert_array_equal(clean[f"d{name}"][1], dstate[1].astype(dtype))


@pytest.mark.parametrize("module", [reference, native], ids=["reference", "native"])
@pytest.mark.parametrize("cell", CELLS)
def test_final_state_is_a_copy(cell, module):
    for steps, lengths in ((0, None), (3, np.zeros(2, np.int64))):
        case = Case(cell, 2, steps, 3, 5)
        out = np.empty((2, steps, 5))
        final, _ = module.direction_forward(
            case.cell, case.x, engine.Weights(**case.weights), case.state, lengths, False, out, False
        )
        for given_, got in zip(case.state, final, strict=True):
            np.testing.assert_array_equal(given_, got)
            assert not np.shares_memory(given_, got) and got.flags.writeable


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("hidden", [5, 16, 28, 33, 60, 100])  # a single row of few units takes a way of its own
@pytest.mark.parametrize("cell", CELLS)
def test_a_row_does_not_depend_on_its_batch(cell, hidden, lengths, dtype, isa):
    for reverse in (False, True):
        case = Case(cell, 13, 5, 7, hidden, lengths=LENGTHS[lengths](13, 5))
        together = case.run(native, dtype, reverse, save=False)
        for row in (0, 3, 6, 12):
            alone = Case(cell, 1, 5, 7, hidden)
            alone.weights = case.weights
            alone.x, alone.state = case.x[row : row + 1], tuple(s[row : row + 1] for s in case.state)
            alone.lengths = None if case.lengths is None else case.lengths[row : row + 1]
            for save in (False, True):
                found = alone.run(native, dtype, reverse, save)
                for name, value in together.items():
                    np.testing.assert_array_equal(found[name][0], value[row], err_msg=name)


# Sizes at which threads share units of the recurrence, or rows of it, these with and without waiting for each other on
# the way; and sizes (batch, steps, inputs, hidden) at which one does the steps and the others the rest.
SHARED = [(3, 40), (3, 60), (2, 300), (7, 90), (40, 70)]
BESIDE = [(1, 1500, 40, 40), (1, 90, 64, 64), (3, 400, 50, 50), (2, 60, 400, 30)]


def test_threads_share_in_every_way(isa):
    plans = [
        LSTM(inputs, hidden, seed=0).explain(batch, steps, training=training, threads=threads).layers[0]
        for batch, steps, inputs, hidden in [*((batch, 25, 33, hidden) for batch, hidden in SHARED), *BESIDE]
        for training in (True, False)
        for threads in (2, 3, 8)
    ]
    assert {plan.shared for plan in plans if plan.threads > 1} == {"products over all steps", "units", "rows"}
    assert len({plan.reason for plan in plans if plan.shared == "rows"}) == 2


@pytest.mark.parametrize("batch, hidden", SHARED)
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_number_of_threads_changes_no_bit(cell, lengths, batch, hidden, isa):
    case = Case(cell, batch, 25, 33, hidden, lengths=LENGTHS[lengths](batch, 25))
    for save in (True, False):
        with limit_threads(1):
            alone = case.run(native, np.float32, save=save)
        for threads in (2, 3, 8):
            with limit_threads(threads):
                shared = case.run(native, np.float32, save=save)
            for name, value in alone.items():
                np.testing.assert_array_equal(value, shared[name], err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stride", ["contiguous", "sliced"])
@pytest.mark.parametrize("batch, steps, inputs, hidden", BESIDE)
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru", "gru_reset_before"])
def test_threads_that_work_beside_the_steps_change_no_bit(
    cell, batch, steps, inputs, hidden, stride, dtype, isa, monkeypatch
):
    monkeypatch.setattr(provider, "_chosen", "packed")
    case = Case(cell, batch, steps, inputs, hidden, lengths=[steps, steps // 2, 3][:batch])
    with limit_threads(1):
        alone = case.run(native, dtype, stride=STRIDES[stride])
        inferred = case.run(native, dtype, save=False, stride=STRIDES[stride])
    for threads in (2, 3, 8):
        with limit_threads(threads):
            found = case.run(native, dtype, stride=STRIDES[stride])
            for name, value in case.run(native, dtype, save=False, stride=STRIDES[stride]).items():
                np.testing.assert_array_equal(value, inferred[name], err_msg=name)
        for name, value in found.items():
            np.testing.assert_array_equal(value, alone[name], err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "steps, hidden", [(6, 1), (6, 7), (6, 16), (6, 17), (6, 33), (6, 50), (6, 64), (700, 64), (6, 65)]
)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_a_row_have_the_bits_of_the_row_alone(cell, steps, hidden, dtype, isa, monkeypatch):
    monkeypatch.setattr(provider, "_chosen", "packed")  # a BLAS promises no bits
    lengths = [steps - 2, steps, 1]
    case = Case(cell, 3, steps, 5, hidden, lengths=lengths)
    for stride, reverse in [("contiguous", True), ("time-major", False), ("sliced", False), ("negative", True)]:
        together = case.run(native, dtype, reverse, stride=STRIDES[stride])
        for j, length in enumerate(lengths):
            alone = copy.copy(case)
            alone.x, alone.dy = case.x[j : j + 1, :length], case.dy[j : j + 1, :length]
            alone.state, alone.dstate = ([s[j : j + 1] for s in states] for states in (case.state, case.dstate))
            alone.lengths, alone.shape = None, (1, length, 5, hidden)
            found = alone.run(native, dtype, reverse, stride=STRIDES[stride])
            for name in ("out", "dx", *(f"d{n}" for n in case.cell.states)):
                expected = together[name][j : j + 1]
                if name in ("out", "dx"):
                    expected = expected[:, :length]
                np.testing.assert_array_equal(found[name], expected, err_msg=f"{name}, {stride}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch, hidden", [(1, 5), (1, 33), (7, 100)])
@pytest.mark.parametrize("cell", CELLS)
def test_step_by_step_is_the_whole_sequence(cell, batch, hidden, dtype, make_layer, random_state, rng):
    layer = make_layer(cell, 7, hidden, 2, dtype=dtype)
    x = rng.standard_normal((batch, 6, 7)).astype(dtype)
    start = random_state(layer, batch)
    whole, end = layer(x, start)
    state, steps = start, []
    for t in range(6):
        y, state = layer(x[:, t : t + 1], state)
        steps.append(y)
    np.testing.assert_array_equal(np.concatenate(steps, 1), whole)
    np.testing.assert_array_equal(state, end)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_inference_and_forward_agree(cell, dtype, make_layer, random_state, rng):
    layer = make_layer(cell, 4, 9, 2, bidirectional=True, dtype=dtype)
    x, state = rng.standard_normal((3, 5, 4)).astype(dtype), random_state(layer, 3)
    y, final = layer(x, state, lengths=[5, 0, 2])
    (y2, final2), _ = layer.forward(x, state, lengths=[5, 0, 2])
    bound = 1e-13 if dtype == np.float64 else 1e-5  # they may sum in another order; values are below 1
    np.testing.assert_allclose(y, y2, rtol=0, atol=bound)
    np.testing.assert_allclose(final, final2, rtol=0, atol=bound)


@pytest.mark.parametrize("layers, bidirectional", list(itertools.product([1, 3], [False, True])))
@pytest.mark.parametrize("cell", CELLS)
def test_stacks_agree(cell, layers, bidirectional, make_layer, random_state, rng):
    dropout = 0.3 if layers > 1 else 0.0
    layer = make_layer(cell, 4, 9, layers, dropout=dropout, bidirectional=bidirectional, dtype=np.float64)
    x, state, lengths = rng.standard_normal((3, 5, 4)), random_state(layer, 3), [2, 5, 0]
    dy = rng.standard_normal((3, 5, layer.hidden_size * (1 + bidirectional)))
    results = []
    for name in ("reference", "native"):
        with use_backend(name):
            (y, final), pullback = layer.forward(x, state, lengths=lengths, rng=np.random.default_rng(3))
        grads = {}
        dx, dstate = pullback(dy, grads, dstate=final)  # the backend is the one of the forward pass
        results.append([y, np.asarray(final), dx, np.asarray(dstate), *grads.values()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * max(1.0, np.abs(one).max()))


def test_dropout_follows_the_generator(make_layer, rng):
    layer = make_layer("lstm", 4, 32, 2, dropout=0.5)
    x = rng.standard_normal((3, 5, 4)).astype(np.float32)

    def run(seed):
        return layer.forward(x, rng=np.random.default_rng(seed))[0][0]

    np.testing.assert_array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))
    np.testing.assert_array_equal(layer(x)[0], layer(x)[0])
    assert not np.array_equal(layer.forward(x)[0][0], layer.forward(x)[0][0])


def test_parameters_that_change_are_seen(rng):
    layer = LSTM(3, 5, dtype=np.float64, seed=0)
    x = rng.standard_normal((2, 4, 3))
    layer(x)
    with layer.update() as params:
        params["weight_hh_l0"] *= 0.5
    layer.weight_ih_l0 = layer.weight_ih_l0 + 0.1
    layer.load_state_dict({"bias_ih_l0": np.full(20, 0.2)}, strict=False)
    other = LSTM(3, 5, dtype=np.float64, seed=1)
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(layer(x)[0], other(x)[0])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_shape_and_stride(data):
    batch, steps, inputs, hidden = (data.draw(st.integers(least, 6)) for least in (0, 0, 1, 1))
    dtype = data.draw(st.sampled_from(DTYPES))
    kind, layers = data.draw(st.sampled_from([LSTM, GRU])), data.draw(st.integers(1, 2))
    layer = kind(inputs, hidden, layers, bidirectional=data.draw(st.booleans()), dtype=dtype, seed=0)
    lengths = data.draw(st.none() | st.lists(st.integers(0, steps), min_size=batch, max_size=batch))
    x = np.random.default_rng(0).standard_normal((batch, steps, inputs)).astype(dtype)
    axes = data.draw(st.permutations([0, 1, 2]))
    steps_by_axis = [data.draw(st.sampled_from([1, 2, -1, -3])) for _ in axes]
    holder = np.zeros([n * abs(s) for n, s in zip((x.shape[a] for a in axes), steps_by_axis, strict=True)], dtype)
    view = holder[tuple(slice(None, None, s) for s in steps_by_axis)].transpose(np.argsort(axes))
    view[...] = x
    view.flags.writeable = False
    bound = (1e-12 if dtype == np.float64 else 1e-5) * 6  # values are below 1, and six steps pass errors on
    y, final = layer(x, lengths=lengths)
    y_view, final_view = layer(view, lengths=lengths)
    np.testing.assert_array_equal(y, y_view)
    np.testing.assert_array_equal(final, final_view)
    with use_backend("reference"):
        y_slow, final_slow = layer(view, lengths=lengths)
    np.testing.assert_allclose(y, y_slow, rtol=0, atol=bound)
    np.testing.assert_allclose(final, final_slow, rtol=0, atol=bound)
    swapped = view.astype(view.dtype.newbyteorder())
    np.testing.assert_array_equal(layer(swapped, lengths=lengths)[0], y)
