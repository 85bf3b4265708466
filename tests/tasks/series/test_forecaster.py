"""Forecasts: they learn, beat the naive ones, look at no future, and go on live with the same numbers."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from elman.tasks.series import RecurrentDetector, RecurrentForecaster, conformal, metrics, networks
from elman.tasks.series.outputs import Output
from elman.tasks.series.view import View, padded
from elman.tasks.series.windows import ForecastObjective, Window

STRATEGIES = ("direct", "recursive", "encoder-decoder")


def seasons(n=3, T=120, m=12, seed=0, noise=0.1):
    """Series (T, 1) with a season of m steps, levels and amplitudes of their own, and noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(T)
    wave = np.sin(2 * np.pi * t / m) + 0.5 * np.cos(4 * np.pi * t / m)
    return [
        (rng.uniform(20, 100) + rng.uniform(3, 9) * (wave + noise * rng.standard_normal(T)))[:, None] for _ in range(n)
    ]


def quick(**options):
    given = {"horizon": 6, "season": 12, "hidden_size": 12, "max_epochs": 12, "learning_rate": 0.01, "batch_size": 4}
    return RecurrentForecaster(**{**given, "random_state": 0, **options})


def fit(model, x, **given):
    """Fit where it does not matter how good the model is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*no better than a naive")
        return model.fit(x, **given)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_beats_the_naive_forecasts_on_values_it_never_saw(strategy):
    series = seasons(noise=0.2)
    train, test = [row[:-12] for row in series], [row[-12:] for row in series]
    model = quick(strategy=strategy, horizon=12, max_epochs=60).fit(train)
    forecasts = model.predict(train)
    assert forecasts.shape == (3, 12, 1)
    ours = np.mean([metrics.mase(a, f, h, 12) for a, f, h in zip(test, forecasts, train, strict=True)])
    theirs = np.mean(
        [metrics.mase(a, metrics.seasonal_naive(h, 12, 12), h, 12) for a, h in zip(test, train, strict=True)]
    )
    assert ours < theirs
    assert model.report_.held_out
    assert model.report_.model.mase < min(model.report_.naive.mase, model.report_.seasonal_naive.mase)


def test_a_model_no_better_than_naive_warns_and_says_the_numbers():
    rng = np.random.default_rng(0)
    walk = [np.cumsum(rng.standard_normal((80, 1)), axis=0)]
    with pytest.warns(UserWarning, match=r"no better than a naive forecast on held-out values \(MASE \d"):
        RecurrentForecaster(max_epochs=1, learning_rate=1e-6, random_state=0).fit(walk)


def test_where_there_is_no_mase_the_warning_looks_at_smape():
    """The series is constant, so the naive forecast has no error there to measure others by."""
    with pytest.warns(UserWarning, match=r"no better than a naive forecast on held-out values \(sMAPE \d"):
        RecurrentForecaster(max_epochs=1, learning_rate=1e-6, random_state=0).fit([np.full((80, 1), 5.0)])


@pytest.mark.parametrize("scaling", ["series", "level", "global", None])
def test_the_report_is_that_of_the_forecasts(scaling):
    """Of the last values, each forecast by `predict` from what was before it."""
    series = seasons()
    model = fit(quick(scaling=scaling), series)
    report = model.backtest(series, n_origins=2, warn=False)
    errors = []
    for row, origin in itertools.product(series, (108, 114)):
        forecast = model.predict([row[:origin]])[0]
        actual = row[origin : origin + 6]
        errors.append((metrics.smape(actual, forecast), metrics.mase(actual, forecast, row[:108], 12)))
    assert tuple(report.model) == pytest.approx(np.mean(errors, axis=0))
    assert report.n_forecasts == 6
    assert "seasonal naive" in str(report)
    assert model.score(series) == -model.backtest(series, n_origins=1, warn=False).model.mase


@pytest.mark.parametrize("covariates", [False, True])
@pytest.mark.parametrize("scaling", ["series", "level", "global", None])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_future_reaches_the_fit(strategy, scaling, covariates):
    """What comes after the training part changes neither scales nor weights, if it is only held out."""
    series = seasons(T=100)
    options = {"strategy": strategy, "scaling": scaling, "baseline": "seasonal", "max_epochs": 2}
    known = [np.random.default_rng(k).standard_normal((100, 2)) for k in range(3)] if covariates else None
    one = fit(quick(**options, validation_fraction=0.1, calibration_fraction=0.1), series, covariates=known)
    ends = one._cuts([100, 100, 100])
    assert (ends.train == 80).all()
    assert (ends.held == 90).all()
    wild = [np.concatenate([row[:80], 1000 * row[80:]]) for row in series]
    if known is not None:  # those of the steps ahead of the last origin that is trained on may well be seen
        known = [np.concatenate([row[:86], 1000 * row[86:]]) for row in known]
    other = fit(quick(**options, validation_fraction=0.1, calibration_fraction=0.1), wild, covariates=known)
    if scaling == "global":  # scales are learnt on the training part alone
        assert np.array_equal(one._whole.scale, other._whole.scale)
    assert [epoch.loss for epoch in one.history_] == [epoch.loss for epoch in other.history_]
    assert np.array_equal(one._params.flat, other._params.flat)
    assert one.report_ != other.report_


@pytest.mark.parametrize("scaling", ["series", "level"])
@pytest.mark.parametrize("options", [{}, {"strategy": "recursive", "output": "gaussian", "n_paths": 7}])
def test_a_forecast_depends_on_its_own_history_only(scaling, options):
    series = seasons()
    model = fit(quick(scaling=scaling, max_epochs=1, **options), series)
    together = model.predict(series)
    assert np.array_equal(together[1], model.predict(series[1:2])[0]) or np.allclose(
        together[1], model.predict(series[1:2])[0], rtol=1e-5
    )
    changed = [series[0] * 5, series[1], series[2][:60]]
    assert np.allclose(model.predict(changed)[1], together[1], rtol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"baseline": "naive", "scaling": "level"},
        {"baseline": "seasonal", "lags": (3,)},
        {"scaling": "global", "lags": (3,)},
        {"scaling": None, "baseline": "naive"},
    ],
)
def test_live_numbers_are_the_offline_numbers(strategy, options):
    """Value by value, in chunks, or all at once: the same state, the same forecast."""
    series = seasons(n=2, T=60)
    scaling = options.get("scaling", "series")
    model = fit(quick(strategy=strategy, max_epochs=1, missing="mask", **options), series)
    hole = [series[0].copy(), series[1][:50].copy()]
    hole[0][20:23] = np.nan
    model.start(["a", "b"], [hole[0][:15], hole[1][:15]])
    units = model._store.get(model._store.numbers(["a", "b"])).units
    for t in range(15, 60):
        if t < 50:
            model.update_many(["b", "a"], [hole[1][t], hole[0][t]])
        else:
            model.update("a", hole[0][t])
    values, lengths = padded(hole, np.nan)
    reader = model._reader
    whole = reader.read(reader.start(units), values, lengths)
    expected = model._point(reader.outlook(whole, rng=model._draws()))
    assert np.allclose(model.forecast("a"), expected[0], rtol=1e-5)
    assert np.allclose(model.forecast("b"), expected[1], rtol=1e-5)
    if scaling in ("global", None):  # units that do not change: the public numbers of the whole series
        assert np.allclose(model.forecast("a"), model.predict(hole[:1])[0], rtol=1e-5)
    model.start(["d"], hole[:1])
    assert np.allclose(model.forecast("d"), model.predict(hole[:1])[0], rtol=1e-5)
    with pytest.raises(KeyError, match="no live series 'c'"):
        model.forecast("c")
    model.update("c", [3.0])  # begins with the units of all
    assert model.forecast("c").shape == (6, 1)


@pytest.mark.parametrize("estimator", [RecurrentForecaster, RecurrentDetector])
def test_a_live_series_is_given_once_a_call(estimator):
    """Two values of one series in a call would be read side by side, and one of them lost."""
    model = fit(estimator(hidden_size=4, max_epochs=1, random_state=0), seasons(n=2, T=60))
    with pytest.raises(ValueError, match="update_many: series 'a' is given twice"):
        model.update_many(["a", "b", "a"], [[1.0], [2.0], [3.0]])
    with pytest.raises(ValueError, match="start: series 'q' is given twice"):
        model.start(["q", "q"], seasons(n=2))
    for call in (model.start, model.update_many):
        with pytest.raises(ValueError, match=r"series_ids must be a list of ids, got 'ab'; pass \['ab'\]"):
            call("ab", seasons(n=2))
    model.update_many(np.array(["a", "b"]), [[1.0], [2.0]])
    assert len(model._store) == 2


def test_a_view_in_chunks_is_the_whole_view():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((4, 30, 2)).cumsum(axis=1)
    values[0, 5:9] = np.nan
    values[2, :3, 1] = np.nan
    for scaling, lags in itertools.product(("series", "level", None), ((), (1, 5))):
        view = View(scaling, 7, "seasonal", 4, lags, True)
        units = view.units(list(values[:, :10]), view.whole(list(values[:, :10])))
        whole = view.look(view.start(units), values, units)
        memory, inputs = view.start(units), []
        for cut in (slice(0, 1), slice(1, 1), slice(1, 8), slice(8, 30)):
            part = view.look(memory, values[:, cut], units)
            memory = part.memory
            inputs.append(part.inputs)
        assert np.array_equal(np.concatenate(inputs, axis=1), whole.inputs)
        assert all(np.array_equal(a, b) for a, b in zip(memory, whole.memory, strict=True))
        later = values.copy()
        later[:, 20:] += 100
        assert np.array_equal(view.look(view.start(units), later, units).inputs[:, :20], whole.inputs[:, :20])


def test_missing_values_are_masked_and_do_not_count_as_targets():
    series = seasons(n=6, T=150, noise=0.3)
    rng = np.random.default_rng(2)
    holes = [np.where(rng.random(row.shape) < 0.15, np.nan, row) for row in series]
    with pytest.raises(ValueError, match="pass missing='mask'"):
        quick().fit(holes)
    model = quick(missing="mask", scaling="series", max_epochs=60).fit([row[:-6] for row in holes])
    forecasts = model.predict([row[:-6] for row in holes])
    assert np.isfinite(forecasts).all()
    errors = [metrics.mase(row[-6:], f, row[:-6], 12) for row, f in zip(series, forecasts, strict=True)]
    assert np.mean(errors) < 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_covariates_that_are_known_ahead_are_used(strategy):
    """The next value is a coin that is known ahead of time: only the covariate tells it."""
    rng = np.random.default_rng(3)
    coin = rng.choice([-1.0, 1.0], size=(4, 110, 1))
    series = list(coin[:, :100] * 3 + 10)
    epochs = 40 if strategy == "encoder-decoder" else 80
    model = quick(strategy=strategy, horizon=3, season=1, max_epochs=epochs, context_steps=32)
    model.fit(series, covariates=coin)
    forecast = model.predict(series, covariates=coin[:, :103])
    assert np.abs(forecast - (coin[:, 100:103] * 3 + 10)).max() < 1
    with pytest.raises(ValueError, match="covariates of series 0 must reach 3 steps past its 100 values, got 100"):
        model.predict(series, covariates=coin[:, :100])
    with pytest.raises(ValueError, match="covariates must be given as in the fit, which had some"):
        model.predict(series)
    model.start(["x"], series[:1], covariates=coin[:1, :103])
    assert np.allclose(model.forecast("x", covariates=coin[0, 100:103]), forecast[0], rtol=1e-5)
    model.update("x", coin[0, 100] * 3 + 10, covariates=coin[0, 100:104])
    ahead = model.forecast("x", covariates=coin[0, 101:104])
    assert np.abs(ahead - (coin[0, 101:104] * 3 + 10)).max() < 1


@pytest.mark.parametrize("output", ["point", "quantile", "gaussian"])
@pytest.mark.parametrize("pair", [False, True])
def test_the_gradient_is_the_gradient(output, pair):
    """Of the loss of windows, with missing targets, along a random direction, in float64."""
    rng = np.random.default_rng(4)
    out = Output(output, "mse", (0.1, 0.5, 0.8))
    S, D, I = 3, 2, 4
    sizes = networks.Sizes("gru", 5, 2, 0.0)
    if pair:
        network = networks.encoder_decoder("test", I, 3, D * out.size, sizes)
    else:
        network = networks.tower("test", I, S * D * out.size, sizes)
    params = networks.draw(network, rng, np.float64)
    params.flat[:] += 0.1 * rng.standard_normal(params.flat.size)
    targets = rng.standard_normal((6, S, D) if pair else (6, 7, S, D))
    targets[rng.random(targets.shape) < 0.2] = np.nan
    lengths = np.array([7, 3, 5, 7, 1, 6])
    if not pair:
        targets[np.arange(7) >= lengths[:, None]] = np.nan
    batch = Window(rng.standard_normal((6, 7, I)), lengths, rng.standard_normal((6, S, 3)) if pair else None, targets)
    objective = ForecastObjective(network, out, S, D)
    grads = params.zeros_like()
    objective.loss(params, batch, grads, None)
    direction, start, step = rng.standard_normal(params.flat.size), params.flat.copy(), 1e-6
    params.flat[:] = start + step * direction
    up = objective.loss(params, batch, None, None)
    params.flat[:] = start - step * direction
    down = objective.loss(params, batch, None, None)
    assert (up - down) / (2 * step) == pytest.approx(grads.flat @ direction, rel=1e-5)


def test_quantiles_do_not_cross_and_lie_where_the_values_do():
    rng = np.random.default_rng(5)
    series = [rng.standard_normal((400, 1)) for _ in range(3)]
    for output in ("quantile", "gaussian"):
        model = fit(quick(output=output, horizon=1, season=1, max_epochs=30), series)
        quantiles = model.predict_quantiles(series, [0.1, 0.3, 0.5, 0.9])[:, 0, 0]
        assert (np.diff(quantiles, axis=1) > 0).all()
        assert np.abs(quantiles.mean(axis=0) - [-1.2816, -0.5244, 0, 1.2816]).max() < 0.4
    with pytest.raises(ValueError, match=r"quantiles were learnt from 0.05 to 0.95, got 0.01"):
        fit(quick(output="quantile", max_epochs=1), series).predict_quantiles(series, [0.01])
    with pytest.raises(ValueError, match="a point forecast has no quantiles"):
        fit(quick(max_epochs=1), series).predict_interval(series)


@pytest.mark.parametrize("output", ["point", "quantile", "gaussian"])
def test_a_calibrated_interval_covers_what_it_promises(output):
    """80 % of values that neither the training nor the calibration saw lie inside of the 80 % intervals."""
    rng = np.random.default_rng(6)
    noise = rng.standard_t(4, size=(500, 70, 1))  # heavier tails than a normal distribution's
    phase = rng.uniform(0, 6.3, (500, 1, 1))  # so that all origins are alike
    series = list(10 + np.sin(np.arange(70)[:, None] / 2 + phase) + 0.4 * noise)
    model = fit(quick(output=output, horizon=4, season=1, max_epochs=3, batch_size=32), series[:100])
    model.calibrate(series[100:250], n_origins=5, start=0.85)
    inside = []
    for coverage in (0.5, 0.8, 0.95):
        lower, upper = model.predict_interval([row[:-4] for row in series[250:]], coverage)
        inside.append(metrics.coverage(np.stack([row[-4:] for row in series[250:]]), lower, upper))
    assert inside == pytest.approx([0.5, 0.8, 0.95], abs=0.05)


@pytest.mark.parametrize(("scaling", "baseline"), [("series", "naive"), ("level", "naive"), ("level", None)])
@pytest.mark.parametrize("kind", ["walk", "trend"])
def test_a_calibrated_interval_covers_what_wanders_or_grows(scaling, baseline, kind):
    """With the default `start`, whose first origins know much less of a series than its end does."""
    rng = np.random.default_rng(8)
    if kind == "walk":
        series = rng.standard_normal((700, 74, 1)).cumsum(axis=1)
    else:
        slope = rng.uniform(0.05, 0.2, (700, 1, 1))
        series = slope * np.arange(74)[:, None] + 0.3 * rng.standard_normal((700, 74, 1))
    options = {"horizon": 4, "season": 1, "baseline": baseline, "scaling": scaling, "max_epochs": 3, "batch_size": 32}
    model = fit(quick(**options), series[:100, :70])
    model.calibrate(series[100:300, :70], n_origins=6)
    for adaptive in (False, True):
        lower, upper = model.predict_interval(series[300:, :70], 0.8, adaptive=adaptive)
        assert metrics.coverage(series[300:, 70:], lower, upper) == pytest.approx(0.8, abs=0.04)


def restless(scale, n=300, T=200, seed=9):
    """Series (n, T, 2) around 10, whose errors are `scale` times as large from half-way on in their first feature."""
    noise = np.random.default_rng(seed).standard_normal((n, T, 2))
    noise[:, T // 2 :, 0] *= scale
    return 10 + noise


@pytest.mark.parametrize("scale", [0.5, 2])
@pytest.mark.parametrize("output", ["point", "quantile", "gaussian"])
def test_adaptive_intervals_hold_where_errors_change_half_way(scale, output):
    """The split level was learnt before, in units that stay: it misses; the other feature has nothing to adapt to."""
    before, after = restless(1, n=100), restless(scale)
    options = {"horizon": 2, "season": 1, "scaling": "global", "max_epochs": 3, "batch_size": 32, "output": output}
    model = fit(quick(**options), before).calibrate(restless(1, n=100, seed=10), n_origins=5)
    found = {}
    for adaptive in (False, True):
        lower, upper = model.predict_interval(after[:, :-2], 0.8, adaptive=adaptive)
        found[adaptive] = [metrics.coverage(after[:, -2:, d], lower[:, :, d], upper[:, :, d]) for d in (0, 1)]
    assert abs(found[False][0] - 0.8) > 0.15
    assert found[True][0] == pytest.approx(0.8, abs=0.07)
    assert found[False][1] == pytest.approx(0.8, abs=0.05)
    assert found[True][1] == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("scaling", ["level", "global"])
def test_adaptive_intervals_are_those_of_each_series_alone(scaling):
    """Whatever stands beside it, of whatever length; the same at each call; too short to adapt on: the split level."""
    series = [row[:end] for row, end in zip(restless(3, n=5), (200, 90, 41, 3, 1), strict=True)]
    model = fit(quick(horizon=3, season=1, scaling=scaling, max_epochs=1), series[:3]).calibrate(series)
    whole = model.predict_interval(series, adaptive=True)
    assert np.array_equal(whole, model.predict_interval(series, adaptive=True))
    for k, row in enumerate(series):
        alone = model.predict_interval([row], adaptive=True)
        assert np.allclose([bound[k] for bound in whole], [bound[0] for bound in alone], rtol=1e-6)
    split = model.predict_interval(series)
    assert all(np.array_equal(a[3:], b[3:]) for a, b in zip(whole, split, strict=True))
    assert not any(np.array_equal(a[0], b[0]) for a, b in zip(whole, split, strict=True))


def test_the_adaptive_level_is_that_of_the_paper():
    """alpha += gamma (1 - coverage - missed share), NaN left out, from the forecasts of `predict` at each origin."""
    series = [np.where(np.arange(200)[:, None] == 170, np.nan, row) for row in restless(3, n=2)]
    known = [np.arange(205.0)[:, None] % 7] * 2
    model = quick(horizon=5, season=1, max_epochs=1, missing="mask", log=True)
    fit(model, series, covariates=known).calibrate(series, covariates=known)
    level = model._adapted(model._values(series), model._covariate_rows(known, series, 0), 0.8)
    for k, row in enumerate(series):
        alpha = np.full(2, 0.2)
        for origin in range(100, 200, 5):
            out = model._forecast([row[:origin]], [known[k][: origin + 5]])
            now = conformal.Adaptive(model._calibration, model._output, 0.8, 1)
            now.alpha[0] = alpha
            low, high = (np.exp(out.base + out.scale * bound)[0] for bound in now.interval(np.array([0]), out.values))
            actual = row[origin : origin + 5]
            missed = np.nanmean(np.where(np.isnan(actual), np.nan, (actual < low) | (actual > high)), axis=0)
            alpha += 0.05 * (0.2 - missed)
        assert level.alpha[k] == pytest.approx(alpha)
    assert (level.alpha != 0.2).any()


def test_adaptive_intervals_need_a_calibration():
    series = seasons(n=2)
    model = fit(quick(max_epochs=1, output="quantile"), series)
    with pytest.raises(ValueError, match="adaptive intervals start from a calibration; use calibration_fraction"):
        model.predict_interval(series, adaptive=True)
    with pytest.raises(ValueError, match="needs at least 4 forecasts to be calibrated on"):
        model.calibrate(series[:1], n_origins=3).predict_interval(series, adaptive=True)
    with pytest.raises(TypeError, match="adaptive must be True or False"):
        model.predict_interval(series, adaptive="yes")


def test_calibration_compares_the_forecasts_of_predict():
    """At each origin, in the units of that moment, whatever came between."""
    series = [row * np.linspace(1, 5, 120)[:, None] for row in seasons()]
    model = fit(quick(max_epochs=1, baseline="naive"), series).calibrate(series, n_origins=3)
    errors = []
    for row in series:
        for origin in (60, 87, 114):
            out = model._outlook([row[:origin]], None)
            errors.append(((row[origin : origin + 6] - model.predict([row[:origin]])[0]) / out.scale[0])[:, 0])
    found = (model._calibration.targets - model._calibration.out[..., 0])[..., 0]
    order = np.lexsort(found.T), np.lexsort(np.array(errors).T)
    assert np.allclose(found[order[0]], np.array(errors)[order[1]], rtol=1e-4, atol=1e-4)


def test_too_few_forecasts_to_calibrate_on_are_refused():
    series = seasons(n=1)
    model = fit(quick(max_epochs=1), series).calibrate(series, n_origins=3)
    assert len(model._calibration.targets) == 3
    with pytest.raises(ValueError, match="an interval of 80 % needs at least 4 forecasts to be calibrated on, got 3"):
        model.predict_interval(series)


def test_recursive_futures_spread_with_the_horizon():
    rng = np.random.default_rng(7)
    walks = [rng.standard_normal((200, 1)).cumsum(axis=0) for _ in range(5)]
    options = {"strategy": "recursive", "output": "gaussian", "season": 1, "baseline": "naive"}
    model = fit(quick(**options, scaling="global", max_epochs=30, horizon=9), walks)
    lower, upper = model.predict_interval(walks, 0.8)
    width = (upper - lower)[..., 0].mean(axis=0)
    assert width[8] / width[0] == pytest.approx(3, rel=0.25)  # of a random walk: as the root of the time
    with pytest.raises(ValueError, match="quantiles of one step cannot be fed back"):
        fit(quick(strategy="recursive", output="quantile"), walks)


def test_logarithms_are_taken_and_given_back():
    growth = [np.exp(np.arange(60) / 20)[:, None] * (1 + 0.1 * np.sin(np.arange(60))[:, None])]
    model = fit(quick(log=True, max_epochs=2, calibration_fraction=0.2, horizon=2), growth)
    assert (model.predict(growth) > 0).all()
    with pytest.raises(ValueError, match="log=True needs values above 0"):
        model.predict([growth[0] - 10])


def test_forms_of_input_give_the_same_forecast():
    series = seasons(n=3, T=40)
    model = fit(quick(max_epochs=1), series)
    cube, flat = np.stack(series), np.stack(series)[:, :, 0]
    assert np.array_equal(model.predict(series), model.predict(cube))
    assert np.array_equal(model.predict(flat), model.predict(cube)[:, :, 0])
    assert np.array_equal(model.predict(list(flat)), model.predict(flat))
    assert fit(quick(max_epochs=1), np.concatenate([cube, cube], axis=2)).predict(
        np.concatenate([cube, cube], axis=2)
    ).shape == (3, 6, 2)


def test_a_search_over_forecasters():
    search = GridSearchCV(quick(max_epochs=2), {"hidden_size": [4, 8]}, cv=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*no better than a naive")
        search.fit(seasons(n=4, T=60))
    assert search.best_score_ < 0  # minus MASE


def test_what_was_of_other_weights_is_forgotten():
    """A live value after an epoch is read by the weights of that epoch, and intervals are calibrated anew."""
    series = seasons()
    model = quick(max_epochs=3)

    def live():
        model.start(["a"])
        for value in (40.0, 50.0):
            model.update("a", value)
        return model.forecast("a")

    def anew():
        model._ticker = None
        return live()

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*no better than a naive")
        for _ in model.fit_epochs(series):
            assert np.array_equal(live(), anew())
    assert np.array_equal(live(), anew())
    model.calibrate(series)
    model.partial_fit(series)
    assert model._calibration is None
    assert np.array_equal(live(), anew())


def test_partial_fit_goes_on_from_the_weights_and_the_scale():
    series = seasons()
    model = quick().partial_fit(series)
    scale = model._whole
    before = model._params.flat.copy()
    model.partial_fit([row * 2 for row in series])
    assert model._whole is scale
    assert not np.array_equal(before, model._params.flat)
    assert len(model.history_) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "oracle"}, "strategy must be one of 'direct', 'recursive', 'encoder-decoder'"),
        ({"baseline": "mean"}, "baseline must be one of None, 'naive', 'seasonal'"),
        ({"output": "quantile", "quantiles": (0.5, 0.1)}, "quantiles must rise"),
        ({"early_stopping": True, "validation_fraction": 0.0}, "early_stopping looks at a held-out part"),
        ({"output": "quantile", "quantiles": (0.8, 0.9)}, "quantiles must reach from 0.5 or below to 0.5 or above"),
        ({"output": "quantile", "quantiles": 0.5}, "quantiles must be a list of numbers, got 0.5"),
        ({"lags": 3}, "lags must be a list of numbers, got 3"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"strategy": "recursive", "output": "gaussian", "n_paths": 1}, "n_paths must be at least 2, got 1"),
        ({"lags": (0,)}, "lags must be at least 1"),
        ({"horizon": 40}, "a horizon of 40 needs series of at least 41 steps, the longest has 30"),
    ],
)
def test_what_cannot_be_is_refused_in_words(options, words):
    with pytest.raises(ValueError, match=words):
        quick(**options).fit(seasons(T=30))


def test_values_that_are_all_missing_are_refused():
    nothing = np.full((2, 40), np.nan)
    with pytest.raises(ValueError, match="RecurrentForecaster: all values to train on are missing"):
        quick(missing="mask").fit(nothing)
    nothing[:, 0] = 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="no target to learn from is known"):
            quick(missing="mask").fit(nothing)


def test_early_stopping_that_cannot_be_is_said():
    with pytest.warns(UserWarning, match="too short to hold out validation_fraction=0.1"):
        fit(quick(horizon=10, early_stopping=True, max_epochs=1), seasons(T=15))


@pytest.mark.parametrize("estimator", [RecurrentForecaster, RecurrentDetector])
def test_live_values_before_a_fit_are_refused(estimator):
    with pytest.raises(NotFittedError):
        estimator().update("a", 1.0)


def test_covariates_of_live_series_are_looked_at():
    series, known = seasons(n=1, T=60), [np.zeros((60, 2))]
    model = fit(quick(horizon=3, max_epochs=1), series, covariates=known)
    model.start(["a"], [series[0][:50]], covariates=known)
    for bad in (np.zeros((1, 2)), np.zeros((9, 2)), np.zeros(2)):
        with pytest.raises(ValueError, match="forecast needs covariates of 3 steps"):
            model.forecast("a", covariates=bad)
        with pytest.raises(ValueError, match="update needs covariates of 4 steps"):
            model.update("a", 1.0, covariates=bad)
    with pytest.raises(ValueError, match="update got a NaN"):
        model.update("a", 1.0, covariates=np.full((4, 2), np.nan))
    assert model.forecast("a", covariates=np.zeros((3, 2))).shape == (3, 1)


@pytest.mark.parametrize("option", [{"horizon": 3}, {"baseline": "naive"}, {"lags": (2,)}, {"log": True}])
def test_options_of_the_fit_cannot_change_after_it(option):
    series = seasons()
    model = fit(quick(max_epochs=1), series).set_params(learning_rate=1e-3, lags=[])
    model.predict(series)
    model.set_params(**option)
    for call in (model.predict, model.backtest, model.calibrate, lambda x: model.start(["a"], x[:1])):
        with pytest.raises(ValueError, match=f"{next(iter(option))} was .* in the fit and is .* now; fit again"):
            call(series)
    fit(model, series).predict(series)


def test_covariates_may_not_be_missing():
    known = [np.zeros((60, 2))]
    known[0][9, 1] = np.nan
    with pytest.raises(ValueError, match=r"covariates of series 0 have a NaN at \[9, 1\]; only values may be missing"):
        quick(missing="mask").fit(seasons(n=1, T=60), covariates=known)


@pytest.mark.parametrize(
    "options", [{"missing": "mask"}, {"cell": "lstm"}, {"hidden_size": 9}, {"n_layers": 2}, {"scaling": "global"}]
)
@pytest.mark.parametrize("kind", [RecurrentForecaster, RecurrentDetector])
def test_no_call_takes_options_that_were_changed_after_the_fit(kind, options):
    series = [row[:40] for row in seasons()]
    model = fit(kind(hidden_size=4, max_epochs=1, random_state=0), series).start(["a"], series[:1])
    model.update("a", 50.0)
    old = model.get_params()
    model.set_params(**options)
    live = [] if kind is RecurrentDetector else [lambda: model.forecast("a"), lambda: model.predict(series)]
    scores = [lambda: model.score_steps(series)] if kind is RecurrentDetector else []
    for call in (
        *live,
        *scores,
        lambda: model.partial_fit(series),
        lambda: model.start(["b"]),
        lambda: model.update("a", 50.0),
        lambda: model.update("new", 50.0),
        lambda: model.update_many(["a"], [50.0]),
    ):
        with pytest.raises(ValueError, match=r"in the fit and is .* now; fit again"):
            call()
    model.set_params(**old).update("a", 50.0)


def test_a_changed_option_is_named_in_plain_numbers():
    model = fit(quick(max_epochs=1, output="quantile", quantiles=np.array([0.05, 0.5])), seasons())
    with pytest.raises(ValueError, match=r"quantiles was \(0.05, 0.5\) in the fit and is \(0.1, 0.5\) now"):
        model.set_params(quantiles=np.array([0.1, 0.5])).predict(seasons())
    with pytest.raises(ValueError, match=r"learning_rate must be above 0, got -0\.1"):
        model.set_params(quantiles=[0.05, 0.5], learning_rate=np.float64(-0.1)).partial_fit(seasons())
    model.set_params(quantiles=[0.05, np.float32(0.5)]).predict(seasons())  # the same in another form


def test_early_stopping_stops_and_keeps_the_best_weights():
    noise = [np.random.default_rng(k).standard_normal(80) for k in range(4)]  # it can only overfit
    options = {"hidden_size": 16, "learning_rate": 0.02, "validation_fraction": 0.2, "season": 1, "horizon": 3}
    model = fit(quick(**options, early_stopping=True, patience=3, max_epochs=200), noise)
    losses = [epoch.validation for epoch in model.history_]
    assert model.n_epochs_ == np.argmin(losses) + 1 + 3 < 200
    best = quick(**options, early_stopping=True, patience=200, max_epochs=200)
    for epoch in best.fit_epochs(noise):
        if epoch.epoch == np.argmin(losses) + 1:
            kept = best._params.flat.copy()
        if epoch.epoch == model.n_epochs_:
            break
    assert np.array_equal(model._params.flat, kept)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("scaling", ["global", None])
def test_live_bits_are_those_of_predict_where_units_are_shared(strategy, scaling):
    """Read one by one in a batch of one, as `predict` reads them: the same operations in the same order."""
    series = seasons()
    model = fit(quick(strategy=strategy, scaling=scaling, max_epochs=1, lags=(12,)), series)
    for value in series[0]:
        model.update_many(["live"], value[None])
    assert np.array_equal(model.forecast("live"), model.predict(series[:1])[0])


@pytest.mark.parametrize("kind", [RecurrentForecaster, RecurrentDetector])
def test_live_series_end_and_leave_their_room_to_others(kind):
    series = seasons()
    model = fit(kind(hidden_size=4, max_epochs=1, random_state=0), series)
    with pytest.raises(KeyError, match="stop: no live series 'a'"):
        model.stop(["a"])
    model.start([f"{k}" for k in range(8)])
    room = len(model._store.arrays[0][0])
    model.stop(["2", "5"]).start(["x", "y"], series[:2])
    assert "2" not in model._store
    assert len(model._store.arrays[0][0]) == room
    assert sorted(model._store.rows.values()) == list(range(8))
    alone = fit(kind(hidden_size=4, max_epochs=1, random_state=0), series).start(["x", "y"], series[:2])
    for value in (50.0, 60.0):
        assert model.update("x", value) == alone.update("x", value)
    with pytest.raises(KeyError, match="stop: no live series '5'"):
        model.stop(["x", "5"])
    assert "x" in model._store
    model.start([f"{k}" for k in range(20)])
    assert len(set(model._store.rows.values())) == len(model._store) == 22
