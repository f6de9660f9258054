"""Feeds: every row and step once, little padding, states reset where they should be; bad data is refused up front."""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast.layers.base import Layer
from rnnfast.layers.dense import Dense
from rnnfast.layers.pooling import Last
from rnnfast.layers.recurrent import LSTM, RNN
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import MeanSquared, SoftmaxCrossEntropy
from rnnfast.metrics import Accuracy
from rnnfast.models import EncoderDecoder, VectorToSequence
from rnnfast.optimizers import SGD
from rnnfast.trainer import Trainer
from rnnfast.training.batches import BatchFeed, Samples
from rnnfast.training.gradients import GradientStore
from rnnfast.training.pairs import Pairs, samples_of
from rnnfast.training.streams import ChunkFeed, StreamFeed, is_chunks

STEPWISE = Sequential(RNN(2, 3, seed=0))
SUMMARY = Sequential(RNN(2, 3, seed=0), Last())


def ragged(count=23, seed=0, longest=12):
    """Sequences that begin with their own number, so that a batch tells where its rows come from."""
    lengths = np.random.default_rng(seed).integers(1, longest + 1, count)
    return [np.full((n, 2), k + 1.0) for k, n in enumerate(lengths)], lengths


def feed_of(kind, batch_size, shuffle, bucket):
    x, lengths = ragged()
    if kind == "list":
        samples = Samples(STEPWISE, x, [3 * a[:, :1] for a in x], None, None)
    elif kind == "lengths":
        padded = np.zeros((len(x), 12, 2))
        for row, a in zip(padded, x, strict=True):
            row[: len(a)] = a
        samples = Samples(STEPWISE, padded, 3 * padded[..., :1], lengths, None)
    else:
        samples = Samples(STEPWISE, np.stack([np.full((5, 2), a[0, 0]) for a in x]), np.ones((len(x), 5)), None, None)
    return BatchFeed(samples, batch_size, shuffle, bucket)


@pytest.mark.parametrize("kind", ["list", "lengths", "full"])
@pytest.mark.parametrize("batch_size", [1, 4, 23, 50])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("bucket", [False, True])
def test_every_row_is_in_one_batch(kind, batch_size, shuffle, bucket):
    feed = feed_of(kind, batch_size, shuffle, bucket)
    batches = list(feed.batches(np.random.default_rng(3)))
    assert len(batches) == len(feed)
    rows = np.concatenate([b.rows for b in batches])
    assert sorted(rows) == list(range(23))
    assert np.array_equal(np.concatenate([b.x[:, 0, 0] for b in batches]), rows + 1)
    if not shuffle and not bucket:
        assert np.array_equal(rows, np.arange(23))


@pytest.mark.parametrize("kind", ["list", "lengths"])
def test_batches_hold_their_sequences_and_zeros(kind):
    sequences, sizes = ragged()
    for batch in feed_of(kind, 4, True, True).batches(np.random.default_rng(0)):
        assert batch.x.shape[1] == sizes[batch.rows].max()  # the longest of this batch, not of all
        lengths = np.full(len(batch.rows), batch.x.shape[1]) if batch.lengths is None else batch.lengths
        assert np.array_equal(lengths, sizes[batch.rows])
        for k, row, target in zip(batch.rows, batch.x, batch.target, strict=True):
            assert np.array_equal(row[: sizes[k]], sequences[k])
            assert np.array_equal(target[: sizes[k]], 3 * sequences[k][:, :1])
            assert not row[sizes[k] :].any()
        assert batch.weight == batch.units == sizes[batch.rows].sum()


def test_buckets_hold_little_padding_in_random_order():
    x, lengths = ragged(2000, longest=100)
    feed = BatchFeed(Samples(STEPWISE, x, None, None, None), 20)

    def padding(batches):
        return sum(len(rows) * lengths[rows].max() for rows in batches) / lengths.sum() - 1

    first, second = (feed.rows(np.random.default_rng(seed)) for seed in (0, 1))
    assert padding(first) < 0.05
    assert padding(BatchFeed(feed.samples, 20, bucket=False).rows(np.random.default_rng(0))) > 0.5
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    means = [lengths[rows].mean() for rows in first]
    assert means != sorted(means)


def test_the_order_is_that_of_the_generator():
    feed = feed_of("list", 4, True, True)
    one, other = (np.concatenate(feed.rows(np.random.default_rng(9))) for _ in range(2))
    assert np.array_equal(one, other)


