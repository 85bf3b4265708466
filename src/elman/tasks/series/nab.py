"""The scoring rules of the Numenta Anomaly Benchmark, version 1 (Lavin and Ahmad 2015), written down.

Each labelled window counts once: its earliest detection earns up to 1, the earlier the more, and a window without any
costs. A detection outside of windows costs, less right after a window than far from one. The first 15 % of a file, at
most those of 5,000 rows, are probation and do not count. One threshold holds for all files; the benchmark takes the
best one. The sum is put on a scale where no detection at all is 0 and a perfect detector is 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from elman.params import Array


class Profile(NamedTuple):
    """What a detection, a false alarm and a miss are worth."""

    detection: float
    false_alarm: float
    miss: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "reward_low_FP_rate": Profile(1.0, 0.22, 1.0),
    "reward_low_FN_rate": Profile(1.0, 0.11, 2.0),
}


class NABScore(NamedTuple):
    """The score of a detector on a corpus, from 0 (no detection) to 100, and the threshold that gives it."""

    score: float
    threshold: float  # scores at or above it are detections


def scaled_sigmoid(position: Array) -> Array:
    """Return ``2 / (1 + exp(5 position)) - 1``, and -1 from 3 on: -1 is a window's left edge, 0 its right edge."""
    value: Array = np.where(position >= 3, -1.0, 2 / (1 + np.exp(5 * np.minimum(position, 3.0))) - 1)
    return value


def probation(n_rows: int) -> int:
    """Return how many rows at the start of a file do not count."""
    return int(min(np.floor(0.15 * n_rows), 0.15 * 5000))


def row_values(n_rows: int, windows: Sequence[tuple[int, int]], profile: Profile) -> tuple[Array, Array]:
    """Return what a detection at each row is worth, (T,), and the number of the window that holds it, -1 for none.

    Parameters
    ----------
    n_rows : T
    windows : first and last row of each window, in order
    profile : weights
    """
    rows = np.arange(n_rows)
    of_window = np.full(n_rows, -1, np.intp)
    past = np.full(n_rows, 3.0)
    for k, (first, last) in enumerate(windows):
        of_window[first : last + 1] = k
        past[last + 1 :] = (rows[last + 1 :] - last) / max(last - first, 1)
    value = profile.false_alarm * scaled_sigmoid(past)
    for first, last in windows:
        inside = rows[first : last + 1]
        position = -(last - inside + 1) / (last - first + 1)
        value[first : last + 1] = profile.detection * scaled_sigmoid(position) / scaled_sigmoid(np.array(-1.0))
    return value, of_window


def corpus_score(
    scores: Sequence[Array], windows: Sequence[Sequence[tuple[int, int]]], profile: str = "standard"
) -> NABScore:
    """Return the score of a detector at its best threshold.

    Parameters
    ----------
    scores : of each file, (T,) anomaly scores
    windows : of each file, first and last row of each labelled window
    profile : a name of `PROFILES`
    """
    weights = PROFILES[profile]
    steps: list[tuple[Array, Array]] = []  # what changes when the threshold falls to a score
    total_windows, misses = 0, 0
    for score, limits in zip(scores, windows, strict=True):
        value, of_window = row_values(len(score), limits, weights)
        start = probation(len(score))
        total_windows += len(limits)
        counted = np.arange(len(score)) >= start
        outside = counted & (of_window < 0)
        steps.append((score[outside], value[outside]))
        for k in range(len(limits)):
            inside = np.flatnonzero(counted & (of_window == k))
            if not len(inside):
                continue
            misses += 1
            order = inside[np.argsort(-score[inside], kind="stable")]
            best = np.maximum(np.maximum.accumulate(value[order]), -weights.miss)
            steps.append((score[order], np.diff(np.concatenate([[-weights.miss], best]))))
    at = np.concatenate([step[0] for step in steps])
    change = np.concatenate([step[1] for step in steps])
    order = np.argsort(-at, kind="stable")
    totals = np.cumsum(change[order]) - weights.miss * misses
    last = np.append(np.flatnonzero(np.diff(at[order])), len(order) - 1)  # the last row of each threshold
    best_row = last[np.argmax(totals[last])]
    none = -weights.miss * total_windows
    perfect = weights.detection * total_windows
    raw = max(float(totals[best_row]), -weights.miss * misses)
    return NABScore(100 * (raw - none) / (perfect - none), float(at[order][best_row]))
