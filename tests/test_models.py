"""Models that write: central differences -> reference -> native float64 -> float32; steps against whole sequences;
trained, saved and decoded.

Tolerances: float64 results of native and reference differ by the rounding of sums of some hundred terms, 1e-15 of their
size, float32 ones by 1e-6; the bounds are ten times that.
"""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from rnnfast.backend import use_backend
from rnnfast.data import pad_sequences, teacher_forcing
from rnnfast.decoding import beam_search, greedy
from rnnfast.gradient_check import gradcheck
from rnnfast.io import load_model, save_model
from rnnfast.losses import SoftmaxCrossEntropy
from rnnfast.models import EncoderDecoder, LanguageModel, VectorToSequence
from rnnfast.optimizers import Adam
from rnnfast.trainer import Trainer, TrainingError

N, S, T, V = 3, 5, 4, 6
LENGTHS = {"full": None, "ragged": ([4, 0, 5], [2, 4, 0])}

# Each option of each model comes up, with several of the others.
ENCODER_DECODERS = {
    "general": {},
    "dot, gru, copied state": {"attention": "dot", "cell": "gru", "bridge": "copy"},
    "additive, all steps at once": {"attention": "additive", "attention_size": 3, "tied": True},
    "additive, context fed": {"attention": "additive", "feeding": "context", "decoder_layers": 2},
    "general, output fed": {"feeding": "output", "tied": True, "cell": "rnn", "bridge": "zeros"},
    "dot, output fed": {"attention": "dot", "feeding": "output", "encoder_layers": 2, "dropout": 0.2},
    "general, context fed, gru": {"feeding": "context", "cell": "gru", "dropout": 0.2},
    "no attention": {"attention": None, "encoder_layers": 2, "decoder_layers": 2, "bridge": "copy"},
    "no attention, tied": {"attention": None, "tied": True, "cell": "gru", "dropout": 0.2},
    "one direction": {"bidirectional": False, "encoder_hidden_size": 5, "encoder_layers": 2, "dropout": 0.2},
    "vectors": {"source": "vectors", "decoder_layers": 2},
}
VECTORS = {
    "state": {"use": "state"},
    "input": {"use": "input", "cell": "gru", "tied": True},
    "both": {"use": "both", "num_layers": 2, "dropout": 0.2},
}
LANGUAGE_MODELS = {
    "tied": {"tied": True},
    "tied, of one size": {"tied": True, "embedding_dim": 6, "cell": "gru"},
    "not tied": {"tied": False, "num_layers": 2, "dropout": 0.2, "cell": "rnn"},
}


def make(kind, options, dtype=np.float64):
    """Return a model and its x as functions of a generator give it."""
    common = {"dtype": dtype, "seed": 1}
    if kind == "language":
        return LanguageModel(V, **{"embedding_dim": 4, "hidden_size": 6, **options}, **common)
    if kind == "vector":
        return VectorToSequence(3, V, embedding_dim=4, hidden_size=6, **options, **common)
    return EncoderDecoder(7, V, embedding_dim=4, hidden_size=6, **options, **common)


def inputs(kind, options, rng):
    tokens = rng.integers(0, V, (N, T))
    if kind == "language":
        return tokens
    if kind == "vector":
        return rng.standard_normal((N, 3)), tokens
    if options.get("source") == "vectors":
        return rng.standard_normal((N, S, 7)), tokens
    return rng.integers(0, 7, (N, S)), tokens


def lengths_for(kind, name):
    both = LENGTHS[name]
    if both is None:
        return None
    return both[1] if kind == "language" else (None if kind == "vector" else both[0], both[1])


CASES = [
    pytest.param(kind, options, id=f"{kind}: {name}")
    for kind, table in (("encoder", ENCODER_DECODERS), ("vector", VECTORS), ("language", LANGUAGE_MODELS))
    for name, options in table.items()
]
every_case = pytest.mark.parametrize(("kind", "options"), CASES)


@every_case
@pytest.mark.parametrize("lengths", LENGTHS)
def test_gradients(kind, options, lengths, rng):
    model = make(kind, options)
    with use_backend("reference"):
        result = gradcheck(model, inputs(kind, options, rng), lengths=lengths_for(kind, lengths), directions=1)
    assert result, result
    assert {name for name in result.errors if not name.startswith(("x", "state"))} == set(model.parameters())


