"""Bad input to recurrent layers: each kind has its own error, raised before anything has changed."""

import numpy as np
import pytest

from rnnfast.layers.recurrent import GRU, LSTM, RNN


@pytest.fixture
def lstm():
    return LSTM(3, 4, 2, bidirectional=True, dtype=np.float64, seed=0)


X = np.zeros((2, 5, 3))
H = np.zeros((4, 2, 4))

BAD_CALLS = {
    "rank 2": ({"x": X[0]}, ValueError, r"x must have shape \(N, T, 3\); got \(5, 3\)"),
    "rank 4": ({"x": X[None]}, ValueError, r"x must have shape \(N, T, 3\); got \(1, 2, 5, 3\)"),
    "features": ({"x": np.zeros((2, 5, 4))}, ValueError, r"x must have shape \(N, T, 3\); got \(2, 5, 4\)"),
    "objects": ({"x": X.astype(object)}, TypeError, r"x must hold real numbers; got dtype object"),
    "complex": ({"x": X.astype(complex)}, TypeError, r"x must hold real numbers; got dtype complex128"),
    "text": ({"x": X.astype(str)}, TypeError, r"x must hold real numbers; got dtype <U"),
    "dates": ({"x": X.astype("M8[s]")}, TypeError, r"x must hold real numbers; got dtype datetime64"),
    "ragged": ({"x": [[[1.0, 2.0, 3.0]], [[1.0]]]}, ValueError, r"x must be a rectangular array"),
    "nothing": ({"x": None}, TypeError, r"x must hold real numbers; got dtype object"),
    "one state": ({"x": X, "state": H}, TypeError, r"state must be a tuple of 2 arrays \(h, c\); got ndarray"),
    "three states": ({"x": X, "state": (H, H, H)}, TypeError, r"state must be a tuple of 2 arrays \(h, c\); got 3"),
    "state without a part": ({"x": X, "state": (H, None)}, TypeError, r"state\[1\] \(c\) must hold real numbers"),
    "state rank": ({"x": X, "state": (H[0], H)}, ValueError, r"state\[0\] \(h\).* \(4, 2, 4\); got \(2, 4\)"),
    "state batch": ({"x": X, "state": (H, H[:, :1])}, ValueError, r"state\[1\] \(c\).* \(4, 2, 4\); got \(4, 1, 4\)"),
    "state layers": ({"x": X, "state": (H[:2], H)}, ValueError, r"state\[0\] \(h\).* \(4, 2, 4\); got \(2, 2, 4\)"),
    "state units": ({"x": X, "state": (H[..., :3], H)}, ValueError, r"state\[0\] \(h\).* got \(4, 2, 3\)"),
    "state of objects": ({"x": X, "state": (H.astype(object), H)}, TypeError, r"state\[0\] \(h\) must hold real"),
    "negative length": ({"x": X, "lengths": [5, -1]}, ValueError, r"lengths must lie in 0\.\.5, .*; got -1"),
    "length beyond T": ({"x": X, "lengths": [6, 1]}, ValueError, r"lengths must lie in 0\.\.5, .*; got 6"),
    "too few lengths": ({"x": X, "lengths": [5]}, ValueError, r"lengths must have shape \(2,\).*got \(1,\)"),
    "lengths rank": ({"x": X, "lengths": [[5, 5]]}, ValueError, r"lengths must have shape \(2,\).*got \(1, 2\)"),
    "scalar length": ({"x": X, "lengths": 5}, ValueError, r"lengths must have shape \(2,\).*got \(\)"),
    "float lengths": ({"x": X, "lengths": [5.0, 4.0]}, TypeError, r"lengths must be integers; got dtype float64"),
    "NaN length": ({"x": X, "lengths": [5, np.nan]}, TypeError, r"lengths must be integers; got dtype float64"),
    "bool lengths": ({"x": X, "lengths": [True, False]}, TypeError, r"lengths must be integers; got dtype bool"),
}


