"""Two trainings in turns, and the small models that `bench.small` trains."""

import numpy as np
import pytest

from bench.beside import NAMES, arguments, turns
from bench.small import BATCHES, MODELS, data, native
from rnnfast import use_backend

TRAINEE = """
from bench.beside import arguments, serve

options = arguments("trainee", None, 1).parse_args()
count = 0


def make():
    def train():
        global count
        count += 1
        return {"role": options.role, "count": count}

    return train


serve(make, options.threads)
"""


def test_both_take_turns_in_processes_that_live_on(tmp_path, monkeypatch):
    (tmp_path / "trainee.py").write_text(TRAINEE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    options = arguments("trainee", None, 3).parse_args(["--threads", "1"])
    found = list(turns(options, "trainee"))
    assert found == [{name: {"role": name, "count": turn} for name in NAMES} for turn in (1, 2, 3)]
    assert list(found[1]) == [*NAMES[::-1]]


def test_one_that_does_not_start_is_named(tmp_path, monkeypatch):
    (tmp_path / "trainee.py").write_text("raise SystemExit(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SystemExit, match="rnnfast did not start"):
        list(turns(arguments("trainee", None, 1).parse_args([]), "trainee"))


@pytest.mark.parametrize("model", MODELS[:2], ids=str)
def test_small_models_learn_as_the_reference_does(model):
    x, labels, parameters = data(model)
    assert x.shape == (BATCHES * model.batch, model.steps, model.hidden) and set(labels) == {0, 1, 2, 3}
    assert {array.dtype for array in parameters.values()} == {np.dtype(np.float32)}
    ours = [epoch() for epoch in [native(model)] for _ in range(2)]
    with use_backend("reference"):
        theirs = [epoch() for epoch in [native(model)] for _ in range(2)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert ours[1] < ours[0]