def test_masks_and_one_target_per_sequence():
    x, lengths = ragged()
    mask = [np.arange(n) % 2 for n in lengths]
    for batch in BatchFeed(Samples(STEPWISE, x, x, None, mask), 4).batches(np.random.default_rng(0)):
        assert batch.weight == sum(mask[k].sum() for k in batch.rows)
        assert batch.loss_lengths is batch.lengths
    y = np.arange(23) * 10
    for batch in BatchFeed(Samples(SUMMARY, x, y, None, y > 50), 4).batches(np.random.default_rng(0)):
        assert np.array_equal(batch.target, batch.rows * 10)
        assert batch.weight == (batch.target > 50).sum()
        assert batch.loss_lengths is None
        assert batch.units == len(batch.rows)


def test_the_last_part_is_split_off():
    x, _ = ragged()
    samples = Samples(SUMMARY, x, np.arange(23), None, np.ones(23))
    first, last = samples.split(0.3)
    assert (len(first), len(last)) == (16, 7)
    assert np.array_equal(last.y, np.arange(16, 23))
    assert np.array_equal(last.batch(np.array([0])).x[0, 0], x[16][0])
    assert [len(part) for part in samples.split(0.001)] == [22, 1]
    assert [len(part) for part in samples.split(0.999)] == [1, 22]


X = np.zeros((4, 5, 2))
BAD_SAMPLES = {
    "empty x": (STEPWISE, np.zeros((0, 5, 2)), np.zeros((0, 5)), None, None, ValueError, "x must not be empty"),
    "empty list": (STEPWISE, [], [], None, None, ValueError, "x must not be empty"),
    "scalar": (STEPWISE, 3.0, [1], None, None, TypeError, "x must be an array or a list of sequences; got float"),
    "object": (STEPWISE, np.array([None, 1]), [1, 2], None, None, TypeError, "x must hold real numbers"),
    "text": (STEPWISE, ["abc", "de"], [1, 2], None, None, TypeError, "x must hold real numbers"),
    "nan": (STEPWISE, np.full((4, 5, 2), np.nan), X, None, None, ValueError, "x must be finite"),
    "inf in a list": (STEPWISE, [[[1, 2]], [[np.inf, 2]]], [[1], [1]], None, None, ValueError, r"x\[1\]"),
    "ragged item": (STEPWISE, [[[1, 2]], [[1, 2], [3]]], [[1], [1]], None, None, ValueError, r"x\[1\]"),
    "channels": (STEPWISE, [[[1, 2]], [[1, 2, 3]]], [[1], [1]], None, None, ValueError, r"x\[1\]"),
    "width": (STEPWISE, np.zeros((4, 5, 3)), X, None, None, ValueError, "x must have shape"),
    "count": (STEPWISE, X, np.zeros((3, 5, 3)), None, None, ValueError, "y must have as many"),
    "steps": (STEPWISE, X, np.zeros((4, 6, 3)), None, None, ValueError, "y must have shape"),
    "nan in y": (STEPWISE, X, np.full((4, 5, 3), np.nan), None, None, ValueError, "y must be finite"),
    "item steps": (STEPWISE, [[[1, 2]], [[1, 2]]], [[1], [1, 2]], None, None, ValueError, r"y\[1\] must have 1"),
    "targets of one size": (SUMMARY, X, [[1], [1, 2], [1], [1]], None, None, ValueError, "y must have entries"),
    "lengths count": (STEPWISE, X, X, [1, 2], None, ValueError, "lengths must have shape"),
    "lengths beyond": (STEPWISE, X, X, [1, 2, 6, 1], None, ValueError, r"0\.\.5"),
    "lengths kind": (STEPWISE, X, X, [1.0, 2, 3, 1], None, TypeError, "lengths must be integers"),
    "no steps": (STEPWISE, X, X, [0, 0, 0, 0], None, ValueError, "at least one step"),
    "lengths of a list": (STEPWISE, [[[1, 2]]], [[1]], [1], None, ValueError, "lengths must be left out"),
    "mask shape": (STEPWISE, X, X, None, np.ones((4, 6)), ValueError, "mask must have shape"),
    "mask sign": (STEPWISE, X, X, None, -np.ones((4, 5)), ValueError, "mask must be at least 0"),
    "mask rank": (STEPWISE, X, X, None, np.ones((4, 5, 2)), ValueError, "mask must have one weight"),
}


