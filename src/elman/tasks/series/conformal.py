"""Intervals that hold what they promise: conformal prediction for forecasts, split and adaptive."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from elman.params import Array
from elman.tasks.series.outputs import LOG_SIGMA, Output

GAMMA = 0.05  # by how much a miss moves the level of adaptive intervals
ORIGINS = 48  # at most, of each series, that they adapt on


class Calibration(NamedTuple):
    """Forecasts of values that were not trained on, and the values, both in units of the series.

    Sources: Vovk, Gammerman and Shafer (2005); for quantiles Romano, Patterson and Candes (2019), whose band is moved
    as a whole; for a normal output the residual in standard deviations (Lei et al. 2018).
    """

    out: Array  # (N, S, D, P)
    targets: Array  # (N, S, D), NaN where nothing was measured

    def scores(self, output: Output, coverage: float) -> Array:
        """Return by how much each band is missed, in its unit; below 0 inside of it: (N, S, D)."""
        return missed_by(output, self.out, self.targets, coverage)

    def interval(self, output: Output, out: Array, coverage: float) -> tuple[Array, Array]:
        """Return (low, high), (n, S, D) in units of the series, for new outputs (n, S, D, P)."""
        width = conformal_quantile(self.scores(output, coverage), coverage)
        return moved(output, out, width, coverage)


class Adaptive:
    """The miss rate alpha of each of n series and D features, which adapts to what happened to its intervals.

    ::

        alpha_1 = 1 - coverage;     alpha_{j+1} = alpha_j + gamma (1 - coverage - missed_j)

    missed_j is the share of the horizon's values outside of the j-th interval, whose width is the conformal quantile
    at 1 - alpha_j. Where the scores of the calibration cannot tell it, it is the largest of them and of the series'
    own (alpha_j below 1 / (N + 1)), or the smallest of them (above 1); alpha itself is not held back, so the shares
    even out. gamma is 0.05, ten times that of the paper: there are dozens of forecasts here, and thousands there.

    Source: Gibbs and Candes (2021), "Adaptive conformal inference under distribution shift".
    """

    def __init__(self, calibration: Calibration, output: Output, coverage: float, n: int) -> None:
        scores = calibration.scores(output, coverage)
        conformal_quantile(scores, coverage)  # enough of them, or an error
        self.output, self.coverage = output, coverage
        self.ordered = np.sort(scores, axis=0)  # (N, S, D), NaN last
        self.counts = (~np.isnan(scores)).sum(axis=0)
        self.alpha = np.full((n, scores.shape[2]), 1 - coverage)
        self.largest = np.repeat(np.nanmax(scores, axis=0)[None], n, axis=0)  # (n, S, D)

    def interval(self, which: Array, out: Array) -> tuple[Array, Array]:
        """Return (low, high), (k, S, D), for new outputs (k, S, D, P) of the series `which` (k,)."""
        share = 1 - self.alpha[which][:, None]
        rank = np.ceil((self.counts + 1) * share - 1e-9).astype(np.intp)
        S, D = self.counts.shape
        place = np.clip(rank, 1, self.counts) - 1
        width = self.ordered[place, np.arange(S)[:, None], np.arange(D)]
        width = np.where(rank > self.counts, self.largest[which], width)
        return moved(self.output, out, width, self.coverage)

    def learn(self, which: Array, out: Array, targets: Array) -> None:
        """Adapt to the values (k, S, D) that came, NaN where nothing was measured."""
        low, high = self.interval(which, out)
        known = ~np.isnan(targets)
        missed = (((targets < low) | (targets > high)) & known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        step = GAMMA * (1 - self.coverage - missed)
        self.alpha[which] += np.where(known.any(axis=1), step, 0)
        own = missed_by(self.output, out, targets, self.coverage)
        self.largest[which] = np.fmax(self.largest[which], own)


def missed_by(output: Output, out: Array, targets: Array, coverage: float) -> Array:
    """Return by how much targets (n, S, D) miss the bands of outputs (n, S, D, P), in the unit of each."""
    low, high, unit = band(output, out, coverage)
    scores: Array = np.maximum(low - targets, targets - high) / unit
    return scores


def moved(output: Output, out: Array, width: Array, coverage: float) -> tuple[Array, Array]:
    """Return the bands of outputs (n, S, D, P), wider by `width` units on both sides: (low, high), (n, S, D)."""
    low, high, unit = band(output, out, coverage)
    center = output.center(out)  # a band that was claimed too wide is narrowed, but never past the forecast
    return np.minimum(low - width * unit, center), np.maximum(high + width * unit, center)


def band(output: Output, out: Array, coverage: float) -> tuple[Array, Array, Array]:
    """Return the interval that an output claims by itself, and the unit in which it is widened, each (n, S, D)."""
    if output.kind == "quantile":
        levels = np.clip([(1 - coverage) / 2, (1 + coverage) / 2], output.levels[0], output.levels[-1])
        pair = output.quantiles(out, levels.tolist())
        return pair[..., 0], pair[..., 1], np.ones(1)
    center = output.center(out)
    if output.kind == "gaussian":
        return center, center, np.exp(np.clip(out[..., 1], -LOG_SIGMA, LOG_SIGMA))
    return center, center, np.ones(1)


def conformal_quantile(scores: Array, coverage: float) -> Array:
    """Return the ceil((N + 1) coverage)-th smallest of N scores (N, ...), NaN left out, for each of the last axes.

    Raises ValueError where N is too small for the coverage: at least coverage / (1 - coverage) are needed.
    """
    counts = (~np.isnan(scores)).sum(axis=0)
    rank = np.ceil((counts + 1) * coverage - 1e-9).astype(np.intp)
    if (rank > counts).any():
        raise ValueError(
            f"an interval of {100 * coverage:.4g} % needs at least {math.ceil(coverage / (1 - coverage) - 1e-9)} "
            f"forecasts to be calibrated on, got {counts.min()}; calibrate on more values"
        )
    ordered = np.sort(scores, axis=0)  # NaN last
    chosen: Array = np.take_along_axis(ordered, rank[None] - 1, axis=0)[0]
    return chosen