@pytest.mark.parametrize("training", [False, True], ids=["infer", "forward"])
@pytest.mark.parametrize("bad", BAD_CALLS)
def test_calls(bad, training, lstm):
    arguments, error, text = BAD_CALLS[bad]
    before = lstm.state_dict()
    with pytest.raises(error, match=text):
        (lstm.forward if training else lstm)(**arguments)
    assert all(np.array_equal(before[name], array) for name, array in lstm.parameters().items())


def test_time_major_shape_is_named():
    with pytest.raises(ValueError, match=r"x must have shape \(T, N, 3\); got \(5, 3\)"):
        LSTM(3, 4, batch_first=False)(X[0])


@pytest.mark.parametrize("kind", [RNN, GRU])
def test_one_state_is_no_tuple(kind):
    with pytest.raises(TypeError, match=r"state must be one array, h; got a tuple of 2"):
        kind(3, 4)(X, (H, H))


@pytest.mark.parametrize("rng", [3, "a", np.random])
def test_rng(rng, lstm):
    with pytest.raises(TypeError, match=r"rng must be a numpy.random.Generator; got (int|str|module)"):
        lstm.forward(X, rng=rng)


def test_unknown_arguments(lstm):
    with pytest.raises(TypeError, match="length"):
        lstm(X, length=[5, 5])
    with pytest.raises(TypeError, match="droput"):
        LSTM(3, 4, droput=0.5)


BAD_LAYERS = {
    "no inputs": ((0, 4), {}, ValueError, r"input_size must be at least 1; got 0"),
    "float size": ((3, 4.0), {}, TypeError, r"hidden_size must be an integer; got 4\.0"),
    "bool size": ((True, 4), {}, TypeError, r"input_size must be an integer; got True"),
    "negative size": ((3, -4), {}, ValueError, r"hidden_size must be at least 1; got -4"),
    "no layers": ((3, 4, 0), {}, ValueError, r"num_layers must be at least 1; got 0"),
    "bias": ((3, 4), {"bias": 1}, TypeError, r"bias must be True or False; got 1"),
    "batch_first": ((3, 4), {"batch_first": None}, TypeError, r"batch_first must be True or False; got None"),
    "bidirectional": ((3, 4), {"bidirectional": 2}, TypeError, r"bidirectional must be True or False; got 2"),
    "dropout of one": ((3, 4, 2), {"dropout": 1.0}, ValueError, r"dropout must lie in \[0, 1\); got 1"),
    "negative dropout": ((3, 4, 2), {"dropout": -0.1}, ValueError, r"dropout must lie in \[0, 1\); got -0\.1"),
    "NaN dropout": ((3, 4, 2), {"dropout": np.nan}, ValueError, r"dropout must be finite; got nan"),
    "text dropout": ((3, 4, 2), {"dropout": "0.5"}, TypeError, r"dropout must be a real number; got '0\.5'"),
    "useless dropout": ((3, 4), {"dropout": 0.5}, ValueError, r"dropout acts between layers"),
    "integer dtype": ((3, 4), {"dtype": np.int32}, ValueError, r"dtype must be float32 or float64; got int32"),
    "no dtype": ((3, 4), {"dtype": "real"}, TypeError, r"dtype must be float32 or float64; got 'real'"),
    "init": ((3, 4), {"init": "zeros"}, ValueError, r"init must be one of default, torch; got 'zeros'"),
    "negative seed": ((3, 4), {"seed": -1}, ValueError, r"seed must be at least 0; got -1"),
    "text seed": ((3, 4), {"seed": "one"}, TypeError, r"seed must be an integer, .*; got 'one'"),
}


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
@pytest.mark.parametrize("bad", BAD_LAYERS)
def test_constructors(bad, kind):
    args, kwargs, error, text = BAD_LAYERS[bad]
    if kind is RNN and len(args) == 3:
        args = (*args, "tanh")
    with pytest.raises(error, match=text):
        kind(*args, **kwargs)


def test_options_of_one_kind():
    with pytest.raises(ValueError, match=r"nonlinearity must be one of tanh, relu, sigmoid; got 'gelu'"):
        RNN(3, 4, nonlinearity="gelu")
    with pytest.raises(TypeError, match=r"reset_after must be True or False; got 'yes'"):
        GRU(3, 4, reset_after="yes")


