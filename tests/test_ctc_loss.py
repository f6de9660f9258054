"""Connectionist temporal classification: all paths counted -> central differences -> reference -> native; and torch.

Tolerances: sums over paths are double everywhere, so float64 is right to some 1e-13; in float32 logits of size 1 are
rounded by 6e-8 and their softmax by a few times as much.
"""

import itertools
import re

import numpy as np
import pytest

from rnnfast import LSTM, Adam, CTCLoss, Dense, Sequential, Trainer, TrainingError, limit_threads
from rnnfast.backend import use_backend
from rnnfast.data import pad_sequences

BACKENDS = ["reference", "native"]
# Steps, and labels out of 1..3: empty, single, repeated, filling every step, and impossible ones.
CASES = [
    (5, [1, 2]),
    (5, []),
    (5, [3, 3]),
    (5, [1, 1, 1]),
    (4, [1, 2, 1, 3]),
    (1, [2]),
    (1, []),
    (0, []),
    (3, [2, 2]),
    (5, [2, 1, 1, 2]),
]
IMPOSSIBLE = [(2, [2, 2]), (3, [1, 2, 3, 1]), (0, [1]), (4, [1, 1, 1])]


def spelt(path, blank):
    merged = [k for k, _ in itertools.groupby(path)]
    return [k for k in merged if k != blank]


def counted(x, labels, blank):
    """-log of the sum over all paths."""
    p = np.exp(x - np.logaddexp.reduce(x, axis=1, keepdims=True))
    paths = itertools.product(range(x.shape[1]), repeat=len(x))
    total = sum(np.prod(p[range(len(x)), path]) for path in paths if spelt(path, blank) == list(labels))
    return -np.log(total) if total else np.inf


def batch_of(cases, classes=4, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    steps = max(t for t, _ in cases)
    pred = (rng.integers(-32, 33, (len(cases), steps, classes)) / 16).astype(dtype)  # exact in float32
    return pred, [labels for _, labels in cases], np.array([t for t, _ in cases])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("blank", [0, 2, 3])
def test_all_paths(backend, blank):
    pred, target, lengths = batch_of([(t, [k - (k <= blank) for k in labels]) for t, labels in CASES + IMPOSSIBLE])
    expected = [counted(x[:t], labels, blank) for x, labels, t in zip(pred, target, lengths, strict=True)]
    assert np.isinf(expected).sum() == len(IMPOSSIBLE)
    with use_backend(backend):
        found = CTCLoss(blank).each(pred, target, lengths)
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)
        np.testing.assert_array_equal(
            CTCLoss(blank, zero_infinity=True).each(pred, target, lengths) == 0, ~np.isfinite(expected) | (lengths == 0)
        )


MASKS = [{}, {"mask": np.arange(len(CASES)) % 3 / 2}]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reduction", ["mean", "sequence"])
@pytest.mark.parametrize("more", MASKS, ids=["all", "mask"])
def test_value_and_central_differences(backend, reduction, more):
    pred, target, lengths = batch_of(CASES)
    loss = CTCLoss(reduction=reduction)
    with use_backend(backend):
        value, pullback = loss.forward(pred, target, lengths=lengths, **more)
        weights = more.get("mask", np.ones(len(CASES)))
        each = loss.each(pred, target, lengths)
        if reduction == "mean":
            each = each / np.maximum([len(labels) for labels in target], 1)
        assert value == pytest.approx(weights @ each / weights.sum(), rel=1e-14)
        assert value == loss(pred, target, lengths=lengths, **more)
        dpred = pullback(0.5)
        assert (dpred[np.arange(pred.shape[1]) >= lengths[:, None]] == 0).all()
        np.testing.assert_allclose(dpred.sum(axis=2), 0, rtol=0, atol=1e-15)
        rng = np.random.default_rng(1)
        for _ in range(4):
            v = rng.standard_normal(pred.shape)
            v /= np.linalg.norm(v)
            up, down = (loss(pred + e * v, target, lengths=lengths, **more) for e in (1e-5, -1e-5))
            assert np.vdot(dpred, v) == pytest.approx(0.5 * (up - down) / 2e-5, rel=1e-6, abs=1e-9)


