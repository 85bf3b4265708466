"""Drawing a token from the outputs of a language model."""

from __future__ import annotations

import math

import numpy as np

from elman import checks
from elman.params import Array


def probabilities(
    logits: Array, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Array:
    """Return the distribution (V,) to draw from, in double.

    Parameters
    ----------
    logits : (V,) outputs of the model
    temperature : softmax(logits / temperature). 0 takes the largest (the first of equals); 1 leaves the model's own
    top_k : keep the k likeliest tokens
    top_p : keep the likeliest tokens that together have at least this probability (Holtzman et al. 2020)

    Raises
    ------
    ValueError
        for options out of range, and for logits with a NaN, with +inf, or with nothing but -inf
    """
    check_options(temperature, top_k, top_p)
    z: Array = np.asarray(logits, np.float64)
    if np.isnan(z).any() or not np.isfinite(z.max()):
        raise ValueError("probabilities: the model's outputs are not finite; its training may have diverged")
    if temperature == 0:
        best = np.zeros_like(z)
        best[z.argmax()] = 1
        return best
    with np.errstate(under="ignore", over="ignore"):
        p: Array = np.exp((z - z.max()) / temperature)
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    if top_k is not None:
        p[order[top_k:]] = 0
    if top_p is not None:
        before = np.cumsum(p[order]) - p[order]
        p[order[before >= top_p * p.sum()]] = 0
    p /= p.sum()
    return p


def check_options(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise ValueError for options out of range."""
    checks.in_range("generate", "temperature", temperature, 0)
    if not math.isfinite(temperature):
        raise ValueError(f"generate: temperature must be finite, got {temperature}; top_k and top_p bound the choice")
    if top_k is not None:
        checks.positive("generate", top_k=top_k)
    if top_p is not None:
        checks.in_range("generate", "top_p", top_p, 0, 1, open_low=True)


def draw(p: Array, rng: np.random.Generator) -> int:
    """Return an index drawn with the probabilities p (V,), which need not sum to exactly 1."""
    cumulative = np.cumsum(p, dtype=np.float64)
    k = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    return min(k, int(np.flatnonzero(p)[-1]))
