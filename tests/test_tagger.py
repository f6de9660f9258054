"""Tagger: central differences, the reference path, what may not count, training, files; and the pooling in it."""

import re

import numpy as np
import pytest

from rnnfast import (
    LSTM,
    Accuracy,
    Adam,
    CRFLoss,
    Dense,
    Ends,
    Sequential,
    SoftmaxCrossEntropy,
    Tagger,
    Trainer,
    gradcheck,
    load_model,
    save_model,
)
from rnnfast.backend import use_backend
from rnnfast.data import WordEncoder

LENGTHS = np.array([3, 0, 4, 1])
SIZES = {"word_dim": 3, "character_dim": 2, "character_hidden": 2, "hidden_size": 3, "dtype": np.float64}


def draw(seed=0, steps=4, letters=5):
    """Four sentences of words 0..8 with spellings of 0 to 5 of the characters 1..6, some of them alike."""
    rng = np.random.default_rng(seed)
    spellings = rng.integers(1, 7, (5, letters)) * (np.arange(letters) < [[0], [1], [3], [5], [2]])
    x = np.concatenate([rng.integers(0, 9, (4, steps, 1)), spellings[rng.integers(0, 5, (4, steps))]], axis=2)
    return x, rng.integers(0, 4, (4, steps))


def make(**options):
    return Tagger(9, 4, 7, **{**SIZES, "seed": 1, **options})


VARIANTS = {
    "plain": {},
    "crf": {"crf": True},
    "gru": {"cell": "gru"},
    "rnn": {"cell": "rnn", "num_layers": 2},
    "words alone": {"num_characters": None},
}


def build(options):
    options = dict(options)
    if "num_characters" in options:
        del options["num_characters"]
        return Tagger(9, 4, **{**SIZES, "seed": 1, **options})
    return make(**options)


def loss_of(model):
    return CRFLoss() if model.crf else SoftmaxCrossEntropy()


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("backend", ["reference", "native"])
def test_central_differences(options, backend):
    model = build(options)
    x, y = draw()
    x = x if model.num_characters else x[:, :, 0]
    loss = loss_of(model)
    with use_backend(backend):
        scores, pullback = model.forward(x, lengths=LENGTHS)
        value, back = loss.forward(scores, y, lengths=LENGTHS)
        assert value == pytest.approx(loss(model(x, lengths=LENGTHS), y, lengths=LENGTHS), rel=1e-13)
        grads = {}
        assert pullback(back(), grads) is None
        assert set(grads) == set(model.parameters())
        rng = np.random.default_rng(2)
        for name, array in model.state_dict().items():
            v = rng.standard_normal(array.shape)
            v /= np.linalg.norm(v)
            values = []
            for eps in (1e-5, -1e-5):
                with model.update() as params:
                    params[name] = array + eps * v
                values.append(loss(model(x, lengths=LENGTHS), y, lengths=LENGTHS))
            with model.update() as params:
                params[name] = array
            slope = (values[0] - values[1]) / 2e-5
            assert np.vdot(grads[name], v) == pytest.approx(slope, rel=1e-6, abs=1e-10), name