def run(model, x, lengths, seed=3):
    rng = np.random.default_rng(seed)
    out, pullback = model.forward(x, lengths=lengths, rng=np.random.default_rng(9))
    logits = out[0] if model.stateful else out
    grads = {}
    dx = pullback(rng.standard_normal(logits.shape), grads)
    parts = [part for part in (dx if isinstance(dx, tuple) else (dx,)) if part is not None]
    return {"logits": logits, **{f"dx {k}": part for k, part in enumerate(parts)}, **grads}


@every_case
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_native_is_as_the_reference(kind, options, dtype, rng):
    x, lengths = inputs(kind, options, rng), lengths_for(kind, "ragged")
    with use_backend("reference"):
        expected = run(make(kind, options), x, lengths)
    model = make(kind, options, dtype)
    model.load_state_dict(make(kind, options).state_dict())
    found = run(model, x, lengths)
    assert list(found) == list(expected)
    bound = {np.float64: 1e-13, np.float32: 1e-4}[dtype]
    for name, array in found.items():
        assert array.dtype == dtype
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=bound, err_msg=name)


def start_of(model, kind, x, lengths):
    """Return the state before the first token of the targets, and their lengths."""
    if kind == "language":
        return None, lengths
    if kind == "vector":
        return model.start(x[0]), lengths[1]
    return model.start(x[0], lengths=lengths[0]), lengths[1]


@every_case
def test_steps_are_as_whole_sequences(kind, options, rng):
    model, x, lengths = make(kind, options), inputs(kind, options, rng), lengths_for(kind, "ragged")
    out = model(x, lengths=lengths)
    whole = out[0] if model.stateful else out
    trained = run(make(kind, {**options, "dropout": 0.0}), x, lengths)["logits"]
    np.testing.assert_allclose(trained, whole, rtol=0, atol=1e-13)
    state, valid = start_of(model, kind, x, lengths)
    tokens = x if kind == "language" else x[1]
    for t in range(T):
        logits, state = model.step(tokens[:, t], state)
        running = np.array(valid) > t
        np.testing.assert_allclose(logits[running], whole[running, t], rtol=0, atol=1e-13)
        # Rows in another order go on as they did.
        order = np.array([2, 0, 1, 1])
        twice, _ = model.step(tokens[order, t], model.reorder(state, order))
        once, _ = model.step(tokens[:, t], state)
        np.testing.assert_allclose(twice, once[order], rtol=0, atol=1e-13)


@every_case
def test_rows_and_padding_do_not_touch_each_other(kind, options, rng):
    model, x, lengths = make(kind, options), inputs(kind, options, rng), lengths_for(kind, "ragged")
    out = model(x, lengths=lengths)
    whole = out[0] if model.stateful else out
    target_lengths = LENGTHS["ragged"][1]
    for n in range(N):
        if kind == "language":
            alone = model(x[n : n + 1, : lengths[n]])[0]
        elif kind == "vector":
            alone = model((x[0][n : n + 1], x[1][n : n + 1, : target_lengths[n]]))
        else:
            alone = model((x[0][n : n + 1, : lengths[0][n]], x[1][n : n + 1, : target_lengths[n]]))
        np.testing.assert_allclose(whole[n, : target_lengths[n]], alone[0], rtol=0, atol=1e-13)


@every_case
def test_saved_copied_and_read_back(kind, options, rng, tmp_path):
    model, x = make(kind, options, np.float32), inputs(kind, options, rng)
    expected = model(x)
    expected = expected[0] if model.stateful else expected
    for other in (load_model(save_model(model, tmp_path / "m.npz")), pickle.loads(pickle.dumps(model))):
        assert other.config() == model.config()
        found = other(x)
        assert np.array_equal(found[0] if model.stateful else found, expected)


def test_dropout_falls_in_training_only(rng):
    for kind, options in (("language", {"dropout": 0.5}), ("vector", {"dropout": 0.5}), ("encoder", {"dropout": 0.5})):
        model, x = make(kind, options), inputs(kind, {}, rng)
        plain = model(x)
        for seed, same in ((1, True), (2, False)):
            out, _ = model.forward(x, rng=np.random.default_rng(seed))
            again, _ = model.forward(x, rng=np.random.default_rng(1))
            first, second, still = (o[0] if model.stateful else o for o in (out, again, plain))
            assert np.array_equal(first, second) == same and not np.allclose(first, still)


