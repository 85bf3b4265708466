"""Intervals that hold what they promise: split conformal prediction for forecasts."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from elman.params import Array
from elman.tasks.series.outputs import LOG_SIGMA, Output


class Calibration(NamedTuple):
    """Forecasts of values that were not trained on, and the values, both in units of the series.

    Sources: Vovk, Gammerman and Shafer (2005); for quantiles Romano, Patterson and Candes (2019), whose band is moved
    as a whole; for a normal output the residual in standard deviations (Lei et al. 2018).
    """

    out: Array  # (N, S, D, P)
    targets: Array  # (N, S, D), NaN where nothing was measured

    def interval(self, output: Output, out: Array, coverage: float) -> tuple[Array, Array]:
        """Return (low, high), (n, S, D) in units of the series, for new outputs (n, S, D, P)."""
        low, high, unit = band(output, self.out, coverage)
        scores = np.maximum(low - self.targets, self.targets - high) / unit
        width = conformal_quantile(scores, coverage)
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
            f"an interval of {coverage:.0%} needs at least {math.ceil(coverage / (1 - coverage) - 1e-9)} forecasts "
            f"to be calibrated on, got {counts.min()}; calibrate on more values"
        )
    ordered = np.sort(scores, axis=0)  # NaN last
    chosen: Array = np.take_along_axis(ordered, rank[None] - 1, axis=0)[0]
    return chosen
