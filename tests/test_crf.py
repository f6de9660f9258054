"""Conditional random fields: all paths counted -> central differences -> reference -> native; in training and in files.

Tolerances: everything is double inside, so native and reference differ by rounding of a few dozen terms; float32 in
and out rounds at its own precision.
"""

import itertools
import re

import numpy as np
import pytest

from rnnfast import (
    CRF,
    LSTM,
    Accuracy,
    Adam,
    Chain,
    CRFLoss,
    Dense,
    Embedding,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
    limit_threads,
    load_model,
    save_model,
)
from rnnfast.backend import use_backend

BACKENDS = ["reference", "native"]
LENGTHS = np.array([5, 0, 1, 3, 5, 2])


def draw(rows=6, steps=5, tags=3, seed=0, scale=1.0, dtype=np.float64):
    """A chain and targets; the numbers are exact in float32."""
    rng = np.random.default_rng(seed)

    def some(*shape):
        return (scale * rng.integers(-48, 49, shape) / 16).astype(dtype)

    chain = Chain(some(rows, steps, tags), some(tags, tags), some(tags), some(tags))
    return chain, rng.integers(0, tags, (rows, steps))


def score(chain, n, path):
    x, m, start, end = chain
    if not len(path):
        return 0.0
    total = start[path[0]] + end[path[-1]] + sum(x[n, t, k] for t, k in enumerate(path))
    return total + sum(m[i, j] for i, j in itertools.pairwise(path))


def all_scores(chain, n, steps):
    paths = list(itertools.product(range(chain.shape[2]), repeat=steps))
    return paths, np.array([score(chain, n, path) for path in paths])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tags", [1, 2, 4])
def test_all_paths(backend, tags):
    chain, target = draw(tags=tags)
    with use_backend(backend):
        normaliser, marginals = chain.log_normaliser(LENGTHS), chain.marginals(LENGTHS)
        best, log_prob = chain.decode(LENGTHS)
        losses = [
            CRFLoss()(chain, target, mask=np.arange(6) == n, lengths=LENGTHS) * max(t, 1) for n, t in enumerate(LENGTHS)
        ]
    for n, t in enumerate(LENGTHS):
        paths, scores = all_scores(chain, n, t)
        expected = np.logaddexp.reduce(scores)
        assert normaliser[n] == pytest.approx(expected, rel=1e-13, abs=1e-13)
        assert losses[n] == pytest.approx(expected - score(chain, n, target[n, :t]), rel=1e-13, abs=1e-13)
        assert score(chain, n, best[n, :t]) == scores.max() and (best[n, t:] == 0).all()
        assert log_prob[n] == pytest.approx(scores.max() - expected, rel=1e-12, abs=1e-13)
        shares = np.zeros(chain.shape[1:])
        for path, one in zip(paths, np.exp(scores - expected), strict=True):
            shares[np.arange(t), list(path)] += one
        np.testing.assert_allclose(marginals[n], shares, rtol=0, atol=1e-13)


def moved(chain, directions, eps):
    return Chain(*(part + eps * v for part, v in zip(chain, directions, strict=True)))


