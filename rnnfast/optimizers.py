"""Optimisers: SGD with momentum, RMSProp, Adagrad, Adam and AdamW, with the formulas and defaults of torch.optim."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from rnnfast._native.interrupts import hold_interrupts
from rnnfast.checks import FloatArray, check_flag, check_mapping, check_number, check_real, kind_of
from rnnfast.clipping import twin
from rnnfast.layers.base import Layer, check_layer


class Optimizer:
    """Base of all optimisers.

    The state belongs to a parameter's name: one optimiser serves one model. Every parameter counts its own steps, so
    that one that joins later gets its own bias correction.

    Parameters
    ----------
    lr : float
        Learning rate, at least 0.
    weight_decay : float, default 0
        At least 0. Added to the gradient as ``weight_decay * parameter`` (L2), except in `AdamW`.
    decay_bias : bool, default False
        Whether parameters with fewer than two dimensions (biases, gains) decay as well. torch.optim decays all that
        it is given, which is ``decay_bias=True``.
    lr_factors : mapping of str to float, optional
        What the learning rate is multiplied with, at least 0, for parameters whose full name matches a pattern as in
        a shell: ``{"*.weight_hh*": 0.1}``. Of several that match the first counts; 0 leaves a parameter as it is,
        decay included.

    Attributes
    ----------
    lr : float
        May be set at any time; the next `update` uses it.
    """

    slots: tuple[str, ...] = ()  # names of the state arrays, in the order the rule takes them
    rule: str  # key of RULES in reference/optim.py and _native/optim.pyx

    def __init__(
        self,
        lr: float,
        weight_decay: float = 0.0,
        decay_bias: bool = False,
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        self.lr = lr
        self.weight_decay = check_number("weight_decay", weight_decay, 0)
        self.decay_bias = check_flag("decay_bias", decay_bias)
        self.lr_factors = _check_factors({} if lr_factors is None else lr_factors)
        self._state: dict[str, tuple[FloatArray, ...]] = {}
        self._steps: dict[str, int] = {}

    @property
    def lr(self) -> float:
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = check_number("lr", value, 0)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments: ``type(opt)(**opt.config())`` makes its like, without state."""
        config = {"lr": self.lr, "weight_decay": self.weight_decay, "decay_bias": self.decay_bias}
        return {**config, "lr_factors": dict(self.lr_factors)} if self.lr_factors else config

    def constants(self, step: int) -> dict[str, float]:
        """Return the constants of rf_optim_step that plain descent has not, for the ``step``-th step (from 1)."""
        return {}

    def factor(self, name: str) -> float:
        """Return what the learning rate is multiplied with for a parameter, by its full name."""
        return next((factor for pattern, factor in self.lr_factors.items() if fnmatchcase(name, pattern)), 1.0)

    def update(self, layer: Layer, grads: Mapping[str, FloatArray], scale: float = 1.0) -> None:
        """Take one step: change the parameters of ``layer`` in place.

        Parameters
        ----------
        layer : Layer
            Whose parameters to change.
        grads : mapping of str to ndarray
            Gradients by full parameter name. Parameters without one stay as they are.
        scale : float, default 1
            Factor on every gradient, such as that of clipping by norm.

        Raises
        ------
        KeyError
            If a gradient's name is not a parameter's.
        TypeError, ValueError
            If a gradient is not real or not of its parameter's shape, ``scale`` is not finite, or the state is that
            of another model. Nothing has changed then.

        Notes
        -----
        Parameters, state and step counts change together: an interrupt during the step is acted upon after it.
        """
        scale = check_number("scale", scale)
        check_layer("layer", layer)
        check_mapping("grads", grads, "arrays by parameter name")
        params = layer.parameters()
        unknown = [name for name in grads if name not in params]
        if unknown:
            raise KeyError(f"grads: no parameter named {', '.join(unknown)}; there are {', '.join(params)}")
        checked, state = [], []
        for name, gradient in grads.items():
            param, kept = params[name], self._state.get(name)
            checked.append(check_real(f"grads[{name!r}]", gradient, param.dtype, param.shape))
            state.append(self._fresh(param) if kept is None else self._checked_state(name, kept, param))
        steps = np.array(self._rows(params, grads, scale)).reshape(-1, 8)
        slots = [[arrays[i] for arrays in state] for i in range(len(self.slots))]
        with hold_interrupts(), layer.update() as arrays:
            twin().update(self.rule, [arrays[name] for name in grads], checked, slots, steps)
            for name, kept in zip(grads, state, strict=True):
                self._state[name] = kept
                self._steps[name] = self._steps.get(name, 0) + 1

    def _rows(self, params: Mapping[str, FloatArray], names: Iterable[str], scale: float) -> list[tuple[float, ...]]:
        """Return a row of rf_optim_step for each name; most parameters of a model have the same."""
        found: dict[tuple[int, float, float], tuple[float, ...]] = {}
        rows = []
        for name in names:
            decay = self.weight_decay if self.decay_bias or params[name].ndim > 1 else 0.0
            key = self._steps.get(name, 0) + 1, decay, self.factor(name) if self.lr_factors else 1.0
            if key not in found:
                found[key] = self._row(*key, scale)
            rows.append(found[key])
        return rows

    def _row(self, step: int, decay: float, factor: float, scale: float) -> tuple[float, ...]:
        """Return one row of rf_optim_step."""
        k = {"scale": scale, "l2": decay, "shrink": 1.0, "rate": self.lr, "a": 0.0, "b": 0.0, "eps": 0.0, "root": 1.0}
        k.update(self.constants(step))
        k["rate"] *= factor
        return tuple(k.values())

    def _fresh(self, param: FloatArray) -> tuple[FloatArray, ...]:
        return tuple(np.zeros(param.shape, param.dtype) for _ in self.slots)

    def _checked_state(self, name: str, state: tuple[FloatArray, ...], param: FloatArray) -> tuple[FloatArray, ...]:
        """Return the state of a parameter if it is one."""
        for array in state:
            if array.shape != param.shape or array.dtype != param.dtype:
                raise ValueError(
                    f"layer: the state of {name} is {array.dtype} of shape {array.shape}, the parameter {param.dtype} "
                    f"of shape {param.shape}; an optimiser serves one model"
                )
        return state

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the state as one flat dict of arrays.

        Returns
        -------
        dict of str to ndarray
            ``"lr"``, and for each parameter ``"<name>/step"`` and ``"<name>/<slot>"``.
        """
        found: dict[str, Any] = {"lr": np.array(self.lr)}
        for name, arrays in self._state.items():
            found[f"{name}/step"] = np.array(self._steps[name])
            found.update({f"{name}/{slot}": a.copy() for slot, a in zip(self.slots, arrays, strict=True)})
        return found

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` of the same kind of optimiser returned; all of it or nothing.

        Raises
        ------
        KeyError
            If an entry is missing or unknown.
        TypeError, ValueError
            If an entry is not real, or the state arrays of a parameter differ in shape.
        """
        check_mapping("state_dict", state_dict, "arrays by name")
        if "lr" not in state_dict:
            raise KeyError("state_dict: missing lr")
        names = [key.removesuffix("/step") for key in state_dict if key.endswith("/step")]
        expected = {"lr", *(f"{name}/{slot}" for name in names for slot in ("step", *self.slots))}
        if expected != set(state_dict):
            missing, unknown = sorted(expected - set(state_dict)), sorted(set(state_dict) - expected)
            raise KeyError(f"state_dict does not fit: missing {missing or 'none'}, unknown {unknown or 'none'}")
        steps = {name: int(state_dict[f"{name}/step"]) for name in names}
        state = {}
        for name in names:
            arrays = [np.array(state_dict[f"{name}/{slot}"], order="C") for slot in self.slots]
            state[name] = tuple(
                check_real(f"{name}/{s}", a, a.dtype, arrays[0].shape) for s, a in zip(self.slots, arrays, strict=True)
            )
        lr = check_number("lr", state_dict["lr"], 0)
        with hold_interrupts():
            self._state, self._steps, self.lr = state, steps, lr

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"