@pytest.mark.parametrize("case", BAD_SAMPLES)
def test_bad_samples(case):
    model, x, y, lengths, mask, error, match = BAD_SAMPLES[case]
    with pytest.raises(error, match=match):
        Samples(model, x, y, lengths, mask)


@pytest.mark.parametrize(
    ("x", "y", "lengths", "mask", "loss", "error"),
    [
        (X, np.full((4, 5), 3), None, None, SoftmaxCrossEntropy(), IndexError),
        (X, np.full((4, 5), -1), None, None, SoftmaxCrossEntropy(), IndexError),
        (X, np.zeros((4, 5)), None, None, SoftmaxCrossEntropy(), TypeError),
        (X, np.zeros((4, 5, 2)), None, None, MeanSquared(), ValueError),
        ([X[0], X[1]], [np.full(5, 1), np.full(5, 9)], None, None, SoftmaxCrossEntropy(), IndexError),
        (X, np.full((4, 5), 3), [5, 5, 5, 1], None, SoftmaxCrossEntropy(), IndexError),
    ],
)
def test_the_loss_judges_targets_before_any_work(x, y, lengths, mask, loss, error):
    with pytest.raises(error, match="target"):
        Samples(STEPWISE, x, y, lengths, mask).check_targets(loss)


@pytest.mark.parametrize("labels", [["a", "b"] * 2, np.array(["a", "b"] * 2, object)])
def test_words_are_told_how_to_become_numbers(labels):
    with pytest.raises(TypeError, match=r"^y must hold real numbers; .*np\.unique\(labels, return_inverse=True\)"):
        Samples(SUMMARY, X, labels, None, None)


def test_masked_arrays_are_refused_where_a_mask_would_be_lost():
    Samples(SUMMARY, np.ma.masked_array(X, mask=False), None, None, None)
    with pytest.raises(ValueError, match="x must not be a masked array"):
        Samples(SUMMARY, np.ma.masked_array(X, mask=np.ones_like(X)), None, None, None)


def test_an_array_of_sequences_is_a_list_of_them():
    x, lengths = ragged()
    packed = np.empty(len(x), object)
    packed[:] = x
    samples = Samples(STEPWISE, packed, None, None, None)
    assert np.array_equal(samples.lengths, lengths)


CLASSES = Sequential(LSTM(2, 3, seed=0), Last(), Dense(3, 3, seed=1))
WRONG = Sequential(LSTM(2, 3, seed=0), Dense(4, 3, seed=1))


@pytest.mark.parametrize(
    ("model", "x", "y", "loss", "match"),
    [
        (
            CLASSES,
            X[..., 0],
            [0] * 4,
            SoftmaxCrossEntropy(),
            r"^x, of shape \(4, 5\), does not suit the model.*: x must",
        ),
        (CLASSES, list(X[..., 0]), [0] * 4, SoftmaxCrossEntropy(), r"^x, a list of 4 sequences, does not .*: x must"),
        (
            CLASSES,
            X,
            np.zeros((4, 1), int),
            SoftmaxCrossEntropy(),
            r"^y, of shape \(4, 1\), does not suit the loss.*: target",
        ),
        (CLASSES, X, [0, 1, 2, 3], SoftmaxCrossEntropy(), r"^y, of shape \(4,\), does not suit .* must lie in 0\.\.2"),
        (WRONG, X, X, MeanSquared(), r"^x, .*, does not suit the model.*: layers\[1\] \(Dense\): x must have shape"),
    ],
)
def test_errors_name_what_the_user_passed(model, x, y, loss, match):
    with pytest.raises((TypeError, ValueError, IndexError), match=match):
        Trainer(model, loss, SGD(0.1)).fit(x, y, progress=False)


def test_errors_name_what_the_user_streamed():
    trainer = Trainer(STEPWISE, MeanSquared(), SGD(0.1))
    with pytest.raises(ValueError, match=r"^inputs does not suit the model.*: x must have shape"):
        trainer.fit_stream(np.zeros((50, 9)), streams=2, steps=5, progress=False)
    with pytest.raises(ValueError, match=r"^targets does not suit the loss.*: target must have shape"):
        trainer.fit_stream(np.zeros((50, X.shape[2])), np.zeros((50, 9)), streams=2, steps=5, progress=False)


