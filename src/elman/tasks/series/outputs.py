"""What a forecast says of one number: a point, quantiles, or a normal distribution; and how that is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from elman import checks
from elman.params import Array

LOG_SIGMA = 7.0  # the logarithm of a standard deviation stays within +- this


class Losses(NamedTuple):
    """Losses of each number, (...), and their gradient with respect to what the network gives, (..., P)."""

    values: Array
    d_out: Array


@dataclass(frozen=True)
class Output:
    """A kind of output: "point", "quantile" (pinball loss) or "gaussian" (mean and log standard deviation).

    Parameters
    ----------
    kind : "point", "quantile" or "gaussian"
    loss : of points, "mae" or "mse"
    levels : of quantiles, rising, between 0 and 1
    """

    kind: str
    loss: str
    levels: tuple[float, ...]

    def check(self, where: str) -> None:
        """Raise ValueError for what is unknown or out of range."""
        checks.one_of(where, "output", self.kind, ["point", "quantile", "gaussian"])
        checks.one_of(where, "loss", self.loss, ["mae", "mse"])
        if self.kind == "quantile":
            for level in self.levels:
                checks.in_range(where, "quantiles", level, 0, 1, open_low=True, open_high=True)
            if not self.levels or list(self.levels) != sorted(set(self.levels)):
                raise ValueError(f"{where}: quantiles must rise, at least one, got {self.levels}")
            if not self.levels[0] <= 0.5 <= self.levels[-1]:
                raise ValueError(f"{where}: quantiles must reach from 0.5 or below to 0.5 or above, got {self.levels}")

    @property
    def size(self) -> int:
        """P, numbers that the network gives for each number that it predicts."""
        return {"point": 1, "quantile": len(self.levels), "gaussian": 2}[self.kind]

    def losses(self, out: Array, target: Array) -> Losses:
        """Return the losses of out (..., P) beside target (...)."""
        if self.kind == "quantile":
            levels = np.array(self.levels, out.dtype)
            below = target[..., None] < out
            values = (target[..., None] - out) * (levels - below)
            return Losses(values.mean(axis=-1), (below - levels) / out.dtype.type(len(levels)))
        if self.kind == "gaussian":
            mean, log_sigma = out[..., 0], np.clip(out[..., 1], -LOG_SIGMA, LOG_SIGMA)
            z = (target - mean) * np.exp(-log_sigma)
            inside = np.abs(out[..., 1]) <= LOG_SIGMA
            d_out = np.stack([-z * np.exp(-log_sigma), np.where(inside, 1 - z * z, 0)], axis=-1)
            return Losses(0.5 * z * z + log_sigma + out.dtype.type(0.5 * np.log(2 * np.pi)), d_out)
        difference = out[..., 0] - target
        if self.loss == "mse":
            return Losses(difference * difference, 2 * difference[..., None])
        return Losses(np.abs(difference), np.sign(difference)[..., None])

    def masked(self, out: Array, target: Array) -> tuple[float, Array]:
        """Return the mean loss over the targets that are not NaN, and its gradient, 0 elsewhere."""
        known = ~np.isnan(target)
        n = max(int(known.sum()), 1)
        losses = self.losses(out, np.where(known, target, 0).astype(out.dtype))
        value = float(losses.values.sum(where=known, dtype=np.float64)) / n
        d_out: Array = np.where(known[..., None], losses.d_out, 0) / out.dtype.type(n)
        return value, d_out.astype(out.dtype, copy=False)

    def center(self, out: Array) -> Array:
        """Return the point forecast (...) of out (..., P): the median of quantiles, the mean of a normal one."""
        return out[..., 0] if self.kind != "quantile" else self.quantiles(out, [0.5])[..., 0]

    def quantiles(self, out: Array, levels: Sequence[float]) -> Array:
        """Return the quantiles (..., L) at any levels, between those learnt by straight lines, without crossing.

        Raises ValueError for a point output, which knows none, and for levels outside of those learnt.
        """
        if self.kind == "gaussian":
            z = np.array([NormalDist().inv_cdf(level) for level in levels])
            sigma = np.exp(np.clip(out[..., 1:2], -LOG_SIGMA, LOG_SIGMA).astype(np.float64))
            normal: Array = out[..., :1] + z * sigma
            return normal
        if self.kind == "point":
            raise ValueError(
                "a point forecast has no quantiles; fit with output='quantile' or 'gaussian', or calibrate"
            )
        ordered = np.sort(out, axis=-1)
        low, high = self.levels[0], self.levels[-1]
        if min(levels) < low - 1e-9 or max(levels) > high + 1e-9:
            raise ValueError(f"quantiles were learnt from {low:g} to {high:g}, got {min(levels):g} to {max(levels):g}")
        place = np.interp(levels, self.levels, np.arange(len(self.levels)))
        below = np.floor(place).astype(np.intp)
        above = np.minimum(below + 1, len(self.levels) - 1)
        share = place - below
        between: Array = ordered[..., below] * (1 - share) + ordered[..., above] * share
        return between