def test_attention_weights_are_those_of_the_steps(rng):
    for options in ({}, {"feeding": "context"}, {"feeding": "output", "attention": "additive"}):
        model, (source, target) = make("encoder", options), inputs("encoder", {}, rng)
        weights = model.attention_weights(source, target, lengths=[4, 0, 5])
        assert weights.shape == (N, T, S) and not weights[0, :, 4:].any() and not weights[1].any()
        np.testing.assert_allclose(weights[[0, 2]].sum(axis=2), 1.0, rtol=0, atol=1e-12)
        # With the weights, what the decoder saw: for the first token the context is their mean of the memory.
        memory, _ = model.encoder.run(source, np.array([4, 0, 5]))
        state = model.start(source, lengths=[4, 0, 5])
        hidden = state.hidden if options.get("feeding") == "context" else model.step(target[:, 0], state)[1].hidden
        context, own = model.decoder.attention.attend(
            hidden[0][-1][:, None], state.memory.keys, memory, np.array([4, 0, 5])
        )
        np.testing.assert_allclose(weights[:, :1], own, rtol=0, atol=1e-13)
        np.testing.assert_allclose(context[:, 0], np.einsum("ns,nsm->nm", weights[:, 0], memory), rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match="attention_weights needs a model with attention"):
        make("encoder", {"attention": None}).attention_weights(source, target)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("encoder.embedding.weight", r"output of layer encoder\.embedding \(Embedding\), whose parameter weight"),
        ("encoder.recurrent.bias_ih_l0", r"output of layer encoder\.recurrent \(LSTM\)"),
        ("bridge.0.c.weight", r"output of layer bridge\.0\.c \(Dense\), whose parameter weight is not finite"),
        ("decoder.attention.query.weight", r"output of layer decoder\.attention\.query \(Dense\)"),
        ("decoder.output.bias", r"output of layer decoder\.output \(Dense\)"),
    ],
)
def test_the_place_of_a_fault_is_named(name, place):
    model = make("encoder", {}, np.float32)
    x, y = ([[1, 2], [3]], [[1, 2, 3], [1]]), [[2, 3, 0], [0]]
    trainer = Trainer(model, SoftmaxCrossEntropy(), Adam())
    with model.update() as arrays:
        arrays[name][...] = np.nan
    with pytest.raises(TrainingError, match=rf"not finite in epoch 1, batch 1: .*{place}"):
        trainer.fit(x, y, progress=False)


START, END = 1, 0


def reversals(rng, count):
    """Sequences of 2..6 and the same backwards."""
    sources = [rng.integers(2, 7, rng.integers(2, 5)) for _ in range(count)]
    return sources, [source[::-1] for source in sources]


@pytest.mark.parametrize("feeding", [None, "context"])
def test_a_model_learns_to_turn_sequences_round(feeding, rng):
    model = EncoderDecoder(
        7, 7, embedding_dim=12, hidden_size=24, attention="additive", feeding=feeding, cell="gru", seed=0
    )
    sources, targets = reversals(rng, 600)
    inputs_, outputs = teacher_forcing(targets, START, END)
    trainer = Trainer(model, SoftmaxCrossEntropy(), Adam(lr=0.015), clip_norm=1.0, seed=0)
    history = trainer.fit((sources, inputs_), outputs, epochs=12, batch_size=32, validation_split=0.1, progress=False)
    assert history["val_loss"][-1] < 0.3
    fresh, expected = reversals(rng, 50)
    batch, lengths = pad_sequences(fresh)
    state, first = model.start(batch, lengths=lengths), np.full(50, START)
    found = greedy(model, state, first, max_length=8, end=END)
    wide = [best[0] for best in beam_search(model, state, first, max_length=8, end=END, beam=3)]
    for way in (found, wide):
        right = [np.array_equal(h.tokens, e) and h.ended for h, e in zip(way, expected, strict=True)]
        assert np.mean(right) > 0.85
    assert sum(h.log_prob for h in wide) >= sum(h.log_prob for h in found) - 1e-3