MASKS = {
    "all": {},
    "lengths": {"lengths": LENGTHS},
    "mask": {"mask": np.array([1, 2, 0, 0.5, 1, 1])},
    "both": {"mask": np.array([1, 2, 0, 0.5, 1, 1]), "lengths": LENGTHS},
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("more", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("scale", [1.0, 400.0])
def test_central_differences(backend, more, scale):
    """Also where scores are far apart: sums of what is lost below the range of a double are done term by term."""
    chain, target = draw(tags=4, scale=scale)
    loss = CRFLoss()
    with use_backend(backend):
        value, pullback = loss.forward(chain, target, **more)
        assert value == loss(chain, target, **more)
        gradient = pullback(0.5)
        rng = np.random.default_rng(1)
        for part in range(4):
            directions = [np.zeros(p.shape) for p in chain]
            directions[part] = rng.standard_normal(chain[part].shape)
            directions[part] /= np.linalg.norm(directions[part])
            up, down = (loss(moved(chain, directions, e), target, **more) for e in (1e-4, -1e-4))
            slope = np.vdot(gradient[part], directions[part])
            assert slope == pytest.approx(0.5 * (up - down) / 2e-4, rel=1e-6, abs=3e-9 * max(1, scale))


@pytest.mark.parametrize("tags", [1, 3, 8, 17, 40])
@pytest.mark.parametrize("scale", [1.0, 30.0, 500.0])
def test_native_is_the_reference(tags, scale, isa):
    chain, target = draw(5, 23, tags, seed=2, scale=scale)
    lengths = [23, 1, 0, 12, 22]
    with use_backend("reference"):
        value, pullback = CRFLoss().forward(chain, target, lengths=lengths)
        expected, path, normaliser = pullback(), chain.decode(lengths)[0], chain.log_normaliser(lengths)
    found, pullback = CRFLoss().forward(chain, target, lengths=lengths)
    assert found == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(chain.log_normaliser(lengths), normaliser, rtol=1e-14)
    rounding = 1e-15 + 4 * np.spacing(np.abs(normaliser).max())
    for ours, theirs in zip(pullback(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=rounding)
    np.testing.assert_array_equal(chain.decode(lengths)[0], path)
    single = Chain(*(part.astype(np.float32) for part in chain))
    found, pullback = CRFLoss().forward(single, target, lengths=lengths)
    assert found == pytest.approx(value, rel=1e-6)
    for ours, theirs in zip(pullback(), expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_forbidden(backend):
    chain, _ = draw(2, 5, 3)
    chain.transitions[0, 1] = chain.transitions[2, 2] = chain.start[2] = -np.inf
    chain.emissions[1, 2, 1] = -np.inf
    with use_backend(backend):
        path, log_prob = chain.decode()
        marginals = chain.marginals()
        value, pullback = CRFLoss().forward(chain, path)
        gradient = pullback()
    for n in range(2):
        paths, scores = all_scores(chain, n, 5)
        assert tuple(path[n]) == paths[int(scores.argmax())]
        assert log_prob[n] == pytest.approx(scores.max() - np.logaddexp.reduce(scores), rel=1e-12)
    assert value == pytest.approx(-log_prob.sum() / 10, rel=1e-12)
    assert (marginals[:, 0, 2] == 0).all() and marginals[1, 2, 1] == 0
    assert gradient.transitions[0, 1] == gradient.transitions[2, 2] == gradient.start[2] == 0
    assert all(np.isfinite(part).all() for part in gradient)
    with use_backend(backend), np.errstate(invalid="ignore"):
        assert CRFLoss()(chain, [[2, 0, 0, 0, 0]] * 2) == np.inf
        chain.transitions[...] = -np.inf
        assert not np.isfinite(CRFLoss()(chain, path))


@pytest.mark.parametrize("backend", BACKENDS)
def test_not_a_number_shows(backend):
    for part in range(4):
        chain, target = draw()
        chain[part].flat[0] = np.nan
        with use_backend(backend):
            assert np.isnan(CRFLoss()(chain, target))
    chain, target = draw()
    chain.emissions[2, 1:] = np.nan
    with use_backend(backend):
        value, pullback = CRFLoss().forward(chain, target, lengths=LENGTHS)
        assert np.isfinite(value) and all(np.isfinite(part).all() for part in pullback())


def test_thousands_of_steps():
    chain, target = draw(1, 4000, 5, scale=2.0)
    value, pullback = CRFLoss().forward(chain, target)
    with use_backend("reference"):
        assert value == pytest.approx(CRFLoss()(chain, target), rel=1e-12)
    gradient = pullback()
    np.testing.assert_allclose(gradient.emissions.sum(axis=2), 0, rtol=0, atol=1e-13)
    assert abs(gradient.transitions.sum()) < 1e-10


def test_threads_change_no_bit():
    chain, target = draw(11, 60, 17)
    results = []
    for threads in (1, 2, 3):
        with limit_threads(threads):
            value, pullback = CRFLoss().forward(chain, target)
            path, log_prob = chain.decode()
            results.append((value, *(part.tobytes() for part in (*pullback(), path, log_prob))))
    assert len(set(results)) == 1


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 2)])
def test_nothing_that_counts_is_zero(shape):
    crf = CRF(2, seed=0)
    chain, pullback = crf.forward(np.zeros(shape))
    target = np.zeros(shape[:2], int)
    value, back = CRFLoss().forward(chain, target)
    grads = {}
    assert value == 0.0 and pullback(back(), grads).shape == shape and not grads["transitions"].any()
    assert chain.decode()[0].shape == shape[:2]


def test_the_layer_and_its_pullback():
    chain, target = draw(dtype=np.float64)
    crf = CRF(3, dtype=np.float64)
    crf.load_state_dict(
        {"transitions": chain.transitions, "start_transitions": chain.start, "end_transitions": chain.end}
    )
    out, pullback = crf.forward(chain.emissions, lengths=LENGTHS)
    dchain = CRFLoss().forward(out, target, lengths=LENGTHS)[1]()
    grads = {"transitions": np.ones((3, 3))}
    dx = pullback(dchain, grads)
    np.testing.assert_array_equal(dx, dchain.emissions)
    np.testing.assert_array_equal(grads["transitions"], 1 + dchain.transitions)
    np.testing.assert_array_equal(grads["start_transitions"], dchain.start)
    np.testing.assert_array_equal(grads["end_transitions"], dchain.end)
    with pytest.raises(RuntimeError, match="called before"):
        pullback(dchain, grads)
    _, pullback = crf.forward(chain.emissions)
    with pytest.raises(TypeError, match="dchain must be a Chain of gradients; got ndarray"):
        pullback(dchain.emissions, grads)
    np.testing.assert_array_equal(crf.decode(chain.emissions, lengths=LENGTHS)[0], chain.decode(LENGTHS)[0])
    with crf.update():
        pass
    with pytest.raises(RuntimeError, match="parameters changed"):
        pullback(dchain, grads)
    assert set(CRF(4, init="zeros").config()) == {"num_tags", "dtype", "init"}


CHAIN = Chain(np.zeros((2, 3, 4)), np.zeros((4, 4)), np.zeros(4), np.zeros(4))
TAGS = np.zeros((2, 3), int)
ERRORS = [
    ((CHAIN.emissions, TAGS), {}, TypeError, "pred must be a Chain, as the layer CRF returns it; got ndarray"),
    ((CHAIN, TAGS + 4), {}, IndexError, "target must lie in 0..3, the tags of pred; got 4"),
    ((CHAIN, TAGS - 1), {"lengths": [1, 0]}, IndexError, "target must lie in 0..3, the tags of pred; got -1"),
    ((CHAIN, TAGS[:, :2]), {}, ValueError, "target must have shape (2, 3), one tag for each step of pred; got (2, 2)"),
    ((CHAIN, TAGS + 0.5), {}, TypeError, "target must be integers, the tags; got dtype float64"),
    ((CHAIN, TAGS), {"mask": [1, -1]}, ValueError, "mask must be finite and at least 0; got -1"),
    ((CHAIN, TAGS), {"mask": [1]}, ValueError, "mask must have shape (2,); got (1,)"),
    (
        (CHAIN, TAGS),
        {"mask": [[1, 1, 0], [1, 1, 1]]},
        ValueError,
        "mask must weigh all valid steps of a",
    ),
    ((CHAIN, TAGS), {"lengths": [4, 1]}, ValueError, "lengths must lie in 0..3"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "message"), ERRORS)
def test_errors(arguments, options, error, message):
    for call in (CRFLoss(), CRFLoss().forward):
        with pytest.raises(error, match="^" + re.escape(message)):
            call(*arguments, **options)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: CRF(0), ValueError, "num_tags must be at least 1"),
        (lambda: CRF(2, init="ones"), ValueError, "init must be one of default, zeros"),
        (lambda: CRF(2)(np.zeros((1, 2, 3))), ValueError, "x must have shape (N, T, 2); got (1, 2, 3)"),
        (lambda: CRF(2)(np.zeros((1, 2, 2)), lengths=[3]), ValueError, "lengths must lie in 0..2"),
    ],
)
def test_errors_of_the_layer(build, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        build()


def test_masks_by_step_weigh_sequences():
    chain, target = draw()
    weights = np.array([1, 2, 0, 0.5, 1, 1])
    by_step = np.where(np.arange(5) < LENGTHS[:, None], weights[:, None], 7)
    one, other = (CRFLoss()(chain, target, mask=mask, lengths=LENGTHS) for mask in (by_step, weights))
    assert one == other


def turns(count, seed):
    """Words say little, but tags 0, 1, 2 come in turn: only transitions tell."""
    rng = np.random.default_rng(seed)
    xs, ys = [], []
    for _ in range(count):
        y = (np.arange(rng.integers(1, 9)) + rng.integers(3)) % 3
        xs.append(np.where(rng.random(len(y)) < 0.45, y, rng.integers(0, 3, len(y))))
        ys.append(y)
    return xs, ys


def test_training_evaluation_prediction_and_files(tmp_path):
    xs, ys = turns(300, 0)

    def trained(*layers, loss):
        model = Sequential(Embedding(3, 3, seed=1), *layers)
        trainer = Trainer(model, loss, Adam(lr=0.05), metrics=[Accuracy()])
        history = trainer.fit(xs[:200], ys[:200], epochs=6, validation_data=(xs[200:], ys[200:]), progress=False)
        return trainer, history["val_accuracy"][-1]

    trainer, with_crf = trained(Dense(3, 3, seed=2), CRF(3, seed=3), loss=CRFLoss())
    _, without = trained(Dense(3, 3, seed=2), loss=SoftmaxCrossEntropy())
    assert with_crf > 0.8 > 0.7 > without
    paths = trainer.predict(xs[200:])
    assert np.mean(np.concatenate(paths) == np.concatenate(ys[200:])) == pytest.approx(with_crf, rel=1e-12)
    padded = np.zeros((3, 9), int)
    for row, x in zip(padded, xs, strict=False):
        row[: len(x)] = x
    lengths = [len(x) for x in xs[:3]]
    found = trainer.predict(padded, lengths=lengths)
    for row, path, size in zip(found, trainer.predict(xs[:3]), lengths, strict=True):
        np.testing.assert_array_equal(row[:size], path)
        assert (row[size:] == 0).all()

    path = save_model(trainer.model, tmp_path / "m")
    again = load_model(path)
    chain, _ = again(padded, lengths=lengths)
    np.testing.assert_array_equal(chain.decode(lengths)[0], found)


def test_the_trainer_tells_of_bad_tags_first():
    model = Sequential(Embedding(5, 3, seed=0), LSTM(3, 4, seed=1), Dense(4, 3, seed=2), CRF(3, seed=3))
    trainer = Trainer(model, CRFLoss(), Adam())
    x = np.zeros((2, 4), int)
    with pytest.raises(IndexError, match=re.escape("target must lie in 0..2, the tags of pred; got 3")):
        trainer.fit(x, x + 3, progress=False)
    with pytest.raises(TypeError, match="pred must be a Chain"):
        Trainer(Sequential(*model.layers[:3]), CRFLoss(), Adam()).fit(x, x, progress=False)
    assert trainer.step == 0
