"""The demonstrations that compare: adding, copy memory, reviews and pollution, with tiny settings and on real data."""

from __future__ import annotations

import io
import re
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
from demo_runs import check_one_line, data
from demo_runs import run_demo as run

from rnnfast.__main__ import main
from rnnfast.data import WordVocabulary, scaler_from_state_dict
from rnnfast.demos import adding, air, contest, memory, polarity, pollution
from rnnfast.io import load_model
from rnnfast.layers.dense import Dense
from rnnfast.layers.normalization import LayerNorm
from rnnfast.layers.pooling import Last
from rnnfast.layers.recurrent import LSTM, RNN
from rnnfast.layers.scan import IndRNN
from rnnfast.layers.sequential import Sequential
from rnnfast.losses import MeanSquared
from rnnfast.optimizers import Adam
from rnnfast.trainer import Trainer


def test_adding(tmp_path, capsys):
    options = ["--length", 12, "--sequences", 300, "--hidden", 8, "--epochs", 2, "--save", tmp_path / "m.npz"]
    code, out, err = run(capsys, "adding", *options)
    assert code == 0 and err == ""
    rows = re.findall(r"^ *(rnn|lstm|gru|indrnn) +([\d.]+) +(\d+) +[\d.]+  [▁-█]{2}  ", out, re.M)
    assert [name for name, _, _ in rows] == ["rnn", "lstm", "gru", "indrnn"] and {count for _, _, count in rows} == {
        "12"
    }
    assert (
        len(re.findall(r"^  0\.\d{3} \(step \d+\) \+ 0\.\d{3} \(step \d+\) = [\d.]+; it says -?[\d.]+$", out, re.M))
        == 5
    )
    model, extra = load_model(tmp_path / "m.npz", with_extra=True)
    assert model(np.zeros((2, 12, 2)))[0].shape == (2, 1) and extra == {"task": "adding", "length": 12}


def test_the_problems_of_adding(rng):
    x, y = adding.problems(500, 10, rng)
    assert (x[:, :5, 1].sum(1) == 1).all() and (x[:, 5:, 1].sum(1) == 1).all()
    for sequence, total in zip(x, y[:, 0], strict=True):
        assert total == pytest.approx(sequence[sequence[:, 1] == 1, 0].sum(), rel=1e-6)
    assert abs(y.var() - adding.GUESS) < 0.03


def test_memory(tmp_path, capsys):
    options = ["--pause", 3, "--sequences", 100, "--hidden", 8, "--epochs", 1, "--save", tmp_path / "m.npz"]
    code, out, err = run(capsys, "memory", *options, "--cells", "gru", "indrnn", "gru")
    assert code == 0 and err == ""
    assert re.findall(r"^ *(rnn|lstm|gru|indrnn) +[\d.]+% +[\d.]+ +5 ", out, re.M) == ["gru", "indrnn"]
    assert len(re.findall(r"^  ([A-H] ){9}[A-H]   ([A-I.] ){9}[A-I.]   (\d+ wrong|all right)$", out, re.M)) == 3
    assert load_model(tmp_path / "m.npz")(np.zeros((2, 23), int))[0].shape == (2, 23, 9)


def test_the_problems_of_memory(rng):
    x, y = memory.problems(50, 4, rng)
    assert x.shape == y.shape == (50, 24)
    assert (x[:, :10] == y[:, -10:]).all() and not y[:, :-10].any() and (x[:, :10] > 0).all()
    assert (x[:, 13] == 9).all() and not x[:, 10:13].any() and not x[:, 14:].any()


def test_biases_that_remember():
    """A unit's forget gate of sigmoid(b) forgets after 1 / (1 - sigmoid(b)) steps: between 1 and the longest."""
    for name in ("lstm", "gru"):
        layer = contest.make_layer(name, 3, 400, 70, 0, chrono=True)
        bias = layer.bias_ih_l0[400:800].astype(float)
        times = 1 + np.exp(bias)
        assert 2 <= times.min() < 3 and 60 < times.max() <= 70
        assert not np.array_equal(contest.make_layer(name, 3, 400, 70, 0).bias_ih_l0[400:800], bias)
    assert contest.make_layer("rnn", 3, 4, 70, 0, chrono=True).config() == RNN(3, 4).config()


