"""Schedules against closed forms."""

import math

import pytest

from rnnfast.schedules import Constant, Cosine, Moment, OneCycle, Plateau, StepDecay, WarmUp


def at(step, epoch=0, fraction=None):
    return Moment(step, epoch, fraction)


# schedule, moment, expected rate for a base of 2
CASES = [
    (Constant(), at(99, 9), 2.0),
    (StepDecay(3), at(0, 2), 2.0),
    (StepDecay(3), at(0, 3), 0.2),
    (StepDecay(3), at(0, 7), 0.02),
    (StepDecay(2, 0.5, unit="step"), at(5, 0), 0.5),
    (StepDecay([2, 5], 0.5), at(0, 1), 2.0),
    (StepDecay([2, 5], 0.5), at(0, 4), 1.0),
    (StepDecay([2, 5], 0.5), at(0, 5), 0.5),
    (WarmUp(4), at(0), 0.0),
    (WarmUp(4), at(1), 0.5),
    (WarmUp(4), at(4), 2.0),
    (WarmUp(4), at(400), 2.0),
    (WarmUp(4, start=0.5), at(2), 1.5),
    (WarmUp(0.5), at(0, fraction=0.25), 1.0),
    (WarmUp(4, StepDecay(1)), at(2, 1), 0.1),
    (Cosine(10), at(0), 2.0),
    (Cosine(10), at(5), 1.0),
    (Cosine(10), at(10), 0.0),
    (Cosine(10), at(11), 0.0),
    (Cosine(10, min_lr=1.0), at(5), 1.5),
    (Cosine(10), at(2), 1 + math.cos(0.2 * math.pi)),
    (Cosine(10, warmup=4), at(0), 0.0),
    (Cosine(10, warmup=4), at(1), 0.5),
    (Cosine(10, warmup=4), at(4), 2.0),
    (Cosine(10, warmup=4), at(7), 1.0),
    (Cosine(10, warmup=4), at(10), 0.0),
    (Cosine(), at(123, fraction=0.5), 1.0),
    (Cosine(0.5), at(123, fraction=0.25), 1.0),
    (Cosine(0.5, warmup=0.1), at(123, fraction=0.05), 1.0),
    (OneCycle(100), at(0), 0.08),
    (OneCycle(100), at(15), 1.04),
    (OneCycle(100), at(30), 2.0),
    (OneCycle(100), at(65), 1.000004),
    (OneCycle(100), at(100), 8e-6),
    (OneCycle(peak=0.5, start_factor=0, end_factor=0), at(0, fraction=0.75), 1.0),
]


@pytest.mark.parametrize(("schedule", "moment", "expected"), CASES)
def test_closed_forms(schedule, moment, expected):
    assert schedule(2.0, moment) == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert schedule.monitor is None
    assert schedule.state_dict() == {}


@pytest.mark.parametrize("schedule", [Cosine(), WarmUp(0.1), OneCycle()])
def test_a_fraction_of_the_unknown_is_refused(schedule):
    with pytest.raises(ValueError, match="max_seconds"):
        schedule(1.0, at(0))


def test_plateau_counts_epochs_without_progress():
    plateau = Plateau("loss", factor=0.5, patience=2, min_delta=0.1, min_lr=0.3)
    rates = []
    for value in [5.0, 4.0, 3.95, 3.96, 3.95, 3.95, 3.95, 2.0, 2.0, 2.0, math.nan, 2.0, 2.0, 2.0]:
        plateau.observe({"loss": value})
        rates.append(plateau(1.0, at(0)))
    # Patience is used up by the third epoch in a row that is not 0.1 better; the count then starts again.
    assert rates == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3]


def test_plateau_upwards():
    plateau = Plateau("accuracy", factor=0.1, patience=0, mode="max")
    for value, expected in [(0.5, 1.0), (0.6, 1.0), (0.6, 0.1), (0.7, 0.1), (0.2, 0.01)]:
        plateau.observe({"accuracy": value})
        assert plateau(1.0, at(0)) == pytest.approx(expected, rel=1e-12)


def test_plateau_never_raises_a_low_rate():
    assert Plateau(min_lr=1.0)(0.5, at(0)) == 0.5


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: WarmUp(3, s)])
def test_plateau_resumes(wrap):
    straight, first = (wrap(Plateau("loss", factor=0.5, patience=1)) for _ in range(2))
    values = [3.0, 3.0, 3.0, 2.0, 2.0, 2.0]
    for k, value in enumerate(values):
        straight.observe({"loss": value})
        if k == 2:
            state = first.state_dict()
            first = wrap(Plateau("loss", factor=0.5, patience=1))
            first.load_state_dict(state)
        first.observe({"loss": value})
    assert first.state_dict() == straight.state_dict()
    assert first(1.0, at(5)) == straight(1.0, at(5)) == 0.25
    assert first.monitor == "loss"


@pytest.mark.parametrize(
    ("make", "error", "word"),
    [
        (lambda: StepDecay(0), ValueError, "every"),
        (lambda: StepDecay([3, 2]), ValueError, "every"),
        (lambda: StepDecay(1, factor=0), ValueError, "factor"),
        (lambda: StepDecay(1, unit="day"), ValueError, "unit"),
        (lambda: WarmUp(0), ValueError, "length"),
        (lambda: WarmUp(1.5), ValueError, "length"),
        (lambda: WarmUp(3, start=2), ValueError, "start"),
        (lambda: Cosine(10, warmup=10), ValueError, "warmup"),
        (lambda: Cosine(10, warmup=0.5), TypeError, "warmup"),
        (lambda: Cosine("long"), TypeError, "length"),
        (lambda: Cosine(10, min_lr=-1), ValueError, "min_lr"),
        (lambda: OneCycle(peak=1.0), ValueError, "peak"),
        (lambda: Plateau(factor=1.0), ValueError, "factor"),
        (lambda: Plateau(mode="up"), ValueError, "mode"),
        (lambda: Plateau(patience=-1), ValueError, "patience"),
        (lambda: Plateau().load_state_dict({"scale": 1.0}), KeyError, "state_dict"),
        (lambda: Cosine().load_state_dict({"scale": 1.0}), KeyError, "state_dict"),
    ],
)
def test_bad_arguments(make, error, word):
    with pytest.raises(error, match=word):
        make()