def _check_factors(given: Any) -> dict[str, float]:
    """Return factors of the learning rate by pattern, checked."""
    if not isinstance(given, Mapping) or not all(isinstance(pattern, str) for pattern in given):
        raise TypeError(f"lr_factors must map patterns of names to numbers; got {kind_of(given)}")
    return {pattern: check_number(f"lr_factors[{pattern!r}]", factor, 0) for pattern, factor in given.items()}


class SGD(Optimizer):
    """Gradient descent, with momentum on wish: ``v = momentum v + g``, ``p -= lr v``.

    Parameters
    ----------
    lr : float
        Learning rate, at least 0.
    momentum : float, default 0
        In [0, 1).
    nesterov : bool, default False
        Descend along ``g + momentum v`` instead (Sutskever et al., 2013); needs a momentum.
    weight_decay, decay_bias, lr_factors
        See `Optimizer`.
    """

    def __init__(
        self,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decay_bias: bool = False,
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, decay_bias, lr_factors)
        self.momentum = check_number("momentum", momentum, 0, 1, below=True)
        self.nesterov = check_flag("nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        self.rule = "nesterov" if self.nesterov else "momentum" if self.momentum else "sgd"
        self.slots = ("momentum",) if self.momentum else ()

    def config(self) -> dict[str, Any]:
        return {**super().config(), "momentum": self.momentum, "nesterov": self.nesterov}

    def constants(self, step: int) -> dict[str, float]:
        return {"a": self.momentum}


class RMSProp(Optimizer):
    """Divide by a running root mean square: ``s = alpha s + (1 - alpha) g^2``, ``p -= lr g / (sqrt(s) + eps)``.

    Parameters
    ----------
    lr : float, default 0.01
        Learning rate, at least 0.
    alpha : float, default 0.99
        In [0, 1).
    eps : float, default 1e-8
        Above 0.
    weight_decay, decay_bias, lr_factors
        See `Optimizer`.

    References
    ----------
    Tieleman and Hinton (2012), lecture 6.5 of Neural Networks for Machine Learning.
    """

    rule = "rmsprop"
    slots = ("square",)

    def __init__(
        self,
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decay_bias: bool = False,
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, decay_bias, lr_factors)
        self.alpha = check_number("alpha", alpha, 0, 1, below=True)
        self.eps = check_number("eps", eps, 0, above=True)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "alpha": self.alpha, "eps": self.eps}

    def constants(self, step: int) -> dict[str, float]:
        return {"a": self.alpha, "eps": self.eps}


