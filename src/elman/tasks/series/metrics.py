"""How good forecasts are, and the two forecasts that any model has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np

from elman import checks
from elman.params import Array


def seasonal_naive(history: Any, horizon: int, season: int = 1) -> Array:
    """Return the last season again and again, ``y_{T+k} = y_{T+k-m ceil(k/m)}``, (S, ...).

    Parameters
    ----------
    history : (T, ...) values; a NaN is replaced by the value a season earlier
    horizon : S, steps ahead
    season : m, steps of a season; a history shorter than that repeats what there is
    """
    checks.positive("seasonal_naive", horizon=horizon, season=season)
    history = np.asarray(history, np.float64)
    if not len(history):
        raise ValueError("seasonal_naive: the history is empty")
    m = min(season, len(history))
    last = history[-m:].copy()
    for start in range(len(history) - 2 * m, -m, -m):  # back in time, until nothing is missing
        if not np.isnan(last).any():
            break
        earlier = history[max(start, 0) : start + m]
        tail = last[m - len(earlier) :]
        tail[...] = np.where(np.isnan(tail), earlier, tail)
    forecast: Array = last[np.arange(horizon) % m]
    return forecast


def naive(history: Any, horizon: int) -> Array:
    """Return the last value again and again, (S, ...)."""
    return seasonal_naive(history, horizon, 1)


def smape(actual: Any, forecast: Any) -> float:
    """Return the symmetric mean absolute percentage error, ``200 mean(|y - f| / (|y| + |f|))``, 0 where both are 0.

    Source: Makridakis, Spiliotis and Assimakopoulos (2020), the M4 competition. NaN in `actual` does not count; one in
    `forecast` makes the result NaN.
    """
    actual, forecast = _pair("smape", actual, forecast)
    total = np.abs(actual) + np.abs(forecast)
    ratio = np.divide(np.abs(actual - forecast), total, out=np.zeros_like(total), where=total != 0)
    return 200 * _mean(ratio, actual)


def naive_error(history: Any, season: int = 1) -> float:
    """Return the mean absolute error of the seasonal naive forecast one season ahead, inside the history."""
    history = np.asarray(history, np.float64)
    m = season if len(history) > season else 1
    steps = np.abs(history[m:] - history[:-m])
    return float(np.nanmean(steps)) if np.isfinite(steps).any() else float("nan")


def mase(actual: Any, forecast: Any, history: Any, season: int = 1) -> float:
    """Return the mean absolute error in units of the seasonal naive forecast's error inside the history.

    Source: Hyndman and Koehler (2006). Below 1 is better than that forecast was on the history. NaN where the history
    is constant or too short.
    """
    actual, forecast = _pair("mase", actual, forecast)
    scale = naive_error(history, season)
    return _mean(np.abs(actual - forecast), actual) / scale if scale > 0 else float("nan")


def pinball(actual: Any, forecast: Any, level: float) -> float:
    """Return the quantile loss ``mean(max(level (y - f), (level - 1) (y - f)))``, least at the true quantile."""
    checks.in_range("pinball", "level", level, 0, 1)
    actual, forecast = _pair("pinball", actual, forecast)
    difference = actual - forecast
    return _mean(np.maximum(level * difference, (level - 1) * difference), actual)


def coverage(actual: Any, lower: Any, upper: Any) -> float:
    """Return the share of values inside of their interval."""
    actual, lower = _pair("coverage", actual, lower)
    _, upper = _pair("coverage", actual, upper)
    return _mean(((actual >= lower) & (actual <= upper)).astype(np.float64), actual)


def _pair(where: str, actual: Any, forecast: Any) -> tuple[Array, Array]:
    actual, forecast = np.asarray(actual, np.float64), np.asarray(forecast, np.float64)
    if actual.shape != forecast.shape:
        raise ValueError(f"{where}: actual and forecast must have one shape, got {actual.shape} and {forecast.shape}")
    return actual, forecast


def _mean(values: Array, actual: Array) -> float:
    known = ~np.isnan(actual)
    return float(values[known].mean()) if known.any() else float("nan")