def random_batch(rows, steps, classes, most, seed, dtype):
    rng = np.random.default_rng(seed)
    pred = (rng.integers(-64, 65, (rows, steps, classes)) / 16).astype(dtype)
    lengths = rng.integers(0, steps + 1, rows)
    target = [rng.integers(1, classes, rng.integers(0, min(most, int(t) // 2) + 1)) for t in lengths]
    return pred, target, lengths


@pytest.mark.parametrize("shape", [(5, 40, 7, 15), (3, 9, 2, 4), (4, 30, 40, 12), (2, 70, 17, 33), (3, 1, 5, 1)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_native_is_the_reference(shape, dtype, isa):
    pred, target, lengths = random_batch(*shape, seed=3, dtype=np.float64)
    loss = CTCLoss(reduction="sequence")
    with use_backend("reference"):
        value, pullback = loss.forward(pred, target, lengths=lengths)
        expected, each = pullback(), loss.each(pred, target, lengths)
    found, pullback = loss.forward(pred.astype(dtype), target, lengths=lengths)
    dpred = pullback()
    assert dpred.dtype == dtype
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(loss.each(pred.astype(dtype), target, lengths), each, rtol=16 * eps, atol=16 * eps)
    assert found == pytest.approx(value, rel=16 * eps, abs=16 * eps)
    # shares of labels are powers of e to differences of numbers as large as the loss
    np.testing.assert_allclose(dpred, expected, rtol=0, atol=32 * eps + 4 * np.spacing(each.max()))


@pytest.fixture(scope="module")
def long_sequence():
    rng = np.random.default_rng(5)
    pred = rng.integers(-160, 161, (1, 3000, 20)) / 16
    target = [rng.integers(1, 20, 300)]
    with use_backend("reference"):
        return pred, target, CTCLoss(reduction="sequence")(pred, target)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_thousands_of_steps(dtype, isa, long_sequence):
    """The value to the precision of the softmax, and shares of labels that still add up to one."""
    pred, target, expected = long_sequence
    value, pullback = CTCLoss(reduction="sequence").forward(pred.astype(dtype), target)
    assert value == pytest.approx(expected, rel=1e-12 if dtype is np.float64 else 2e-7)
    assert np.abs(pullback().sum(axis=2)).max() < (1e-10 if dtype is np.float64 else 1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_far_behind_and_ahead_at_the_end(backend):
    """A path behind by e^-1000 at first is the only one there is; numbers scaled by step would have lost it."""
    pred = np.zeros((1, 2, 3))
    pred[0, 0, 0] = pred[0, 1, 2] = 1000.0  # a blank first, but 12 leaves no time for one
    with use_backend(backend):
        value, pullback = CTCLoss(reduction="sequence").forward(pred, [[1, 2]])
        assert value == 1000.0
        np.testing.assert_array_equal(pullback(), [[[1, -1, 0], [0, 0, 0]]])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_impossible(backend, dtype):
    cases = [*CASES[:3], *IMPOSSIBLE]
    pred, target, lengths = batch_of(cases, dtype=dtype)
    good = slice(0, 3)
    with use_backend(backend):
        value, pullback = CTCLoss().forward(pred, target, lengths=lengths)
        dpred = pullback()
        assert value == np.inf
        for n, t in enumerate(lengths):
            assert np.isnan(dpred[n, :t]).all() == (n >= 3 or t == 0) and (dpred[n, t:] == 0).all()
        value, pullback = CTCLoss(zero_infinity=True).forward(pred, target, lengths=lengths)
        alone, alone_pullback = CTCLoss().forward(pred[good], target[good], lengths=lengths[good])
        dpred = pullback()
        assert value == pytest.approx(alone * 3 / len(cases), rel=1e-6)
        np.testing.assert_allclose(dpred[good], alone_pullback() * 3 / len(cases), rtol=1e-6)
        assert (dpred[3:] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_forbidden_classes_and_what_is_not_finite(backend):
    pred, _, _ = batch_of([(5, [1, 2])] * 3)
    pred[0, :, 3] = -np.inf  # a class that may not be: as if it were not there
    pred[1, 2, 1] = np.nan
    pred[2, 2, 1] = np.inf
    with use_backend(backend):
        value, pullback = CTCLoss().forward(pred[:1], [[1, 2]])
        assert value == pytest.approx(CTCLoss()(pred[:1, :, :3], [[1, 2]]), rel=1e-14)
        assert (pullback()[:, :, 3] == 0).all()
        assert CTCLoss()(pred[:1], [[1, 3]]) == np.inf
        for row in (1, 2):
            for zero_infinity in (False, True):
                value, pullback = CTCLoss(zero_infinity=zero_infinity).forward(pred[row : row + 1], [[1, 2]])
                assert np.isnan(value) and np.isnan(pullback()).all()


def test_forms_of_targets():
    pred, target, lengths = batch_of(CASES)
    padded, _ = pad_sequences(target, value=-1, dtype=np.int32)
    expected = CTCLoss()(pred, target, lengths=lengths)
    assert CTCLoss()(pred, padded, lengths=lengths) == expected
    assert CTCLoss()(pred, [np.array(labels, np.uint8) for labels in target], lengths=lengths) == expected
    ragged = np.empty(len(target), object)
    ragged[:] = target
    assert CTCLoss()(pred, ragged, lengths=lengths) == expected
    time_major = pred.swapaxes(0, 1).copy().swapaxes(0, 1)
    assert CTCLoss()(time_major, target, lengths=lengths) == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_that_counts_is_zero(backend):
    with use_backend(backend):
        for shape, target, more in (((0, 3, 5), [], {}), ((2, 3, 5), [[1], [2]], {"mask": [0, 0]})):
            value, pullback = CTCLoss().forward(np.zeros(shape, np.float32), target, **more)
            assert value == 0.0 and pullback().shape == shape


def test_threads_change_no_bit():
    pred, target, lengths = random_batch(9, 60, 30, 20, seed=7, dtype=np.float32)
    results = []
    for threads in (1, 2, 3):
        with limit_threads(threads):
            value, pullback = CTCLoss().forward(pred, target, lengths=lengths)
            results.append((value, pullback().tobytes()))
    assert len(set(results)) == 1


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_torch(reduction, zero_infinity):
    torch = pytest.importorskip("torch")
    cases = [case for case in CASES + IMPOSSIBLE * zero_infinity if case[0]]
    pred, target, lengths = batch_of(cases)
    logits = torch.tensor(pred, requires_grad=True)
    flat = torch.tensor([k for labels in target for k in labels])
    sizes = torch.tensor([len(labels) for labels in target])
    theirs = torch.nn.functional.ctc_loss(
        logits.log_softmax(2).transpose(0, 1),
        flat,
        torch.tensor(lengths),
        sizes,
        reduction=reduction,
        zero_infinity=zero_infinity,
    )
    theirs.sum().backward()
    ours = CTCLoss(zero_infinity=zero_infinity, reduction="mean" if reduction == "mean" else "sequence")
    value, pullback = ours.forward(pred, target, lengths=lengths)
    factor = 1 if reduction == "mean" else len(pred)
    if reduction == "none":
        np.testing.assert_allclose(ours.each(pred, target, lengths), theirs.detach().numpy(), rtol=1e-12)
    else:
        assert factor * value == pytest.approx(float(theirs.detach()), rel=1e-12)
    np.testing.assert_allclose(factor * pullback(), logits.grad.numpy(), rtol=0, atol=1e-12)


ZEROS = np.zeros((2, 4, 3))
ERRORS = [
    ((ZEROS[0], [[1]]), {}, ValueError, "pred must have shape (N, T, C); got (4, 3)"),
    ((ZEROS, [[1]]), {}, ValueError, "target must have 2 sequences of labels, one for each of pred; got 1"),
    ((ZEROS, [[1], [1, 3]]), {}, IndexError, "target[1] must lie in 0..2, the classes of pred; got 3"),
    ((ZEROS, [[-1], [1]]), {}, IndexError, "target[0] must lie in 0..2, the classes of pred; got -1"),
    ((ZEROS, [[1], [2, 0]]), {}, ValueError, "target[1] must not hold the blank, 0; got 0"),
    ((ZEROS, [[1], [[2]]]), {}, ValueError, "target[1] must be a sequence of labels, of shape (S,); got shape (1, 1)"),
    ((ZEROS, [1, 2]), {}, ValueError, "target[0] must be a sequence of labels, of shape (S,); got shape ()"),
    (
        (ZEROS, [[1.0], [2]]),
        {},
        TypeError,
        "target[0] must hold integers, the classes of the labels; got",
    ),
    ((ZEROS, np.ones((2, 2))), {}, TypeError, "target must hold integers"),
    ((ZEROS, np.ones(2, int)), {}, ValueError, "target must be a list of sequences or have shape (N, S); got (2,)"),
    ((ZEROS, 3), {}, TypeError, "target must be a list of sequences of labels; got int"),
    ((ZEROS, [[1], [2]]), {"lengths": [5, 4]}, ValueError, "lengths must lie in 0..4"),
    ((ZEROS, [[1], [2]]), {"mask": [1]}, ValueError, "mask must have shape (2,); got (1,)"),
    ((ZEROS, [[1], [2]]), {"mask": [1, -1]}, ValueError, "mask must be finite and at least 0; got -1.0"),
    ((ZEROS[:, :, :0], [[1], [2]]), {}, ValueError, "blank must be a class of pred"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "message"), ERRORS)
def test_errors(arguments, options, error, message):
    for call in (CTCLoss(), CTCLoss().forward):
        with pytest.raises(error, match="^" + re.escape(message)):
            call(*arguments, **options)


def test_options():
    assert repr(CTCLoss(**CTCLoss(3, True, "sequence").config())) == (
        "CTCLoss(blank=3, zero_infinity=True, reduction='sequence')"
    )
    with pytest.raises(ValueError, match="reduction must be one of mean, sequence; got 'sum'"):
        CTCLoss(reduction="sum")
    with pytest.raises(ValueError, match="blank must be at least 0"):
        CTCLoss(-1)
    with pytest.raises(TypeError, match="zero_infinity must be True or False"):
        CTCLoss(zero_infinity=1)


def signals(count, seed):
    """Sequences of bumps, each of one of three kinds, and which kinds they are in order."""
    rng = np.random.default_rng(seed)
    xs, labels = [], []
    for _ in range(count):
        kinds = rng.integers(1, 4, rng.integers(0, 5))
        parts = [np.zeros((rng.integers(1, 3), 3))]
        for kind in kinds:
            parts += [np.eye(3)[[kind - 1] * rng.integers(1, 4)], np.zeros((rng.integers(1, 3), 3))]
        x = np.concatenate(parts)
        xs.append((x + 0.1 * rng.standard_normal(x.shape)).astype(np.float32))
        labels.append(kinds)
    return xs, labels


@pytest.mark.parametrize("form", ["list", "padded"])
def test_training(form):
    xs, labels = signals(120, 0)
    model = Sequential(LSTM(3, 16, bidirectional=True, seed=0), Dense(32, 4, seed=1))
    trainer = Trainer(model, CTCLoss(), Adam(lr=0.02), clip_norm=1.0)
    y = labels if form == "list" else pad_sequences(labels, value=-1, dtype=np.int64)[0]
    history = trainer.fit(xs, y, epochs=12, batch_size=16, validation_split=0.2, progress=False)
    assert history["val_loss"][-1] < 0.1 * history["val_loss"][0]
    found = trainer.evaluate(xs, y)
    each = CTCLoss().each(*pad_sequences_of(trainer.predict(xs), labels))
    assert found["loss"] == pytest.approx(np.mean(each / np.maximum([len(k) for k in labels], 1)), rel=1e-5)
    half = trainer.evaluate(xs, y, mask=np.arange(120) % 2)
    assert half["loss"] == pytest.approx(trainer.evaluate(xs[1::2], y[1::2])["loss"], rel=1e-5)


def pad_sequences_of(preds, labels):
    padded, lengths = pad_sequences(preds)
    return padded, labels, lengths


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([[1], [4]], IndexError, "must lie in 0..3, the classes of pred; got 4"),
        ([[1], [0]], ValueError, "must not hold the blank"),
        ([[1], [0.5]], TypeError, "must hold integers"),
        ([1, 2], ValueError, "must be a list of sequences or have shape (N, S); got (1,)"),
        ([[1]], ValueError, "y must have as many entries as the input, 2; got 1"),
    ],
)
def test_the_trainer_tells_of_bad_targets_first(y, error, message):
    model = Sequential(LSTM(3, 4, seed=0), Dense(4, 4, seed=1))
    trainer = Trainer(model, CTCLoss(), Adam())
    with pytest.raises(error, match=re.escape(message)):
        trainer.fit([np.zeros((5, 3)), np.zeros((4, 3))], y, progress=False)
    assert trainer.step == 0


def test_the_trainer_stops_at_what_is_impossible():
    model = Sequential(LSTM(3, 4, seed=0), Dense(4, 4, seed=1))
    x, y = [np.zeros((2, 3))], [[1, 1]]
    with pytest.raises(TrainingError, match="the loss is not finite in epoch 1, batch 1: the loss"):
        Trainer(model, CTCLoss(), Adam()).fit(x, y, progress=False)
    history = Trainer(model, CTCLoss(zero_infinity=True), Adam()).fit(x, y, progress=False)
    assert history["loss"] == [0.0]
