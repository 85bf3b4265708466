"""Metrics and naive forecasts, beside numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from elman.tasks.series import metrics


def test_numbers_by_hand():
    assert metrics.smape([100.0, 0.0], [50.0, 0.0]) == pytest.approx(100 * (50 / 75) / 2)
    history = [1.0, 3.0, 2.0, 5.0]  # errors of the naive forecast: 2, 1, 3; with season 2: 1, 2
    assert metrics.naive_error(history) == 2
    assert metrics.naive_error(history, 2) == 1.5
    assert metrics.mase([6.0, 7.0], [5.0, 5.0], history) == pytest.approx(1.5 / 2)
    assert metrics.mase([6.0, 7.0], [5.0, 5.0], history, 2) == pytest.approx(1)
    assert np.isnan(metrics.mase([1.0], [1.0], [2.0, 2.0]))
    assert metrics.pinball([1.0, 1.0], [0.0, 3.0], 0.9) == pytest.approx((0.9 + 0.2) / 2)
    assert metrics.coverage([1.0, 2.0, np.nan, 9.0], [0.0, 2.0, 0.0, 0.0], [1.0, 3.0, 1.0, 1.0]) == pytest.approx(2 / 3)
    assert metrics.smape([np.nan, 1.0], [5.0, 1.0]) == 0


def test_the_pinball_loss_is_least_at_the_quantile():
    values = np.random.default_rng(0).standard_normal(20_000)
    guesses = np.linspace(-2, 2, 81)
    for level in (0.1, 0.5, 0.9):
        best = guesses[np.argmin([metrics.pinball(values, np.full_like(values, guess), level) for guess in guesses])]
        assert best == pytest.approx(np.quantile(values, level), abs=0.05)


def test_naive_forecasts():
    history = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert metrics.naive(history, 3).tolist() == [5, 5, 5]
    assert metrics.seasonal_naive(history, 5, 3).tolist() == [3, 4, 5, 3, 4]
    assert metrics.seasonal_naive(history, 2, 9).tolist() == [1, 2]
    assert metrics.seasonal_naive([1.0, 2.0, 3.0, np.nan], 3, 2).tolist() == [3, 2, 3]
    assert metrics.naive([[1.0, 2.0], [3.0, 4.0]], 2).tolist() == [[3, 4], [3, 4]]
    with pytest.raises(ValueError, match="the history is empty"):
        metrics.naive([], 2)
    with pytest.raises(ValueError, match="must have one shape"):
        metrics.smape([1.0], [1.0, 2.0])


def test_a_forecast_of_nan_is_not_a_perfect_one():
    assert np.isnan(metrics.smape([1.0, 2.0], [1.0, np.nan]))
    assert np.isnan(metrics.mase([1.0, 2.0], [1.0, np.nan], [1.0, 2.0, 3.0]))
    assert metrics.smape([1.0, np.nan], [1.0, np.nan]) == 0
    assert metrics.smape([0.0], [0.0]) == 0
