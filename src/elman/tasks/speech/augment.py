"""Other recordings from the same one, while training: faster or slower, of a longer throat, with gaps, with noise."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from elman import checks
from elman.params import Array


@dataclass(frozen=True)
class Augment:
    """How features are varied, each time anew by an rng; every default is off.

    Parameters
    ----------
    speed : the time axis is stretched by a factor from 1 - speed to 1 + speed
    warp : the frequency axis is stretched by a factor from 1 - warp to 1 + warp, as a longer or shorter
        vocal tract does (Jaitly and Hinton 2013)
    time_masks, time_share : so many stretches of time are set to the mean, each up to this share of the utterance
    feature_masks, feature_share : so many bands of features likewise (Park et al. 2019); meant for filter banks
    noise : standard deviation of white noise on normalised features
    """

    speed: float = 0.0
    warp: float = 0.0
    time_masks: int = 0
    time_share: float = 0.05
    feature_masks: int = 0
    feature_share: float = 0.2
    noise: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            high = 0.5 if field.name in ("speed", "warp") else 1 if "share" in field.name else np.inf
            checks.in_range("Augment", field.name, getattr(self, field.name), 0, high)

    def at_other_speed(self, x: Array, rng: np.random.Generator) -> Array:
        """Return raw features (T, F) at another speed."""
        return stretch(x, 1 + self.speed * rng.uniform(-1, 1)) if self.speed and len(x) else x

    def throat(self, size: int, rng: np.random.Generator, *, cepstra: bool) -> Array:
        """Return the matrix (F, F) that turns cepstra, or log energies of bands, into those of another throat."""
        factor = round(1 + self.warp * rng.uniform(-1, 1), 2)
        return warp_matrix(size, factor) if cepstra else stretch_matrix(size, factor)

    def after(self, x: Array, rng: np.random.Generator) -> Array:
        """Return normalised features (T, F) with noise and with gaps of 0, their mean."""
        x = x.copy()
        if self.noise:
            x += x.dtype.type(self.noise) * rng.standard_normal(x.shape, np.float32)
        T, F = x.shape
        for _ in range(self.time_masks):
            start, stop = _part(T, self.time_share, rng)
            x[start:stop] = 0
        for _ in range(self.feature_masks):
            start, stop = _part(F, self.feature_share, rng)
            x[:, start:stop] = 0
        return x


def stretch(x: Array, factor: float) -> Array:
    """Return features (T, F) at `factor` times the speed, (round(T / factor), F), by straight lines between frames."""
    T = len(x)
    at = np.linspace(0, T - 1, max(1, round(T / factor)))
    low = np.minimum(at.astype(np.intp), max(T - 2, 0))
    high = np.minimum(low + 1, T - 1)
    part = (at - low)[:, None].astype(x.dtype)
    stretched: Array = x[low] * (1 - part) + x[high] * part
    return stretched


@lru_cache(maxsize=256)
def warp_matrix(n_cepstra: int, factor: float, n_bands: int = 40) -> Array:
    """Return the matrix that stretches the frequency axis under cepstra: to filter bands, along them, and back."""
    bands = np.arange(n_bands)
    cosines = np.cos(np.pi * np.arange(n_cepstra)[:, None] * (bands + 0.5) / n_bands)
    to_bands = np.linalg.pinv(cosines)  # (bands, cepstra), the smooth spectrum of the cepstra
    warped: Array = cosines @ stretch_matrix(n_bands, factor) @ to_bands
    return warped


@lru_cache(maxsize=256)
def stretch_matrix(n_bands: int, factor: float) -> Array:
    """Return the matrix (F, F) that stretches the axis of bands, by straight lines between them."""
    at = np.clip(np.arange(n_bands) * factor, 0, n_bands - 1)
    distance = np.abs(at[:, None] - np.arange(n_bands))
    matrix: Array = np.maximum(0, 1 - distance)
    return matrix


def _part(size: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    width = int(rng.integers(0, int(size * share) + 1))
    start = int(rng.integers(0, size - width + 1))
    return start, start + width