def test_targets_that_do_not_count_may_be_anything():
    y = np.full((4, 5), 99)
    y[:, :2] = 1
    mask = np.zeros((4, 5))
    mask[:, 1] = 1
    Samples(STEPWISE, X, y, [2, 2, 1, 2], None).check_targets(SoftmaxCrossEntropy())
    Samples(STEPWISE, X, y, None, mask).check_targets(SoftmaxCrossEntropy())
    y = np.where(y == 99, np.nan, y)
    Samples(STEPWISE, X, np.repeat(y[..., None], 3, -1), None, mask).check_targets(MeanSquared())


@pytest.mark.parametrize(
    ("length", "streams", "steps"), [(101, 4, 7), (101, 4, 25), (50, 1, 49), (50, 7, 1000), (9, 8, 1)]
)
def test_a_stream_is_cut_into_parallel_parts(length, streams, steps):
    feed = StreamFeed(np.arange(length), None, streams, steps)
    batches = list(feed.batches(None))
    assert len(batches) == len(feed)
    x = np.concatenate([b.x for b in batches], axis=1)
    each = (length - 1) // streams
    assert np.array_equal(x, np.arange(streams * each).reshape(streams, each))
    assert np.array_equal(np.concatenate([b.target for b in batches], axis=1), x + 1)
    assert [b.reset for b in batches] == [True] + [False] * (len(batches) - 1)
    sizes = {b.x.shape[1] for b in batches}
    assert max(sizes) <= steps
    assert max(sizes) - min(sizes) <= 1
    assert sum(b.weight for b in batches) == x.size
    assert np.shares_memory(feed._x, feed._y)  # of the user's array: no copies


def test_streams_with_targets_and_channels():
    x, y = np.random.default_rng(0).standard_normal((2, 30, 2))
    batches = list(StreamFeed(x, y, 3, 4).batches(None))
    assert np.array_equal(np.concatenate([b.x for b in batches], axis=1), x.reshape(3, 10, 2))
    assert np.array_equal(np.concatenate([b.target for b in batches], axis=1), y.reshape(3, 10, 2))


@pytest.mark.parametrize(
    ("inputs", "targets", "streams", "error", "match"),
    [
        (np.zeros((3, 4, 5)), None, 1, ValueError, "inputs must have shape"),
        (np.zeros(30), None, 1, ValueError, "inputs must have shape"),
        (np.arange(5), None, 5, ValueError, "at least one step for each of 5"),
        (np.arange(5), np.arange(4), 1, ValueError, "targets must have one entry"),
        (np.full((5, 2), np.nan), None, 1, ValueError, "inputs must be finite"),
        (np.arange(5), None, 0, ValueError, "streams"),
    ],
)
def test_bad_streams(inputs, targets, streams, error, match):
    with pytest.raises(error, match=match):
        StreamFeed(inputs, targets, streams, 4)


def test_a_stream_needs_outputs_for_each_step():
    with pytest.raises(ValueError, match="time axis"):
        StreamFeed(np.zeros((9, 2)), None, 1, 4).check(SUMMARY, MeanSquared())
    with pytest.raises(IndexError, match="target"):
        StreamFeed(np.zeros((9, 2)), np.full(9, 3), 1, 4).check(STEPWISE, SoftmaxCrossEntropy())


def chunk(rows=2, steps=3, value=0.0):
    return np.full((rows, steps, 2), value), np.zeros((rows, steps))


def test_chunks_carry_the_state_until_a_reset():
    chunks = [chunk(), (*chunk(steps=1), False), (*chunk(5), True), chunk(5)]
    batches = list(ChunkFeed(chunks, False).batches(None))
    assert [b.reset for b in batches] == [True, False, True, False]
    assert len(ChunkFeed(chunks, False)) == 4
    assert len(ChunkFeed(iter(chunks), True)) == 0
    assert is_chunks(chunks) and is_chunks(iter(chunks)) and is_chunks(c for c in chunks)
    assert not is_chunks(np.zeros(3)) and not is_chunks([1, 2, 3])