def test_weights_of_the_state_stay_within_bounds():
    """Beyond its bound a weight is cut to it, in every layer and with either sign; others stay as they are."""
    model = Sequential(IndRNN(2, 3, 2, seed=0), LSTM(3, 3, seed=0))
    before = {name: array.copy() for name, array in model[1].parameters().items()}
    with model[0].update() as params:
        params["weight_hh_l0"][:] = [0.5, 1.2, -1.5]
        params["weight_hh_l1"][:] = [-0.5, 2.0, 1.0]
    inputs = model[0].weight_ih_l0.copy()
    trainer = Trainer(model, MeanSquared(), Adam())
    bounded = contest.Bounded(model, 40)
    bounded.on_batch_end(trainer, 0, 0.0)
    assert bounded.bound**40 == pytest.approx(contest.MOST)
    np.testing.assert_allclose(model[0].weight_hh_l0, [0.5, bounded.bound, -bounded.bound], rtol=1e-6)
    np.testing.assert_allclose(model[0].weight_hh_l1, [-0.5, bounded.bound, 1.0], rtol=1e-6)
    assert np.array_equal(model[0].weight_ih_l0, inputs)
    assert all(np.array_equal(before[name], array) for name, array in model[1].parameters().items())


def test_independent_units_of_memory():
    """Times from the shortest to twice the task's length, even by their logarithm; half of the weights negative."""
    layers = memory.independent(600, 40, np.random.default_rng(0))
    recurrent, norms = layers[::2], layers[1::2]
    assert len(recurrent) == memory.LAYERS and all(isinstance(layer, LayerNorm) for layer in norms)
    assert not np.array_equal(recurrent[1].weight_hh_l0, recurrent[2].weight_hh_l0)
    for layer in recurrent:
        kept = np.abs(layer.weight_hh_l0.astype(float))
        times = np.sort(-1 / np.log(kept))
        assert 0.3 <= times[0] < 0.33 and 75 < times[-1] <= 80.01
        assert times[300] == pytest.approx(np.sqrt(0.3 * 80), rel=0.25)
        assert 250 < (layer.weight_hh_l0 < 0).sum() < 350
        size = np.abs(layer.weight_ih_l0).mean(axis=1) / np.sqrt(np.maximum(1 - kept, 1 / 40))
        assert size.std() < 0.25 * size.mean()


def test_weights_of_the_state_have_a_rate_of_their_own(monkeypatch):
    x, y = np.ones((2, 5, 2), np.float32), np.ones((2, 1), np.float32)
    task = contest.Task(x, y, x, y, MeanSquared(), 1, {"others": 1e-2}, forgets=0.9, caution=0.1)
    made = []

    def adam(**options):
        made.append(Adam(**options))
        return made[-1]

    def make(name, seeds):
        return Sequential(contest.make_layer(name, 2, 4, 5, 0), Last(), Dense(4, 1, seed=1))

    monkeypatch.setattr(contest, "Adam", adam)
    contest.compete(task, make, SimpleNamespace(seed=0, cells=["indrnn", "gru"], epochs=1, seconds=None), 1)
    names = list(make("indrnn", []).parameters())
    assert [name for name in names if made[0].factor(name) == 0.1] == ["0.weight_hh_l0", "0.weight_hh_l1"]
    assert {made[0].factor(name) for name in names} == {0.1, 1.0}
    assert not made[1].lr_factors and made[1].betas == made[0].betas == (0.9, 0.9)


def test_independent_units_begin_with_a_long_memory():
    layer = contest.make_layer("indrnn", 2, 300, 50, 0)
    assert layer.num_layers == 2
    for u in (layer.weight_hh_l0, layer.weight_hh_l1):
        assert 0.5 <= (u.min() ** 50) < 0.51 and 1.96 < (u.max() ** 50) <= 2.0001


def test_bars():
    assert contest.sparkline([0, 0.5, 1, 2, -1, float("nan")], 1.0) == "▁▅██▁x"
    assert contest.shorten([1.0, 2.0], 3) == [1.0, 2.0]
    short = contest.shorten(list(range(100)), 10)
    assert len(short) == 10 and short[0] == 0 and short[-1] == 99


def archive(path, count=12):
    with tarfile.open(path, "w:gz") as file:
        for kind, word in (("pos", b"good"), ("neg", b"bad")):
            for k in range(count):
                text = b"a %s film . it is %s ! caf\xe9 " % (word, word) * (k + 1)
                member = tarfile.TarInfo(f"texts/{kind}/{k:03}.txt")
                member.size = len(text)
                file.addfile(member, io.BytesIO(text))
    return path


def test_reviews_of_an_archive(tmp_path, capsys):
    options = ["--data", archive(tmp_path / "r.tar.gz"), "--epochs", 20, "--hidden", 4, "--runs", 2]
    code, out, err = run(capsys, "reviews", *options, "--save", tmp_path / "m.npz", "--tokens", 20)
    assert code == 0 and err == ""
    assert "24, of which the test has 6" in out and "(TF-IDF) gets 100.0%" in out
    assert re.search(r"mean of 2 runs: [\d.]+% \([\d.]+% to [\d.]+%\)", out)
    assert len(re.findall(r"^ +[\d.]+% \|#* *\| +(praise|pan|new): ", out, re.M)) == 6
    model, extra = load_model(tmp_path / "m.npz", with_extra=True)
    vocabulary = WordVocabulary.from_state_dict(extra["vocabulary"])
    assert model(vocabulary.encode("a good film")[None])[0].shape == (1, 2) and extra["tokens"] == 20


