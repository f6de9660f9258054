"""Learning rates that change while training goes on.

A schedule is called with the optimiser's own rate and a `Moment` and returns the rate to use; all but `Plateau` are
pure functions. Lengths given as an int count updates; given as a float they are a fraction of the whole training, which
the trainer knows from the number of epochs or from ``max_seconds``.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rnnfast.checks import call_of, check_choice, check_number, check_size, check_text, kind_of


class Moment(NamedTuple):
    """Where training stands.

    Attributes
    ----------
    step : int
        Updates done before this one.
    epoch : int
        Whole epochs done.
    fraction : float or None
        How much of the training is done, in [0, 1]; None if its length is not known.
    """

    step: int
    epoch: int
    fraction: float | None = None


class Schedule:
    """Base of all schedules."""

    def __repr__(self) -> str:
        return call_of(self)

    def __call__(self, lr: float, moment: Moment) -> float:
        """Return the rate at ``moment``; ``lr`` is the one the optimiser was made with."""
        raise TypeError(f"{type(self).__name__} does not define a rate")

    def observe(self, values: Mapping[str, float]) -> None:
        """Take notice of the losses and metrics of an epoch, by their names in the history."""

    @property
    def monitor(self) -> str | None:
        """The name that `observe` looks up, or None."""
        return None

    def state_dict(self) -> dict[str, float]:
        """Return what `load_state_dict` needs to go on from here: empty for pure functions."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, float]) -> None:
        """Take over what `state_dict` returned."""
        if set(state_dict) != set(self.state_dict()):
            raise KeyError(f"state_dict must have {sorted(self.state_dict())}; got {sorted(state_dict)}")


class Constant(Schedule):
    """The optimiser's own rate throughout."""

    def __call__(self, lr: float, moment: Moment) -> float:
        return lr


class StepDecay(Schedule):
    """Multiply the rate by ``factor`` at every ``every``-th epoch, or at the epochs (or updates) given.

    Parameters
    ----------
    every : int or sequence of int
        A period, or rising points.
    factor : float, default 0.1
        Above 0.
    unit : {"epoch", "step"}, default "epoch"
        What is counted.
    """

    def __init__(self, every: int | Sequence[int], factor: float = 0.1, unit: str = "epoch") -> None:
        self.unit = check_choice("unit", unit, ("epoch", "step"))
        self.factor = check_number("factor", factor, 0, above=True)
        self.every: int | tuple[int, ...]
        if isinstance(every, Sequence):
            self.every = tuple(check_size("every", point) for point in every)
            if list(self.every) != sorted(set(self.every)):
                raise ValueError(f"every must rise; got {list(self.every)}")
        else:
            self.every = check_size("every", every)

    def __call__(self, lr: float, moment: Moment) -> float:
        count = moment.epoch if self.unit == "epoch" else moment.step
        times = count // self.every if isinstance(self.every, int) else bisect_right(self.every, count)
        return lr * self.factor**times


class WarmUp(Schedule):
    """Rise in a straight line from ``start * lr`` to what ``after`` says, over the first ``length``.

    Parameters
    ----------
    length : int or float
        Updates, or a fraction of training.
    after : Schedule, optional
        What follows; it sees the same moments. The optimiser's own rate by default.
    start : float, default 0
        In [0, 1].
    """

    def __init__(self, length: float, after: Schedule | None = None, start: float = 0.0) -> None:
        self.length = _check_length("length", length)
        if after is not None and not isinstance(after, Schedule):
            raise TypeError(f"after must be a Schedule; got {kind_of(after)}")
        self.after = after if after is not None else Constant()
        self.start = check_number("start", start, 0, 1)

    def __call__(self, lr: float, moment: Moment) -> float:
        done = min(1.0, _done(moment, self.length))
        return self.after(lr, moment) * (self.start + (1 - self.start) * done)

    def observe(self, values: Mapping[str, float]) -> None:
        self.after.observe(values)

    @property
    def monitor(self) -> str | None:
        return self.after.monitor

    def state_dict(self) -> dict[str, float]:
        return self.after.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, float]) -> None:
        self.after.load_state_dict(state_dict)


class Cosine(Schedule):
    """Half a cosine from the optimiser's rate down to ``min_lr``, on wish after a warm-up in a straight line.

    Parameters
    ----------
    length : int or float, default 1.0
        Updates, or a fraction of training, from the first update to the end of the cosine; warm-up included.
    warmup : int or float, default 0
        Updates, or a fraction of training; of the same kind as ``length`` and shorter.
    min_lr : float, default 0
        The rate at the end and ever after.

    References
    ----------
    Loshchilov and Hutter (2017), SGDR, without restarts.
    """

    def __init__(self, length: float = 1.0, warmup: float = 0, min_lr: float = 0.0) -> None:
        self.length = _check_length("length", length)
        self.warmup = _check_length("warmup", warmup, least=0)
        if self.warmup and isinstance(self.warmup, int) != isinstance(self.length, int):
            raise TypeError(f"warmup and length must both be int or both float; got {warmup!r} and {length!r}")
        if self.warmup >= self.length:
            raise ValueError(f"warmup must be shorter than length {length}; got {warmup}")
        self.min_lr = check_number("min_lr", min_lr, 0)

    def __call__(self, lr: float, moment: Moment) -> float:
        done, start = _done(moment, self.length), self.warmup / self.length
        if done < start:
            return lr * done / start
        return _cosine(lr, self.min_lr, (done - start) / (1 - start))


