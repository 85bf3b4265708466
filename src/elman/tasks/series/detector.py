"""Anomalies: `RecurrentDetector` scores each value by how far it is from what its past foretold."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted

from elman import checks
from elman.params import Array
from elman.tasks.series.fitting import Epoch, Fixed, never
from elman.tasks.series.forecaster import RecurrentForecaster
from elman.tasks.series.inputs import refuse_other_features
from elman.tasks.series.live import Live, Store, distinct, end
from elman.tasks.series.view import Units, padded

WARM_UP = 30
MARGIN = 1.2  # by which a further alarm has to be stronger than one that is still at rest
FIXED = ("output", "scaling", "level_steps", "lags", "log", "missing", "cell", "hidden_size", "n_layers", "dropout")
TRAINING = ("context_steps", "learning_rate", "batch_size", "clip_norm")  # options that each `partial_fit` looks at
Result = TypeVar("Result")


class Errors(NamedTuple):
    """What is known of the errors of n series; each (n,), ranges (n, D)."""

    n_seen: Array
    mean: Array
    variance: Array
    peak: Array  # the last alarm's score, sinking
    habit: Array  # how many alarms there were of late
    low: Array  # the least and the largest value so far
    high: Array


@dataclass(frozen=True)
class Judge:
    """How errors become scores; every part but the first can be left out.

    ::

        score = (error - mean) / sqrt(variance + error_floor^2)    of the errors before
        score = 1.6 max(score, 8)                for a value that is `novelty` ranges beyond all before
        score = 0 unless score > peak            peak: 1.2 times the last score above it, sinking by 1 / rest_steps
        score = score / (1 + 0.05 habit)         habit: recent alarms, forgotten in `habit_steps`

    Mean and variance have a memory of `error_steps`: share = max(1 / n, 1 / error_steps), mean += share (error - mean),
    variance = (1 - share) (variance + share (error - mean)^2). One event gives one alarm, not hundreds; and where there
    are alarms all the time, they mean less.

    Parameters
    ----------
    error_steps : memory of the error statistics
    error_floor : what is added to the deviation of the errors, in scales of the series: where nearly all is foretold to
        a hair, a hair's breadth is nothing
    novelty : 0 for none, or how far beyond the range of all earlier values a value has to be, in ranges
    rest_steps : 0, or how many steps an alarm keeps others quiet that are not 1.2 times as strong, less as it sinks
    habit_steps : 0, or for how many steps alarms count against further ones
    warm_up_steps : errors that have to be seen before one of them can be unusual
    """

    error_steps: int
    error_floor: float = 0.0
    novelty: float = 0.0
    rest_steps: int = 0
    habit_steps: int = 0
    warm_up_steps: int = WARM_UP

    def __call__(self, errors: Errors, error: Array, values: Array) -> tuple[Errors, Array]:
        """Return what is known after further errors (n,) of values (n, D), NaN where missing, and the scores (n,)."""
        known = ~np.isnan(error)
        deviation = np.where(known, error, 0) - errors.mean
        score = deviation / np.sqrt(errors.variance + max(self.error_floor**2, 1e-12))
        n_seen = errors.n_seen + known
        share = np.maximum(1 / np.maximum(n_seen, 1), 1 / self.error_steps)
        mean = np.where(known, errors.mean + share * deviation, errors.mean)
        variance = np.where(known, (1 - share) * (errors.variance + share * deviation**2), errors.variance)
        if self.novelty:
            score = np.where(self._beyond(errors, values), 1.6 * np.maximum(score, 8), score)
        score = np.where(known & (errors.n_seen >= self.warm_up_steps), score, 0.0)
        peak, habit = errors.peak, errors.habit
        alarm = score > peak if self.rest_steps else score > 0
        raised = score
        if self.rest_steps:
            peak = np.where(alarm, MARGIN * score, peak) * (1 - 1 / self.rest_steps)
            raised = np.where(alarm, score, 0.0)
        if self.habit_steps:
            raised = raised / (1 + 0.05 * habit)
            habit = habit * (1 - 1 / self.habit_steps) + np.where(alarm & (score > 3), np.minimum(score / 6, 3), 0)
        low, high = np.fmin(errors.low, values), np.fmax(errors.high, values)
        return Errors(n_seen, mean, variance, peak, habit, low, high), raised

    def _beyond(self, errors: Errors, values: Array) -> Array:
        """Return whether any value of each row (n, D) is beyond the range of all before it, (n,)."""
        span = errors.high - errors.low
        distance = np.fmax(values - errors.high, errors.low - values)
        beyond: Array = ((span > 0) & (distance > self.novelty * span)).any(axis=1)
        return beyond


class Tracked(NamedTuple):
    """A series and its errors."""

    live: Live
    errors: Errors


class RecurrentDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Find anomalies in series: a recurrent network foretells each value, and a value far from that is unusual.

    ::

        error_t = |v_t - forecast_t| / scale;     score_t = (error_t - mean of errors) / their standard deviation

    Everything is causal: the score of a value depends on it and on those before. Mean and deviation of the errors move
    along, with memory of `error_steps`. With scaling "series" or "level" the units of a series are those of the fit
    where that had one series, and else those of its own first `warm_up_steps` values.

    Parameters
    ----------
    error_steps, error_floor, novelty, rest_steps, habit_steps : how errors become scores, see `Judge`
    warm_up_steps : first values of a series, whose score is 0; where they set its units, give a season or more
    contamination : share of the training scores that lies above `threshold_`
    output : "gaussian", a mean and a deviation, of which the mean is used, or "point", a median
    scaling, level_steps, lags, log, missing : as in `RecurrentForecaster`, as are the following
    cell, hidden_size, n_layers, dropout, context_steps : of the network
    learning_rate, schedule, batch_size, max_epochs, clip_norm, random_state : of the fit

    Options of how errors become scores hold at once where they are changed after a fit; `threshold_` then still is that
    of the old ones, and `contamination` counts at the next fit.

    Attributes
    ----------
    threshold_ : score above which a value is an anomaly
    forecaster_ : `RecurrentForecaster` of one step ahead
    n_features_in_ : int
    """

    def __init__(
        self,
        *,
        error_steps: int = 5000,
        error_floor: float = 0.0,
        novelty: float = 0.0,
        rest_steps: int = 0,
        habit_steps: int = 0,
        warm_up_steps: int = WARM_UP,
        contamination: float = 0.001,
        scaling: str | None = "series",
        level_steps: int | None = None,
        lags: Sequence[int] = (),
        log: bool = False,
        missing: str = "error",
        cell: str = "gru",
        hidden_size: int = 32,
        n_layers: int = 1,
        dropout: float = 0.0,
        output: str = "gaussian",
        context_steps: int | None = None,
        learning_rate: float = 3e-3,
        schedule: str = "cosine",
        batch_size: int = 32,
        max_epochs: int = 30,
        clip_norm: float = 1.0,
        random_state: Any = None,
    ) -> None:
        self.error_steps = error_steps
        self.error_floor = error_floor
        self.novelty = novelty
        self.rest_steps = rest_steps
        self.habit_steps = habit_steps
        self.warm_up_steps = warm_up_steps
        self.contamination = contamination
        self.scaling = scaling
        self.level_steps = level_steps
        self.lags = lags
        self.log = log
        self.missing = missing
        self.cell = cell
        self.hidden_size = hidden_size
        self.n_layers = n_layers
        self.dropout = dropout
        self.output = output
        self.context_steps = context_steps
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.clip_norm = clip_norm
        self.random_state = random_state

    _store: Store | None = None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing == "mask"
        tags.target_tags.required = False
        return tags

    @property
    def _name(self) -> str:
        return type(self).__name__

    def fit(self, X: Any, y: Any = None) -> RecurrentDetector:
        """Train on series that are mostly normal, in any form of `as_sequences`; y is ignored."""
        for _ in self.fit_epochs(X):
            pass
        return self

    def fit_epochs(self, X: Any, y: Any = None, *, stop: Callable[[], bool] = never) -> Iterator[Epoch]:
        """Train as `fit` does, and yield what each epoch did; leaving the loop, or `stop`, leaves a usable detector.

        Until then it is what it was before.
        """
        forecaster = self._new()
        epochs: Any = forecaster.fit_epochs(X, stop=stop)
        try:
            while (epoch := _quietly(lambda: next(epochs, None))) is not None:
                yield epoch
        finally:
            _quietly(epochs.close)
            if hasattr(forecaster, "n_epochs_"):
                self._take(forecaster)
                self._set_threshold(X)

    def partial_fit(self, X: Any, y: Any = None) -> RecurrentDetector:
        """Do one epoch on these series, going on from where it was; live states and the threshold stay."""
        first = not hasattr(self, "threshold_")
        if not first:
            self._check_fitted()
        forecaster = self._new() if first else self.forecaster_
        forecaster.set_params(**{name: getattr(self, name) for name in TRAINING})
        _quietly(lambda: forecaster.partial_fit(X))
        if first:
            self._take(forecaster)
            self._set_threshold(X)
        return self

    def _check(self) -> None:
        checks.positive(self._name, error_steps=self.error_steps, warm_up_steps=self.warm_up_steps)
        checks.one_of(self._name, "output", self.output, ["point", "gaussian"])
        for option in ("error_floor", "novelty", "rest_steps", "habit_steps"):
            checks.in_range(self._name, option, getattr(self, option), 0)
        checks.in_range(self._name, "contamination", self.contamination, 0, 0.5)

    def _new(self) -> RecurrentForecaster:
        """Return a forecaster with these options, to be fitted."""
        self._check()
        own = {"error_steps", "error_floor", "novelty", "rest_steps", "habit_steps", "warm_up_steps", "contamination"}
        options = {name: value for name, value in self.get_params(deep=False).items() if name not in own}
        forecaster = RecurrentForecaster(validation_fraction=0.0, **options)
        forecaster._called = self._name
        return forecaster

    def _take(self, forecaster: RecurrentForecaster) -> None:
        """Go on with this forecaster, and forget what was learnt before."""
        self._fitted_with = Fixed(forecaster, FIXED)
        self.forecaster_ = forecaster
        self._store = None
        self._one_series = False  # whether the fit had one series, whose units are those of all that is scored

    def _set_threshold(self, X: Any) -> None:
        forecaster = self.forecaster_
        self.n_features_in_ = forecaster.n_features_in_
        rows = forecaster._values(X)
        self._one_series = len(rows) == 1
        if self._one_series:
            forecaster._whole = forecaster._units(rows)
        scores = np.concatenate(self.score_steps(X))
        self.threshold_ = float(np.quantile(scores, 1 - self.contamination))

    def _check_fitted(self) -> None:
        """Raise NotFittedError before a fit, and ValueError where an option was changed after it."""
        check_is_fitted(self, "n_features_in_")
        self._fitted_with.check(self._name, self)
        self.forecaster_._check_fitted()

    # -------------------------------------------------------------------------------------------------------- scoring

    def score_steps(self, X: Any) -> list[Array]:
        """Return how unusual each value is, a list of (T_i,); the first ones of a series, and missing ones, have 0."""
        self._check_fitted()
        rows = self.forecaster_._values(X)
        refuse_other_features(self._name, rows, self.n_features_in_)
        errors, values = self._step_errors(rows), padded(rows, np.nan)[0]
        known, judge = _no_errors(len(rows), self.n_features_in_), self._judge
        scores = np.zeros_like(errors)
        for t in range(errors.shape[1]):
            known, scores[:, t] = judge(known, errors[:, t], values[:, t])
        return [score[: len(row)] for score, row in zip(scores, rows, strict=True)]

    @property
    def _judge(self) -> Judge:
        return Judge(
            self.error_steps, self.error_floor, self.novelty, self.rest_steps, self.habit_steps, self.warm_up_steps
        )

    def _units(self, rows: list[Array]) -> Units:
        """Return units that are known before the first value of each series that can have a score."""
        if self._one_series:
            return self.forecaster_._unknown_units(len(rows))
        return self.forecaster_._units([row[: self.warm_up_steps] for row in rows])

    def _step_errors(self, rows: list[Array]) -> Array:
        """Return the error at each step (n, T), in units of the series; NaN where a value or its past is missing."""
        reader = self.forecaster_._reader
        units = self._units(rows)
        values, lengths = padded(rows, np.nan)
        start = reader.start(units)
        first = reader.outlook(start)
        outlooks = reader.every_step(start, values, lengths)
        points = np.concatenate([(first.base + first.scale * first.values[..., 0]), outlooks[:, :-1]], axis=1)
        return _distance(values, points, units)

    def score_samples(self, X: Any) -> Array:
        """Return minus the largest score of each series, (n,): lower is more unusual, as scikit-learn has it."""
        return np.array([-score.max() for score in self.score_steps(X)])

    def decision_function(self, X: Any) -> Array:
        """Return `score_samples` plus the threshold, (n,): negative where a series holds an anomaly."""
        return self.score_samples(X) + self.threshold_

    def predict(self, X: Any) -> Array:
        """Return -1 for each series that holds an anomaly and 1 for the others, (n,); see `detect` for where it is."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def detect(self, X: Any) -> list[Array]:
        """Return which values are anomalies, a list of (T_i,) booleans."""
        return [score > self.threshold_ for score in self.score_steps(X)]

    # ----------------------------------------------------------------------------------------------------- live state

    def start(self, series_ids: Sequence[Hashable], X: Any = None) -> RecurrentDetector:
        """Begin series that go on live, or begin them again.

        Parameters
        ----------
        series_ids : their ids
        X : their histories, whose first values also set their units, as in `score_steps`; None: no history, and the
            units of all series of the fit
        """
        self._check_fitted()
        ids, forecaster = distinct(f"{self._name}: start", series_ids), self.forecaster_
        rows = None if X is None else forecaster._values(X)
        if rows is not None:
            refuse_other_features(self._name, rows, self.n_features_in_)
            if len(rows) != len(ids):
                raise ValueError(f"{self._name}: start needs one history an id, got {len(rows)} for {len(ids)} ids")
        units = forecaster._unknown_units(len(ids)) if rows is None else self._units(rows)
        tracked = Tracked(forecaster._reader.start(units), _no_errors(len(ids), self.n_features_in_))
        if self._store is None:
            one = forecaster._unknown_units(1)
            self._store = Store(Tracked(forecaster._reader.start(one), _no_errors(1, self.n_features_in_)))
        self._store.add(ids, tracked)
        if rows is not None:
            values, lengths = padded(rows, np.nan)
            for t in range(values.shape[1]):
                which = np.flatnonzero(t < lengths)
                self._advance(self._store.numbers([ids[k] for k in which]), values[which, t])
        return self

    def update(self, series_id: Hashable, x_t: Any) -> float:
        """Read the next value (D,) of a live series and return how unusual it is; a new series begins here."""
        store = self._store
        if store is None or series_id not in store:
            return float(self.update_many([series_id], np.reshape(x_t, (1, -1)))[0])
        if not self._fitted_with.unchanged(self):
            self._check_fitted()
        row, ticker = store.rows[series_id], self.forecaster_._ticking()
        values = self.forecaster_._next_values(np.reshape(x_t, (1, -1)), 1)
        tracked: Tracked = store.arrays
        point = ticker.next_value(tracked.live, row)
        units = Units(*(array[row : row + 1] for array in tracked.live.units))
        error = _distance(values[:, None], point[None, None], units)[:, 0]
        errors, score = self._judge(Errors(*(array[row : row + 1] for array in tracked.errors)), error, values)
        for whole, part in zip(tracked.errors, errors, strict=True):
            whole[row : row + 1] = part
        ticker.tick(tracked.live, row, values[0])
        return float(score[0])

    def stop(self, series_ids: Sequence[Hashable]) -> RecurrentDetector:
        """End live series: they are forgotten, and their memory goes to the next ones that begin."""
        end(f"{self._name}: stop", self._store, series_ids)
        return self

    def update_many(self, series_ids: Sequence[Hashable], X: Any) -> Array:
        """Read the next values (n, D) of many live series and return how unusual they are, (n,)."""
        self._check_fitted()
        forecaster = self.forecaster_
        ids = distinct(f"{self._name}: update_many", series_ids)
        values = forecaster._next_values(X, len(ids))
        new = ids if self._store is None else [key for key in ids if key not in self._store]
        if new:
            self.start(new)
        assert self._store is not None
        return self._advance(self._store.numbers(ids), values)

    def _advance(self, rows: Array, values: Array) -> Array:
        assert self._store is not None
        reader, tracked = self.forecaster_._reader, self._store.get(rows)
        outlook = reader.outlook(tracked.live)
        point = outlook.base + outlook.scale * outlook.values[..., 0]
        error = _distance(values[:, None], point, tracked.live.units)[:, 0]
        errors, score = self._judge(tracked.errors, error, values)
        self._store.put(rows, Tracked(reader.read(tracked.live, values[:, None]), errors))
        return score


def _quietly(call: Callable[[], Result]) -> Result:
    """Call without a warning that the last value forecasts as well: it may, and the errors tell all the same."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*no better than a naive forecast")
        return call()


def _no_errors(n: int, D: int) -> Errors:
    zero = np.zeros(n)
    return Errors(np.zeros(n, np.int64), zero, zero, zero, zero, np.full((n, D), np.inf), np.full((n, D), -np.inf))


def _distance(values: Array, points: Array, units: Units) -> Array:
    """Return the root mean square over the known features of (value - forecast) / scale, (n, T)."""
    scaled = (values - points) / units.scale[:, None]
    known = ~np.isnan(scaled)
    n = known.sum(axis=2)
    total = np.where(known, scaled, 0) ** 2
    distance: Array = np.where(n > 0, np.sqrt(total.sum(axis=2) / np.maximum(n, 1)), np.nan)
    return distance