def test_gradients_are_added():
    model = make()
    x, _ = draw()
    scores, pullback = model.forward(x)
    once = {}
    pullback(np.ones_like(scores), once)
    _, pullback = model.forward(x)
    twice = {name: array.copy() for name, array in once.items()}
    pullback(np.ones_like(scores), twice)
    for name, array in once.items():
        np.testing.assert_allclose(twice[name], 2 * array, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_native_float32_is_the_reference(options):
    double, single = build(options), build({**options, "dtype": np.float32})
    single.load_state_dict(double.state_dict())
    x, _ = draw()
    x = x if double.num_characters else x[:, :, 0]
    with use_backend("reference"):
        expected = double(x, lengths=LENGTHS)
    found = single(x, lengths=LENGTHS)
    assert found.dtype == np.float32
    pairs = zip(found, expected, strict=True) if double.crf else [(found, expected)]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


def test_a_word_depends_on_its_own_letters_alone_when_there_is_one_word():
    """Padding of characters and of sentences, and other words of the batch, change nothing."""
    model = make()
    x, _ = draw()
    scores = model(x, lengths=LENGTHS)
    garbage = x.copy()
    garbage[np.arange(4) >= LENGTHS[:, None]] = 99
    np.testing.assert_array_equal(model(garbage, lengths=LENGTHS)[:, 0], scores[:, 0])
    longer = np.concatenate([x, np.zeros((4, 4, 3), int)], axis=2)
    np.testing.assert_array_equal(model(longer, lengths=LENGTHS), scores)
    for row, t in enumerate(LENGTHS):
        if t:
            np.testing.assert_allclose(model(x[row : row + 1, :t])[0], scores[row, :t], rtol=0, atol=1e-14)
    after = x.copy()
    after[:, :, 2:][after[:, :, 1] == 0] = 5  # past the first 0 a spelling has ended
    np.testing.assert_array_equal(model(after, lengths=LENGTHS), scores)


def test_dropout_acts_in_training_alone():
    model = make(dropout=0.5, word_dropout=0.5, num_layers=2)
    x, _ = draw()
    np.testing.assert_array_equal(model(x), model(x))
    first, _ = model.forward(x, rng=np.random.default_rng(0))
    same, _ = model.forward(x, rng=np.random.default_rng(0))
    other, _ = model.forward(x, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    unknown = make(word_dropout=1.0, unknown=3)
    grads = {}
    scores, pullback = unknown.forward(x)
    pullback(np.ones_like(scores), grads)
    assert grads["words.weight"][3].any() and not np.delete(grads["words.weight"], 3, axis=0).any()


def test_tags():
    x, _ = draw()
    for model in (make(), make(crf=True)):
        tags = model.tag(x, lengths=LENGTHS)
        assert tags.shape == (4, 4) and (tags[np.arange(4) >= LENGTHS[:, None]] == 0).all()
    scores = make()(x)
    np.testing.assert_array_equal(make().tag(x), scores.argmax(axis=2))
    np.testing.assert_array_equal(make(crf=True).tag(x), make(crf=True)(x).decode()[0])


@pytest.mark.parametrize("shape", [(0, 4, 6), (2, 0, 6), (2, 3, 1)])
def test_nothing_to_read(shape):
    for model in (make(), make(crf=True)):
        scores, pullback = model.forward(np.zeros(shape, int))
        assert scores.shape == (*shape[:2], 4)
        grads = {}
        pullback(loss_of(model).forward(scores, np.zeros(shape[:2], int))[1](), grads)
        assert set(grads) == set(model.parameters())


SENTENCES = [
    ["the", "cats", "sat"],
    ["the", "dog", "sat", "on", "the", "mats"],
    ["a", "cat", "and", "a", "dog"],
    ["dogs", "and", "mats"],
]


def grammar(count, seed):
    """Made-up words: those that end in "s" are tagged 1, the word after one 2, others 0; most words are rare."""
    rng = np.random.default_rng(seed)
    sentences, tags = [], []
    for _ in range(count):
        words = [
            "".join(rng.choice(list("abcde"), rng.integers(2, 6))) + "s" * int(rng.random() < 0.4)
            for _ in range(rng.integers(1, 8))
        ]
        plural = [word.endswith("s") for word in words]
        sentences.append(words)
        tags.append(np.array([1 if p else 2 * int(k > 0 and plural[k - 1]) for k, p in enumerate(plural)]))
    return sentences, tags


@pytest.mark.parametrize("crf", [False, True])
def test_training_on_words_never_seen(crf, tmp_path):
    sentences, tags = grammar(260, 0)
    encoder = WordEncoder.build(sentences[:200], max_characters=8)
    xs = [encoder.encode(words) for words in sentences]
    model = Tagger(
        len(encoder.words),
        3,
        len(encoder.characters),
        word_dim=8,
        character_dim=8,
        character_hidden=8,
        hidden_size=16,
        crf=crf,
        seed=0,
    )
    trainer = Trainer(model, loss_of(model), Adam(lr=0.02), clip_norm=1.0, metrics=[Accuracy()])
    history = trainer.fit(
        xs[:200], tags[:200], epochs=6, batch_size=16, validation_data=(xs[200:], tags[200:]), progress=False
    )
    assert history["val_accuracy"][-1] > 0.95
    again = load_model(save_model(model, tmp_path / "m", {"encoder": encoder.state_dict()}))
    np.testing.assert_array_equal(again.tag(xs[0][None]), model.tag(xs[0][None]))


ERRORS = [
    (make(), np.zeros((2, 3), int), {}, ValueError, "x must have shape (N, T, 1 + L), words and their characters; got"),
    (
        build(VARIANTS["words alone"]),
        np.zeros((2, 3, 2), int),
        {},
        ValueError,
        "x must have shape (N, T); got",
    ),
    (
        make(),
        np.zeros((2, 3, 4)),
        {},
        TypeError,
        "x must hold integers, the numbers of words and characters; got",
    ),
    (make(), np.full((1, 1, 2), 9), {}, IndexError, "x, the words, must lie in 0..8; got 9"),
    (make(), np.full((1, 1, 2), 8), {}, IndexError, "x, the characters, must lie in 0..6; got 8"),
    (make(), np.zeros((2, 3, 4), int), {"lengths": [4, 1]}, ValueError, "lengths must lie in 0..3"),
]


@pytest.mark.parametrize(("model", "x", "options", "error", "message"), ERRORS)
def test_errors(model, x, options, error, message):
    for call in (model, model.forward):
        with pytest.raises(error, match="^" + re.escape(message)):
            call(x, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unknown": 9}, "unknown must lie in 0..8, the words; got 9"),
        ({"cell": "tcn"}, "cell must be one of lstm, gru, rnn; got 'tcn'"),
        ({"dropout": 1.0}, "dropout must lie in [0, 1)"),
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
    ],
)
def test_errors_of_options(options, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        make(**options)


def test_ends_are_the_final_states():
    x = np.random.default_rng(0).standard_normal((4, 5, 3))
    lengths = [5, 0, 2, 1]
    lstm = LSTM(3, 4, bidirectional=True, dtype=np.float64, seed=0)
    y, (h, _) = lstm(x, lengths=lengths)
    np.testing.assert_array_equal(Ends()(y, lengths=lengths), np.concatenate([h[0], h[1]], axis=1))
    assert gradcheck(Sequential(lstm, Ends(), Dense(8, 2, dtype=np.float64, seed=1)), x, lengths=lengths)
    with pytest.raises(ValueError, match="x must have an even number of columns, half of them for each"):
        Ends()(x)


def test_many_to_one_needs_no_class_of_its_own():
    """Which of two kinds of bump comes first, told from the final states of both directions."""
    rng = np.random.default_rng(3)
    first = rng.integers(0, 2, 200)
    xs = []
    for kind in first:
        x = 0.1 * rng.standard_normal((rng.integers(6, 12), 2))
        x[rng.integers(0, 2), kind] += 1
        x[rng.integers(3, 6), 1 - kind] += 1
        xs.append(x.astype(np.float32))
    model = Sequential(LSTM(2, 8, bidirectional=True, seed=0), Ends(), Dense(16, 2, seed=1))
    trainer = Trainer(model, SoftmaxCrossEntropy(), Adam(lr=0.02), metrics=[Accuracy()])
    history = trainer.fit(xs, first, epochs=8, validation_split=0.25, progress=False)
    assert history["val_accuracy"][-1] > 0.95