class Adagrad(Optimizer):
    """Divide by the root of the sum of all squares: ``s += g^2``, ``p -= lr g / (sqrt(s) + eps)``.

    Parameters
    ----------
    lr : float, default 0.01
        Learning rate, at least 0.
    eps : float, default 1e-10
        Above 0.
    weight_decay, decay_bias, lr_factors
        See `Optimizer`.

    References
    ----------
    Duchi, Hazan and Singer (2011), Adaptive subgradient methods.
    """

    rule = "adagrad"
    slots = ("sum",)

    def __init__(
        self,
        lr: float = 0.01,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        decay_bias: bool = False,
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, decay_bias, lr_factors)
        self.eps = check_number("eps", eps, 0, above=True)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "eps": self.eps}

    def constants(self, step: int) -> dict[str, float]:
        return {"eps": self.eps}


class Adam(Optimizer):
    """Running means of the gradient and of its square, both corrected for their start at zero.

    ``m = beta1 m + (1 - beta1) g``, ``v = beta2 v + (1 - beta2) g^2``,
    ``p -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)``.

    Parameters
    ----------
    lr : float, default 0.001
        Learning rate, at least 0.
    betas : tuple of float, default (0.9, 0.999)
        Each in [0, 1).
    eps : float, default 1e-8
        Above 0.
    weight_decay, decay_bias, lr_factors
        See `Optimizer`; `AdamW` decays apart from the gradient, which works better.

    References
    ----------
    Kingma and Ba (2015), Adam: a method for stochastic optimization.
    """

    rule = "adam"
    slots = ("mean", "square")

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decay_bias: bool = False,
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(lr, weight_decay, decay_bias, lr_factors)
        try:
            first, second = betas
        except (TypeError, ValueError):
            raise ValueError(f"betas must be two numbers; got {betas!r}") from None
        self.betas = (
            check_number("betas[0]", first, 0, 1, below=True),
            check_number("betas[1]", second, 0, 1, below=True),
        )
        self.eps = check_number("eps", eps, 0, above=True)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "betas": list(self.betas), "eps": self.eps}

    def constants(self, step: int) -> dict[str, float]:
        a, b = self.betas
        return {"a": a, "b": b, "eps": self.eps, "rate": self.lr / (1 - a**step), "root": (1 - b**step) ** -0.5}


class AdamW(Adam):
    """`Adam` with decoupled weight decay: ``p`` shrinks by ``lr * weight_decay`` of itself at each step.

    Parameters
    ----------
    lr, betas, eps
        See `Adam`.
    weight_decay : float, default 0.01
        At least 0.
    decay_bias, lr_factors
        See `Optimizer`.

    References
    ----------
    Loshchilov and Hutter (2019), Decoupled weight decay regularization.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        decay_bias: bool = False,
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay, decay_bias, lr_factors)

    def _row(self, step: int, decay: float, factor: float, scale: float) -> tuple[float, ...]:
        scale, decay, _, *rest = super()._row(step, decay, factor, scale)
        return (scale, 0.0, 1 - self.lr * factor * decay, *rest)