def test_reviews_made_up(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("rnnfast.demos.reviews.MADE_UP", 200)
    code, out, _ = run(capsys, "reviews", "--epochs", 2, "--hidden", 4, "--save", tmp_path / "m.npz")
    assert code == 0 and "no file was given" in out and re.search(r"seed 0: [\d.]+% of the test right", out)


def test_pollution_made_up(tmp_path, capsys, monkeypatch):
    made = air.made_up(0, days=60)
    monkeypatch.setattr(pollution, "made_up", lambda seed: made)
    code, out, err = run(capsys, "pollution", "--epochs", 1, "--hidden", 4, "--save", tmp_path / "m.npz")
    assert code == 0 and err == "" and "1,440" in out
    assert len(re.findall(r"^ +\d+ h ahead +[\d.]+ +[\d.]+ +[\d.]+  (not )?better than both$", out, re.M)) == 2
    for ahead in (1, 24):
        model, extra = load_model(tmp_path / f"m-{ahead}h.npz", with_extra=True)
        assert extra["ahead"] == ahead and extra["scale"] > 0
        inputs = scaler_from_state_dict(extra["scaler"]).transform(made.features[:30])
        assert model(inputs[None])[0].shape == (1, 30, 1)


def test_nothing_is_known_of_what_comes():
    """What a forecast rests on ends with its hour: later hours change nothing."""
    hours = air.made_up(0, days=60)
    task = pollution.Task(hours)
    at = 1300
    later = hours.pollution.copy()
    later[at + 1 :] += 100
    features = hours.features.copy()
    features[at + 1 :] += 5
    other = pollution.Task(air.Hours("", later, features))
    for ahead in (1, 24):
        assert np.array_equal(task.inputs[: at + 1], other.inputs[: at + 1])
        np.testing.assert_allclose(task.ridge(ahead)[: at + 1], other.ridge(ahead)[: at + 1], rtol=1e-9)
        goal, measured, scale = task.targets(ahead)
        k = int(np.flatnonzero(measured)[50])
        assert goal[k, 0] * scale == pytest.approx(hours.pollution[k + ahead] - task.known[k], rel=1e-4, abs=1e-3)
        assert np.isnan(hours.pollution[ahead:][measured == 0]).all()


def bad_files(folder):
    (folder / "empty").write_bytes(b"")
    (folder / "words").write_text("not an archive")
    (folder / "s.csv").write_text("day,temp\n1,2\n")
    archive(folder / "few.tar.gz", 3)
    head = ",".join(("pm2.5", "month", "hour", "cbwd", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir"))
    (folder / "short.csv").write_text(head + "\n" + "1,1,0,NW,1,1,1,1,0,0\n" * 5)


BAD = [
    (["reviews", "--data", "absent"], "absent: No such file"),
    (["reviews", "--data", "words"], "is not a tar archive"),
    (["reviews", "--data", "empty"], "is not a tar archive"),
    (
        ["reviews", "--data", "few.tar.gz"],
        "at least 10 texts in each of the folders pos and neg; got 3 in",
    ),
    (["pollution", "--csv", "absent"], "No such file"),
    (["pollution", "--csv", "s.csv"], "no column 'pm2.5'"),
    (["pollution", "--csv", "short.csv"], "at least 1000 hours; got 5"),
    (["adding", "--save", "absent/m.npz"], "no such folder"),
    (["memory", "--save", "m.pkl"], "must end in"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_errors_take_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    bad_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    check_one_line(capsys, arguments, message, tmp_path)


@pytest.mark.parametrize(
    "arguments", [["adding", "--length", "3"], ["memory", "--cells", "lsmt"], ["reviews", "--runs", "0"]]
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["demo", *arguments])
    assert caught.value.code == 2 and "error: " in capsys.readouterr().err


def test_real_hours():
    hours = air.from_csv(data("beijing-pm25.csv"))
    assert hours.features.shape == (43_824, 25) and np.isfinite(hours.features).all()
    np.testing.assert_array_equal(hours.features[1:, 17:19], np.diff(hours.features[:, :2], axis=0))  # what has changed
    assert np.isnan(hours.pollution).sum() == 2067
    task = pollution.Task(hours)
    persistence = {ahead: task.error(task.known[:-ahead], ahead) for ahead in pollution.AHEAD}
    assert persistence[1] == pytest.approx(22.1, abs=0.1) and persistence[24] == pytest.approx(99.5, abs=0.6)
    assert 20.5 < task.error(task.ridge(1), 1) < 21.5


def test_real_reviews():
    reviews = polarity.from_archive(data("movie-review-polarity.tar.gz"))
    assert len(reviews.tokens) == 2000 and reviews.tested == 400
    assert reviews.labels[:1600].sum() == 800 and reviews.labels[1600:].sum() == 200
