"""Optimisers, learning-rate schedules and gradient clipping, all on the flat vector of the parameters."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from elman import checks, kernels
from elman.params import Array, Params

# ------------------------------------------------------------------------------------------------------ schedules


class Schedule(abc.ABC):
    """A learning rate that depends on the number of updates done, from 0."""

    @abc.abstractmethod
    def __call__(self, step: int) -> float:
        """Return the learning rate of the update that follows `step` updates."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate always."""

    rate: float

    def __call__(self, step: int) -> float:  # noqa: D102
        return self.rate


@dataclass(frozen=True)
class StepDecay(Schedule):
    """The rate times `factor` after every `every_steps` updates."""

    rate: float
    _: KW_ONLY
    every_steps: int
    factor: float = 0.5

    def __post_init__(self) -> None:
        checks.positive("StepDecay", every_steps=self.every_steps)

    def __call__(self, step: int) -> float:  # noqa: D102
        return self.rate * self.factor ** (step // self.every_steps)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from `rate` to `final` over `total_steps` updates, then `final` (Loshchilov and Hutter 2017)."""

    rate: float
    _: KW_ONLY
    total_steps: int
    final: float = 0.0

    def __call__(self, step: int) -> float:  # noqa: D102
        done = min(step / max(self.total_steps, 1), 1.0)
        return self.final + (self.rate - self.final) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Warmup(Schedule):
    """A straight rise over the first `warmup_steps` updates, then the schedule `after` from its start."""

    after: Schedule
    _: KW_ONLY
    warmup_steps: int

    def __post_init__(self) -> None:
        if not isinstance(self.after, Schedule):
            raise TypeError(f"Warmup: after must be a schedule, such as Constant({self.after!r}), got {self.after!r}")
        checks.in_range("Warmup", "warmup_steps", self.warmup_steps, 0)

    def __call__(self, step: int) -> float:  # noqa: D102
        if step < self.warmup_steps:
            return self.after(0) * (step + 1) / self.warmup_steps
        return self.after(step - self.warmup_steps)


Rate: TypeAlias = "float | Schedule"

# ----------------------------------------------------------------------------------------------------- optimisers


_RANGES = {  # of the options of all optimisers
    "learning_rate": (0, math.inf),
    "momentum": (0, 1),
    "weight_decay": (0, math.inf),
    "beta1": (0, 1),
    "beta2": (0, 1),
    "decay": (0, 1),
    "epsilon": (0, math.inf),
}


class OptimizerState(NamedTuple):
    """What an optimiser remembers: updates done, and its moments, each a Params like the parameters."""

    step: int
    moments: tuple[Params, ...]


@dataclass(frozen=True)
class Optimizer(abc.ABC):
    """A rule that changes parameters by their gradients.

    ::

        state = optimizer.init(model.params)
        state = optimizer.update(model.params, grads, state)      # writes into the parameters and the moments
    """

    learning_rate: Rate

    def __post_init__(self) -> None:
        name = type(self).__name__
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.floating | np.integer):  # a NumPy scalar would widen float32 weights
                object.__setattr__(self, field.name, value.item())
            low, high = _RANGES.get(field.name, (-math.inf, math.inf))
            if not isinstance(value, bool | Schedule):
                checks.in_range(name, field.name, value, low, high, open_high=high == 1)

    n_moments = 0
    _block = 1 << 14  # numbers that are updated at once: with all that is in between they stay in the cache

    def rate(self, step: int) -> float:
        """Return the learning rate of the update that follows `step` updates."""
        return self.learning_rate(step) if isinstance(self.learning_rate, Schedule) else self.learning_rate

    def init(self, params: Params) -> OptimizerState:
        """Return the state before the first update: moments of zeros."""
        return OptimizerState(0, tuple(params.zeros_like() for _ in range(self.n_moments)))

    def update(self, params: Params, grads: Params, state: OptimizerState) -> OptimizerState:
        """Change the parameters in place by one update and return the state after it; gradients stay as they are."""
        vectors = (params.flat, grads.flat, *(moment.flat for moment in state.moments))
        rate = self.rate(state.step)
        for start in range(0, params.flat.size, self._block):
            w, g, *moments = (vector[start : start + self._block] for vector in vectors)
            self._change(w, g, rate, state.step + 1, *moments)
        return OptimizerState(state.step + 1, state.moments)

    @abc.abstractmethod
    def _change(self, w: Array, g: Array, rate: float, n: int, *moments: Array) -> None:
        """Do update number n (from 1) on a part of the flat vectors of parameters w and gradients g, in place."""


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent: ``v = momentum v + g;  w -= rate v``, or nesterov ``w -= rate (g + momentum v)``."""

    learning_rate: Rate = 0.1
    _: KW_ONLY
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    n_moments = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and not self.momentum:
            raise ValueError("SGD: nesterov needs a momentum above 0")

    def _change(self, w: Array, g: Array, rate: float, n: int, *moments: Array) -> None:
        (v,) = moments
        if self.weight_decay:
            g = g + self.weight_decay * w
        v *= self.momentum
        v += g
        w -= rate * (g + self.momentum * v if self.nesterov else v)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015): the mean of the gradient over the root of the mean of its square, both unbiased.

    ::

        m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
        w -= rate (m / (1 - beta1^n)) / (sqrt(v / (1 - beta2^n)) + epsilon)
    """

    learning_rate: Rate = 1e-3
    _: KW_ONLY
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    n_moments = 2
    _block = 1 << 62  # its kernel sees to it

    def _change(self, w: Array, g: Array, rate: float, n: int, *moments: Array) -> None:
        m, v = moments
        first, second = 1 / (1 - self.beta1**n), math.sqrt(1 / (1 - self.beta2**n))
        kernels.active().adam(w, g, m, v, rate * first, self.beta1, self.beta2, second, self.epsilon)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decay apart from the gradient, ``w -= rate weight_decay w`` (Loshchilov and Hutter 2019)."""

    weight_decay: float = 0.01

    def _change(self, w: Array, g: Array, rate: float, n: int, *moments: Array) -> None:
        w *= 1 - rate * self.weight_decay
        super()._change(w, g, rate, n, *moments)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012): ``v = decay v + (1 - decay) g^2;  w -= rate g / (sqrt(v) + epsilon)``."""

    learning_rate: Rate = 1e-2
    _: KW_ONLY
    decay: float = 0.99
    epsilon: float = 1e-8

    n_moments = 1

    def _change(self, w: Array, g: Array, rate: float, n: int, *moments: Array) -> None:
        (v,) = moments
        v *= self.decay
        v += (1 - self.decay) * (g * g)
        w -= rate * g / (np.sqrt(v) + self.epsilon)


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer 2011): ``v += g^2;  w -= rate g / (sqrt(v) + epsilon)``."""

    learning_rate: Rate = 1e-2
    _: KW_ONLY
    epsilon: float = 1e-10

    n_moments = 1

    def _change(self, w: Array, g: Array, rate: float, n: int, *moments: Array) -> None:
        (v,) = moments
        v += g * g
        w -= rate * g / (np.sqrt(v) + self.epsilon)


# ------------------------------------------------------------------------------------------------------- clipping


class Clipped(NamedTuple):
    """What clipping found and did."""

    norm: float  # global norm before
    clipped_norm: float  # and after
    nonfinite: tuple[str, ...]  # parameters whose gradient has an inf or a NaN; then nothing was changed


def global_norm(arrays: Iterable[Array]) -> float:
    """Return the root of the sum of all squares, also where the squares would overflow; inf or NaN if one number is."""
    arrays = [array for array in arrays if array.size]
    with np.errstate(over="ignore", under="ignore"):
        squares = sum(kernels.active().sum_of_squares(array) for array in arrays)
        if 1e-300 < squares < math.inf:
            return math.sqrt(squares)
        largest = max((float(np.abs(array).max()) for array in arrays), default=0.0)
        if largest == 0 or not math.isfinite(largest) or math.isnan(squares):
            return math.nan if math.isnan(squares) else largest
        scaled = sum(float(np.square(array / np.float64(largest)).sum()) for array in arrays)
        return largest * math.sqrt(scaled)


def clip_by_global_norm(grads: Any, max_norm: float) -> Clipped:
    """Scale all gradients by one factor, in place, so that their common norm is at most max_norm (Pascanu et al. 2013).

    Parameters
    ----------
    grads : Params, or a dict or an iterable of arrays
    max_norm : above 0

    Returns
    -------
    Clipped(norm, clipped_norm, nonfinite)
        with an inf or a NaN anywhere nothing is changed, and `nonfinite` names where

    Raises
    ------
    ValueError
        if there is nothing to clip (an exhausted generator, say)
    """
    checks.in_range("clip_by_global_norm", "max_norm", max_norm, 0, open_low=True)
    named = _named("clip_by_global_norm", grads)
    norm = global_norm(named.values())
    if not math.isfinite(norm):
        return Clipped(norm, norm, _nonfinite(named))
    if norm > max_norm:
        for array in named.values():
            array *= max_norm / norm
    return Clipped(norm, min(norm, max_norm), ())


def clip_by_value(grads: Any, max_value: float) -> Clipped:
    """Limit each number of the gradients to the range from -max_value to max_value, in place. Otherwise as above."""
    checks.in_range("clip_by_value", "max_value", max_value, 0, open_low=True)
    named = _named("clip_by_value", grads)
    norm = global_norm(named.values())
    if not math.isfinite(norm):
        return Clipped(norm, norm, _nonfinite(named))
    for array in named.values():
        np.clip(array, -max_value, max_value, out=array)
    return Clipped(norm, global_norm(named.values()), ())


def clip_per_parameter(grads: Any, max_norm: float) -> Clipped:
    """Scale the gradient of each parameter on its own to a norm of at most max_norm, in place. Otherwise as above."""
    checks.in_range("clip_per_parameter", "max_norm", max_norm, 0, open_low=True)
    named = _named("clip_per_parameter", grads)
    norm = global_norm(named.values())
    if not math.isfinite(norm):
        return Clipped(norm, norm, _nonfinite(named))
    for array in named.values():
        clip_by_global_norm([array], max_norm)
    return Clipped(norm, global_norm(named.values()), ())


def _named(where: str, grads: Any) -> dict[str, Array]:
    if isinstance(grads, np.ndarray):
        grads = [grads]
    named = dict(grads) if hasattr(grads, "keys") else {str(k): array for k, array in enumerate(grads)}
    if not named:
        raise ValueError(f"{where}: nothing to clip: no gradients were given; an iterator can be used up only once")
    return named


def _nonfinite(named: dict[str, Array]) -> tuple[str, ...]:
    return tuple(name for name, array in named.items() if not np.isfinite(array).all())