BAD_CHUNKS = {
    "rows without reset": ([chunk(2), chunk(3)], ValueError, "chunk 1 must have 2 rows"),
    "no pair": ([(np.zeros(3),)], TypeError, "chunk 0 must be"),
    "no tuple": ([chunk(), 3], TypeError, "chunk 1 must be"),
    "rank": ([(np.zeros(3), np.zeros(3))], ValueError, "chunk 0 x"),
    "steps": ([(np.zeros((2, 3, 2)), np.zeros((2, 4)))], ValueError, "chunk 0"),
    "nan": ([chunk(value=np.nan)], ValueError, "chunk 0 x must be finite"),
    "objects": ([(np.array([[None]]), np.zeros((1, 1)))], TypeError, "chunk 0 x"),
}


@pytest.mark.parametrize("case", BAD_CHUNKS)
def test_bad_chunks(case):
    chunks, error, match = BAD_CHUNKS[case]
    with pytest.raises(error, match=match):
        list(ChunkFeed(chunks, True).batches(None))


def test_an_iterator_gives_out():
    with pytest.raises(ValueError, match="iterator"):
        ChunkFeed(iter([chunk()]), once=False)


def test_gradients_are_aligned_views_of_one_buffer():
    layer = Layer({"a": np.ones((3, 5)), "b": np.ones(7), "c": np.ones(2, np.float32)})
    store = GradientStore(layer)
    assert set(store.flat) == {"float32", "float64"}
    for name, param in layer.parameters().items():
        view = store.grads[name]
        assert view.shape == param.shape
        assert view.ctypes.data % 64 == 0
        assert np.shares_memory(view, store.flat[param.dtype.name])
        view += 1
    assert sum(flat.sum() for flat in store.flat.values()) == 24  # nothing overlaps
    store.zero()
    assert not any(view.any() for view in store.grads.values())


READER = EncoderDecoder(40, 40, embedding_dim=4, hidden_size=4, seed=0)
WRITER = VectorToSequence(3, 40, embedding_dim=4, hidden_size=4, seed=0)


def pairs(kind, count=23):
    """Pairs that begin with their own number, with targets one larger, and the lengths of both."""
    rng = np.random.default_rng(5)
    given_lengths, lengths = rng.integers(1, 9, count), rng.integers(1, 7, count)
    given = [np.full(n, k) for k, n in enumerate(given_lengths)]
    target = [np.full(n, k) for k, n in enumerate(lengths)]
    if kind == "vectors":
        return Pairs(WRITER, (np.arange(count)[:, None] * np.ones(3), target), [t + 1 for t in target], None, None)
    if kind == "lists":
        return Pairs(READER, (given, target), [t + 1 for t in target], None, None)
    arrays = []
    for rows, width in ((given, 8), (target, 6)):
        padded = np.zeros((count, width), int)
        for row, values in zip(padded, rows, strict=True):
            row[: len(values)] = values
        arrays.append(padded)
    return Pairs(READER, tuple(arrays), arrays[1] + 1, (given_lengths, lengths), None)


@pytest.mark.parametrize("kind", ["lists", "arrays", "vectors"])
def test_pairs_stay_together(kind):
    samples = pairs(kind)
    feed = BatchFeed(samples, 4)
    batches = list(feed.batches(np.random.default_rng(1)))
    assert sorted(np.concatenate([b.rows for b in batches])) == list(range(23)) and feed.unit == "tokens"
    for batch in batches:
        given, target = batch.x
        first = given.reshape(len(given), -1)[:, 0]
        assert np.array_equal(first, batch.rows) and np.array_equal(target[:, 0], batch.rows)
        assert np.array_equal(batch.target[:, 0], batch.rows + 1) and batch.target.shape == target.shape
        sizes = samples.lengths[batch.rows]
        assert target.shape[1] == sizes.max() and batch.weight == batch.units == sizes.sum()
        assert batch.loss_lengths is None or np.array_equal(batch.loss_lengths, sizes)
        assert batch.lengths[1] is batch.loss_lengths
        if kind == "vectors":
            assert batch.lengths[0] is None and given.shape == (len(batch.rows), 3)
        else:
            assert np.array_equal(batch.lengths[0], samples.given_lengths[batch.rows])
            assert given.shape[1] == batch.lengths[0].max()


def test_pairs_are_put_together_by_both_lengths():
    samples = pairs("lists", 35)
    batches = BatchFeed(samples, 5, shuffle=False).rows(None)
    ordered = np.concatenate(batches)
    assert (np.diff(samples.lengths[ordered]) >= 0).all()
    same = np.diff(samples.lengths[ordered]) == 0
    assert (np.diff(samples.given_lengths[ordered])[same] >= 0).all()


