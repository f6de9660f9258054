"""Pictures by what is in them: data, labels, legends, colours that can be told apart; not by pixels."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.colors import to_rgb

from rnnfast import GRU, LSTM, MeanSquared, Sequential, diagnose, gate_activations, plotting
from rnnfast.plotting import style

ROOT = Path(__file__).resolve().parents[1]
HISTORY = {
    "loss": [3.0, 2.0, 1.0],
    "val_loss": [3.0, 1.5, 2.5],
    "accuracy": [0.1, 0.5, 0.9],
    "val_accuracy": [0.1, 0.6, 0.5],
}


@pytest.fixture(autouse=True)
def close():
    yield
    pyplot.close("all")


RESULTS = {
    "results": [
        {
            "name": "LSTM forward T1 B1 H64",
            "threads": 1,
            "samples": {"native": [1.0, 2.0, 3.0], "torch": [4.0, 8.0, 3.0], "onnxruntime": [0.5]},
        },
        {"name": "GRU training T50 B16 H128", "threads": 1, "samples": {"native": [2.0], "torch": [2.0]}},
        {"name": "GRU training T50 B16 H128", "threads": 2, "samples": {"native": [1.0], "torch": [3.0]}},
    ]
}
CALLS = {
    "training": lambda **o: plotting.plot_training(HISTORY, **o),
    "forecast": lambda **o: plotting.plot_forecast(range(9), [1.0, 2.0], [0.0, 1.0], [2.0, 3.0], truth=[1.0, 1.0], **o),
    "gradients": lambda **o: plotting.plot_gradient_norms({"RNN": [1e-9, 1.0], "LSTM": [0.1, 1.0]}, **o),
    "confusion": lambda **o: plotting.plot_confusion([0, 1, 1], [0, 1, 0], **o),
    "gates": lambda **o: plotting.plot_gates(np.random.default_rng(0).random((5, 3)), "hello", **o),
    "attention": lambda **o: plotting.plot_attention(np.eye(3), list("abc"), list("xyz"), **o),
    "benchmark": lambda **o: plotting.plot_benchmark(RESULTS, **o),
}


@pytest.mark.parametrize("name", CALLS)
def test_axes_go_in_and_come_out(name):
    _, ax = pyplot.subplots()
    before = len(pyplot.get_fignums())
    assert CALLS[name](ax=ax) is ax and len(pyplot.get_fignums()) == before
    new = CALLS[name]()
    assert new is not ax and new.get_xlabel()
    with pytest.raises(TypeError, match="ax must be matplotlib axes; got str"):
        CALLS[name](ax="axes")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("ground", ["default", "dark_background"])
def test_everything_can_be_read_on_its_ground(name, ground):
    with pyplot.style.context(ground):
        ax = CALLS[name]()
        ax.figure.canvas.draw()
        lightness = style.lightness(ax.get_facecolor())
        lines = [line.get_color() for line in ax.get_lines()]
        texts = [text.get_color() for text in (*ax.get_xticklabels(), *ax.get_yticklabels(), ax.xaxis.label, ax.title)]
        legend = ax.get_legend()
        texts += [text.get_color() for text in legend.get_texts()] if legend else []
        assert all(abs(style.lightness(colour) - lightness) > 0.25 for colour in lines)
        assert all(abs(style.lightness(colour) - lightness) > 0.6 for colour in texts)
        # The texts of each axis do not overlap, and nothing runs over the edge of the picture.
        renderer, edge = ax.figure.canvas.get_renderer(), ax.figure.bbox
        for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
            shown = [t.get_window_extent(renderer) for t in labels if t.get_text() and t.get_rotation() in (0, 90)]
            shown = [box for box in shown if edge.x0 <= box.x0 and box.x1 <= edge.x1]
            assert not any(a.overlaps(b) for k, a in enumerate(shown) for b in shown[:k])
        if legend:
            box = legend.get_window_extent(renderer)
            assert edge.x0 <= box.x0 and box.x1 <= edge.x1 and box.y1 <= edge.y1


def simulated(colour, kind):
    """Return a colour as seen without one kind of cones: Machado, Oliveira and Fernandes 2009, severity 1."""
    matrix = {
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }[kind]
    return np.clip(np.array(matrix) @ np.array(to_rgb(colour)), 0, 1)


@pytest.mark.parametrize("kind", ["protan", "deutan", "tritan"])
@pytest.mark.parametrize("palette", [style.ON_LIGHT, style.ON_DARK], ids=["light", "dark"])
def test_colours_can_be_told_apart_by_everyone(palette, kind):
    seen = [simulated(colour, kind) for colour in palette]
    assert min(np.abs(a - b).sum() for k, a in enumerate(seen[:3]) for b in seen[:k]) > 0.3


def test_training_curves():
    ax = plotting.plot_training(HISTORY)
    lines = {line.get_label().partition(":")[0]: line for line in ax.get_lines()}
    assert np.array_equal(lines["training"].get_xydata(), [[1, 3], [2, 2], [3, 1]])
    assert np.array_equal(lines["validation"].get_ydata(), HISTORY["val_loss"])
    assert np.array_equal(lines["best"].get_xydata(), [[2, 1.5]]) and (ax.get_xlabel(), ax.get_ylabel()) == (
        "epoch",
        "loss",
    )
    assert ax.get_legend().get_texts()[2].get_text() == "best: 1.5 in epoch 2"
    ax = plotting.plot_training(HISTORY, "accuracy", log=True)
    assert ax.get_legend().get_texts()[2].get_text() == "best: 0.6 in epoch 2" and ax.get_yscale() == "log"
    assert plotting.plot_training({"loss": [1.0]}).get_legend() is None
    with pytest.raises(KeyError, match="f1 is not on record; there are loss"):
        plotting.plot_training(HISTORY, "f1")


def test_forecast():
    ax = plotting.plot_forecast([1, 2, 3], [4, 5], [3, 3], [5, 7], truth=[4, 6], coverage=0.9, unit="MW")
    lines = {line.get_label(): line.get_xydata() for line in ax.get_lines()}
    assert np.array_equal(lines["history"], [[-2, 1], [-1, 2], [0, 3]])
    assert np.array_equal(lines["forecast"], [[0, 3], [1, 4], [2, 5]])
    assert np.array_equal(lines["actual"], [[0, 3], [1, 4], [2, 6]])
    band = ax.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in band.tolist()} == {(1, 3), (2, 3), (2, 7), (1, 5)}
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words == ["90 % interval", "history", "actual", "forecast"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("steps from now", "MW")
    days = np.arange("2024-01-01", "2024-01-06", dtype="datetime64[D]")
    assert plotting.plot_forecast([1, 2, 3], [4, 5], times=days).get_xlabel() == "time"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1], [2], [1]), {}, "lower and upper must be given together"),
        (([1], [2], [1, 1], [2, 2]), {}, "lower must have as many steps as the forecast, 1; got 2"),
        (([1], [2]), {"truth": [1, 2]}, "truth must have as many steps"),
        (([1], [2]), {"times": [1]}, r"times must have shape \(2,\)"),
        (([], [2]), {}, "history must have shape"),
        (([1], [[2]]), {}, "forecast must have shape"),
    ],
)
def test_forecasts_that_do_not_fit(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        plotting.plot_forecast(*arguments, **options)
    assert not pyplot.get_fignums()


def test_gradient_norms():
    ax = plotting.plot_gradient_norms({"RNN": [0.0, 1e-3, 1.0], "LSTM": [1.0, 1.0, 1.0]})
    first = ax.get_lines()[0]
    assert ax.get_yscale() == "log" and ax.get_xlabel() == "time step" and first.get_label() == "RNN"
    assert np.isnan(first.get_ydata()[0]) and first.get_ydata()[1:].tolist() == [1e-3, 1.0]
    assert plotting.plot_gradient_norms(np.zeros(3)).get_yscale() == "linear"
    model = Sequential(GRU(2, 3, seed=0), LSTM(3, 2, bidirectional=True, seed=1))
    found = diagnose(model, (np.ones((2, 5, 2)), np.zeros((2, 5, 4))), MeanSquared(), show=False)
    lines = plotting.plot_gradient_norms(found).get_lines()
    assert [line.get_label() for line in lines] == [level.name for level in found.levels] and len(lines) == 3
    np.testing.assert_allclose(lines[0].get_ydata(), found.levels[0].gradient_norms)
    for bad, message in (([-1.0], "at least 0; got -1"), ({}, "at least one line"), ([], "at least one step")):
        with pytest.raises(ValueError, match=message):
            plotting.plot_gradient_norms(bad)


def test_confusion():
    ax = plotting.plot_confusion(["cat", "cat", "dog", "cat"], ["cat", "dog", "dog", "cat"])
    assert (
        [t.get_text() for t in ax.get_xticklabels()] == [t.get_text() for t in ax.get_yticklabels()] == ["cat", "dog"]
    )
    assert {t.get_position(): t.get_text() for t in ax.texts} == {(0, 0): "2", (1, 0): "1", (0, 1): "0", (1, 1): "1"}
    assert np.allclose(ax.images[0].get_array(), [[2 / 3, 1 / 3], [0, 1]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    shares = plotting.plot_confusion([0, 0, 0, 1], [0, 0, 1, 1], share=True)
    assert sorted(t.get_text() for t in shares.texts) == [".00", ".33", ".67", "1.00"]
    ordered = plotting.plot_confusion(["b", "a", "c"], ["b", "a", "a"], labels=["b", "a"])
    assert np.array_equal(ordered.images[0].get_array(), np.eye(2))
    assert not plotting.plot_confusion(np.arange(20), np.arange(20)).texts
    named = plotting.plot_confusion([0, 1], [0, 1], names=["cat", "dog"])
    assert [t.get_text() for t in named.get_yticklabels()] == ["cat", "dog"]
    with pytest.raises(ValueError, match="names must have 2 entries, one for each label; got 1"):
        plotting.plot_confusion([0, 1], [0, 1], names=["cat"])
    for ground, text in zip(ax.images[0].get_array().ravel(), ax.texts, strict=True):
        ink = style.lightness(ax.images[0].cmap(ax.images[0].norm(ground)))
        assert abs(style.lightness(text.get_color()) - ink) > 0.3
    for arguments, message in (
        (([0], [0, 1]), "one shape"),
        (([], []), "N at least 1"),
        (([0], [0], [0, 0]), "must differ"),
        (([0], [0], ["cat"]), "labels must be such as truth has, 0 for one"),
    ):
        with pytest.raises(ValueError, match=message):
            plotting.plot_confusion(*arguments)


def test_gates():
    found = gate_activations(LSTM(3, 20, seed=0), np.random.default_rng(0).standard_normal((1, 6, 3)))
    ax = plotting.plot_gates(found["f"][0], "a b\ncd", name="forget gate")
    image = ax.images[0]
    assert np.allclose(image.get_array(), found["f"][0].T) and image.get_clim() == (0, 1)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "␣", "b", "↵", "c", "d"]
    assert (ax.get_xlabel(), ax.get_ylabel(), image.colorbar.ax.get_ylabel()) == ("input", "unit", "forget gate")
    states = plotting.plot_gates(found["c"][0], units=[3, 5])
    low, high = states.images[0].get_clim()
    assert low == -high == -np.abs(found["c"][0][:, [3, 5]]).max() and states.images[0].get_array().shape == (2, 6)
    assert [t.get_text() for t in states.get_yticklabels()] == ["3", "5"] and states.get_xlabel() == "time step"
    many = plotting.plot_gates(np.zeros((200, 4)), ["word"] * 200)
    assert len(many.get_xticklabels()) <= 60
    with pytest.raises(ValueError, match="tokens must have 6 entries, one for each step; got 3"):
        plotting.plot_gates(found["f"][0], "abc")
    with pytest.raises(ValueError, match="activations must have two axes"):
        plotting.plot_gates(found["f"])


@pytest.mark.parametrize(("units", "step"), [(1, 1), (16, 1), (17, 2), (24, 2), (32, 2), (33, 5), (512, 50)])
def test_units_are_numbered_in_round_steps(units, step):
    ax = plotting.plot_gates(np.full((3, units), 0.5))
    assert [int(tick.get_text()) for tick in ax.get_yticklabels()] == list(range(0, units, step))


def test_only_long_words_are_turned():
    for words, turned in ((["a", "is"], False), (["a", "house"], True)):
        ax = plotting.plot_attention(np.full((2, 2), 0.5), source=words, target=words)
        assert [bool(tick.get_rotation()) for tick in ax.get_xticklabels()] == [turned] * 2


def test_attention():
    weights = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]])
    ax = plotting.plot_attention(weights, ["the", "$", "cat"], ["le", "chat"])
    assert np.allclose(ax.images[0].get_array(), weights) and ax.images[0].get_clim() == (0, 0.9)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["the", r"\$", "cat"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["le", "chat"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("source", "target")
    assert plotting.plot_attention(weights).get_xlabel() == "source step"
    with pytest.raises(ValueError, match="source must have 3 entries"):
        plotting.plot_attention(weights, ["a"])


def test_benchmark(tmp_path):
    path = tmp_path / "b.json"
    path.write_text(json.dumps(RESULTS))
    ax = plotting.plot_benchmark(path)
    points = {line.get_label(): line.get_xydata().tolist() for line in ax.get_lines() if "mean" in line.get_label()}
    assert points == {"torch (mean 2.00)": [[4, 0], [1, 1]], "onnxruntime (mean 0.50)": [[0.5, 0]]}
    assert [t.get_text() for t in ax.get_yticklabels()] == ["LSTM forward T1 B1 H64", "GRU training T50 B16 H128"]
    assert "1 thread (" in ax.get_xlabel() and ax.get_xscale() == "log" and 1.0 in ax.get_xticks()
    assert "2 threads" in plotting.plot_benchmark(RESULTS, threads=2).get_xlabel()
    assert len(plotting.plot_benchmark(RESULTS, cases="LSTM B1").get_yticks()) == 1
    path.write_text("{")
    for bad, message in ((path, "is not JSON"), ({}, "the field results"), ({"results": []}, "no case with native")):
        with pytest.raises(ValueError, match=message):
            plotting.plot_benchmark(bad)
    for row in (7, {}, {"name": "a", "threads": 1, "samples": {"native": [], "torch": [1.0]}}):
        with pytest.raises(ValueError, match=r"results\[0\] must have name, threads, and samples"):
            plotting.plot_benchmark({"results": [row]})
    with pytest.raises(ValueError, match=r"on 8 threads; there are \[1, 2\]"):
        plotting.plot_benchmark(RESULTS, threads=8)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'rnnfast\[plot\]'"):
        plotting.plot_training(HISTORY)


def test_matplotlib_is_loaded_on_use():
    code = "import sys, rnnfast.plotting; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
