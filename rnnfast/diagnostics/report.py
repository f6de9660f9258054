"""What a diagnosis holds, and its words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FAR = 4  # powers of ten: what a gradient loses or gains before it is said to vanish or explode
SATURATED = 0.5
DEAD = 0.1
SMALL, LARGE = 1e-5, 1e-1  # of an update, by the weights


@dataclass(frozen=True)
class LevelReport:
    """One direction of one layer of a recurrent stack.

    Attributes
    ----------
    name : str
        The layer's name in the model and the level's in the layer: "1 l0", "1 l0_reverse".
    gradient_norms : ndarray (T,)
        Norm of dL/dh_t over the batch, for each step in the order of reading: outputs and later steps together.
    gates : dict of str to tuple of float
        Shares near 0 and near 1 of each gate ("h" for a tanh network: near -1 and 1). Empty for other cells.
    exact : bool
        Whether Jacobians were computed whole; else from 32 random directions.
    steps : int
        Steps that the Jacobians were multiplied over: the last of the longest sequence.
    radius, norm : ndarray
        Spectral radius and largest singular value of the Jacobian of single steps, at some of these.
    gain : ndarray (steps + 1,)
        Powers of ten: by what a gradient of the final state has been multiplied, in the root mean square over all
        directions, after going back 0, 1, ... steps.
    product_norm_log10 : float
        Power of ten of the norm of the product of all Jacobians: the most that any direction is multiplied by.
    growth : float
        The gain for each step: below 1 gradients vanish, above they explode.
    """

    name: str
    gradient_norms: NDArray[np.float64]
    gates: dict[str, tuple[float, float]]
    exact: bool = True
    steps: int = 0
    radius: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    norm: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    gain: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    product_norm_log10: float = 0.0
    growth: float = 1.0

    @property
    def verdict(self) -> str:
        """The most a gradient is scaled by, 10,000 times and more, "vanishing" or "exploding"; else "steady"."""
        if not self.steps:
            return "steady"
        if self.product_norm_log10 < -FAR:
            return "vanishing"
        return "exploding" if self.product_norm_log10 > FAR else "steady"


@dataclass(frozen=True)
class LayerReport:
    """One layer's outputs over the valid steps.

    Attributes
    ----------
    name, kind : str
        Its name in the model and its class.
    mean, std, largest, zeros : float
        Mean, standard deviation, largest size and share of exact zeros.
    units, dead : int
        Features, and how many of them never change.
    """

    name: str
    kind: str
    mean: float
    std: float
    largest: float
    zeros: float
    units: int
    dead: int


@dataclass(frozen=True)
class ParameterReport:
    """One parameter.

    Attributes
    ----------
    weight, gradient, update : float
        Norms of the parameter, of its gradient and of what one step of the optimiser adds; NaN without an optimiser.
    """

    weight: float
    gradient: float
    update: float

    @property
    def ratio(self) -> float:
        """The update by the weight; about 1e-3 is common. NaN without an optimiser, or for zeros."""
        return self.update / self.weight if self.weight else math.nan


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found; prints as a verdict.

    Attributes
    ----------
    loss : float
        Of the batch.
    gradient_norm : float
        Over all parameters.
    levels : list of LevelReport
        Recurrent layers, every level and direction.
    layers : list of LayerReport
        All layers, in the order of calls.
    parameters : dict of str to ParameterReport
        By full name.
    advice : list of str
        What to look after, worst first; empty if nothing stands out.
    """

    loss: float
    gradient_norm: float
    levels: list[LevelReport]
    layers: list[LayerReport]
    parameters: dict[str, ParameterReport]
    advice: list[str]

    def __str__(self) -> str:
        lines = [f"loss {self.loss:.4g}, norm of the gradient {self.gradient_norm:.3g}"]
        for level in self.levels:
            lines.append(f"{level.name}: {_through_time(level)}")
            if level.gates:
                shares = ", ".join(f"{gate} {low:.0%} / {high:.0%}" for gate, (low, high) in level.gates.items())
                lines.append(f"    near {'-1' if 'h' in level.gates else '0'} / 1: {shares}")
        for layer in self.layers:
            dead = f", {layer.dead} of {layer.units} units never change" if layer.dead else ""
            lines.append(
                f"{layer.name} ({layer.kind}): outputs {layer.mean:.2g} +- {layer.std:.2g}, at most "
                f"{layer.largest:.2g}{dead}"
            )
        ratios = [(report.ratio, name) for name, report in self.parameters.items() if math.isfinite(report.ratio)]
        if ratios:
            (low, least), (high, most) = min(ratios), max(ratios)
            lines.append(f"update by weight: from {low:.1e} ({least}) to {high:.1e} ({most})")
        lines += [f"! {advice}" for advice in self.advice] or ["nothing stands out"]
        return "\n".join(lines)

    __repr__ = __str__


def _through_time(level: LevelReport) -> str:
    norms = level.gradient_norms
    ends = f"|dL/dh| {norms[0]:.1e} at the first step, {norms[-1]:.1e} at the last" if len(norms) else "no steps"
    if not level.steps:
        return ends
    about = "" if level.exact else " (estimated)"
    return (
        f"{ends}; over {level.steps} steps{about} the recurrence alone scales by 1e{level.product_norm_log10:+.1f} at "
        f"most, {level.growth:.3g} a step, spectral radius {level.radius.max():.3g}: {level.verdict}"
    )


def advise(diagnosis: Diagnosis) -> list[str]:
    """Return what to look after, worst first."""
    found: list[str] = []
    if not math.isfinite(diagnosis.loss) or not math.isfinite(diagnosis.gradient_norm):
        found.append(
            "the loss or its gradient is not finite: lower the rate, clip, and look for bad numbers in the data"
        )
    for level in diagnosis.levels:
        if level.verdict == "exploding":
            found.append(
                f"{level.name}: gradients explode ({level.growth:.3g} a step): clip them (clip_norm=1), start with "
                "orthogonal recurrent weights, lower the rate"
            )
        elif level.verdict == "vanishing":
            found.append(
                f"{level.name}: gradients vanish ({level.growth:.3g} a step): what lies more than about "
                f"{_reach(level)} steps back is not learnt; use an LSTM or GRU with biases that remember, or shorter "
                "sequences"
            )
        for gate, (low, high) in level.gates.items():
            if low + high > SATURATED:
                found.append(
                    f"{level.name}: the {gate} {'units are' if gate == 'h' else 'gate is'} saturated "
                    f"({low:.0%} shut, {high:.0%} open): scale the inputs, or lower the rate"
                )
    for layer in diagnosis.layers:
        if layer.units and layer.dead > DEAD * layer.units:
            found.append(
                f"{layer.name} ({layer.kind}): {layer.dead} of {layer.units} units never change: lower the rate, or "
                "start anew with smaller weights"
            )
    large = [name for name, report in diagnosis.parameters.items() if report.ratio > LARGE]
    ratios = [report.ratio for report in diagnosis.parameters.values() if math.isfinite(report.ratio)]
    if large:
        found.append(f"an update changes {', '.join(large)} by more than a tenth: lower the rate")
    if ratios and max(ratios) < SMALL:
        found.append("updates are less than 1e-5 of the weights everywhere: raise the rate")
    none = [name for name, report in diagnosis.parameters.items() if report.gradient == 0.0]
    if none:
        found.append(f"no gradient reaches {', '.join(none)}")
    return found


def _reach(level: LevelReport) -> int:
    """Return after how many steps a gradient has lost two powers of ten."""
    return max(1, int(np.argmax(level.gain < -2))) if (level.gain < -2).any() else level.steps