def test_a_language_model_is_trained_on_a_stream_and_on_sequences():
    text = np.tile([2, 3, 4, 5, 6, 7], 200)
    model = LanguageModel(8, 12, 16, seed=0)
    trainer = Trainer(model, SoftmaxCrossEntropy(), Adam(lr=0.02))
    history = trainer.fit_stream(text, streams=4, steps=20, epochs=6, progress=False)
    assert history["loss"][-1] < 0.05
    state, first = model.start([[2, 3, 4], [6, 0, 0]], lengths=[3, 1])
    found = greedy(model, state, first, max_length=4)
    assert [h.tokens.tolist() for h in found] == [[5, 6, 7, 2], [7, 2, 3, 4]]
    x, y = teacher_forcing([[2, 3], [2, 3, 4]], START, END)
    assert trainer.fit(x, y, epochs=1, progress=False)["loss"][0] > 0


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"attention": "cosine"}, ValueError, "attention must be one of dot, general, additive"),
        ({"attention": None, "feeding": "context"}, ValueError, "feeding needs attention"),
        ({"attention": None, "attention_size": 3}, ValueError, "attention_size needs attention"),
        ({"attention": "dot", "attention_size": 3}, ValueError, "attention_size is for additive scores"),
        ({"attention": "dot", "encoder_hidden_size": 4}, ValueError, "'dot' needs query_size and memory_size"),
        ({"feeding": "sideways"}, ValueError, "feeding must be one of context, output"),
        ({"source": "images"}, ValueError, "source must be one of tokens, vectors"),
        ({"bridge": "rope"}, ValueError, "bridge must be one of dense, copy, zeros"),
        ({"bridge": "copy", "encoder_hidden_size": 4}, ValueError, "bridge 'copy' needs an encoder of 6 units.*got 8"),
        ({"cell": "lstn"}, ValueError, "cell must be one of lstm, gru, rnn"),
        ({"dropout": 1.0}, ValueError, "dropout must lie in"),
        ({"encoder_layers": 0}, ValueError, "encoder_layers must be at least 1"),
        ({"decoder_layers": 0}, ValueError, "decoder_layers must be at least 1"),
        ({"tied": 1}, TypeError, "tied must be True or False"),
        ({"bidirectional": None}, TypeError, "bidirectional must be True or False"),
    ],
)
def test_wrong_options(options, error, match):
    with pytest.raises(error, match=match):
        make("encoder", options)


def test_an_odd_size_needs_help():
    with pytest.raises(ValueError, match="hidden_size must be even unless encoder_hidden_size is given; got 7"):
        EncoderDecoder(5, 5, hidden_size=7)
    with pytest.raises(ValueError, match="use must be one of state, input, both"):
        VectorToSequence(5, 5, use="none")


TOKENS = np.zeros((2, 3), int)


@pytest.mark.parametrize(
    ("x", "lengths", "error", "match"),
    [
        (TOKENS, None, TypeError, "x must be a tuple of source and target; got ndarray"),
        ((TOKENS, TOKENS, TOKENS), None, TypeError, "x must be a tuple of source and target; got 3 parts"),
        ((TOKENS + 7, TOKENS), None, IndexError, r"source must lie in 0\.\.6; got 7"),
        ((TOKENS, TOKENS + 6), None, IndexError, r"target must lie in 0\.\.5; got 6"),
        ((TOKENS, TOKENS[:1]), None, ValueError, "as many targets as sources, 2; got 1"),
        ((TOKENS, TOKENS[0]), None, ValueError, "target must have 2 dimensions"),
        ((TOKENS, TOKENS * 0.5), None, TypeError, "target must be integers"),
        ((TOKENS, TOKENS), [3, 3], ValueError, r"lengths must have shape \(2,\)"),
        ((TOKENS, TOKENS), ([3, 4], None), ValueError, r"lengths must lie in 0\.\.3"),
        ((TOKENS, TOKENS), np.array([3, 3]), TypeError, "lengths must be a tuple of lengths of both parts of x"),
    ],
)
def test_wrong_pairs(x, lengths, error, match):
    with pytest.raises(error, match=match):
        make("encoder", {})(x, lengths=lengths)


def test_wrong_vectors():
    model = make("vector", {})
    for x, lengths, error, match in (
        ((np.zeros((2, 4)), TOKENS), None, ValueError, r"x\[0\] must have shape \(N, 3\)"),
        ((np.zeros((1, 3)), TOKENS), None, ValueError, "as many sequences of tokens as vectors, 1; got 2"),
        ((np.zeros((2, 3)), TOKENS), ([1, 1], [1, 1]), ValueError, r"lengths\[0\] must be None"),
    ):
        with pytest.raises(error, match=match):
            model(x, lengths=lengths)


def test_gradients_of_a_tied_table_go_anywhere(rng):
    model, x = make("language", {"embedding_dim": 6}), inputs("language", {}, rng)
    (logits, _), pullback = model.forward(x)
    expected = {}
    pullback(np.ones_like(logits), expected)
    # What is there is added to, whatever its strides.
    grads = {name: np.ones(array.shape[::-1]).T for name, array in model.parameters().items()}
    kept = dict(grads)
    model.forward(x)[1](np.ones_like(logits), grads)
    for name, array in grads.items():
        assert array is kept[name]
        np.testing.assert_allclose(array, 1 + expected[name], rtol=0, atol=1e-12)
