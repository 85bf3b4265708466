"""Windows and splits that keep the future apart from the past."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from elman import checks
from elman.params import Array
from elman.tasks.series.inputs import as_sequences


class Windows(NamedTuple):
    """Samples cut out of series: what is seen, what follows, when, and of which series."""

    x: Array  # (N, context, F)
    y: Array  # (N, horizon, F)
    ends: Array  # (N,) the step after the last one of x, counted from the start of the series
    owners: Array  # (N,) number of the series; the groups of scikit-learn's GroupKFold


def windows(X: Any, *, context: int, horizon: int, stride: int = 1) -> Windows:
    """Return all windows of `context` steps, and the `horizon` steps after each.

    Parameters
    ----------
    X : series, in any form of `as_sequences`; NaN is kept
    context, horizon : steps of x and of y
    stride : steps from one window to the next
    """
    checks.positive("windows", context=context, horizon=horizon, stride=stride)
    if isinstance(X, np.ndarray) and X.ndim == 1:
        X = X[None]
    rows = as_sequences("windows", X, missing=True)
    ends = [np.arange(context, len(row) - horizon + 1, stride) for row in rows]
    if not sum(map(len, ends)):
        raise ValueError(f"windows: no series has {context} + {horizon} steps, the longest {max(map(len, rows))}")
    pairs = [(k, end) for k, own in enumerate(ends) for end in own]
    return Windows(
        np.stack([rows[k][end - context : end] for k, end in pairs]),
        np.stack([rows[k][end : end + horizon] for k, end in pairs]),
        np.concatenate(ends),
        np.array([k for k, _ in pairs], np.intp),
    )


class TimeSplit:
    """Cross-validation over time, for windows: train on the past, test on what follows, with nothing shared.

    ::

        windows:    x ends at t, y is t .. t + horizon - 1
        training:   t <= border - horizon      (its targets end before the border)
        test:       border + gap <= t < next border

    Unlike scikit-learn's `TimeSeriesSplit` it goes by the times of windows, not by their order, so windows of many
    series are cut at the same time. Pass ``groups=ends`` to `split`, as to any grouped splitter.

    Parameters
    ----------
    n_splits : test parts, one after the other, at the end
    context, horizon : of the windows
    keep_context_apart : also leave out test windows whose inputs were targets of the training, a gap of `context` steps
    """

    def __init__(self, *, n_splits: int = 3, context: int, horizon: int, keep_context_apart: bool = False) -> None:
        self.n_splits = n_splits
        self.context = context
        self.horizon = horizon
        self.keep_context_apart = keep_context_apart

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of splits."""
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Array, Array]]:
        """Yield (training, test) numbers of windows; groups are their ends, (N,)."""
        checks.positive("TimeSplit", n_splits=self.n_splits, context=self.context, horizon=self.horizon)
        if groups is None:
            raise ValueError("TimeSplit: pass groups=ends, the times of the windows")
        ends = np.asarray(groups)
        borders = np.linspace(ends.min(), ends.max() + 1, self.n_splits + 2)[1:].astype(np.intp)
        for border, following in pairwise(borders.tolist()):
            gap = self.context if self.keep_context_apart else 0
            train = np.flatnonzero(ends <= border - self.horizon)
            test = np.flatnonzero((ends >= border + gap) & (ends < following))
            if not len(train) or not len(test):
                raise ValueError(
                    f"TimeSplit: {self.n_splits} splits of windows that end from {ends.min()} to {ends.max()} leave "
                    f"nothing to train on or to test, with a horizon of {self.horizon}; use fewer"
                )
            yield train, test