def test_the_last_part_of_pairs_is_split_off():
    first, last = pairs("lists").split(0.25)
    assert (len(first), len(last)) == (17, 6) and isinstance(last, Pairs)
    (batch,) = BatchFeed(last, 10, shuffle=False).batches(None)
    assert sorted(batch.x[0][:, 0]) == list(range(17, 23)) == sorted(batch.x[1][:, 0])


def test_weights_of_pairs_stay_with_them():
    samples = pairs("lists")
    own = np.arange(23.0)
    weighted = samples_of(READER, (samples.given, samples.x), samples.y, None, None, weight=own)
    for batch in BatchFeed(weighted, 4).batches(np.random.default_rng(0)):
        assert np.array_equal(batch.mask[:, 0], batch.rows)
        assert batch.weight == (batch.rows * samples.lengths[batch.rows]).sum()
    assert np.array_equal(weighted.split(0.25)[1].weight, own[17:])


def test_models_tell_what_they_take():
    assert isinstance(samples_of(READER, ([[1, 2]], [[3]]), [[4]], None, None), Pairs)
    assert type(samples_of(STEPWISE, np.zeros((1, 2, 2)), None, None, None)) is Samples


def test_pairs_through_the_trainer():
    samples = pairs("lists")
    x = (samples.given, samples.x)
    model = EncoderDecoder(40, 40, embedding_dim=8, hidden_size=16, seed=0)
    trainer = Trainer(model, SoftmaxCrossEntropy(), SGD(lr=0.1), metrics=[Accuracy()])
    history = trainer.fit(x, samples.y, epochs=2, batch_size=5, validation_data=(x, samples.y), progress=False)
    found = trainer.evaluate(x, samples.y, batch_size=3)
    # Means over batches of other sizes, in float32.
    assert found["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-5)
    assert found["accuracy"] == pytest.approx(history["val_accuracy"][-1])
    logits = trainer.predict(x, batch_size=4)
    assert [part.shape for part in logits] == [(len(t), 40) for t in samples.x]
    total = sum(SoftmaxCrossEntropy()(part[None], y[None]) * len(y) for part, y in zip(logits, samples.y, strict=True))
    assert total / sum(map(len, samples.y)) == pytest.approx(found["loss"], rel=1e-5)
    mask = [np.zeros(len(t)) for t in samples.x]
    mask[3][:] = 1
    only = trainer.evaluate(x, samples.y, mask=mask)["loss"]
    assert only == pytest.approx(SoftmaxCrossEntropy()(logits[3][None], samples.y[3][None]), rel=1e-5)


@pytest.mark.parametrize(
    ("x", "y", "lengths", "error", "match"),
    [
        (np.zeros((2, 3), int), [[1]] * 2, None, TypeError, "x must be a tuple of two, the inputs of EncoderDecoder"),
        (([[1], [2]],), [[1]] * 2, None, TypeError, "x must be a tuple of two.*got 1 of them"),
        (([[1], [40]], [[1], [2]]), [[1], [2]], None, IndexError, r"x\[0\], .*source must lie in 0\.\.39; got 40"),
        (([[1], [2]], [[1], [40]]), [[1], [2]], None, IndexError, r"x\[1\], .*target must lie in 0\.\.39; got 40"),
        (
            ([[1], [2], [3]], [[1], [2]]),
            [[1], [2]],
            None,
            ValueError,
            "as many entries in both of its parts; got 3 and 2",
        ),
        (([[1], [2]], [[1], [2]]), [[1], [40]], None, IndexError, "target must lie in"),
        (([[1], [2]], [[1], [2]]), [[1], [2]], [1, 1], TypeError, "lengths must be a tuple of two"),
        (
            ([np.ones(2, int)] * 2, [[1], [2]]),
            [[1], [2]],
            ([1, 1], None),
            ValueError,
            r"left out where x\[0\] is a list",
        ),
        (([[1, 2], [2, 3]], [[1, 1], [2, 2]]), [[1], [2, 2]], None, ValueError, r"y\[0\] must have 2 steps"),
    ],
)
def test_wrong_pairs_are_refused(x, y, lengths, error, match):
    with pytest.raises(error, match=match):
        Trainer(READER, SoftmaxCrossEntropy(), SGD(lr=0.1)).fit(x, y, lengths=lengths, progress=False)