DY = np.ones((2, 5, 8))
BAD_GRADIENTS = {
    "dy shape": ({"dy": DY[:, :4]}, {}, ValueError, r"dy must have shape \(2, 5, 8\); got \(2, 4, 8\)"),
    "dy objects": ({"dy": DY.astype(object)}, {}, TypeError, r"dy must hold real numbers; got dtype object"),
    "dstate alone": ({"dy": DY, "dstate": H}, {}, TypeError, r"dstate must be a tuple of 2 arrays \(h, c\)"),
    "dstate shape": ({"dy": DY, "dstate": (H, H[0])}, {}, ValueError, r"dstate\[1\] \(c\) must have shape \(4, 2, 4\)"),
    "grads shape": ({"dy": DY}, {"weight_hh_l1": np.zeros((4, 4))}, ValueError, r"grads\['weight_hh_l1'\].*\(16, 4\)"),
    "grads dtype": ({"dy": DY}, {"bias_hh_l1": np.zeros(16, "f4")}, ValueError, r"grads\['bias_hh_l1'\].*float32"),
    "grads no array": ({"dy": DY}, {"bias_hh_l1": [0.0] * 16}, TypeError, r"grads\['bias_hh_l1'\] .* got list"),
}


@pytest.mark.parametrize("bad", BAD_GRADIENTS)
def test_pullbacks(bad, lstm):
    arguments, entries, error, text = BAD_GRADIENTS[bad]
    _, pullback = lstm.forward(X + 1)
    grads = {"weight_ih_l0": np.ones((16, 3)), **entries}
    names = list(grads)
    with pytest.raises(error, match=text):
        pullback(**arguments, grads=grads)
    assert list(grads) == names and np.all(grads["weight_ih_l0"] == 1)
    pullback(DY, {})  # still there


def test_read_only_gradients(lstm):
    _, pullback = lstm.forward(X)
    array = np.zeros(16)
    array.flags.writeable = False
    with pytest.raises(TypeError, match=r"grads\['bias_ih_l0'\] must be an array that can be written to"):
        pullback(DY, {"bias_ih_l0": array})
    with pytest.raises(TypeError, match=r"grads must be a dict of arrays by parameter name; got list"):
        pullback(DY, [])


def test_a_pullback_can_be_called_once(lstm):
    _, pullback = lstm.forward(X)
    pullback(DY, {})
    with pytest.raises(RuntimeError, match="called before"):
        pullback(DY, {})


def test_parameters_must_stay_until_the_pullback(lstm):
    _, pullback = lstm.forward(X)
    with lstm.update() as params:
        params["bias_ih_l0"] += 1
    with pytest.raises(RuntimeError, match="parameters changed"):
        pullback(DY, {})


def test_parameters_by_attribute(lstm):
    before = lstm.state_dict()
    with pytest.raises(ValueError, match=r"weight_ih_l0 must have shape \(16, 3\); got \(16, 4\)"):
        lstm.weight_ih_l0 = np.zeros((16, 4))
    with pytest.raises(TypeError, match=r"bias_ih_l1 must hold real numbers"):
        lstm.bias_ih_l1 = ["a"] * 16
    with pytest.raises(ValueError, match="read-only"):
        lstm.weight_ih_l0[0, 0] = 1
    with pytest.raises(AttributeError, match="LSTM has no attribute 'weight_ih_l2'"):
        _ = lstm.weight_ih_l2
    with pytest.raises(KeyError, match="weight_ih_l9"):
        lstm.load_state_dict({**before, "weight_ih_l9": np.zeros(1)})
    with pytest.raises(ValueError, match=r"bias_hh_l1 must have shape"):
        lstm.load_state_dict({**before, "weight_ih_l0": np.ones((16, 3)), "bias_hh_l1": np.zeros(3)})
    assert all(np.array_equal(before[name], array) for name, array in lstm.parameters().items())
