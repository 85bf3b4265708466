"""One way to fit all networks of series: epochs of batches, clipped Adam, a held-out part, the best weights kept."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter, is_
from typing import Any, NamedTuple, Protocol

import numpy as np

from elman import checks, optim
from elman.params import Array, Params


class Epoch(NamedTuple):
    """What one pass over the data did."""

    epoch: int  # from 1
    loss: float  # mean over the batches, before each update
    validation: float  # loss on the held-out part after it; nan where there is none
    seconds: float


class Objective(Protocol):
    """A loss of a network on a batch, with its gradient."""

    def loss(self, params: Params, batch: Any, grads: Params | None, rng: np.random.Generator | None) -> float:
        """Return the mean loss; add to grads unless it is None, with dropout where an rng is given."""


class Source(Protocol):
    """Training data: new batches for each epoch, and the batches of the held-out part, in order."""

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[Any, float]]:
        """Yield (batch, weight) in random order; the weight is the batch's share in means."""

    def held_out(self) -> Iterator[tuple[Any, float]]:
        """Yield (batch, weight) of the part that is not trained on."""

    def n_batches(self) -> int:
        """Return how many batches an epoch has."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train."""

    learning_rate: float
    max_epochs: int
    clip_norm: float
    schedule: str  # "cosine" or "constant"
    early_stopping: bool
    patience: int  # epochs without a better validation loss, after which to stop

    def check(self, where: str) -> None:
        """Raise ValueError for values out of range."""
        checks.in_range(where, "learning_rate", self.learning_rate, 0, open_low=True)
        checks.in_range(where, "clip_norm", self.clip_norm, 0, open_low=True)
        checks.positive(where, max_epochs=self.max_epochs, patience=self.patience)
        checks.one_of(where, "schedule", self.schedule, ["cosine", "constant"])
        checks.flags(where, early_stopping=self.early_stopping)

    def one_epoch(self) -> Plan:
        """Return the plan of `partial_fit`: one epoch at a constant rate, on everything that is given."""
        return replace(self, max_epochs=1, schedule="constant", early_stopping=False)


def never() -> bool:
    """Return False: the training is not to be stopped."""
    return False


class Fit:
    """A fit in progress: parameters, moments of Adam, random state. Iterate over `epochs` to train.

    Stopping the iteration at any point leaves the best weights so far in `params` after `finish`.
    """

    def __init__(self, where: str, params: Params, objective: Objective, rng: np.random.Generator) -> None:
        self.where = where
        self.params = params
        self.objective = objective
        self.rng = rng
        self.history: list[Epoch] = []
        self._grads = params.zeros_like()
        self._moments = optim.Adam().init(params)
        self._best: tuple[float, Array] | None = None

    def epochs(self, source: Source, plan: Plan, stop: Callable[[], bool] = never) -> Iterator[Epoch]:
        """Train, and yield what each epoch did; an epoch that `stop` cuts short is the last."""
        steps = plan.max_epochs * source.n_batches()
        rate: optim.Rate = plan.learning_rate
        if plan.schedule == "cosine":
            rate = optim.Cosine(plan.learning_rate, total_steps=self._moments.step + steps)
        optimizer = optim.Adam(rate)
        waited = 0
        for _ in range(plan.max_epochs):
            record = self._epoch(source, optimizer, plan, stop)
            if record is None:
                break
            yield record
            if not plan.early_stopping:
                continue
            if self._best is None or not record.validation >= self._best[0]:
                self._best, waited = (record.validation, self.params.flat.copy()), 0
            else:
                waited += 1
            if waited >= plan.patience:
                break

    @property
    def n_steps(self) -> int:
        """Updates so far."""
        return self._moments.step

    def finish(self) -> None:
        """Put the best weights, by the held-out part, into the parameters."""
        if self._best is not None:
            self.params.flat[:] = self._best[1]
            self._best = None

    def _epoch(self, source: Source, optimizer: optim.Optimizer, plan: Plan, stop: Callable[[], bool]) -> Epoch | None:
        start = time.perf_counter()
        total = weights = 0.0
        for batch, weight in source.epoch(self.rng):
            if stop():
                return None
            total += self._step(batch, optimizer, plan.clip_norm) * weight
            weights += weight
        if not weights:
            raise ValueError(f"{self.where}: no target to learn from is known, all are missing")
        validation = self.mean_loss(source.held_out()) if plan.early_stopping else math.nan
        record = Epoch(len(self.history) + 1, total / weights, validation, time.perf_counter() - start)
        self.history.append(record)
        return record

    def _step(self, batch: Any, optimizer: optim.Optimizer, clip_norm: float) -> float:
        self._grads.flat[:] = 0
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is looked for
            value = self.objective.loss(self.params, batch, self._grads, self.rng)
            clipped = optim.clip_by_global_norm(self._grads, clip_norm)
        if not (math.isfinite(value) and math.isfinite(clipped.norm)):
            raise FloatingPointError(
                f"{self.where}: epoch {len(self.history) + 1}: the loss or its gradient is not finite; this step did "
                "not change the weights. Lower learning_rate or clip_norm"
            )
        self._moments = optimizer.update(self.params, self._grads, self._moments)
        return value

    def mean_loss(self, batches: Iterator[tuple[Any, float]]) -> float:
        """Return the mean loss on batches, without dropout; nan if there are none."""
        total = weights = 0.0
        for batch, weight in batches:
            total += self.objective.loss(self.params, batch, None, None) * weight
            weights += weight
        return total / weights if weights else math.nan


