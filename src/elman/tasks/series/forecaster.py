"""Forecasting: `RecurrentForecaster`, for one series or for thousands that share a network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from elman import checks
from elman.params import Array
from elman.tasks.series import conformal, metrics, networks
from elman.tasks.series.fitting import Epoch, Fit, Fixed, Plan, generator_of, never, or_as_before, outside
from elman.tasks.series.inputs import as_sequences, refuse_other_features
from elman.tasks.series.live import Live, Outlook, Reader, Store, distinct, end, join, take
from elman.tasks.series.outputs import Output
from elman.tasks.series.scaling import Standard
from elman.tasks.series.ticking import Ticker
from elman.tasks.series.view import Units, View, padded
from elman.tasks.series.windows import Cutter, ForecastObjective, Known, WindowSource

STRATEGIES = ("direct", "recursive", "encoder-decoder")
SCALINGS = ("series", "level", "global", None)
FIXED = (
    "horizon", "strategy", "output", "loss", "quantiles", "season", "baseline", "scaling", "level_steps", "lags", "log",
    "missing", "cell", "hidden_size", "n_layers", "dropout",
)  # fmt: skip


class Row(NamedTuple):
    """How good forecasts of one kind are: means over series and origins."""

    smape: float
    mase: float


class Report(NamedTuple):
    """The model beside the two forecasts that it has to beat, on values it was not trained on if `held_out`."""

    model: Row
    naive: Row
    seasonal_naive: Row
    held_out: bool
    n_forecasts: int

    def __str__(self) -> str:
        where = "held-out" if self.held_out else "training"
        lines = [f"{self.n_forecasts} forecasts of {where} values     sMAPE     MASE"]
        for name in ("model", "naive", "seasonal_naive"):
            row = getattr(self, name)
            lines.append(f"  {name.replace('_', ' '):32}{row.smape:8.3f} {row.mase:8.3f}")
        return "\n".join(lines)


class RecurrentForecaster(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Forecast series: a recurrent network reads the history of each and predicts the next `horizon` values.

    ::

        z_t = (v_t - level_t) / scale;     h_t = network(z_t, h_{t-1})
        forecast_{t+k} = base_{t,k} + error * (weight_k h_t + bias_k),  k = 1..S

    Parameters
    ----------
    horizon : S, steps ahead
    strategy : "direct", all steps from one state; "recursive", one step, whose result is the next input;
        "encoder-decoder", a second network goes on from the state of the first
    output : "point"; "quantile", the levels of `quantiles`; "gaussian", mean and standard deviation
    loss : of a point output, "mae" or "mse"
    season : m, steps of a season, for the seasonal naive forecast, MASE and baseline="seasonal"
    baseline : what the network corrects: None, the level; "naive", the last value; "seasonal", the value a season
        before
    scaling : units of the network. "level", an exponential mean over `level_steps` that moves along, and the deviation
        from it; "series", mean and standard deviation of each series' training part, for series that stay where they
        are; "global", of all series; None
    level_steps : of the moving level; None: a season, but at least 8
    lags : the network also gets the values at t + 1 - lag of each lag, a decoder those whole lags before each of its
        steps
    log : work on logarithms, for values above 0 that grow by shares
    context_steps : length of the windows to train on; None: as long as 2 seasons and 2 horizons, at least 64
    missing : "error", or "mask" to take NaN as missing: the last value in its place, and an input that says so
    cell, hidden_size, n_layers, dropout : of the network
    learning_rate, schedule, batch_size, max_epochs, clip_norm : of Adam; an epoch uses each value about once
    early_stopping, patience : stop after so many epochs that did not better the held-out loss, and keep the best
        weights
    validation_fraction, calibration_fraction : shares of each series, at its end, that are held out for stopping and
        for the report, and for the calibration of intervals
    n_paths : of a recursive Gaussian forecast, futures to draw
    random_state : None, an int or a generator

    Attributes
    ----------
    report_ : `Report`, sMAPE and MASE of the model, the naive and the seasonal naive forecast
    history_ : list of `Epoch`
    n_epochs_, n_features_in_ : ints

    Warns
    -----
    UserWarning
        where the model is no better than the better of the two naive forecasts
    """

    def __init__(
        self,
        *,
        horizon: int = 1,
        strategy: str = "direct",
        output: str = "point",
        loss: str = "mae",
        quantiles: Sequence[float] = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95),
        season: int = 1,
        baseline: str | None = None,
        scaling: str | None = "level",
        level_steps: int | None = None,
        lags: Sequence[int] = (),
        log: bool = False,
        context_steps: int | None = None,
        missing: str = "error",
        cell: str = "gru",
        hidden_size: int = 64,
        n_layers: int = 1,
        dropout: float = 0.0,
        learning_rate: float = 3e-3,
        schedule: str = "cosine",
        batch_size: int = 32,
        max_epochs: int = 50,
        clip_norm: float = 1.0,
        early_stopping: bool = False,
        patience: int = 10,
        validation_fraction: float = 0.1,
        calibration_fraction: float = 0.0,
        n_paths: int = 100,
        random_state: Any = None,
    ) -> None:
        self.horizon = horizon
        self.strategy = strategy
        self.output = output
        self.loss = loss
        self.quantiles = quantiles
        self.season = season
        self.baseline = baseline
        self.scaling = scaling
        self.level_steps = level_steps
        self.lags = lags
        self.log = log
        self.context_steps = context_steps
        self.missing = missing
        self.cell = cell
        self.hidden_size = hidden_size
        self.n_layers = n_layers
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.clip_norm = clip_norm
        self.early_stopping = early_stopping
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.calibration_fraction = calibration_fraction
        self.n_paths = n_paths
        self.random_state = random_state

    _ticker: Ticker | None = None
    _store: Store | None = None
    _calibration: conformal.Calibration | None = None
    _called = ""  # the name in errors, where another estimator uses this one

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing == "mask"
        tags.target_tags.required = False
        return tags

    # -------------------------------------------------------------------------------------------------------- fitting

    def fit(self, X: Any, y: Any = None, *, covariates: Any = None) -> RecurrentForecaster:
        """Train on series.

        Parameters
        ----------
        X : (n, T, D), (n, T), a list of (T_i, D) or (T_i,), or a data frame in long form; see `as_sequences`
        y : ignored
        covariates : what is known ahead of time, such as the hour or a price: one array (T_i, C) a series
        """
        for _ in self.fit_epochs(X, covariates=covariates):
            pass
        return self

    def fit_epochs(
        self, X: Any, y: Any = None, *, covariates: Any = None, stop: Callable[[], bool] = never
    ) -> Iterator[Epoch]:
        """Train as `fit` does, and yield what each epoch did.

        Leaving the loop ends the training and leaves a usable model; so does `stop`, which is asked before each batch.
        """
        with or_as_before(self):
            yield from self._epochs(X, covariates, stop)

    def _epochs(self, X: Any, covariates: Any, stop: Callable[[], bool]) -> Iterator[Epoch]:
        plan = self._check()
        rows = self._values(X)
        covariate_rows = self._covariate_rows(covariates, rows, 0)
        cuts = self._cuts([len(row) for row in rows])
        if self.early_stopping and (cuts.held == cuts.train).all():
            warnings.warn(
                f"{self._name}: the series are too short to hold out validation_fraction={self.validation_fraction} of "
                "them, so nothing stops the training early",
                stacklevel=outside(),
            )
        rng = generator_of(self._name, self.random_state)
        self._start(_trimmed(rows, cuts.train), _trimmed(covariate_rows, cuts.train), rng)
        source = self._source(rows, covariate_rows, cuts)
        try:
            for epoch in self._fit_state.epochs(source, plan, stop):
                self._ticker = None  # it holds a copy of the weights
                yield epoch
        finally:
            self._ticker = None
            self._fit_state.finish()
            self.n_epochs_ = len(self.history_)
            self._judge(rows, covariate_rows, cuts)

    def partial_fit(self, X: Any, y: Any = None, *, covariates: Any = None) -> RecurrentForecaster:
        """Do one epoch on these series at a constant rate, going on from where it was; the first sets the scales.

        A calibration is forgotten, as it was of other weights: call `calibrate` again.
        """
        with or_as_before(self):
            self._one_epoch(X, covariates)
        return self

    def _one_epoch(self, X: Any, covariates: Any) -> None:
        plan = self._check().one_epoch()
        if hasattr(self, "_fit_state"):
            self._check_fitted()
        rows = self._values(X)
        covariate_rows = self._covariate_rows(covariates, rows, 0)
        if not hasattr(self, "_fit_state"):
            self._start(rows, covariate_rows, generator_of(self._name, self.random_state))
        refuse_other_features(self._name, rows, self.n_features_in_)
        self._ticker = self._calibration = None  # both are of the weights before
        ends = np.array([len(row) for row in rows], np.intp)
        for _ in self._fit_state.epochs(self._source(rows, covariate_rows, Cuts(ends, ends, ends)), plan):
            pass
        self.n_epochs_ = len(self.history_)

    @property
    def _name(self) -> str:
        return self._called or type(self).__name__

    def _check(self) -> Plan:
        name = self._name
        checks.positive(
            name, horizon=self.horizon, season=self.season, batch_size=self.batch_size, n_paths=self.n_paths
        )
        checks.one_of(name, "strategy", self.strategy, STRATEGIES)
        checks.one_of(name, "scaling", self.scaling, SCALINGS)
        checks.one_of(name, "baseline", self.baseline, [None, "naive", "seasonal"])
        checks.one_of(name, "missing", self.missing, ["error", "mask"])
        checks.flags(name, log=self.log)
        for option in ("lags", "quantiles"):
            if np.ndim(getattr(self, option)) != 1:
                raise ValueError(f"{name}: {option} must be a list of numbers, got {getattr(self, option)!r}")
        for lag in self.lags:
            checks.positive(name, lags=lag)
        for option in ("context_steps", "level_steps"):
            if getattr(self, option) is not None:
                checks.positive(name, **{option: getattr(self, option)})
        for option in ("validation_fraction", "calibration_fraction"):
            checks.in_range(name, option, getattr(self, option), 0, 0.5)
        self._output.check(name)
        if self.strategy == "recursive" and self.output == "quantile":
            raise ValueError(
                f"{name}: quantiles of one step cannot be fed back; use output='gaussian', whose futures are drawn, "
                "or strategy='direct'"
            )
        if self.strategy == "recursive" and self.output == "gaussian" and self.n_paths < 2:
            raise ValueError(f"{name}: one future has no spread; n_paths must be at least 2, got {self.n_paths}")
        if self.early_stopping and not self.validation_fraction:
            raise ValueError(f"{name}: early_stopping looks at a held-out part: give validation_fraction above 0")
        plan = Plan(
            self.learning_rate, self.max_epochs, self.clip_norm, self.schedule, self.early_stopping, self.patience
        )
        plan.check(name)
        return plan

    def _check_fitted(self) -> None:
        """Raise NotFittedError before a fit, and ValueError where an option was changed after it."""
        check_is_fitted(self, "n_features_in_")
        self._fitted_with.check(self._name, self)

    @property
    def _output(self) -> Output:
        return Output(self.output, self.loss, tuple(float(level) for level in self.quantiles))

    @property
    def _steps_out(self) -> int:
        return 1 if self.strategy == "recursive" else self.horizon

    @property
    def _view(self) -> View:
        steps = max(self.season, 8) if self.level_steps is None else self.level_steps
        return View(self.scaling, steps, self.baseline, self.season, tuple(self.lags), self.missing == "mask")

    def _values(self, X: Any) -> list[Array]:
        """Return the series in the units that the network works on: logarithms if wanted."""
        rows = as_sequences(self._name, X, missing=self.missing == "mask")
        if not self.log:
            return rows
        for k, row in enumerate(rows):
            if (row <= 0).any():
                t = int(np.argwhere(row <= 0)[0][0])
                raise ValueError(
                    f"{self._name}: series {k} has {row[t].min()} at step {t}; log=True needs values above 0"
                )
        return [np.log(row) for row in rows]

    def _covariate_rows(self, covariates: Any, rows: list[Array], ahead: int) -> list[Array] | None:
        """Return covariates of each series, as long as the series and `ahead` steps more."""
        if covariates is None:
            return None
        given = as_sequences(f"{self._name}: covariates", covariates, missing=True)
        for k, row in enumerate(given):
            if np.isnan(row).any():
                t, c = np.argwhere(np.isnan(row))[0]
                raise ValueError(
                    f"{self._name}: covariates of series {k} have a NaN at [{t}, {c}]; only values may be missing, so "
                    "fill it in"
                )
        if len(given) != len(rows):
            raise ValueError(f"{self._name}: covariates must be given for each of {len(rows)} series, got {len(given)}")
        for k, (own, row) in enumerate(zip(given, rows, strict=True)):
            if len(own) < len(row) + ahead:
                raise ValueError(
                    f"{self._name}: covariates of series {k} must reach {ahead} steps past its {len(row)} values, "
                    f"got {len(own)} steps"
                )
        return [own[: len(row) + ahead] for own, row in zip(given, rows, strict=True)]

    def _cuts(self, lengths: list[int]) -> Cuts:
        """Return where the training, the validation and the calibration part of each series end."""
        whole = np.array(lengths, np.intp)
        if whole.max() <= self.horizon:
            raise ValueError(
                f"{self._name}: a horizon of {self.horizon} needs series of at least {self.horizon + 1} steps, "
                f"the longest has {whole.max()}"
            )

        least = np.maximum(whole // 4, self.horizon + 1)  # that has to be left to train on

        def part(share: float, of: Array) -> Array:
            # A part that is too short for one forecast, or leaves too little, is no part.
            steps = np.maximum(np.rint(whole * share).astype(np.intp), self.horizon)
            return np.where((share > 0) & (of - steps >= least), steps, 0)

        held = whole - part(self.calibration_fraction, whole)
        if self.calibration_fraction and (held == whole).all():
            raise ValueError(
                f"{self._name}: the series are too short to hold out calibration_fraction={self.calibration_fraction} "
                f"of them; leave it out, or calibrate on other series"
            )
        return Cuts(held - part(self.validation_fraction, held), held, whole)

    def _start(self, rows: list[Array], covariates: list[Array] | None, rng: np.random.Generator) -> None:
        """Draw a network for series like these, learn the scales, forget what was learnt before."""
        if all(np.isnan(row).all() for row in rows):
            raise ValueError(f"{self._name}: all values to train on are missing")
        self.n_features_in_ = D = rows[0].shape[1]
        self._fitted_with = Fixed(self, FIXED)
        self._whole = self._view.whole(rows)
        self._covariate_standard = None if covariates is None else Standard.of(covariates)
        C = 0 if covariates is None else covariates[0].shape[1]
        self._n_covariates = C
        S, P = self._steps_out, self._output.size
        sizes = networks.Sizes(self.cell, self.hidden_size, self.n_layers, self.dropout)
        I = self._view.input_size(D)
        self._network: networks.Network
        if self.strategy == "encoder-decoder":
            self._network = networks.encoder_decoder(
                self._name, I + C, 1 + D * (1 + len(self._view.seasons)) + C, D * P, sizes
            )
        else:
            self._network = networks.tower(self._name, I + C * S, S * D * P, sizes)
        self._params = networks.draw(self._network, rng, np.float32)
        self._fit_state = Fit(self._name, self._params, self._objective(), rng)
        self.history_ = self._fit_state.history
        self._calibration = None
        self._store = None
        self._ticker = None

    def _objective(self) -> ForecastObjective:
        return ForecastObjective(self._network, self._output, self._steps_out, self.n_features_in_)

    def _units(self, rows: list[Array]) -> Units:
        return self._view.units(rows, self._whole)

    def _scaled_covariates(self, covariates: list[Array] | None) -> list[Array] | None:
        if (covariates is None) != (self._covariate_standard is None):
            raise ValueError(
                f"{self._name}: covariates must be given as in the fit, which had "
                f"{'some' if self._covariate_standard else 'none'}"
            )
        if covariates is None or self._covariate_standard is None:
            return None
        if covariates[0].shape[1] != self._n_covariates:
            raise ValueError(
                f"{self._name}: covariates must have {self._n_covariates} features, got {covariates[0].shape[1]}"
            )
        return [self._covariate_standard.apply(row) for row in covariates]

    def _source(self, rows: list[Array], covariates: list[Array] | None, cuts: Cuts) -> WindowSource:
        view, S = self._view, self._steps_out
        units = self._units(_trimmed(rows, cuts.train))
        values, lengths = padded(_trimmed(rows, cuts.held), np.nan)
        seen = view.look(view.start(units), values, units, lengths)
        scaled = self._scaled_covariates(covariates)
        known = Known(
            seen,
            np.concatenate([values, np.full((len(rows), S, values.shape[2]), np.nan)], axis=1),
            units,
            None if scaled is None else padded(scaled, 0.0, more=S)[0],
            lengths,
        )
        context = self.context_steps or max(64, 2 * self.season, 2 * self.horizon)
        warm_up = min(context // 4, max(self.season, 8)) if context > 1 else 0
        cutter = Cutter(view, self.strategy, S, known, np.float32)
        return WindowSource(cutter, cuts.train, cuts.held, context, warm_up, self.batch_size)

    def _judge(self, rows: list[Array], covariates: list[Array] | None, cuts: Cuts) -> None:
        """Calibrate, and report how good the forecasts of the held-out part are, beside naive ones."""
        held = cuts.held > cuts.train
        use = np.flatnonzero(held if held.any() else cuts.train > self.horizon)
        first = cuts.train[use] if held.any() else np.maximum(cuts.train[use] - self.horizon, 1)
        ends = cuts.held[use]
        series = [rows[k] for k in use]
        known = None if covariates is None else [covariates[k] for k in use]
        self.report_ = self._report(series, known, first, ends, held_out=bool(held.any()))
        calibrated = np.flatnonzero(cuts.whole > cuts.held)
        if len(calibrated):
            self._calibrate(
                [rows[k] for k in calibrated],
                None if covariates is None else [covariates[k] for k in calibrated],
                cuts.held[calibrated],
            )
        self._warn_if_naive(self.report_)

    # ---------------------------------------------------------------------------------------------------- forecasting

    def predict(self, X: Any, *, covariates: Any = None) -> Any:
        """Return the next `horizon` values of each series: (n, S, D), or (n, S) where X had no axis of features.

        Parameters
        ----------
        X : histories, in any form that `fit` takes; each is read from its start
        covariates : one (T_i + S, C) a series
        """
        return self._shaped(X, self._point(self._forecast(X, covariates)))

    def predict_quantiles(self, X: Any, levels: Sequence[float], *, covariates: Any = None) -> Any:
        """Return quantiles of the next values, (n, S, D, L), or (n, S, L) where X had no axis of features.

        They are those of the output itself: a calibration changes only `predict_interval`.
        """
        return self._shaped(X, self._natural(self._quantiles(self._forecast(X, covariates), levels)), extra=1)

    def predict_interval(self, X: Any, coverage: float = 0.8, *, covariates: Any = None, adaptive: bool = False) -> Any:
        """Return (lower, upper), each like the forecasts of `predict`, which hold a value with probability `coverage`.

        Calibrated where `calibrate` or calibration_fraction was used (split conformal prediction: the share holds on
        average for values like those it was calibrated on); else as the output itself claims.

        Parameters
        ----------
        X, covariates : as in `predict`
        coverage : share of values to hold
        adaptive : for errors that change with time: walk through the end of each history, up to 48 forecasts one
            horizon apart, and ask for more where its intervals missed too much, for less where they missed too little
            (adaptive conformal inference, see `conformal.Adaptive`). The intervals must be calibrated; it costs as
            many forecasts
        """
        self._check_fitted()
        checks.in_range(self._name, "coverage", coverage, 0, 1, open_low=True, open_high=True)
        checks.flags(self._name, adaptive=adaptive)
        if adaptive and self._calibration is None:
            raise ValueError(
                f"{self._name}: adaptive intervals start from a calibration; use calibration_fraction or calibrate"
            )
        out = self._forecast(X, covariates)
        if self._calibration is None:
            pair = self._quantiles(out, [(1 - coverage) / 2, (1 + coverage) / 2])
            bounds = pair[..., 0], pair[..., 1]
        else:
            if adaptive:
                rows = self._values(X)
                level = self._adapted(rows, self._covariate_rows(covariates, rows, 0), coverage)
                low, high = level.interval(np.arange(len(rows)), out.values)
            else:
                low, high = self._calibration.interval(self._output, out.values, coverage)
            bounds = out.base + out.scale * low, out.base + out.scale * high
        return tuple(self._shaped(X, self._natural(bound)) for bound in bounds)

    def _adapted(self, rows: list[Array], covariates: list[Array] | None, coverage: float) -> conformal.Adaptive:
        """Return the levels of intervals after the ends of histories: each forecast by what was before it."""
        assert self._calibration is not None
        S, J = self.horizon, conformal.ORIGINS
        origins = []
        for row in rows:
            own = len(row) - S * np.arange(J, 0, -1)
            origins.append(own[own >= max(len(row) // 2, self.season)])
        made = list(self._at_origins(rows, self._scaled_covariates(covariates), origins))
        level = conformal.Adaptive(self._calibration, self._output, coverage, len(rows))
        if made:
            which = np.concatenate([part.series for part in made])
            left = (np.array([len(row) for row in rows])[which] - np.concatenate([part.origins for part in made])) // S
            out = np.concatenate([part.out.values for part in made])
            targets = np.concatenate([(part.actual - part.out.base) / part.out.scale for part in made])
            for j in range(J, 0, -1):
                now = left == j
                level.learn(which[now], out[now], targets[now])
        return level

    def _point(self, out: Outlook) -> Array:
        """Return point forecasts (n, S, D) as the values came."""
        return self._natural(out.base + out.scale * self._output.center(out.values))

    def _quantiles(self, out: Outlook, levels: Sequence[float]) -> Array:
        for level in levels:
            checks.in_range(self._name, "levels", level, 0, 1, open_low=True, open_high=True)
        quantiles: Array = out.base[..., None] + out.scale[..., None] * self._output.quantiles(out.values, levels)
        return quantiles

    def _forecast(self, X: Any, covariates: Any) -> Outlook:
        self._check_fitted()
        rows = self._values(X)
        refuse_other_features(self._name, rows, self.n_features_in_)
        return self._outlook(rows, self._scaled_covariates(self._covariate_rows(covariates, rows, self.horizon)))

    def _outlook(self, rows: list[Array], covariates: list[Array] | None) -> Outlook:
        """Return forecasts after whole histories, a few hundred series at a time."""
        reader = self._reader
        parts = []
        for k in range(0, len(rows), ROWS):
            some = rows[k : k + ROWS]
            known = None if covariates is None else covariates[k : k + ROWS]
            live = self._read(reader.start(self._units(some)), some, known)
            parts.append(reader.outlook(live, _next(known, some, self.horizon), self._draws()))
        return Outlook(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _read(self, live: Live, rows: list[Array], covariates: list[Array] | None) -> Live:
        values, lengths = padded(rows, np.nan)
        known = None if covariates is None else padded(covariates, 0.0, more=self.horizon)[0]
        return self._reader.read(live, values, lengths, known)

    @property
    def _reader(self) -> Reader:
        return Reader(self._view, self._network, self._params, self._output, self.strategy, self.horizon, self.n_paths)

    def _draws(self) -> np.random.Generator:
        """Return the generator of drawn futures: the same at each call, where random_state is an int."""
        return np.random.default_rng(self.random_state if isinstance(self.random_state, int | np.integer) else 0)

    def _natural(self, values: Array) -> Array:
        """Return values in the units in which they came."""
        return np.exp(values) if self.log else values

    def _shaped(self, X: Any, values: Array, extra: int = 0) -> Array:
        """Return forecasts without the axis of features where X had none."""
        if hasattr(X, "columns"):
            return values
        is_array = isinstance(X, np.ndarray) and X.dtype != object
        flat = X.ndim < 3 if is_array else all(np.ndim(row) == 1 for row in X)
        return values[:, :, 0] if flat and values.ndim == 3 + extra else values

    # ------------------------------------------------------------------------------------------------------ measuring

    def score(self, X: Any, y: Any = None, *, covariates: Any = None) -> float:
        """Return minus the MASE of the last `horizon` values of each series, forecast from those before."""
        return -self.backtest(X, n_origins=1, covariates=covariates, warn=False).model.mase

    def backtest(self, X: Any, *, n_origins: int = 1, covariates: Any = None, warn: bool = True) -> Report:
        """Forecast the ends of series from what was before them, beside the naive forecasts.

        Parameters
        ----------
        X : series; the last n_origins * horizon values of each are forecast, `horizon` at a time
        n_origins : forecasts of each series, one after the other
        covariates : one (T_i, C) a series
        warn : whether to warn where the model is no better than naive

        The report calls these values held out; that they were not in the fit is for the caller to see to.
        """
        self._check_fitted()
        checks.positive(self._name, n_origins=n_origins)
        rows = self._values(X)
        refuse_other_features(self._name, rows, self.n_features_in_)
        whole = np.array([len(row) for row in rows], np.intp)
        first = whole - n_origins * self.horizon
        if first.min() < 1:
            raise ValueError(
                f"{self._name}: {n_origins} forecasts of {self.horizon} steps need series of more than "
                f"{n_origins * self.horizon} steps, the shortest has {whole.min()}"
            )
        report = self._report(rows, self._covariate_rows(covariates, rows, 0), first, whole, held_out=True)
        if warn:
            self._warn_if_naive(report)
        return report

    def calibrate(
        self, X: Any, *, n_origins: int = 50, start: float = 0.5, covariates: Any = None
    ) -> RecurrentForecaster:
        """Learn from series that were not trained on how wide intervals have to be.

        Parameters
        ----------
        X : series, like those to forecast, with as long histories
        n_origins : up to so many forecasts of each are compared with what came
        start : share of each series that lies before the first of them
        covariates : one (T_i, C) a series
        """
        checks.positive(self._name, n_origins=n_origins)
        checks.in_range(self._name, "start", start, 0, 1, open_low=True, open_high=True)
        self._check_fitted()
        rows = self._values(X)
        refuse_other_features(self._name, rows, self.n_features_in_)
        starts = np.array([max(1, int(start * len(row))) for row in rows], np.intp)
        self._calibrate(rows, self._covariate_rows(covariates, rows, 0), starts, n_origins)
        return self

    def _calibrate(self, rows: list[Array], covariates: list[Array] | None, starts: Array, n_origins: int = 50) -> None:
        ends = np.array([len(row) - self.horizon for row in rows], np.intp)
        origins = [
            np.unique(np.linspace(start, end, n_origins).astype(np.intp)) if end >= start else np.empty(0, np.intp)
            for start, end in zip(starts, ends, strict=True)
        ]
        outs, targets = [], []
        for made in self._at_origins(rows, self._scaled_covariates(covariates), origins):
            outs.append(made.out.values)
            targets.append((made.actual - made.out.base) / made.out.scale)
        if not outs:
            raise ValueError(f"{self._name}: no series is long enough to calibrate a horizon of {self.horizon} on")
        self._calibration = conformal.Calibration(
            np.concatenate(outs).astype(np.float32), np.concatenate(targets).astype(np.float32)
        )

    def _at_origins(self, rows: list[Array], covariates: list[Array] | None, origins: list[Array]) -> Iterator[Made]:
        """Yield the forecasts that `predict` would make at origins of each series, and what came.

        An origin is the number of values before it. Units of a series are learnt from those values, anew at each
        origin; where all series share their units the series are read once.
        """
        S = self.horizon
        if self.scaling in (None, "global"):
            for j, (which, out, actual) in enumerate(self._rolling(rows, covariates, origins)):
                yield Made(which, np.array([origins[k][j] for k in which], np.intp), out, actual)
            return
        owner = np.repeat(np.arange(len(rows)), [len(own) for own in origins])
        ends = np.concatenate(origins).astype(np.intp)
        order = np.argsort(ends, kind="stable")  # those of like length side by side
        first = 0
        while first < len(order):
            part = order[first : first + ROWS]
            part = part[: max(1, ROWS * 1000 // int(ends[part[-1]]))]
            first += len(part)
            which, stops = owner[part], ends[part]
            places = list(zip(which, stops, strict=True))
            known = None if covariates is None else [covariates[k][: end + S] for k, end in places]
            out = self._outlook([rows[k][:end] for k, end in places], known)
            yield Made(which, stops, out, np.stack([rows[k][end : end + S] for k, end in places]))

    def _rolling(
        self, rows: list[Array], covariates: list[Array] | None, origins: list[Array]
    ) -> Iterator[tuple[Array, Outlook, Array]]:
        """Yield (series, forecasts, actual values) at the first origin of each series, then at the second, and so on.

        The series are read once, on and on, in their units at the first origin, as live ones are.
        """
        reader, S = self._reader, self.horizon
        firsts = [row[: own[0]] if len(own) else row[:1] for row, own in zip(rows, origins, strict=True)]
        live = reader.start(self._units(firsts))
        done = np.zeros(len(rows), np.intp)
        for j in range(max(map(len, origins))):
            which = np.array([k for k, own in enumerate(origins) if len(own) > j], np.intp)
            ends = np.array([origins[k][j] for k in which], np.intp)
            part = [rows[k][done[k] : end] for k, end in zip(which, ends, strict=True)]
            known = None
            if covariates is not None:
                known = [_held(covariates[k], done[k], end + S) for k, end in zip(which, ends, strict=True)]
            after = self._read(take(live, which), part, known)
            join(live, which, after)
            done[which] = ends
            out = reader.outlook(after, _next(known, part, S), self._draws())
            yield which, out, np.stack([rows[k][end : end + S] for k, end in zip(which, ends, strict=True)])

    def _report(
        self, rows: list[Array], covariates: list[Array] | None, first: Array, ends: Array, *, held_out: bool
    ) -> Report:
        """Return how good forecasts are from `first` to `ends`, `horizon` values at a time."""
        S, m = self.horizon, self.season
        origins = [np.arange(start, end - S + 1, S) for start, end in zip(first, ends, strict=True)]
        natural = [self._natural(row) for row in rows]
        errors: dict[str, list[tuple[float, float]]] = {"model": [], "naive": [], "seasonal": []}
        for made in self._at_origins(rows, self._scaled_covariates(covariates), origins):
            forecasts = self._point(made.out)
            for k, origin, forecast in zip(made.series.tolist(), made.origins.tolist(), forecasts, strict=True):
                history, actual = natural[k][:origin], natural[k][origin : origin + S]
                others = (metrics.naive(history, S), metrics.seasonal_naive(history, S, m))
                for kind, guess in zip(errors, (forecast, *others), strict=True):
                    for d in range(actual.shape[1]):
                        scaled = metrics.mase(actual[:, d], guess[:, d], natural[k][: int(first[k]), d], m)
                        errors[kind].append((metrics.smape(actual[:, d], guess[:, d]), scaled))
        model, naive, seasonal = (Row(*map(_mean, zip(*errors[kind], strict=True))) for kind in errors)
        return Report(model, naive, seasonal, held_out, sum(map(len, origins)))

    def _warn_if_naive(self, report: Report) -> None:
        rows = (report.model, report.naive, report.seasonal_naive)
        # A history that is constant or too short has no MASE.
        name, index = ("sMAPE", 0) if any(row.mase != row.mase for row in rows) else ("MASE", 1)
        model, naive, seasonal = (row[index] for row in rows)
        best = np.fmin(naive, seasonal)
        if best == best and not model < best:
            warnings.warn(
                f"{self._name}: no better than a naive forecast on {'held-out' if report.held_out else 'training'} "
                f"values ({name} {model:.3f}, naive {naive:.3f}, seasonal naive "
                f"{seasonal:.3f}); train longer, give a season, or use the naive one",
                stacklevel=outside(),
            )

    # ----------------------------------------------------------------------------------------------------- live state

    def start(self, series_ids: Sequence[Hashable], X: Any = None, *, covariates: Any = None) -> RecurrentForecaster:
        """Begin series that go on live, or begin them again.

        Their units stay those of their histories, while `predict` learns them from all that it gets: where all series
        share their units (scaling "global" or None), forecasts of live series are those of `predict`, else only right
        after `start`.

        Parameters
        ----------
        series_ids : their ids
        X : their histories, which also set their units; None: no history, and the units of all series of the fit
        covariates : one (T_i + S, C) a series
        """
        self._check_fitted()
        reader, ids = self._reader, distinct(f"{self._name}: start", series_ids)
        if X is None:
            live = reader.start(self._unknown_units(len(ids)))
        else:
            rows = self._values(X)
            refuse_other_features(self._name, rows, self.n_features_in_)
            if len(rows) != len(ids):
                raise ValueError(f"{self._name}: start needs one history an id, got {len(rows)} for {len(ids)} ids")
            known = self._scaled_covariates(self._covariate_rows(covariates, rows, self.horizon))
            live = self._read(reader.start(self._units(rows)), rows, known)
        if self._store is None:
            self._store = Store(reader.start(self._unknown_units(1)))
        self._store.add(ids, live)
        return self

    def _unknown_units(self, n: int) -> Units:
        return Units(*(np.repeat(array, n, axis=0) for array in self._whole))

    def update(self, series_id: Hashable, x_t: Any, *, covariates: Any = None) -> None:
        """Read the next value (D,) of a live series; one that was not begun begins here.

        Parameters
        ----------
        series_id : its id
        x_t : (D,) or a number; NaN where it is missing
        covariates : (1 + S, C), of this step and the next ones
        """
        store = self._store
        if covariates is not None or store is None or series_id not in store or self._n_covariates:
            known = None if covariates is None else [covariates]
            self.update_many([series_id], np.reshape(x_t, (1, -1)), covariates=known)
            return
        ticker = self._ticking()
        ticker.tick(store.arrays, store.rows[series_id], self._next_values(np.reshape(x_t, (1, -1)), 1)[0])

    def stop(self, series_ids: Sequence[Hashable]) -> RecurrentForecaster:
        """End live series: they are forgotten, and their memory goes to the next ones that begin."""
        end(f"{self._name}: stop", self._store, series_ids)
        return self

    def update_many(self, series_ids: Sequence[Hashable], X: Any, *, covariates: Any = None) -> None:
        """Read the next value of many live series at once: ids, X (n, D), and covariates (n, 1 + S, C)."""
        self._check_fitted()
        ids = distinct(f"{self._name}: update_many", series_ids)
        values = self._next_values(X, len(ids))
        new = ids if self._store is None else [key for key in ids if key not in self._store]
        if new:
            self.start(new)
        assert self._store is not None
        known = self._scaled_covariates(self._ahead("update", covariates, (len(ids), 1 + self.horizon)))
        rows = self._store.numbers(ids)
        live = self._reader.read(
            self._store.get(rows), values[:, None], None, None if known is None else np.stack(known)
        )
        self._store.put(rows, live)

    def _ahead(self, where: str, covariates: Any, shape: tuple[int, int]) -> list[Array] | None:
        """Return covariates of live series, (n, steps) and their features, as a list; None for None."""
        if covariates is None:
            return None
        array = np.asarray(covariates, np.float64)
        if array.ndim != 3 or array.shape[:2] != shape:
            raise ValueError(
                f"{self._name}: {where} needs covariates of {shape[1]} steps, ({shape[1]}, C) a series, got "
                f"{array.shape[1:]}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{self._name}: {where} got a NaN or an infinity among the covariates")
        return list(array)

    def _ticking(self) -> Ticker:
        """Return what moves single series on, made anew after a fit; ValueError where options were changed since."""
        if not self._fitted_with.unchanged(self):
            self._check_fitted()
        if self._ticker is None:
            self._ticker = Ticker(self._reader)
        return self._ticker

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_ticker": None}  # it holds native memory, and is made again at need

    def _next_values(self, X: Any, n: int) -> Array:
        """Return the next values of n live series, (n, D), in the units that the network works on."""
        values = np.asarray(X, np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if values.shape != (n, self.n_features_in_):
            raise ValueError(f"{self._name}: update needs values ({n}, {self.n_features_in_}), got {values.shape}")
        if np.isinf(values).any() or (self.missing != "mask" and np.isnan(values).any()):
            raise ValueError(f"{self._name}: update got a NaN or an infinity; missing='mask' takes NaN as missing")
        if self.log and (values <= 0).any():
            raise ValueError(f"{self._name}: update got {values.min()}; log=True needs values above 0")
        return np.log(values) if self.log else values

    def forecast(self, series_id: Hashable, *, covariates: Any = None) -> Array:
        """Return the next `horizon` values (S, D) of a live series; covariates (S, C), of the next steps."""
        self._check_fitted()
        if self._store is None or series_id not in self._store:
            raise KeyError(f"{self._name}: no live series {series_id!r}; begin it with start or update")
        live = self._store.get(self._store.numbers([series_id]))
        known = self._scaled_covariates(
            self._ahead("forecast", None if covariates is None else [covariates], (1, self.horizon))
        )
        out = self._reader.outlook(live, None if known is None else known[0][None], self._draws())
        values: Array = self._point(out)[0]
        return values


ROWS = 256  # series that are read side by side


class Made(NamedTuple):
    """Forecasts at some origins, and what came."""

    series: Array  # (n,) numbers of the series
    origins: Array  # (n,) values before each forecast
    out: Outlook
    actual: Array  # (n, S, D)


class Cuts(NamedTuple):
    """Where the parts of each series end, (n,): training, validation, calibration."""

    train: Array
    held: Array
    whole: Array


@overload
def _trimmed(rows: list[Array], ends: Array) -> list[Array]: ...


@overload
def _trimmed(rows: list[Array] | None, ends: Array) -> list[Array] | None: ...


def _trimmed(rows: list[Array] | None, ends: Array) -> list[Array] | None:
    """Return each row up to its end; None for None."""
    return None if rows is None else [row[:end] for row, end in zip(rows, ends, strict=True)]


def _next(covariates: list[Array] | None, rows: list[Array], horizon: int) -> Array | None:
    """Return the covariates of the steps after each row, (n, S, C)."""
    if covariates is None:
        return None
    return np.stack([_held(own, len(row), len(row) + horizon) for own, row in zip(covariates, rows, strict=True)])


def _held(array: Array, start: int, stop: int) -> Array:
    """Return array[start:stop], the last row again and again past the end."""
    return array[np.minimum(np.arange(start, stop), len(array) - 1)]


def _mean(values: Any) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
