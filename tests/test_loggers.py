"""Records of training: JSON lines, TensorBoard's event files, and the standard logging module."""

import json
import logging
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rnnfast import SGD, Dense, JSONLLogger, MeanSquared, TensorBoardLogger, Trainer, load_model, save_model
from rnnfast.training.progress import TqdmBar

ROOT = Path(__file__).resolve().parents[1]
X = np.linspace(0, 1, 12).reshape(12, 1)


def fit(callbacks, epochs=2, **options):
    trainer = Trainer(Dense(1, 1, seed=0), MeanSquared(), SGD(lr=0.1))
    options = {"batch_size": 4, "validation_split": 0.25, "progress": False, **options}
    history = trainer.fit(X, 2 * X, epochs=epochs, callbacks=callbacks, **options)
    return trainer, history


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    _, history = fit([JSONLLogger(path, every=2)])
    found = lines(path)
    assert [line["event"] for line in found] == ["batch", "epoch", "batch", "batch", "epoch", "end"]
    epochs = [line for line in found if line["event"] == "epoch"]
    for name in history:
        assert [line[name] for line in epochs] == history[name]
    assert [line["step"] for line in epochs] == [3, 6]
    assert [line["step"] for line in found if line["event"] == "batch"] == [2, 4, 6]
    assert found[-1] == {"event": "end", "epoch": 1, "step": 6, "reason": "completed"}


def test_json_lines_go_on_or_start_anew(tmp_path):
    path = tmp_path / "log.jsonl"
    fit([JSONLLogger(path)])
    fit([JSONLLogger(path, append=True)], epochs=1)
    assert len(lines(path)) == 5
    fit([JSONLLogger(path)], epochs=1)
    assert len(lines(path)) == 2


def test_numbers_that_json_lacks_are_null(tmp_path):
    logger = JSONLLogger(tmp_path / "log.jsonl")
    trainer, _ = fit([])
    logger.on_fit_begin(trainer)
    logger.on_epoch_end(trainer, 0, {"epoch": 0, "loss": math.nan, "lr": np.float32(0.5), "best": math.inf})
    assert lines(tmp_path / "log.jsonl")[0] == {
        "event": "epoch",
        "epoch": 0,
        "loss": None,
        "lr": 0.5,
        "best": None,
        "step": 6,
    }


def test_a_folder_that_is_not_there_is_told_before_training(tmp_path):
    with pytest.raises(FileNotFoundError):
        fit([JSONLLogger(tmp_path / "absent" / "log.jsonl")])


@pytest.mark.parametrize(("options", "error"), [({"every": -1}, ValueError), ({"append": "yes"}, TypeError)])
def test_bad_arguments(options, error, tmp_path):
    with pytest.raises(error):
        JSONLLogger(tmp_path / "x", **options)


def events(folder):
    """Return (step, tag, value) of all scalars in the event files of a folder, and the tags of the rest."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    scalars, others = [], []
    for path in folder.iterdir():
        data, at = path.read_bytes(), 0
        while at < len(data):  # length (8 bytes), its check (4), the event, its check (4)
            size = int.from_bytes(data[at : at + 8], "little")
            event = event_pb2.Event.FromString(data[at + 12 : at + 12 + size])
            at += 16 + size
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    scalars.append((event.step, value.tag, value.simple_value))
                else:
                    others.append(value.tag)
    return scalars, others


def test_event_files(tmp_path):
    pytest.importorskip("tensorboardX")
    _, history = fit([TensorBoardLogger(tmp_path / "run", every=1, histograms=True)])
    scalars, others = events(tmp_path / "run")
    for tag, name in (("loss/train", "loss"), ("loss/val", "val_loss"), ("training/lr", "lr")):
        found = [(step, value) for step, key, value in scalars if key == tag]
        assert [step for step, _ in found] == [3, 6]
        assert np.allclose([value for _, value in found], history[name])
    assert [step for step, key, _ in scalars if key == "loss/batch"] == [1, 2, 3, 4, 5, 6]
    assert others.count("weight") == 2 and others.count("bias") == 2


def test_without_the_package_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'rnnfast\[tensorboard\]'"):
        TensorBoardLogger(tmp_path)


def test_standard_logging(caplog, tmp_path):
    with caplog.at_level(logging.DEBUG, logger="rnnfast"):
        trainer, _ = fit([])
        path = save_model(trainer.model, tmp_path / "m.npz")
        load_model(path)
    told = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "rnnfast"]
    assert told[0] == ("INFO", "training begins: 2 epochs of 3 batches")
    assert [text.startswith(f"epoch {k}: loss ") for k, (_, text) in enumerate(told[1:3])] == [True, True]
    assert told[3] == ("INFO", "training ended after 2 epochs: completed")
    assert told[4:] == [("DEBUG", f"wrote 2 arrays to {path}"), ("DEBUG", f"read 2 arrays from {path}")]


def test_the_library_is_silent_by_default():
    code = (
        "import numpy as np, rnnfast as rf; from rnnfast.log import logger; "
        "x = np.ones((4, 1)); rf.Trainer(rf.Dense(1, 1), rf.MeanSquared(), rf.SGD(lr=0.1)).fit(x, x, progress=False); "
        "logger.warning('unheard')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


def test_bars_of_notebooks_are_drawn_and_not_written():
    made = []

    class Bar:
        def __init__(self, **options):
            made.append(options["bar_format"])

    for width in (0, 12):
        TqdmBar(Bar, width).begin_epoch("epoch 1/1", 5)
    assert "|{bar}|" in made[0] and "|{bar:12}|" in made[1]
