"""Many series at once, through joblib: the processes of one machine, or a cluster, by the same line."""

from __future__ import annotations

from typing import Any

import numpy as np

from elman import checks


def score_batches(
    estimator: Any, X: Any, *, method: str = "predict", batch_size: int = 1000, n_jobs: int | None = None
) -> Any:
    """Return ``estimator.method(X)``, computed a batch of series at a time, in as many processes as wanted.

    ::

        score_batches(forecaster, series, n_jobs=8)
        with joblib.parallel_config(backend="dask"):                     # the same line on a cluster
            score_batches(forecaster, series, n_jobs=-1)

    The backend "dask" needs a `distributed.Client` before that, and "ray" a `ray.util.joblib.register_ray()`. Batches
    do not depend on the number of processes, so neither do the bits.

    Parameters
    ----------
    estimator : fitted
    X : series: an array, a list, what yields them, or a data frame, of which one in long form is cut by series
    method : such as "predict", "predict_proba", "predict_interval", "score_steps"
    batch_size : series a batch
    n_jobs : processes, as in joblib; None takes what `joblib.parallel_config` says, else 1
    """
    from joblib import Parallel, delayed

    checks.positive("score_batches", batch_size=batch_size)
    if hasattr(X, "columns"):
        from elman.tasks.series.frames import from_frame, is_long

        X = from_frame(X) if is_long(X) else X
    X = X if hasattr(X, "__len__") else list(X)
    if not len(X):
        raise ValueError("score_batches: X has no series")
    if not callable(getattr(estimator, method, None)):
        raise ValueError(f"score_batches: {type(estimator).__name__} has no method {method!r}")
    parts = [X[k : k + batch_size] for k in range(0, len(X), batch_size)]
    return _joined(Parallel(n_jobs=n_jobs)(delayed(_call)(estimator, method, part) for part in parts))


def _joined(results: list[Any]) -> Any:
    """Return the results of all batches as one: arrays end to end, tuples of arrays field by field, lists as one."""
    if isinstance(results[0], tuple):
        return tuple(_joined(list(field)) for field in zip(*results, strict=True))
    if isinstance(results[0], list):
        return [item for result in results for item in result]
    return np.concatenate(results)


def _call(estimator: Any, method: str, part: Any) -> Any:
    return getattr(estimator, method)(part)
