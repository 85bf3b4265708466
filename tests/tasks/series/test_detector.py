"""Anomalies: found, in time order only, the same live as offline; and the rules of NAB, written down and worked out."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from elman.tasks.series import RecurrentDetector, load, nab, save
from elman.tasks.series.detector import Judge, _no_errors


def waves(seed, T=400, D=1):
    rng = np.random.default_rng(seed)
    return np.sin(np.arange(T) / 5)[:, None] * np.ones(D) + 0.05 * rng.standard_normal((T, D))


@pytest.fixture(scope="module")
def detector():
    return RecurrentDetector(hidden_size=16, max_epochs=40, learning_rate=0.01, random_state=0).fit(
        [waves(seed) for seed in range(4)]
    )


def test_it_finds_what_is_unusual_in_its_place(detector):
    """A value that is quite usual at other times: only one who follows the series sees it."""
    series = waves(9)
    series[250] = -series[250] if abs(series[250, 0]) > 0.5 else series[250] + 1
    scores = detector.score_steps([series])[0]
    assert scores.argmax() in (250, 251)
    assert detector.detect([series])[0][250]
    assert detector.predict([series, waves(10)]).tolist()[0] == -1
    assert detector.score_samples([series])[0] < detector.score_samples([waves(10)])[0]
    assert abs(series).max() < 1.5


@pytest.mark.parametrize("scaling", ["series", "level", "global", None])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("start", [30, 31, 300])
def test_scores_look_at_no_future(scaling, n, start):
    series = waves(9)
    later = series.copy()
    later[start:] += 5
    model = RecurrentDetector(hidden_size=4, max_epochs=1, scaling=scaling, random_state=0)
    model.fit([waves(k) for k in range(n)])
    one, other = (model.score_steps([x])[0] for x in (series, later))
    assert np.array_equal(one[:start], other[:start])
    assert not np.array_equal(one[start:], other[start:])


@pytest.mark.parametrize("D", [1, 3])
@pytest.mark.parametrize("scaling", ["series", "level", "global", None])
@pytest.mark.parametrize("n", [1, 2])
def test_live_scores_are_the_offline_scores(D, scaling, n):
    model = RecurrentDetector(
        hidden_size=4, max_epochs=2, scaling=scaling, missing="mask", random_state=0, rest_steps=20
    )
    model.fit([waves(k, D=D) for k in range(n)])
    x, y = waves(5, 120, D), 3 * waves(6, 120, D)
    y[40:44] = np.nan
    offline = model.score_steps([x, y])
    start = 0
    if n > 1 and scaling in ("series", "level"):  # the first values set the units, so they have to be known at once
        start = 30
        model.start(["x", "y"], [x[:30], y[:30]])
    live = np.array([model.update_many(["y", "x"], [y[t], x[t]]) for t in range(start, 120)])
    assert np.allclose(live[:, 1], offline[0][start:], rtol=1e-3, atol=1e-3)
    assert np.allclose(live[:, 0], offline[1][start:], rtol=1e-3, atol=1e-3)
    assert offline[0].max() > 0
    model.start(["z"], [x[:100]])
    again = [model.update("z", value) for value in x[100:]]
    assert np.allclose(again, offline[0][100:], rtol=1e-3, atol=1e-3)


def test_the_units_of_one_series_come_back_from_a_file(tmp_path):
    model = RecurrentDetector(hidden_size=4, max_epochs=1, warm_up_steps=40, random_state=0).fit([waves(0)])
    save(model, tmp_path / "watch.elman")
    again = load(tmp_path / "watch.elman")
    assert np.array_equal(again.score_steps([2 * waves(1)])[0], model.score_steps([2 * waves(1)])[0])
    assert (again.score_steps([waves(1)])[0][:40] == 0).all()


def test_quantiles_are_no_output_of_a_detector():
    with pytest.raises(ValueError, match="output must be one of 'point', 'gaussian'"):
        RecurrentDetector(output="quantile").fit([waves(0)])


def test_rest_makes_one_alarm_of_one_event(detector):
    series = waves(9)
    series[250:260] += 3
    model = detector
    loud = model.score_steps([series])[0]
    model.rest_steps = 100
    quiet = model.score_steps([series])[0]
    model.rest_steps = 0
    assert (loud[240:300] > 5).sum() > 3
    assert (quiet[240:300] > 5).sum() <= 2
    assert quiet.max() == loud.max()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"error_floor": 0.5},
        {"novelty": 0.1},
        {"rest_steps": 20},
        {"habit_steps": 50},
        {"error_floor": 0.1, "novelty": 0.05, "rest_steps": 30, "habit_steps": 100, "warm_up_steps": 5},
    ],
)
def test_errors_become_scores_by_the_formula(options):
    rng = np.random.default_rng(0)
    errors, values = np.abs(rng.standard_cauchy(300)), rng.standard_cauchy(300)
    judge = Judge(100, **options)
    known, found = _no_errors(1, 1), []
    for error, value in zip(errors, values, strict=True):
        known, score = judge(known, np.array([error]), np.array([[value]]))
        found.append(score[0])

    mean = variance = peak = habit = 0.0
    for t, error in enumerate(errors):
        score = (error - mean) / np.sqrt(variance + max(judge.error_floor**2, 1e-12))
        share = max(1 / (t + 1), 1 / 100)
        mean, variance = mean + share * (error - mean), (1 - share) * (variance + share * (error - mean) ** 2)
        low, high = (values[:t].min(), values[:t].max()) if t else (np.inf, -np.inf)
        if judge.novelty and t > 1 and max(values[t] - high, low - values[t]) > judge.novelty * (high - low):
            score = 1.6 * max(score, 8)
        score = score if t >= judge.warm_up_steps else 0.0
        alarm = score > (peak if judge.rest_steps else 0)
        wanted = score
        if judge.rest_steps:
            wanted = score if alarm else 0.0
            peak = (1.2 * score if alarm else peak) * (1 - 1 / judge.rest_steps)
        if judge.habit_steps:
            wanted /= 1 + 0.05 * habit
            habit = habit * (1 - 1 / judge.habit_steps) + (min(score / 6, 3) if alarm and score > 3 else 0)
        assert found[t] == pytest.approx(wanted, rel=1e-9, abs=1e-9), t
    assert max(found) > 3


def test_partial_fit_learns_what_has_become_normal():
    model = RecurrentDetector(hidden_size=8, max_epochs=5, learning_rate=0.01, random_state=0).fit([waves(0)])
    before = model.forecaster_._params.flat.copy()
    model.partial_fit([waves(1)])
    assert not np.array_equal(before, model.forecaster_._params.flat)


# ------------------------------------------------------------------------------------------------------- NAB's rules


def test_a_detection_is_worth_more_the_earlier_it_comes():
    """Lavin and Ahmad (2015), figure 2: 1 at the left edge of a window, falling to 0; a false alarm up to -0.11."""
    value, of_window = nab.row_values(100, [(40, 49)], nab.PROFILES["standard"])
    assert value[40] == pytest.approx(1.0)
    assert (np.diff(value[40:50]) < 0).all()
    assert value[49] == pytest.approx((2 / (1 + np.exp(-0.5)) - 1) / (2 / (1 + np.exp(-5)) - 1))
    assert (value[:40] == -0.11).all()  # no window before: the full price
    assert value[50] == pytest.approx(0.11 * (2 / (1 + np.exp(5 / 9)) - 1))  # just after one: little
    assert value[49 + 27] == -0.11  # three windows later: the full price
    assert (of_window[40:50] == 0).all()
    assert (of_window == 0).sum() == 10


def by_hand(scores, windows, profile, threshold):
    """The rules in a loop over rows: what is paid for one threshold."""
    weights = nab.PROFILES[profile]
    total, n_windows = 0.0, 0
    for score, limits in zip(scores, windows, strict=True):
        start = nab.probation(len(score))
        n_windows += len(limits)
        found = {}
        for t in range(start, len(score)):
            if score[t] < threshold:
                continue
            inside = [k for k, (first, last) in enumerate(limits) if first <= t <= last]
            if inside:
                first, last = limits[inside[0]]
                position = -(last - t + 1) / (last - first + 1)
                worth = weights.detection * (2 / (1 + np.exp(5 * position)) - 1) / (2 / (1 + np.exp(-5)) - 1)
                found[inside[0]] = max(found.get(inside[0], -np.inf), worth)
                continue
            before = [(first, last) for first, last in limits if last < t]
            past = (t - before[-1][1]) / (before[-1][1] - before[-1][0]) if before else 3
            total += weights.false_alarm * (-1 if past >= 3 else 2 / (1 + np.exp(5 * past)) - 1)
        total += sum(found.values())
        total -= weights.miss * (len(limits) - len(found))
    none, perfect = -weights.miss * n_windows, weights.detection * n_windows
    return 100 * (total - none) / (perfect - none)


@pytest.mark.parametrize("profile", nab.PROFILES)
def test_the_best_threshold_of_all(profile):
    rng = np.random.default_rng(0)
    scores = [np.round(rng.random(n), 2) for n in (200, 300, 120)]
    windows = [[(60, 80), (150, 170)], [(100, 130)], []]
    scores[0][65] = scores[1][101] = 2.0
    best = nab.corpus_score(scores, windows, profile)
    candidates = np.unique(np.concatenate(scores))
    values = [by_hand(scores, windows, profile, threshold) for threshold in candidates]
    assert best.score == pytest.approx(max(*values, 0))
    assert by_hand(scores, windows, profile, best.threshold) == pytest.approx(best.score)


def test_the_ends_of_the_scale():
    windows = [[(60, 80), (150, 170)], [(100, 130)]]
    perfect = [np.zeros(200), np.zeros(300)]
    for score, limits in zip(perfect, windows, strict=True):
        score[[first for first, _ in limits]] = 1
    assert nab.corpus_score(perfect, windows) == (pytest.approx(100), 1.0)
    assert nab.corpus_score([np.zeros(200), np.zeros(300)], windows).score == 0  # all or nothing: nothing is better
    assert nab.probation(1000) == 150
    assert nab.probation(10**6) == 750


def test_a_fit_that_is_stopped_leaves_a_usable_detector():
    model = RecurrentDetector(hidden_size=4, max_epochs=50, random_state=0)
    asked = iter([False] * 3)
    epochs = list(model.fit_epochs([waves(0)], stop=lambda: next(asked, True)))
    assert len(epochs) < 50
    assert model.score_steps([waves(1)])[0].shape == (400,)
    for _ in model.fit_epochs([waves(0)]):
        break
    whole = RecurrentDetector(hidden_size=4, max_epochs=50, random_state=0).fit([waves(0)])
    assert model.forecaster_.n_epochs_ == 1
    assert model.threshold_ != whole.threshold_


def test_a_later_epoch_takes_the_training_options_of_the_detector():
    given, by_hand = (RecurrentDetector(hidden_size=4, max_epochs=1, random_state=0).fit([waves(0)]) for _ in range(2))
    start = given.forecaster_._params.flat.copy()
    given.set_params(learning_rate=1e-7, batch_size=2, clip_norm=0.5).partial_fit([waves(1)])
    assert 0 < np.abs(given.forecaster_._params.flat - start).max() < 1e-4
    by_hand.forecaster_.set_params(learning_rate=1e-7, batch_size=2, clip_norm=0.5).partial_fit([waves(1)])
    assert np.array_equal(given.forecaster_._params.flat, by_hand.forecaster_._params.flat)