class OneCycle(Schedule):
    """Up to the optimiser's rate along half a cosine, then down along a longer one to almost nothing.

    Parameters
    ----------
    length : int or float, default 1.0
        Updates, or a fraction of training.
    peak : float, default 0.3
        Where the highest rate is, as a fraction of ``length``, in (0, 1).
    start_factor : float, default 0.04
        The first rate, as a fraction of the highest.
    end_factor : float, default 4e-6
        The last.

    References
    ----------
    Smith and Topin (2018), Super-convergence; the defaults are those of torch's OneCycleLR.
    """

    def __init__(
        self, length: float = 1.0, peak: float = 0.3, start_factor: float = 0.04, end_factor: float = 4e-6
    ) -> None:
        self.length = _check_length("length", length)
        self.peak = check_number("peak", peak, 0, 1, above=True, below=True)
        self.start_factor = check_number("start_factor", start_factor, 0, 1)
        self.end_factor = check_number("end_factor", end_factor, 0, 1)

    def __call__(self, lr: float, moment: Moment) -> float:
        done = _done(moment, self.length)
        if done < self.peak:
            return _cosine(lr * self.start_factor, lr, done / self.peak)
        return _cosine(lr, lr * self.end_factor, (done - self.peak) / (1 - self.peak))


class Plateau(Schedule):
    """Multiply the rate by ``factor`` whenever a watched value has not got better for ``patience`` epochs.

    Parameters
    ----------
    monitor : str, default "val_loss"
        A name of the history.
    factor : float, default 0.1
        In (0, 1).
    patience : int, default 10
        Epochs without progress that are put up with; the rate falls after one more.
    min_delta : float, default 1e-4
        What a value must be better by, absolute, to count as progress.
    mode : {"min", "max"}, default "min"
        Which way is better.
    min_lr : float, default 0
        The rate does not fall below it.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        mode: str = "min",
        min_lr: float = 0.0,
    ) -> None:
        self._monitor = check_text("monitor", monitor)
        self.factor = check_number("factor", factor, 0, 1, above=True, below=True)
        self.patience = check_size("patience", patience, 0)
        self.min_delta = check_number("min_delta", min_delta, 0)
        self.mode = check_choice("mode", mode, ("min", "max"))
        self.min_lr = check_number("min_lr", min_lr, 0)
        self._scale, self._best, self._waited = 1.0, math.inf, 0

    @property
    def monitor(self) -> str | None:
        return self._monitor

    def __call__(self, lr: float, moment: Moment) -> float:
        return max(lr * self._scale, min(lr, self.min_lr))

    def observe(self, values: Mapping[str, float]) -> None:
        value = values[self._monitor] if self.mode == "min" else -values[self._monitor]
        if value < self._best - self.min_delta:
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited > self.patience:
            self._scale *= self.factor
            self._waited = 0

    def state_dict(self) -> dict[str, float]:
        return {"scale": self._scale, "best": self._best, "waited": self._waited}

    def load_state_dict(self, state_dict: Mapping[str, float]) -> None:
        super().load_state_dict(state_dict)
        self._scale, self._best = float(state_dict["scale"]), float(state_dict["best"])
        self._waited = int(state_dict["waited"])


class ScheduledSampling:
    """The teacher's share, falling with the updates: how often a model is fed the target instead of its own output.

    With i the updates done: "linear" ``max(least, 1 - i / k)``, "exponential" ``max(least, k ** i)``,
    "inverse_sigmoid" ``max(least, k / (k + exp(i / k)))``.

    Parameters
    ----------
    decay : {"linear", "exponential", "inverse_sigmoid"}
        How it falls.
    k : float
        How fast: above 0 for "linear", where it is the number of updates to 0; in (0, 1) for "exponential"; at least 1
        for "inverse_sigmoid", which falls to a half after about ``k log k`` updates.
    least : float, default 0
        What it does not fall below, in [0, 1].

    References
    ----------
    Bengio et al. (2015), Scheduled sampling for sequence prediction with recurrent neural networks.
    """

    def __init__(self, decay: str, k: float, least: float = 0.0) -> None:
        self.decay = check_choice("decay", decay, ("linear", "exponential", "inverse_sigmoid"))
        if self.decay == "exponential":
            self.k = check_number("k", k, 0, 1, above=True, below=True)
        else:
            self.k = check_number("k", k, 0 if self.decay == "linear" else 1, above=self.decay == "linear")
        self.least = check_number("least", least, 0, 1)

    def __repr__(self) -> str:
        return call_of(self)

    def __call__(self, step: int) -> float:
        """Return the share, in [0, 1], after so many updates."""
        if self.decay == "linear":
            share = 1.0 - step / self.k
        elif self.decay == "exponential":
            share = self.k**step
        else:
            share = 1.0 / (1.0 + math.exp(min(step / self.k - math.log(self.k), 700.0)))
        return max(self.least, share)


def _check_length(name: str, value: Any, least: int = 1) -> float:
    """Return updates as an int or a fraction of training as a float in (0, 1]."""
    if isinstance(value, float):
        return check_number(name, value, 0, 1, above=least > 0)
    return check_size(name, value, least)


def _done(moment: Moment, length: float) -> float:
    """Return how much of ``length`` is over at ``moment``: 0 at the first update."""
    if isinstance(length, int):
        return moment.step / length
    if moment.fraction is None:
        raise ValueError(
            f"the schedule's length {length} is a fraction of a training whose end is not known; "
            "give a number of updates, or max_seconds"
        )
    return moment.fraction / length


def _cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * min(1.0, max(0.0, done)))) / 2
