"""How a forecaster sees a series: in units of its own, from a level that moves along, and never ahead of time.

All of it is causal and goes on from a state, so a series that comes value by value gives the same numbers as a whole
one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from elman.params import Array
from elman.tasks.series.scaling import Standard


class Units(NamedTuple):
    """Location and scales of n series, each (n, D)."""

    mean: Array
    scale: Array  # of what the network reads
    error: Array  # of what it gives: the mean error of the baseline that it corrects, or the scale where there is none


class Memory(NamedTuple):
    """What the view remembers of n series: their level, how many values they had, and the last R values."""

    level: Array  # (n, D)
    n_seen: Array  # (n, D)
    recent: Array  # (n, R, D), the newest last


class Seen(NamedTuple):
    """A stretch of n series as the network sees it."""

    inputs: Array  # (n, T, D + ...), without covariates
    filled: Array  # (n, R + T, D): the R values before, then the values with the last known one where one is missing
    level: Array  # (n, T, D)
    memory: Memory  # after the last valid step


@dataclass(frozen=True)
class View:
    """The options of a view.

    ::

        z_t = (v_t - level_t) / scale;     forecast_{t+k} = base_{t,k} + error * network_{t,k}

    level_t is the series' mean (scaling "series"), that of all ("global"), or an exponential mean of the values up to t
    ("level"). base is level_t, the last value ("naive"), or the value a season before ("seasonal").
    """

    scaling: str | None
    level_steps: int
    baseline: str | None
    season: int
    lags: tuple[int, ...]
    mask: bool

    @property
    def n_recent(self) -> int:
        """R, how many values have to be remembered."""
        return max(self.season, *self.lags, 1)

    def input_size(self, D: int) -> int:
        """Return the features of an input step for D targets, without covariates."""
        return D * (1 + len(self.lags) + self.mask)

    def whole(self, rows: list[Array]) -> Units:
        """Return the units of all series together, each (1, D)."""
        D = rows[0].shape[1]
        if self.scaling is None:
            return Units(np.zeros((1, D)), np.ones((1, D)), np.ones((1, D)))
        standard = Standard.of(rows)
        errors = np.mean([self._error(row, standard.scale) for row in rows], axis=0)
        return Units(standard.mean[None], standard.scale[None], errors[None])

    def units(self, rows: list[Array], whole: Units) -> Units:
        """Return the units of each series, from its known values (T_i, D), and those of all where none is known."""
        n = len(rows)
        of_all = Units(*(np.repeat(array, n, axis=0) for array in whole))
        if self.scaling in (None, "global"):
            return of_all
        mean, scale, error = (array.copy() for array in of_all)
        known = [np.isfinite(row).any(axis=0) for row in rows]
        for k, row in enumerate(rows):
            own = Standard.of([row])
            mean[k], scale[k] = np.where(known[k], own.mean, mean[k]), np.where(known[k], own.scale, scale[k])
        if self.scaling == "level":
            values, lengths = padded(rows, np.nan)
            levels = self.look(self.start(Units(mean, scale, scale)), values, Units(mean, scale, scale), lengths).level
            for k, row in enumerate(rows):
                own = Standard.of([row - levels[k, : len(row)]])
                scale[k] = np.maximum(np.where(known[k], own.scale, scale[k]), 1e-3 * scale[k])
        for k, row in enumerate(rows):
            error[k] = np.where(known[k], self._error(row, scale[k]), error[k])
        return Units(mean, scale, error)

    def _error(self, row: Array, scale: Array) -> Array:
        """Return the mean error of the baseline inside a series, (D,); `scale` where there is none."""
        season = self.season if self.baseline == "seasonal" else 1
        if self.baseline is None or len(row) <= season:
            return scale
        steps = np.abs(row[season:] - row[:-season])
        known = ~np.isnan(steps)
        error = np.where(known, steps, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        return np.where(error > 1e-3 * scale, error, scale)

    def start(self, units: Units) -> Memory:
        """Return the memory before the first value."""
        n, D = units.mean.shape
        return Memory(
            units.mean.copy(), np.zeros((n, D), np.int64), np.repeat(units.mean[:, None], self.n_recent, axis=1)
        )

    def look(self, memory: Memory, values: Array, units: Units, lengths: Array | None = None) -> Seen:
        """Return what the network sees of further values (n, T, D), the rows valid up to their lengths (n,)."""
        n, T = values.shape[:2]
        R = self.n_recent
        known = ~np.isnan(values)
        if lengths is not None:
            known &= (np.arange(T) < lengths[:, None])[:, :, None]
        filled = np.concatenate([memory.recent, values], axis=1)
        level = np.empty_like(values)
        now, count = memory.level.copy(), memory.n_seen.copy()
        moving = self.scaling == "level"
        if not moving and known.all():
            level[:] = now[:, None]
            count += T
        else:
            for t in range(T):
                there = known[:, t]
                filled[:, R + t] = np.where(there, values[:, t], filled[:, R + t - 1])
                count += there
                if moving:
                    share = np.maximum(1 / np.maximum(count, 1), 1 / self.level_steps)
                    now = np.where(there, now + share * (values[:, t] - now), now)
                level[:, t] = now
        ends = np.full(n, T) if lengths is None else lengths
        recent = filled[np.arange(n)[:, None], ends[:, None] + np.arange(R)]
        if lengths is not None and moving and T:
            last = level[np.arange(n), np.maximum(ends - 1, 0)]
            now = np.where((ends > 0)[:, None], last, memory.level)
        inputs = self._inputs(filled, level, known, units, T)
        return Seen(inputs, filled, level, Memory(now, count, recent))

    def _inputs(self, filled: Array, level: Array, known: Array, units: Units, T: int) -> Array:
        R, scale = self.n_recent, units.scale[:, None]
        parts = [(filled[:, R:] - level) / scale]
        parts += [(filled[:, R + 1 - lag : R + 1 - lag + T] - level) / scale for lag in self.lags]
        if self.mask:
            parts.append(known.astype(np.float64))
        return np.concatenate(parts, axis=2)

    def base(self, filled: Array, level: Array, rows: Array, origins: Array, horizon: int) -> Array:
        """Return where forecasts start from, (..., S, D), for series `rows` (...) at steps `origins` (...)."""
        if self.baseline is None:
            shape = (*origins.shape, horizon, filled.shape[2])
            return np.broadcast_to(level[rows, origins][..., None, :], shape)
        season = self.season if self.baseline == "seasonal" else 1
        return self.seasonal(filled, rows, origins, horizon, season)

    @property
    def seasons(self) -> tuple[int, ...]:
        """The season and the lags: a decoder gets the values whole seasons before."""
        return tuple(dict.fromkeys((self.season, *self.lags)))

    def seasonal(self, filled: Array, rows: Array, origins: Array, horizon: int, season: int) -> Array:
        """Return the seasonal naive forecast (..., S, D)."""
        values: Array = filled[rows[..., None], (self.n_recent + origins)[..., None] + last_season(horizon, season)]
        return values


def last_season(horizon: int, season: int) -> Array:
    """Return for k = 1..S the step, counted from the origin, that is whole seasons before k and not after 0."""
    k = np.arange(1, horizon + 1)
    steps: Array = k - season * -(-k // season)
    return steps


def padded(rows: list[Array], fill: float, more: int = 0, dtype: Any = np.float64) -> tuple[Array, Array]:
    """Return rows (T_i, F) as (n, T + more, F), filled on the right, and lengths (n,)."""
    lengths = np.array([len(row) for row in rows], np.intp)
    array = np.full((len(rows), lengths.max(initial=0) + more, rows[0].shape[1]), fill, dtype)
    for k, row in enumerate(rows):
        array[k, : len(row)] = row
    return array, lengths