def shuffled(lengths: Array, batch_size: int, rng: np.random.Generator) -> list[Array]:
    """Return the numbers of sequences in batches of like length, in random order, other batches each time."""
    order = rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order] * rng.uniform(0.9, 1.1, len(order)), kind="stable")]
    batches = [order[k : k + batch_size] for k in range(0, len(order), batch_size)]
    return [batches[k] for k in rng.permutation(len(batches))]


def in_order(lengths: Sequence[int] | Array, batch_size: int) -> list[Array]:
    """Return the numbers of sequences in batches of like length."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    return [order[k : k + batch_size] for k in range(0, len(order), batch_size)]


class Fixed:
    """Options that a fitted estimator cannot do without, as they were in the fit.

    Parameters
    ----------
    estimator : about to be fitted
    names : of the options
    """

    def __init__(self, estimator: Any, names: Sequence[str]) -> None:
        self._options = attrgetter(*names)
        self._look(self._options(estimator))
        self._values = dict(zip(names, map(_plain, self._found), strict=True))

    def _look(self, found: tuple[Any, ...]) -> None:
        self._found = found
        self._is_constant = all(isinstance(value, CONSTANTS) for value in found)  # none can change in its place

    def unchanged(self, estimator: Any) -> bool:
        """Return whether all are the objects that were looked at last: a quick look, for one value of a live series."""
        return all(map(is_, self._options(estimator), self._found))

    def check(self, where: str, estimator: Any) -> None:
        """Raise ValueError where one of them was changed."""
        if self._is_constant and self.unchanged(estimator):
            return
        found = self._options(estimator)
        for (name, value), now in zip(self._values.items(), map(_plain, found), strict=True):
            if now != value:
                raise ValueError(f"{where}: {name} was {value!r} in the fit and is {now!r} now; fit again")
        self._look(found)


CONSTANTS = (str, int, float, np.generic, type(None))


def _plain(value: Any) -> Any:
    """Return numbers of NumPy as those of Python, and lists and arrays as tuples of these."""
    if isinstance(value, list | tuple | np.ndarray):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


@contextlib.contextmanager
def or_as_before(estimator: Any) -> Iterator[None]:
    """Leave an estimator as it was, fitted or not, where an error comes before the first step of its training."""
    before = dict(vars(estimator))
    fit: Fit | None = before.get("_fit_state")
    n_steps = 0 if fit is None else fit.n_steps
    try:
        yield
    except BaseException:
        now: Fit | None = vars(estimator).get("_fit_state")
        if now is None or now.n_steps == (n_steps if now is fit else 0):
            vars(estimator).clear()
            vars(estimator).update(before)
        raise


def outside() -> int:
    """Return the stacklevel of a caller's warning that names the first line outside of elman."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "elman":
        frame, level = frame.f_back, level + 1
    return level


def generator_of(where: str, random_state: Any) -> np.random.Generator:
    """Return a generator for scikit-learn's random_state, without reading or moving NumPy's global one.

    Parameters
    ----------
    where : the estimator's name, for errors
    random_state : None (new each time), an int, a `numpy.random.Generator`, or a `numpy.random.RandomState`, from which
        one number is drawn
    """
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(int(random_state.randint(2**31)))
    if random_state is None:
        return np.random.default_rng()
    if isinstance(random_state, bool) or not isinstance(random_state, int | np.integer) or random_state < 0:
        raise ValueError(
            f"{where}: random_state must be None, an int of at least 0 or a generator, got {random_state!r}"
        )
    return np.random.default_rng(int(random_state))
