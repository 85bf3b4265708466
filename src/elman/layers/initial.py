"""Initial values of weights. All are drawn in float64, so a float32 model starts as the rounded float64 one."""

from __future__ import annotations

import numpy as np

from elman.params import Array


def orthogonal(rng: np.random.Generator, H: int) -> Array:
    """Return a random orthogonal matrix (H, H), uniform over them (Saxe et al. 2014; Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((H, H)))
    turned: Array = q * np.sign(np.diag(r))
    return turned


def glorot(rng: np.random.Generator, O: int, I: int) -> Array:
    """Return weights (O, I), uniform within sqrt(6 / (I + O)) (Glorot and Bengio 2010)."""
    bound = np.sqrt(6 / (I + O))
    return rng.uniform(-bound, bound, (O, I))
